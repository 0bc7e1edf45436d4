//! FinvyPay's webhooks: W1 (the general page), W1 wrapped in `request`, and W2 (the APM page).

use crate::domain::fact::{Fact, Outcome};
use crate::domain::id::{OrderId, Reference};
use crate::domain::json::{Json, Object};
use crate::domain::provider::Provider;
use crate::providers::notification::{Notification, Unusable, Webhooks, our_id, outcome_of, read_amount};

/// One header signs them all.
pub(in crate::providers) const WEBHOOKS: Webhooks = Webhooks {
    signature_headers: &["fs-webhook-hash"],
    read,
};

/// W2's events by name, and every status word.
fn known(word: &str) -> Option<Outcome> {
    match word.to_ascii_lowercase().strip_prefix("payment.") {
        Some(event @ ("completed" | "authorized" | "pending" | "failed" | "cancelled")) => super::outcome(event),
        Some(_) => None,
        None => super::outcome(word),
    }
}

fn read(body: &Object) -> Result<Notification, Unusable> {
    let body = body.get("request").and_then(Json::as_object).unwrap_or(body);
    let data = body.get("data").and_then(Json::as_object);
    // W2 has its fields on top, W1 in `data`. Where both places say something of the outcome or the money, both must
    // agree.
    let places = || [Some(body), data].into_iter().flatten();
    let text = |names: &[&str]| places().find_map(|place| names.iter().find_map(|name| place.str(name)));
    let raw_status: Vec<&str> = places()
        .filter_map(|place| place.str("status"))
        .chain(body.str("event"))
        .collect();
    let amounts = places()
        .filter_map(|place| place.get("amount"))
        .filter(|amount| **amount != Json::Null)
        .map(|amount| read_amount(Some(amount)));
    let currencies = places()
        .filter_map(|place| place.str("currency"))
        .map(|code| Some(code.to_ascii_uppercase()));
    let (outcome, raw_status) = outcome_of(&raw_status, known);
    Ok(Notification {
        payment_id: our_id(places().find_map(|place| place.get("metadata").and_then(Json::as_object))),
        fact: Fact {
            provider: Provider::FinvyPay,
            payment: text(&["paymentId"]).and_then(Reference::parse),
            transaction: text(&["txn_id", "transactionId"]).and_then(Reference::parse),
            order_id: text(&["orderId", "order_id"]).and_then(OrderId::parse),
            outcome,
            raw_status,
            amount: agreed(amounts),
            currency: agreed(currencies),
            occurred_at: text(&["completedAt", "updatedAt", "timestamp"]).map(str::to_owned),
            operator: None,
        },
    })
}

/// What all say; nothing where they differ.
fn agreed<T: PartialEq>(mut said: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = said.next().flatten();
    first.filter(|first| said.all(|other| other.as_ref() == Some(first)))
}

#[cfg(test)]
mod tests;
