use lambda_http::http::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::id::PaymentId;
use crate::providers::test_vectors as vectors;

use super::*;

fn read(body: &str) -> Result<Notification, UnreadableWebhook> {
    WEBHOOKS.read(body.as_bytes())
}

#[test]
fn w1_is_read_plain_and_wrapped() {
    let plain = read(vectors::W1).unwrap();
    assert_eq!(plain, read(&format!(r#"{{"request":{}}}"#, vectors::W1)).unwrap());
    let fact = plain.fact;
    assert_eq!(fact.outcome, Outcome::Completed);
    assert_eq!(
        (fact.payment, fact.transaction.unwrap().as_str()),
        (None, "FP2603EXAMPLE00025")
    );
    assert_eq!(fact.order_id.unwrap().as_str(), "ORD-APM-78901");
    assert_eq!(
        (fact.amount.unwrap().to_string().as_str(), fact.currency.as_deref()),
        ("99.99", Some("USD"))
    );
}

#[test]
fn w2_is_read() {
    let ours = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let body = vectors::W2.replace(
        r#""internal_ref""#,
        &format!(r#""paymentFunctionsId":"{ours}","internal_ref""#),
    );
    let notification = read(&body).unwrap();
    assert_eq!(notification.payment_id, PaymentId::parse(ours));
    let fact = notification.fact;
    assert_eq!(fact.outcome, Outcome::Completed);
    assert_eq!(fact.payment.unwrap().as_str(), "pay_apm_2K9xR3mN5pQ7sT1w");
    assert_eq!(fact.occurred_at.as_deref(), Some("2024-03-07T14:35:22.000Z"));
}

#[test]
fn outcome_depends_on_status_and_event_but_not_on_success() {
    for (body, outcome) in [
        (
            r#"{"event":"payment.authorized","paymentId":"p","status":"AUTHORIZED"}"#,
            Outcome::Authorized,
        ),
        (r#"{"event":"payment.pending","paymentId":"p"}"#, Outcome::Pending),
        (
            r#"{"event":"payment.failed","paymentId":"p","status":"DECLINED"}"#,
            Outcome::Failed,
        ),
        (
            r#"{"event":"payment.cancelled","paymentId":"p","status":"ABANDONED"}"#,
            Outcome::Cancelled,
        ),
        (
            r#"{"success":true,"status":"PENDING","data":{"order_id":"o","txn_id":"t"}}"#,
            Outcome::Pending,
        ),
        (
            r#"{"success":true,"status":"success","data":{"order_id":"o","txn_id":"t"}}"#,
            Outcome::Completed,
        ),
        (
            r#"{"success":true,"data":{"order_id":"o","status":"FAILED"}}"#,
            Outcome::Failed,
        ),
        (
            r#"{"event":"payment.completed","paymentId":"p","status":"FAILED"}"#,
            Outcome::Unrecognised,
        ),
        (r#"{"event":"payment.settled","paymentId":"p"}"#, Outcome::Unrecognised),
        (r#"{"paymentId":"p","status":"CAPTURED"}"#, Outcome::Unrecognised),
    ] {
        assert_eq!(read(body).unwrap().fact.outcome, outcome, "{body}");
    }
}

#[test]
fn contradictory_members_are_not_used() {
    let body = |top: &str, inner: &str| format!(r#"{{"paymentId":"p",{top},"data":{{{inner}}}}}"#);
    let fact = |top: &str, inner: &str| read(&body(top, inner)).unwrap().fact;
    assert_eq!(
        fact(r#""status":"SUCCESS""#, r#""status":"PENDING""#).outcome,
        Outcome::Unrecognised
    );
    assert_eq!(
        fact(r#""status":"SUCCESS""#, r#""status":"COMPLETED""#).outcome,
        Outcome::Completed
    );
    let money = |top: &str, inner: &str| fact(&format!(r#""status":"SUCCESS",{top}"#), inner).money();
    assert!(money(r#""amount":5,"currency":"USD""#, r#""amount":"5.00","currency":"usd""#).is_some());
    assert!(money(r#""amount":null,"currency":null"#, r#""amount":5,"currency":"USD""#).is_some());
    assert!(money(r#""amount":5,"currency":"USD""#, r#""amount":50,"currency":"USD""#).is_none());
    assert!(money(r#""amount":5,"currency":"USD""#, r#""currency":"EUR""#).is_none());
}

#[test]
fn metadata_is_read_from_the_top_or_from_data() {
    let ours = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let body =
        format!(r#"{{"status":"SUCCESS","metadata":null,"data":{{"metadata":{{"paymentFunctionsId":"{ours}"}}}}}}"#);
    assert_eq!(read(&body).unwrap().payment_id, PaymentId::parse(ours));
}

#[test]
fn body_without_payment_or_status_is_unreadable() {
    for body in [
        "",
        "7",
        "{}",
        r#"{"success":true}"#,
        r#"{"paymentId":"p"}"#,
        r#"{"status":"SUCCESS","data":{}}"#,
    ] {
        assert!(read(body).is_err(), "{body}");
    }
}

#[test]
fn signature_is_read_only_from_its_header() {
    for (name, is_read) in [("fs-webhook-hash", true), ("x-signature", false)] {
        let value = HeaderValue::from_str(&"0f".repeat(32)).unwrap();
        let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value)]);
        assert_eq!(WEBHOOKS.signatures(&headers).is_some(), is_read, "{name}");
    }
}
