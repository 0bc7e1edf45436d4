//! ApoloPay's webhooks: shape A (seen in production), shape B (documented), and any mixture of the two.

use crate::id::{OrderId, Provider, Reference};
use crate::json::{Json, Object};
use crate::payment::{Fact, Outcome};
use crate::providers::{Event, Unusable, Webhooks, our_id, outcome_of, read_amount};

/// A signs in `X-Signature`, B in `x-apolopay-signature`.
pub(super) const WEBHOOKS: Webhooks = Webhooks {
    signature_headers: &["x-signature", "x-apolopay-signature"],
    read,
};

/// Only completion was ever seen.
fn known(word: &str) -> Option<Outcome> {
    let word = word.to_ascii_lowercase();
    matches!(word.as_str(), "completed" | "payment.completed").then_some(Outcome::Completed)
}

fn read(body: &Object) -> Result<Event, Unusable> {
    let words: Vec<&str> = ["status", "event"].iter().filter_map(|name| body.str(name)).collect();
    let (outcome, words) = outcome_of(&words, known);
    let metadata = body.get("metadata").and_then(Json::as_object);
    // Where both ids are there and differ, nobody knows which is ours: both are kept, and whichever is known decides.
    let [process_id, id] = ["processId", "id"].map(|name| body.str(name).and_then(Reference::parse));
    let other = id
        .clone()
        .filter(|id| process_id.as_ref().is_some_and(|process_id| process_id != id));
    Ok(Event {
        payment_id: our_id(metadata),
        fact: Fact {
            provider: Provider::ApoloPay,
            payment: process_id.or(id),
            transaction: other,
            order_id: metadata
                .and_then(|metadata| metadata.str("orderId"))
                .and_then(OrderId::parse),
            outcome,
            words,
            amount: read_amount(body.get("amount")),
            currency: None,
            occurred_at: ["finalizedAt", "timestamp"]
                .iter()
                .find_map(|name| body.str(name))
                .map(str::to_owned),
            operator: None,
        },
    })
}

#[cfg(test)]
mod tests {
    use crate::id::{PaymentId, Provider};
    use crate::payment::Outcome;
    use crate::providers::{Unusable, vectors};

    fn read(body: &str) -> Result<super::Event, Unusable> {
        Provider::ApoloPay.profile().webhooks.read(body.as_bytes())
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
}
