//! The token of a quote, and its claims.

use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use super::hs256::HS256;
use crate::api::validation::{FieldProblem, Fields};
use crate::domain::decimal::Decimal;
use crate::domain::idempotency::QuoteDigest;
use crate::domain::json::{Json, Object};
use crate::domain::payment::Payment;
use crate::domain::time::Timestamp;

/// Tolerance for clock differences when comparing `exp` and `nbf`.
const SKEW: Duration = Duration::from_secs(60);

/// The request field of the quote.
pub const QUOTE_FIELD: &str = "quote";

/// Maximum size of a token in bytes. Any order id fits, however it is escaped.
pub(super) const MAX_TOKEN: usize = 4096;

/// The last second of the year 9999. A greater value is a time in milliseconds by mistake.
const LATEST_SECOND: u64 = 253_402_300_799;

/// The quote of a request, not yet verified.
#[derive(Clone, Debug)]
pub struct QuoteToken(pub(super) SecretString);

impl QuoteToken {
    /// The field of a request. If the deployment uses no quotes (`quotes_required` is false), the field is invalid.
    pub fn from_fields(fields: &mut Fields<'_>, quotes_required: bool) -> Option<Self> {
        if quotes_required {
            fields.optional(QUOTE_FIELD, Self::read)
        } else {
            fields.forbidden(QUOTE_FIELD, "must be left out, because quotes are not configured");
            None
        }
    }

    /// Reads the value of the field.
    ///
    /// # Errors
    /// If it is not a string.
    pub fn read(value: &Json) -> Result<Self, FieldProblem> {
        let text = value.as_str().ok_or("must be a string")?;
        Ok(Self(text.into()))
    }

    /// The digest of what is signed. The signature is no part of it, because it can be written in several ways.
    pub(super) fn digest(&self) -> QuoteDigest {
        let token = self.0.expose_secret();
        QuoteDigest::of(token.rsplit_once('.').map_or(token, |(signed, _)| signed))
    }
}

/// Why there is no valid quote: a clause about "it".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// The request has no quote.
    #[error("it is missing")]
    Missing,
    /// It has more than 4096 bytes.
    #[error("it is too long")]
    TooLong,
    /// It is not a JWT, or it has another algorithm, critical headers or an audience.
    #[error("it is not a JWT for this purpose, signed with HS256")]
    Unsuitable,
    /// Its signature does not verify.
    #[error("it is not signed with the shop's key")]
    Forged,
    /// A claim is missing or invalid.
    #[error("its {0}")]
    Claim(&'static str),
    /// Its `exp` has passed.
    #[error("it has expired")]
    Expired,
}

/// Whether a verified quote may begin a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuoteValidity {
    /// It may begin a payment.
    Valid,
    /// It can no longer begin a payment, but continues one that has begun.
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

    /// The names of the claims that differ from the intent. Amounts are compared by value.
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

/// Verifies a token and reads its claims. Does not check `exp`: see [`Quote::validity`].
pub(super) fn read(QuoteToken(token): &QuoteToken, key: &DecodingKey, now: Timestamp) -> Result<Quote, QuoteError> {
    let token = token.expose_secret();
    if token.len() > MAX_TOKEN {
        return Err(QuoteError::TooLong);
    }
    let mut validation = Validation::new(Algorithm::HS256);
    // `exp` is checked later, by our own clock: a request that continues a payment may have an expired quote.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    // An error means that it is already installed.
    let _ = HS256.install_default();
    let jwt = decode::<Box<RawValue>>(token, key, &validation).map_err(|error| {
        if matches!(error.kind(), ErrorKind::InvalidSignature) {
            QuoteError::Forged
        } else {
            QuoteError::Unsuitable
        }
    })?;
    // We support no critical extension (RFC 7515, section 4.1.11), but the crate accepts `b64`.
    if jwt.header.crit.is_some() {
        return Err(QuoteError::Unsuitable);
    }
    let claims = Json::parse(jwt.claims.get().as_bytes()).map_err(|_| QuoteError::Unsuitable)?;
    let claims = claims.as_object().ok_or(QuoteError::Unsuitable)?;
    // A quote must not have an audience (RFC 7519, section 4.1.3), but the crate ignores `null`.
    if claims.get("aud").is_some() {
        return Err(QuoteError::Unsuitable);
    }
    quote(claims, now)
}

fn quote(claims: &Object, now: Timestamp) -> Result<Quote, QuoteError> {
    const AMOUNT: &str = "amount must be a decimal number in a string";
    let text = |name, wrong| claims.str(name).ok_or(QuoteError::Claim(wrong));
    let expires_at = claims.get("exp").and_then(numeric_date);
    if let Some(value) = claims.get("nbf")
        && numeric_date(value).is_none_or(|not_before| not_before > now.plus(SKEW))
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

/// Reads a NumericDate (RFC 7519, section 2). Fractions of a second are dropped.
fn numeric_date(value: &Json) -> Option<Timestamp> {
    let Json::Number(text) = value else { return None };
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    // An exponent is refused.
    let is_plain = fraction.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = seconds
        .parse::<u64>()
        .ok()
        .filter(|seconds| *seconds <= LATEST_SECOND)?;
    is_plain.then(|| Timestamp::from_millis(0).plus(Duration::from_secs(seconds)))
}
