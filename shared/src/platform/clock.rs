//! The system's clock.
//!
//! Tests move the clock of a debug build: `CLOCK_OFFSET_SECONDS` puts the whole process into the future, `CLOCK_FILE`
//! names a file whose text is the time, in milliseconds since 1970, and a [failpoint](crate::platform::failpoint) hook
//! puts one flow into the future. No release build reads any of them.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;

/// The time now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    #[cfg(debug_assertions)]
    let now = moved::clock(now);
    now
}

#[cfg(debug_assertions)]
mod moved {
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

    /// The time that this process, and this flow, live in.
    pub(super) fn clock(system: Timestamp) -> Timestamp {
        let file = CLOCK_FILE.as_ref();
        let set = file.and_then(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
        let process = set.map_or_else(|| system.plus(*CLOCK_OFFSET), Timestamp::from_millis);
        process.plus(clock_offset())
    }
}
