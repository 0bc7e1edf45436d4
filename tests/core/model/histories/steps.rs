//! The steps of a history, at random.

use super::*;

/// The provider's reply to a create call.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    Accepts,
    /// Creates a payment, but the response is lost.
    AcceptsButTimesOut,
    /// Creates no payment.
    Rejects,
    Throttles,
    /// Creates no payment, and sends an invalid response.
    RepliesNonsense,
}

/// The names of a request for a payment with a quote. Other payments have one key.
#[derive(Clone, Copy, Debug)]
pub enum Names {
    Quote,
    QuoteAndKey(usize),
    /// A key, with another quote that has expired. It begins nothing.
    KeyAndExpiredQuote(usize),
}

#[derive(Clone, Debug)]
pub enum Step {
    Create {
        payment: usize,
        reply: Reply,
        names: Names,
    },
    /// A webhook about any of the ids that the provider has created for the payment.
    Webhook {
        payment: usize,
        id: prop::sample::Index,
        content: Content,
    },
    /// The same, but an earlier version could not read it, and put it into quarantine.
    QuarantinedWebhook {
        payment: usize,
        id: prop::sample::Index,
        content: Content,
    },
    /// More webhooks with undocumented statuses under one of the payment's ids than one commit moves.
    Burst {
        payment: usize,
        id: prop::sample::Index,
    },
    /// A signed webhook about one of the payment's ids that cannot be read.
    UnreadableWebhook {
        payment: usize,
        id: prop::sample::Index,
        content: Content,
        defect: Defect,
    },
    /// A webhook about an unknown payment.
    UnknownWebhook {
        provider: Provider,
        shape: usize,
    },
    /// An operator replays a provider's quarantine.
    Replay(Provider),
    /// The status changes at FinvyPay, but its webhook is lost.
    LostWebhook {
        payment: usize,
        outcome: Outcome,
    },
    /// FinvyPay's answers about a payment say that money has moved, and contradict themselves.
    ContradictoryStatus {
        payment: usize,
        contradiction: ContradictoryStatus,
    },
    Sweep,
    Wait(u64),
    /// A general webhook about a transaction that no payment has, after one that says it is pending.
    Claim {
        claim: Claim,
        has_pending: bool,
    },
    /// FinvyPay repeats a claim.
    RepeatedClaim(prop::sample::Index),
}

#[derive(Clone, Debug)]
pub struct Round {
    /// Concurrent steps.
    pub steps: Vec<Step>,
    /// Whether one of them may crash.
    pub may_crash: bool,
    /// The seed for the order of their calls.
    pub seed: u64,
}

fn replies() -> impl Strategy<Value = Reply> {
    prop::sample::select(vec![
        Reply::Accepts,
        Reply::Accepts,
        Reply::Accepts,
        Reply::Accepts,
        Reply::AcceptsButTimesOut,
        Reply::AcceptsButTimesOut,
        Reply::Rejects,
        Reply::Throttles,
        Reply::RepliesNonsense,
    ])
}

fn names() -> impl Strategy<Value = Names> {
    prop::sample::select(vec![
        Names::Quote,
        Names::QuoteAndKey(0),
        Names::QuoteAndKey(1),
        Names::KeyAndExpiredQuote(0),
    ])
}

fn contents() -> impl Strategy<Value = Content> + Clone {
    let amount = prop::sample::select(vec![Some("25.50"), Some("25.5"), Some("25.50"), Some("25.49"), None]);
    let currency = prop_oneof![
        9 => Just(Some("USD")),
        1 => prop::sample::select(vec![Some("usd"), Some("EUR"), Some("JPY"), Some("dollars"), None]),
    ];
    let contradiction = prop::sample::select(Contradiction::ALL.to_vec());
    (
        facts::outcomes(),
        amount,
        currency,
        0..SHAPES,
        contradiction,
        any::<bool>(),
    )
        .prop_map(
            |(outcome, amount, currency, shape, contradiction, has_our_id)| Content {
                outcome,
                amount,
                currency,
                shape,
                contradiction,
                has_our_id,
            },
        )
}

fn contradictory_statuses() -> impl Strategy<Value = ContradictoryStatus> {
    let says = prop::sample::select(vec![Status::Completed, Status::Authorized]);
    let contradiction = prop::sample::select(Contradiction::ALL.to_vec());
    (says, contradiction, any::<bool>()).prop_map(|(says, contradiction, ends)| ContradictoryStatus {
        says,
        contradiction,
        ends,
    })
}

fn steps() -> impl Strategy<Value = Step> {
    let payment = 0..PAYMENTS;
    let of_payment = (payment.clone(), any::<prop::sample::Index>());
    let kept = prop::sample::select(Contradiction::KEPT.to_vec());
    let kept = (contents(), kept).prop_map(|(content, contradiction)| Content {
        contradiction,
        ..content
    });
    let defect = prop::sample::select(Defect::ALL.to_vec());
    let provider = prop::sample::select(Provider::ALL.to_vec());
    prop_oneof![
        6 => (payment.clone(), replies(), names())
            .prop_map(|(payment, reply, names)| Step::Create { payment, reply, names }),
        8 => (of_payment.clone(), contents())
            .prop_map(|((payment, id), content)| Step::Webhook { payment, id, content }),
        1 => (of_payment.clone(), kept)
            .prop_map(|((payment, id), content)| Step::QuarantinedWebhook { payment, id, content }),
        1 => of_payment.clone().prop_map(|(payment, id)| Step::Burst { payment, id }),
        1 => (of_payment, contents(), defect).prop_map(|((payment, id), content, defect)| {
            Step::UnreadableWebhook { payment, id, content, defect }
        }),
        1 => (provider.clone(), 0..SHAPES).prop_map(|(provider, shape)| Step::UnknownWebhook { provider, shape }),
        1 => provider.prop_map(Step::Replay),
        2 => (payment.clone(), facts::outcomes())
            .prop_map(|(payment, outcome)| Step::LostWebhook { payment, outcome }),
        1 => (payment, contradictory_statuses()).prop_map(|(payment, contradiction)| {
            Step::ContradictoryStatus { payment, contradiction }
        }),
        1 => Just(Step::Sweep),
        2 => prop::sample::select(vec![1, 31, 61, 400, 3000, 90_000]).prop_map(Step::Wait),
    ]
}

fn claims() -> impl Strategy<Value = Step> {
    let verdict = || prop::sample::select(Verdict::ALL.to_vec());
    let amount = prop::sample::select(vec!["25.50", "25.50", "25.50", "25.49"]);
    let claim = (
        0..PAYMENTS / 2,
        verdict(),
        verdict(),
        amount,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(nth, first, last, amount, is_listed, has_pending)| {
            // What it has confirmed stays so, and what it knows it does not forget.
            let stays = first.is_paid() || last == Verdict::Unknown;
            let claim = Claim {
                payment: 2 * nth + 1,
                transaction: String::new(),
                amount,
                webhooks: Vec::new(),
                is_delivered: false,
                verdicts: [first, if stays { first } else { last }],
                is_listed,
            };
            Step::Claim { claim, has_pending }
        });
    prop_oneof![
        4 => claim,
        1 => any::<prop::sample::Index>().prop_map(Step::RepeatedClaim),
        1 => Just(Step::Sweep),
    ]
}

pub fn rounds() -> impl Strategy<Value = Vec<Round>> {
    // Claims come in rounds of their own: no payment is being made then.
    let round = (
        prop_oneof![
            5 => prop::collection::vec(steps(), 1..4),
            1 => prop::collection::vec(claims(), 1..4),
        ],
        prop::bool::weighted(0.3),
        any::<u64>(),
    )
        .prop_map(|(steps, may_crash, seed)| Round { steps, may_crash, seed });
    prop::collection::vec(round, 20..60)
}
