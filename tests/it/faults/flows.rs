//! The flows, as data: what has happened before, and what is done.

use super::*;

/// A flow of one function.
#[derive(Debug)]
pub struct Flow {
    pub name: String,
    pub provider: Provider,
    /// Whether the payment is created with an idempotency key.
    pub keyed: bool,
    pub before: Vec<Before>,
    pub act: Act,
    /// Whether the shop's quotes are asked for, and the one that comes has expired.
    pub quoted: bool,
    /// Whether the provider's secret is rotated when the function has fetched it: it has a secret of its own then.
    pub rotated: bool,
    /// Whether faults come at random, and so anywhere.
    pub at_random: bool,
    /// What it answers undisturbed; an operator is answered without a status.
    pub answer: u16,
}

/// What has happened before.
#[derive(Clone, Debug)]
pub enum Before {
    /// The payment was created.
    Created,
    /// Whoever created it died when the provider had answered, and the lease has run out.
    HolderDied,
    /// A webhook was taken in.
    Webhook(Value),
    /// The provider has this reply for the next that creates.
    Reply(Value),
    /// The provider has already sent its webhook, which does not name our payment, when it replies to the next that
    /// creates.
    WebhookBeforeReply,
}

/// What is done.
#[derive(Clone, Debug)]
pub enum Act {
    Create,
    /// What is not said comes from the order's newest payment at the provider.
    Webhook(Value),
    Get,
    /// An operator says that it was paid.
    Complete,
    /// An operator says that it was dealt with otherwise.
    Close,
}

impl Act {
    /// What an operator says, and the status after it.
    pub const fn word(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Complete => Some(("complete", "completed")),
            Self::Close => Some(("close", "review")),
            Self::Create | Self::Webhook(_) | Self::Get => None,
        }
    }
}

impl Flow {
    fn new(name: &str, provider: Provider, before: Vec<Before>, act: Act) -> Self {
        Self {
            name: format!("{name}, {}", aws::name(provider)),
            provider,
            keyed: true,
            quoted: false,
            rotated: false,
            at_random: false,
            answer: answer_to(&before, &act),
            before,
            act,
        }
    }

    /// A payment that faults strike at random.
    pub fn at_random(provider: Provider, keyed: bool) -> Self {
        Self {
            keyed,
            at_random: true,
            ..Self::new("at random", provider, vec![], Act::Create)
        }
    }

    pub fn function(&self) -> &'static str {
        match self.act {
            Act::Create => function(self.provider),
            Act::Webhook(_) => "webhook-handler",
            Act::Get => "get-payment",
            Act::Complete | Act::Close => "reconcile-payments",
        }
    }

    /// Whether what the provider replies at a step is part of the flow.
    pub fn has_reply(&self, step: &Step) -> bool {
        let is_reply = |before: &Before| matches!(before, Before::Reply(_) | Before::WebhookBeforeReply);
        // A key that is good no more is refused, whatever else was to be replied.
        self.before.iter().any(is_reply) || (self.rotated && step.nth == 1)
    }

    /// Whether somebody died over it before, who may have called the provider.
    pub fn has_dead_holder(&self) -> bool {
        let died = |before: &Before| matches!(before, Before::HolderDied);
        self.before.iter().any(died)
    }
}

fn answer_to(before: &[Before], act: &Act) -> u16 {
    let reply = before.iter().find_map(|before| match before {
        Before::Reply(reply) => reply["error"].as_str().or(Some("")),
        Before::Created | Before::HolderDied | Before::Webhook(_) | Before::WebhookBeforeReply => None,
    });
    match (act, reply) {
        (Act::Create, None) => 201,
        (Act::Create, Some("BAD_REQUEST" | "INVALID_REQUEST")) => 422,
        (Act::Create, Some(_)) => 502,
        (Act::Webhook(_) | Act::Get | Act::Complete | Act::Close, _) => 200,
    }
}

/// Every flow but the reconciler's runs.
pub fn all() -> Vec<Flow> {
    let nothing = json!({});
    let nameless = json!({ "omit": ["metadata"] });
    let mut flows = Vec::new();
    for provider in BOTH {
        flows.push(Flow {
            keyed: false,
            ..Flow::new("create without a key", provider, vec![], Act::Create)
        });
        let mut add = |name: &str, before: Vec<Before>, act: Act| flows.push(Flow::new(name, provider, before, act));
        let refused = match provider {
            Provider::Apolopay => "BAD_REQUEST",
            Provider::Finvypay => "INVALID_REQUEST",
        };
        add("create with a key", vec![], Act::Create);
        add("take a dead holder's key over", vec![Before::HolderDied], Act::Create);
        add(
            "take over a payment that was settled meanwhile",
            vec![Before::HolderDied, Before::Webhook(nothing.clone())],
            Act::Create,
        );
        add(
            "create what was paid before the reply",
            vec![Before::WebhookBeforeReply],
            Act::Create,
        );
        add(
            "create at a failing provider",
            vec![Before::Reply(json!({ "error": "INTERNAL_ERROR" }))],
            Act::Create,
        );
        add(
            "create what the provider refuses",
            vec![Before::Reply(json!({ "error": refused }))],
            Act::Create,
        );
        add(
            "webhook, as usual",
            vec![Before::Created],
            Act::Webhook(nothing.clone()),
        );
        add(
            "webhook, by the provider's id alone",
            vec![Before::Created],
            Act::Webhook(nameless.clone()),
        );
        add(
            "webhook, under an id not known yet",
            vec![Before::HolderDied],
            Act::Webhook(nothing.clone()),
        );
        add(
            "webhook, parked",
            vec![Before::HolderDied],
            Act::Webhook(nameless.clone()),
        );
        add(
            "webhook, other money",
            vec![Before::Created],
            Act::Webhook(json!({ "amount": 1, "moves": false })),
        );
    }
    flows.push(Flow {
        quoted: true,
        ..Flow::new(
            "go on with a quote that has expired",
            Provider::Finvypay,
            vec![Before::HolderDied],
            Act::Create,
        )
    });
    for (name, provider, before, act) in [
        (
            "create with a key that was rotated",
            Provider::Finvypay,
            vec![],
            Act::Create,
        ),
        (
            "webhook, signed with a secret that was rotated",
            Provider::Apolopay,
            vec![Before::Created],
            Act::Webhook(nothing.clone()),
        ),
    ] {
        flows.push(Flow {
            rotated: true,
            ..Flow::new(name, provider, before, act)
        });
    }
    let mut add = |name: &str, provider: Provider, before: Vec<Before>, act: Act| {
        flows.push(Flow::new(name, provider, before, act));
    };
    let completed = || vec![Before::Created, Before::Webhook(nothing.clone())];
    add(
        "create what comes back with other money",
        Provider::Finvypay,
        vec![Before::Reply(json!({ "fields": { "amount": 1 } }))],
        Act::Create,
    );
    add(
        "create with a key that is refused",
        Provider::Finvypay,
        vec![Before::Reply(json!({ "error": "UNAUTHORIZED" }))],
        Act::Create,
    );
    add(
        "webhook, by the order",
        Provider::Finvypay,
        vec![Before::Created],
        Act::Webhook(json!({ "shape": "W1" })),
    );
    add(
        "webhook, a duplicate",
        Provider::Apolopay,
        completed(),
        Act::Webhook(nothing.clone()),
    );
    add(
        "webhook, late and of no effect",
        Provider::Finvypay,
        completed(),
        Act::Webhook(json!({ "outcome": "pending" })),
    );
    add("get", Provider::Apolopay, vec![Before::Created], Act::Get);
    add(
        "completed by an operator",
        Provider::Apolopay,
        vec![Before::Created],
        Act::Complete,
    );
    let other_money = json!({ "amount": 1, "moves": false });
    add(
        "closed by an operator",
        Provider::Apolopay,
        vec![Before::Created, Before::Webhook(other_money)],
        Act::Close,
    );
    flows
}
