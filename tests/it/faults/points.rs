//! The steps of a flow, as the flow logs them, and where each call goes.

use payment_functions::platform::failpoint::{ExternalCall, Point, Side};
use payment_functions_local::sandbox::Kind;
use payment_functions_tests::world::AwsProxy;

use crate::support::{Value, entries};

/// The service that a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// DynamoDB, with this action.
    DynamoDb(&'static str),
    SecretsManager,
    Provider(Kind),
    /// EventBridge or SQS, with this action.
    Events(&'static str),
}

/// Calls that no flow of the matrix makes: the tests in `publishing` inject faults into `publish-events`. Only a
/// payment that was deleted leaves items that point to it: `core/sweeps/unpaid.rs`. Only a payment that cannot be
/// checked has failed checks: `core/sweeps/attention.rs`.
pub const NOT_IN_A_FLOW: [ExternalCall; 5] = [
    ExternalCall::NoteFailedCheck,
    ExternalCall::DeleteDangling,
    ExternalCall::MarkPaid,
    ExternalCall::PublishEvents,
    ExternalCall::SendDeadLetter,
];

impl Wire {
    pub const fn of(call: ExternalCall) -> Self {
        match call {
            ExternalCall::Connect
            | ExternalCall::ReadPayment
            | ExternalCall::ReadOwner
            | ExternalCall::ReadRecord
            | ExternalCall::ReadListState
            // The flows replay one webhook. A replay of all reads pages.
            | ExternalCall::ReadQuarantine => Self::DynamoDb("GetItem"),
            ExternalCall::ReadOrder
            | ExternalCall::ReadUnmatched
            | ExternalCall::ReadDue
            | ExternalCall::ReadQueue => Self::DynamoDb("Query"),
            ExternalCall::InsertPayment
            | ExternalCall::FindRequest
            | ExternalCall::TakeOver
            | ExternalCall::BindKey
            | ExternalCall::ReleaseLease
            | ExternalCall::ApplyFast
            | ExternalCall::MarkPaid
            | ExternalCall::Commit
            | ExternalCall::StoreUnmatched
            | ExternalCall::Reserve
            | ExternalCall::Reschedule
            | ExternalCall::NoteFailedCheck
            | ExternalCall::DeleteUnmatched
            | ExternalCall::DeleteDangling
            | ExternalCall::Quarantine
            | ExternalCall::MarkReplayed
            | ExternalCall::SaveListState
            | ExternalCall::ReserveSlot => Self::DynamoDb("TransactWriteItems"),
            ExternalCall::CurrentSecret | ExternalCall::PreviousSecret => Self::SecretsManager,
            ExternalCall::CreateAtProvider => Self::Provider(Kind::Create),
            ExternalCall::QueryStatus => Self::Provider(Kind::Status),
            ExternalCall::ListTransactions | ExternalCall::ReadListPage => Self::Provider(Kind::List),
            ExternalCall::ReadPayments => Self::DynamoDb("BatchGetItem"),
            ExternalCall::PublishEvents => Self::Events("PutEvents"),
            ExternalCall::SendDeadLetter => Self::Events("SendMessage"),
        }
    }

    /// The action that the AWS proxy sees.
    pub const fn action(self) -> Option<&'static str> {
        match self {
            Self::DynamoDb(action) | Self::Events(action) => Some(action),
            Self::SecretsManager => Some("GetSecretValue"),
            Self::Provider(_) => None,
        }
    }
}

/// One call of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub call: ExternalCall,
    /// Its number among the flow's calls of this name, from 1.
    pub nth: usize,
    /// Its number among the flow's calls to the same service and action, from 1; calls at the start are counted
    /// separately.
    pub nth_on_wire: usize,
    /// Whether the function makes it at its start, before a request.
    pub is_at_start: bool,
}

impl Step {
    pub fn wire(&self) -> Wire {
        Wire::of(self.call)
    }

    /// Whether it refreshes a secret, which a process does at most once a minute.
    pub fn is_forced(&self) -> bool {
        !self.is_at_start && self.wire() == Wire::SecretsManager
    }

    /// `after:commit#2`, the format of `FAILPOINTS`.
    pub fn point(&self, side: Side) -> String {
        format!("{}#{}", Point { call: self.call, side }, self.nth)
    }
}

/// The steps in a function's log, in order.
pub fn steps(log: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_at_start = true;
    for line in entries(log) {
        is_at_start &= line["message"] != "ready";
        let Some(call) = begun(&line) else { continue };
        let count = |same: &dyn Fn(&Step) -> bool| steps.iter().filter(|step| same(step)).count() + 1;
        let step = Step {
            call,
            nth: count(&|step| step.call == call),
            nth_on_wire: count(&|step| step.wire() == Wire::of(call) && step.is_at_start == is_at_start),
            is_at_start,
        };
        steps.push(step);
    }
    steps
}

/// The number of calls in a function's log that have ended, whether they failed or not.
pub fn ended_calls(log: &str) -> usize {
    let is_end = |line: &Value| line["point"].as_str().is_some_and(|point| point.starts_with("after:"));
    entries(log).filter(is_end).count()
}

/// The call that a log line announces.
fn begun(line: &Value) -> Option<ExternalCall> {
    let name = line["point"].as_str()?.strip_prefix("before:")?;
    let call = ExternalCall::ALL.into_iter().find(|call| call.name() == name);
    Some(call.unwrap_or_else(|| panic!("{name} is not in ExternalCall::ALL")))
}

/// The first and the last of each repeated call. Of many calls a late one instead: the number of the reconciler's calls
/// varies, because its jobs run side by side.
pub fn first_and_last(steps: &[Step]) -> Vec<Step> {
    let count = |call| steps.iter().filter(|step| step.call == call).count();
    // A slot of a single call costs at least one call, two slots of the list too.
    let singles = count(ExternalCall::QueryStatus) + count(ExternalCall::ListTransactions);
    let slots = singles + count(ExternalCall::ReadListPage).div_ceil(2);
    let last = |call| {
        if call == ExternalCall::ReserveSlot {
            slots
        } else {
            count(call) - count(call) / 8
        }
    };
    let kept = |step: &&Step| step.nth == 1 || step.nth == last(step.call);
    steps.iter().filter(kept).copied().collect()
}

/// Checks that every AWS call that the proxy saw has a failpoint.
pub fn assert_all_logged(flow: &str, steps: &[Step], proxy: &AwsProxy) {
    for action in [
        "GetItem",
        "BatchGetItem",
        "Query",
        "TransactWriteItems",
        "GetSecretValue",
    ] {
        let logged = steps.iter().filter(|step| step.wire().action() == Some(action)).count();
        assert_eq!(
            proxy.operations(action),
            logged,
            "{flow}: {action} without a fault point"
        );
    }
    assert_eq!(
        proxy.operations("*"),
        steps.iter().filter(|step| step.wire().action().is_some()).count(),
        "{flow}: unexpected action: {:?}",
        proxy.calls()
    );
}
