use super::*;
use proptest::prelude::*;

fn money(text: &str, code: &str) -> Result<String, AmountError> {
    Money::from_major(&Decimal::parse(text).unwrap(), code.parse().unwrap()).map(|money| money.amount().to_string())
}

#[test]
fn amount_is_read_by_value_in_any_notation() {
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
fn unsuitable_number_is_refused_with_its_reason() {
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
fn currency_must_be_upper_case_iso_4217_with_a_minor_unit() {
    for (code, decimals) in [("USD", 2), ("EUR", 2), ("JPY", 0), ("KRW", 0), ("BHD", 3), ("CLF", 4)] {
        let currency: Currency = code.parse().unwrap();
        assert_eq!((currency.decimals(), currency.to_string().as_str()), (decimals, code));
    }
    for code in ["usd", "Usd", "US", "USDT", "", "ZZZ", "XAU", "XXX", "XTS", "840"] {
        assert_eq!(code.parse::<Currency>(), Err(UnknownCurrency), "{code}");
    }
}

#[test]
fn withdrawn_currency_is_refused_and_stays_readable_in_stored_payments() {
    // Withdrawn recently: `iso_currency` still knows them.
    for code in ["BGN", "CUC", "HRK", "SLL", "ZWL"] {
        assert_eq!(code.parse::<Currency>(), Err(UnknownCurrency), "{code}");
        let stored: Currency = serde_json::from_str(&format!("\"{code}\"")).unwrap();
        assert_eq!(stored.code(), code);
    }
    // Withdrawn longer ago, or unknown to `iso_currency` for another reason.
    for code in [
        "ANG", "BYR", "CSK", "DEM", "EEK", "FRF", "GHC", "ITL", "LTL", "LVL", "MRO", "ROL", "SDD", "SKK", "STD", "TRL",
        "USS", "VEB", "VEF", "YUM", "ZMK", "ZWD", "ZWR",
    ] {
        assert_eq!(code.parse::<Currency>(), Err(UnknownCurrency), "{code}");
        assert!(
            serde_json::from_str::<Currency>(&format!("\"{code}\"")).is_err(),
            "{code}"
        );
    }
}

#[test]
fn successors_and_currencies_that_only_look_superseded_are_accepted() {
    for code in [
        "BYN", "CHE", "CUP", "EUR", "GHS", "MRU", "SLE", "STN", "SVC", "USN", "UYW", "VED", "VES", "XAD", "XCG", "ZWG",
    ] {
        assert_eq!(code.parse::<Currency>().map(Currency::code), Ok(code));
    }
}

#[test]
fn decimal_outside_the_json_grammar_is_refused() {
    for text in [
        "", "-", "+1", "01", "1.", ".5", "1e", "1e+", "0x1", "1 ", " 1", "1,5", "NaN", "٣", "1e1.5", "--1",
    ] {
        assert_eq!(Decimal::parse(text), None, "{text}");
    }
}

#[test]
fn decimal_with_an_extreme_exponent_parses_back_to_itself() {
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
    fn written_amount_parses_to_the_same_amount(minor in 1_u64..=99_999_999_999, zeros in 0_usize..30) {
        let money = Money::from_minor(minor, Currency::USD);
        let text = format!("{}{}", money.amount(), "0".repeat(zeros));
        prop_assert_eq!(Money::from_major(&Decimal::parse(&text).unwrap(), Currency::USD), Ok(money));
    }

    #[test]
    fn only_the_same_number_equals_an_amount(a in 1_u64..1_000_000, b in 1_u64..1_000_000) {
        let other = Decimal::parse(&Money::from_minor(b, Currency::USD).amount().to_string()).unwrap();
        prop_assert_eq!(Money::from_minor(a, Currency::USD).equals_major(&other), a == b);
    }
}
