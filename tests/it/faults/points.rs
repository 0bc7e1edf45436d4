//! The steps of a flow, as it named them itself, and how each travels.

use payment_functions::platform::failpoint::{ExternalCall, Point, Side};
use payment_functions_local::sandbox::Kind;
use payment_functions_tests::world::AwsProxy;

use crate::support::{Value, entries};

/// How a call travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// To DynamoDB, as this action.
    DynamoDb(&'static str),
    /// To Secrets Manager.
    SecretsManager,
    /// To the provider.
    Provider(Kind),
    /// To EventBridge or SQS, as this action.
    Events(&'static str),
}

/// The calls that no flow of the matrix makes: `publish-events` comes after all of them, fed by the table's stream, and
/// is struck at each of its calls by tests of its own (`publishing`).
pub const NOT_IN_A_FLOW: [ExternalCall; 2] = [ExternalCall::PublishEvents, ExternalCall::SendDeadLetter];

impl Wire {
    pub const fn of(call: ExternalCall) -> Self {
        match call {
            ExternalCall::Connect
            | ExternalCall::ReadPayment
            | ExternalCall::ReadOwner
            | ExternalCall::ReadKey
            | ExternalCall::ReadUnmatched => Self::DynamoDb("GetItem"),
            ExternalCall::ReadOrder | ExternalCall::ReadDue | ExternalCall::ReadQueue => Self::DynamoDb("Query"),
            ExternalCall::InsertPayment
            | ExternalCall::TakeOver
            | ExternalCall::ReleaseLease
            | ExternalCall::ApplyFast
            | ExternalCall::Commit
            | ExternalCall::StoreUnmatched
            | ExternalCall::Reserve
            | ExternalCall::Reschedule
            | ExternalCall::DeleteUnmatched
            | ExternalCall::Pace => Self::DynamoDb("TransactWriteItems"),
            ExternalCall::CurrentSecret | ExternalCall::PreviousSecret => Self::SecretsManager,
            ExternalCall::CreateAtProvider => Self::Provider(Kind::Create),
            ExternalCall::QueryStatus => Self::Provider(Kind::Status),
            ExternalCall::ListTransactions => Self::Provider(Kind::List),
            ExternalCall::PublishEvents => Self::Events("PutEvents"),
            ExternalCall::SendDeadLetter => Self::Events("SendMessage"),
        }
    }

    /// The action that a proxy before AWS sees.
    pub const fn action(self) -> Option<&'static str> {
        match self {
            Self::DynamoDb(action) | Self::Events(action) => Some(action),
            Self::SecretsManager => Some("GetSecretValue"),
            Self::Provider(_) => None,
        }
    }
}

/// A call that a flow makes, and which of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub call: ExternalCall,
    /// Which of the flow's calls of this name, from 1.
    pub nth: usize,
    /// Which of the flow's calls that travel so, from 1; those of the start are counted by themselves.
    pub nth_on_wire: usize,
    /// Whether it is made when the function starts, before there is a request.
    pub is_at_start: bool,
}

impl Step {
    pub fn wire(&self) -> Wire {
        Wire::of(self.call)
    }

    /// Whether it fetches a secret once more, which a process does once a minute.
    pub fn is_forced(&self) -> bool {
        !self.is_at_start && self.wire() == Wire::SecretsManager
    }

    /// `after:commit#2`, as `FAILPOINTS` has it.
    pub fn point(&self, side: Side) -> String {
        format!("{}#{}", Point { call: self.call, side }, self.nth)
    }
}

/// The steps in a function's log, in their order.
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

/// The call before which a line of the log stands.
fn begun(line: &Value) -> Option<ExternalCall> {
    let name = line["point"].as_str()?.strip_prefix("before:")?;
    let call = ExternalCall::ALL.into_iter().find(|call| call.name() == name);
    Some(call.unwrap_or_else(|| panic!("{name} is not in ExternalCall::ALL")))
}

/// Of each call that a flow makes again and again, the first and the last.
pub fn first_and_last(steps: &[Step]) -> Vec<Step> {
    let count = |call| steps.iter().filter(|step| step.call == call).count();
    // A turn costs one call or, if it was not free at once, two: as many as there are questions come for certain.
    let turns = count(ExternalCall::QueryStatus) + count(ExternalCall::ListTransactions);
    let last = |call| if call == ExternalCall::Pace { turns } else { count(call) };
    let kept = |step: &&Step| step.nth == 1 || step.nth == last(step.call);
    steps.iter().filter(kept).copied().collect()
}

/// Makes sure that every call to AWS that a proxy saw has its points.
pub fn assert_all_logged(flow: &str, steps: &[Step], proxy: &AwsProxy) {
    for action in ["GetItem", "Query", "TransactWriteItems", "GetSecretValue"] {
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
        "{flow}: another action: {:?}",
        proxy.calls()
    );
}
