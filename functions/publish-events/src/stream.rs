//! A batch of the table's stream.
//!
//! Guarantees: the events of one payment are put in the order of the stream; what is answered is the first record that
//! is not done, so that Lambda comes again with it and with all behind it. A record is done when its events are on the
//! bus or in the dead-letter queue. It stops in time.

use std::time::{Duration, Instant};

use payment_functions::domain::time::Timestamp;
use payment_functions::store::stream::change_of;
use serde::Deserialize;
use serde_json::Value;

use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::event_bus::Bus;
use crate::payment_event::{self, Entry};
use crate::retry_policy::{Failure, Tried, call_length, judge};

/// Where a record stands in the stream, and since when.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Place {
    /// What Lambda is told about a record that is not done.
    pub sequence_number: String,
    /// In seconds since 1970.
    #[serde(rename = "ApproximateCreationDateTime", default)]
    created_at: Option<f64>,
}

/// Something of a record that is to be published.
#[derive(Debug)]
struct Task<'a> {
    place: &'a Place,
    payment_id: Option<String>,
    /// Or why there is no event.
    entry: Result<Entry, String>,
}

/// Publishes the records of a batch, in their order, and begins nothing more once `time` is over. Gives the sequence number
/// of the first that is not done.
pub async fn publish<'a>(
    bus: &Bus,
    dead_letters: &DeadLetters,
    records: &'a [(Place, Value)],
    now: Timestamp,
    time: Duration,
) -> Option<&'a str> {
    let began = Instant::now();
    let tasks: Vec<_> = records
        .iter()
        .flat_map(|(place, record)| tasks(place, record))
        .collect();
    let mut rest = tasks.as_slice();
    while let Some(first) = rest.first() {
        if began.elapsed() > time {
            tracing::warn!("out of time; the rest of the batch comes again");
            return Some(&first.place.sequence_number);
        }
        let entries = rest.iter().map_while(|task| task.entry.as_ref().ok());
        let length = call_length(entries.clone().map(|entry| entry.payment_id));
        let outcomes = match &first.entry {
            Ok(_) => bus.put(&entries.take(length).collect::<Vec<_>>()).await,
            Err(why) => vec![Err(Failure::Never(why.clone()))],
        };
        let (tried, behind) = rest.split_at(outcomes.len());
        rest = behind;
        let aged = tried.iter().zip(outcomes).map(|(task, outcome)| Tried {
            outcome,
            age: task.place.age(now),
        });
        let verdict = judge(aged);
        for (index, failure) in verdict.dead {
            if let Some(task) = tried.get(index)
                && !task.is_buried(dead_letters, &failure).await
            {
                return Some(&task.place.sequence_number);
            }
        }
        if let Some(task) = verdict.stop.and_then(|index| tried.get(index)) {
            return Some(&task.place.sequence_number);
        }
    }
    None
}

/// What is to be published of a record.
fn tasks<'a>(place: &'a Place, record: &Value) -> Vec<Task<'a>> {
    let task = |payment_id, entry| Task {
        place,
        payment_id,
        entry,
    };
    match change_of(record) {
        Ok(None) => vec![],
        Ok(Some(change)) => {
            let id = || Some(change.after.id.to_string());
            match payment_event::of_change(&change) {
                Ok(entries) => entries.into_iter().map(|entry| task(id(), Ok(entry))).collect(),
                Err(error) => vec![task(id(), Err(error.to_string()))],
            }
        }
        Err(error) => {
            let why = error.to_string();
            vec![task(error.payment_id, Err(why))]
        }
    }
}

impl Task<'_> {
    /// Sends it to the dead-letter queue; false if that failed too.
    async fn is_buried(&self, dead_letters: &DeadLetters, failure: &Failure) -> bool {
        let letter = DeadLetter::about(self.payment_id.clone(), failure.to_string(), self.entry.as_ref().ok());
        let sent = dead_letters.send(&letter).await;
        if let Err(error) = &sent {
            tracing::error!(payment = self.payment_id, %error, "neither published nor in the dead-letter queue");
        }
        sent.is_ok()
    }
}

impl Place {
    /// How old the record is; it counts as new where it does not say.
    fn age(&self, now: Timestamp) -> Duration {
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
    fn a_record_is_as_old_as_it_says() {
        let now = Timestamp::from_millis(1_800_000_010_500);
        for (created_at, millis) in [
            (json!(1_800_000_000), 10_500),
            (json!(1_800_000_000.25), 10_250),
            (json!(1_800_000_011), 0),
            (json!(-1.0), 0),
            (json!(null), 0),
        ] {
            let place = json!({ "SequenceNumber": "1", "ApproximateCreationDateTime": created_at });
            let place = Place::deserialize(place).unwrap();
            assert_eq!(place.age(now), Duration::from_millis(millis), "{created_at}");
        }
        let place = Place::deserialize(json!({ "SequenceNumber": "1" })).unwrap();
        assert_eq!(place.age(now), Duration::ZERO);
    }
}
