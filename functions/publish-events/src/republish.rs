//! Republishing: redrives the dead-letter queue, and republishes one payment for an operator.
//!
//! Guarantee: a republished event has its original event id, so that a consumer can recognise it.

use payment_functions::domain::id::PaymentId;
use payment_functions::store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::dead_letter::DeadLetterMessage;
use crate::event_bus::EventBus;
use crate::payment_event::{self, EventEntry, Unpublishable};
use crate::retry_policy::{Failure, events_for_next_call};

/// A message of the dead-letter queue, as Lambda delivers it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SqsMessage {
    /// Identifies the message in the batch response.
    pub message_id: String,
    body: String,
}

/// Why an event was not republished.
#[derive(Debug, thiserror::Error)]
pub enum RepublishError {
    /// The message is not a dead-letter message with a valid payment id and time.
    #[error("not a dead-letter message")]
    NotADeadLetter,
    /// The payment does not exist.
    #[error("there is no payment {0}")]
    NoPayment(PaymentId),
    /// The provider has not accepted the payment yet, so it has no events.
    #[error("the payment is still being created")]
    Creating,
    /// The payment cannot be turned into an event.
    #[error(transparent)]
    Unpublishable(#[from] Unpublishable),
    /// The bus did not accept the event.
    #[error(transparent)]
    Bus(#[from] Failure),
    /// The payment could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The response to an operator's `republish`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    payment_id: PaymentId,
    /// The detail-types of the republished events.
    published: Vec<String>,
}

/// Republishes a payment's current state: its status, and its attention reasons if there are any.
///
/// # Errors
/// [`RepublishError`].
pub async fn republish(store: &Store, bus: &EventBus, id: PaymentId) -> Result<Published, RepublishError> {
    let mut published = Vec::new();
    for entry in current_entries(store, id).await? {
        bus.put(&[&entry]).await.into_iter().collect::<Result<(), _>>()?;
        published.push(entry.detail_type);
    }
    Ok(Published {
        payment_id: id,
        published,
    })
}

/// Redrives dead-letter messages: publishes the event of each, or its payment's current state if it has none. Returns
/// the ids of the messages that stay in the queue.
pub async fn redrive(store: &Store, bus: &EventBus, messages: Vec<SqsMessage>) -> Vec<String> {
    let mut failed = Vec::new();
    let mut entries: Vec<(&SqsMessage, EventEntry)> = Vec::new();
    for message in &messages {
        match entries_of(store, message).await {
            Ok(events) => entries.extend(events.into_iter().map(|entry| (message, entry))),
            Err(error) => {
                tracing::error!(message = message.message_id, %error, "dead-letter message not redriven; it stays in the queue");
                failed.push(message.message_id.clone());
            }
        }
    }
    let mut rest = entries.as_slice();
    while !rest.is_empty() {
        let count = events_for_next_call(rest.iter().map(|(_, entry)| entry.payment_id));
        let (call, remaining) = rest.split_at(count);
        rest = remaining;
        let outcomes = bus.put(&call.iter().map(|(_, entry)| entry).collect::<Vec<_>>()).await;
        for ((message, _), outcome) in call.iter().zip(outcomes) {
            if outcome.is_err() && !failed.contains(&message.message_id) {
                failed.push(message.message_id.clone());
            }
        }
    }
    failed
}

async fn entries_of(store: &Store, message: &SqsMessage) -> Result<Vec<EventEntry>, RepublishError> {
    let message: DeadLetterMessage = serde_json::from_str(&message.body).map_err(|_| RepublishError::NotADeadLetter)?;
    let id = message.parse_payment_id().ok_or(RepublishError::NotADeadLetter)?;
    match message.entry {
        Some(entry) => Ok(vec![entry.into_entry(id).ok_or(RepublishError::NotADeadLetter)?]),
        None => current_entries(store, id).await,
    }
}

async fn current_entries(store: &Store, id: PaymentId) -> Result<Vec<EventEntry>, RepublishError> {
    let payment = store.payment(id).await?.ok_or(RepublishError::NoPayment(id))?;
    let entries = payment_event::from_payment(&payment)?;
    if entries.is_empty() {
        return Err(RepublishError::Creating);
    }
    Ok(entries)
}
