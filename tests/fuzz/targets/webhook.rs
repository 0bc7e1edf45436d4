//! The body of a webhook with a valid signature: parsing, and the comparison of its money with the payment's.

use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::PaymentId;
use payment_functions::domain::json::{Json, Object};
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::providers::{Notification, PAYMENT_ID_MEMBER};

use super::json::{compact, pretty, reversed};
use super::longhand;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub fn apolopay(bytes: &[u8]) -> bool {
    let read = read(Provider::ApoloPay, bytes);
    if let Some((notification, body)) = &read {
        let mut statuses = ["status", "event"].into_iter().filter_map(|name| body.str(name));
        let says_paid = statuses.all(|status| ["completed", "payment.completed"].contains(&lower(status).as_str()));
        assert_eq!(notification.fact.outcome == Outcome::Completed, says_paid);
        assert_completes_only_with_exact_money(notification, &[body.get("amount")], &[]);
    }
    read.is_some()
}

pub fn finvypay(bytes: &[u8]) -> bool {
    let read = read(Provider::FinvyPay, bytes);
    if let Some((notification, body)) = &read {
        let body = body.get("request").and_then(Json::as_object).unwrap_or(body);
        let data = body.get("data").and_then(Json::as_object);
        let inner = |name| data.and_then(|data| data.get(name));
        let statuses = [body.get("status"), inner("status"), body.get("event")];
        let mut statuses = statuses.into_iter().flatten().filter_map(Json::as_str);
        let says_paid = statuses.all(|status| is_paid(status) || lower(status) == "payment.completed");
        assert_eq!(notification.fact.outcome == Outcome::Completed, says_paid);
        let [amounts, currencies] = ["amount", "currency"].map(|name| [body.get(name), inner(name)]);
        assert_completes_only_with_exact_money(notification, &amounts, &currencies);
    }
    read.is_some()
}

/// Whether it is one of FinvyPay's statuses of a paid payment.
pub fn is_paid(status: &str) -> bool {
    ["success", "succeeded", "completed", "approved"].contains(&lower(status).as_str())
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// Reads a body. The notification must not depend on the body's formatting, and must survive storage.
fn read(provider: Provider, bytes: &[u8]) -> Option<(Notification, Object)> {
    let webhooks = payment_functions::providers::webhooks(provider);
    let notification = webhooks.read(bytes).ok()?;
    let json = Json::parse(bytes).unwrap();
    for same in [compact(&json), pretty(&json), compact(&reversed(&json))] {
        assert_eq!(webhooks.read(same.as_bytes()).as_ref(), Ok(&notification), "{same}");
    }
    assert_survives_storage(&notification);

    let fact = &notification.fact;
    assert_eq!(fact.provider, provider);
    assert!(!fact.raw_status.is_empty());
    assert!(notification.payment_id.is_some() || fact.references().next().is_some() || fact.order_id.is_some());
    if let Some(id) = notification.payment_id {
        assert!(compact(&json).to_lowercase().contains(&id.to_string()) && compact(&json).contains(PAYMENT_ID_MEMBER));
    }
    let Json::Object(body) = json else {
        panic!("not an object")
    };
    Some((notification, body))
}

/// A stored notification is read unchanged, and its digest does not depend on the time.
pub fn assert_survives_storage(notification: &Notification) {
    let stored = serde_json::to_string(notification).unwrap();
    let read: Notification = serde_json::from_str(&stored).unwrap();
    let fact = &notification.fact;
    let digest = fact.digest();
    assert_eq!((&read, &read.fact.digest()), (notification, &digest), "stored and read");
    assert!(fact.raw_status.chars().count() <= 100);
    assert!(digest.len() == 64 && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    let without_time = Fact {
        occurred_at: None,
        ..fact.clone()
    };
    assert_eq!(without_time.digest(), digest, "the time is not part of the digest");
}

/// The notification completes only payments with the amount and currency that all amounts and currencies in the body
/// have.
pub fn assert_completes_only_with_exact_money(
    notification: &Notification,
    amounts: &[Option<&Json>],
    currencies: &[Option<&Json>],
) {
    let fact = &notification.fact;
    let near = fact.money().into_iter().flat_map(|money| {
        [-1, 0, 1].map(|step| Money::from_minor(money.minor().saturating_add_signed(step).max(1), money.currency()))
    });
    let fixed = [
        (2550, "USD"),
        (9999, "USD"),
        (9999, "EUR"),
        (100, "JPY"),
        (100_000, "BHD"),
    ];
    let fixed = fixed.map(|(minor, code)| Money::from_minor(minor, code.parse::<Currency>().unwrap()));
    for money in near.chain(fixed) {
        let payment = Payment::new(PaymentId::random(), fact.provider, money, NOW);
        let is_paid = fact.outcome == Outcome::Completed
            && all_match(amounts, |amount| is_amount(amount, money))
            && (fact.provider == Provider::ApoloPay && money.currency() == Currency::USD
                || fact.provider == Provider::FinvyPay
                    && all_match(currencies, |code| {
                        code.as_str()
                            .is_some_and(|code| code.eq_ignore_ascii_case(money.currency().code()))
                    }));
        let status = payment.implied_status(fact, false);
        assert_eq!(status == Some(Status::Completed), is_paid, "{money:?}");
        assert_ne!(
            payment.implied_status(fact, true),
            Some(Status::Completed),
            "with another payment's id"
        );

        let after = payment.apply(fact, false, NOW);
        assert_eq!(after.status == Status::Completed, is_paid, "{money:?}");
        assert_eq!(after.apply(fact, false, NOW), after, "applied twice");
        for status in Status::ALL {
            let before = Payment {
                status,
                ..payment.clone()
            };
            assert!(before.apply(fact, false, NOW).status >= status);
        }
    }
}

/// Whether there is a value other than null, and all values match.
fn all_match(values: &[Option<&Json>], matches: impl Fn(&Json) -> bool) -> bool {
    let mut values = values
        .iter()
        .flatten()
        .filter(|value| ***value != Json::Null)
        .peekable();
    values.peek().is_some() && values.all(|value| matches(value))
}

fn is_amount(value: &Json, money: Money) -> bool {
    match value {
        Json::Number(text) | Json::String(text) => {
            longhand::is_number(text) && longhand::minor(text, money.currency().decimals()) == Some(money.minor())
        }
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => false,
    }
}
