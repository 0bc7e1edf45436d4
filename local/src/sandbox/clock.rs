//! Times in the providers' formats.

use time::OffsetDateTime;

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let nanoseconds = OffsetDateTime::now_utc().unix_timestamp_nanos();
    u64::try_from(nanoseconds / 1_000_000).unwrap_or_default()
}

/// `2026-03-19T12:00:00.000Z`
pub(super) fn to_milliseconds(at: OffsetDateTime) -> String {
    format!("{}.{:03}Z", seconds(at), at.millisecond())
}

/// `2026-03-19T12:00:00Z`
pub(super) fn to_seconds(at: OffsetDateTime) -> String {
    format!("{}Z", seconds(at))
}

fn seconds(at: OffsetDateTime) -> String {
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    format!(
        "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}",
        u8::from(month)
    )
}
