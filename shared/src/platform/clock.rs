//! The system clock.
//!
//! In debug builds, tests can move it: `CLOCK_OFFSET_SECONDS` moves it ahead for the whole process, `CLOCK_FILE` names
//! a file with the time in milliseconds since 1970, and a [failpoint](crate::platform::failpoint) hook moves it ahead
//! for one flow. Release builds ignore all three.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;

/// The current time.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    #[cfg(debug_assertions)]
    let now = test_clock::adjust(now);
    now
}

#[cfg(debug_assertions)]
mod test_clock {
    use std::path::PathBuf;
    use std::sync::LazyLock;
    use std::time::Duration;

    use crate::domain::time::Timestamp;
    use crate::platform::failpoint::clock_offset;

    static CLOCK_OFFSET: LazyLock<Duration> = LazyLock::new(|| {
        let seconds = std::env::var("CLOCK_OFFSET_SECONDS").ok();
        Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(0))
    });

    static CLOCK_FILE: LazyLock<Option<PathBuf>> = LazyLock::new(|| std::env::var_os("CLOCK_FILE").map(PathBuf::from));

    /// The system time, adjusted for this process and this flow.
    pub(super) fn adjust(system: Timestamp) -> Timestamp {
        let file = CLOCK_FILE.as_ref();
        let set = file.and_then(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
        let process = set.map_or_else(|| system.plus(*CLOCK_OFFSET), Timestamp::from_millis);
        process.plus(clock_offset())
    }
}
