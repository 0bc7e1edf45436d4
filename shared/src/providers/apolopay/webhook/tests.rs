use crate::domain::fact::Outcome;
use crate::domain::id::PaymentId;
use crate::domain::provider::Provider;
use crate::providers::notification::Unusable;
use crate::providers::test_vectors as vectors;
use crate::providers::webhooks;

fn read(body: &str) -> Result<super::Notification, Unusable> {
    webhooks(Provider::ApoloPay).read(body.as_bytes())
}

#[test]
fn both_shapes_say_the_same() {
    let (a, b) = (read(vectors::A).unwrap(), read(vectors::B).unwrap());
    assert_eq!(a.fact.digest(), b.fact.digest());
    assert_eq!(a.fact.outcome, Outcome::Completed);
    assert_eq!(a.fact.amount.unwrap().to_string(), "25.5");
    assert_eq!(a.fact.payment.unwrap().as_str(), "a1b2c3d4-e5f6-7890-abcd-ef1234567890");
    assert_eq!(a.fact.order_id.unwrap().as_str(), "ORD-9821");
    assert_eq!(a.payment_id, None);
}

#[test]
fn any_mixture_is_read() {
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
        let event = read(body).unwrap();
        assert_eq!(event.fact.outcome, outcome, "{body}");
        assert_eq!(
            event.fact.amount.as_ref().map(|amount| amount.to_string()).as_deref(),
            amount,
            "{body}"
        );
        assert_eq!(event.fact.references().count(), 1, "{body}");
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
fn unusable_bodies() {
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
