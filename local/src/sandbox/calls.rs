//! The record of every call to the providers, and of how many were concurrent.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::clock;
use super::delivery::Delivery;
use super::http::{RawResponse, Received};
use super::json::Object;
use super::payments::Provider;

/// The kind of a call.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A preorder or an APM payment.
    #[default]
    Create,
    /// FinvyPay's status of one payment.
    Status,
    /// FinvyPay's list of transactions.
    List,
    /// A path or method that the provider does not have.
    Unknown,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It has not ended.
    InProgress,
    /// With a response.
    Responded,
    /// The connection was closed without a response.
    DroppedBeforeReply,
    /// The connection was closed after half of the response.
    DroppedMidReply,
    /// The caller closed the connection.
    ClientGone,
}

/// One call to a provider.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// The provider.
    pub provider: Provider,
    /// Its kind.
    pub kind: Kind,
    /// The order, if it could be read.
    pub order_id: Option<String>,
    /// The HTTP method.
    pub method: String,
    /// Path and query on the provider's host.
    pub path: String,
    /// Headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The exact body.
    pub body: String,
    /// When it arrived, in milliseconds since 1970.
    pub received_ms: u64,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status of its response, even if the response was not sent.
    pub status: Option<u16>,
    /// The body of that response.
    pub response: Option<String>,
    /// Whether the response repeats the first one of its `Idempotency-Key`.
    pub replayed: bool,
    /// The provider's ids of the payment that it created: process id, or payment id and transaction id.
    pub ids: Vec<String>,
    /// The webhooks that were sent before the response.
    pub webhooks: Vec<Delivery>,
}

impl Call {
    /// Our id of the payment that it creates, from its metadata.
    pub(super) fn our_id(&self) -> Option<String> {
        let body: Object = serde_json::from_str(&self.body).ok()?;
        body.object("metadata")?.text("paymentFunctionsId")
    }
}

/// The calls of an order.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Calls {
    /// The calls in the order in which they arrived.
    pub calls: Vec<Call>,
    /// The greatest number of concurrent create calls.
    pub max_in_flight: usize,
}

/// The concurrent create calls of a provider.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InFlight {
    /// The greatest number of concurrent calls, for all orders together.
    pub max: usize,
    /// The greatest number for each order with more than one at a time.
    pub orders: BTreeMap<String, usize>,
}

/// The calls that are counted together: those of an order, or all of a provider.
type Scope = (Provider, Option<String>);

#[derive(Debug, Default)]
struct Concurrency {
    now: usize,
    max: usize,
}

/// All calls, oldest first.
#[derive(Debug, Default)]
pub(super) struct CallLog {
    calls: Vec<Call>,
    concurrency: HashMap<Scope, Concurrency>,
}

impl CallLog {
    /// Records a new call and returns its index.
    pub(super) fn begin(
        &mut self,
        provider: Provider,
        kind: Kind,
        order_id: Option<String>,
        received: &Received,
    ) -> usize {
        if kind == Kind::Create {
            for scope in scopes(provider, order_id.clone()) {
                let calls = self.concurrency.entry(scope).or_default();
                calls.now += 1;
                calls.max = calls.max.max(calls.now);
            }
        }
        self.calls.push(Call {
            provider,
            kind,
            order_id,
            method: received.method.to_string(),
            path: received.path.clone(),
            headers: received.headers.clone(),
            body: String::from_utf8_lossy(&received.body).into_owned(),
            received_ms: clock::now_ms(),
            ended_ms: None,
            outcome: Outcome::InProgress,
            status: None,
            response: None,
            replayed: false,
            ids: Vec::new(),
            webhooks: Vec::new(),
        });
        self.calls.len() - 1
    }

    /// Records the response to a call, whether or not the caller will receive it.
    pub(super) fn record_response(&mut self, index: usize, response: &RawResponse) {
        self.update(index, |call| {
            call.status = Some(response.status);
            call.response = Some(response.body.clone());
        });
    }

    /// Records that a call has ended.
    pub(super) fn end(&mut self, index: usize, outcome: Outcome) {
        let mut ended = None;
        self.update(index, |call| {
            call.outcome = outcome;
            call.ended_ms = Some(clock::now_ms());
            ended = (call.kind == Kind::Create).then(|| (call.provider, call.order_id.clone()));
        });
        for scope in ended
            .into_iter()
            .flat_map(|(provider, order_id)| scopes(provider, order_id))
        {
            if let Some(calls) = self.concurrency.get_mut(&scope) {
                calls.now = calls.now.saturating_sub(1);
            }
        }
    }

    pub(super) fn update(&mut self, index: usize, change: impl FnOnce(&mut Call)) {
        if let Some(call) = self.calls.get_mut(index) {
            change(call);
        }
    }

    /// A provider's calls of one kind, for one order or all orders.
    pub(super) fn find(&self, provider: Provider, kind: Kind, order_id: Option<&str>) -> Calls {
        let wanted = |call: &&Call| {
            call.provider == provider
                && call.kind == kind
                && (order_id.is_none() || call.order_id.as_deref() == order_id)
        };
        Calls {
            calls: self.calls.iter().filter(wanted).cloned().collect(),
            max_in_flight: self.max_in_flight(provider, order_id),
        }
    }

    /// The concurrency of a provider's create calls.
    pub(super) fn in_flight(&self, provider: Provider) -> InFlight {
        let orders = self.concurrency.iter().filter_map(|((of, order_id), calls)| {
            let order_id = order_id.as_ref().filter(|_| *of == provider && calls.max > 1)?;
            Some((order_id.clone(), calls.max))
        });
        InFlight {
            max: self.max_in_flight(provider, None),
            orders: orders.collect(),
        }
    }

    fn max_in_flight(&self, provider: Provider, order_id: Option<&str>) -> usize {
        let calls = self.concurrency.get(&(provider, order_id.map(str::to_owned)));
        calls.map_or(0, |calls| calls.max)
    }
}

fn scopes(provider: Provider, order_id: Option<String>) -> impl Iterator<Item = Scope> {
    let of_order = order_id.map(|order_id| (provider, Some(order_id)));
    of_order.into_iter().chain([(provider, None)])
}
