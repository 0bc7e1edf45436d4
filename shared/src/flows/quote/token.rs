//! A quote as a token, and the claims in it.

use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use super::hs256::HS256;
use crate::api::validation::FieldProblem;
use crate::domain::decimal::Decimal;
use crate::domain::json::{Json, Object};
use crate::domain::payment::Payment;
use crate::domain::time::Timestamp;

/// How long after its `exp`, or before its `nbf`, a quote is still or already good: clocks differ.
const SKEW: Duration = Duration::from_secs(60);

/// The most bytes of a token: room for any order id, however it is escaped.
pub(super) const MAX_TOKEN: usize = 4096;

/// The last second of the year 9999. A time beyond it was given in milliseconds and would never come.
const LATEST_SECOND: u64 = 253_402_300_799;

/// What a caller gave as its quote.
#[derive(Clone, Debug)]
pub struct Token(pub(super) SecretString);

impl Token {
    /// Reads the request's field.
    ///
    /// # Errors
    /// Where it is not a string.
    pub fn read(value: &Json) -> Result<Self, FieldProblem> {
        let text = value.as_str().ok_or("must be a string")?;
        Ok(Self(text.into()))
    }
}

/// Why there is no good quote: a clause about "it".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// None was given.
    #[error("it is missing")]
    Missing,
    /// More than 4096 bytes.
    #[error("it is too long")]
    TooLong,
    /// Not a JWT, or one with another algorithm, with critical headers or for another audience.
    #[error("it is not a JWT for this purpose, signed with HS256")]
    Unsuitable,
    /// Signed by somebody else.
    #[error("it is not signed with the shop's key")]
    Forged,
    /// A claim is missing or wrong.
    #[error("its {0}")]
    Claim(&'static str),
    /// Its `exp` is over.
    #[error("it has expired")]
    Expired,
}

/// What a good quote is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuoteValidity {
    /// A payment may begin.
    Valid,
    /// Its time is over: no payment may begin, but one that has begun may go on.
    Expired,
}

/// The claims of a quote whose signature has verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quote {
    pub(super) order_id: String,
    pub(super) amount: Decimal,
    pub(super) currency: String,
    pub(super) expires_at: Timestamp,
}

impl Quote {
    pub(super) fn validity(&self, now: Timestamp) -> QuoteValidity {
        if now < self.expires_at.plus(SKEW) {
            QuoteValidity::Valid
        } else {
            QuoteValidity::Expired
        }
    }

    /// The claims in which it differs from a payment that is asked for. Amounts compare by value.
    pub(super) fn differences(&self, intent: &Payment) -> Vec<&'static str> {
        let order_id = intent.order_id.as_ref().map(|order_id| order_id.as_str());
        [
            ("orderId", order_id == Some(self.order_id.as_str())),
            ("amount", intent.money.equals_major(&self.amount)),
            ("currency", intent.money.currency().code() == self.currency),
        ]
        .into_iter()
        .filter_map(|(name, is_equal)| (!is_equal).then_some(name))
        .collect()
    }
}

pub(super) fn read(Token(token): &Token, key: &DecodingKey, now: Timestamp) -> Result<Quote, QuoteError> {
    let token = token.expose_secret();
    if token.len() > MAX_TOKEN {
        return Err(QuoteError::TooLong);
    }
    let mut validation = Validation::new(Algorithm::HS256);
    // Read below, exactly and by our own clock: whoever replays a key may come with an expired quote.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    // Whoever was first has installed it.
    let _ = HS256.install_default();
    let jwt = decode::<Box<RawValue>>(token, key, &validation).map_err(|error| {
        if matches!(error.kind(), ErrorKind::InvalidSignature) {
            QuoteError::Forged
        } else {
            QuoteError::Unsuitable
        }
    })?;
    // We know no extension that a signer could insist on (RFC 7515, section 4.1.11). The crate accepts `b64`.
    if jwt.header.crit.is_some() {
        return Err(QuoteError::Unsuitable);
    }
    let claims = Json::parse(jwt.claims.get().as_bytes()).map_err(|_| QuoteError::Unsuitable)?;
    let claims = claims.as_object().ok_or(QuoteError::Unsuitable)?;
    // A quote names no audience (RFC 7519, section 4.1.3). The crate reads `null` as an absent claim.
    if claims.get("aud").is_some() {
        return Err(QuoteError::Unsuitable);
    }
    quote(claims, now)
}

fn quote(claims: &Object, now: Timestamp) -> Result<Quote, QuoteError> {
    const AMOUNT: &str = "amount must be a decimal number in a string";
    let text = |name, wrong| claims.str(name).ok_or(QuoteError::Claim(wrong));
    let expires_at = claims.get("exp").and_then(moment);
    if let Some(value) = claims.get("nbf")
        && moment(value).is_none_or(|not_before| not_before > now.plus(SKEW))
    {
        return Err(QuoteError::Claim(
            "nbf must be a number of seconds since 1970, and past",
        ));
    }
    Ok(Quote {
        order_id: text("orderId", "orderId must be a string")?.to_owned(),
        amount: text("amount", AMOUNT).and_then(|text| Decimal::parse(text).ok_or(QuoteError::Claim(AMOUNT)))?,
        currency: text("currency", "currency must be a string")?.to_owned(),
        expires_at: expires_at.ok_or(QuoteError::Claim("exp must be a number of seconds since 1970"))?,
    })
}

/// A NumericDate (RFC 7519, section 2). A fraction of a second is dropped.
fn moment(value: &Json) -> Option<Timestamp> {
    let Json::Number(text) = value else { return None };
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    // Anything but digits is an exponent.
    let is_plain = fraction.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = seconds
        .parse::<u64>()
        .ok()
        .filter(|seconds| *seconds <= LATEST_SECOND)?;
    is_plain.then(|| Timestamp::from_millis(0).plus(Duration::from_secs(seconds)))
}
