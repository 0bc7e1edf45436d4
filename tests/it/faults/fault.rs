//! The faults that can be injected at a step.

use std::time::Duration;

use payment_functions::platform::failpoint::Side;
use payment_functions_local::sandbox::Kind;
use payment_functions_tests::world::{AwsProxy, Fault as AwsFault};

use super::points::{Step, Wire};
use crate::support::*;

/// A fault at a step.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The process crashes before or after the call.
    Crash(Side),
    /// The call to AWS fails.
    Aws(&'static str, Attempts, AwsFault),
    /// The call to the provider fails, with this reply of its stand-in.
    Provider(&'static str, Value),
}

/// The attempts of an SDK operation that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempts {
    Every,
    /// The SDK's retry succeeds.
    First,
}

/// Longer than the SDK's operation timeout (1.5 s): the request arrives after its sender gave up.
const TOO_LATE: Duration = Duration::from_millis(1600);
/// Less than the SDK's attempt timeout (0.7 s).
const LATE: Duration = Duration::from_millis(250);

impl Fault {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Crash(Side::Before) => "crash before",
            Self::Crash(Side::After) => "crash after",
            Self::Aws(name, ..) | Self::Provider(name, _) => name,
        }
    }

    pub const CRASHES: [Self; 2] = [Self::Crash(Side::Before), Self::Crash(Side::After)];

    /// The faults for a step's call to `provider`, other than crashes.
    pub fn of(step: &Step, provider: Provider) -> Vec<Self> {
        match step.wire() {
            Wire::DynamoDb("TransactWriteItems") => [aws(), vec![contended()]].concat(),
            Wire::DynamoDb(_) | Wire::SecretsManager | Wire::Events(_) => aws(),
            Wire::Provider(Kind::Create) => creating(provider),
            Wire::Provider(kind) => querying(kind),
        }
    }

    /// The same fault for a function with ten times the AWS timeouts.
    pub fn for_slow_machine(self) -> Self {
        if let Self::Aws(name, attempts, AwsFault::Delayed(delay)) = self {
            return Self::Aws(name, attempts, AwsFault::Delayed(10 * delay));
        }
        self
    }

    /// Whether the fault needs a function with Lambda's timeouts.
    pub fn needs_usual_limits(&self) -> bool {
        matches!(
            self,
            Self::Aws(_, _, AwsFault::Hang | AwsFault::HangAfter | AwsFault::Delayed(_))
        )
    }

    /// Configures the proxy of a process that has not handled a request yet.
    pub fn set_up(&self, proxy: &AwsProxy, step: &Step) {
        if let (Self::Aws(_, attempts, fault), Some(action)) = (self, step.wire().action()) {
            match attempts {
                Attempts::Every => proxy.fail_operation(action, step.nth_on_wire, fault.clone()),
                Attempts::First => proxy.fail_first_attempt(action, step.nth_on_wire, fault.clone()),
            }
        }
    }
}

fn aws() -> Vec<Fault> {
    let every = |name, fault| Fault::Aws(name, Attempts::Every, fault);
    let first = |name, fault| Fault::Aws(name, Attempts::First, fault);
    vec![
        every("hung", AwsFault::Hang),
        every("hung, applied", AwsFault::HangAfter),
        every("too late", AwsFault::Delayed(TOO_LATE)),
        every("throttled", AwsFault::THROTTLED),
        every("error 500", AwsFault::Error(500, "InternalServerError")),
        every("error 500, applied", AwsFault::ErrorAfter(500, "InternalServerError")),
        every("disconnect", AwsFault::Disconnect),
        every("disconnect, applied", AwsFault::LoseResponse),
        first("throttled once", AwsFault::THROTTLED),
        first("disconnect once, applied", AwsFault::LoseResponse),
        every("refused", AwsFault::Error(400, "AccessDeniedException")),
        every("late", AwsFault::Late(LATE)),
    ]
}

/// A conflict with another transaction. One reason is enough for the SDK and for us.
fn contended() -> Fault {
    let reasons = vec![json!({ "Code": "TransactionConflict", "Message": "attempts" })];
    Fault::Aws("conflict once", Attempts::First, AwsFault::Cancelled(reasons))
}

fn creating(provider: Provider) -> Vec<Fault> {
    let (refusal, other) = match provider {
        Provider::Apolopay => ("BAD_REQUEST", json!({ "error": "NOT_A_UUID", "create": true })),
        Provider::Finvypay => ("INVALID_REQUEST", json!({ "fields": { "amount": 1 } })),
    };
    let mut faults: Vec<Fault> = vec![
        Fault::Provider("hung", json!({ "hang": true, "create": false })),
        Fault::Provider("hung, created", json!({ "hang": true })),
    ];
    faults.extend(
        [
            ("disconnect", json!({ "drop": "beforeReply", "create": false })),
            ("disconnect, created", json!({ "drop": "beforeReply" })),
            ("disconnect in the response", json!({ "drop": "midReply" })),
            ("late", json!({ "delayMs": 700 })),
            ("error 500", json!({ "error": "INTERNAL_ERROR" })),
            (
                "error 500, created",
                json!({ "error": "INTERNAL_ERROR", "create": true }),
            ),
            ("error 503", json!({ "error": "UNAVAILABLE" })),
            ("bad gateway, created", json!({ "error": "HTML", "create": true })),
            ("HTML page, created", json!({ "error": "HTML_OK", "create": true })),
            ("throttled 429", json!({ "error": "RATE_LIMITED" })),
            ("key refused 401", json!({ "error": "UNAUTHORIZED" })),
            ("refused 400", json!({ "error": refusal })),
            (
                "malformed, created",
                json!({ "error": "TRUNCATED_JSON", "create": true }),
            ),
            ("no id, created", json!({ "error": "MISSING_ID", "create": true })),
            ("other values", other),
        ]
        .map(|(name, reply)| Fault::Provider(name, reply)),
    );
    faults
}

/// Faults of FinvyPay's status and list calls.
fn querying(kind: Kind) -> Vec<Fault> {
    let mut faults: Vec<Fault> = [
        ("hung", json!({ "hang": true })),
        ("disconnect", json!({ "drop": "beforeReply" })),
        ("disconnect in the response", json!({ "drop": "midReply" })),
        ("late", json!({ "delayMs": 700 })),
        ("error 500", json!({ "error": "INTERNAL_ERROR" })),
        ("bad gateway", json!({ "error": "HTML" })),
        ("HTML page", json!({ "error": "HTML_OK" })),
        ("throttled 429", json!({ "error": "RATE_LIMITED" })),
        ("key refused 401", json!({ "error": "UNAUTHORIZED" })),
        ("not found 404", json!({ "error": "NOT_FOUND" })),
        ("malformed", json!({ "error": "TRUNCATED_JSON" })),
    ]
    .map(|(name, reply)| Fault::Provider(name, reply))
    .into();
    if kind == Kind::Status {
        let other = json!({ "fields": { "amount": 1 } });
        faults.push(Fault::Provider("other amount", other));
    }
    faults
}
