//! Typed identifiers: ours, the shop's and the providers' cannot be confused.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Our id of a payment: a random (version 4) UUID. It must be unguessable, because it alone gives access to the
/// payment's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaymentId(Uuid);

impl PaymentId {
    /// A new random id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Reads the hyphenated form. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        parse_uuid(text).map(Self)
    }

    /// The payment's shard, from 0 to `count` - 1. Payments are spread evenly. 0 if `count` is 0.
    pub fn shard(self, count: u8) -> u8 {
        let [first, ..] = self.0.into_bytes();
        first.checked_rem(count).unwrap_or(0)
    }
}

impl fmt::Display for PaymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A UUID in its hyphenated form only (the library also reads braces, URNs and bare digits).
fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 {
        Uuid::try_parse(text).ok()
    } else {
        None
    }
}

/// A provider's id of a payment or of a transaction (`processId`, `paymentId`, `txn_id`): 1 to 256 bytes, no
/// control characters.
///
/// UUIDs are normalised to lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reference(String);

impl Reference {
    /// Reads an id. `None` if it is empty, too long for a key of the table, or has control characters.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
            return None;
        }
        Some(parse_uuid(text).map_or_else(|| Self(text.to_owned()), |uuid| Self(uuid.to_string())))
    }

    /// Reads an id that must be a UUID.
    pub fn parse_uuid(text: &str) -> Option<Self> {
        parse_uuid(text).map(|uuid| Self(uuid.to_string()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The shop's order id: 1 to 128 characters, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct OrderId(String);

impl OrderId {
    /// Reads an order id. `None` if it is empty, too long, or has control characters.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        fits.then(|| Self(text.to_owned()))
    }

    /// The order id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for OrderId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an order id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_spread_over_all_shards() {
        let mut payments = [0; 8];
        for _ in 0..800 {
            payments[usize::from(PaymentId::random().shard(8))] += 1;
        }
        // A hundred is expected in each; ten or fewer is practically impossible.
        assert!(payments.iter().all(|count| *count > 10), "{payments:?}");
        assert_eq!(PaymentId::random().shard(0), 0);
    }

    #[test]
    fn reference_longer_than_256_bytes_is_refused() {
        assert!(Reference::parse(&"x".repeat(256)).is_some());
        assert!(Reference::parse(&"x".repeat(257)).is_none());
    }

    #[test]
    fn payment_id_is_only_read_as_hyphenated_uuid() {
        let id = PaymentId::random();
        assert_eq!(PaymentId::parse(&id.to_string()), Some(id));
        assert_eq!(PaymentId::parse(&id.to_string().to_uppercase()), Some(id));
        for text in [
            "",
            "x",
            "urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c8",
            "67e5504410b1426f9247bb680e5fe0c8",
        ] {
            assert_eq!(PaymentId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn reference_is_normalised_and_without_control_characters() {
        assert_eq!(
            Reference::parse("FP123").map(|r| r.to_string()).as_deref(),
            Some("FP123")
        );
        assert_eq!(
            Reference::parse("A1B2C3D4-E5F6-7890-ABCD-EF1234567890"),
            Reference::parse("a1b2c3d4-e5f6-7890-abcd-ef1234567890"),
        );
        for text in ["", "a\nb", "\u{7f}", &"x".repeat(257)] {
            assert_eq!(Reference::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn order_id_length_is_counted_in_characters() {
        assert!(OrderId::parse(&"é".repeat(128)).is_some());
        for text in ["", "a\tb", &"é".repeat(129)] {
            assert_eq!(OrderId::parse(text), None, "{text:?}");
        }
    }
}
