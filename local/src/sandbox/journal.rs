//! What happened to one payment: every HTTP exchange that passed here, what the ledger says, the events on the bus.
//!
//! Guarantee: no key and no secret is in it. Of headers only those named here are shown, signatures cut short; and where
//! a configured secret stands in a text, it is hidden.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::calls::{Call, Kind};
use super::config::Config;
use super::delivery::Delivery;
use super::payments::Provider;

/// Headers that are shown as they are.
const SHOWN: &[&str] = &[
    "content-type",
    "idempotency-key",
    "idempotency-replayed",
    "location",
    "retry-after",
    "x-timestamp",
    "x-transaction-id",
    "x-webhook-attempt",
];
/// Of these it is only shown that they were there.
const HIDDEN: &[&str] = &["authorization", "x-secret-key"];
/// Of these the beginning is shown.
const CUT: &[&str] = &["fs-webhook-hash", "x-apolopay-signature", "x-signature"];

/// How many webhooks are remembered: tests send them by the hundred thousand.
const KEPT: usize = 10_000;

/// One request and its answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Exchange {
    pub(super) leg: Leg,
    pub(super) at_ms: u64,
    pub(super) ended_ms: Option<u64>,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) request: Message,
    /// None while there is no answer.
    pub(super) status: Option<u16>,
    pub(super) answer: Message,
    /// Why there is no answer.
    pub(super) error: Option<String>,
    /// How many times in a row the same was asked and answered.
    pub(super) times: u32,
}

/// Who asked whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Leg {
    /// The browser asked a function.
    Browser,
    /// A function asked a provider.
    Provider,
    /// A provider told a function.
    Webhook,
}

/// Headers and body.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Message {
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Message {
    fn shown(&self, config: &Config) -> Self {
        let headers = self.headers.iter().filter_map(|(name, value)| {
            let value = match name.as_str() {
                name if SHOWN.contains(&name) => hide(config, value),
                name if HIDDEN.contains(&name) => "(not shown)".to_owned(),
                name if CUT.contains(&name) => value.chars().take(8).chain(['…']).collect(),
                _ => return None,
            };
            Some((name.clone(), value))
        });
        Self {
            headers: headers.collect(),
            body: hide(config, &self.body),
        }
    }
}

fn hide(config: &Config, text: &str) -> String {
    let secrets = [
        &config.apolopay_secret_key,
        &config.finvypay_api_key,
        &config.webhook_secret,
    ];
    let given = secrets.into_iter().filter(|secret| !secret.is_empty());
    given.fold(text.to_owned(), |text, secret| {
        text.replace(secret.as_str(), "(not shown)")
    })
}

/// A webhook that was sent, or is being sent.
#[derive(Clone, Debug)]
struct Sent {
    order_id: Option<String>,
    exchange: Exchange,
}

/// What passed between the browser and the functions, and from the providers to the functions.
#[derive(Debug, Default)]
pub(super) struct Journal {
    browser: Vec<Sent>,
    webhooks: VecDeque<Sent>,
    /// Which payment was begun for which order, oldest first.
    begun: Vec<(String, String)>,
}

impl Journal {
    /// The browser's request goes out; answers where it stands.
    pub(super) fn begin(&mut self, order_id: Option<String>, exchange: Exchange) -> usize {
        self.browser.push(Sent { order_id, exchange });
        self.browser.len() - 1
    }

    /// Its answer has come. `payment` is what the answer names, by which later requests are known to belong to the order.
    pub(super) fn end(&mut self, index: usize, payment: Option<String>, finish: impl FnOnce(&mut Exchange)) {
        let Some(sent) = self.browser.get_mut(index) else {
            return;
        };
        finish(&mut sent.exchange);
        if let (Some(payment), Some(order_id)) = (payment, &sent.order_id) {
            let begun = (payment, order_id.clone());
            if !self.begun.contains(&begun) {
                self.begun.push(begun);
            }
        }
    }

    /// The order that a payment was begun for.
    pub(super) fn order_of(&self, payment: &str) -> Option<String> {
        let begun = self.begun.iter().find(|(begun, _)| begun == payment);
        begun.map(|(_, order_id)| order_id.clone())
    }

    /// The newest payment that was begun for an order.
    pub(super) fn payment_of(&self, order_id: &str) -> Option<String> {
        let begun = self.begun.iter().rfind(|(_, order)| order == order_id);
        begun.map(|(payment, _)| payment.clone())
    }

    /// A webhook was sent at `at_ms` and answered, or not, at `ended_ms`.
    pub(super) fn webhook(&mut self, order_id: Option<String>, delivery: &Delivery, at_ms: u64, ended_ms: u64) {
        let path = reqwest::Url::parse(&delivery.sent.url).map_or_else(|_| String::new(), |url| url.path().to_owned());
        let exchange = Exchange {
            leg: Leg::Webhook,
            at_ms,
            ended_ms: Some(ended_ms),
            method: "POST".to_owned(),
            path,
            request: Message {
                headers: delivery.sent.headers.clone(),
                body: delivery.sent.body.clone(),
            },
            status: delivery.status,
            answer: Message {
                headers: delivery.headers.clone(),
                body: delivery.body.clone(),
            },
            error: delivery.error.clone(),
            times: 1,
        };
        if self.webhooks.len() == KEPT {
            self.webhooks.pop_front();
        }
        self.webhooks.push_back(Sent { order_id, exchange });
    }

    /// Everything of an order, oldest first: with the calls that the providers received for it.
    pub(super) fn of_order(&self, order_id: &str, calls: Vec<Call>, config: &Config) -> Vec<Exchange> {
        let is_its = |sent: &&Sent| sent.order_id.as_deref() == Some(order_id);
        let sent = self.browser.iter().chain(&self.webhooks).filter(is_its);
        let mut all: Vec<_> = sent.map(|sent| sent.exchange.clone()).collect();
        all.extend(calls.into_iter().filter(|call| call.kind != Kind::Unknown).map(of_call));
        all.sort_by_key(|exchange| exchange.at_ms);
        let mut shown: Vec<Exchange> = Vec::new();
        for exchange in all {
            let exchange = Exchange {
                request: exchange.request.shown(config),
                answer: exchange.answer.shown(config),
                ..exchange
            };
            match shown.last_mut() {
                Some(last) if repeats(last, &exchange) => {
                    last.times += 1;
                    last.ended_ms = exchange.ended_ms;
                }
                _ => shown.push(exchange),
            }
        }
        shown
    }
}

/// Whether a look at the payment saw the same as the one before it.
fn repeats(last: &Exchange, next: &Exchange) -> bool {
    let same = |one: &Exchange, other: &Exchange| {
        one.leg == other.leg
            && one.path == other.path
            && one.status == other.status
            && one.answer.body == other.answer.body
    };
    next.method == "GET" && next.status.is_some() && last.method == "GET" && same(last, next)
}

fn of_call(call: Call) -> Exchange {
    let host = match call.provider {
        Provider::Apolopay => "ApoloPay ",
        Provider::Finvypay => "FinvyPay ",
    };
    Exchange {
        leg: Leg::Provider,
        at_ms: call.received_ms,
        ended_ms: call.ended_ms,
        method: call.method,
        path: format!("{host}{}", call.path),
        request: Message {
            headers: call.headers,
            body: call.body,
        },
        status: call.status.filter(|_| call.outcome == super::Outcome::Answered),
        answer: Message {
            headers: BTreeMap::new(),
            body: call.answer.unwrap_or_default(),
        },
        error: match call.outcome {
            super::Outcome::InProgress | super::Outcome::Answered => None,
            super::Outcome::DroppedBeforeReply | super::Outcome::DroppedMidReply => Some("cut off".to_owned()),
            super::Outcome::ClientGone => Some("given up by the function".to_owned()),
        },
        times: 1,
    }
}
