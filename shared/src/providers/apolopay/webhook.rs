//! ApoloPay's webhooks: format A (seen in production), format B (documented), and mixtures of both.

use crate::domain::fact::{Fact, Outcome};
use crate::domain::json::{Json, Object};
use crate::domain::provider::Provider;
use crate::domain::time::Timestamp;
use crate::providers::members::Members;
use crate::providers::notification::{Notification, UnreadableWebhook, Webhooks, believed_outcome};
use crate::providers::reversals::read_reversals;

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

/// Reads a body. A completion beside an error, or beside a `success` that is not `true`, is contradictory. One that
/// speaks of money going back is reversed. All these, and other status words, may also be in `data` or `result`.
fn read_body(body: &Object, received_at: Timestamp) -> Result<Notification, UnreadableWebhook> {
    let members = Members::of([body]);
    let inner = ["data", "result"].map(|name| body.get(name).and_then(Json::as_object));
    let whole = Members::of([Some(body)].into_iter().chain(inner).flatten());
    let reversals = read_reversals(&whole, &whole);
    let payment_id = members.payment_id();
    if members.is_test() && payment_id.value.is_none() {
        return Err(UnreadableWebhook::TestMessage);
    }
    // If both ids are present and differ, either may be the payment's. Both are stored; the known one decides.
    let [process_id, id] = ["processId", "id"].map(|name| members.reference(&[name]));
    let order_id = members.order_id_in_metadata();
    // The order must not stand in for an id that cannot be read.
    let is_doubtful = [process_id.is_unreadable, id.is_unreadable, payment_id.is_unreadable].contains(&true);
    let other = id
        .value
        .clone()
        .filter(|id| process_id.value.as_ref().is_some_and(|process_id| process_id != id));
    let (outcome, raw_status) = believed_outcome(&whole.status_words(), &whole.contradictions(), &reversals, outcome);
    Ok(Notification {
        payment_id: payment_id.value,
        fact: Fact {
            provider: Provider::ApoloPay,
            payment: process_id.value.or(id.value),
            transaction: other,
            order_id: order_id.value.filter(|_| !is_doubtful),
            outcome,
            raw_status,
            amount: members.amount(),
            currency: None,
            reversals,
            occurred_at: members.time(&["finalizedAt", "timestamp"]),
            created_at: None,
            is_foreign: false,
            received_at,
            operator: None,
        },
    })
}

#[cfg(test)]
mod tests;
