//! The model: what a history must end in, and the comparison with the table.

use super::*;

/// The history of one payment, as the provider and the buyer know it.
#[derive(Clone)]
pub struct History {
    pub provider: Provider,
    pub order: String,
    /// Whether its requests have a quote.
    pub is_quoted: bool,
    /// Its keys. Without a quote, only the first one is used.
    pub keys: [IdempotencyKey; 2],
    /// The keys that came with its quote to a final response.
    pub bound: BTreeSet<usize>,
    /// Whether there was a request that may begin it.
    pub is_requested: bool,
    /// Our id, once the provider or the buyer has received it.
    pub id: Option<PaymentId>,
    /// By attempt. FinvyPay returns the same payment for the same attempt.
    pub provider_ids: Vec<(u32, ProviderIds)>,
    /// The provider's ids that the buyer received in a response.
    pub returned_ids: BTreeSet<String>,
    /// The status at FinvyPay of the payment that the buyer received.
    pub provider_status: Status,
    /// What FinvyPay answers instead.
    pub contradiction: Option<ContradictoryStatus>,
    /// Whether it has ever done so.
    pub has_contradicted: bool,
    /// Webhooks that were acknowledged, and those that were not.
    pub acknowledged: Vec<Notification>,
    pub unacknowledged: Vec<Notification>,
    /// Webhooks in quarantine that can be read, by what distinguishes them there. All are replayed at the end.
    pub quarantined: BTreeMap<String, Notification>,
    pub calls_in_progress: usize,
    pub is_rejected: bool,
}

/// What FinvyPay answers about a payment: that money has moved, beside something that contradicts it.
#[derive(Clone, Copy, Debug)]
pub struct ContradictoryStatus {
    pub says: Status,
    pub contradiction: Contradiction,
    /// Whether it answers properly before the final runs of the reconciler.
    pub ends: bool,
}

/// The model: the expected result of a history.
struct Model {
    status: Status,
    /// The facts that cannot be matched with the payment, by digest.
    unmatched: BTreeSet<String>,
}

impl History {
    /// A history of nothing yet.
    pub fn new(provider: Provider, order: String, is_quoted: bool, keys: [IdempotencyKey; 2]) -> Self {
        Self {
            provider,
            order,
            is_quoted,
            keys,
            bound: BTreeSet::new(),
            is_requested: false,
            id: None,
            provider_ids: Vec::new(),
            returned_ids: BTreeSet::new(),
            provider_status: Status::Creating,
            contradiction: None,
            has_contradicted: false,
            acknowledged: Vec::new(),
            unacknowledged: Vec::new(),
            quarantined: BTreeMap::new(),
            calls_in_progress: 0,
            is_rejected: false,
        }
    }

    /// The webhooks that are stored and can be read.
    pub fn webhooks(&self) -> impl Iterator<Item = &Notification> {
        self.acknowledged.iter().chain(self.quarantined.values())
    }

    /// What FinvyPay answers in the end to the status query for a payment's id. `None` if it does not know it.
    pub fn answer_to(&self, payment: &str) -> Option<Status> {
        let is_known = self.provider_ids.iter().any(|(_, ids)| ids.payment == payment);
        let is_received = self.returned_ids.contains(payment);
        let status = if is_received {
            self.provider_status
        } else {
            Status::Pending
        };
        is_known.then_some(status)
    }

    /// What FinvyPay answers in the end about a fact's id, if nothing contradicts that.
    pub fn answer(&self, fact: &Fact) -> Option<Status> {
        let is_it = |ids: &ProviderIds| {
            fact.references()
                .any(|id| [ids.payment.as_str(), ids.transaction.as_str()].contains(&id.as_str()))
        };
        let (_, ids) = self.provider_ids.iter().find(|(_, ids)| is_it(ids))?;
        self.answer_to(&ids.payment).filter(|_| self.contradiction.is_none())
    }

    /// Whether FinvyPay reports an id as paid in the end.
    pub fn is_paid(&self, id: &Reference) -> bool {
        self.provider_ids.iter().any(|(_, ids)| {
            let is_answered = self.contradiction.is_none() && self.answer_to(&ids.payment) == Some(Status::Completed);
            ids.transaction == id.as_str() && is_answered
        })
    }

    /// Whether the buyer got an id, or a webhook has it beside our id.
    pub fn is_named(&self, id: &Reference) -> bool {
        let mut named = self.webhooks().filter(|webhook| webhook.payment_id.is_some());
        self.returned_ids.contains(id.as_str())
            || named.any(|webhook| webhook.fact.references().any(|other| other == id))
    }

    /// The webhooks that name the payment, or that only an id decides about. FinvyPay's others have an order.
    fn decided(&self) -> impl Iterator<Item = &Notification> {
        self.webhooks()
            .filter(|webhook| self.provider == Provider::ApoloPay || webhook.payment_id.is_some())
    }

    /// `by_order`: what its ledger has of the notifications that may belong to it by their order.
    fn model(&self, by_order: &[Fact]) -> Model {
        let own_status = if self.is_rejected {
            Status::Failed
        } else {
            Status::Expired
        };
        // At ApoloPay an id is known only from a response or from a webhook that also has our id.
        let is_matched = |webhook: &&Notification| {
            webhook.payment_id.is_some()
                || webhook
                    .fact
                    .references()
                    .any(|id| self.is_named(id) || self.is_paid(id))
        };
        let decided = self.decided().filter(is_matched).map(|webhook| &webhook.fact);
        let statuses = decided.chain(by_order).filter_map(facts::implied_status);
        Model {
            status: statuses.fold(own_status.join(self.provider_status), Status::join),
            unmatched: self
                .decided()
                .filter(|webhook| !is_matched(webhook))
                .map(|webhook| webhook.fact.digest())
                .collect(),
        }
    }
}

impl Simulation {
    /// Compares every payment with the model, and returns the number of requested payments.
    pub async fn assert_as_modelled(&self) -> usize {
        let items = self.table.items().unwrap();
        let requested = self
            .histories
            .iter()
            .filter(|history| history.lock().unwrap().is_requested)
            .count();
        let states = items.iter().filter(|item| item["sk"]["S"] == "STATE").count();
        assert_eq!(states, requested, "one payment per key or quote");
        let mut unmatched = self
            .unknown_webhooks
            .lock()
            .unwrap()
            .iter()
            .map(|webhook| webhook.fact.digest())
            .collect::<BTreeSet<_>>()
            .len();
        let by_order = self.assert_fates(&items).await;
        unmatched += by_order.unmatched;
        for (index, history) in self.histories.iter().enumerate() {
            let id = {
                let history = history.lock().unwrap();
                assert_eq!(history.id.is_some(), history.is_requested, "every key has a payment");
                let Some(id) = history.id else { continue };
                id
            };
            let payment = self.store.payment(id).await.unwrap().unwrap();
            assert_deleted_as_one(&items, &payment);
            let handed_out: Vec<Reference> = {
                let returned_ids = &history.lock().unwrap().returned_ids;
                returned_ids.iter().filter_map(|id| Reference::parse(id)).collect()
            };
            for reference in handed_out.iter().chain(&payment.references) {
                let owner = self.store.owner(payment.provider, reference).await.unwrap();
                assert_eq!(owner, Some(id), "owner of {reference:?}");
            }
            let history = history.lock().unwrap();
            let none = Vec::new();
            let model = history.model(by_order.recorded.get(&index).unwrap_or(&none));
            assert_eq!(payment.status, model.status, "{payment:?} {:?}", history.acknowledged);
            unmatched += model.unmatched.len();
            let is_fact = is_in_ledger(id);
            let (ledger, facts): (Vec<&str>, Vec<Fact>) = items
                .iter()
                .filter(|item| is_fact(item))
                .filter_map(|item| Some((item["sk"]["S"].as_str()?.strip_prefix("FACT#")?, fact_in(item))))
                .unzip();
            let digests = history.decided().map(|webhook| webhook.fact.digest());
            let missing: BTreeSet<String> = digests.filter(|digest| !ledger.contains(&digest.as_str())).collect();
            assert_eq!(missing, model.unmatched, "stored facts are in the ledger or unmatched");
            assert_eq!(
                payment.attention.get(AttentionReason::DuplicatePayment).is_some(),
                was_captured_twice(&facts),
                "{payment:?} {facts:?}"
            );
            let is_other_money = |fact: &Fact| facts::implied_status(fact) == Some(Status::Review);
            let other_money = facts.iter().filter(|fact| is_other_money(fact)).count();
            assert_eq!(
                payment.mismatches,
                u64::try_from(other_money).unwrap(),
                "{payment:?} {facts:?}"
            );
            assert_eq!(
                payment.attention.get(AttentionReason::AmountMismatch).is_some(),
                payment.status == Status::Completed && other_money > 0,
                "{payment:?} {facts:?}"
            );
            assert_eq!(
                payment.attention.get(AttentionReason::Refunded).is_some(),
                facts.iter().any(|fact| fact.outcome == Outcome::Reversed),
                "{payment:?} {facts:?}"
            );
            let is_unconfirmed = payment.attention.get(AttentionReason::UnconfirmedMatch).is_some();
            assert!(is_unconfirmed || !by_order.open_for.contains(&index), "{payment:?}");
            assert!(
                !is_unconfirmed || by_order.may_be_open_for.contains(&index),
                "{payment:?}"
            );
            assert_eq!(
                payment.attention.get(AttentionReason::StillAuthorized).is_some(),
                payment.status == Status::Authorized,
                "{payment:?}"
            );
            let is_silent = payment.attention.get(AttentionReason::ProviderSilent).is_some();
            match payment.status {
                // It is polled once a message contradicts it, and no more if FinvyPay contradicts itself then.
                Status::Completed => assert!(!is_silent || history.has_contradicted, "{payment:?}"),
                Status::Review => assert!(!is_silent, "{payment:?}"),
                Status::Creating
                | Status::Pending
                | Status::Expired
                | Status::Authorized
                | Status::Cancelled
                | Status::Failed => assert_eq!(
                    is_silent,
                    history.provider == Provider::FinvyPay
                        && history.contradiction.is_some()
                        && !history.provider_ids.is_empty(),
                    "{payment:?} {facts:?}"
                ),
            }
            let is_unclear = |fact: &Fact| {
                fact.outcome == Outcome::Unrecognised
                    || fact.outcome == Outcome::Contradictory && payment.provider == Provider::ApoloPay
            };
            assert_eq!(
                payment.attention.get(AttentionReason::UnrecognisedStatus).is_some(),
                facts.iter().any(is_unclear),
                "{payment:?} {facts:?}"
            );
        }
        let stored = unmatched_in(&items);
        assert_eq!(stored.len(), unmatched, "only unmatched facts are kept");
        self.assert_quarantine(&items);
        requested
    }

    /// Each webhook that was sent is in quarantine once, with the mark of its last replay.
    fn assert_quarantine(&self, items: &[Value]) {
        let mut counts = (0, 0);
        for item in items {
            if item["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with("QUARANTINE#")) {
                match item["replay"]["M"]["result"]["S"].as_str() {
                    Some("unreadable") => counts.0 += 1,
                    Some("duplicate" | "unmatched") => counts.1 += 1,
                    other => panic!("replayed twice: {other:?} {item}"),
                }
            }
        }
        let totals = Provider::ALL.map(|provider| self.quarantined(provider));
        let expected = totals.iter().fold((0, 0), |(unreadable, readable), more| {
            (unreadable + more.0, readable + more.1)
        });
        assert_eq!(counts, expected, "each is in quarantine once");
    }

    /// The number of a provider's webhooks in quarantine: those that nobody can read, and those that can be read.
    pub fn quarantined(&self, provider: Provider) -> (usize, usize) {
        let unreadable = self.unreadable_webhooks.lock().unwrap();
        let histories = self.histories.iter().map(|history| history.lock().unwrap());
        let readable = histories.filter(|history| history.provider == provider);
        (
            unreadable.keys().filter(|(name, _)| *name == provider.name()).count(),
            readable.map(|history| history.quarantined.len()).sum(),
        )
    }
}

/// The unmatched notifications: where they are stored, and their digests.
pub fn unmatched_in(items: &[Value]) -> BTreeSet<(&str, String)> {
    let is_unmatched = |item: &&Value| {
        let sk = item["sk"]["S"].as_str();
        sk.is_some_and(|sk| sk.starts_with("NOTIFICATION#"))
    };
    let unmatched = items.iter().filter(is_unmatched);
    unmatched
        .filter_map(|item| Some((item["pk"]["S"].as_str()?, fact_in(&item["fact"]["M"]).digest())))
        .collect()
}

/// Reads a fact from its attributes.
pub fn fact_in(item: &Value) -> Fact {
    let text = |name: &str| Some(item[name]["S"].as_str()?.to_owned());
    let reference = |name: &str| Reference::parse(&text(name)?);
    Fact {
        payment: reference("payment"),
        transaction: reference("transaction"),
        order_id: text("orderId").and_then(|text| OrderId::parse(&text)),
        raw_status: text("rawStatus").unwrap(),
        amount: text("amount").and_then(|text| Decimal::parse(&text)),
        currency: text("currency"),
        ..facts::fact(
            serde_json::from_value(item["provider"]["S"].clone()).unwrap(),
            serde_json::from_value(item["outcome"]["S"].clone()).unwrap(),
        )
    }
}

/// Whether a payment was captured under two ids of the same kind.
fn was_captured_twice(facts: &[Fact]) -> bool {
    let under = |id: fn(&Fact) -> &Option<Reference>| {
        let paid = facts
            .iter()
            .filter(|fact| facts::implied_status(fact) == Some(Status::Completed));
        paid.filter_map(|fact| id(fact).as_ref()).collect::<BTreeSet<_>>().len()
    };
    under(|fact| &fact.payment) > 1 || under(|fact| &fact.transaction) > 1
}

/// Only an unpaid payment is to be deleted, together with what points to it.
fn assert_deleted_as_one(items: &[Value], payment: &Payment) {
    let ttl = payment.delete_at.map(|at| at.as_seconds().to_string());
    let is_unpaid = matches!(payment.status, Status::Expired | Status::Cancelled | Status::Failed);
    assert!(is_unpaid || ttl.is_none(), "{payment:?}");
    let id = payment.id.to_string();
    let points_here = |item: &&Value| {
        let pk = item["pk"]["S"].as_str().unwrap();
        item["paymentId"]["S"] == *id && (pk.starts_with("REF#") || pk.starts_with("ORDER#"))
    };
    for item in items.iter().filter(points_here) {
        assert_eq!(item["ttl"]["N"].as_str(), ttl.as_deref(), "{item} of {payment:?}");
    }
}
