//! FinvyPay's webhooks: W1 (general documentation), W1 wrapped in `request`, and W2 (APM documentation).

use crate::domain::fact::{Fact, Outcome};
use crate::domain::id::{OrderId, Reference};
use crate::domain::json::{Json, Object};
use crate::domain::provider::Provider;
use crate::providers::finvypay::raw_status;
use crate::providers::notification::{
    Notification, UnreadableWebhook, Webhooks, combined_outcome, payment_id_in, read_amount,
};

/// All formats have their signature in the same header.
pub(in crate::providers) const WEBHOOKS: Webhooks = Webhooks {
    signature_headers: &["fs-webhook-hash"],
    read: read_body,
};

/// Maps an event name of W2 or a status name to its outcome.
fn outcome(name: &str) -> Option<Outcome> {
    match name.to_ascii_lowercase().strip_prefix("payment.") {
        Some(event @ ("completed" | "authorized" | "pending" | "failed" | "cancelled")) => raw_status::outcome(event),
        Some(_) => None,
        None => raw_status::outcome(name),
    }
}

fn read_body(body: &Object) -> Result<Notification, UnreadableWebhook> {
    let body = body.get("request").and_then(Json::as_object).unwrap_or(body);
    let data = body.get("data").and_then(Json::as_object);
    // W2 has its members at the top, W1 in `data`. If both have a status, amount or currency, they must agree.
    let places = || [Some(body), data].into_iter().flatten();
    let text = |names: &[&str]| places().find_map(|place| names.iter().find_map(|name| place.str(name)));
    let statuses: Vec<&str> = places()
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
    let (outcome, raw_status) = combined_outcome(&statuses, outcome);
    Ok(Notification {
        payment_id: payment_id_in(places().find_map(|place| place.get("metadata").and_then(Json::as_object))),
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

/// The common value; `None` if the values differ or one is unreadable.
fn agreed<T: PartialEq>(mut values: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = values.next().flatten();
    first.filter(|first| values.all(|other| other.as_ref() == Some(first)))
}

#[cfg(test)]
mod tests;
