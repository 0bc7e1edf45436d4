//! Named points at which tests make things go wrong. Nothing of this is in a release build.
//!
//! Every call to DynamoDB, Secrets Manager, EventBridge, SQS and a provider stands between two points, one before it and one after it.
//! A test that runs a flow in its own process gives a [`Hook`] that is asked at each point, and so decides who goes on
//! and who never does. A test that runs a real binary sets a variable, which debug builds alone read:
//!
//! | `FAILPOINTS` | |
//! |---|---|
//! | `log` | every point that is reached is logged |
//! | `before:commit=die` | the process dies before its first `commit` |
//! | `after:commit#2=die` | the process dies after its second |
//! | `before:commit=panic` | the flow panics there |
//! | `before:commit=stop` | the process stops there, as one whose environment is frozen, until it gets SIGCONT |

use std::fmt;
#[cfg(not(debug_assertions))]
use std::pin::Pin;

/// A call to the world outside, by its purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExternalCall {
    /// Opens the connection to the table.
    Connect,
    /// Reads a payment.
    ReadPayment,
    /// Reads whose a provider's id is.
    ReadOwner,
    /// Reads the payments of an order.
    ReadOrder,
    /// Reads an idempotency key.
    ReadKey,
    /// Stores an intent, with its key.
    InsertPayment,
    /// Takes an idempotency key over.
    TakeOver,
    /// Ends a lease without an answer.
    ReleaseLease,
    /// Writes a fact and raises the status.
    ApplyFast,
    /// Writes a change of a payment.
    Commit,
    /// Keeps an event that no payment is known for.
    StoreUnmatched,
    /// Fetches the current version of a secret.
    CurrentSecret,
    /// Fetches the previous version of a secret.
    PreviousSecret,
    /// Creates a payment at its provider.
    CreateAtProvider,
    /// Reads what is parked in a place.
    ReadUnmatched,
    /// Reads what is due.
    ReadDue,
    /// Reads how much there is in a queue, and since when.
    ReadQueue,
    /// Takes something that is due.
    Reserve,
    /// Says when it is looked at again.
    Reschedule,
    /// Forgets what is parked in a place.
    DeleteUnmatched,
    /// Takes a place in the queue of calls to a provider.
    Pace,
    /// Asks a provider for the status of a payment.
    QueryStatus,
    /// Asks a provider for the payments of an order.
    ListTransactions,
    /// Puts events on the bus.
    PublishEvents,
    /// Sends what cannot be published to the dead-letter queue.
    SendDeadLetter,
}

impl ExternalCall {
    /// Every call that there is.
    pub const ALL: [Self; 25] = [
        Self::Connect,
        Self::ReadPayment,
        Self::ReadOwner,
        Self::ReadOrder,
        Self::ReadKey,
        Self::InsertPayment,
        Self::TakeOver,
        Self::ReleaseLease,
        Self::ApplyFast,
        Self::Commit,
        Self::StoreUnmatched,
        Self::CurrentSecret,
        Self::PreviousSecret,
        Self::CreateAtProvider,
        Self::ReadUnmatched,
        Self::ReadDue,
        Self::ReadQueue,
        Self::Reserve,
        Self::Reschedule,
        Self::DeleteUnmatched,
        Self::Pace,
        Self::QueryStatus,
        Self::ListTransactions,
        Self::PublishEvents,
        Self::SendDeadLetter,
    ];

    /// The name, as `FAILPOINTS` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ReadPayment => "read-payment",
            Self::ReadOwner => "read-owner",
            Self::ReadOrder => "read-order",
            Self::ReadKey => "read-key",
            Self::InsertPayment => "insert-payment",
            Self::TakeOver => "take-over",
            Self::ReleaseLease => "release-lease",
            Self::ApplyFast => "apply-fast",
            Self::Commit => "commit",
            Self::StoreUnmatched => "store-unmatched",
            Self::CurrentSecret => "current-secret",
            Self::PreviousSecret => "previous-secret",
            Self::CreateAtProvider => "create-at-provider",
            Self::ReadUnmatched => "read-unmatched",
            Self::ReadDue => "read-due",
            Self::ReadQueue => "read-queue",
            Self::Reserve => "reserve",
            Self::Reschedule => "reschedule",
            Self::DeleteUnmatched => "delete_unmatched",
            Self::Pace => "pace",
            Self::QueryStatus => "query-status",
            Self::ListTransactions => "list-transactions",
            Self::PublishEvents => "publish-events",
            Self::SendDeadLetter => "send-dead-letter",
        }
    }
}

/// On which side of its call a point lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Nothing has been sent.
    Before,
    /// The answer is here, and nothing has been made of it.
    After,
}

/// A fault point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// The call.
    pub call: ExternalCall,
    /// Before it or after it.
    pub side: Side,
}

/// `before:commit`.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Before => "before",
            Side::After => "after",
        };
        write!(f, "{side}:{}", self.call.name())
    }
}

/// Makes a call between its two points.
///
/// The call is on the heap: the SDK's futures are large, and a flow that holds several of them in itself would be copied
/// as a whole wherever it is handed on.
#[cfg(not(debug_assertions))]
pub fn wrap<W: Future>(_: ExternalCall, work: W) -> Pin<Box<W>> {
    Box::pin(work)
}

#[cfg(debug_assertions)]
pub use armed::{Hook, scope, wrap};

#[cfg(debug_assertions)]
pub(crate) use armed::clock_offset;

#[cfg(debug_assertions)]
mod armed {
    use std::pin::Pin;
    use std::process::Command;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, LazyLock};
    use std::time::Duration;

    use super::{ExternalCall, Point, Side};

    /// What a test does at the points that a flow reaches in its own process. A flow that is never let on is one whose
    /// process died there.
    pub trait Hook: Send + Sync {
        /// Ends when the flow may go on.
        fn reach(&self, point: Point) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

        /// How far the flow lives in the future.
        fn clock_offset(&self) -> Duration {
            Duration::ZERO
        }
    }

    tokio::task_local! {
        static HOOK: Arc<dyn Hook>;
    }

    /// Runs a flow whose points `hook` decides on.
    pub async fn scope<T>(hook: Arc<dyn Hook>, flow: impl Future<Output = T>) -> T {
        HOOK.scope(hook, flow).await
    }

    /// Makes a call, which is on the heap as in a release, between its two points.
    pub fn wrap<W: Future>(call: ExternalCall, work: W) -> impl Future<Output = W::Output> {
        let work = Box::pin(work);
        let point = move |side| Point { call, side };
        async move {
            reach(point(Side::Before)).await;
            let answer = work.await;
            reach(point(Side::After)).await;
            answer
        }
    }

    #[expect(clippy::panic, reason = "it is what was asked for")]
    async fn reach(point: Point) {
        if let Ok(hook) = HOOK.try_with(Arc::clone) {
            hook.reach(point).await;
        }
        match &*PLAN {
            Some(Plan::Log) => tracing::info!(%point, pid = std::process::id(), "fault point"),
            Some(Plan::Strike { at, times, deed })
                if *at == point.to_string() && times.fetch_sub(1, Ordering::Relaxed) == 1 =>
            {
                match deed {
                    Deed::Die => std::process::abort(),
                    Deed::Panic => panic!("at {point}"),
                    Deed::Stop => stop(point),
                }
            }
            Some(Plan::Strike { .. }) | None => {}
        }
    }

    /// Stops the whole process, which a shell can ask of its parent without unsafe code.
    fn stop(point: Point) {
        tracing::info!(%point, pid = std::process::id(), "stopped at a fault point");
        let stopped = Command::new("/bin/sh").args(["-c", "kill -STOP $PPID"]).status();
        tracing::info!(%point, stopped = stopped.is_ok_and(|status| status.success()), "goes on");
    }

    enum Plan {
        Log,
        /// `times` counts down to the one that is the last.
        Strike {
            at: String,
            times: AtomicU32,
            deed: Deed,
        },
    }

    enum Deed {
        Die,
        Panic,
        Stop,
    }

    static PLAN: LazyLock<Option<Plan>> = LazyLock::new(|| plan(&std::env::var("FAILPOINTS").ok()?));

    fn plan(text: &str) -> Option<Plan> {
        if text == "log" {
            return Some(Plan::Log);
        }
        let (point, deed) = match text.split_once('=')? {
            (point, "die") => (point, Deed::Die),
            (point, "panic") => (point, Deed::Panic),
            (point, "stop") => (point, Deed::Stop),
            _ => return None,
        };
        let (at, times) = match point.split_once('#') {
            Some((at, times)) => (at, times.parse().ok()?),
            None => (point, 1),
        };
        Some(Plan::Strike {
            at: at.to_owned(),
            times: AtomicU32::new(times),
            deed,
        })
    }

    /// How far in the future this flow lives.
    pub(crate) fn clock_offset() -> Duration {
        HOOK.try_with(|hook| hook.clock_offset()).unwrap_or_default()
    }
}
