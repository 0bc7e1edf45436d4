//! What is published of a payment: the pure part, without bus or stream.
//!
//! Guarantees: every change of the status from `pending` on is one event, everything new that a person should look at
//! though the payment is completed is one after it, and nothing else is any; the same change gives the same event,
//! whenever and however often it is asked for; an event says what `GET /payments/{id}` says, with the caller's metadata,
//! and no more.

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

/// What all events name as their source.
pub const SOURCE: &str = "payment-functions";

/// An event as it is put on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The payment that it is about.
    pub payment_id: PaymentId,
    /// `payment.<status>` or `payment.attention`.
    pub detail_type: String,
    /// When the payment changed.
    pub time: Timestamp,
    /// A JSON object. It holds the caller's metadata, so it goes into no log.
    pub detail: Redacted<String>,
    /// The status that it tells of, for the metrics.
    pub reached: Option<Reached>,
}

/// A payment reached a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Whose payment it is.
    pub provider: Provider,
    /// The status.
    pub status: Status,
    /// How long after the payment's creation.
    pub age: Duration,
}

/// A payment that no event can be made of: its metadata is not the JSON that this program stores.
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

/// The events that follow from a change, in the order in which they are put on the bus.
///
/// # Errors
/// [`Unpublishable`].
pub fn of_change(change: &Change) -> Result<Vec<Entry>, Unpublishable> {
    let Change { before, after } = change;
    let before = before.as_ref();
    let is_new_status = before.map(|before| before.status) != Some(after.status);
    let is_noted_more = after.noted.len() > before.map_or(0, |before| before.noted.len());
    entries(after, is_new_status, is_noted_more)
}

/// The events that say where a payment stands now; none for one that is still being created.
///
/// # Errors
/// [`Unpublishable`].
pub fn of_payment(payment: &Payment) -> Result<Vec<Entry>, Unpublishable> {
    entries(payment, true, true)
}

fn entries(payment: &Payment, status: bool, attention: bool) -> Result<Vec<Entry>, Unpublishable> {
    let status = (status && payment.status >= Status::Pending).then(|| of_status(payment));
    let attention = (attention && !payment.attention.is_empty()).then(|| of_attention(payment));
    status.into_iter().chain(attention).collect()
}

/// A status is reached once, so that it names the change for good, also when the payment has other versions since.
fn of_status(payment: &Payment) -> Result<Entry, Unpublishable> {
    let reached = Reached {
        provider: payment.provider,
        status: payment.status,
        age: payment.updated_at.since(payment.created_at),
    };
    let entry = entry(payment, payment.status.name(), payment.status.name(), None)?;
    Ok(Entry {
        reached: Some(reached),
        ..entry
    })
}

/// What a person should look at only grows, so that how much there is names the change.
fn of_attention(payment: &Payment) -> Result<Entry, Unpublishable> {
    let change = format!("attention:{}", payment.noted.len());
    entry(payment, "attention", &change, Some(&payment.attention))
}

fn entry(
    payment: &Payment,
    kind: &str,
    change: &str,
    attention: Option<&BTreeSet<AttentionReason>>,
) -> Result<Entry, Unpublishable> {
    let metadata = payment.metadata.as_ref();
    let metadata = metadata
        .map(|metadata| serde_json::from_str(metadata.expose()))
        .transpose()
        .map_err(|_| Unpublishable)?;
    let detail = Detail {
        event_id: &format!("{}:{change}", payment.id),
        version: payment.version,
        payment: PaymentView::current(payment),
        metadata,
        attention,
    };
    Ok(Entry {
        payment_id: payment.id,
        detail_type: format!("payment.{kind}"),
        time: payment.updated_at,
        detail: Redacted::new(serde_json::to_string(&detail).map_err(|_| Unpublishable)?),
        reached: None,
    })
}

#[cfg(test)]
mod tests;
