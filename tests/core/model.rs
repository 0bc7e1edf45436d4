//! The flows in this process, with everything that can happen between two of their steps.
//!
//! A flow stops before each of its calls to the outside until the test lets it go on, so a test decides in which order
//! the calls of several flows are made, and which flow dies instead of making one. [`interleavings`] goes through all
//! orders; [`histories`] goes through whole lives of payments at random, and compares with a model. [`creations`] and
//! [`deliveries`] make one after another.

mod creations;
mod deliveries;
mod histories;
mod interleavings;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use payment_functions::domain::id::{PaymentId, Reference};
use payment_functions::domain::payment::{CheckoutSession, Payment};
use payment_functions::domain::time::Timestamp;
use payment_functions::platform::failpoint::{ExternalCall, Hook, Point, Side, scope};
use payment_functions::platform::secrets::{ApiKey, SecretCache, SecretError, SecretSource, Versions};
use payment_functions::providers::gateway::{Accepted, CallError, Gateway};
use payment_functions::store::Store;
use payment_functions_tests::world::MemoryTable;

use crate::ledger;

/// A table of one's own.
struct Table {
    memory: MemoryTable,
    store: Store,
}

impl Table {
    fn new() -> Self {
        let memory = MemoryTable::new().unwrap();
        let store = memory.store();
        Self { memory, store }
    }

    /// How many facts are in a payment's ledger.
    fn facts(&self, id: PaymentId) -> usize {
        ledger(&self.memory, id).len()
    }
}

type Flow<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Where a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between two calls, or in the middle of one.
    Running,
    /// Before a call.
    Stopped(Point),
    /// At its end.
    Done,
    /// It died before a call.
    Dead,
}

/// One flow's place on the stage.
struct Actor {
    phases: Arc<Mutex<Vec<Phase>>>,
    index: usize,
    clock_offset: Duration,
}

impl Hook for Actor {
    fn reach(&self, point: Point) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // What is between two calls cannot be seen from outside, so the moment after a call is the moment before the
        // next.
        if point.side == Side::Before {
            self.phases.lock().unwrap()[self.index] = Phase::Stopped(point);
        }
        Box::pin(std::future::poll_fn(move |_| {
            if self.phases.lock().unwrap()[self.index] == Phase::Running {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }))
    }

    fn clock_offset(&self) -> Duration {
        self.clock_offset
    }
}

/// A flow, living so much in the future.
struct Act<'a> {
    later: Duration,
    flow: Flow<'a>,
}

fn act<'a>(flow: impl Future<Output = ()> + 'a) -> Act<'a> {
    act_later(Duration::ZERO, flow)
}

fn act_later<'a>(later: Duration, flow: impl Future<Output = ()> + 'a) -> Act<'a> {
    Act {
        later,
        flow: Box::pin(flow),
    }
}

/// What can happen next: a flow makes the call that it stands before, or dies instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Action {
    flow: usize,
    call: ExternalCall,
    dies: bool,
}

impl Action {
    /// Whether it makes no difference which of two comes first.
    fn commutes_with(self, other: Self) -> bool {
        let is_elsewhere = |action: Self| {
            matches!(
                action.call,
                ExternalCall::CurrentSecret
                    | ExternalCall::PreviousSecret
                    | ExternalCall::CreateAtProvider
                    | ExternalCall::QueryStatus
                    | ExternalCall::ListTransactions
            )
        };
        let is_read = |action: Self| {
            matches!(
                action.call,
                ExternalCall::ReadPayment
                    | ExternalCall::ReadOwner
                    | ExternalCall::ReadOrder
                    | ExternalCall::ReadUnmatched
                    | ExternalCall::ReadDue
                    | ExternalCall::ReadQueue
            )
        };
        if self.flow == other.flow || (self.dies && other.dies) {
            return false;
        }
        self.dies || other.dies || is_elsewhere(self) != is_elsewhere(other) || (is_read(self) && is_read(other))
    }
}

/// Decides what happens next.
trait Choose {
    /// One of these. `None`: whatever comes now has been gone through in another order.
    fn choose(&mut self, actions: &[Action]) -> Option<Action>;
}

/// Runs flows together, one call at a time, as `choices` says. A flow may die before a call `deaths` times in all. Tells
/// for each whether it came to its end; nothing where the choices have been gone through already.
async fn play(acts: Vec<Act<'_>>, choices: &mut dyn Choose, deaths: usize) -> Option<Vec<bool>> {
    let phases = Arc::new(Mutex::new(vec![Phase::Running; acts.len()]));
    let mut deaths_left = deaths;
    let mut flows: Vec<Option<Flow<'_>>> = Vec::new();
    for (index, act) in acts.into_iter().enumerate() {
        let actor = Actor {
            phases: Arc::clone(&phases),
            index,
            clock_offset: act.later,
        };
        flows.push(Some(Box::pin(scope(Arc::new(actor), act.flow))));
    }
    loop {
        std::future::poll_fn(|context| {
            for (index, flow) in flows.iter_mut().enumerate() {
                let is_running = phases.lock().unwrap()[index] == Phase::Running;
                if let Some(running) = flow.as_mut().filter(|_| is_running)
                    && running.as_mut().poll(context).is_ready()
                {
                    phases.lock().unwrap()[index] = Phase::Done;
                    *flow = None;
                }
            }
            if phases.lock().unwrap().contains(&Phase::Running) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
        let go_on = |dies| {
            let phases = phases.lock().unwrap();
            let actions = phases.iter().enumerate().filter_map(|(flow, phase)| match phase {
                Phase::Stopped(point) => Some(Action {
                    flow,
                    call: point.call,
                    dies,
                }),
                Phase::Running | Phase::Done | Phase::Dead => None,
            });
            actions.collect::<Vec<_>>()
        };
        let mut actions = go_on(false);
        if actions.is_empty() {
            let phases = phases.lock().unwrap();
            return Some(phases.iter().map(|phase| *phase == Phase::Done).collect());
        }
        if deaths_left > 0 {
            actions.extend(go_on(true));
        }
        let action = choices.choose(&actions)?;
        if action.dies {
            deaths_left -= 1;
            phases.lock().unwrap()[action.flow] = Phase::Dead;
            flows[action.flow] = None;
        } else {
            phases.lock().unwrap()[action.flow] = Phase::Running;
        }
    }
}

/// Goes on at random, and dies now and then.
struct Random(fastrand::Rng);

impl Choose for Random {
    fn choose(&mut self, actions: &[Action]) -> Option<Action> {
        let dies = self.0.u8(..6) == 0 && actions.iter().any(|action| action.dies);
        let (of_one_kind, _): (Vec<&Action>, Vec<&Action>) = actions.iter().partition(|action| action.dies == dies);
        of_one_kind
            .get(self.0.usize(..of_one_kind.len()))
            .map(|action| **action)
    }
}

/// All orders, one after the other, but for those that differ only in what makes no difference.
///
/// What was gone through first at some point need not be gone through again after something that commutes with it: it
/// sleeps until something comes that does not (sleep sets, after Godefroid).
#[derive(Default)]
struct Exhaustive {
    /// Which of the possibilities to take at each point, up to where everything is new.
    prefix: Vec<usize>,
    /// Which was taken, of how many.
    taken: Vec<(usize, usize)>,
    asleep: Vec<Action>,
}

impl Choose for Exhaustive {
    fn choose(&mut self, actions: &[Action]) -> Option<Action> {
        let awake: Vec<Action> = actions
            .iter()
            .filter(|action| !self.asleep.contains(action))
            .copied()
            .collect();
        let choice = self.prefix.get(self.taken.len()).copied().unwrap_or(0);
        let action = *awake.get(choice)?;
        self.taken.push((choice, awake.len()));
        self.asleep.extend(&awake[..choice]);
        self.asleep.retain(|asleep| asleep.commutes_with(action));
        Some(action)
    }
}

impl Exhaustive {
    /// The first possibility at each of these points, and then at all.
    fn beginning_with(prefix: &[usize]) -> Self {
        Self {
            prefix: prefix.to_vec(),
            ..Self::default()
        }
    }

    /// What differs from this in the last choice that could have been another.
    fn next(self) -> Option<Self> {
        let mut taken = self.taken;
        while let Some((choice, of)) = taken.pop() {
            if choice + 1 < of {
                let mut prefix: Vec<usize> = taken.into_iter().map(|(choice, _)| choice).collect();
                prefix.push(choice + 1);
                return Some(Self::beginning_with(&prefix));
            }
        }
        None
    }
}

/// A provider that answers as it is told, and notes what it is asked.
#[derive(Clone)]
pub struct StandIn {
    answer: Result<Accepted, CallError>,
    asked: Arc<Mutex<Vec<(String, u32)>>>,
}

impl StandIn {
    pub fn accepting(reference: &Reference) -> Self {
        Self::answering(Ok(Accepted {
            checkout_session: CheckoutSession {
                reference: reference.clone(),
                redirect_url: None,
                expires_at: None,
            },
            references: Vec::new(),
        }))
    }

    fn answering(answer: Result<Accepted, CallError>) -> Self {
        Self {
            answer,
            asked: Arc::default(),
        }
    }
}

impl Gateway for StandIn {
    async fn create(&self, payment: &Payment, attempt: u32) -> Result<Accepted, CallError> {
        self.asked.lock().unwrap().push((payment.id.to_string(), attempt));
        self.answer.clone()
    }
}

/// A key that is always to be had.
pub struct KeyAtHand;

impl SecretSource for KeyAtHand {
    async fn fetch(&self, _previous_since: Option<Timestamp>) -> Result<Versions, SecretError> {
        Ok(Versions {
            current: r#"{"secretKey":"sk_local"}"#.to_owned().into(),
            created_at: Timestamp::from_millis(0),
            previous: None,
        })
    }
}

pub fn api_keys() -> SecretCache<ApiKey, KeyAtHand> {
    SecretCache::new(KeyAtHand, "secretKey")
}
