//! The flows as data: preconditions and action.

use super::*;

/// The body of a webhook that nobody can read. `ORDER` stands for the case's order.
pub const UNREADABLE: &str = r#"{"result":{"orderId":"ORDER","status":"completed","amount":25.5,"payer":"Jane"}}"#;

/// More webhooks than one commit moves, and fewer, but more than half of these.
pub const MANY: usize = 12;
const SOME: usize = 6;

/// A webhook of this number, unlike all others of its payment. It has only the payment's id, or only the transaction's.
pub fn numbered_webhook(provider: Provider, number: usize, of_transaction: bool) -> Value {
    let (shape, omit) = match (provider, of_transaction) {
        (Provider::Apolopay, _) => ("A", json!(["metadata"])),
        (Provider::Finvypay, false) => ("W2", json!(["metadata", "orderId"])),
        (Provider::Finvypay, true) => ("W1", json!(["order_id"])),
    };
    json!({ "shape": shape, "omit": omit, "outcome": format!("NEW_{number:03}"), "moves": false })
}

/// A flow of one function.
#[derive(Debug)]
pub struct Flow {
    pub name: String,
    pub provider: Provider,
    /// Whether the payment is created with an idempotency key.
    pub keyed: bool,
    pub before: Vec<Before>,
    pub action: Action,
    pub quote: Quote,
    /// Whether the function has its own secret, which is rotated after the function has fetched it.
    pub rotated: bool,
    /// Whether faults are injected at random.
    pub at_random: bool,
    /// The expected status without a fault; 200 for an operator's command.
    pub status: u16,
}

/// The quotes of a flow's requests. They are required if there are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quote {
    /// No request has one.
    None,
    /// Only the request under test has one, which has expired.
    Late,
    /// All requests have the same one.
    One,
    /// The same, but it expires before the request under test.
    OneExpiring,
    /// All requests have the same one, but the request under test has another one, which has expired.
    Other,
}

impl Quote {
    /// How long the quote of all requests is valid, in seconds.
    pub const fn valid_for(self) -> Option<i64> {
        match self {
            Self::None | Self::Late => None,
            Self::One | Self::Other => Some(3 * 24 * 60 * 60),
            // Within the tolerance of a minute now, and beyond it during the flow.
            Self::OneExpiring => Some(-40),
        }
    }
}

/// A precondition of a flow.
#[derive(Clone, Debug)]
pub enum Before {
    Created,
    /// The same, without the flow's key.
    CreatedWithoutKey,
    /// The creating process crashed after the provider's response, and its lease has expired.
    HolderCrashed,
    /// A webhook was accepted.
    Webhook(Value),
    /// The provider's reply to the next create call.
    Reply(Value),
    /// The provider sends a webhook without our payment id before it replies to the next create call.
    WebhookBeforeReply,
    /// So many distinct webhooks with only the payment's id were accepted, and so many with only the transaction's id.
    ManyWebhooks(usize, usize),
    /// A webhook that can be read is in quarantine, as if an earlier version could not read it.
    Quarantined,
}

#[derive(Clone, Debug)]
pub enum Action {
    Create,
    /// A webhook for the order's newest payment at the provider, with these members.
    Webhook(Value),
    Get,
    Complete,
    Close,
    /// An operator's replay of the latest webhook in quarantine.
    Replay,
    /// The reconciler's check of the claim on the payment, from the table's stream.
    CheckClaim,
}

impl Action {
    /// An operator's command, and the payment's status after it.
    pub const fn command(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Complete => Some(("complete", "completed")),
            Self::Close => Some(("close", "review")),
            Self::Create | Self::Webhook(_) | Self::Get | Self::Replay | Self::CheckClaim => None,
        }
    }
}

impl Flow {
    fn new(name: &str, provider: Provider, before: Vec<Before>, action: Action) -> Self {
        Self {
            name: format!("{name}, {}", aws::name(provider)),
            provider,
            keyed: true,
            quote: Quote::None,
            rotated: false,
            at_random: false,
            status: expected_status(&before, &action),
            before,
            action,
        }
    }

    /// A payment with random faults.
    pub fn at_random(provider: Provider, keyed: bool) -> Self {
        Self {
            keyed,
            at_random: true,
            ..Self::new("random faults", provider, vec![], Action::Create)
        }
    }

    pub fn function(&self) -> &'static str {
        match self.action {
            Action::Create => function(self.provider),
            Action::Webhook(_) => "webhook-handler",
            Action::Get => "get-payment",
            Action::Complete | Action::Close | Action::Replay | Action::CheckClaim => "reconcile-payments",
        }
    }

    /// Whether the provider's reply at a step is part of the flow.
    pub fn has_reply(&self, step: &Step) -> bool {
        let is_reply = |before: &Before| matches!(before, Before::Reply(_) | Before::WebhookBeforeReply);
        // The old API key is refused before any scripted reply applies.
        self.before.iter().any(is_reply) || (self.rotated && step.nth == 1)
    }

    /// Whether so many webhooks come under an unknown id that the reconciler must move some of them.
    pub fn has_many_webhooks(&self) -> bool {
        self.before
            .iter()
            .any(|before| matches!(before, Before::ManyWebhooks(..)))
    }

    /// Whether the request under test only gets an earlier response.
    pub fn is_replay(&self) -> bool {
        let created = |before: &Before| matches!(before, Before::Created | Before::CreatedWithoutKey);
        matches!(self.action, Action::Create) && self.before.iter().any(created)
    }

    /// Whether a crashed holder may have called the provider before.
    pub fn has_crashed_holder(&self) -> bool {
        let died = |before: &Before| matches!(before, Before::HolderCrashed);
        self.before.iter().any(died)
    }
}

fn expected_status(before: &[Before], action: &Action) -> u16 {
    let reply = before.iter().find_map(|before| match before {
        Before::Reply(reply) => reply["error"].as_str().or(Some("")),
        Before::Created
        | Before::CreatedWithoutKey
        | Before::HolderCrashed
        | Before::Webhook(_)
        | Before::WebhookBeforeReply
        | Before::ManyWebhooks(..)
        | Before::Quarantined => None,
    });
    match (action, reply) {
        (Action::Create, None) => 201,
        (Action::Create, Some("BAD_REQUEST" | "INVALID_REQUEST")) => 422,
        (Action::Create, Some(_)) => 502,
        (
            Action::Webhook(_) | Action::Get | Action::Complete | Action::Close | Action::Replay | Action::CheckClaim,
            _,
        ) => 200,
    }
}

/// Every flow except reconciler runs.
pub fn all() -> Vec<Flow> {
    let nothing = json!({});
    let nameless = json!({ "omit": ["metadata"] });
    let refund = json!({ "extra": { "refundDate": "2026-01-02" }, "moves": false });
    let mut flows = Vec::new();
    for provider in BOTH {
        flows.push(Flow {
            keyed: false,
            ..Flow::new("create without a key", provider, vec![], Action::Create)
        });
        let mut add =
            |name: &str, before: Vec<Before>, action: Action| flows.push(Flow::new(name, provider, before, action));
        let refused = match provider {
            Provider::Apolopay => "BAD_REQUEST",
            Provider::Finvypay => "INVALID_REQUEST",
        };
        add("create with a key", vec![], Action::Create);
        add(
            "take over a crashed holder's key",
            vec![Before::HolderCrashed],
            Action::Create,
        );
        add(
            "take over a payment completed meanwhile",
            vec![Before::HolderCrashed, Before::Webhook(nothing.clone())],
            Action::Create,
        );
        add(
            "create, paid before the response",
            vec![Before::WebhookBeforeReply],
            Action::Create,
        );
        add(
            "create, provider error",
            vec![Before::Reply(json!({ "error": "INTERNAL_ERROR" }))],
            Action::Create,
        );
        add(
            "create, refused by the provider",
            vec![Before::Reply(json!({ "error": refused }))],
            Action::Create,
        );
        add("webhook", vec![Before::Created], Action::Webhook(nothing.clone()));
        add(
            "webhook with the provider's id only",
            vec![Before::Created],
            Action::Webhook(nameless.clone()),
        );
        add(
            "webhook with an unknown provider id",
            vec![Before::HolderCrashed],
            Action::Webhook(nothing.clone()),
        );
        add(
            "webhook, unmatched",
            vec![Before::HolderCrashed],
            Action::Webhook(nameless.clone()),
        );
        add(
            "webhook, other amount",
            vec![Before::Created],
            Action::Webhook(json!({ "amount": 1, "moves": false })),
        );
        add(
            "webhook, unreadable",
            vec![Before::Created],
            Action::Webhook(json!({ "body": UNREADABLE, "moves": false })),
        );
        add(
            "refund of a completed payment",
            vec![Before::Created, Before::Webhook(nothing.clone())],
            Action::Webhook(refund.clone()),
        );
        add(
            "refund before the completion",
            vec![Before::Created],
            Action::Webhook(refund.clone()),
        );
        let error = json!({ "error": { "code": "DECLINED" } });
        add(
            "webhook, contradictory",
            vec![Before::Created],
            Action::Webhook(json!({ "extra": error, "moves": false })),
        );
        add(
            "operator command replay",
            vec![Before::Created, Before::Quarantined],
            Action::Replay,
        );
    }
    flows.push(Flow {
        quote: Quote::Late,
        ..Flow::new(
            "resume with an expired quote",
            Provider::Finvypay,
            vec![Before::HolderCrashed],
            Action::Create,
        )
    });
    for (name, provider, before, action) in [
        ("create, API key rotated", Provider::Finvypay, vec![], Action::Create),
        (
            "webhook, secret rotated",
            Provider::Apolopay,
            vec![Before::Created],
            Action::Webhook(nothing.clone()),
        ),
    ] {
        flows.push(Flow {
            rotated: true,
            ..Flow::new(name, provider, before, action)
        });
    }
    let mut add = |name: &str, provider: Provider, before: Vec<Before>, action: Action| {
        flows.push(Flow::new(name, provider, before, action));
    };
    let completed = || vec![Before::Created, Before::Webhook(nothing.clone())];
    add(
        "create, other amount in the response",
        Provider::Finvypay,
        vec![Before::Reply(json!({ "fields": { "amount": 1 } }))],
        Action::Create,
    );
    add(
        "create, API key refused",
        Provider::Finvypay,
        vec![Before::Reply(json!({ "error": "UNAUTHORIZED" }))],
        Action::Create,
    );
    add(
        "webhook with the order id only",
        Provider::Finvypay,
        vec![Before::Created],
        Action::Webhook(json!({ "shape": "W1" })),
    );
    add(
        "claim, then confirmed by the run",
        Provider::Finvypay,
        vec![Before::Created, Before::Webhook(json!({ "shape": "W1" }))],
        Action::CheckClaim,
    );
    add(
        "duplicate webhook",
        Provider::Apolopay,
        completed(),
        Action::Webhook(nothing.clone()),
    );
    add(
        "late webhook without effect",
        Provider::Finvypay,
        completed(),
        Action::Webhook(json!({ "outcome": "pending" })),
    );
    add(
        "completion after the refund",
        Provider::Finvypay,
        vec![Before::Created, Before::Webhook(refund)],
        Action::Webhook(nothing.clone()),
    );
    let failed = json!({ "outcome": "failed", "extra": { "refundDate": "2026-01-02" }, "moves": false });
    add(
        "refund of a failed payment",
        Provider::Finvypay,
        vec![Before::Created],
        Action::Webhook(failed),
    );
    add(
        "undocumented status of a completed payment",
        Provider::Apolopay,
        completed(),
        Action::Webhook(json!({ "outcome": "settled", "moves": false })),
    );
    add("get", Provider::Apolopay, vec![Before::Created], Action::Get);
    add(
        "operator command complete",
        Provider::Apolopay,
        vec![Before::Created],
        Action::Complete,
    );
    let other_money = json!({ "amount": 1, "moves": false });
    add(
        "operator command close",
        Provider::Apolopay,
        vec![Before::Created, Before::Webhook(other_money)],
        Action::Close,
    );
    let unreadable = json!({ "body": UNREADABLE, "moves": false });
    add(
        "operator command replay, still unreadable",
        Provider::Finvypay,
        vec![Before::Created, Before::Webhook(unreadable)],
        Action::Replay,
    );
    add_many_unmatched(&mut add);
    flows.extend(with_quotes());
    flows.push(Flow {
        quote: Quote::One,
        ..Flow::new(
            "claim of a quoted payment",
            Provider::Finvypay,
            vec![Before::Created],
            Action::Webhook(json!({ "shape": "W1" })),
        )
    });
    flows
}

/// Flows whose commit finds more unmatched notifications than it can move.
fn add_many_unmatched(add: &mut impl FnMut(&str, Provider, Vec<Before>, Action)) {
    let many =
        |of_payment, of_transaction| vec![Before::HolderCrashed, Before::ManyWebhooks(of_payment, of_transaction)];
    add(
        "take over, many unmatched",
        Provider::Finvypay,
        many(MANY, 0),
        Action::Create,
    );
    add(
        "webhook with an id of many unmatched",
        Provider::Apolopay,
        many(MANY, 0),
        Action::Webhook(json!({})),
    );
    // There is room for one of the two groups.
    let both_ids = json!({ "extra": { "transactionId": "TRANSACTION" } });
    add(
        "webhook with two ids of many unmatched",
        Provider::Finvypay,
        many(SOME, SOME),
        Action::Webhook(both_ids),
    );
}

/// One quote begins one payment.
fn with_quotes() -> Vec<Flow> {
    let crashed = || vec![Before::HolderCrashed];
    [
        ("create with a quote", Provider::Apolopay, false, Quote::One, vec![]),
        (
            "create with a quote and a key",
            Provider::Finvypay,
            true,
            Quote::One,
            vec![],
        ),
        (
            "take over a crashed holder's quote, expired",
            Provider::Finvypay,
            false,
            Quote::OneExpiring,
            crashed(),
        ),
        (
            "take over a crashed holder's quote and key",
            Provider::Apolopay,
            true,
            Quote::One,
            crashed(),
        ),
        (
            "used quote with a new key",
            Provider::Finvypay,
            true,
            Quote::One,
            vec![Before::CreatedWithoutKey],
        ),
        (
            "known key with another quote",
            Provider::Apolopay,
            true,
            Quote::Other,
            vec![Before::Created],
        ),
    ]
    .into_iter()
    .map(|(name, provider, keyed, quote, before)| Flow {
        keyed,
        quote,
        // A replay has the status of the first response.
        ..Flow::new(name, provider, before, Action::Create)
    })
    .collect()
}
