//! The faults that a proxy injects, by rule or at random.
//!
//! An operation is one call of an SDK. The SDK may make several attempts, which all have the same
//! `amz-sdk-invocation-id`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

/// What happens to a request instead of the usual forwarding and responding.
#[derive(Clone, Debug)]
pub enum Fault {
    /// An error response: an HTTP status and an AWS error type, such as 400 and `ThrottlingException`. Not forwarded.
    Error(u16, &'static str),
    /// Forwarded, but the response is this error.
    ErrorAfter(u16, &'static str),
    /// A response with status 200 and this body. Not forwarded.
    Response(Value),
    /// A cancelled transaction, with one reason per step: `{"Code": …, "Item": …}`. Not forwarded.
    Cancelled(Vec<Value>),
    /// The connection is closed without a response. Not forwarded.
    Disconnect,
    /// Forwarded, but the connection is closed without a response.
    LoseResponse,
    /// No response, ever. Not forwarded.
    Hang,
    /// Forwarded, but there is no response, ever.
    HangAfter,
    /// Forwarded, and the response is delayed by this much.
    Late(Duration),
    /// Forwarded after this delay, when the client may have given up. No response, ever.
    Delayed(Duration),
}

impl Fault {
    /// An internal error of AWS.
    pub const UNAVAILABLE: Self = Self::Error(503, "ServiceUnavailable");
    /// Throttling of a table.
    pub const THROTTLED: Self = Self::Error(400, "ProvisionedThroughputExceededException");

    /// The name that the fault is counted under, such as `HangAfter` or `Error 503 ServiceUnavailable`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Error(status, kind) => format!("Error {status} {kind}"),
            Self::ErrorAfter(status, kind) => format!("ErrorAfter {status} {kind}"),
            Self::Response(_) => "Response".to_owned(),
            Self::Cancelled(_) => "Cancelled".to_owned(),
            Self::Disconnect => "Disconnect".to_owned(),
            Self::LoseResponse => "LoseResponse".to_owned(),
            Self::Hang => "Hang".to_owned(),
            Self::HangAfter => "HangAfter".to_owned(),
            Self::Late(_) => "Late".to_owned(),
            Self::Delayed(_) => "Delayed".to_owned(),
        }
    }
}

/// The point at which a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldPoint {
    /// Before the request is forwarded.
    BeforeRequest,
    /// After the request is forwarded, before its response is returned.
    BeforeResponse,
}

/// Requests held by a proxy. Dropping this releases them.
#[derive(Debug)]
pub struct HeldRequests {
    waiting: watch::Receiver<usize>,
    gate: watch::Sender<Gate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Shut,
    Discarding,
}

impl HeldRequests {
    /// Waits until `count` requests are held.
    pub async fn arrived(&mut self, count: usize) {
        // An error means that the proxy has ended.
        let _ = self.waiting.wait_for(|waiting| *waiting >= count).await;
    }

    /// Releases all of them, and all later ones.
    pub fn release(self) {}

    /// Closes the connections of all of them without a response. Requests not yet forwarded never are. Later requests
    /// pass.
    pub fn discard(self) {
        self.gate.send_replace(Gate::Discarding);
    }
}

/// What a rule does to a request.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    Fail(Fault),
    Hold(HoldPoint, Hold),
}

/// The request's side of [`HeldRequests`].
#[derive(Clone, Debug)]
pub(super) struct Hold {
    arrived: Arc<watch::Sender<usize>>,
    gate: watch::Receiver<Gate>,
}

impl Hold {
    fn new() -> (Self, HeldRequests) {
        let (arrived, waiting) = watch::channel(0);
        let (opener, gate) = watch::channel(Gate::Shut);
        let arrived = Arc::new(arrived);
        (Self { arrived, gate }, HeldRequests { waiting, gate: opener })
    }

    /// Waits until the request is released; false if it is discarded.
    pub(super) async fn wait(mut self) -> bool {
        if *self.gate.borrow() != Gate::Shut {
            return true;
        }
        self.arrived.send_modify(|waiting| *waiting = waiting.saturating_add(1));
        // Dropping the gate's sender releases all requests.
        let discarded = self.gate.wait_for(|gate| *gate == Gate::Discarding).await;
        discarded.is_err()
    }
}

/// The properties of a request that rules depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'a> {
    /// Its action, such as `PutItem`.
    pub(super) action: &'a str,
    /// Its operation's id.
    pub(super) operation: &'a str,
    /// Whether it is the operation's first attempt.
    pub(super) is_first: bool,
}

/// The faults to inject, and the counts of those injected.
#[derive(Debug, Default)]
pub(super) struct Faults {
    rules: Vec<Rule>,
    chaos: Option<Chaos>,
    /// How often each fault was injected, by name.
    pub(super) injected: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Rule {
    action: String,
    which: Which,
    effect: Effect,
}

#[derive(Debug)]
enum Which {
    /// This many more requests.
    Requests(usize),
    /// Every attempt of one operation.
    Operation(Nth),
    /// The first attempt of one operation that arrives.
    FirstAttempt(Nth),
}

/// The n-th operation from now on.
#[derive(Debug)]
enum Nth {
    Counting { nth: usize, seen: HashSet<String> },
    Found(String),
}

/// Faults at random.
#[derive(Debug)]
struct Chaos {
    percent: u8,
    faults: Vec<Fault>,
    random: fastrand::Rng,
    /// The operations whose every attempt fails.
    failing: HashMap<String, Fault>,
}

impl Faults {
    /// A rule for the next `times` requests for `action`.
    pub(super) fn for_requests(&mut self, action: &str, times: usize, effect: Effect) {
        self.add(action, Which::Requests(times), effect);
    }

    /// A rule for every attempt of the `nth` operation for `action`, counted from 1 and from now on.
    pub(super) fn for_operation(&mut self, action: &str, nth: usize, effect: Effect) {
        let seen = HashSet::new();
        self.add(action, Which::Operation(Nth::Counting { nth, seen }), effect);
    }

    /// A rule for the first attempt of that operation that arrives. If the client cuts off earlier ones, it is a retry.
    pub(super) fn for_first_attempt(&mut self, action: &str, nth: usize, effect: Effect) {
        let seen = HashSet::new();
        self.add(action, Which::FirstAttempt(Nth::Counting { nth, seen }), effect);
    }

    /// An effect that holds requests, and the handle that releases them.
    pub(super) fn hold(at: HoldPoint) -> (Effect, HeldRequests) {
        let (hold, held) = Hold::new();
        (Effect::Hold(at, hold), held)
    }

    pub(super) fn set_chaos(&mut self, percent: u8, seed: u64, faults: &[Fault]) {
        self.chaos = Some(Chaos {
            percent,
            faults: faults.to_vec(),
            random: fastrand::Rng::with_seed(seed),
            failing: HashMap::new(),
        });
    }

    pub(super) fn end_chaos(&mut self) {
        self.chaos = None;
    }

    fn add(&mut self, action: &str, which: Which, effect: Effect) {
        self.rules.push(Rule {
            action: action.to_owned(),
            which,
            effect,
        });
    }

    /// Decides what happens to a request: the first rule that applies, or else chaos.
    pub(super) fn decide(&mut self, request: Attempt<'_>) -> Option<Effect> {
        let mut decided = None;
        for rule in &mut self.rules {
            if rule.action != request.action && rule.action != "*" {
                continue;
            }
            let applies = match &mut rule.which {
                Which::Requests(left) => {
                    let applies = *left > 0 && decided.is_none();
                    *left = left.saturating_sub(usize::from(applies));
                    applies
                }
                // Counts operations that an earlier rule decides on too.
                Which::Operation(nth) => nth.is(request.operation),
                Which::FirstAttempt(nth) => !nth.is_found() && nth.is(request.operation),
            };
            if applies && decided.is_none() {
                decided = Some(rule.effect.clone());
            }
        }
        let decided = decided.or_else(|| self.chaos.as_mut()?.pick(request).map(Effect::Fail));
        if let Some(Effect::Fail(fault)) = &decided {
            let count = self.injected.entry(fault.name()).or_default();
            *count = count.saturating_add(1);
        }
        decided
    }
}

impl Nth {
    fn is_found(&self) -> bool {
        matches!(self, Self::Found(_))
    }

    /// Whether this is the n-th operation. Counts it if it is new.
    fn is(&mut self, operation: &str) -> bool {
        match self {
            Self::Found(known) => known == operation,
            Self::Counting { nth, seen } => {
                seen.insert(operation.to_owned());
                let found = seen.len() >= *nth;
                if found {
                    *self = Self::Found(operation.to_owned());
                }
                found
            }
        }
    }
}

impl Chaos {
    fn pick(&mut self, request: Attempt<'_>) -> Option<Fault> {
        if !request.is_first {
            return self.failing.get(request.operation).cloned();
        }
        if self.random.u8(0..100) >= self.percent {
            return None;
        }
        let fault = self.random.choice(&self.faults).cloned()?;
        if self.random.bool() {
            self.failing.insert(request.operation.to_owned(), fault.clone());
        }
        Some(fault)
    }
}
