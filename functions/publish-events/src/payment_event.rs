//! The events of a payment: no AWS, no clock.
//!
//! Guarantees: every status change from `pending` on is one event. Every change of the payment's attention is one
//! `payment.attention` event, after the status event. Nothing else is an event. The same change always gives the same
//! event id. An event holds the members of `GET /payments/{id}`, the caller's metadata, the event id, the version, and
//! the attention; nothing else.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use payment_functions::api::payment_view::PaymentView;
use payment_functions::domain::attention::{Attention, AttentionReason};
use payment_functions::domain::id::PaymentId;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::redacted::Redacted;
use payment_functions::domain::status::Status;
use payment_functions::domain::time::{Timestamp, as_rfc3339};
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
    /// The status change, for the metrics. `None` for `payment.attention`, and for an event from a dead-letter message.
    pub status_change: Option<StatusChange>,
    /// The reasons for attention that the change raised, for the log and the metrics. Only in a `payment.attention`
    /// from the stream; empty otherwise.
    pub raised: Vec<AttentionReason>,
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
    attention: Option<Vec<AttentionView<'a>>>,
}

/// A reason for attention as consumers see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttentionView<'a> {
    reason: AttentionReason,
    #[serde(serialize_with = "as_rfc3339")]
    since: Timestamp,
    /// A JSON number in major units.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

impl<'a> AttentionView<'a> {
    fn of(attention: &'a Attention) -> Self {
        let amount = attention.amount.as_ref().map(ToString::to_string);
        Self {
            reason: attention.reason,
            since: attention.since,
            amount: amount.and_then(|amount| RawValue::from_string(amount).ok()),
            currency: attention.currency.as_deref(),
            at: attention.at.map(|at| at.to_string()),
        }
    }
}

/// The events of a change, in the order in which they are published.
///
/// # Errors
/// [`Unpublishable`].
pub fn from_change(change: &Change) -> Result<Vec<EventEntry>, Unpublishable> {
    let Change { before, after } = change;
    let before = before.as_ref();
    let is_new_status = before.map(|before| before.status) != Some(after.status);
    let changes_before = before.map_or(0, |before| before.attention.changes());
    let entries = entries(after, is_new_status, after.attention.changes() > changes_before)?;
    let raised = raised(change);
    let with_raised = |entry: EventEntry| EventEntry {
        raised: if entry.status_change.is_none() {
            raised.clone()
        } else {
            Vec::new()
        },
        ..entry
    };
    Ok(entries.into_iter().map(with_raised).collect())
}

/// The reasons for attention that a change raised.
pub fn raised(change: &Change) -> Vec<AttentionReason> {
    let before = change.before.as_ref();
    let is_raised = |entry: &&Attention| {
        let known = before.and_then(|before| before.attention.get(entry.reason));
        known != Some(*entry)
    };
    let raised = change.after.attention.entries().iter().filter(is_raised);
    raised.map(|entry| entry.reason).collect()
}

/// The events of a payment's current state; no status while it is `creating`.
///
/// # Errors
/// [`Unpublishable`].
pub fn from_payment(payment: &Payment) -> Result<Vec<EventEntry>, Unpublishable> {
    entries(payment, true, payment.attention.changes() > 0)
}

fn entries(payment: &Payment, status: bool, attention: bool) -> Result<Vec<EventEntry>, Unpublishable> {
    let status = (status && payment.status >= Status::Pending).then(|| status_event(payment));
    let attention = attention.then(|| attention_event(payment));
    status.into_iter().chain(attention).collect()
}

/// A payment reaches each status once, so the status identifies the change in every later version.
fn status_event(payment: &Payment) -> Result<EventEntry, Unpublishable> {
    let change = StatusChange {
        provider: payment.provider,
        status: payment.status,
        age: payment.updated_at.since(payment.created_at),
    };
    let entry = entry(payment, payment.status.name(), payment.status.name())?;
    Ok(EventEntry {
        status_change: Some(change),
        ..entry
    })
}

/// The number of changes of the attention only grows, so it identifies the change.
fn attention_event(payment: &Payment) -> Result<EventEntry, Unpublishable> {
    let change = format!("attention:{}", payment.attention.changes());
    entry(payment, ATTENTION, &change)
}

const ATTENTION: &str = "attention";

fn entry(payment: &Payment, kind: &str, change: &str) -> Result<EventEntry, Unpublishable> {
    let metadata = payment.metadata.as_ref();
    let metadata = metadata
        .map(|metadata| serde_json::from_str(metadata.expose()))
        .transpose()
        .map_err(|_| Unpublishable)?;
    let is_shown = kind == ATTENTION || !payment.attention.is_empty();
    let attention = || payment.attention.entries().iter().map(AttentionView::of).collect();
    let detail = Detail {
        event_id: &format!("{}:{change}", payment.id),
        version: payment.version,
        payment: PaymentView::for_get(payment),
        metadata,
        attention: is_shown.then(attention),
    };
    Ok(EventEntry {
        payment_id: payment.id,
        detail_type: format!("payment.{kind}"),
        time: payment.updated_at,
        detail: Redacted::new(serde_json::to_string(&detail).map_err(|_| Unpublishable)?),
        status_change: None,
        raised: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
