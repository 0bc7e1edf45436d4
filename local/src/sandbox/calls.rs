//! The record of every call that the providers received, and of how many were in progress at one time.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::clock;
use super::delivery::Delivery;
use super::http::{Answer, Received};
use super::payments::Provider;

/// What a call asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A preorder or an APM payment.
    #[default]
    Create,
    /// FinvyPay's status of one payment.
    Status,
    /// FinvyPay's transactions of an order.
    List,
    /// A path or method that the provider does not have.
    Unknown,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It has not.
    InProgress,
    /// With an answer.
    Answered,
    /// The connection was closed without an answer.
    DroppedBeforeReply,
    /// The connection was closed after half of the answer.
    DroppedMidReply,
    /// The caller closed the connection first.
    ClientGone,
}

/// One call that a provider received.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// Which provider.
    pub provider: Provider,
    /// What it asked for.
    pub kind: Kind,
    /// The order it is about, where that could be read.
    pub order_id: Option<String>,
    /// The HTTP method.
    pub method: String,
    /// The path and query on the provider's host.
    pub path: String,
    /// Headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body as it was received.
    pub body: String,
    /// When it came, in milliseconds since 1970.
    pub received_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status of the answer that was made for it.
    pub status: Option<u16>,
    /// The body of that answer.
    pub answer: Option<String>,
    /// Whether that answer repeats the one that its `Idempotency-Key` got first.
    pub replayed: bool,
    /// The provider's ids for the payment it made: process id, or payment id and transaction id.
    pub ids: Vec<String>,
    /// The webhooks that were sent before it was answered.
    pub webhooks: Vec<Delivery>,
}

/// The calls of an order.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Calls {
    /// The calls in the order in which they came.
    pub calls: Vec<Call>,
    /// The greatest number of create calls that were in progress at one time.
    pub max_in_flight: usize,
}

/// The create calls of a provider that were in progress at one time.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InFlight {
    /// The greatest number of them, of all orders together.
    pub max: usize,
    /// The greatest number for each order that ever had more than one.
    pub orders: BTreeMap<String, usize>,
}

/// Whose calls in progress are counted together: an order's, or all of a provider's.
type Flights = (Provider, Option<String>);

#[derive(Debug, Default)]
struct Flight {
    now: usize,
    most: usize,
}

/// All calls, oldest first.
#[derive(Debug, Default)]
pub(super) struct CallLog {
    calls: Vec<Call>,
    flights: HashMap<Flights, Flight>,
}

impl CallLog {
    /// Records a call that begins; answers where it stands in the log.
    pub(super) fn begin(
        &mut self,
        provider: Provider,
        kind: Kind,
        order_id: Option<String>,
        received: &Received,
    ) -> usize {
        if kind == Kind::Create {
            for flights in flights(provider, order_id.clone()) {
                let flight = self.flights.entry(flights).or_default();
                flight.now += 1;
                flight.most = flight.most.max(flight.now);
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
            answer: None,
            replayed: false,
            ids: Vec::new(),
            webhooks: Vec::new(),
        });
        self.calls.len() - 1
    }

    /// Notes which answer was made for a call, whether or not the caller will see it.
    pub(super) fn decide(&mut self, index: usize, answer: &Answer) {
        self.update(index, |call| {
            call.status = Some(answer.status);
            call.answer = Some(answer.body.clone());
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
        for flights in ended
            .into_iter()
            .flat_map(|(provider, order_id)| flights(provider, order_id))
        {
            if let Some(flight) = self.flights.get_mut(&flights) {
                flight.now = flight.now.saturating_sub(1);
            }
        }
    }

    pub(super) fn update(&mut self, index: usize, change: impl FnOnce(&mut Call)) {
        if let Some(call) = self.calls.get_mut(index) {
            change(call);
        }
    }

    /// A provider's calls of one kind, of one order or of all.
    pub(super) fn find(&self, provider: Provider, kind: Kind, order_id: Option<&str>) -> Calls {
        let wanted = |call: &&Call| {
            call.provider == provider
                && call.kind == kind
                && (order_id.is_none() || call.order_id.as_deref() == order_id)
        };
        Calls {
            calls: self.calls.iter().filter(wanted).cloned().collect(),
            max_in_flight: self.most(provider, order_id),
        }
    }

    /// How crowded a provider was.
    pub(super) fn in_flight(&self, provider: Provider) -> InFlight {
        let orders = self.flights.iter().filter_map(|((of, order_id), flight)| {
            let order_id = order_id.as_ref().filter(|_| *of == provider && flight.most > 1)?;
            Some((order_id.clone(), flight.most))
        });
        InFlight {
            max: self.most(provider, None),
            orders: orders.collect(),
        }
    }

    fn most(&self, provider: Provider, order_id: Option<&str>) -> usize {
        let flight = self.flights.get(&(provider, order_id.map(str::to_owned)));
        flight.map_or(0, |flight| flight.most)
    }
}

fn flights(provider: Provider, order_id: Option<String>) -> impl Iterator<Item = Flights> {
    let of_order = order_id.map(|order_id| (provider, Some(order_id)));
    of_order.into_iter().chain([(provider, None)])
}
