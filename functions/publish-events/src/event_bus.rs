//! The merchant's event bus.
//!
//! Guarantee: an event whose result is `Ok` is on the bus. After an error it may be there nevertheless, if only the
//! response was lost.

use std::fmt::Display;

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_eventbridge::operation::put_events::PutEventsError;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};
use payment_functions::domain::attention::AttentionReason;
use payment_functions::platform::failpoint::{ExternalCall, wrap};
use payment_functions::platform::metrics;

use crate::payment_event::{EventEntry, SOURCE};
use crate::retry_policy::Failure;

/// The HTTP status of a request that is too large.
const TOO_LARGE: u16 = 413;

/// The event bus.
#[derive(Clone, Debug)]
pub struct EventBus {
    client: Client,
    name: String,
}

impl EventBus {
    /// The bus called `name`.
    pub fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Publishes at most ten events, no two of them of one payment. Returns the result of each, in order.
    pub async fn put(&self, entries: &[&EventEntry]) -> Vec<Result<(), Failure>> {
        let outcomes = match self.call(entries).await {
            // One bad entry makes AWS reject the whole call; find out which.
            Err(Failure::Permanent(_)) if entries.len() > 1 => {
                let mut outcomes = Vec::new();
                for entry in entries {
                    outcomes.extend(self.put_alone(entry).await);
                }
                outcomes
            }
            Err(failure) => vec![Err(failure); entries.len()],
            Ok(outcomes) => outcomes,
        };
        for (entry, outcome) in entries.iter().zip(&outcomes) {
            match outcome {
                Ok(()) => record_published(entry),
                Err(failure) => tracing::warn!(
                    payment = %entry.payment_id, detail_type = entry.detail_type, %failure, "event not published"
                ),
            }
        }
        outcomes
    }

    async fn put_alone(&self, entry: &EventEntry) -> Vec<Result<(), Failure>> {
        self.call(&[entry]).await.unwrap_or_else(|failure| vec![Err(failure)])
    }

    async fn call(&self, entries: &[&EventEntry]) -> Result<Vec<Result<(), Failure>>, Failure> {
        let put = self.client.put_events().set_entries(Some(
            entries
                .iter()
                .map(|entry| {
                    PutEventsRequestEntry::builder()
                        .event_bus_name(&self.name)
                        .source(SOURCE)
                        .detail_type(&entry.detail_type)
                        .time(DateTime::from_millis(
                            i64::try_from(entry.time.as_millis()).unwrap_or(i64::MAX),
                        ))
                        .detail(entry.detail.expose())
                        .build()
                })
                .collect(),
        ));
        let output = wrap(ExternalCall::PublishEvents, put.send())
            .await
            .map_err(|error| failure(&error))?;
        let mut results = output.entries().iter();
        Ok(entries.iter().map(|_| outcome(results.next())).collect())
    }
}

/// Logs and counts a published event; once more if Lambda retries its batch.
fn record_published(entry: &EventEntry) {
    tracing::info!(payment = %entry.payment_id, detail_type = entry.detail_type, "event published");
    if let Some(change) = entry.status_change {
        metrics::payment_published(change.provider, change.status, change.age);
    }
    record_raised(entry.payment_id, &entry.raised);
}

/// Logs and counts the reasons for attention that a change raised.
pub fn record_raised(payment: impl Display, raised: &[AttentionReason]) {
    for reason in raised {
        tracing::warn!(%payment, reason = reason.name(), "payment needs attention");
        metrics::attention_raised(*reason);
    }
}

fn outcome(result: Option<&PutEventsResultEntry>) -> Result<(), Failure> {
    let result = result.ok_or_else(|| Failure::Transient("no result".to_owned()))?;
    match (result.event_id(), result.error_code()) {
        (Some(_), None) => Ok(()),
        (_, Some(code)) => Err(Failure::from_code(code)),
        (None, None) => Err(Failure::Transient("no event id".to_owned())),
    }
}

/// Classifies a failed call, without quoting the request.
fn failure(error: &SdkError<PutEventsError>) -> Failure {
    let status = error.raw_response().map(|response| response.status().as_u16());
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is open, and the rest are alike")]
    match error {
        SdkError::ServiceError(_) if status == Some(TOO_LARGE) => Failure::from_code("RequestEntityTooLarge"),
        SdkError::ServiceError(service) => Failure::from_code(service.err().code().unwrap_or("unknown")),
        SdkError::TimeoutError(_) => Failure::Transient("timeout".to_owned()),
        SdkError::DispatchFailure(_) => Failure::Transient("no connection".to_owned()),
        SdkError::ResponseError(_) => Failure::Transient("unreadable response".to_owned()),
        _ => Failure::Transient("request not sent".to_owned()),
    }
}
