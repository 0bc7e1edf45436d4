//! What can happen at a step.

use std::time::Duration;

use payment_functions::platform::failpoint::Side;
use payment_functions_local::sandbox::Kind;
use payment_functions_tests::world::{AwsProxy, Fault};

use super::points::{Step, Wire};
use crate::support::*;

/// Something that goes wrong at a step.
#[derive(Clone, Debug)]
pub enum Blow {
    /// The process dies, before the call or when its answer is there.
    Die(Side),
    /// AWS or the way to it fails.
    Aws(&'static str, Struck, Fault),
    /// The provider, or the way to it, fails: the reply of its stand-in.
    Provider(&'static str, Value),
}

/// Which tries of an SDK are struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Struck {
    EveryTry,
    /// What a retry absorbs.
    FirstTry,
}

/// Longer than an SDK waits for an operation (1.5 s), so that it arrives when its sender has given up.
const TOO_LATE: Duration = Duration::from_millis(1600);
/// Less than an SDK waits for one try (0.7 s).
const LATE: Duration = Duration::from_millis(250);

impl Blow {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Die(Side::Before) => "death before",
            Self::Die(Side::After) => "death after",
            Self::Aws(name, ..) | Self::Provider(name, _) => name,
        }
    }

    /// Both deaths.
    pub const DEATHS: [Self; 2] = [Self::Die(Side::Before), Self::Die(Side::After)];

    /// How the call of a step to `provider` can fail on its way, or at its end.
    pub fn of(step: &Step, provider: Provider) -> Vec<Self> {
        match step.wire() {
            Wire::DynamoDb("TransactWriteItems") => [aws(), vec![contended()]].concat(),
            Wire::DynamoDb(_) | Wire::SecretsManager | Wire::Events(_) => aws(),
            Wire::Provider(Kind::Create) => creating(provider),
            Wire::Provider(kind) => asking(kind),
        }
    }

    /// The same for a function that waits ten times as long for AWS.
    pub fn for_the_patient(self) -> Self {
        if let Self::Aws(name, struck, Fault::Delayed(delay)) = self {
            return Self::Aws(name, struck, Fault::Delayed(10 * delay));
        }
        self
    }

    /// Whether it shows only where a function waits for AWS no longer than it does in Lambda.
    pub fn needs_usual_limits(&self) -> bool {
        matches!(
            self,
            Self::Aws(_, _, Fault::Hang | Fault::HangAfter | Fault::Delayed(_))
        )
    }

    /// Tells the proxy of a process that has answered nothing yet.
    pub fn set_up(&self, proxy: &AwsProxy, step: &Step) {
        if let (Self::Aws(_, struck, fault), Some(action)) = (self, step.wire().action()) {
            match struck {
                Struck::EveryTry => proxy.fail_operation(action, step.nth_on_wire, fault.clone()),
                Struck::FirstTry => proxy.fail_first_try(action, step.nth_on_wire, fault.clone()),
            }
        }
    }
}

fn aws() -> Vec<Blow> {
    let every = |name, fault| Blow::Aws(name, Struck::EveryTry, fault);
    let first = |name, fault| Blow::Aws(name, Struck::FirstTry, fault);
    vec![
        every("hung", Fault::Hang),
        every("hung, done", Fault::HangAfter),
        every("too late", Fault::Delayed(TOO_LATE)),
        every("throttled", Fault::THROTTLED),
        every("error 500", Fault::Error(500, "InternalServerError")),
        every("error 500, done", Fault::ErrorAfter(500, "InternalServerError")),
        every("cut off", Fault::Disconnect),
        every("cut off, done", Fault::LoseAnswer),
        first("throttled once", Fault::THROTTLED),
        first("cut off once, done", Fault::LoseAnswer),
        every("refused", Fault::Error(400, "AccessDeniedException")),
        every("late", Fault::Late(LATE)),
    ]
}

/// Another transaction is at work on the same items. One reason is enough for the SDK and for us.
fn contended() -> Blow {
    let reasons = vec![json!({ "Code": "TransactionConflict", "Message": "injected" })];
    Blow::Aws("contended once", Struck::FirstTry, Fault::Cancelled(reasons))
}

fn creating(provider: Provider) -> Vec<Blow> {
    let (refusal, other) = match provider {
        Provider::Apolopay => ("BAD_REQUEST", json!({ "error": "NOT_A_UUID", "create": true })),
        Provider::Finvypay => ("INVALID_REQUEST", json!({ "fields": { "amount": 1 } })),
    };
    let mut blows: Vec<Blow> = vec![
        Blow::Provider("hung", json!({ "hang": true, "create": false })),
        Blow::Provider("hung, created", json!({ "hang": true })),
    ];
    blows.extend(
        [
            ("cut off", json!({ "drop": "beforeReply", "create": false })),
            ("cut off, created", json!({ "drop": "beforeReply" })),
            ("cut off in the reply", json!({ "drop": "midReply" })),
            ("late", json!({ "delayMs": 700 })),
            ("error 500", json!({ "error": "INTERNAL_ERROR" })),
            (
                "error 500, created",
                json!({ "error": "INTERNAL_ERROR", "create": true }),
            ),
            ("error 503", json!({ "error": "UNAVAILABLE" })),
            ("bad gateway, created", json!({ "error": "HTML", "create": true })),
            ("a page, created", json!({ "error": "HTML_OK", "create": true })),
            ("throttled 429", json!({ "error": "RATE_LIMITED" })),
            ("key refused 401", json!({ "error": "UNAUTHORIZED" })),
            ("refused 400", json!({ "error": refusal })),
            (
                "nonsense, created",
                json!({ "error": "TRUNCATED_JSON", "create": true }),
            ),
            ("no id, created", json!({ "error": "MISSING_ID", "create": true })),
            ("another than asked for", other),
        ]
        .map(|(name, reply)| Blow::Provider(name, reply)),
    );
    blows
}

/// FinvyPay, asked.
fn asking(kind: Kind) -> Vec<Blow> {
    let mut blows: Vec<Blow> = [
        ("hung", json!({ "hang": true })),
        ("cut off", json!({ "drop": "beforeReply" })),
        ("cut off in the reply", json!({ "drop": "midReply" })),
        ("late", json!({ "delayMs": 700 })),
        ("error 500", json!({ "error": "INTERNAL_ERROR" })),
        ("bad gateway", json!({ "error": "HTML" })),
        ("a page", json!({ "error": "HTML_OK" })),
        ("throttled 429", json!({ "error": "RATE_LIMITED" })),
        ("key refused 401", json!({ "error": "UNAUTHORIZED" })),
        ("unknown 404", json!({ "error": "NOT_FOUND" })),
        ("nonsense", json!({ "error": "TRUNCATED_JSON" })),
    ]
    .map(|(name, reply)| Blow::Provider(name, reply))
    .into();
    if kind == Kind::Status {
        let other = json!({ "fields": { "amount": 1 } });
        blows.push(Blow::Provider("other money", other));
    }
    blows
}
