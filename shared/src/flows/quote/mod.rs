//! Quotes: prices that the shop's backend has signed, so that the browser cannot choose them.
//!
//! A quote is a JWT (RFC 7519) with the claims `orderId`, `amount` (a decimal in a string), `currency` and `exp`.
//!
//! Guarantees:
//! - Only HS256 is accepted and linked. A token that names another algorithm is refused.
//! - Claims are read only after the signature has verified, and strictly: no duplicates, no floating point.
//! - Without the key no quote is valid.
//! - Tokens and keys never appear in `Debug` output, errors or logs.

mod hs256;
mod token;

pub use token::{QUOTE_FIELD, QuoteError, QuoteToken, QuoteValidity};

use std::time::Duration;

use jsonwebtoken::DecodingKey;
use secrecy::{ExposeSecret, SecretString};

use self::token::{Quote, read};
use crate::api::problem::Problem;
use crate::domain::idempotency::VerifiedQuote;
use crate::domain::payment::Payment;
use crate::domain::time::Timestamp;
use crate::platform::secrets::{
    ROTATION, SecretCache, SecretError, SecretSource, SecretValue, SecretsManager, Versions, member_of,
};

/// Minimum size of a key in bytes: the size of the hash (RFC 7518, section 3.2).
const MIN_KEY: usize = 32;

/// The keys that quotes are signed with: one member of a secret's JSON, in its current and previous version. A key's
/// bytes are the UTF-8 text itself. `Debug` does not show them, and dropping erases them.
#[derive(Clone, Debug)]
pub struct QuoteKeys {
    current: DecodingKey,
    previous: Option<DecodingKey>,
    created_at: Timestamp,
}

impl SecretValue for QuoteKeys {
    const PREVIOUS_VALID_FOR: Option<Duration> = Some(ROTATION);

    fn from_versions(versions: &Versions, member: &'static str) -> Result<Self, SecretError> {
        let key = |secret| {
            let text = member_of(secret, member)?.filter(|text| text.len() >= MIN_KEY);
            text.map(SecretString::from)
                .and_then(|text| DecodingKey::from_secret(text.expose_secret().as_bytes()).ok())
                .ok_or(SecretError::Malformed("key, of 32 bytes or more"))
        };
        Ok(Self {
            current: key(&versions.current)?,
            previous: versions.previous.as_ref().and_then(|previous| key(previous).ok()),
            created_at: versions.created_at,
        })
    }
}

impl QuoteKeys {
    /// Reads a token that is signed with the current key or, for [`ROTATION`] after a rotation, the previous one.
    fn read(&self, token: &QuoteToken, now: Timestamp) -> Result<Quote, QuoteError> {
        let previous = self.previous.as_ref().filter(|_| now < self.created_at.plus(ROTATION));
        match (read(token, &self.current, now), previous) {
            (Err(QuoteError::Forged), Some(previous)) => read(token, previous, now),
            (read, _) => read,
        }
    }
}

/// The quotes of a shop that requires them.
#[derive(Debug)]
pub struct Quotes<S = SecretsManager> {
    keys: SecretCache<QuoteKeys, S>,
}

impl<S: SecretSource> Quotes<S> {
    /// Quotes signed with the member `key` of a secret.
    pub fn new(source: S) -> Self {
        Self {
            keys: SecretCache::new(source, "key"),
        }
    }

    /// Fetches the key before the first request needs it.
    pub async fn warm_up(&self, now: Timestamp) {
        self.keys.warm_up(now).await;
    }

    /// Checks that a quote is for exactly this intent. Returns also whether it had expired when the intent was created.
    ///
    /// # Errors
    /// 422 if there is no valid quote, or it is for another order, amount or currency. 503 if the key, or a newer one
    /// that the quote may be signed with, cannot be fetched.
    pub async fn check(
        &self,
        token: Option<&QuoteToken>,
        intent: &Payment,
    ) -> Result<(VerifiedQuote, QuoteValidity), Problem> {
        let now = intent.created_at;
        let refused = |error: QuoteError| {
            tracing::warn!(%error, "quote refused");
            Problem::quote_invalid(&error)
        };
        let token = token.ok_or_else(|| refused(QuoteError::Missing))?;
        let read = self.read(token, now).await.map_err(|_| Problem::unavailable())?;
        let quote = read.map_err(refused)?;
        let differences = quote.differences(intent);
        if differences.is_empty() {
            let validity = quote.validity(now);
            let verified = VerifiedQuote {
                digest: token.digest(),
                expires_at: quote.expires_at,
            };
            Ok((verified, validity))
        } else {
            tracing::warn!(?differences, "quote refused");
            Err(Problem::quote_mismatch(&differences))
        }
    }

    async fn read(&self, token: &QuoteToken, now: Timestamp) -> Result<Result<Quote, QuoteError>, SecretError> {
        let read = self.keys.get(now).await?.read(token, now);
        if read != Err(QuoteError::Forged) {
            return Ok(read);
        }
        // The key may have been rotated since the last fetch.
        let fresh = self.keys.force_refresh(now).await?;
        Ok(fresh.map_or(read, |fresh| fresh.read(token, now)))
    }
}

#[cfg(test)]
mod tests;
