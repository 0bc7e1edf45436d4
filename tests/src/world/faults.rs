//! What a proxy does to the operations that come to it: what rules say, and what chance does.
//!
//! An operation is what a program asked its SDK for; the SDK may try it several times, and all its tries carry the same
//! `amz-sdk-invocation-id`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

/// What happens to a request instead of its being passed on and answered.
#[derive(Clone, Debug)]
pub enum Fault {
    /// An error answer: an HTTP status and an AWS error type, such as 400 and `ThrottlingException`. Nothing is done.
    Error(u16, &'static str),
    /// It is done, but an error is answered.
    ErrorAfter(u16, &'static str),
    /// This answer with status 200; nothing is done.
    Answer(Value),
    /// A transaction is cancelled for these reasons, one a step: `{"Code": …, "Item": …}`.
    Cancelled(Vec<Value>),
    /// The connection is closed without an answer; nothing is done.
    Disconnect,
    /// It is done, but the connection is closed instead of the answer.
    LoseAnswer,
    /// No answer, ever; nothing is done.
    Hang,
    /// It is done, but there is no answer, ever.
    HangAfter,
    /// It is done, and the answer comes so much later.
    Late(Duration),
    /// No answer, ever; it is done so much later, when whoever asked for it may have given up.
    Delayed(Duration),
}

impl Fault {
    /// AWS has an internal error.
    pub const UNAVAILABLE: Self = Self::Error(503, "ServiceUnavailable");
    /// The table is throttled.
    pub const THROTTLED: Self = Self::Error(400, "ProvisionedThroughputExceededException");

    /// The name that it is counted under, such as `HangAfter` or `Error 503 ServiceUnavailable`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Error(status, kind) => format!("Error {status} {kind}"),
            Self::ErrorAfter(status, kind) => format!("ErrorAfter {status} {kind}"),
            Self::Answer(_) => "Answer".to_owned(),
            Self::Cancelled(_) => "Cancelled".to_owned(),
            Self::Disconnect => "Disconnect".to_owned(),
            Self::LoseAnswer => "LoseAnswer".to_owned(),
            Self::Hang => "Hang".to_owned(),
            Self::HangAfter => "HangAfter".to_owned(),
            Self::Late(_) => "Late".to_owned(),
            Self::Delayed(_) => "Delayed".to_owned(),
        }
    }
}

/// When a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before it is passed on.
    Before,
    /// When it is done, before it is answered.
    After,
}

/// Requests held back by a proxy. Dropping it lets them go.
#[derive(Debug)]
pub struct Held {
    waiting: watch::Receiver<usize>,
    gate: watch::Sender<Gate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Shut,
    Discarding,
}

impl Held {
    /// Waits until `count` requests have come to be held.
    pub async fn arrived(&mut self, count: usize) {
        // An error says that the proxy is gone, and then nothing comes any more.
        let _ = self.waiting.wait_for(|waiting| *waiting >= count).await;
    }

    /// Lets all of them go, and those that come later.
    pub fn release(self) {}

    /// Closes the connections of all of them without an answer; what has not been passed on never is. Those that come
    /// later pass.
    pub fn discard(self) {
        self.gate.send_replace(Gate::Discarding);
    }
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    Fail(Fault),
    Hold(Moment, Hold),
}

/// The side of a request that is held.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    arrived: Arc<watch::Sender<usize>>,
    gate: watch::Receiver<Gate>,
}

impl Hold {
    fn new() -> (Self, Held) {
        let (arrived, waiting) = watch::channel(0);
        let (opener, gate) = watch::channel(Gate::Shut);
        let arrived = Arc::new(arrived);
        (Self { arrived, gate }, Held { waiting, gate: opener })
    }

    /// Waits to be let go; false where the request is to be discarded.
    pub(super) async fn wait(mut self) -> bool {
        if *self.gate.borrow() != Gate::Shut {
            return true;
        }
        self.arrived.send_modify(|waiting| *waiting = waiting.saturating_add(1));
        // The gate is dropped to let everyone through.
        let discarded = self.gate.wait_for(|gate| *gate == Gate::Discarding).await;
        discarded.is_err()
    }
}

/// Of a request, what decides on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Try<'a> {
    /// Its action, such as `PutItem`.
    pub(super) action: &'a str,
    /// Its operation.
    pub(super) operation: &'a str,
    /// Whether it is the operation's first try.
    pub(super) is_first: bool,
}

/// All that is to happen, and what has.
#[derive(Debug, Default)]
pub(super) struct Faults {
    rules: Vec<Rule>,
    chaos: Option<Chaos>,
    /// How many requests met which fault.
    pub(super) injected: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Rule {
    action: String,
    which: Which,
    deed: Deed,
}

#[derive(Debug)]
enum Which {
    /// So many more requests.
    Requests(usize),
    /// Every try of one operation.
    Operation(Nth),
    /// The first try of one operation.
    FirstTry(Nth),
}

/// The n-th operation of those to come.
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
    /// The operations that are struck in every try.
    struck: HashMap<String, Fault>,
}

impl Faults {
    /// A rule for the next `times` requests for `action`.
    pub(super) fn for_requests(&mut self, action: &str, times: usize, deed: Deed) {
        self.add(action, Which::Requests(times), deed);
    }

    /// A rule for every try of the `nth` operation to come (the next is the first) for `action`.
    pub(super) fn for_operation(&mut self, action: &str, nth: usize, deed: Deed) {
        let seen = HashSet::new();
        self.add(action, Which::Operation(Nth::Counting { nth, seen }), deed);
    }

    /// The same for nothing but the first of its tries.
    pub(super) fn for_first_try(&mut self, action: &str, nth: usize, deed: Deed) {
        let seen = HashSet::new();
        self.add(action, Which::FirstTry(Nth::Counting { nth, seen }), deed);
    }

    /// A deed that holds, and what lets go.
    pub(super) fn hold(moment: Moment) -> (Deed, Held) {
        let (hold, held) = Hold::new();
        (Deed::Hold(moment, hold), held)
    }

    pub(super) fn set_chaos(&mut self, percent: u8, seed: u64, faults: &[Fault]) {
        self.chaos = Some(Chaos {
            percent,
            faults: faults.to_vec(),
            random: fastrand::Rng::with_seed(seed),
            struck: HashMap::new(),
        });
    }

    pub(super) fn end_chaos(&mut self) {
        self.chaos = None;
    }

    fn add(&mut self, action: &str, which: Which, deed: Deed) {
        self.rules.push(Rule {
            action: action.to_owned(),
            which,
            deed,
        });
    }

    /// What becomes of a request: the first rule for it decides, else chance.
    pub(super) fn decide(&mut self, request: Try<'_>) -> Option<Deed> {
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
                // Counts also what another rule decides on.
                Which::Operation(nth) => nth.is(request.operation),
                Which::FirstTry(nth) => nth.is(request.operation) && request.is_first,
            };
            if applies && decided.is_none() {
                decided = Some(rule.deed.clone());
            }
        }
        let decided = decided.or_else(|| self.chaos.as_mut()?.strike(request).map(Deed::Fail));
        if let Some(Deed::Fail(fault)) = &decided {
            let count = self.injected.entry(fault.name()).or_default();
            *count = count.saturating_add(1);
        }
        decided
    }
}

impl Nth {
    /// Whether it is this operation, which is counted if it is new.
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
    fn strike(&mut self, request: Try<'_>) -> Option<Fault> {
        if !request.is_first {
            return self.struck.get(request.operation).cloned();
        }
        if self.random.u8(0..100) >= self.percent {
            return None;
        }
        let fault = self.random.choice(&self.faults).cloned()?;
        if self.random.bool() {
            self.struck.insert(request.operation.to_owned(), fault.clone());
        }
        Some(fault)
    }
}
