//! ApoloPay's webhooks: shape A (seen in production), shape B (documented), and any mixture of the two.

use crate::domain::fact::{Fact, Outcome};
use crate::domain::id::{OrderId, Reference};
use crate::domain::json::{Json, Object};
use crate::domain::provider::Provider;
use crate::providers::notification::{Notification, Unusable, Webhooks, our_id, outcome_of, read_amount};

/// A signs in `X-Signature`, B in `x-apolopay-signature`.
pub(in crate::providers) const WEBHOOKS: Webhooks = Webhooks {
    signature_headers: &["x-signature", "x-apolopay-signature"],
    read,
};

/// Only completion was ever seen.
fn known(word: &str) -> Option<Outcome> {
    let word = word.to_ascii_lowercase();
    matches!(word.as_str(), "completed" | "payment.completed").then_some(Outcome::Completed)
}

fn read(body: &Object) -> Result<Notification, Unusable> {
    let raw_status: Vec<&str> = ["status", "event"].iter().filter_map(|name| body.str(name)).collect();
    let (outcome, raw_status) = outcome_of(&raw_status, known);
    let metadata = body.get("metadata").and_then(Json::as_object);
    // Where both ids are there and differ, nobody knows which is ours: both are kept, and whichever is known decides.
    let [process_id, id] = ["processId", "id"].map(|name| body.str(name).and_then(Reference::parse));
    let other = id
        .clone()
        .filter(|id| process_id.as_ref().is_some_and(|process_id| process_id != id));
    Ok(Notification {
        payment_id: our_id(metadata),
        fact: Fact {
            provider: Provider::ApoloPay,
            payment: process_id.or(id),
            transaction: other,
            order_id: metadata
                .and_then(|metadata| metadata.str("orderId"))
                .and_then(OrderId::parse),
            outcome,
            raw_status,
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
mod tests;
