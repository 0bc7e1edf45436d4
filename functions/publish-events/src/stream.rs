//! Publishes one batch of the table's stream.
//!
//! Guarantees: the events of one payment are published in the order of the stream. A record is done once its events are
//! on the bus or in the dead-letter queue. The first record that is not done is returned, and Lambda retries from
//! there.

use std::time::{Duration, Instant};

use payment_functions::domain::attention::AttentionReason;
use payment_functions::domain::time::Timestamp;
use payment_functions::store::stream::change_of;
use serde::Deserialize;
use serde_json::Value;

use crate::dead_letter::{DeadLetterMessage, DeadLetterQueue, SendError};
use crate::event_bus::{EventBus, record_raised};
use crate::payment_event::{self, EventEntry};
use crate::retry_policy::{Failure, PublishResult, events_for_next_call, plan_after_call};

/// A record's position in the stream: its sequence number, and its time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Position {
    /// Identifies the record in the batch response.
    pub sequence_number: String,
    /// In seconds since 1970.
    #[serde(rename = "ApproximateCreationDateTime", default)]
    created_at: Option<f64>,
}

/// One event of a record, or the reason why there is none.
#[derive(Debug)]
struct RecordEvent<'a> {
    position: &'a Position,
    payment_id: Option<String>,
    entry: Result<EventEntry, NoEvent>,
}

/// Why a record has no event.
#[derive(Debug)]
struct NoEvent {
    reason: String,
    /// The reasons for attention that its change raised all the same.
    raised: Vec<AttentionReason>,
}

/// Publishes the records of a batch in order, and starts no further call after `time_limit`. Returns the sequence
/// number of the first record that is not done.
pub async fn publish<'a>(
    bus: &EventBus,
    dead_letters: &DeadLetterQueue,
    records: &'a [(Position, Value)],
    now: Timestamp,
    time_limit: Duration,
) -> Option<&'a str> {
    let started = Instant::now();
    let events: Vec<_> = records
        .iter()
        .flat_map(|(position, record)| events_of(position, record))
        .collect();
    let mut rest = events.as_slice();
    while let Some(first) = rest.first() {
        if started.elapsed() > time_limit {
            tracing::warn!("out of time; Lambda will retry the rest of the batch");
            return Some(&first.position.sequence_number);
        }
        let entries = rest.iter().map_while(|event| event.entry.as_ref().ok());
        let count = events_for_next_call(entries.clone().map(|entry| entry.payment_id));
        let outcomes = match &first.entry {
            Ok(_) => bus.put(&entries.take(count).collect::<Vec<_>>()).await,
            Err(none) => vec![Err(Failure::Permanent(none.reason.clone()))],
        };
        let (attempted, remaining) = rest.split_at(outcomes.len());
        rest = remaining;
        let results = attempted.iter().zip(outcomes).map(|(event, outcome)| PublishResult {
            outcome,
            age: event.position.age(now),
        });
        let plan = plan_after_call(results);
        for (index, failure) in plan.dead_letters {
            if let Some(event) = attempted.get(index)
                && event.send_to_dead_letters(dead_letters, &failure).await.is_err()
            {
                return Some(&event.position.sequence_number);
            }
            // A person must hear of it all the same.
            if let Some(event) = attempted.get(index) {
                let raised = event
                    .entry
                    .as_ref()
                    .map_or_else(|none| &none.raised, |entry| &entry.raised);
                record_raised(event.payment_id.as_deref().unwrap_or("unknown"), raised);
            }
        }
        if let Some(event) = plan.retry_from.and_then(|index| attempted.get(index)) {
            return Some(&event.position.sequence_number);
        }
    }
    None
}

/// The events of a record.
fn events_of<'a>(position: &'a Position, record: &Value) -> Vec<RecordEvent<'a>> {
    let event = |payment_id, entry| RecordEvent {
        position,
        payment_id,
        entry,
    };
    match change_of(record) {
        Ok(None) => vec![],
        Ok(Some(change)) => {
            let id = || Some(change.after.id.to_string());
            match payment_event::from_change(&change) {
                Ok(entries) => entries.into_iter().map(|entry| event(id(), Ok(entry))).collect(),
                Err(error) => {
                    let reason = error.to_string();
                    let raised = payment_event::raised(&change);
                    vec![event(id(), Err(NoEvent { reason, raised }))]
                }
            }
        }
        Err(error) => {
            let reason = error.to_string();
            let raised = error.raised;
            vec![event(error.payment_id, Err(NoEvent { reason, raised }))]
        }
    }
}

impl RecordEvent<'_> {
    async fn send_to_dead_letters(&self, queue: &DeadLetterQueue, failure: &Failure) -> Result<(), SendError> {
        let entry = self.entry.as_ref().ok();
        let message = DeadLetterMessage::new(self.payment_id.clone(), failure.to_string(), entry);
        queue.send(&message).await.inspect_err(|error| {
            tracing::error!(
                payment = self.payment_id, %error, "event neither published nor in the dead-letter queue; Lambda will retry"
            );
        })
    }
}

impl Position {
    /// The record's age; zero if it has no valid time.
    pub fn age(&self, now: Timestamp) -> Duration {
        let created_at = self
            .created_at
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let created_at = created_at.map(|since| Timestamp::from_millis(0).plus(since));
        created_at.map_or(Duration::ZERO, |created_at| now.since(created_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn record_age_is_the_time_since_its_creation() {
        let now = Timestamp::from_millis(1_800_000_010_500);
        for (created_at, millis) in [
            (json!(1_800_000_000), 10_500),
            (json!(1_800_000_000.25), 10_250),
            (json!(1_800_000_011), 0),
            (json!(-1.0), 0),
            (json!(null), 0),
        ] {
            let position = json!({ "SequenceNumber": "1", "ApproximateCreationDateTime": created_at });
            let position = Position::deserialize(position).unwrap();
            assert_eq!(position.age(now), Duration::from_millis(millis), "{created_at}");
        }
        let position = Position::deserialize(json!({ "SequenceNumber": "1" })).unwrap();
        assert_eq!(position.age(now), Duration::ZERO);
    }
}
