//! What providers say about payments, in every shape, and what of it is to be believed, by rules of the test's own. The
//! product reads each message too, and must understand the same.

use super::*;

/// The number of shapes of a webhook.
pub const SHAPES: usize = 6;

/// The ids that the provider created for one attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProviderIds {
    /// `processId` or `paymentId`.
    pub payment: String,
    /// `txn_id`.
    pub transaction: String,
    /// When the provider created them.
    pub created_at: Timestamp,
}

/// Something beside a status that contradicts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    Unsuccessful,
    ErrorCode,
    NoSuccess,
    Errors,
    InnerError,
    OtherStatus,
}

impl Contradiction {
    pub const ALL: [Self; 6] = [
        Self::Unsuccessful,
        Self::ErrorCode,
        Self::NoSuccess,
        Self::Errors,
        Self::InnerError,
        Self::OtherStatus,
    ];
    /// Those that quarantine keeps to the letter.
    pub const KEPT: [Self; 2] = [Self::Unsuccessful, Self::ErrorCode];

    /// Adds it to a webhook.
    fn add_to_webhook(self, provider: Provider, body: &mut Value) {
        let is_general = body["request"].is_object() || body["data"].is_object();
        match (self, provider) {
            (Self::InnerError, _) => data_of(body)["error"] = json!("DECLINED"),
            (Self::OtherStatus, Provider::FinvyPay) if is_general => data_of(body)["status"] = json!("FAILED"),
            (Self::OtherStatus, Provider::FinvyPay) => body["status"] = json!("FAILED"),
            // One of ApoloPay's has no second status.
            (Self::OtherStatus, Provider::ApoloPay) => body["success"] = json!("no"),
            _ => self.add_to(body),
        }
    }

    /// Adds it to an entry of FinvyPay's list, or to the data of a status response.
    fn add_to(self, data: &mut Value) {
        match self {
            Self::Unsuccessful => data["success"] = json!(false),
            Self::NoSuccess => data["success"] = json!(0),
            Self::ErrorCode => data["error"] = json!({ "code": "DECLINED" }),
            Self::Errors => data["errors"] = json!(["declined by the bank"]),
            Self::InnerError => data["error"] = json!("DECLINED"),
            Self::OtherStatus => data["event"] = json!("payment.failed"),
        }
    }
}

/// The object in a webhook that contains its ids and money.
fn data_of(body: &mut Value) -> &mut Value {
    let body = if body["request"].is_object() {
        &mut body["request"]
    } else {
        body
    };
    if body["data"].is_object() {
        &mut body["data"]
    } else {
        body
    }
}

/// The content of a webhook, apart from its payment.
#[derive(Clone, Debug)]
pub struct Content {
    pub outcome: Outcome,
    pub amount: Option<&'static str>,
    /// For FinvyPay; ApoloPay reports no currency.
    pub currency: Option<&'static str>,
    pub shape: usize,
    /// If the outcome is contradictory.
    pub contradiction: Contradiction,
    pub has_our_id: bool,
}

impl Content {
    pub fn completion(shape: usize) -> Self {
        Self {
            outcome: Outcome::Completed,
            amount: Some("25.50"),
            currency: Some("USD"),
            shape,
            contradiction: Contradiction::Unsuccessful,
            has_our_id: false,
        }
    }
}

/// A webhook about a payment.
#[derive(Clone, Debug)]
pub struct Webhook<'a> {
    pub provider: Provider,
    pub ids: &'a ProviderIds,
    pub order: &'a str,
    pub our_id: Option<PaymentId>,
    pub content: &'a Content,
}

impl Webhook<'_> {
    /// FinvyPay's general webhook has no field for our id.
    fn is_general(&self) -> bool {
        self.provider == Provider::FinvyPay && self.content.shape < 2 && self.our_id.is_none()
    }

    /// What it means.
    fn meaning(&self) -> Notification {
        let content = self.content;
        // ApoloPay reports only completions.
        let is_known = self.provider != Provider::ApoloPay
            || matches!(
                content.outcome,
                Outcome::Completed | Outcome::Contradictory | Outcome::Reversed
            );
        let outcome = if is_known {
            content.outcome
        } else {
            Outcome::Unrecognised
        };
        Notification {
            payment_id: self.our_id,
            fact: Fact {
                payment: Reference::parse(&self.ids.payment).filter(|_| !self.is_general()),
                transaction: Reference::parse(&self.ids.transaction).filter(|_| self.is_general()),
                order_id: OrderId::parse(self.order).filter(|_| self.provider == Provider::FinvyPay),
                amount: content.amount.and_then(Decimal::parse),
                currency: content
                    .currency
                    .filter(|_| self.provider != Provider::ApoloPay)
                    .map(str::to_uppercase),
                reversals: if outcome == Outcome::Reversed {
                    vec![refund()]
                } else {
                    Vec::new()
                },
                ..facts::fact(self.provider, outcome)
            },
        }
    }

    /// Its status word. Only words for money are contradicted.
    fn status(&self) -> &'static str {
        match self.content.outcome {
            Outcome::Unrecognised => "settled",
            Outcome::Contradictory if self.provider == Provider::FinvyPay && self.content.shape % 2 == 1 => {
                "authorized"
            }
            Outcome::Contradictory | Outcome::Reversed => "completed",
            Outcome::Cancelled if self.content.shape % 2 == 1 => "canceled",
            Outcome::Pending | Outcome::Authorized | Outcome::Cancelled | Outcome::Failed | Outcome::Completed => {
                self.content.outcome.name()
            }
        }
    }

    fn body(&self) -> Value {
        let mut body = body(self);
        if self.content.outcome == Outcome::Contradictory {
            self.content.contradiction.add_to_webhook(self.provider, &mut body);
        }
        if self.content.outcome == Outcome::Reversed {
            data_of(&mut body)["refundDate"] = json!(REFUND_DATE);
        }
        body
    }

    pub fn text(&self) -> String {
        let byte_order_mark = if self.content.shape == 1 { "\u{feff}" } else { "" };
        format!("{byte_order_mark}{}", self.body())
    }

    /// What distinguishes it in quarantine: its JSON, in which metadata as a text is the same as metadata.
    pub fn redacted(&self) -> Value {
        with_metadata_as_object(self.body())
    }

    /// Parses it as the webhook-handler does, which must read what it means.
    pub fn read(&self) -> Notification {
        let text = self.text();
        let read = webhooks(self.provider).read(text.as_bytes(), clock::now()).unwrap();
        let comparable = |notification: &Notification| Notification {
            fact: Fact {
                raw_status: String::new(),
                received_at: read.fact.received_at,
                ..notification.fact.clone()
            },
            ..notification.clone()
        };
        assert_eq!(comparable(&read), comparable(&self.meaning()), "{text}");
        read
    }
}

const REFUND_DATE: &str = "2026-01-02";

/// What [`REFUND_DATE`] beside a status says.
fn refund() -> Reversal {
    Reversal {
        kind: ReversalKind::Refund,
        undone: false,
        id: None,
        amount: None,
        currency: None,
        at: Timestamp::parse_rfc3339(&format!("{REFUND_DATE}T00:00:00Z")),
        reported_at: None,
    }
}

fn body(webhook: &Webhook<'_>) -> Value {
    let (ids, order, content) = (webhook.ids, webhook.order, webhook.content);
    let (status, shape, currency) = (webhook.status(), content.shape, content.currency);
    let amount: Value = content.amount.map_or(Value::Null, |amount| amount.into());
    let mut metadata = webhook
        .our_id
        .map_or_else(|| json!({}), |id| json!({ "paymentFunctionsId": id }));
    if shape == 3 {
        metadata = metadata.to_string().into();
    }
    let transaction = match ids.transaction.parse::<u32>() {
        Ok(number) if shape == 0 => json!(number),
        _ => json!(ids.transaction),
    };
    match (webhook.provider, shape) {
        (Provider::ApoloPay, 0 | 1) => {
            json!({ "id": ids.payment.to_uppercase(), "status": status, "amount": amount, "metadata": metadata })
        }
        (Provider::ApoloPay, _) => {
            let event = format!("payment.{status}");
            json!({ "processId": ids.payment, "event": event, "amount": amount, "metadata": metadata })
        }
        (Provider::FinvyPay, 0 | 1) if webhook.is_general() => {
            let general = json!({ "success": true, "status": status.to_uppercase(), "data": {
                "amount": amount, "currency": currency, "order_id": order, "txn_id": transaction,
            } });
            if shape == 0 {
                general
            } else {
                json!({ "request": general })
            }
        }
        (Provider::FinvyPay, _) => json!({
            "event": format!("payment.{status}"), "status": status.to_uppercase(), "paymentId": ids.payment,
            "orderId": order, "amount": amount, "currency": currency, "metadata": metadata,
        }),
    }
}

fn with_metadata_as_object(mut body: Value) -> Value {
    if let Some(text) = body["metadata"].as_str() {
        body["metadata"] = serde_json::from_str(text).unwrap();
    }
    body
}

/// Why a webhook is unreadable.
#[derive(Clone, Copy, Debug)]
pub enum Defect {
    Empty,
    Form,
    Truncated,
    List,
    Wrapped,
    NoPayment,
    NoStatus,
    TwoIds,
    Test,
}

impl Defect {
    pub const ALL: [Self; 9] = [
        Self::Empty,
        Self::Form,
        Self::Truncated,
        Self::List,
        Self::Wrapped,
        Self::NoPayment,
        Self::NoStatus,
        Self::TwoIds,
        Self::Test,
    ];

    /// The webhook with this defect, and what distinguishes it in quarantine. It must be without our id.
    pub fn apply(self, webhook: &Webhook<'_>) -> (String, String) {
        let body = webhook.body();
        let text = match self {
            Self::Empty => String::new(),
            Self::Form => format!("paymentId={}&status=completed", webhook.ids.payment),
            Self::Truncated => {
                let text = webhook.text();
                text[..text.len() - 1].to_owned()
            }
            Self::TwoIds => r#"{"id":"x","id":"y","paymentId":"x","paymentId":"y","status":"completed"}"#.to_owned(),
            Self::List | Self::Wrapped | Self::NoPayment | Self::NoStatus | Self::Test => {
                let kept = self.change(with_metadata_as_object(body.clone())).to_string();
                return (self.change(body).to_string(), kept);
            }
        };
        (text.clone(), text)
    }

    fn change(self, mut body: Value) -> Value {
        let ids = ["id", "processId", "paymentId", "orderId", "order_id", "txn_id"];
        match self {
            Self::List => return json!([body]),
            Self::Wrapped => return json!({ "result": body }),
            Self::NoPayment => remove(data_of(&mut body), &ids),
            Self::NoStatus => {
                remove(data_of(&mut body), &["status"]);
                let outer = if body["request"].is_object() {
                    &mut body["request"]
                } else {
                    &mut body
                };
                remove(outer, &["status", "event"]);
            }
            Self::Test => body["type"] = json!("webhook.test"),
            Self::Empty | Self::Form | Self::Truncated | Self::TwoIds => {}
        }
        body
    }
}

fn remove(object: &mut Value, names: &[&str]) {
    let object = object.as_object_mut().unwrap();
    object.retain(|name, _| !names.contains(&name.as_str()));
}

/// What FinvyPay answers about a payment.
#[derive(Clone, Debug)]
pub struct StatusAnswer<'a> {
    pub ids: &'a ProviderIds,
    pub order: &'a str,
    pub our_id: Option<PaymentId>,
    pub status: Status,
    /// What contradicts the status.
    pub contradiction: Option<Contradiction>,
}

impl StatusAnswer<'_> {
    fn data(&self) -> Value {
        json!({
            "transactionId": self.ids.transaction, "orderId": self.order, "status": finvypay_status(self.status),
            "amount": 25.5, "currency": "USD", "metadata": { "paymentFunctionsId": self.our_id },
        })
    }

    /// Its entry in the list of an order.
    pub fn entry(&self) -> Value {
        let mut entry = self.data();
        if let Some(contradiction) = self.contradiction {
            contradiction.add_to(&mut entry);
        }
        entry
    }

    /// The response to the status query for an id, as read by the product.
    pub fn read(&self, id: &str) -> Notification {
        let mut body = json!({ "success": true, "data": self.data() });
        match self.contradiction {
            // The query itself has failed if the envelope's `success` is not true.
            Some(Contradiction::Unsuccessful | Contradiction::NoSuccess | Contradiction::InnerError) | None => {
                body["data"] = self.entry();
            }
            Some(contradiction) => contradiction.add_to(&mut body),
        }
        let read = finvypay::status::read_status(&reply(&body), &Reference::parse(id).unwrap(), clock::now());
        let read = read.unwrap().unwrap();
        self.check(&read, &body);
        read
    }

    /// Nothing that is contradicted is believed.
    fn check(&self, read: &Notification, body: &Value) {
        let says_money = matches!(self.status, Status::Completed | Status::Authorized);
        let is_contradicted = says_money && self.contradiction.is_some();
        assert_eq!(read.fact.outcome == Outcome::Contradictory, is_contradicted, "{body}");
    }
}

/// The list of an order's transactions, as read by the product, each with the time of its creation.
pub fn read_list(order: &str, answers: &[StatusAnswer<'_>]) -> Vec<(Timestamp, Notification)> {
    let entries: Vec<Value> = answers.iter().map(StatusAnswer::entry).collect();
    let body = json!({ "success": true, "data": { "transactions": entries } });
    let order = OrderId::parse(order).unwrap();
    let read = finvypay::status::read_transactions(&reply(&body), &order, clock::now()).unwrap();
    assert_eq!(read.len(), answers.len(), "{body}");
    for (answer, read) in answers.iter().zip(&read) {
        answer.check(read, &body);
    }
    let created_at = answers.iter().map(|answer| answer.ids.created_at);
    created_at.zip(read).collect()
}

/// FinvyPay's name of a status.
fn finvypay_status(status: Status) -> &'static str {
    match status {
        Status::Completed => "COMPLETED",
        Status::Failed => "FAILED",
        Status::Cancelled => "CANCELLED",
        Status::Authorized => "AUTHORIZED",
        Status::Creating | Status::Pending | Status::Expired | Status::Review => "PENDING",
    }
}

pub fn reply(body: &Value) -> payment_functions::providers::http_client::Reply {
    payment_functions::providers::http_client::Reply::new(reqwest::StatusCode::OK, body.to_string().as_bytes())
}
