//! A settable clock for functions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use payment_functions::domain::time::Timestamp;

use crate::support::unique;

/// A stopped clock for functions that are started with its variable.
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// A clock stopped at `time`.
    pub fn at(time: Timestamp) -> Self {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique("clock"));
        let clock = Self { file };
        clock.set(time);
        clock
    }

    /// The variable that functions are started with.
    pub fn variable(&self) -> (&str, Option<&str>) {
        ("CLOCK_FILE", self.file.to_str())
    }

    /// The current time of the clock.
    pub fn time(&self) -> Timestamp {
        let text = std::fs::read_to_string(&self.file).expect("the clock's file");
        Timestamp::from_millis(text.parse().expect("milliseconds"))
    }

    /// Sets it.
    pub fn set(&self, time: Timestamp) {
        // The write must be atomic.
        let next = self.file.with_extension("next");
        std::fs::write(&next, time.as_millis().to_string()).expect("a file for the clock");
        std::fs::rename(&next, &self.file).expect("the clock's file");
    }

    /// Advances it.
    pub fn advance(&self, by: Duration) {
        self.set(self.time().plus(by));
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}
