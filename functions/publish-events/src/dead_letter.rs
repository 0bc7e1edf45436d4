//! The dead-letter queue for events that could not be published. Each message names its payment.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use payment_functions::domain::id::PaymentId;
use payment_functions::domain::redacted::Redacted;
use payment_functions::domain::time::Timestamp;
use payment_functions::platform::failpoint::{ExternalCall, wrap};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::payment_event::EventEntry;

/// The body of a message in the dead-letter queue.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterMessage {
    /// The payment's id as in the item's key; absent if the stream record had no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<String>,
    /// Why it was not published.
    pub reason: String,
    /// The event; absent if the payment could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<DeadLetterEntry>,
}

/// The event in a dead-letter message.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterEntry {
    detail_type: String,
    time: String,
    detail: Box<RawValue>,
}

/// Leaves out the detail, which holds the caller's metadata.
impl std::fmt::Debug for DeadLetterEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetterEntry")
            .field("detail_type", &self.detail_type)
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

impl DeadLetterMessage {
    /// A message about a payment, with the event that was not published.
    pub fn new(payment_id: Option<String>, reason: String, entry: Option<&EventEntry>) -> Self {
        let entry = entry.and_then(|entry| {
            Some(DeadLetterEntry {
                detail_type: entry.detail_type.clone(),
                time: entry.time.to_string(),
                detail: RawValue::from_string(entry.detail.expose().clone()).ok()?,
            })
        });
        Self {
            payment_id,
            reason,
            entry,
        }
    }

    /// The payment's id, if it is a valid one.
    pub fn parse_payment_id(&self) -> Option<PaymentId> {
        PaymentId::parse(self.payment_id.as_deref()?)
    }
}

impl DeadLetterEntry {
    /// The original event of this payment. `None` if its time is malformed.
    pub fn into_entry(self, payment_id: PaymentId) -> Option<EventEntry> {
        Some(EventEntry {
            payment_id,
            detail_type: self.detail_type,
            time: Timestamp::parse_rfc3339(&self.time)?,
            detail: Redacted::new(self.detail.get().to_owned()),
            // Only for the metrics, which do not count a redriven event again.
            status_change: None,
            raised: Vec::new(),
        })
    }
}

/// The dead-letter queue.
#[derive(Clone, Debug)]
pub struct DeadLetterQueue {
    client: Client,
    url: String,
}

/// A dead-letter message could not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dead-letter message not sent: {0}")]
pub struct SendError(String);

impl DeadLetterQueue {
    /// The queue at `url`.
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Sends a message. On `Ok` it is in the queue.
    ///
    /// # Errors
    /// [`SendError`]. The message may be in the queue nevertheless, if only the response was lost.
    pub async fn send(&self, message: &DeadLetterMessage) -> Result<(), SendError> {
        let body = serde_json::to_string(message).map_err(|_| SendError("not JSON".to_owned()))?;
        let send = self.client.send_message().queue_url(&self.url).message_body(body);
        let sent = wrap(ExternalCall::SendDeadLetter, send.send()).await;
        sent.map_err(|error| SendError(error.code().unwrap_or("no response").to_owned()))?;
        tracing::error!(
            payment = message.payment_id,
            reason = message.reason,
            "sent to the dead-letter queue"
        );
        Ok(())
    }
}
