//! Typed identifiers: ours, the shop's and the providers', which are never mistaken for one another.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Our id of a payment: an unguessable (version 4) UUID, since it is all that a browser needs to ask for the payment's
/// state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaymentId(Uuid);

impl PaymentId {
    /// A new id from the system's randomness.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Reads the hyphenated form. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        parse_uuid(text).map(Self)
    }

    /// One of `count` parts that payments spread over evenly; 0 where `count` is.
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

/// A provider's own id of a payment or of a transaction (`processId`, `paymentId`, `txn_id`): 1 to 256 bytes, no
/// control characters.
///
/// UUIDs are kept in lower case, since they are equal in any case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reference(String);

impl Reference {
    /// Reads an id. `None` where it is empty, too long to be a key, or has control characters.
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

/// The shop's own reference: 1 to 128 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct OrderId(String);

impl OrderId {
    /// Reads an order id. `None` where it is empty, too long, or has control characters.
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
    fn payments_spread_over_all_parts() {
        let mut payments = [0; 8];
        for _ in 0..800 {
            payments[usize::from(PaymentId::random().shard(8))] += 1;
        }
        // A hundred each, and none a tenth of that: chance does not reach it.
        assert!(payments.iter().all(|count| *count > 10), "{payments:?}");
        assert_eq!(PaymentId::random().shard(0), 0);
    }

    #[test]
    fn a_reference_is_short_enough_to_be_a_key() {
        assert!(Reference::parse(&"x".repeat(256)).is_some());
        assert!(Reference::parse(&"x".repeat(257)).is_none());
    }

    #[test]
    fn a_payment_id_is_a_hyphenated_uuid() {
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
    fn references_are_short_and_plain() {
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
    fn order_ids_are_counted_in_characters() {
        assert!(OrderId::parse(&"é".repeat(128)).is_some());
        for text in ["", "a\tb", &"é".repeat(129)] {
            assert_eq!(OrderId::parse(text), None, "{text:?}");
        }
    }
}
