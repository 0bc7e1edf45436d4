//! Reading a provider's list of transactions in bulk: which window of time is read when.
//!
//! Every transaction is read again at each of [`AGES`], counted from its creation at the provider, because its buyer may
//! pay late. For each age a mark says up to which time of creation that reading is done. So a reading that was cut short
//! is repeated, and nothing is skipped.
//!
//! Guarantees:
//! - Every time of creation is read at an age of eight days or more, however long the reader stood still.
//! - The newest transactions are read first. After a standstill, each age reads only what the next one does not.
//! - One reading counts for every age that it covers. So two readers at once only repeat reads.
//! - A mark in the future, as a wrong clock leaves it, is put back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// At which ages a transaction is read, and how much time of creation one reading covers at least, youngest first.
pub const AGES: [(Duration, Duration); 9] = [
    (MINUTE, Duration::from_secs(30)),
    (Duration::from_secs(3 * 60), Duration::from_secs(30)),
    (Duration::from_secs(6 * 60), Duration::from_secs(30)),
    (Duration::from_secs(10 * 60), Duration::from_secs(30)),
    (Duration::from_secs(15 * 60), Duration::from_secs(30)),
    (Duration::from_secs(45 * 60), Duration::from_secs(5 * 60)),
    (Duration::from_secs(6 * 60 * 60), Duration::from_secs(30 * 60)),
    (DAY, Duration::from_secs(2 * 60 * 60)),
    (LAST_AGE, Duration::from_secs(6 * 60 * 60)),
];

/// The age of the last reading.
const LAST_AGE: Duration = Duration::from_secs(8 * 24 * 60 * 60);
/// A window may be extended to older transactions of this age at most.
const MAX_EXTENDED_AGE: Duration = HOUR;
/// How far a mark may be ahead, so that the clocks of two readers may differ.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(2 * 60);
/// How long the newest transactions may be unread before the list counts as not to be had.
const MAX_LAG: Duration = Duration::from_secs(5 * 60);

/// A stretch of time in which transactions were created: from `from`, before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its start.
    pub from: Timestamp,
    /// Its end, which it does not include.
    pub to: Timestamp,
}

/// Up to which time of creation the list was read at each of [`AGES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReadMarks(Vec<Timestamp>);

impl Window {
    /// Its length.
    pub fn length(self) -> Duration {
        self.to.since(self.from)
    }

    /// Its older part: so many parts of all of them. `None` if that is shorter than a millisecond.
    pub fn older_part(self, parts: u64, of: u64) -> Option<Self> {
        let millis = u128::from(parts)
            .checked_mul(self.length().as_millis())?
            .checked_div(of.into())?;
        let length = Duration::from_millis(u64::try_from(millis).ok()?);
        (!length.is_zero()).then(|| Self {
            to: self.to.min(self.from.plus(length)),
            ..self
        })
    }
}

/// Whether a reading of the window at `now` is the last one of its transactions.
pub fn is_last_reading(window: Window, now: Timestamp) -> bool {
    window.to <= now.minus(LAST_AGE)
}

impl ReadMarks {
    /// The marks of a reader that begins at `now`: nothing of the last eight days was read.
    pub fn new(now: Timestamp) -> Self {
        Self(vec![now.minus(LAST_AGE); AGES.len()])
    }

    /// The marks of a reader whose first run is at `now`, in place of the ones that are stored.
    pub fn or_new(stored: Option<Self>, now: Timestamp) -> Self {
        stored
            .filter(|marks| marks.0.len() == AGES.len())
            .unwrap_or_else(|| Self::new(now))
    }

    /// The window to read next, that of the youngest age that is due. `None` if none is.
    pub fn next_window(&self, now: Timestamp) -> Option<Window> {
        let mut stretches = self.stretches(now).zip(AGES);
        let due = stretches.find(|(stretch, (_, shortest))| stretch.length() >= *shortest);
        due.map(|(stretch, _)| stretch)
    }

    /// The window extended to older transactions, which are read again then, if all of it probably has at most `rows`
    /// rows. `None` if it has not. One reading of it does for several windows.
    pub fn extended(&self, window: Window, rows_per_hour: u64, rows: u64, now: Timestamp) -> Option<Window> {
        let fits = |window: &Window| {
            rows_per_hour.saturating_mul(window.length().as_secs()) <= rows.saturating_mul(HOUR.as_secs())
        };
        self.stretches(now)
            .zip(AGES)
            .filter(|(stretch, (age, _))| stretch.from < window.from && *age <= MAX_EXTENDED_AGE)
            .map(|(stretch, _)| Window {
                from: stretch.from,
                ..window
            })
            .take_while(fits)
            .last()
    }

    /// The marks after `window` was read at `now`, to its end.
    #[must_use]
    pub fn after(&self, window: Window, now: Timestamp) -> Self {
        let marks = self.stretches(now).zip(&self.0).map(|(stretch, mark)| {
            let covers = window.from <= stretch.from && stretch.from < window.to.min(stretch.to);
            if covers { window.to.min(stretch.to) } else { *mark }
        });
        Self(marks.collect())
    }

    /// For how long the newest transactions have been due to be read.
    pub fn lag(&self, now: Timestamp) -> Duration {
        let youngest = self.marks(now).zip(AGES).next();
        youngest.map_or(Duration::ZERO, |(mark, (age, _))| now.minus(age).since(mark))
    }

    /// Whether the newest transactions were read as they should be.
    pub fn is_up_to_date(&self, now: Timestamp) -> bool {
        self.lag(now) <= MAX_LAG
    }

    /// The marks, without those that a wrong clock has set.
    fn marks(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        self.0.iter().zip(AGES).map(move |(mark, (age, shortest))| {
            let end = now.minus(age);
            if *mark > end.plus(MAX_CLOCK_SKEW) {
                end.minus(shortest)
            } else {
                *mark
            }
        })
    }

    /// For each age the stretch that is to be read: from its mark, or from where the next age begins.
    fn stretches(&self, now: Timestamp) -> impl Iterator<Item = Window> {
        let older = AGES.iter().skip(1).map(|(age, _)| Some(*age)).chain([None]);
        self.marks(now)
            .zip(AGES)
            .zip(older)
            .map(move |((mark, (age, _)), older)| {
                let to = now.minus(age);
                let from = older.map_or(mark, |older| mark.max(now.minus(older)));
                Window { from: from.min(to), to }
            })
    }
}

#[cfg(test)]
mod tests;
