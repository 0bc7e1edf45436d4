//! The body of a webhook with a valid signature: parsing, and the comparison of its money with the payment's.

use std::collections::BTreeSet;

use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::json::{Json, Object};
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::providers::{Notification, PAYMENT_ID_MEMBER, UnreadableWebhook};

use super::json::{compact, pretty, reversed};
use super::longhand;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

const PAYMENT: &[&str] = &["paymentId"];
const TRANSACTION: &[&str] = &["txn_id", "transactionId"];
const ORDER: &[&str] = &["orderId", "order_id"];

pub fn apolopay(bytes: &[u8]) -> bool {
    let read = read(Provider::ApoloPay, bytes);
    if let Some((notification, body)) = &read {
        let places = [body];
        let inner = ["data", "result"].map(|name| body.get(name).and_then(Json::as_object));
        let whole: Vec<&Object> = [Some(body)].into_iter().chain(inner).flatten().collect();
        let says_paid = says_paid(&whole, |word| ["completed", "payment.completed"].contains(&word));
        if !assert_is_reversed(&notification.fact, &whole) {
            assert_eq!(notification.fact.outcome == Outcome::Completed, says_paid);
        }
        assert_ids(&notification.fact, &places, &["processId", "id"], &["processId", "id"]);
        assert_completes_only_with_exact_money(notification, &places);
    }
    read.is_some()
}

pub fn finvypay(bytes: &[u8]) -> bool {
    let read = read(Provider::FinvyPay, bytes);
    if let Some((notification, body)) = &read {
        let inner = |object: Option<&Object>, name| {
            object
                .and_then(|object| object.get(name))
                .and_then(Json::as_object)
                .cloned()
        };
        let request = inner(Some(body), "request");
        let data = [inner(Some(body), "data"), inner(request.as_ref(), "data")];
        let places = [Some(body), request.as_ref(), data[0].as_ref(), data[1].as_ref()];
        let places: Vec<&Object> = places.into_iter().flatten().collect();
        assert_is_finvypays(notification, &places, &places);
    }
    read.is_some()
}

/// The notification of FinvyPay has the outcome, ids and money of the members of the message: those of `whole` for the
/// outcome, those of `data` for everything else.
pub fn assert_is_finvypays(notification: &Notification, whole: &[&Object], data: &[&Object]) {
    let is_one = |names| distinct_ids(data, names).len() <= 1;
    let says_paid = says_paid(whole, is_paid) && is_one(PAYMENT) && is_one(TRANSACTION) && is_one(ORDER);
    let outcome = notification.fact.outcome;
    // Two different ids of ours contradict too. They can only be seen inside the metadata.
    let is_reversed = assert_is_reversed(&notification.fact, whole);
    if !is_reversed && (outcome == Outcome::Completed || distinct_own_ids(data) <= 1) {
        assert_eq!(outcome == Outcome::Completed, says_paid);
    }
    assert_ids(&notification.fact, data, PAYMENT, TRANSACTION);
    if notification.fact.order_id.is_some() {
        for value in values(data, PAYMENT).chain(values(data, TRANSACTION)) {
            assert!(
                is_empty(value) || id_text(value).is_some(),
                "the order stands in for an unreadable id"
            );
        }
    }
    assert_completes_only_with_exact_money(notification, data);
}

/// Whether every status in these objects is a word for a paid payment, and nothing beside them speaks against it.
fn says_paid(places: &[&Object], is_paid: impl Fn(&str) -> bool) -> bool {
    let statuses =
        values(places, &["status", "event"]).filter(|status| !is_empty(status) && **status != Json::Bool(true));
    let mut words = Vec::new();
    for status in statuses {
        match status {
            Json::String(text) => {
                let word = word_of(text);
                words.extend((!word.is_empty()).then(|| lower(word)));
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => return false,
        }
    }
    let has_test_type = values(places, &["type"]).filter_map(Json::as_str).any(is_test);
    let is_refused = values(places, &["success"]).any(|success| *success != Json::Bool(true))
        || values(places, &["status"]).any(|status| *status == Json::Bool(false))
        || values(places, &["error", "errors"]).any(|error| !is_empty(error));
    !words.is_empty() && words.iter().all(|word| is_paid(word)) && !is_refused && !has_test_type
}

/// A fact is no money coming in if these objects say that it went back, and has reversals only if anything in them speaks
/// of it. Returns whether it has.
fn assert_is_reversed(fact: &Fact, places: &[&Object]) -> bool {
    let is_reversed = fact.outcome == Outcome::Reversed;
    let is_money = matches!(fact.outcome, Outcome::Completed | Outcome::Authorized);
    assert!(!(is_reversed && fact.reversals.is_empty()) && (!is_money || fact.reversals.is_empty()));
    let text: String = places.iter().map(|place| place.to_compact()).collect();
    assert!(
        fact.reversals.is_empty() || speaks_of_reversal(&text),
        "nothing speaks of it"
    );
    assert!(!is_money || !says_reversed(places), "money went back");
    for reversal in &fact.reversals {
        let is_short = |text: String| text.len() <= 64;
        assert!(
            reversal
                .amount
                .as_ref()
                .is_none_or(|amount| is_short(amount.to_string()))
        );
        assert!(reversal.currency.as_ref().is_none_or(|code| code.len() <= 16));
        let is_plausible = |year: &str| ("2000".."2100").contains(&year);
        assert!(reversal.at.is_none_or(|at| is_plausible(&at.to_string()[..4])));
    }
    !fact.reversals.is_empty()
}

/// Whether a search finds a word for money that went back, whatever the signs between its letters.
pub fn speaks_of_reversal(text: &str) -> bool {
    let words = ["refund", "chargeback", "chargedback", "dispute", "revers", "void"];
    words.iter().any(|word| letters(text).contains(word))
}

fn letters(text: &str) -> String {
    lower(&text.chars().filter(char::is_ascii_alphabetic).collect::<String>())
}

/// Whether a member with a usual name says that money went back, or a status, event or type does. There are others.
pub fn says_reversed(places: &[&Object]) -> bool {
    let is_usual = |name: &str| {
        let name = lower(name);
        let parts = [
            "refund",
            "refunds",
            "refunded",
            "isrefunded",
            "refundamount",
            "refunddate",
            "chargeback",
            "chargebackdate",
            "dispute",
            "disputed",
            "reversal",
            "reversed",
            "voided",
        ];
        parts.contains(&name.as_str())
    };
    let is_word = |name: &str| ["status", "event", "type"].contains(&name);
    let says = |(name, value): (&str, &Json)| {
        let text = lower(value.as_str().unwrap_or_default());
        let starts_plainly = name.starts_with(|char: char| char.is_ascii_alphabetic()) && name.len() <= 64;
        let words = [
            "refund",
            "refunded",
            "payment.refunded",
            "chargeback",
            "dispute",
            "reversal",
            "reversed",
        ];
        let has_word = words.contains(&text.as_str());
        starts_plainly && is_usual(name) && says_much(value) || is_word(name) && has_word
    };
    places.iter().any(|place| place.iter().any(says))
}

/// Whether a value certainly says something.
fn says_much(value: &Json) -> bool {
    let is_positive = |text: &str| {
        !text.trim().starts_with('-')
            && text
                .split(['e', 'E'])
                .next()
                .unwrap()
                .contains(|digit| ('1'..='9').contains(&digit))
    };
    match value {
        Json::Bool(is_true) => *is_true,
        Json::Number(text) => is_positive(text),
        Json::String(text) if longhand::is_number(text.trim()) => is_positive(text),
        Json::String(text) => {
            let is_denied = ["can", "in", "n", "un", "without"]
                .iter()
                .any(|start| lower(text).starts_with(start));
            text.len() > 5
                && text.chars().all(|char| char.is_ascii_alphabetic())
                && !is_denied
                && !speaks_of_reversal(text)
        }
        Json::Array(items) => items.iter().any(says_much),
        Json::Object(object) => object.get("status").is_some_and(says_much),
        Json::Null => false,
    }
}

/// Whether a part of a word is `test` or `ping`.
pub fn is_test(word: &str) -> bool {
    let word = lower(word_of(word));
    word.split('.').any(|part| ["test", "ping"].contains(&part.trim()))
}

/// A status without its outer blanks and control characters.
pub fn word_of(text: &str) -> &str {
    text.trim_matches(|char: char| char.is_whitespace() || char.is_control())
}

/// Whether it is one of FinvyPay's statuses of a paid payment.
fn is_paid(status: &str) -> bool {
    ["success", "succeeded", "completed", "approved", "payment.completed"].contains(&lower(status).as_str())
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// All values of these members in these objects.
fn values<'a>(places: &[&'a Object], names: &[&str]) -> impl Iterator<Item = &'a Json> {
    let values: Vec<&Json> = names
        .iter()
        .flat_map(|name| places.iter().filter_map(|place| place.get(name)))
        .collect();
    values.into_iter()
}

/// Whether a value says nothing.
pub fn is_empty(value: &Json) -> bool {
    ["null", "false", "\"\"", "[]", "{}"].contains(&compact(value).as_str())
}

/// The text of an id, or the digits of a number without sign, point and exponent.
pub fn id_text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.trim().to_owned()).filter(|text| !text.contains('\u{fffd}')),
        Json::Number(text) if !text.contains(['-', '.', 'e', 'E']) => Some(text.clone()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

/// The readable ids in these members, each once, in order. Zero and blanks are none.
pub fn distinct_ids(places: &[&Object], names: &[&str]) -> Vec<String> {
    let is_order = names == ORDER;
    let ids = values(places, names)
        .filter(|value| !is_empty(value))
        .filter_map(id_text);
    let mut distinct: Vec<String> = Vec::new();
    for id in ids.filter(|id| !id.is_empty() && (is_order || id != "0")) {
        let id = if is_order {
            OrderId::parse(&id).map(|id| id.as_str().to_owned())
        } else {
            Reference::parse(&id).map(|id| id.as_str().to_owned())
        };
        distinct.extend(id.filter(|id| !distinct.contains(id)));
    }
    distinct
}

fn distinct_own_ids(places: &[&Object]) -> usize {
    let metadata = values(places, &["metadata"]).filter_map(|metadata| match metadata {
        Json::String(text) => Json::parse_liberal(text.as_bytes()).ok(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => Some(metadata.clone()),
    });
    let ids: BTreeSet<String> = metadata
        .filter_map(|metadata| Some(lower(metadata.as_object()?.str(PAYMENT_ID_MEMBER)?.trim())))
        .collect();
    ids.len()
}

/// The fact has the first id of each kind, digit by digit.
fn assert_ids(fact: &Fact, places: &[&Object], payment: &[&str], transaction: &[&str]) {
    let ids: Vec<String> = fact.references().map(|id| id.as_str().to_owned()).collect();
    let named = [distinct_ids(places, payment), distinct_ids(places, transaction)].concat();
    assert!(ids.iter().all(|id| named.contains(id)), "{ids:?} of {named:?}");
    assert_eq!(ids.is_empty(), named.is_empty());
}

/// Reads a body. The notification must not depend on the body's formatting, and must survive storage.
fn read(provider: Provider, bytes: &[u8]) -> Option<(Notification, Object)> {
    let webhooks = payment_functions::providers::webhooks(provider);
    let result = webhooks.read(bytes, NOW);
    let json = match Json::parse_liberal(bytes) {
        Ok(json) => json,
        Err(_) => {
            assert_eq!(result, Err(UnreadableWebhook::NotJson));
            return None;
        }
    };
    let marked = format!("\u{feff}{}", compact(&json));
    for same in [compact(&json), pretty(&json), compact(&reversed(&json)), marked] {
        assert_eq!(webhooks.read(same.as_bytes(), NOW), result, "{same}");
    }
    let notification = match result {
        Ok(notification) => notification,
        Err(reason) => {
            let text = lower(&compact(&json));
            let has_test_word = text.contains("test") || text.contains("ping");
            assert!(reason != UnreadableWebhook::TestMessage || has_test_word);
            return None;
        }
    };
    assert_survives_storage(&notification);

    let fact = &notification.fact;
    assert_eq!((fact.provider, fact.received_at), (provider, NOW));
    assert!(!fact.raw_status.is_empty());
    assert!(notification.payment_id.is_some() || fact.references().next().is_some() || fact.order_id.is_some());
    if let Some(id) = notification.payment_id {
        let text = compact(&json);
        assert!(text.to_lowercase().contains(&id.to_string()) && text.contains("payment"));
    }
    let Json::Object(body) = json else {
        panic!("not an object")
    };
    Some((notification, body))
}

/// A stored notification is read unchanged, its texts are bounded, and its digest does not depend on the times.
pub fn assert_survives_storage(notification: &Notification) {
    let stored = serde_json::to_string(notification).unwrap();
    let read: Notification = serde_json::from_str(&stored).unwrap();
    let fact = &notification.fact;
    let digest = fact.digest();
    assert_eq!((&read, &read.fact.digest()), (notification, &digest), "stored and read");
    assert!(stored.len() <= 8192, "{}", stored.len());
    let texts = [
        (Some(&fact.raw_status), 100),
        (fact.currency.as_ref(), 16),
        (fact.occurred_at.as_ref(), 64),
    ];
    for (text, limit) in texts {
        let is_plain = |text: &String| text.chars().count() <= limit && !text.chars().any(char::is_control);
        assert!(text.is_none_or(is_plain), "{text:?}");
    }
    assert!(fact.amount.as_ref().is_none_or(|amount| amount.to_string().len() <= 64));
    assert!(digest.len() == 64 && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    let at_another_time = Fact {
        occurred_at: None,
        created_at: None,
        is_foreign: false,
        received_at: Timestamp::from_millis(0),
        ..fact.clone()
    };
    assert_eq!(at_another_time.digest(), digest, "no time is part of the digest");
}

/// The notification completes only payments with the amount and currency that all amounts and currencies in these
/// objects have.
fn assert_completes_only_with_exact_money(notification: &Notification, places: &[&Object]) {
    let [amounts, currencies] = ["amount", "currency"].map(|name| values(places, &[name]).collect::<Vec<_>>());
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
        let payment = Payment::new(PaymentId::random(), fact.provider, Environment::Sandbox, money, NOW);
        let is_paid = fact.outcome == Outcome::Completed
            && all_match(&amounts, |amount| is_amount(amount, money))
            && (fact.provider == Provider::ApoloPay && money.currency() == Currency::USD
                || fact.provider == Provider::FinvyPay
                    && all_match(&currencies, |code| {
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
        // The store applies a fact once; what depends on that is only counted and raised again.
        let again = after.apply(fact, false, NOW);
        let lasting = |payment: &Payment| {
            let reasons: Vec<_> = payment.attention.reasons().collect();
            (
                payment.status,
                payment.references.clone(),
                payment.capture_references.clone(),
                reasons,
            )
        };
        assert_eq!(lasting(&again), lasting(&after), "applied twice");
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
fn all_match(values: &[&Json], matches: impl Fn(&Json) -> bool) -> bool {
    let mut values = values.iter().filter(|value| ***value != Json::Null).peekable();
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
