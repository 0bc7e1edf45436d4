use lambda_http::http::{HeaderMap, HeaderValue};

use crate::domain::id::PaymentId;
use crate::providers::test_vectors as vectors;

use super::*;

fn read(body: &str) -> Result<Notification, UnreadableWebhook> {
    WEBHOOKS.read(body.as_bytes())
}

#[test]
fn both_formats_give_the_same_fact() {
    let (a, b) = (read(vectors::A).unwrap(), read(vectors::B).unwrap());
    assert_eq!(a.fact.digest(), b.fact.digest());
    assert_eq!(a.fact.outcome, Outcome::Completed);
    assert_eq!(a.fact.amount.unwrap().to_string(), "25.5");
    assert_eq!(a.fact.payment.unwrap().as_str(), "a1b2c3d4-e5f6-7890-abcd-ef1234567890");
    assert_eq!(a.fact.order_id.unwrap().as_str(), "ORD-9821");
    assert_eq!(a.payment_id, None);
}

#[test]
fn mixture_of_both_formats_is_read() {
    let ours = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    for (body, outcome, amount) in [
        (
            r#"{"status":"completed","processId":"p","amount":"25.50"}"#,
            Outcome::Completed,
            Some("25.5"),
        ),
        (
            r#"{"event":"payment.completed","id":"p","amount":25.5}"#,
            Outcome::Completed,
            Some("25.5"),
        ),
        (
            r#"{"event":"payment.completed","status":"completed","id":"p","processId":"p","amount":1}"#,
            Outcome::Completed,
            Some("1"),
        ),
        (
            r#"{"event":"payment.completed","status":"failed","id":"p","amount":1}"#,
            Outcome::Unrecognised,
            Some("1"),
        ),
        (r#"{"status":"expired","id":"p"}"#, Outcome::Unrecognised, None),
        (
            r#"{"status":"completed","id":"p","amount":null}"#,
            Outcome::Completed,
            None,
        ),
        (
            r#"{"status":"completed","id":"p","amount":"25,50"}"#,
            Outcome::Completed,
            None,
        ),
    ] {
        let fact = read(body).unwrap().fact;
        assert_eq!(fact.outcome, outcome, "{body}");
        assert_eq!(
            fact.amount.as_ref().map(|amount| amount.to_string()).as_deref(),
            amount,
            "{body}"
        );
        assert_eq!(fact.references().count(), 1, "{body}");
    }
    let named = read(&format!(
        r#"{{"status":"completed","metadata":{{"paymentFunctionsId":"{ours}"}}}}"#
    ))
    .unwrap();
    assert_eq!(named.payment_id, PaymentId::parse(ours));
    let two = read(r#"{"status":"completed","id":"a","processId":"b"}"#).unwrap();
    assert_eq!(two.fact.references().count(), 2);
}

#[test]
fn body_without_payment_or_status_is_unreadable() {
    for body in [
        "",
        "[]",
        "null",
        "{}",
        r#"{"status":"completed"}"#,
        r#"{"id":"p"}"#,
        r#"{"id":"p","id":"q","status":"completed"}"#,
    ] {
        assert!(read(body).is_err(), "{body}");
    }
}

/// The number of signatures read from these headers.
fn signatures(headers: &[(&'static str, &str)]) -> Option<usize> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    WEBHOOKS.signatures(&map).map(|signatures| signatures.len())
}

#[test]
fn every_signature_is_read_or_none_is() {
    let good = "0f".repeat(32);
    let (good, bad) = (good.as_str(), "sha256=0f");
    for (headers, expected) in [
        (&[][..], None),
        (&[("fs-webhook-hash", good)], None),
        (&[("x-signature", good)], Some(1)),
        (&[("x-apolopay-signature", good)], Some(1)),
        (&[("x-signature", good), ("x-apolopay-signature", good)], Some(2)),
        (&[("x-signature", good), ("x-signature", good)], Some(2)),
        (&[("x-signature", bad)], None),
        (&[("x-signature", good), ("x-apolopay-signature", bad)], None),
        (&[("x-signature", ""), ("x-apolopay-signature", good)], None),
    ] {
        assert_eq!(signatures(headers), expected, "{headers:?}");
    }
}
