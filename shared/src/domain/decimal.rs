//! Exact decimal numbers.
//!
//! Guarantee: numbers are compared by value (`2.500`, `25e-1` and `2.5` are equal), never pass through a float, and are
//! never rounded. The exponent alone has a limit, which no amount reaches.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// An exact decimal number. It is normalised, so equal values compare equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    negative: bool,
    /// Significant digits without leading or trailing zeros; empty for zero.
    digits: String,
    /// The power of ten by which the digits, as an integer, are multiplied.
    exponent: i64,
}

impl Decimal {
    /// Limit of the exponent in both directions. `parse` clamps the exponent to it, so that every `Decimal` can be
    /// written and read back. No amount is that large or that small.
    const MAX_EXPONENT: i64 = 1_000_000_000_000;

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
            exponent: exponent.clamp(-Self::MAX_EXPONENT, Self::MAX_EXPONENT),
        })
    }

    /// Whether the number is greater than zero.
    pub fn is_positive(&self) -> bool {
        !self.negative && !self.digits.is_empty()
    }

    /// The number of decimal places.
    pub fn decimal_places(&self) -> u64 {
        self.exponent.min(0).unsigned_abs()
    }

    /// The absolute value times ten to the power of `places`. `None` if that is not an integer or too large.
    pub fn shifted(&self, places: u32) -> Option<u64> {
        let zeros = u32::try_from(self.exponent.checked_add(i64::from(places))?).ok()?;
        let digits = if self.digits.is_empty() { "0" } else { &self.digits };
        digits.parse::<u64>().ok()?.checked_mul(10_u64.checked_pow(zeros)?)
    }

    /// The number of digits before the decimal point; zero or less for an absolute value below one.
    pub fn integer_digits(&self) -> i64 {
        i64::try_from(self.digits.len())
            .unwrap_or(i64::MAX)
            .saturating_add(self.exponent)
    }
}

/// Reads an exponent. One that does not fit saturates.
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

/// Plain notation, or `digits`e`exponent` if that would be too long. Equal values have the same text.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn written_decimal_parses_to_the_same_value(text in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?") {
            let value = Decimal::parse(&text).unwrap();
            prop_assert_eq!(Decimal::parse(&value.to_string()), Some(value));
        }

        #[test]
        fn exponent_shifts_the_decimal_point(digits in 1_u64.., shift in -30_i32..30) {
            let plain = Decimal::parse(&digits.to_string()).unwrap();
            let shifted = Decimal::parse(&format!("{}e{}", digits, shift)).unwrap();
            let back = Decimal { exponent: shifted.exponent - i64::from(shift), ..shifted };
            prop_assert_eq!(plain, back);
        }

        #[test]
        fn any_text_is_parsed_without_a_panic(text in any::<String>()) {
            let _ = Decimal::parse(&text);
        }
    }
}
