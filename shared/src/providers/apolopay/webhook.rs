//! ApoloPay's webhooks: format A (seen in production), format B (documented), and mixtures of both.

use crate::domain::fact::{Fact, Outcome};
use crate::domain::id::{OrderId, Reference};
use crate::domain::json::{Json, Object};
use crate::domain::provider::Provider;
use crate::providers::notification::{
    Notification, UnreadableWebhook, Webhooks, combined_outcome, payment_id_in, read_amount,
};

/// Format A has its signature in `X-Signature`, format B in `x-apolopay-signature`.
pub(in crate::providers) const WEBHOOKS: Webhooks = Webhooks {
    signature_headers: &["x-signature", "x-apolopay-signature"],
    read: read_body,
};

/// Maps a status name to its outcome. Only completions have ever been seen.
fn outcome(name: &str) -> Option<Outcome> {
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "completed" | "payment.completed").then_some(Outcome::Completed)
}

fn read_body(body: &Object) -> Result<Notification, UnreadableWebhook> {
    let statuses: Vec<&str> = ["status", "event"].iter().filter_map(|name| body.str(name)).collect();
    let (outcome, raw_status) = combined_outcome(&statuses, outcome);
    let metadata = body.get("metadata").and_then(Json::as_object);
    // If both ids are present and differ, either may be the payment's. Both are stored; the known one decides.
    let [process_id, id] = ["processId", "id"].map(|name| body.str(name).and_then(Reference::parse));
    let other = id
        .clone()
        .filter(|id| process_id.as_ref().is_some_and(|process_id| process_id != id));
    Ok(Notification {
        payment_id: payment_id_in(metadata),
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
