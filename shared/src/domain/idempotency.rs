//! Idempotency keys and quotes: how a repeated request is handled.
//!
//! A request is known by the names that it gives: an idempotency key, a quote, or both. Its record, under one of them,
//! has the lease and the response. If a request has a quote, its record is under the quote, and its key is only an alias
//! that points to that record.
//!
//! Guarantees: one key leads to one payment, and so does one quote. While a holder's lease runs, no other request calls
//! the provider for that payment. If the holder dies, the next request with one of the names takes over once the lease
//! has ended. The old holder can no longer store a response then, because the fence has increased.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::id::PaymentId;
use crate::domain::json::Json;
use crate::domain::provider::Provider;
use crate::domain::time::Timestamp;

/// How long a holder may work on a request: longer than a function can run (25 s).
pub const LEASE: Duration = Duration::from_secs(30);

/// How long a key is kept, and a quote at least. Callers are promised 24 hours.
pub const RETENTION: Duration = Duration::from_secs(48 * 60 * 60);

/// How long a used quote is kept at least after its `exp`.
const RETENTION_AFTER_EXP: Duration = Duration::from_secs(24 * 60 * 60);

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

/// The SHA-256 digest of a quote: of its token without the signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QuoteDigest(String);

impl QuoteDigest {
    /// The digest of the part of a token that is signed.
    pub fn of(signing_input: &str) -> Self {
        Self(hex::encode(Sha256::digest(signing_input)))
    }
}

impl fmt::Display for QuoteDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A request's idempotency key.
#[derive(Clone, Debug)]
pub struct IdempotentRequest {
    /// The request's key.
    pub key: IdempotencyKey,
    /// The fingerprint of the request's canonical form.
    pub fingerprint: Fingerprint,
}

/// A request's quote, which has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedQuote {
    /// The quote's digest.
    pub digest: QuoteDigest,
    /// Its `exp`.
    pub expires_at: Timestamp,
}

impl VerifiedQuote {
    /// Until when the quote is kept if it is used at `now`.
    pub fn kept_until(&self, now: Timestamp) -> Timestamp {
        now.plus(RETENTION).max(self.expires_at.plus(RETENTION_AFTER_EXP))
    }
}

/// The names by which a request is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestNames<'a> {
    /// Its idempotency key.
    pub key: Option<&'a IdempotentRequest>,
    /// Its quote.
    pub quote: Option<&'a VerifiedQuote>,
}

impl RequestNames<'_> {
    /// The name of the record that a new request gets.
    pub fn record_name(&self) -> Option<RecordName> {
        let of_quote = self.quote.map(|quote| RecordName::Quote(quote.digest.clone()));
        of_quote.or_else(|| self.key.map(|request| RecordName::Key(request.key.clone())))
    }
}

/// The name of a request's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordName {
    /// The idempotency key of a request without a quote.
    Key(IdempotencyKey),
    /// The request's quote.
    Quote(QuoteDigest),
}

/// The right to call the provider for a request's payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The request's record.
    pub record: RecordName,
    /// Increases with every takeover. A holder with an older fence can store no response, acceptance or rejection.
    pub fence: u64,
    /// The number of the attempt at the provider. It increases only after a response of the provider.
    pub attempt: u32,
}

/// The stored state of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRecord {
    /// The payment that the request leads to.
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
    /// Until when the record is kept.
    pub expires_at: Timestamp,
}

/// What is stored under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// The fingerprint of the key's request.
    pub fingerprint: Fingerprint,
    /// The payment that the key leads to.
    pub payment_id: PaymentId,
    /// Where the request's record is.
    pub record: KeyRecord,
}

/// The record of a key's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRecord {
    /// It is under the key itself.
    Own(RequestRecord),
    /// It is under the request's quote.
    UnderQuote(QuoteDigest),
}

/// What is stored under a quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownQuote {
    /// The provider of its payment.
    pub provider: Provider,
    /// The record of its request.
    pub record: RequestRecord,
}

/// What is stored under a request's names. At least one of them is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownNames {
    /// What is stored under its key.
    pub key: Option<KnownKey>,
    /// What is stored under its quote.
    pub quote: Option<KnownQuote>,
}

/// Why a request is refused because of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its key was used for another request, or belongs to another payment than its quote.
    KeyReused,
    /// Its quote was used for a payment at another provider.
    QuoteUsedElsewhere,
}

impl KnownNames {
    /// The payment that the names lead to: the quote's, or else the key's.
    pub fn payment_id(&self) -> Option<PaymentId> {
        let of_quote = self.quote.as_ref().map(|quote| quote.record.payment_id);
        of_quote.or_else(|| self.key.as_ref().map(|key| key.payment_id))
    }

    /// Checks that a request at `provider`, with this fingerprint if it has a key, may use its names together.
    ///
    /// # Errors
    /// The [`Refusal`] if it may not.
    pub fn check(&self, provider: Provider, fingerprint: Option<&Fingerprint>) -> Result<(), Refusal> {
        if self.quote.as_ref().is_some_and(|quote| quote.provider != provider) {
            return Err(Refusal::QuoteUsedElsewhere);
        }
        let Some(key) = &self.key else { return Ok(()) };
        let is_same_payment = |quote: &KnownQuote| quote.record.payment_id == key.payment_id;
        if Some(&key.fingerprint) == fingerprint && self.quote.as_ref().is_none_or(is_same_payment) {
            Ok(())
        } else {
            Err(Refusal::KeyReused)
        }
    }
}

/// How to handle a request whose record exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// Replay the stored response.
    Replay(StoredResponse),
    /// Refuse it for now: another request's lease is running. The caller can retry after this time.
    Wait(Duration),
    /// Continue with the payment: the holder gave up or died.
    TakeOver,
}

impl RequestRecord {
    /// The record of a new request, whose holder starts at `now`.
    pub fn first(payment_id: PaymentId, now: Timestamp, expires_at: Timestamp) -> Self {
        Self {
            payment_id,
            fence: 1,
            attempt: 1,
            lease_until: now.plus(LEASE),
            response: None,
            expires_at,
        }
    }

    /// How to handle a request with this record at `now`.
    pub fn next_action(&self, now: Timestamp) -> NextAction {
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
    fn used_quote_is_kept_for_48_hours_and_a_day_after_exp() {
        let now = Timestamp::from_millis(1_000_000);
        let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
        for (exp, kept) in [(0, 48), (23, 48), (24, 48), (25, 49), (1000, 1024)] {
            let quote = VerifiedQuote {
                digest: QuoteDigest::of("a.b"),
                expires_at: now.plus(hours(exp)),
            };
            assert_eq!(quote.kept_until(now), now.plus(hours(kept)), "{exp}");
        }
    }

    #[test]
    fn next_action_depends_on_lease_and_response() {
        let now = Timestamp::from_millis(1_000_000);
        let running = RequestRecord::first(PaymentId::random(), now, now.plus(RETENTION));
        let response = StoredResponse {
            status: 201,
            body: "{}".into(),
        };
        let completed = RequestRecord {
            response: Some(response.clone()),
            ..running.clone()
        };
        assert_eq!(running.next_action(now), NextAction::Wait(LEASE));
        assert_eq!(running.next_action(now.plus(LEASE)), NextAction::TakeOver);
        assert_eq!(completed.next_action(now), NextAction::Replay(response));
    }

    #[test]
    fn names_of_two_payments_are_refused_together() {
        let now = Timestamp::from_millis(1_000_000);
        let (same, other) = (Fingerprint::of(&Json::Null), Fingerprint::of(&Json::Bool(true)));
        let record = || RequestRecord::first(PaymentId::random(), now, now.plus(RETENTION));
        let quote = KnownQuote {
            provider: Provider::FinvyPay,
            record: record(),
        };
        let key_of = |payment_id| KnownKey {
            fingerprint: same.clone(),
            payment_id,
            record: KeyRecord::UnderQuote(QuoteDigest::of("a.b")),
        };
        let own = key_of(quote.record.payment_id);
        let elsewhere = key_of(PaymentId::random());
        let (here, there) = (Provider::FinvyPay, Provider::ApoloPay);
        let (reused, used_elsewhere) = (Err(Refusal::KeyReused), Err(Refusal::QuoteUsedElsewhere));
        for (key, quote, provider, fingerprint, expected) in [
            (None, Some(&quote), here, None, Ok(())),
            (None, Some(&quote), here, Some(&other), Ok(())),
            (None, Some(&quote), there, Some(&same), used_elsewhere),
            (Some(&own), Some(&quote), here, Some(&same), Ok(())),
            (Some(&own), Some(&quote), here, Some(&other), reused),
            (Some(&own), Some(&quote), there, Some(&other), used_elsewhere),
            (Some(&elsewhere), Some(&quote), here, Some(&same), reused),
            (Some(&elsewhere), None, here, Some(&same), Ok(())),
            (Some(&elsewhere), None, here, Some(&other), reused),
        ] {
            let known = KnownNames {
                key: key.cloned(),
                quote: quote.cloned(),
            };
            assert_eq!(
                known.check(provider, fingerprint),
                expected,
                "{known:?} {provider} {fingerprint:?}"
            );
        }
    }
}
