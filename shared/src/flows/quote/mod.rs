//! Quotes: where the shop's own backend decides the price, and not the browser.
//!
//! A quote is a JWT (RFC 7519) that the shop signed: `orderId`, `amount` (a decimal in a string), `currency` and `exp`.
//!
//! Guarantees: the algorithm is HS256 whatever a token says of itself, since nothing else is linked; a claim counts only
//! once the signature has verified, and is read strictly (no duplicates, no float); without a key nothing verifies, and
//! where the key cannot be had nothing is waved through; no token and no key is shown by `Debug`, by an error or by a
//! log.

mod hs256;
mod token;

pub use token::{QuoteError, QuoteValidity, Token};

use std::time::Duration;

use jsonwebtoken::DecodingKey;
use secrecy::{ExposeSecret, SecretString};

use self::token::{Quote, read};
use crate::api::problem::Problem;
use crate::domain::payment::Payment;
use crate::domain::time::Timestamp;
use crate::platform::secrets::{
    FromVersions, ROTATION, SecretCache, SecretError, SecretSource, SecretsManager, Versions, member_of,
};

/// The request's field.
pub const FIELD: &str = "quote";

/// The fewest bytes of a key: as many as the hash has (RFC 7518, section 3.2).
const MIN_KEY: usize = 32;

/// The keys that quotes are signed with: one member of a secret's JSON, now and before. Its bytes are the text's own.
/// `Debug` does not show them, and dropping erases them.
#[derive(Clone, Debug)]
pub struct QuoteKeys {
    current: DecodingKey,
    previous: Option<DecodingKey>,
    created_at: Timestamp,
}

impl FromVersions for QuoteKeys {
    const PREVIOUS_WITHIN: Option<Duration> = Some(ROTATION);

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
    /// Reads a token that is signed with one of the keys that are good at the moment.
    fn read(&self, token: &Token, now: Timestamp) -> Result<Quote, QuoteError> {
        let previous = self.previous.as_ref().filter(|_| now < self.created_at.plus(ROTATION));
        match (read(token, &self.current, now), previous) {
            (Err(QuoteError::Forged), Some(previous)) => read(token, previous, now),
            (read, _) => read,
        }
    }
}

/// The quotes of a shop, for a function that takes no payment without one.
#[derive(Debug)]
pub struct Quotes<S = SecretsManager> {
    keys: SecretCache<QuoteKeys, S>,
}

impl<S: SecretSource> Quotes<S> {
    /// Quotes signed with the `key` of a secret.
    pub fn new(source: S) -> Self {
        Self {
            keys: SecretCache::new(source, "key"),
        }
    }

    /// Fetches the key before anybody asks for it.
    pub async fn warm_up(&self, now: Timestamp) {
        self.keys.warm_up(now).await;
    }

    /// Checks that a quote was made for just the payment that is asked for, and says whether it may begin at the
    /// intent's time.
    ///
    /// # Errors
    /// 422 where there is no good quote, or one for another order, amount or currency. 503 where the key cannot be had,
    /// or a newer one cannot be asked for, so that whether the quote is good is not known.
    pub async fn check(&self, token: Option<&Token>, intent: &Payment) -> Result<QuoteValidity, Problem> {
        let now = intent.created_at;
        let read = match token {
            Some(token) => self
                .read(token, now)
                .await
                .map_err(|_| Problem::unavailable(None, None))?,
            None => Err(QuoteError::Missing),
        };
        let quote = read.map_err(|invalid| {
            tracing::warn!(%invalid, "quote refused");
            Problem::quote_invalid(&invalid)
        })?;
        let differences = quote.differences(intent);
        if differences.is_empty() {
            Ok(quote.validity(now))
        } else {
            tracing::warn!(?differences, "quote refused");
            Err(Problem::quote_mismatch(&differences))
        }
    }

    async fn read(&self, token: &Token, now: Timestamp) -> Result<Result<Quote, QuoteError>, SecretError> {
        let read = self.keys.get(now).await?.read(token, now);
        if read != Err(QuoteError::Forged) {
            return Ok(read);
        }
        // The key may have been rotated since it was fetched.
        let fresh = self.keys.refresh(now).await?;
        Ok(fresh.map_or(read, |fresh| fresh.read(token, now)))
    }
}

#[cfg(test)]
mod tests;
