//! Decides what happens to events that were not published. Pure: no AWS, no clock.
//!
//! Guarantee: no event is skipped. Each one is published, or goes to the dead-letter queue, or is retried together with
//! everything after it.

use std::collections::HashSet;
use std::time::Duration;

use payment_functions::domain::id::PaymentId;

/// The most entries that one `PutEvents` call accepts.
const MAX_ENTRIES_PER_CALL: usize = 10;

/// For how long an event is retried, from the time of its stream record. The stream keeps records for 24 hours, so this
/// leaves time for the events behind one that keeps failing.
pub const RETRY_WINDOW: Duration = Duration::from_secs(6 * 60 * 60);

/// Why an event was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A retry would fail too.
    #[error("{0}")]
    Permanent(String),
    /// A retry may succeed: throttling, a fault of the bus, a policy that an operator can fix, no response.
    #[error("{0}")]
    Transient(String),
}

impl Failure {
    /// Classifies the error code of a call or of one entry. Unknown codes are transient.
    pub fn from_code(code: &str) -> Self {
        match code {
            "MalformedDetail" | "InvalidArgument" | "ValidationException" | "RequestEntityTooLarge" => {
                Self::Permanent(code.to_owned())
            }
            _ => Self::Transient(code.to_owned()),
        }
    }
}

/// The result of publishing an event.
#[derive(Clone, Debug)]
pub struct PublishResult {
    /// Whether it was published.
    pub outcome: Result<(), Failure>,
    /// The age of the event's stream record.
    pub age: Duration,
}

/// What to do after one call, by the indices of its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallPlan {
    /// Events for the dead-letter queue. Each is done once it is in the queue.
    pub dead_letters: Vec<(usize, Failure)>,
    /// The first event to retry, together with everything after it.
    pub retry_from: Option<usize>,
}

/// Plans what to do after one call, from the results of its events in the order of the stream.
pub fn plan_after_call(results: impl IntoIterator<Item = PublishResult>) -> CallPlan {
    let mut plan = CallPlan::default();
    for (index, PublishResult { outcome, age }) in results.into_iter().enumerate() {
        match outcome {
            Ok(()) => {}
            Err(Failure::Transient(_)) if age <= RETRY_WINDOW => {
                plan.retry_from = Some(index);
                break;
            }
            Err(failure) => plan.dead_letters.push((index, failure)),
        }
    }
    plan
}

/// How many of the next events the next call may take, given the payment of each. A call has at most one event of a
/// payment, since EventBridge may accept one entry and reject another: a payment's events would get out of order.
pub fn events_for_next_call(payments: impl IntoIterator<Item = PaymentId>) -> usize {
    let mut seen = HashSet::new();
    let distinct = payments.into_iter().take_while(|payment| seen.insert(*payment));
    distinct.take(MAX_ENTRIES_PER_CALL).count()
}

#[cfg(test)]
mod tests;
