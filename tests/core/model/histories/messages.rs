//! Webhooks in every shape. Each has its meaning by the rules of this file, and the product must read the same.

use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::provider::Provider;
use payment_functions::domain::time::Timestamp;
use payment_functions::providers::{Notification, webhooks};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::facts;

/// The ids that a provider created for one attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProviderIds {
    /// `processId` or `paymentId`.
    pub payment: String,
    /// `txn_id`.
    pub transaction: String,
}

impl ProviderIds {
    /// The ids with this number. Some of FinvyPay's are made of digits, and some of these differ only in their leading
    /// zeros.
    pub fn new(provider: Provider, number: usize) -> Self {
        let uuid = format!("abcdef00-0000-4000-8000-{number:012}");
        let (payment, transaction) = match (provider, number % 4) {
            (Provider::ApoloPay, _) => (uuid, format!("FP{number}")),
            (Provider::FinvyPay, 0) => (uuid, format!("{}", 9_000_000 + number)),
            (Provider::FinvyPay, 1) => (uuid, format!("00{}", 9_000_000 + number - 1)),
            (Provider::FinvyPay, 2) => (format!("{}", 7_000_000 + number), format!("FP{number}")),
            (Provider::FinvyPay, _) => (format!("0{}", 7_000_000 + number - 1), format!("FP{number}")),
        };
        Self { payment, transaction }
    }
}

/// The payment that a webhook is about.
pub struct Subject<'a> {
    pub provider: Provider,
    pub ids: &'a ProviderIds,
    pub order: &'a str,
    /// Our id, if the provider returns it.
    pub our_id: Option<PaymentId>,
}

/// A webhook, whatever payment it is about.
#[derive(Clone, Debug)]
pub struct Message {
    /// What its status word means.
    pub outcome: Outcome,
    /// Which of the words with this meaning.
    pub word: usize,
    /// What a second status word means, if it has one.
    other: Option<Outcome>,
    /// The index of a member in [`BESIDE`], if it has one.
    beside: Option<usize>,
    amount: Option<&'static str>,
    /// For FinvyPay; ApoloPay reports no currency.
    currency: Option<&'static str>,
    format: Format,
    pub has_our_id: bool,
    spelling: Spelling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// ApoloPay's format A. FinvyPay's general webhook, W1, unless it must return our id.
    First,
    /// The same. FinvyPay's is inside `request`.
    Wrapped,
    /// ApoloPay's format B. FinvyPay's W2.
    Second,
}

/// Ways to write the same.
#[derive(Clone, Copy, Debug)]
struct Spelling {
    byte_order_mark: bool,
    /// The metadata is a JSON text.
    metadata_as_text: bool,
    /// Ids and amounts are JSON numbers, if they can be.
    numbers: bool,
    upper_case: bool,
    /// Half a character in a text that does not matter.
    lone_surrogate: bool,
    /// The member of [`BESIDE`] is in `data`, if there is one.
    beside_in_data: bool,
}

/// Members beside a status word, and whether they contradict a completion or an authorization.
const BESIDE: [(&str, &str, bool); 14] = [
    ("success", "true", false),
    ("error", "null", false),
    ("error", "false", false),
    ("error", r#""""#, false),
    ("error", "{}", false),
    ("errors", "[]", false),
    ("success", "false", true),
    ("success", "null", true),
    ("success", "1", true),
    ("success", r#""true""#, true),
    ("error", r#"{"code":"DECLINED"}"#, true),
    ("error", r#""declined""#, true),
    ("error", "true", true),
    ("errors", r#"["declined"]"#, true),
];

pub fn messages() -> impl Strategy<Value = Message> {
    let amount = prop::sample::select(vec![Some("25.50"), Some("25.5"), Some("25.50"), Some("25.49"), None]);
    let currency = prop_oneof![
        9 => Just(Some("USD")),
        1 => prop::sample::select(vec![Some("usd"), Some("EUR"), Some("JPY"), Some("dollars"), None]),
    ];
    let content = (
        facts::outcomes(),
        0..6_usize,
        prop::option::weighted(0.15, facts::outcomes()),
        prop::option::weighted(0.3, 0..BESIDE.len()),
        amount,
        currency,
    );
    let format = prop::sample::select(vec![Format::First, Format::Wrapped, Format::Second, Format::Second]);
    let spelling = any::<[bool; 6]>().prop_map(
        |[
            byte_order_mark,
            metadata_as_text,
            numbers,
            upper_case,
            lone_surrogate,
            beside_in_data,
        ]| Spelling {
            byte_order_mark,
            metadata_as_text,
            numbers,
            upper_case,
            lone_surrogate,
            beside_in_data,
        },
    );
    (content, format, any::<bool>(), spelling).prop_map(
        |((outcome, word, other, beside, amount, currency), format, has_our_id, spelling)| Message {
            outcome,
            word,
            other,
            beside,
            amount,
            currency,
            format,
            has_our_id,
            spelling,
        },
    )
}

impl Message {
    /// An undocumented status without money. Each number has another word.
    pub fn undocumented(&self, number: usize) -> Self {
        Self {
            outcome: Outcome::Unrecognised,
            word: number,
            other: None,
            beside: None,
            amount: None,
            currency: None,
            has_our_id: false,
            ..self.clone()
        }
    }

    /// What the message says about the payment's status.
    fn meaning(&self, provider: Provider) -> Outcome {
        let outcomes = [Some(self.outcome), self.other].into_iter().flatten();
        let is_documented = |outcome: Outcome| match provider {
            Provider::ApoloPay => outcome == Outcome::Completed,
            Provider::FinvyPay => outcome != Outcome::Unrecognised,
        };
        if !outcomes.clone().all(is_documented) {
            return Outcome::Unrecognised;
        }
        let is_contradicted = self.beside.is_some_and(|nth| BESIDE[nth].2);
        let claims_money = matches!(self.outcome, Outcome::Completed | Outcome::Authorized);
        if outcomes.clone().any(|outcome| outcome != self.outcome) || (is_contradicted && claims_money) {
            return Outcome::Contradictory;
        }
        self.outcome
    }

    /// Whether it is FinvyPay's general webhook, which names only the order and the transaction.
    fn is_general(&self, subject: &Subject<'_>) -> bool {
        subject.provider == Provider::FinvyPay && self.format != Format::Second && subject.our_id.is_none()
    }

    /// The notification that the message is, except for its status words and its time.
    fn expected(&self, subject: &Subject<'_>, received_at: Timestamp) -> Notification {
        let is_general = self.is_general(subject);
        let is_finvypay = subject.provider == Provider::FinvyPay;
        Notification {
            payment_id: subject.our_id,
            fact: Fact {
                payment: Reference::parse(&subject.ids.payment).filter(|_| !is_general),
                transaction: Reference::parse(&subject.ids.transaction).filter(|_| is_general),
                order_id: OrderId::parse(subject.order),
                amount: self.amount.and_then(Decimal::parse),
                currency: self.currency.filter(|_| is_finvypay).map(str::to_uppercase),
                received_at,
                ..facts::fact(subject.provider, self.meaning(subject.provider))
            },
        }
    }

    /// The body of the webhook, sent at `now`. `event_id` is in no format, and not read.
    pub fn body(&self, subject: &Subject<'_>, event_id: Option<&str>, now: Timestamp) -> String {
        let mut body = match subject.provider {
            Provider::ApoloPay => self.apolopay(subject, now),
            Provider::FinvyPay => self.finvypay(subject, now),
        };
        if let Some(nth) = self.beside {
            let (name, value, _) = BESIDE[nth];
            let place = if self.spelling.beside_in_data && body["data"].is_object() {
                &mut body["data"]
            } else {
                &mut body
            };
            place[name] = serde_json::from_str(value).unwrap();
        }
        if let Some(event_id) = event_id {
            body["eventId"] = json!(event_id);
        }
        body["note"] = json!("NOTE");
        if self.format == Format::Wrapped && self.is_general(subject) {
            body = json!({ "request": body });
        }
        let note = if self.spelling.lone_surrogate {
            r#""\ud800""#
        } else {
            r#""Jane""#
        };
        let mark = if self.spelling.byte_order_mark { "\u{feff}" } else { "" };
        format!("{mark}{}", body.to_string().replace(r#""NOTE""#, note))
    }

    fn apolopay(&self, subject: &Subject<'_>, now: Timestamp) -> Value {
        let mut metadata = json!({ "orderId": self.id(subject.order) });
        if let Some(id) = subject.our_id {
            metadata["paymentFunctionsId"] = json!(id);
        }
        let mut body = json!({
            "amount": self.amount(), "metadata": self.metadata(&metadata), "timestamp": now.as_millis(),
        });
        let other = self.other;
        if self.format == Format::Second {
            body["processId"] = self.id(&subject.ids.payment);
            body["event"] = json!(self.event(self.outcome));
            body["status"] = other.map_or(Value::Null, |other| json!(self.status(other)));
        } else {
            body["id"] = self.id(&subject.ids.payment);
            body["status"] = json!(self.status(self.outcome));
            body["event"] = other.map_or(Value::Null, |other| json!(self.event(other)));
        }
        body
    }

    fn finvypay(&self, subject: &Subject<'_>, now: Timestamp) -> Value {
        let status = self.finvypay_status();
        if self.is_general(subject) {
            return json!({
                "success": true, "status": status,
                "event": self.other.map_or(Value::Null, |other| json!(self.event(other))),
                "data": {
                    "order_id": self.id(subject.order), "txn_id": self.id(&subject.ids.transaction),
                    "amount": self.amount(), "currency": self.currency, "timestamp": now.as_millis(),
                },
            });
        }
        let metadata = subject
            .our_id
            .map_or_else(|| json!({}), |id| json!({ "paymentFunctionsId": id }));
        json!({
            "status": status, "event": self.event(self.other.unwrap_or(self.outcome)),
            "paymentId": self.id(&subject.ids.payment), "orderId": self.id(subject.order),
            "amount": self.amount(), "currency": self.currency, "metadata": self.metadata(&metadata),
            "updatedAt": now.as_millis(),
        })
    }

    fn finvypay_status(&self) -> String {
        let words: &[&str] = match self.outcome {
            Outcome::Pending => &["PENDING", "INIT", "redirect", "REDIRECTED"],
            Outcome::Authorized => &["AUTHORIZED", "Authorized"],
            Outcome::Cancelled => &["CANCELLED", "CANCELED", "canceled", "ABANDONED"],
            Outcome::Failed => &["FAILED", "DECLINED", "error", "BLOCKED"],
            Outcome::Completed => &["SUCCESS", "COMPLETED", "succeeded", "Approved"],
            Outcome::Unrecognised | Outcome::Contradictory => return self.status(self.outcome),
        };
        words[self.word % words.len()].to_owned()
    }

    /// The providers' common word for an outcome.
    fn status(&self, outcome: Outcome) -> String {
        let word = match outcome {
            Outcome::Unrecognised | Outcome::Contradictory => format!("new_{}", self.word),
            Outcome::Cancelled if self.word.is_multiple_of(2) => "canceled".to_owned(),
            Outcome::Pending | Outcome::Authorized | Outcome::Cancelled | Outcome::Failed | Outcome::Completed => {
                outcome.name().to_owned()
            }
        };
        if self.spelling.upper_case {
            word.to_uppercase()
        } else {
            word
        }
    }

    fn event(&self, outcome: Outcome) -> String {
        format!("payment.{}", self.status(outcome))
    }

    fn metadata(&self, metadata: &Value) -> Value {
        if self.spelling.metadata_as_text {
            metadata.to_string().into()
        } else {
            metadata.clone()
        }
    }

    /// An id. UUIDs may be in upper case.
    fn id(&self, id: &str) -> Value {
        if self.spelling.numbers {
            return number_if_possible(id);
        }
        let is_uuid = uuid::Uuid::try_parse(id).is_ok();
        if is_uuid && self.spelling.upper_case {
            json!(id.to_uppercase())
        } else {
            json!(id)
        }
    }

    fn amount(&self) -> Value {
        let as_number = |amount: &str| serde_json::from_str(amount).unwrap();
        match self.amount {
            Some(amount) if self.spelling.numbers => as_number(amount),
            amount => json!(amount),
        }
    }
}

/// Digits as a JSON number, unless they begin with a zero. Any other text stays a text.
pub fn number_if_possible(text: &str) -> Value {
    let number = text.parse::<u64>().ok().filter(|number| number.to_string() == text);
    number.map_or_else(|| json!(text), |number| json!(number))
}

/// A webhook as the webhook-handler reads it.
pub fn webhook(subject: &Subject<'_>, message: &Message, now: Timestamp) -> Notification {
    as_read(subject, message, &message.body(subject, None, now), now)
}

/// The notification that a webhook with this body means. The product must read the same.
pub fn as_read(subject: &Subject<'_>, message: &Message, body: &str, now: Timestamp) -> Notification {
    let read = webhooks(subject.provider).read(body.as_bytes(), now).unwrap();
    let expected = message.expected(subject, now);
    let expected = Notification {
        fact: Fact {
            raw_status: read.fact.raw_status.clone(),
            occurred_at: read.fact.occurred_at.clone(),
            ..expected.fact
        },
        ..expected
    };
    assert_eq!(read, expected, "{body}");
    expected
}

/// What makes a fact the same as another. Documented status words count as their outcome.
pub fn identity(fact: &Fact) -> String {
    let has_status = !matches!(fact.outcome, Outcome::Unrecognised | Outcome::Contradictory);
    let word = Some(&fact.raw_status).filter(|_| !has_status);
    let ids = (&fact.payment, &fact.transaction, &fact.order_id);
    let (provider, outcome) = (fact.provider, fact.outcome);
    format!(
        "{provider} {ids:?} {outcome:?} {word:?} {:?} {:?}",
        fact.amount, fact.currency
    )
}

/// A signed webhook that cannot be read.
#[derive(Clone, Debug)]
pub struct Unreadable {
    pub body: String,
    pub content_type: Option<&'static str>,
    /// What is kept of it.
    pub content: String,
}

/// The number of shapes of [`unreadable`].
pub const UNREADABLE: usize = 9;

/// A webhook in a shape that neither provider's reader knows. `number` is in its ids; `person` is personal.
pub fn unreadable(shape: usize, number: usize, person: usize) -> Unreadable {
    let json = |body: String, content: String| Unreadable {
        body,
        content_type: None,
        content,
    };
    let same = |body: String| json(body.clone(), body);
    let id = format!("u{number}");
    match shape {
        0 => {
            let body =
                |payer| format!(r#"{{"result":{{"id":"{id}","status":"completed","amount":25.5,"payer":"{payer}"}}}}"#);
            json(body(format!("Jane {person}")), body("string".to_owned()))
        }
        1 => {
            let body = |email| format!(r#"[{{"processId":"{id}","event":"payment.completed","email":"{email}"}}]"#);
            json(body(format!("jane{person}@example.com")), body("string".to_owned()))
        }
        2 => {
            let body = |phone: &str| {
                format!(
                    r#"{{"type":"payment.completed","reference":"{id}","amount":"25.50","currency":"USD","phone":{phone}}}"#
                )
            };
            json(body(&format!("4915112{person}")), body(r#""number""#))
        }
        3 => {
            let test = format!(r#"{{"event":"webhook.test","id":"{id}"}}"#);
            json(format!("\u{feff}{test}"), test)
        }
        4 => same(format!(
            r#"{{"id":"{id}","id":"v{number}","paymentId":"{id}","status":"completed"}}"#
        )),
        5 => same(format!(
            r#"{{"paymentId":{{"id":"{id}"}},"id":{{"id":"{id}"}},"status":"completed"}}"#
        )),
        6 => not_json(
            format!("id={id}&status=completed&name=Jane"),
            Some("application/x-www-form-urlencoded; charset=utf-8"),
            &format!(
                r#","contentType":"application/x-www-form-urlencoded","fields":{{"id":"{id}","status":"completed","name":"string"}}"#
            ),
        ),
        7 => not_json(format!("Jane paid {id}"), None, ""),
        _ => not_json(String::new(), None, ""),
    }
}

fn not_json(body: String, content_type: Option<&'static str>, more: &str) -> Unreadable {
    let digest = hex::encode(Sha256::digest(&body));
    Unreadable {
        content: format!(r#"{{"sha256":"{digest}","length":{}{more}}}"#, body.len()),
        content_type,
        body,
    }
}
