//! Money: whole minor units of an ISO 4217 currency, and the exact decimals it is read from.
//!
//! Guarantee: an amount is decided on its decimal text and counted by value (`2.500`, `25e-1` and `2.5` are one
//! amount). No float takes part, and nothing is ever rounded: what does not fit is an error.

use std::fmt;
use std::str::FromStr;

use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// An exact decimal number of any size, normalised: equal values are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    negative: bool,
    /// Significant digits without leading or trailing zeros; empty for zero.
    digits: String,
    /// The power of ten that the digits, read as an integer, are multiplied by.
    exponent: i64,
}

impl Decimal {
    /// The farthest that the point is moved either way. A number beyond it is kept at it, since it is as far outside any
    /// amount: what is kept must read back as the same.
    const FARTHEST: i64 = 1_000_000_000_000;

    /// Reads a number in JSON's grammar (RFC 8259, section 6). `None` if the text is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (integer, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if integer.is_empty()
            || !is_digits(integer)
            || !is_digits(fraction)
            || (integer.len() > 1 && integer.starts_with('0'))
        {
            return None;
        }
        let places = i64::try_from(fraction.len()).ok()?;
        let all = [integer, fraction].concat();
        let significant = all.trim_start_matches('0');
        let digits = significant.trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self {
                negative: false,
                digits: String::new(),
                exponent: 0,
            });
        }
        let dropped = i64::try_from(significant.len().checked_sub(digits.len())?).ok()?;
        let exponent = exponent.saturating_sub(places).saturating_add(dropped);
        Some(Self {
            negative,
            digits: digits.to_owned(),
            exponent: exponent.clamp(-Self::FARTHEST, Self::FARTHEST),
        })
    }

    /// How many digits stand before the decimal point (zero or less for a number below one).
    fn integer_digits(&self) -> i64 {
        i64::try_from(self.digits.len())
            .unwrap_or(i64::MAX)
            .saturating_add(self.exponent)
    }
}

/// An exponent, or the nearest that there is room for.
fn read_exponent(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let magnitude = unsigned.parse().unwrap_or(i64::MAX);
    Some(if text.starts_with('-') {
        magnitude.saturating_neg()
    } else {
        magnitude
    })
}

/// The shortest plain notation, or `digits`e`exponent` where that would be long. One text for each value.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.digits.as_str();
        let sign = if self.negative { "-" } else { "" };
        let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
        match self.exponent {
            _ if digits.is_empty() => f.write_str("0"),
            exponent @ 0..=20 => write!(
                f,
                "{sign}{digits}{}",
                "0".repeat(usize::try_from(exponent).unwrap_or_default())
            ),
            exponent @ -20..=-1 if length.saturating_add(exponent) <= 0 => {
                let width = usize::try_from(exponent.saturating_neg()).unwrap_or_default();
                write!(f, "{sign}0.{digits:0>width$}")
            }
            exponent @ -20..=-1 => {
                let point = usize::try_from(length.saturating_add(exponent)).unwrap_or_default();
                let (integer, fraction) = digits.split_at_checked(point).unwrap_or((digits, ""));
                write!(f, "{sign}{integer}.{fraction}")
            }
            exponent => write!(f, "{sign}{digits}e{exponent}"),
        }
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a decimal number"))
    }
}

/// An ISO 4217 currency that amounts can be given in, that is, one with a defined minor unit (gold and the testing code
/// have none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// United States dollar, the currency of ApoloPay's amounts.
    pub const USD: Self = Self(iso_currency::Currency::USD);

    /// The three upper-case letters.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// How many decimals the currency has: 2 for USD, 0 for JPY, 3 for BHD.
    pub fn decimals(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }
}

/// The text is not the upper-case code of a currency with a minor unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an upper-case ISO 4217 currency code, such as USD")]
pub struct UnknownCurrency;

impl FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(code: &str) -> Result<Self, UnknownCurrency> {
        let currency = iso_currency::Currency::from_code(code).ok_or(UnknownCurrency)?;
        if currency.exponent().is_none() || currency.code() != code {
            return Err(UnknownCurrency);
        }
        Ok(Self(currency))
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
        code.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a number is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Zero or less.
    #[error("must be greater than 0")]
    NotPositive,
    /// More than 999999999.99.
    #[error("must be at most 999999999.99")]
    TooLarge,
    /// More decimals, by value, than allowed.
    #[error("must have at most {0} decimals")]
    TooManyDecimals(u32),
}

/// A positive amount of money: whole minor units (cents for USD, yen for JPY, fils for BHD) of an ISO 4217 currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    minor: u64,
    currency: Currency,
}

impl Money {
    /// The most decimals an amount may have, whatever its currency.
    const MAX_DECIMALS: u32 = 2;
    /// The most digits before the decimal point.
    const MAX_INTEGER_DIGITS: i64 = 9;

    /// The amount that `value` is in `currency`'s major unit: `25.5` is 2550 US cents.
    ///
    /// # Errors
    /// [`AmountError`] where the value is not positive, above 999999999.99, or has more decimals than two or than its
    /// currency.
    pub fn from_major(value: &Decimal, currency: Currency) -> Result<Self, AmountError> {
        let allowed = currency.decimals().min(Self::MAX_DECIMALS);
        if value.negative || value.digits.is_empty() {
            return Err(AmountError::NotPositive);
        }
        if value.integer_digits() > Self::MAX_INTEGER_DIGITS {
            return Err(AmountError::TooLarge);
        }
        if value.exponent < i64::from(allowed).saturating_neg() {
            return Err(AmountError::TooManyDecimals(allowed));
        }
        let minor = || {
            let shift = u32::try_from(value.exponent.checked_add(i64::from(currency.decimals()))?).ok()?;
            value
                .digits
                .parse::<u64>()
                .ok()?
                .checked_mul(10_u64.checked_pow(shift)?)
        };
        Ok(Self {
            minor: minor().ok_or(AmountError::TooLarge)?,
            currency,
        })
    }

    /// An amount read back from the store, in minor units.
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

    /// The amount in major units, which serialises as a JSON number.
    pub fn amount(self) -> Amount {
        Amount(self)
    }

    /// Whether a number that somebody else gave, in major units, is exactly this amount.
    pub fn equals_major(self, value: &Decimal) -> bool {
        Self::from_major(value, self.currency) == Ok(self)
    }
}

/// A [`Money`]'s amount in major units with all its currency's decimals, as text and as a JSON number: `25.50`.
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn money(text: &str, code: &str) -> Result<String, AmountError> {
        Money::from_major(&Decimal::parse(text).unwrap(), code.parse().unwrap()).map(|money| money.amount().to_string())
    }

    #[test]
    fn amounts_are_counted_by_value() {
        for (text, code, amount) in [
            ("25.50", "USD", "25.50"),
            ("25.5", "USD", "25.50"),
            ("2.500", "USD", "2.50"),
            ("1e2", "USD", "100.00"),
            ("1E+2", "USD", "100.00"),
            ("2550e-2", "USD", "25.50"),
            ("0.01", "USD", "0.01"),
            ("999999999.99", "USD", "999999999.99"),
            (
                "999999999.990000000000000000000000000000000000000",
                "USD",
                "999999999.99",
            ),
            ("500", "JPY", "500"),
            ("500.00", "JPY", "500"),
            ("1.25", "BHD", "1.250"),
            ("999999999.99", "CLF", "999999999.9900"),
        ] {
            assert_eq!(money(text, code).as_deref(), Ok(amount), "{text} {code}");
        }
    }

    #[test]
    fn what_is_not_an_amount() {
        use AmountError::{NotPositive, TooLarge, TooManyDecimals};
        for (text, code, error) in [
            ("0", "USD", NotPositive),
            ("-0.0", "USD", NotPositive),
            ("-1", "USD", NotPositive),
            ("0e99999999999999999999", "USD", NotPositive),
            ("1000000000", "USD", TooLarge),
            ("999999999.991", "USD", TooManyDecimals(2)),
            ("1e99999999999999999999", "USD", TooLarge),
            ("1e-99999999999999999999", "USD", TooManyDecimals(2)),
            ("0.001", "USD", TooManyDecimals(2)),
            ("25.500000000000001", "USD", TooManyDecimals(2)),
            ("500.5", "JPY", TooManyDecimals(0)),
            ("1.255", "BHD", TooManyDecimals(2)),
        ] {
            assert_eq!(money(text, code), Err(error), "{text} {code}");
        }
    }

    #[test]
    fn currencies_are_upper_case_iso_4217_with_a_minor_unit() {
        for (code, decimals) in [("USD", 2), ("EUR", 2), ("JPY", 0), ("KRW", 0), ("BHD", 3), ("CLF", 4)] {
            let currency: Currency = code.parse().unwrap();
            assert_eq!((currency.decimals(), currency.to_string().as_str()), (decimals, code));
        }
        for code in ["usd", "Usd", "US", "USDT", "", "ZZZ", "XAU", "XXX", "XTS", "840"] {
            assert_eq!(code.parse::<Currency>(), Err(UnknownCurrency), "{code}");
        }
    }

    #[test]
    fn decimals_follow_the_json_grammar() {
        for text in [
            "", "-", "+1", "01", "1.", ".5", "1e", "1e+", "0x1", "1 ", " 1", "1,5", "NaN", "٣", "1e1.5", "--1",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_beyond_every_bound_survives_its_text() {
        for text in [
            "10e1000000000000",
            "1.5e-1000000000000",
            "100e99999999999999999999",
            "0.001e-99999999999999999999",
        ] {
            let value = Decimal::parse(text).unwrap();
            assert_eq!(Decimal::parse(&value.to_string()), Some(value), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_survives_its_text(minor in 1_u64..=99_999_999_999, zeros in 0_usize..30) {
            let money = Money::from_minor(minor, Currency::USD);
            let text = format!("{}{}", money.amount(), "0".repeat(zeros));
            prop_assert_eq!(Money::from_major(&Decimal::parse(&text).unwrap(), Currency::USD), Ok(money));
        }

        #[test]
        fn a_decimal_survives_its_text(text in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?") {
            let value = Decimal::parse(&text).unwrap();
            prop_assert_eq!(Decimal::parse(&value.to_string()), Some(value));
        }

        #[test]
        fn shifting_the_point_changes_nothing(digits in 1_u64.., shift in -30_i32..30) {
            let plain = Decimal::parse(&digits.to_string()).unwrap();
            let shifted = Decimal::parse(&format!("{}e{}", digits, shift)).unwrap();
            let back = Decimal { exponent: shifted.exponent - i64::from(shift), ..shifted };
            prop_assert_eq!(plain, back);
        }

        #[test]
        fn every_other_number_is_another_amount(a in 1_u64..1_000_000, b in 1_u64..1_000_000) {
            let other = Decimal::parse(&Money::from_minor(b, Currency::USD).amount().to_string()).unwrap();
            prop_assert_eq!(Money::from_minor(a, Currency::USD).equals_major(&other), a == b);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in any::<String>()) {
            let _ = Decimal::parse(&text);
        }
    }
}
