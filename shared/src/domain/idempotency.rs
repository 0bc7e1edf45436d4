//! Idempotency keys: how a repeated request is handled.
//!
//! Guarantees: one key leads to one payment. While a holder's lease runs, no other request calls the provider for that
//! payment. If the holder dies, the next request with the key takes over once the lease has ended. The old holder can
//! no longer store a response then, because the fence has increased.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::id::PaymentId;
use crate::domain::json::Json;
use crate::domain::time::Timestamp;

/// How long a holder may work on a request: longer than a function can run (25 s).
pub const LEASE: Duration = Duration::from_secs(30);

/// How long a key is kept. Callers are promised 24 hours.
pub const RETENTION: Duration = Duration::from_secs(48 * 60 * 60);

/// A caller's `Idempotency-Key` for one function: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    function: &'static str,
    key: String,
}

/// The header's value is not a valid key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 255 visible ASCII characters")]
pub struct InvalidKey;

impl IdempotencyKey {
    /// Reads the header's value. Double quotes around the whole value, as in the IETF draft, are no part of the key.
    ///
    /// # Errors
    /// [`InvalidKey`] if the key is empty, too long, or contains blanks, control characters or non-ASCII characters.
    pub fn parse(function: &'static str, value: &[u8]) -> Result<Self, InvalidKey> {
        let unquoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        let key = unquoted.unwrap_or(value);
        let fits = (1..=255).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
        let key = std::str::from_utf8(key).map_err(|_| InvalidKey)?;
        if fits {
            Ok(Self {
                function,
                key: key.to_owned(),
            })
        } else {
            Err(InvalidKey)
        }
    }
}

/// `function#key`, the form in the table.
impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.function, self.key)
    }
}

/// SHA-256 of a request's canonical form: equal for equal requests, however they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of a request's canonical form.
    pub fn of(canonical_form: &Json) -> Self {
        let mut hash = Sha256::default();
        canonical_form.feed(&mut hash);
        Self(hex::encode(hash.finalize()))
    }
}

/// A response stored for replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredResponse {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body.
    pub body: String,
}

/// The right to call the provider for a key's payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The key.
    pub key: IdempotencyKey,
    /// Increases with every takeover. A holder with an older fence cannot write.
    pub fence: u64,
    /// The number of the attempt at the provider. It increases only after a response of the provider.
    pub attempt: u32,
}

/// The stored state of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRecord {
    /// The fingerprint of the first request.
    pub fingerprint: Fingerprint,
    /// The payment that the key leads to.
    pub payment_id: PaymentId,
    /// See [`Lease::fence`].
    pub fence: u64,
    /// See [`Lease::attempt`].
    pub attempt: u32,
    /// When the holder's lease ends.
    pub lease_until: Timestamp,
    /// The final response, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<StoredResponse>,
}

/// How to handle a request whose key exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// Replay the stored response.
    Replay(StoredResponse),
    /// Refuse it: the key was used for a different request.
    RefuseReuse,
    /// Refuse it for now: the first request is still running. The caller can retry after this time.
    Wait(Duration),
    /// Continue with the payment: the holder gave up or died.
    TakeOver,
}

impl KeyRecord {
    /// How to handle a request with this fingerprint at `now`.
    pub fn next_action(&self, fingerprint: &Fingerprint, now: Timestamp) -> NextAction {
        if self.fingerprint != *fingerprint {
            return NextAction::RefuseReuse;
        }
        match &self.response {
            Some(response) => NextAction::Replay(response.clone()),
            None if self.lease_until > now => NextAction::Wait(self.lease_until.since(now)),
            None => NextAction::TakeOver,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_kept_for_48_hours() {
        assert_eq!(RETENTION.as_secs(), 172_800);
    }

    #[test]
    fn key_must_be_visible_ascii() {
        let parse = |value: &[u8]| IdempotencyKey::parse("r", value);
        assert!(parse(b"a").is_ok() && parse(&[b'~'; 255]).is_ok() && parse(b"!#\"\\").is_ok());
        for value in [
            &b""[..],
            b" ",
            b"a b",
            b"\t",
            "é".as_bytes(),
            b"\x7f",
            b"\xff",
            &[b'a'; 256],
        ] {
            assert_eq!(parse(value), Err(InvalidKey), "{value:?}");
        }
    }

    #[test]
    fn key_in_double_quotes_is_the_text_between_them() {
        let long = "a".repeat(255);
        for (value, key) in [
            (r#""k""#.to_owned(), "k"),
            (format!("\"{long}\""), &long),
            (r#"""a"""#.to_owned(), r#""a""#),
            (r#"""""#.to_owned(), r#"""#),
            // Not wholly in quotes.
            (r#"""#.to_owned(), r#"""#),
            (r#""k"#.to_owned(), r#""k"#),
            (r#"k""#.to_owned(), r#"k""#),
            (r#""k";a=1"#.to_owned(), r#""k";a=1"#),
            ("'k'".to_owned(), "'k'"),
        ] {
            let parsed = IdempotencyKey::parse("r", value.as_bytes());
            assert_eq!(parsed.map(|key| key.to_string()), Ok(format!("r#{key}")), "{value}");
        }
        let too_long = format!("\"{}\"", "a".repeat(256));
        for value in ["\"\"", "\" \"", "\"a b\"", "\"é\"", &too_long] {
            assert_eq!(IdempotencyKey::parse("r", value.as_bytes()), Err(InvalidKey), "{value}");
        }
    }

    #[test]
    fn same_key_for_two_functions_is_two_keys() {
        let [one, other] = ["one", "other"].map(|function| IdempotencyKey::parse(function, b"k").unwrap().to_string());
        assert_ne!(one, other);
    }

    #[test]
    fn next_action_depends_on_fingerprint_lease_and_response() {
        let now = Timestamp::from_millis(1_000_000);
        let (same, other) = (Fingerprint::of(&Json::Null), Fingerprint::of(&Json::Bool(true)));
        let running = KeyRecord {
            fingerprint: same.clone(),
            payment_id: PaymentId::random(),
            fence: 1,
            attempt: 1,
            lease_until: now.plus(LEASE),
            response: None,
        };
        let response = StoredResponse {
            status: 201,
            body: "{}".into(),
        };
        let completed = KeyRecord {
            response: Some(response.clone()),
            ..running.clone()
        };
        assert_eq!(running.next_action(&same, now), NextAction::Wait(LEASE));
        assert_eq!(running.next_action(&same, now.plus(LEASE)), NextAction::TakeOver);
        assert_eq!(completed.next_action(&same, now), NextAction::Replay(response));
        for record in [running, completed] {
            assert_eq!(record.next_action(&other, now.plus(LEASE)), NextAction::RefuseReuse);
        }
    }
}
