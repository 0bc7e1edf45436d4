use lambda_http::http::{HeaderMap, HeaderValue};

use crate::domain::id::{OrderId, PaymentId, Reference};
use crate::providers::test_vectors as vectors;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const OURS: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

fn read(body: &str) -> Result<Notification, UnreadableWebhook> {
    WEBHOOKS.read(body.as_bytes(), NOW)
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
            Outcome::Unrecognised, // No documented word of ApoloPay's says that a payment failed.
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
        r#"{{"status":"completed","metadata":{{"paymentFunctionsId":"{OURS}"}}}}"#
    ))
    .unwrap();
    assert_eq!(named.payment_id, PaymentId::parse(OURS));
    let two = read(r#"{"status":"completed","id":"a","processId":"b"}"#).unwrap();
    assert_eq!(two.fact.references().count(), 2);
}

#[test]
fn completion_beside_an_error_is_contradictory() {
    for (beside, raw_status) in [
        (r#""success":true"#, "completed"),
        (r#""error":null"#, "completed"),
        (r#""success":false"#, "completed success:false"),
        (r#""success":"true""#, "completed success:string"),
        (r#""error":"EXPIRED""#, "completed error:EXPIRED"),
        (r#""error":{"message":"m"}"#, "completed error"),
        (r#""data":{"success":true},"result":"expired""#, "completed"),
        (r#""data":{"success":false}"#, "completed success:false"),
        (r#""result":{"error":"EXPIRED"}"#, "completed error:EXPIRED"),
    ] {
        let fact = read(&format!(r#"{{"id":"p","status":"completed","amount":1,{beside}}}"#))
            .unwrap()
            .fact;
        let is_believed = raw_status == "completed";
        assert_eq!(fact.outcome == Outcome::Completed, is_believed, "{beside}");
        assert_eq!(fact.outcome == Outcome::Contradictory, !is_believed, "{beside}");
        assert_eq!(fact.raw_status, raw_status);
    }
}

#[test]
fn webhook_that_speaks_of_money_going_back_is_reversed() {
    for (body, raw_status) in [
        (r#"{"id":"p","status":"refunded","amount":25.5}"#, "refunded"),
        (
            r#"{"event":"payment.chargeback","processId":"p"}"#,
            "payment.chargeback",
        ),
        (
            r#"{"id":"p","status":"completed","type":"REFUND","amount":25.5}"#,
            "completed",
        ),
        (
            r#"{"id":"p","status":"completed","amount":25.5,"refunded":true}"#,
            "completed",
        ),
        (
            r#"{"id":"p","status":"completed","amount":25.5,"data":{"refundDate":"2026-01-02"}}"#,
            "completed",
        ),
        (
            r#"{"id":"p","status":"completed","amount":25.5,"result":{"refund":{"status":true}}}"#,
            "completed",
        ),
        (
            r#"{"id":"p","status":"completed","success":false,"refunded":true}"#,
            "completed success:false",
        ),
        (r#"{"id":"p","refundDate":"2026-01-02"}"#, "refund"),
        (r#"{"id":"p","type":"charge.dispute.created"}"#, "chargeback"),
    ] {
        let fact = read(body).unwrap().fact;
        assert_eq!(
            (fact.outcome, fact.raw_status.as_str()),
            (Outcome::Reversed, raw_status),
            "{body}"
        );
        assert_eq!(fact.reversals.len(), 1, "{body}");
    }
    let fact = read(r#"{"id":"p","status":"completed","amount":1,"metadata":{"refunded":true},"refunded":false}"#);
    assert_eq!(fact.unwrap().fact.outcome, Outcome::Completed);
    for beside in [
        r#""refundRemoveDate":"2026-01-02""#,
        r#""result":{"status":"failed"}"#,
        r#""data":{"status":"pending"}"#,
        r#""data":{"event":"payment.failed"}"#,
    ] {
        let fact = read(&format!(r#"{{"id":"p","status":"completed",{beside}}}"#))
            .unwrap()
            .fact;
        assert!(
            !matches!(fact.outcome, Outcome::Completed | Outcome::Reversed),
            "{beside}"
        );
    }
    let test = r#"{"event":"payment.test","id":"p","refunded":true}"#;
    assert_eq!(read(test), Err(UnreadableWebhook::TestMessage));
}

#[test]
fn webhook_after_a_lost_response_names_our_payment_in_a_json_text() {
    let metadata = serde_json::to_string(&format!(r#"{{"orderId":"ORD-1","paymentFunctionsId":"{OURS}"}}"#)).unwrap();
    let body = format!(
        r#"{{"id":"a1b2c3d4-e5f6-7890-abcd-ef1234567890","status":"completed","amount":25.5,"metadata":{metadata}}}"#
    );
    let notification = read(&body).unwrap();
    assert_eq!(notification.payment_id, PaymentId::parse(OURS));
    assert_eq!(notification.fact.order_id, OrderId::parse("ORD-1"));
    assert_eq!(notification.fact.outcome, Outcome::Completed);
}

#[test]
fn byte_order_mark_and_lone_surrogates_do_not_matter() {
    let plain = read(vectors::A).unwrap();
    assert_eq!(read(&format!("\u{feff}{}", vectors::A)).unwrap(), plain);
    assert_eq!(read(&vectors::A.replace("apolopay", r"\udfff")).unwrap(), plain);
    assert_eq!(plain.fact.received_at, NOW);
}

#[test]
fn byte_that_is_not_utf_8_matters_only_in_an_id() {
    let latin_1 = |in_place_of: &str| {
        let body = vectors::A.replace(in_place_of, "\u{b5}").into_bytes();
        let body: Vec<u8> = body.into_iter().filter(|byte| *byte != 0xc2).collect();
        assert!(std::str::from_utf8(&body).is_err());
        WEBHOOKS.read(&body, NOW)
    };
    assert_eq!(latin_1("apolopay"), read(vectors::A));
    assert_eq!(latin_1("ef1234567890"), Err(UnreadableWebhook::NoPayment));
}

#[test]
fn numeric_id_is_kept_digit_by_digit() {
    let fact = read(r#"{"processId":12345678901234567890,"status":"COMPLETED","metadata":{"orderId":42}}"#)
        .unwrap()
        .fact;
    assert_eq!(fact.payment, Reference::parse("12345678901234567890"));
    assert_eq!(fact.order_id, OrderId::parse("42"));
}

#[test]
fn body_without_payment_or_status_is_unreadable() {
    use UnreadableWebhook::{NoPayment, NoStatus, NotAnObject, NotJson, TestMessage};
    for (body, expected) in [
        ("", NotJson),
        (r#"{"id":"p","id":"q","status":"completed"}"#, NotJson),
        ("[]", NotAnObject),
        ("null", NotAnObject),
        ("{}", NoPayment),
        (r#"{"status":"completed"}"#, NoPayment),
        (r#"{"result":{"id":"p","status":"completed"}}"#, NoPayment),
        (r#"{"data":{"id":"p","event":"payment.completed"}}"#, NoPayment),
        (
            r#"{"id":1e3,"status":"completed","metadata":{"orderId":"o"}}"#,
            NoPayment,
        ),
        (r#"{"id":"p"}"#, NoStatus),
        (r#"{"id":"p","type":"payment.completed"}"#, NoStatus),
        (
            r#"{"event":"webhook.test","timestamp":"2026-11-29T00:00:00Z"}"#,
            TestMessage,
        ),
        (
            r#"{"id":"11111111-1111-4111-8111-111111110001","status":"test","amount":0,"metadata":{}}"#,
            TestMessage,
        ),
    ] {
        assert_eq!(read(body), Err(expected), "{body}");
    }
    let named = read(&format!(
        r#"{{"status":"test","metadata":{{"paymentFunctionsId":"{OURS}"}}}}"#
    ))
    .unwrap();
    assert_eq!(named.fact.outcome, Outcome::Unrecognised);
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
