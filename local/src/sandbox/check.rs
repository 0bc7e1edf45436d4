//! The providers' common checks of amounts and metadata, on the JSON text, never on a float.

use serde_json::value::RawValue;

use super::json::{Object, compact};

/// The size limit of `metadata`, as compact JSON.
const MAX_METADATA_BYTES: usize = 10 * 1024;

/// The problem of an invalid amount, if there is one.
pub(super) fn amount_problem(value: &RawValue) -> Option<&'static str> {
    let text = value.get();
    if !text.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
        return Some("must be a number");
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.starts_with('-') || digits.chars().all(|digit| digit == '0') {
        return Some("must be a positive number");
    }
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let decimals = (|| {
        let decimals = i32::try_from(fraction.len())
            .ok()?
            .checked_sub(i32::try_from(zeros).ok()?)?;
        decimals.checked_sub(exponent.parse().ok()?)
    })();
    match decimals {
        Some(decimals) if decimals <= 2 => None,
        _ => Some("must have at most two decimals"),
    }
}

/// The problem of invalid metadata, if there is one.
pub(super) fn metadata_problem(value: &RawValue) -> Option<&'static str> {
    if serde_json::from_str::<Object>(value.get()).is_err() {
        return Some("must be an object");
    }
    (compact(value.get()).len() > MAX_METADATA_BYTES).then_some("must not be larger than 10 KB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn amount_is_checked_by_value_on_its_text() {
        for good in [
            "25.50",
            "25.5",
            "2.500",
            "1e2",
            "0.01",
            "1E-2",
            "12.5e-1",
            "100",
            "999999999.99",
            "1e+3",
        ] {
            assert_eq!(amount_problem(&raw(good)), None, "{good}");
        }
        for (bad, problem) in [
            ("\"25.50\"", "must be a number"),
            ("null", "must be a number"),
            ("true", "must be a number"),
            ("[1]", "must be a number"),
            ("0", "must be a positive number"),
            ("0.00", "must be a positive number"),
            ("-0", "must be a positive number"),
            ("-1", "must be a positive number"),
            ("0e5", "must be a positive number"),
            ("0.001", "must have at most two decimals"),
            ("25.500000000000001", "must have at most two decimals"),
            ("1e-3", "must have at most two decimals"),
            ("1.234e0", "must have at most two decimals"),
            ("1e-99999999999999999999", "must have at most two decimals"),
        ] {
            assert_eq!(amount_problem(&raw(bad)), Some(problem), "{bad}");
        }
    }

    #[test]
    fn metadata_must_be_an_object_of_at_most_ten_kilobytes() {
        let of_size = |bytes: usize| format!("{{\"k\":\"{}\"}}", "x".repeat(bytes - 8));
        assert_eq!(of_size(10_240).len(), 10_240);
        assert_eq!(metadata_problem(&raw(&of_size(10_240))), None);
        assert_eq!(
            metadata_problem(&raw(&of_size(10_240).replace(':', " :  "))),
            None,
            "whitespace does not count"
        );
        assert_eq!(
            metadata_problem(&raw(&of_size(10_241))),
            Some("must not be larger than 10 KB")
        );
        for bad in ["null", "[]", "\"text\"", "1"] {
            assert_eq!(metadata_problem(&raw(bad)), Some("must be an object"), "{bad}");
        }
    }
}
