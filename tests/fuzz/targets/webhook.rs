//! The body of a webhook whose signature was good: what is read of it, and which money is believed.

use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::PaymentId;
use payment_functions::domain::json::{Json, Object};
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::providers::{Notification, OUR_ID};

use super::json::{compact, pretty, reversed};
use super::paper;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub fn apolopay(bytes: &[u8]) -> bool {
    let read = read(Provider::ApoloPay, bytes);
    if let Some((event, body)) = &read {
        let mut words = ["status", "event"].into_iter().filter_map(|name| body.str(name));
        let says_paid = words.all(|word| ["completed", "payment.completed"].contains(&lower(word).as_str()));
        assert_eq!(event.fact.outcome == Outcome::Completed, says_paid);
        believes_only_the_right_money(event, &[body.get("amount")], &[]);
    }
    read.is_some()
}

pub fn finvypay(bytes: &[u8]) -> bool {
    let read = read(Provider::FinvyPay, bytes);
    if let Some((event, body)) = &read {
        let body = body.get("request").and_then(Json::as_object).unwrap_or(body);
        let data = body.get("data").and_then(Json::as_object);
        let inner = |name| data.and_then(|data| data.get(name));
        let words = [body.get("status"), inner("status"), body.get("event")];
        let mut words = words.into_iter().flatten().filter_map(Json::as_str);
        let says_paid = words.all(|word| is_paid(word) || lower(word) == "payment.completed");
        assert_eq!(event.fact.outcome == Outcome::Completed, says_paid);
        let [amounts, currencies] = ["amount", "currency"].map(|name| [body.get(name), inner(name)]);
        believes_only_the_right_money(event, &amounts, &currencies);
    }
    read.is_some()
}

/// Whether it is one of FinvyPay's words for a payment that is paid.
pub fn is_paid(word: &str) -> bool {
    ["success", "succeeded", "completed", "approved"].contains(&lower(word).as_str())
}

fn lower(word: &str) -> String {
    word.to_ascii_lowercase()
}

/// Reads a body, and makes sure that its event is the same however it is written, and as it was once it has been stored.
fn read(provider: Provider, bytes: &[u8]) -> Option<(Notification, Object)> {
    let webhooks = payment_functions::providers::webhooks(provider);
    let event = webhooks.read(bytes).ok()?;
    let json = Json::parse(bytes).unwrap();
    for same in [compact(&json), pretty(&json), compact(&reversed(&json))] {
        assert_eq!(webhooks.read(same.as_bytes()).as_ref(), Ok(&event), "{same}");
    }
    survives_being_stored(&event);

    let fact = &event.fact;
    assert_eq!(fact.provider, provider);
    assert!(!fact.raw_status.is_empty());
    assert!(event.payment_id.is_some() || fact.references().next().is_some() || fact.order_id.is_some());
    if let Some(id) = event.payment_id {
        assert!(compact(&json).to_lowercase().contains(&id.to_string()) && compact(&json).contains(OUR_ID));
    }
    let Json::Object(body) = json else {
        panic!("an event from no object")
    };
    Some((event, body))
}

/// What is stored of an event is the event, and its digest says what happened and not when.
pub fn survives_being_stored(event: &Notification) {
    let stored = serde_json::to_string(event).unwrap();
    let kept: Notification = serde_json::from_str(&stored).unwrap();
    let fact = &event.fact;
    let digest = fact.digest();
    assert_eq!((&kept, &kept.fact.digest()), (event, &digest), "parked and collected");
    assert!(fact.raw_status.chars().count() <= 100);
    assert!(digest.len() == 64 && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    let otherwise_told = Fact {
        occurred_at: None,
        ..fact.clone()
    };
    assert_eq!(
        otherwise_told.digest(),
        digest,
        "when it happened is no part of what happened"
    );
}

/// For payments of all kinds of money: the event completes those alone whose money every amount and every currency in
/// the body names.
pub fn believes_only_the_right_money(event: &Notification, amounts: &[Option<&Json>], currencies: &[Option<&Json>]) {
    let fact = &event.fact;
    let told = fact.money();
    let near = told.into_iter().flat_map(|money| {
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
            && names(amounts, |amount| is_amount(amount, money))
            && (fact.provider == Provider::ApoloPay && money.currency() == Currency::USD
                || fact.provider == Provider::FinvyPay
                    && names(currencies, |code| {
                        code.as_str()
                            .is_some_and(|code| code.eq_ignore_ascii_case(money.currency().code()))
                    }));
        let rung = payment.implied_status(fact, false);
        assert_eq!(rung == Some(Status::Completed), is_paid, "{money:?}");
        assert_ne!(
            payment.implied_status(fact, true),
            Some(Status::Completed),
            "under another's id"
        );

        let after = payment.apply(fact, false, NOW);
        assert_eq!(after.status == Status::Completed, is_paid, "{money:?}");
        assert_eq!(after.apply(fact, false, NOW), after, "told twice");
        for status in Status::ALL {
            let before = Payment {
                status,
                ..payment.clone()
            };
            assert!(before.apply(fact, false, NOW).status >= status);
        }
    }
}

/// Whether there is a value, and every one is right. Null is none.
fn names(values: &[Option<&Json>], is_right: impl Fn(&Json) -> bool) -> bool {
    let mut values = values
        .iter()
        .flatten()
        .filter(|value| ***value != Json::Null)
        .peekable();
    values.peek().is_some() && values.all(|value| is_right(value))
}

fn is_amount(value: &Json, money: Money) -> bool {
    match value {
        Json::Number(text) | Json::String(text) => {
            paper::is_number(text) && paper::minor(text, money.currency().decimals()) == Some(money.minor())
        }
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => false,
    }
}
