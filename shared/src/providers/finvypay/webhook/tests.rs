use lambda_http::http::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::fact::Outcome;
use crate::domain::id::{OrderId, PaymentId};
use crate::providers::test_vectors as vectors;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const OURS: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

fn read(body: &str) -> Result<Notification, UnreadableWebhook> {
    WEBHOOKS.read(body.as_bytes(), NOW)
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
    let body = vectors::W2.replace(
        r#""internal_ref""#,
        &format!(r#""paymentFunctionsId":"{OURS}","internal_ref""#),
    );
    let notification = read(&body).unwrap();
    assert_eq!(notification.payment_id, PaymentId::parse(OURS));
    let fact = notification.fact;
    assert_eq!(fact.outcome, Outcome::Completed);
    assert_eq!(fact.payment.unwrap().as_str(), "pay_apm_2K9xR3mN5pQ7sT1w");
    assert_eq!(fact.occurred_at.as_deref(), Some("2024-03-07T14:35:22.000Z"));
}

#[test]
fn outcome_depends_on_status_and_event() {
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
            Outcome::Contradictory,
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
        Outcome::Contradictory
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
    let body =
        format!(r#"{{"status":"SUCCESS","metadata":null,"data":{{"metadata":{{"paymentFunctionsId":"{OURS}"}}}}}}"#);
    assert_eq!(read(&body).unwrap().payment_id, PaymentId::parse(OURS));
}

#[test]
fn body_without_payment_or_status_is_unreadable() {
    use UnreadableWebhook::{NoPayment, NoStatus, NotAnObject, NotJson};
    for (body, expected) in [
        ("", NotJson),
        ("<html>", NotJson),
        (r#"{"paymentId":"p","paymentId":"p","status":"SUCCESS"}"#, NotJson),
        ("\u{feff}\u{feff}{}", NotJson),
        ("7", NotAnObject),
        (r#"[{"paymentId":"p","status":"SUCCESS"}]"#, NotAnObject),
        ("{}", NoPayment),
        (r#"{"success":true}"#, NoPayment),
        (r#"{"status":"SUCCESS","data":{}}"#, NoPayment),
        (r#"{"status":"SUCCESS","data":[{"txn_id":"t"}]}"#, NoPayment),
        (r#"{"result":{"paymentId":"p","status":"SUCCESS"}}"#, NoPayment),
        (r#"{"paymentId":"p"}"#, NoStatus),
        // `type` is not documented as the status.
        (r#"{"paymentId":"p","type":"payment.completed"}"#, NoStatus),
        (r#"{"paymentId":"p","status":{"code":"SUCCESS"}}"#, NoStatus),
        // The order alone does not stand in for an id that cannot be read.
        (r#"{"status":"SUCCESS","orderId":"o","txn_id":2.6e7}"#, NoPayment),
        (r#"{"status":"SUCCESS","orderId":"o","txn_id":{"id":"t"}}"#, NoPayment),
        (
            r#"{"status":"SUCCESS","orderId":"o","metadata":{"paymentFunctionsId":"67e5"}}"#,
            NoPayment,
        ),
    ] {
        assert_eq!(read(body), Err(expected), "{body}");
    }
    let long = format!(r#"{{"status":"SUCCESS","orderId":"o","txn_id":"{}"}}"#, "x".repeat(300));
    assert_eq!(read(&long), Err(NoPayment));
}

#[test]
fn test_message_is_recognised_unless_it_names_our_payment() {
    for (body, expected) in [
        (r#"{"event":"webhook.test"}"#.to_owned(), None),
        (r#"{"success":true,"status":"PING","data":{}}"#.to_owned(), None),
        (r#"{"type":"test","request":{"status":"SUCCESS","data":{"txn_id":"t"}}}"#.to_owned(), None),
        (
            r#"{"event":"payment.test","paymentId":"pay_apm_test_1","orderId":"TEST-1","status":"COMPLETED","amount":1,"currency":"USD","metadata":{}}"#
                .to_owned(),
            None,
        ),
        (
            format!(r#"{{"event":"payment.test","status":"COMPLETED","metadata":{{"paymentFunctionsId":"{OURS}"}}}}"#),
            Some("COMPLETED payment.test"),
        ),
        (
            format!(r#"{{"type":"Test","status":"COMPLETED","metadata":{{"paymentFunctionsId":"{OURS}"}}}}"#),
            Some("COMPLETED Test"),
        ),
    ] {
        match expected {
            None => assert_eq!(read(&body), Err(UnreadableWebhook::TestMessage), "{body}"),
            Some(raw_status) => {
                let fact = read(&body).unwrap().fact;
                assert_eq!((fact.outcome, fact.raw_status.as_str()), (Outcome::Unrecognised, raw_status), "{body}");
            }
        }
    }
}

#[test]
fn byte_order_mark_and_lone_surrogates_do_not_matter() {
    let plain = read(vectors::W1).unwrap();
    assert_eq!(read(&format!("\u{feff}{}", vectors::W1)).unwrap(), plain);
    assert_eq!(read(&vectors::W1.replace("Jane", r"J\ud800ne")).unwrap(), plain);
    // In an id it matters: two different ids would look the same.
    let order = vectors::W1.replace("ORD-APM-78901", r"ORD-\ud800");
    let notification = read(&order).unwrap();
    assert_eq!(notification.fact.order_id, None);
    assert_eq!(notification.fact.transaction, plain.fact.transaction);
}

#[test]
fn metadata_is_read_from_a_json_text() {
    let metadata = serde_json::to_string(&format!(r#"{{"paymentFunctionsId":"{OURS}"}}"#)).unwrap();
    let notification = read(&format!(
        r#"{{"paymentId":"p","status":"SUCCESS","metadata":{metadata}}}"#
    ))
    .unwrap();
    assert_eq!(notification.payment_id, PaymentId::parse(OURS));
    let notification = read(r#"{"orderId":"o","status":"SUCCESS","metadata":"a note"}"#).unwrap();
    assert_eq!(notification.fact.order_id, OrderId::parse("o"));
}

#[test]
fn time_of_receipt_is_kept() {
    assert_eq!(read(vectors::W2).unwrap().fact.received_at, NOW);
}

#[test]
fn signature_is_read_only_from_its_header() {
    for (name, is_read) in [("fs-webhook-hash", true), ("x-signature", false)] {
        let value = HeaderValue::from_str(&"0f".repeat(32)).unwrap();
        let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value)]);
        assert_eq!(WEBHOOKS.signatures(&headers).is_some(), is_read, "{name}");
    }
}
