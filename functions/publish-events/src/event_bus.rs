//! The merchant's event bus.
//!
//! Guarantee: an event whose result is `Ok` is on the bus. One whose result is an error may be there all the same, when
//! the answer was lost.

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_eventbridge::operation::put_events::PutEventsError;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};
use payment_functions::platform::failpoint::{ExternalCall, wrap};
use payment_functions::platform::metrics;

use crate::payment_event::{Entry, SOURCE};
use crate::retry_policy::Failure;

/// An HTTP status that says of a request that it is too large.
const TOO_LARGE: u16 = 413;

/// The bus.
#[derive(Clone, Debug)]
pub struct Bus {
    client: Client,
    name: String,
}

impl Bus {
    /// The bus `name`, reached through `client`.
    pub fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Puts events, at most ten and none of one payment beside another of it, and gives what became of each.
    pub async fn put(&self, entries: &[&Entry]) -> Vec<Result<(), Failure>> {
        let outcomes = match self.call(entries).await {
            // One of them may have spoilt it for all.
            Err(Failure::Never(_)) if entries.len() > 1 => {
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
                Ok(()) => put_on_the_bus(entry),
                Err(failure) => tracing::warn!(
                    payment = %entry.payment_id, detail_type = entry.detail_type, %failure, "not published"
                ),
            }
        }
        outcomes
    }

    async fn put_alone(&self, entry: &Entry) -> Vec<Result<(), Failure>> {
        self.call(&[entry]).await.unwrap_or_else(|failure| vec![Err(failure)])
    }

    async fn call(&self, entries: &[&Entry]) -> Result<Vec<Result<(), Failure>>, Failure> {
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

/// An event was put on the bus; of a batch that comes again, it was so before.
fn put_on_the_bus(entry: &Entry) {
    tracing::info!(payment = %entry.payment_id, detail_type = entry.detail_type, "published");
    if let Some(reached) = entry.reached {
        metrics::payment_published(reached.provider, reached.status, reached.age);
    }
}

fn outcome(result: Option<&PutEventsResultEntry>) -> Result<(), Failure> {
    let result = result.ok_or_else(|| Failure::NotNow("no result".to_owned()))?;
    match (result.event_id(), result.error_code()) {
        (Some(_), None) => Ok(()),
        (_, Some(code)) => Err(Failure::of_code(code)),
        (None, None) => Err(Failure::NotNow("no event id".to_owned())),
    }
}

/// Without anything of the request in it.
fn failure(error: &SdkError<PutEventsError>) -> Failure {
    let status = error.raw_response().map(|response| response.status().as_u16());
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is open, and the rest are alike")]
    match error {
        SdkError::ServiceError(_) if status == Some(TOO_LARGE) => Failure::of_code("RequestEntityTooLarge"),
        SdkError::ServiceError(service) => Failure::of_code(service.err().code().unwrap_or("unknown")),
        SdkError::TimeoutError(_) => Failure::NotNow("timeout".to_owned()),
        SdkError::DispatchFailure(_) => Failure::NotNow("no connection".to_owned()),
        SdkError::ResponseError(_) => Failure::NotNow("unreadable response".to_owned()),
        _ => Failure::NotNow("request not sent".to_owned()),
    }
}
