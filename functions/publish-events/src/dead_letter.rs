//! The queue of what could not be published, each letter naming its payment.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use payment_functions::domain::id::PaymentId;
use payment_functions::domain::redacted::Redacted;
use payment_functions::domain::time::Timestamp;
use payment_functions::platform::failpoint::{ExternalCall, wrap};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::payment_event::Entry;

/// A letter: the body of a message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The payment, as it stands in the table's key; absent if the record had no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<String>,
    /// Why it was not published.
    pub reason: String,
    /// The event; absent where none could be made, as its payment could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<LetterEntry>,
}

/// An event in a letter.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LetterEntry {
    detail_type: String,
    time: String,
    detail: Box<RawValue>,
}

/// Without the caller's metadata.
impl std::fmt::Debug for LetterEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LetterEntry")
            .field("detail_type", &self.detail_type)
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

impl DeadLetter {
    /// About a payment, with the event that was not taken.
    pub fn about(payment_id: Option<String>, reason: String, entry: Option<&Entry>) -> Self {
        let entry = entry.and_then(|entry| {
            Some(LetterEntry {
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

    /// The payment, if that is an id of ours.
    pub fn payment(&self) -> Option<PaymentId> {
        PaymentId::parse(self.payment_id.as_deref()?)
    }
}

impl LetterEntry {
    /// The event as it was, of the letter's payment. `None` if the time is none.
    pub fn into_entry(self, payment_id: PaymentId) -> Option<Entry> {
        Some(Entry {
            payment_id,
            detail_type: self.detail_type,
            time: Timestamp::parse_rfc3339(&self.time)?,
            detail: Redacted::new(self.detail.get().to_owned()),
            reached: None,
        })
    }
}

/// The queue.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    client: Client,
    url: String,
}

/// A letter could not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the dead-letter queue took no letter: {0}")]
pub struct NotSent(String);

impl DeadLetters {
    /// The queue at `url`, reached through `client`.
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Sends a letter. When this is done, it is in the queue.
    ///
    /// # Errors
    /// [`NotSent`]; it may be in the queue all the same.
    pub async fn send(&self, letter: &DeadLetter) -> Result<(), NotSent> {
        let body = serde_json::to_string(letter).map_err(|_| NotSent("no JSON".to_owned()))?;
        let send = self.client.send_message().queue_url(&self.url).message_body(body);
        let sent = wrap(ExternalCall::SendDeadLetter, send.send()).await;
        sent.map_err(|error| NotSent(error.code().unwrap_or("no answer").to_owned()))?;
        tracing::error!(
            payment = letter.payment_id,
            reason = letter.reason,
            "sent to the dead-letter queue"
        );
        Ok(())
    }
}
