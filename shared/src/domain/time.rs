//! Points in time, in whole milliseconds since 1970 (UTC).

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The times that a provider may name: from the beginning of 2000, before 2100.
const PLAUSIBLE: Range<Timestamp> = Timestamp(946_684_800_000)..Timestamp(4_102_444_800_000);

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since 1970.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Reads RFC 3339. `None` for anything else, and for times before 1970 or after the year 9999 in UTC.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok()?.checked_to_utc()?;
        let nanos = time.unix_timestamp_nanos();
        u64::try_from(nanos.checked_div(1_000_000)?).ok().map(Self)
    }

    /// Reads a time as providers write it: RFC 3339, a date, a date and a time of day (in UTC if there is no offset),
    /// or whole seconds or milliseconds since 1970. `None` for anything else, and for times outside 2000 to 2099.
    pub fn parse_lenient(text: &str) -> Option<Self> {
        let text = text.trim();
        let times = match text.parse::<u64>() {
            Ok(number) => [number.checked_mul(1000).map(Self), Some(Self(number))],
            Err(_) => [Self::parse_rfc3339(&completed(text)?), None],
        };
        times.into_iter().flatten().find(|time| PLAUSIBLE.contains(time))
    }

    /// From whole seconds since 1970.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970, the unit of DynamoDB's TTL.
    pub const fn as_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// The time `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// The time `duration` earlier, but not before 1970.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// The time elapsed since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A date, with or without a time of day and its offset, in the form of RFC 3339.
fn completed(text: &str) -> Option<String> {
    let (date, rest) = text.split_at_checked(10)?;
    let Some(time) = rest.strip_prefix(['T', 't', ' ']) else {
        return rest.is_empty().then(|| format!("{date}T00:00:00Z"));
    };
    let offset = if time.contains(['Z', 'z', '+', '-']) { "" } else { "Z" };
    Some(format!("{date}T{time}{offset}"))
}

/// RFC 3339 in UTC with milliseconds: `2026-03-19T12:00:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0).saturating_mul(1_000_000);
        let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (date, hms) = (time.date(), time.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            hms.hour(),
            hms.minute(),
            hms.second(),
            hms.millisecond(),
        )
    }
}

/// Serialises a [`Timestamp`] as the API shows it.
///
/// # Errors
/// The serializer's own.
pub fn as_rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_is_given_in_milliseconds_and_whole_seconds() {
        let time = Timestamp::from_millis(1_800_000_000_999);
        assert_eq!(
            (time.as_millis(), time.as_seconds()),
            (1_800_000_000_999, 1_800_000_000)
        );
        let time = Timestamp::from_seconds(1_800_000_000);
        assert_eq!(time.as_millis(), 1_800_000_000_000);
    }

    #[test]
    fn time_is_read_as_providers_write_it() {
        for (text, expected) in [
            ("2026-03-19T12:00:00.007Z", Some("2026-03-19T12:00:00.007Z")),
            ("2026-03-19T14:00:00+02:00", Some("2026-03-19T12:00:00.000Z")),
            ("2026-03-19T12:00:00", Some("2026-03-19T12:00:00.000Z")),
            ("2026-03-19 12:00:00", Some("2026-03-19T12:00:00.000Z")),
            (" 2026-03-19 14:00:00.5+02:00 ", Some("2026-03-19T12:00:00.500Z")),
            ("2026-03-19 10:00:00-02:00", Some("2026-03-19T12:00:00.000Z")),
            ("2026-03-19", Some("2026-03-19T00:00:00.000Z")),
            ("1773921600", Some("2026-03-19T12:00:00.000Z")),
            ("1773921600007", Some("2026-03-19T12:00:00.007Z")),
            ("2000-01-01", Some("2000-01-01T00:00:00.000Z")),
            ("946684800", Some("2000-01-01T00:00:00.000Z")),
            ("4102444799", Some("2099-12-31T23:59:59.000Z")),
            ("4102444799999", Some("2099-12-31T23:59:59.999Z")),
            ("1999-12-31", None),
            ("946684799", None),
            ("2100-01-01", None),
            ("4102444800", None),
            ("4102444800000", None),
            ("18446744073709551615", None),
            ("1773921600.5", None),
            ("20260319", None),
            ("0000-00-00", None),
            ("2026-02-30", None),
            ("2026-03-19 25:00:00", None),
            ("2026-03-19 noon", None),
            ("2026-03-199", None),
            ("19.03.2026", None),
            ("true", None),
            ("", None),
            ("\u{fffd}\u{fffd}\u{fffd}\u{fffd}", None),
        ] {
            let time = Timestamp::parse_lenient(text).map(|time| time.to_string());
            assert_eq!(time.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn rfc3339_is_read_and_written() {
        let time = Timestamp::parse_rfc3339("2026-03-19T12:00:00.007Z").unwrap();
        assert_eq!(time.to_string(), "2026-03-19T12:00:00.007Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-03-19T14:00:00.007+02:00"), Some(time));
        let last = Timestamp::parse_rfc3339("9999-12-31T23:59:59.999Z").unwrap();
        assert_eq!(last.to_string(), "9999-12-31T23:59:59.999Z");
        for text in [
            "",
            "2026-03-19",
            "1969-12-31T23:59:59Z",
            "2026-13-01T00:00:00Z",
            "9999-12-31T23:59:59-00:01",
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }
}
