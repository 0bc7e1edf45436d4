//! The report of a run: its counts.
//!
//! Lambda throws it away after a scheduled run. What a person must know is stored: a payment's attention.

use std::time::Duration;

use serde::Serialize;

/// What a run did.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Items checked: payments, and lookup keys with unmatched notifications.
    pub checked: u32,
    /// Payments whose status changed by polling, to any other status.
    pub resolved: u32,
    /// Payments that expired.
    pub expired: u32,
    /// Lookup keys whose unmatched notifications were all recorded with payments.
    pub unmatched_resolved: u32,
    /// Items that could not be checked because of an error. A later run retries them.
    pub failed: u32,
    /// How overdue the oldest due item was when the run began, in seconds. Zero if nothing was due.
    pub lag_seconds: u64,
    /// Whether due items are left for the next run.
    pub unfinished: bool,
}

/// Adds one to a counter.
pub fn increment(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}

impl Report {
    /// The counts of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            checked: self.checked.saturating_add(other.checked),
            resolved: self.resolved.saturating_add(other.resolved),
            expired: self.expired.saturating_add(other.expired),
            unmatched_resolved: self.unmatched_resolved.saturating_add(other.unmatched_resolved),
            failed: self.failed.saturating_add(other.failed),
            lag_seconds: self.lag_seconds.max(other.lag_seconds),
            unfinished: self.unfinished || other.unfinished,
        }
    }

    /// Notes how overdue an item is.
    pub fn note_lag(&mut self, overdue: Duration) {
        self.lag_seconds = self.lag_seconds.max(overdue.as_secs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_that_of_the_oldest_item_in_any_order() {
        for times in [[40, 10, 0], [0, 10, 40], [10, 40, 0]] {
            let mut report = Report::default();
            for seconds in times {
                report.note_lag(Duration::from_secs(seconds));
            }
            assert_eq!(report.lag_seconds, 40, "{times:?}");
        }
    }
}
