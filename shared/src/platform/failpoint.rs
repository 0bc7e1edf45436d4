//! Failpoints: named points where tests inject faults. A release build contains none.
//!
//! Every external call (DynamoDB, Secrets Manager, EventBridge, SQS, a provider) has one failpoint before and one after
//! it. A test that runs a flow in its own process installs a [`Hook`], which decides at each failpoint whether the flow
//! continues. A test that runs a real binary sets `FAILPOINTS`, which only debug builds read:
//!
//! | `FAILPOINTS` | effect |
//! |---|---|
//! | `log` | logs every failpoint reached |
//! | `before:commit=die` | aborts the process before its first `commit` |
//! | `after:commit#2=die` | aborts the process after its second `commit` |
//! | `before:commit=panic` | panics before the first `commit` |
//! | `before:commit=stop` | stops the process there, like a frozen environment, until it receives SIGCONT |

use std::fmt;
#[cfg(not(debug_assertions))]
use std::pin::Pin;

/// An external call, by its purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExternalCall {
    /// Opens the connection to the table.
    Connect,
    /// Reads a payment.
    ReadPayment,
    /// Reads which payment a provider id belongs to.
    ReadOwner,
    /// Reads the items of an order.
    ReadOrder,
    /// Marks a payment as paid in the item of its order.
    MarkPaid,
    /// Reads what is stored under a request's idempotency key and quote.
    FindRequest,
    /// Reads the record of a request under its quote.
    ReadRecord,
    /// Stores an intent with its idempotency key and quote.
    InsertPayment,
    /// Takes over a request whose lease has ended.
    TakeOver,
    /// Binds an idempotency key to the payment of a used quote.
    BindKey,
    /// Ends a lease without a response.
    ReleaseLease,
    /// Stores a fact and raises the status in one write, without reading the payment.
    ApplyFast,
    /// Stores a change of a payment.
    Commit,
    /// Stores a notification without a known payment.
    StoreUnmatched,
    /// Puts a webhook that cannot be read into quarantine.
    Quarantine,
    /// Reads webhooks in quarantine.
    ReadQuarantine,
    /// Marks a webhook in quarantine as replayed.
    MarkReplayed,
    /// Fetches the current version of a secret.
    CurrentSecret,
    /// Fetches the previous version of a secret.
    PreviousSecret,
    /// Creates a payment at the provider.
    CreateAtProvider,
    /// Reads unmatched notifications.
    ReadUnmatched,
    /// Reads the items that are due.
    ReadDue,
    /// Reads the size of a queue and its oldest item.
    ReadQueue,
    /// Reserves a due item for this run.
    Reserve,
    /// Sets the time of an item's next check.
    Reschedule,
    /// Notes that an item could not be checked.
    NoteFailedCheck,
    /// Deletes unmatched notifications.
    DeleteUnmatched,
    /// Deletes an item that points to a payment that was deleted.
    DeleteDangling,
    /// Reads many payments at once.
    ReadPayments,
    /// Reads how far the provider's list was read.
    ReadListState,
    /// Stores how far the provider's list was read.
    SaveListState,
    /// Reserves the next call slot at a provider.
    ReserveSlot,
    /// Queries the status of a payment at the provider.
    QueryStatus,
    /// Lists the transactions of an order at the provider.
    ListTransactions,
    /// Reads a page of the list of all transactions at the provider.
    ReadListPage,
    /// Publishes events to the event bus.
    PublishEvents,
    /// Sends an event that cannot be published to the dead-letter queue.
    SendDeadLetter,
}

impl ExternalCall {
    /// Every external call.
    pub const ALL: [Self; 37] = [
        Self::Connect,
        Self::ReadPayment,
        Self::ReadOwner,
        Self::ReadOrder,
        Self::MarkPaid,
        Self::FindRequest,
        Self::ReadRecord,
        Self::InsertPayment,
        Self::TakeOver,
        Self::BindKey,
        Self::ReleaseLease,
        Self::ApplyFast,
        Self::Commit,
        Self::StoreUnmatched,
        Self::Quarantine,
        Self::ReadQuarantine,
        Self::MarkReplayed,
        Self::CurrentSecret,
        Self::PreviousSecret,
        Self::CreateAtProvider,
        Self::ReadUnmatched,
        Self::ReadDue,
        Self::ReadQueue,
        Self::Reserve,
        Self::Reschedule,
        Self::NoteFailedCheck,
        Self::DeleteUnmatched,
        Self::DeleteDangling,
        Self::ReadPayments,
        Self::ReadListState,
        Self::SaveListState,
        Self::ReserveSlot,
        Self::QueryStatus,
        Self::ListTransactions,
        Self::ReadListPage,
        Self::PublishEvents,
        Self::SendDeadLetter,
    ];

    /// The name in `FAILPOINTS`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ReadPayment => "read-payment",
            Self::ReadOwner => "read-owner",
            Self::ReadOrder => "read-order",
            Self::MarkPaid => "mark-paid",
            Self::FindRequest => "find-request",
            Self::ReadRecord => "read-record",
            Self::InsertPayment => "insert-payment",
            Self::TakeOver => "take-over",
            Self::BindKey => "bind-key",
            Self::ReleaseLease => "release-lease",
            Self::ApplyFast => "apply-fast",
            Self::Commit => "commit",
            Self::StoreUnmatched => "store-unmatched",
            Self::Quarantine => "quarantine",
            Self::ReadQuarantine => "read-quarantine",
            Self::MarkReplayed => "mark-replayed",
            Self::CurrentSecret => "current-secret",
            Self::PreviousSecret => "previous-secret",
            Self::CreateAtProvider => "create-at-provider",
            Self::ReadUnmatched => "read-unmatched",
            Self::ReadDue => "read-due",
            Self::ReadQueue => "read-queue",
            Self::Reserve => "reserve",
            Self::Reschedule => "reschedule",
            Self::NoteFailedCheck => "note-failed-check",
            Self::DeleteUnmatched => "delete-unmatched",
            Self::DeleteDangling => "delete-dangling",
            Self::ReadPayments => "read-payments",
            Self::ReadListState => "read-list-state",
            Self::SaveListState => "save-list-state",
            Self::ReserveSlot => "reserve-slot",
            Self::QueryStatus => "query-status",
            Self::ListTransactions => "list-transactions",
            Self::ReadListPage => "read-list-page",
            Self::PublishEvents => "publish-events",
            Self::SendDeadLetter => "send-dead-letter",
        }
    }
}

/// The side of the call on which a failpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Before the request is sent.
    Before,
    /// After the response arrived, before it is used.
    After,
}

/// A failpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// The external call.
    pub call: ExternalCall,
    /// Before or after the call.
    pub side: Side,
}

/// Such as `before:commit`.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Before => "before",
            Side::After => "after",
        };
        write!(f, "{side}:{}", self.call.name())
    }
}

/// Makes an external call between its two failpoints, which a release build does not contain.
///
/// The future is boxed: the SDK's futures are large, and a flow that contained several of them would be copied as a
/// whole each time it is moved.
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

    /// Controls a flow that a test runs in its own process. A flow that never continues simulates a process that died.
    pub trait Hook: Send + Sync {
        /// Called at each failpoint. The flow continues when the future completes.
        fn reach(&self, point: Point) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

        /// How far the flow's clock is ahead.
        fn clock_offset(&self) -> Duration {
            Duration::ZERO
        }
    }

    tokio::task_local! {
        static HOOK: Arc<dyn Hook>;
    }

    /// Runs a flow under the control of `hook`.
    pub async fn scope<T>(hook: Arc<dyn Hook>, flow: impl Future<Output = T>) -> T {
        HOOK.scope(hook, flow).await
    }

    /// Makes an external call between its two failpoints. The future is boxed, as in a release build.
    pub fn wrap<W: Future>(call: ExternalCall, work: W) -> impl Future<Output = W::Output> {
        let work = Box::pin(work);
        let point = move |side| Point { call, side };
        async move {
            reach(point(Side::Before)).await;
            let output = work.await;
            reach(point(Side::After)).await;
            output
        }
    }

    #[expect(clippy::panic, reason = "the test requested a panic")]
    async fn reach(point: Point) {
        if let Ok(hook) = HOOK.try_with(Arc::clone) {
            hook.reach(point).await;
        }
        match &*PLAN {
            Some(Plan::Log) => tracing::info!(%point, pid = std::process::id(), "failpoint reached"),
            Some(Plan::Inject { at, times, action })
                if *at == point.to_string() && times.fetch_sub(1, Ordering::Relaxed) == 1 =>
            {
                match action {
                    Action::Die => std::process::abort(),
                    Action::Panic => panic!("at {point}"),
                    Action::Stop => stop(point),
                }
            }
            Some(Plan::Inject { .. }) | None => {}
        }
    }

    /// Stops the whole process. A shell sends the signal to its parent, because that needs no unsafe code.
    fn stop(point: Point) {
        tracing::info!(%point, pid = std::process::id(), "stopped at failpoint");
        let stopped = Command::new("/bin/sh").args(["-c", "kill -STOP $PPID"]).status();
        tracing::info!(%point, stopped = stopped.is_ok_and(|status| status.success()), "continued");
    }

    enum Plan {
        Log,
        /// Takes `action` when the failpoint `at` is reached for the `times`-th time.
        Inject {
            at: String,
            times: AtomicU32,
            action: Action,
        },
    }

    enum Action {
        Die,
        Panic,
        Stop,
    }

    static PLAN: LazyLock<Option<Plan>> = LazyLock::new(|| plan(&std::env::var("FAILPOINTS").ok()?));

    fn plan(text: &str) -> Option<Plan> {
        if text == "log" {
            return Some(Plan::Log);
        }
        let (point, action) = match text.split_once('=')? {
            (point, "die") => (point, Action::Die),
            (point, "panic") => (point, Action::Panic),
            (point, "stop") => (point, Action::Stop),
            _ => return None,
        };
        let (at, times) = match point.split_once('#') {
            Some((at, times)) => (at, times.parse().ok()?),
            None => (point, 1),
        };
        Some(Plan::Inject {
            at: at.to_owned(),
            times: AtomicU32::new(times),
            action,
        })
    }

    /// How far the current flow's clock is ahead.
    pub(crate) fn clock_offset() -> Duration {
        HOOK.try_with(|hook| hook.clock_offset()).unwrap_or_default()
    }
}
