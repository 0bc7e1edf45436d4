//! The events of a payment. Pure: no AWS, no clock.
//!
//! Guarantees: every status change from `pending` on is one event. Each further fact that needs manual review of a
//! completed payment is one `payment.attention` event, after the status event. Nothing else is an event. The same
//! change always gives the same event id. An event holds the members of `GET /payments/{id}`, the caller's metadata,
//! the event id, the version, and the attention reasons; nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use payment_functions::api::payment_view::PaymentView;
use payment_functions::domain::id::PaymentId;
use payment_functions::domain::payment::{AttentionReason, Payment};
use payment_functions::domain::provider::Provider;
use payment_functions::domain::redacted::Redacted;
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::store::stream::Change;

/// The `source` of every event.
pub const SOURCE: &str = "payment-functions";

/// One event for the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventEntry {
    /// The payment.
    pub payment_id: PaymentId,
    /// `payment.<status>` or `payment.attention`.
    pub detail_type: String,
    /// When the payment changed.
    pub time: Timestamp,
    /// A JSON object. It holds the caller's metadata, so it must not be logged.
    pub detail: Redacted<String>,
    /// The status change, for the metrics; `None` for `payment.attention` and for redriven events.
    pub status_change: Option<StatusChange>,
}

/// A payment reached a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// The payment's provider.
    pub provider: Provider,
    /// The new status.
    pub status: Status,
    /// The time from the payment's creation to this status.
    pub age: Duration,
}

/// The payment's stored metadata is not JSON, so it has no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payment's metadata is not JSON")]
pub struct Unpublishable;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    event_id: &'a str,
    version: u64,
    #[serde(flatten)]
    payment: PaymentView<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention: Option<&'a BTreeSet<AttentionReason>>,
}

/// The events of a change, in the order in which they are published.
///
/// # Errors
/// [`Unpublishable`].
pub fn from_change(change: &Change) -> Result<Vec<EventEntry>, Unpublishable> {
    let Change { before, after } = change;
    let before = before.as_ref();
    let is_new_status = before.map(|before| before.status) != Some(after.status);
    let has_more_noted = after.noted.len() > before.map_or(0, |before| before.noted.len());
    entries(after, is_new_status, has_more_noted)
}

/// The events of a payment's current state; none while it is `creating`.
///
/// # Errors
/// [`Unpublishable`].
pub fn from_payment(payment: &Payment) -> Result<Vec<EventEntry>, Unpublishable> {
    entries(payment, true, true)
}

fn entries(payment: &Payment, status: bool, attention: bool) -> Result<Vec<EventEntry>, Unpublishable> {
    let status = (status && payment.status >= Status::Pending).then(|| status_event(payment));
    let attention = (attention && !payment.attention.is_empty()).then(|| attention_event(payment));
    status.into_iter().chain(attention).collect()
}

/// A payment reaches each status once, so the status identifies the change in every later version.
fn status_event(payment: &Payment) -> Result<EventEntry, Unpublishable> {
    let change = StatusChange {
        provider: payment.provider,
        status: payment.status,
        age: payment.updated_at.since(payment.created_at),
    };
    let entry = entry(payment, payment.status.name(), payment.status.name(), None)?;
    Ok(EventEntry {
        status_change: Some(change),
        ..entry
    })
}

/// The set of noted facts only grows, so its size identifies the change.
fn attention_event(payment: &Payment) -> Result<EventEntry, Unpublishable> {
    let change = format!("attention:{}", payment.noted.len());
    entry(payment, "attention", &change, Some(&payment.attention))
}

fn entry(
    payment: &Payment,
    kind: &str,
    change: &str,
    attention: Option<&BTreeSet<AttentionReason>>,
) -> Result<EventEntry, Unpublishable> {
    let metadata = payment.metadata.as_ref();
    let metadata = metadata
        .map(|metadata| serde_json::from_str(metadata.expose()))
        .transpose()
        .map_err(|_| Unpublishable)?;
    let detail = Detail {
        event_id: &format!("{}:{change}", payment.id),
        version: payment.version,
        payment: PaymentView::for_get(payment),
        metadata,
        attention,
    };
    Ok(EventEntry {
        payment_id: payment.id,
        detail_type: format!("payment.{kind}"),
        time: payment.updated_at,
        detail: Redacted::new(serde_json::to_string(&detail).map_err(|_| Unpublishable)?),
        status_change: None,
    })
}

#[cfg(test)]
mod tests;
