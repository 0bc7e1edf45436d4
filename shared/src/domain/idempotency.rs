//! Idempotency keys: what a repeated request gets.
//!
//! Guarantees: one key leads to one payment. While a holder's lease runs nobody else calls the provider for it; when
//! the holder dies, the next request with the key takes over after the lease at the latest, and the old holder, should
//! it wake up, can write no answer any more, because the fence has moved on.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::id::PaymentId;
use crate::domain::json::Json;
use crate::domain::time::Timestamp;

/// How long a holder may be at work. Longer than a function can run (25 s), shorter than the 60 s promised to callers.
pub const LEASE: Duration = Duration::from_secs(30);

/// How long a key is kept; 24 hours are promised.
pub const RETENTION: Duration = Duration::from_secs(48 * 60 * 60);

/// A caller's `Idempotency-Key`, which belongs to one route: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    route: &'static str,
    key: String,
}

/// The header's value is outside the allowed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 255 visible ASCII characters")]
pub struct InvalidKey;

impl IdempotencyKey {
    /// Reads the header's value.
    ///
    /// # Errors
    /// [`InvalidKey`] where it is empty, too long, or has blanks, control characters or anything outside ASCII.
    pub fn parse(route: &'static str, value: &[u8]) -> Result<Self, InvalidKey> {
        let fits = (1..=255).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
        let key = std::str::from_utf8(value).map_err(|_| InvalidKey)?;
        if fits {
            Ok(Self {
                route,
                key: key.to_owned(),
            })
        } else {
            Err(InvalidKey)
        }
    }
}

/// `route#key`: the key's name in the store.
impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.route, self.key)
    }
}

/// SHA-256 of a request's meaning: equal for equal requests however they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of a meaning, given as a JSON value.
    pub fn of(meaning: &Json) -> Self {
        let mut hash = Sha256::default();
        meaning.feed(&mut hash);
        Self(hex::encode(hash.finalize()))
    }
}

/// An answer that is kept to be given again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredResponse {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body.
    pub body: String,
}

/// The right to call the provider for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The key.
    pub key: IdempotencyKey,
    /// Grows with every take-over; a holder with an older one writes nothing.
    pub fence: u64,
    /// Which attempt at the provider this is; grows only after a definite answer.
    pub attempt: u32,
}

/// What is stored of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRecord {
    /// The meaning of the first request.
    pub fingerprint: Fingerprint,
    /// The payment that the key leads to.
    pub payment_id: PaymentId,
    /// See [`Lease::fence`].
    pub fence: u64,
    /// See [`Lease::attempt`].
    pub attempt: u32,
    /// Until when the holder may be at work.
    pub lease_until: Timestamp,
    /// The final answer, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<StoredResponse>,
}

/// What to do with a request whose key is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// Give the first answer again.
    Replay(StoredResponse),
    /// The key was used for another request.
    RefuseReuse,
    /// The first request is still running; come again after this long.
    Wait(Duration),
    /// The holder gave up or died: go on with the payment.
    TakeOver,
}

impl KeyRecord {
    /// Decides.
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
    fn a_key_is_kept_longer_than_is_promised() {
        assert_eq!(RETENTION.as_secs(), 172_800);
    }

    #[test]
    fn the_form_of_a_key() {
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
    fn a_key_belongs_to_its_route() {
        let [one, other] = ["one", "other"].map(|route| IdempotencyKey::parse(route, b"k").unwrap().to_string());
        assert_ne!(one, other);
    }

    #[test]
    fn what_a_repeated_request_gets() {
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
        let answer = StoredResponse {
            status: 201,
            body: "{}".into(),
        };
        let answered = KeyRecord {
            response: Some(answer.clone()),
            ..running.clone()
        };
        assert_eq!(running.next_action(&same, now), NextAction::Wait(LEASE));
        assert_eq!(running.next_action(&same, now.plus(LEASE)), NextAction::TakeOver);
        assert_eq!(answered.next_action(&same, now), NextAction::Replay(answer));
        for record in [running, answered] {
            assert_eq!(record.next_action(&other, now.plus(LEASE)), NextAction::RefuseReuse);
        }
    }
}
