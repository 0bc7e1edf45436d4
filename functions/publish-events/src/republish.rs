//! Publishing again: what waits in the dead-letter queue, and what an operator asks for.
//!
//! Guarantee: what is published again has the event id that it had before, so that a consumer sees that it is the same.

use payment_functions::domain::id::PaymentId;
use payment_functions::store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::dead_letter::DeadLetter;
use crate::event_bus::Bus;
use crate::payment_event::{self, Entry, Unpublishable};
use crate::retry_policy::{Failure, call_length};

/// A message of the dead-letter queue.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// What Lambda is told about a message that is not done.
    pub message_id: String,
    body: String,
}

/// Why something was not published again.
#[derive(Debug, thiserror::Error)]
pub enum NotAgain {
    /// The message is none of ours.
    #[error("not a dead letter")]
    NotALetter,
    /// There is no such payment.
    #[error("there is no payment {0}")]
    NoPayment(PaymentId),
    /// Nothing is published of a payment that its provider has not answered for.
    #[error("the payment is still being created")]
    Creating,
    /// No event can be made of it.
    #[error(transparent)]
    Unpublishable(#[from] Unpublishable),
    /// The bus.
    #[error(transparent)]
    Bus(#[from] Failure),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was published again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    payment_id: PaymentId,
    /// The detail-types.
    published: Vec<String>,
}

/// Publishes where a payment stands now: its status, and what a person should look at if there is something.
///
/// # Errors
/// [`NotAgain`].
pub async fn republish(store: &Store, bus: &Bus, id: PaymentId) -> Result<Published, NotAgain> {
    let mut published = Vec::new();
    for entry in current(store, id).await? {
        bus.put(&[&entry]).await.into_iter().collect::<Result<(), _>>()?;
        published.push(entry.detail_type);
    }
    Ok(Published {
        payment_id: id,
        published,
    })
}

/// Puts the events of dead letters on the bus; of a letter without one, where its payment stands now. Gives the ids of the
/// messages that stay in the queue.
pub async fn drain(store: &Store, bus: &Bus, messages: Vec<Message>) -> Vec<String> {
    let mut failed = Vec::new();
    let mut entries: Vec<(&Message, Entry)> = Vec::new();
    for message in &messages {
        match entries_of(store, message).await {
            Ok(own) => entries.extend(own.into_iter().map(|entry| (message, entry))),
            Err(error) => {
                tracing::error!(message = message.message_id, %error, "a dead letter stays in the queue");
                failed.push(message.message_id.clone());
            }
        }
    }
    let mut rest = entries.as_slice();
    while !rest.is_empty() {
        let length = call_length(rest.iter().map(|(_, entry)| entry.payment_id));
        let (call, behind) = rest.split_at(length);
        rest = behind;
        let outcomes = bus.put(&call.iter().map(|(_, entry)| entry).collect::<Vec<_>>()).await;
        for ((message, _), outcome) in call.iter().zip(outcomes) {
            if outcome.is_err() && !failed.contains(&message.message_id) {
                failed.push(message.message_id.clone());
            }
        }
    }
    failed
}

async fn entries_of(store: &Store, message: &Message) -> Result<Vec<Entry>, NotAgain> {
    let letter: DeadLetter = serde_json::from_str(&message.body).map_err(|_| NotAgain::NotALetter)?;
    let id = letter.payment().ok_or(NotAgain::NotALetter)?;
    match letter.entry {
        Some(entry) => Ok(vec![entry.into_entry(id).ok_or(NotAgain::NotALetter)?]),
        None => current(store, id).await,
    }
}

async fn current(store: &Store, id: PaymentId) -> Result<Vec<Entry>, NotAgain> {
    let payment = store.payment(id).await?.ok_or(NotAgain::NoPayment(id))?;
    let entries = payment_event::of_payment(&payment)?;
    if entries.is_empty() {
        return Err(NotAgain::Creating);
    }
    Ok(entries)
}
