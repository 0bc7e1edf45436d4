//! Deterministic concurrency tests of the flows.
//!
//! A flow stops before each external call until the test resumes it. So the test controls the order of the calls of
//! several flows, and which flow crashes instead of making a call.
//!
//! - [`interleavings`] covers every order of the calls of concurrent flows.
//! - [`histories`] runs random histories of payments and compares their results with a model.
//! - [`creations`] and [`deliveries`] run one flow after the other.
//! - [`quotes`] has both: requests with quotes.

mod creations;
mod deliveries;
mod histories;
mod interleavings;
mod quotes;

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

/// A table and its store.
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

    /// The number of facts in a payment's ledger.
    fn facts(&self, id: PaymentId) -> usize {
        ledger(&self.memory, id).len()
    }
}

type Flow<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// The state of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between two calls, or during one.
    Running,
    /// Stopped before a call.
    Stopped(Point),
    /// Finished.
    Done,
    /// Crashed before a call.
    Crashed,
}

/// The hook of one flow.
struct FlowHook {
    phases: Arc<Mutex<Vec<Phase>>>,
    index: usize,
    clock_offset: Duration,
}

impl Hook for FlowHook {
    fn reach(&self, point: Point) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // Nothing between two calls is visible from outside, so stopping before each call is enough.
        if point.side == Side::Before {
            self.phases.lock().unwrap()[self.index] = Phase::Stopped(point);
        }
        Box::pin(std::future::poll_fn(move |context| {
            if self.phases.lock().unwrap()[self.index] == Phase::Running {
                Poll::Ready(())
            } else {
                // A flow may make several calls at once, and then polls only those that are woken.
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }))
    }

    fn clock_offset(&self) -> Duration {
        self.clock_offset
    }
}

/// A flow whose clock is ahead by an offset.
struct Task<'a> {
    clock_offset: Duration,
    flow: Flow<'a>,
}

fn task<'a>(flow: impl Future<Output = ()> + 'a) -> Task<'a> {
    task_later(Duration::ZERO, flow)
}

fn task_later<'a>(clock_offset: Duration, flow: impl Future<Output = ()> + 'a) -> Task<'a> {
    Task {
        clock_offset,
        flow: Box::pin(flow),
    }
}

/// A possible next action: a stopped flow makes its call, or crashes instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Action {
    flow: usize,
    call: ExternalCall,
    crashes: bool,
}

impl Action {
    /// Whether the order of two actions makes no difference.
    fn commutes_with(self, other: Self) -> bool {
        let is_outside_table = |action: Self| {
            matches!(
                action.call,
                ExternalCall::CurrentSecret
                    | ExternalCall::PreviousSecret
                    | ExternalCall::CreateAtProvider
                    | ExternalCall::QueryStatus
                    | ExternalCall::ListTransactions
                    | ExternalCall::ReadListPage
            )
        };
        let is_read = |action: Self| {
            matches!(
                action.call,
                ExternalCall::ReadPayment
                    | ExternalCall::FindRequest
                    | ExternalCall::ReadRecord
                    | ExternalCall::ReadOwner
                    | ExternalCall::ReadOrder
                    | ExternalCall::ReadUnmatched
                    | ExternalCall::ReadDue
                    | ExternalCall::ReadQueue
                    | ExternalCall::ReadPayments
                    | ExternalCall::ReadListState
            )
        };
        if self.flow == other.flow || (self.crashes && other.crashes) {
            return false;
        }
        self.crashes
            || other.crashes
            || is_outside_table(self) != is_outside_table(other)
            || (is_read(self) && is_read(other))
    }
}

/// Chooses the order of actions.
trait Scheduler {
    /// Chooses one of the actions. `None` if every continuation is equivalent to one that was already run.
    fn choose(&mut self, actions: &[Action]) -> Option<Action>;
}

/// Runs flows concurrently, one call at a time, in the scheduler's order. At most `max_crashes` flows crash. Returns
/// for each flow whether it finished; `None` if an equivalent order was already run.
async fn run_interleaved(tasks: Vec<Task<'_>>, scheduler: &mut dyn Scheduler, max_crashes: usize) -> Option<Vec<bool>> {
    let phases = Arc::new(Mutex::new(vec![Phase::Running; tasks.len()]));
    let mut crashes_left = max_crashes;
    let mut flows: Vec<Option<Flow<'_>>> = Vec::new();
    for (index, task) in tasks.into_iter().enumerate() {
        let actor = FlowHook {
            phases: Arc::clone(&phases),
            index,
            clock_offset: task.clock_offset,
        };
        flows.push(Some(Box::pin(scope(Arc::new(actor), task.flow))));
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
        let possible = |crashes| {
            let phases = phases.lock().unwrap();
            let actions = phases.iter().enumerate().filter_map(|(flow, phase)| match phase {
                Phase::Stopped(point) => Some(Action {
                    flow,
                    call: point.call,
                    crashes,
                }),
                Phase::Running | Phase::Done | Phase::Crashed => None,
            });
            actions.collect::<Vec<_>>()
        };
        let mut actions = possible(false);
        if actions.is_empty() {
            let phases = phases.lock().unwrap();
            return Some(phases.iter().map(|phase| *phase == Phase::Done).collect());
        }
        if crashes_left > 0 {
            actions.extend(possible(true));
        }
        let action = scheduler.choose(&actions)?;
        if action.crashes {
            crashes_left -= 1;
            phases.lock().unwrap()[action.flow] = Phase::Crashed;
            flows[action.flow] = None;
        } else {
            phases.lock().unwrap()[action.flow] = Phase::Running;
        }
    }
}

/// Random actions with occasional crashes.
struct Random(fastrand::Rng);

impl Scheduler for Random {
    fn choose(&mut self, actions: &[Action]) -> Option<Action> {
        let crashes = self.0.u8(..6) == 0 && actions.iter().any(|action| action.crashes);
        let (of_one_kind, _): (Vec<&Action>, Vec<&Action>) =
            actions.iter().partition(|action| action.crashes == crashes);
        of_one_kind
            .get(self.0.usize(..of_one_kind.len()))
            .map(|action| **action)
    }
}

/// Every order, one after the other, except those equivalent to an earlier one.
///
/// An action that was already run first at some point need not be run again after an action that commutes with it: it
/// sleeps until an action that does not commute (sleep sets, after Godefroid).
#[derive(Default)]
struct Exhaustive {
    /// The choices to repeat, up to the first new one.
    prefix: Vec<usize>,
    /// The choices made, each with the number of possibilities.
    taken: Vec<(usize, usize)>,
    asleep: Vec<Action>,
}

impl Scheduler for Exhaustive {
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
    /// Starts with these choices, and then makes the first choice at every point.
    fn starting_with(prefix: &[usize]) -> Self {
        Self {
            prefix: prefix.to_vec(),
            ..Self::default()
        }
    }

    /// The next order: changes the last choice that has another possibility left.
    fn next(self) -> Option<Self> {
        let mut taken = self.taken;
        while let Some((choice, of)) = taken.pop() {
            if choice + 1 < of {
                let mut prefix: Vec<usize> = taken.into_iter().map(|(choice, _)| choice).collect();
                prefix.push(choice + 1);
                return Some(Self::starting_with(&prefix));
            }
        }
        None
    }
}

/// A provider that accepts every payment with the same response.
#[derive(Clone)]
pub struct FakeGateway(Accepted);

impl FakeGateway {
    pub fn accepting(reference: &Reference) -> Self {
        Self(Accepted {
            checkout_session: CheckoutSession {
                reference: reference.clone(),
                redirect_url: None,
                expires_at: None,
            },
            references: Vec::new(),
        })
    }
}

impl Gateway for FakeGateway {
    async fn create(&self, _payment: &Payment, _attempt: u32) -> Result<Accepted, CallError> {
        Ok(self.0.clone())
    }
}

/// The key that quotes are signed with.
const QUOTE_KEY: &str = "quote_test_key_that_is_no_secret_";

/// A secret that is always available.
pub struct StaticSecret;

impl SecretSource for StaticSecret {
    async fn fetch(&self, _previous_since: Option<Timestamp>) -> Result<Versions, SecretError> {
        Ok(Versions {
            current: format!(r#"{{"secretKey":"sk_local","key":"{QUOTE_KEY}"}}"#).into(),
            created_at: Timestamp::from_millis(0),
            previous: None,
        })
    }
}

pub fn api_keys() -> SecretCache<ApiKey, StaticSecret> {
    SecretCache::new(StaticSecret, "secretKey")
}
