//! Two texts, one per line, as decimal numbers and as amounts.

use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::money::{Currency, Money};

use super::{longhand, split};

const CURRENCIES: [&str; 4] = ["USD", "JPY", "BHD", "CLF"];

pub fn check(bytes: &[u8]) -> bool {
    let (one, other) = split(bytes, b"\n");
    let (one, other) = (String::from_utf8_lossy(one), String::from_utf8_lossy(other));
    let (one, other) = (read(&one), read(&other));
    if let (Some((one, Some(one_written))), Some((other, Some(other_written)))) = (&one, &other) {
        assert_eq!(one == other, one_written == other_written, "{one} {other}");
    }
    one.is_some() && other.is_some()
}

/// The number, and its longhand form if that is not too long.
fn read(text: &str) -> Option<(Decimal, Option<longhand::Written>)> {
    let number = Decimal::parse(text);
    assert_eq!(number.is_some(), longhand::is_number(text), "the grammar is JSON's");
    let number = number?;
    let shown = number.to_string();
    assert_eq!(
        Decimal::parse(&shown).as_ref(),
        Some(&number),
        "round trip through its text"
    );
    let stored = serde_json::to_string(&number).unwrap();
    assert_eq!(
        serde_json::from_str::<Decimal>(&stored).unwrap(),
        number,
        "round trip through the table"
    );

    let written = longhand::write_out(text);
    for code in CURRENCIES {
        let currency: Currency = code.parse().unwrap();
        let money = Money::from_major(&number, currency);
        let minor = written
            .as_ref()
            .and_then(|written| written.minor(usize::try_from(currency.decimals()).unwrap()));
        assert_eq!(money.ok().map(Money::minor), minor, "{code}");
        if let Ok(money) = money {
            let amount = money.amount().to_string();
            assert!(
                money.equals_major(&number) && money.equals_major(&Decimal::parse(&amount).unwrap()),
                "{code}"
            );
            assert_eq!(serde_json::to_string(&money.amount()).unwrap(), amount, "a JSON number");
        }
    }
    Some((number, written))
}
