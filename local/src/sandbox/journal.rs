//! The journal: every HTTP exchange about a payment that passed through the stand-ins.
//!
//! Guarantee: it shows no key and no secret. Only the headers listed here are shown, signatures are truncated, and
//! configured secrets are hidden wherever they occur.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::calls::{Call, Kind};
use super::config::Config;
use super::delivery::Delivery;
use super::payments::Provider;

/// Headers that are shown unchanged.
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
/// Headers whose value is hidden.
const HIDDEN: &[&str] = &["authorization", "x-secret-key"];
/// Headers of which only the beginning is shown.
const TRUNCATED: &[&str] = &["fs-webhook-hash", "x-apolopay-signature", "x-signature"];

/// How many webhooks are kept: tests send hundreds of thousands.
const MAX_WEBHOOKS: usize = 10_000;

/// One request and its response.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Exchange {
    pub(super) leg: Leg,
    pub(super) at_ms: u64,
    pub(super) ended_ms: Option<u64>,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) request: Message,
    /// `None` while there is no response.
    pub(super) status: Option<u16>,
    pub(super) response: Message,
    /// Why there is no response.
    pub(super) error: Option<String>,
    /// How many times in a row the same request got the same response.
    pub(super) times: u32,
}

/// The participants of an exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Leg {
    /// The browser called a function.
    Browser,
    /// A function called a provider.
    Provider,
    /// A provider sent a webhook to a function.
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
                name if TRUNCATED.contains(&name) => value.chars().take(8).chain(['…']).collect(),
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

/// An exchange, with the order that it is about.
#[derive(Clone, Debug)]
struct Entry {
    order_id: Option<String>,
    exchange: Exchange,
}

/// The browser's exchanges with the functions, and the providers' webhooks.
#[derive(Debug, Default)]
pub(super) struct Journal {
    browser: Vec<Entry>,
    webhooks: VecDeque<Entry>,
    /// Pairs of payment id and order id, oldest first.
    created: Vec<(String, String)>,
}

impl Journal {
    /// Records a request of the browser and returns its index.
    pub(super) fn begin(&mut self, order_id: Option<String>, exchange: Exchange) -> usize {
        self.browser.push(Entry { order_id, exchange });
        self.browser.len() - 1
    }

    /// Records its response. `payment` is the payment id in the response, which assigns later requests to the order.
    pub(super) fn end(&mut self, index: usize, payment: Option<String>, finish: impl FnOnce(&mut Exchange)) {
        let Some(entry) = self.browser.get_mut(index) else {
            return;
        };
        finish(&mut entry.exchange);
        if let (Some(payment), Some(order_id)) = (payment, &entry.order_id) {
            let created = (payment, order_id.clone());
            if !self.created.contains(&created) {
                self.created.push(created);
            }
        }
    }

    /// The order that a payment was created for.
    pub(super) fn order_of(&self, payment: &str) -> Option<String> {
        let created = self.created.iter().find(|(created, _)| created == payment);
        created.map(|(_, order_id)| order_id.clone())
    }

    /// Records a webhook, sent at `at_ms`; its response or failure came at `ended_ms`.
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
            response: Message {
                headers: delivery.headers.clone(),
                body: delivery.body.clone(),
            },
            error: delivery.error.clone(),
            times: 1,
        };
        if self.webhooks.len() == MAX_WEBHOOKS {
            self.webhooks.pop_front();
        }
        self.webhooks.push_back(Entry { order_id, exchange });
    }

    /// All exchanges about an order, oldest first, including the calls to the providers.
    pub(super) fn of_order(&self, order_id: &str, calls: Vec<Call>, config: &Config) -> Vec<Exchange> {
        let is_of_order = |entry: &&Entry| entry.order_id.as_deref() == Some(order_id);
        let entries = self.browser.iter().chain(&self.webhooks).filter(is_of_order);
        let mut all: Vec<_> = entries.map(|entry| entry.exchange.clone()).collect();
        all.extend(
            calls
                .into_iter()
                .filter(|call| call.kind != Kind::Unknown)
                .map(from_call),
        );
        all.sort_by_key(|exchange| exchange.at_ms);
        let mut shown: Vec<Exchange> = Vec::new();
        for exchange in all {
            let exchange = Exchange {
                request: exchange.request.shown(config),
                response: exchange.response.shown(config),
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

/// Whether a GET repeats the one before it, with the same response.
fn repeats(last: &Exchange, next: &Exchange) -> bool {
    let same = |one: &Exchange, other: &Exchange| {
        one.leg == other.leg
            && one.path == other.path
            && one.status == other.status
            && one.response.body == other.response.body
    };
    next.method == "GET" && next.status.is_some() && last.method == "GET" && same(last, next)
}

fn from_call(call: Call) -> Exchange {
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
        status: call.status.filter(|_| call.outcome == super::Outcome::Responded),
        response: Message {
            headers: BTreeMap::new(),
            body: call.response.unwrap_or_default(),
        },
        error: match call.outcome {
            super::Outcome::InProgress | super::Outcome::Responded => None,
            super::Outcome::DroppedBeforeReply | super::Outcome::DroppedMidReply => {
                Some("connection closed by the provider".to_owned())
            }
            super::Outcome::ClientGone => Some("aborted by the function".to_owned()),
        },
        times: 1,
    }
}
