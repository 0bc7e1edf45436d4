//! Money: integer minor units of an ISO 4217 currency.
//!
//! Guarantee: an amount is read from an exact decimal, never from a float, and never rounded. An amount that does not
//! fit its currency is an error.

use std::fmt;
use std::str::FromStr;

use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::domain::decimal::Decimal;

/// Currencies that `iso_currency` calls superseded although ISO 4217 still lists them. VES and VED are two scales of
/// the bolívar, and both are valid.
const STILL_VALID: [iso_currency::Currency; 1] = [iso_currency::Currency::VES];

/// An ISO 4217 currency with a minor unit. Codes without one, such as gold and the testing code, are not accepted.
///
/// [`FromStr`] refuses a currency that ISO 4217 has withdrawn. [`Deserialize`](trait@Deserialize) accepts it: it reads
/// stored payments, which stay readable after their currency is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// United States dollar, the currency of ApoloPay's amounts.
    pub const USD: Self = Self(iso_currency::Currency::USD);

    /// The three-letter code in upper case.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// The number of decimals: 2 for USD, 0 for JPY, 3 for BHD.
    pub fn decimals(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }

    /// Reads the code of a current or withdrawn currency.
    fn current_or_withdrawn(code: &str) -> Result<Self, UnknownCurrency> {
        let currency = iso_currency::Currency::from_code(code).ok_or(UnknownCurrency)?;
        if currency.exponent().is_none() || currency.code() != code {
            return Err(UnknownCurrency);
        }
        Ok(Self(currency))
    }

    fn is_withdrawn(self) -> bool {
        self.0.is_superseded().is_some() && !STILL_VALID.contains(&self.0)
    }
}

/// The text is not the upper-case code of a current currency with a minor unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the upper-case ISO 4217 code of a current currency, such as USD")]
pub struct UnknownCurrency;

impl FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(code: &str) -> Result<Self, UnknownCurrency> {
        let currency = Self::current_or_withdrawn(code)?;
        if currency.is_withdrawn() {
            return Err(UnknownCurrency);
        }
        Ok(currency)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Self::current_or_withdrawn(&code).map_err(serde::de::Error::custom)
    }
}

/// Why a number is not a valid amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Zero or less.
    #[error("must be greater than 0")]
    NotPositive,
    /// More than 999999999.99.
    #[error("must be at most 999999999.99")]
    TooLarge,
    /// More decimals than allowed. Trailing zeros do not count.
    #[error("must have at most {0} decimals")]
    TooManyDecimals(u32),
}

/// A positive amount of money in minor units (cents for USD, yen for JPY, fils for BHD) of an ISO 4217 currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    minor: u64,
    currency: Currency,
}

impl Money {
    /// The maximum number of decimals of an amount in any currency, also one with three such as BHD: FinvyPay's API
    /// takes two.
    const MAX_DECIMALS: u32 = 2;
    /// The maximum number of digits before the decimal point.
    const MAX_INTEGER_DIGITS: i64 = 9;

    /// An amount in major units: `25.5` USD is 2550 cents.
    ///
    /// # Errors
    /// [`AmountError`] if the value is not positive, is above 999999999.99, or has more than two decimals or more than
    /// its currency has.
    pub fn from_major(value: &Decimal, currency: Currency) -> Result<Self, AmountError> {
        let allowed = currency.decimals().min(Self::MAX_DECIMALS);
        if !value.is_positive() {
            return Err(AmountError::NotPositive);
        }
        if value.integer_digits() > Self::MAX_INTEGER_DIGITS {
            return Err(AmountError::TooLarge);
        }
        if value.decimal_places() > u64::from(allowed) {
            return Err(AmountError::TooManyDecimals(allowed));
        }
        Ok(Self {
            minor: value.shifted(currency.decimals()).ok_or(AmountError::TooLarge)?,
            currency,
        })
    }

    /// An amount in minor units, as stored.
    pub fn from_minor(minor: u64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// The amount in minor units.
    pub fn minor(self) -> u64 {
        self.minor
    }

    /// The currency.
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// The amount in major units, for text and JSON.
    pub fn amount(self) -> Amount {
        Amount(self)
    }

    /// Whether a number in major units is exactly this amount.
    pub fn equals_major(self, value: &Decimal) -> bool {
        Self::from_major(value, self.currency) == Ok(self)
    }
}

/// An amount in major units with all decimals of its currency (`25.50`). It serialises as a JSON number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(Money);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Money { minor, currency } = self.0;
        let width = usize::try_from(currency.decimals()).unwrap_or_default();
        let unit = 10_u64.checked_pow(currency.decimals()).unwrap_or(1);
        let (major, rest) = (minor / unit, minor % unit);
        if width == 0 {
            write!(f, "{major}")
        } else {
            write!(f, "{major}.{rest:0>width$}")
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string())
            .map_err(S::Error::custom)?
            .serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
