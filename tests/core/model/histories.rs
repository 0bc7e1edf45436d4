//! Random histories of payments, compared with a simple model.
//!
//! A simulation of several payments makes create requests, delivers webhooks in every shape, loses responses, rejects
//! and throttles calls, crashes at any call, runs steps concurrently in any order, waits, and runs the reconciler. Then
//! it recovers as in production: unacknowledged webhooks are delivered again, every key is retried, and the reconciler
//! runs until every payment has ended. In every order, each payment must end as [`Model`] predicts.
//!
//! `HISTORIES` is the minimum number of histories, by default 500. `make histories` runs a million.

use payment_functions::platform::clock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use payment_functions::domain::attention::AttentionReason;
use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{OrderId, PaymentId};
use payment_functions::domain::idempotency::{Fingerprint, IdempotencyKey};
use payment_functions::domain::json::Json;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::status::Status;
use payment_functions::flows::create_payment::{self, IdempotentRequest};
use payment_functions::flows::quarantine::quarantine;
use payment_functions::flows::record_notification::record_notification;
use payment_functions::platform::failpoint::{ExternalCall, wrap};
use payment_functions::providers::{Notification, finvypay, webhooks};
use payment_functions::store::MAX_MOVED;
use payment_functions_tests::print_uncaptured;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use reconcile_payments::sweep::Sweep;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::*;
use crate::sweeps::FakeProvider;
use crate::{facts, is_in_ledger};

/// The number of payments in a simulation.
const PAYMENTS: usize = 12;
/// A simulation stops waiting after this time. The last wait may exceed it by 25 hours, so keys, which are kept for 48
/// hours, still exist during the recovery.
const MAX_SPAN: Duration = Duration::from_secs(20 * 60 * 60);
/// The waits in seconds before the reconciler's final runs, which cover the expiry of FinvyPay's and ApoloPay's
/// payments.
const FINAL_SWEEPS: [u64; 4] = [61, 46 * 60, 3 * 60 * 60, 25 * 60 * 60];
/// Real time limit of a reconciler's run. It must not be exceeded even if the machine is suspended for a while.
const SWEEP_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// A long run prints its progress after this number of histories.
const PROGRESS_INTERVAL: usize = 25_000;

/// The number of shapes of a webhook.
const SHAPES: usize = 6;
/// Bodies that nobody can read, each with another redacted content.
const UNREADABLE: [&str; 6] = [
    "",
    "[]",
    r#"{"result":{"id":"00000000-0000-4000-8000-000000000001","status":"completed","amount":25.5}}"#,
    r#"{"type":"payment.completed","amount":25.5,"currency":"USD"}"#,
    r#"{"event":"webhook.test"}"#,
    r#"{"id":"x","id":"y","paymentId":"x","paymentId":"y","status":"completed"}"#,
];

/// The provider's reply to a create call.
#[derive(Clone, Copy, Debug)]
enum Reply {
    Accepts,
    /// Creates a payment, but the response is lost.
    AcceptsButTimesOut,
    /// Creates no payment.
    Rejects,
    Throttles,
    /// Creates no payment, and sends an invalid response.
    RepliesNonsense,
}

#[derive(Clone, Debug)]
enum Step {
    Create {
        payment: usize,
        reply: Reply,
    },
    /// A webhook about any of the ids that the provider has created for the payment.
    Webhook {
        payment: usize,
        id: prop::sample::Index,
        outcome: Outcome,
        amount: Option<&'static str>,
        /// For FinvyPay; ApoloPay reports no currency.
        currency: Option<&'static str>,
        shape: usize,
        has_our_id: bool,
    },
    /// More webhooks with undocumented statuses under one of the payment's ids than one commit moves.
    Burst {
        payment: usize,
        id: prop::sample::Index,
    },
    /// A signed webhook that cannot be read.
    UnreadableWebhook {
        provider: Provider,
        body: usize,
    },
    /// A webhook about an unknown payment.
    UnknownWebhook {
        provider: Provider,
        shape: usize,
    },
    /// The status changes at FinvyPay, but its webhook is lost.
    LostWebhook {
        payment: usize,
        outcome: Outcome,
    },
    Sweep,
    Wait(u64),
}

#[derive(Clone, Debug)]
struct Round {
    /// Concurrent steps.
    steps: Vec<Step>,
    /// Whether one of them may crash.
    may_crash: bool,
    /// The seed for the order of their calls.
    seed: u64,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let outcome = facts::outcomes();
    let reply = prop::sample::select(vec![
        Reply::Accepts,
        Reply::Accepts,
        Reply::Accepts,
        Reply::Accepts,
        Reply::AcceptsButTimesOut,
        Reply::AcceptsButTimesOut,
        Reply::Rejects,
        Reply::Throttles,
        Reply::RepliesNonsense,
    ]);
    let amount = prop::sample::select(vec![Some("25.50"), Some("25.5"), Some("25.50"), Some("25.49"), None]);
    let currency = prop_oneof![
        9 => Just(Some("USD")),
        1 => prop::sample::select(vec![Some("usd"), Some("EUR"), Some("JPY"), Some("dollars"), None]),
    ];
    let payment = 0..PAYMENTS;
    let step = prop_oneof![
        6 => (payment.clone(), reply).prop_map(|(payment, reply)| Step::Create { payment, reply }),
        8 => (
            payment.clone(), any::<prop::sample::Index>(), outcome.clone(), amount, currency, 0..SHAPES, any::<bool>(),
        )
            .prop_map(|(payment, id, outcome, amount, currency, shape, has_our_id)| Step::Webhook {
                payment,
                id,
                outcome,
                amount,
                currency,
                shape,
                has_our_id,
            }),
        1 => (payment.clone(), any::<prop::sample::Index>()).prop_map(|(payment, id)| Step::Burst { payment, id }),
        1 => (prop::sample::select(Provider::ALL.to_vec()), 0..UNREADABLE.len())
            .prop_map(|(provider, body)| Step::UnreadableWebhook { provider, body }),
        1 => (prop::sample::select(Provider::ALL.to_vec()), 0..SHAPES)
            .prop_map(|(provider, shape)| Step::UnknownWebhook { provider, shape }),
        2 => (payment, outcome).prop_map(|(payment, outcome)| Step::LostWebhook { payment, outcome }),
        1 => Just(Step::Sweep),
        2 => prop::sample::select(vec![1, 31, 61, 400, 3000, 90_000]).prop_map(Step::Wait),
    ];
    let round = (
        prop::collection::vec(step, 1..4),
        prop::bool::weighted(0.3),
        any::<u64>(),
    )
        .prop_map(|(steps, may_crash, seed)| Round { steps, may_crash, seed });
    prop::collection::vec(round, 20..60)
}

/// The ids that the provider created for one attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ProviderIds {
    /// `processId` or `paymentId`.
    payment: String,
    /// `txn_id`.
    transaction: String,
}

/// The history of one payment, as the provider and the buyer know it.
struct History {
    provider: Provider,
    order: String,
    key: IdempotencyKey,
    /// Whether there was a request for it.
    is_requested: bool,
    /// Our id, once the provider or the buyer has received it.
    id: Option<PaymentId>,
    /// By attempt. FinvyPay returns the same payment for the same attempt.
    provider_ids: Vec<(u32, ProviderIds)>,
    /// The provider's ids that the buyer received in a response.
    returned_ids: BTreeSet<String>,
    /// The status at FinvyPay of the payment that the buyer received.
    provider_status: Status,
    /// Webhooks that were acknowledged, and those that were not.
    acknowledged: Vec<Notification>,
    unacknowledged: Vec<Notification>,
    calls_in_progress: usize,
    is_rejected: bool,
}

/// The model: the expected result of a history.
struct Model {
    status: Status,
    /// The number of facts that cannot be matched with the payment.
    unmatched: usize,
}

impl History {
    fn model(&self) -> Model {
        let own_status = if self.is_rejected {
            Status::Failed
        } else {
            Status::Expired
        };
        // Polling FinvyPay tells which payment an id belongs to. At ApoloPay an id is known only from a response or
        // from a webhook that also has our id.
        let is_known = |id: &Reference| {
            self.provider == Provider::FinvyPay
                || self.returned_ids.contains(id.as_str())
                || self
                    .acknowledged
                    .iter()
                    .any(|webhook| webhook.payment_id.is_some() && webhook.fact.references().any(|other| other == id))
        };
        let is_matched =
            |webhook: &&Notification| webhook.payment_id.is_some() || webhook.fact.references().any(is_known);
        let statuses = self
            .acknowledged
            .iter()
            .filter(is_matched)
            .filter_map(|webhook| facts::implied_status(&webhook.fact));
        Model {
            status: statuses.fold(own_status.join(self.provider_status), Status::join),
            unmatched: self
                .acknowledged
                .iter()
                .filter(|webhook| !is_matched(webhook))
                .map(|webhook| webhook.fact.digest())
                .collect::<BTreeSet<_>>()
                .len(),
        }
    }
}

struct Simulation {
    table: MemoryTable,
    store: Store,
    keys: SecretCache<ApiKey, StaticSecret>,
    histories: Vec<Mutex<History>>,
    unknown_webhooks: Mutex<Vec<Notification>>,
    /// Unreadable webhooks that were sent; all of them are acknowledged at the end.
    unreadable_webhooks: Mutex<BTreeSet<(&'static str, usize)>>,
    status_api: FakeProvider,
    /// The number of ids that the providers have created.
    id_count: AtomicUsize,
    clock_offset: Duration,
}

impl Simulation {
    fn new() -> Self {
        let table = MemoryTable::new().unwrap();
        let history = |index: usize| History {
            provider: Provider::ALL[index % 2],
            // Two orders have several payments.
            order: format!("o{}", if index % 2 == 1 { index % 6 } else { index }),
            key: IdempotencyKey::parse("create", format!("k{index}").as_bytes()).unwrap(),
            is_requested: false,
            id: None,
            provider_ids: Vec::new(),
            returned_ids: BTreeSet::new(),
            provider_status: Status::Creating,
            acknowledged: Vec::new(),
            unacknowledged: Vec::new(),
            calls_in_progress: 0,
            is_rejected: false,
        };
        Self {
            store: table.store(),
            table,
            keys: api_keys(),
            histories: (0..PAYMENTS).map(|index| Mutex::new(history(index))).collect(),
            unknown_webhooks: Mutex::default(),
            unreadable_webhooks: Mutex::default(),
            status_api: FakeProvider::default(),
            id_count: AtomicUsize::new(0),
            clock_offset: Duration::ZERO,
        }
    }

    fn history(&self, index: usize) -> std::sync::MutexGuard<'_, History> {
        self.histories[index].lock().unwrap()
    }

    /// Runs one flow without concurrency.
    async fn run_alone(&self, flow: impl Future<Output = ()>) {
        let mut scheduler = Exhaustive::default();
        run_interleaved(vec![task_later(self.clock_offset, flow)], &mut scheduler, 0).await;
    }

    async fn run(&mut self, rounds: &[Round]) {
        for round in rounds {
            for step in &round.steps {
                if let Step::Wait(seconds) = step
                    && self.clock_offset < MAX_SPAN
                {
                    self.clock_offset += Duration::from_secs(*seconds);
                }
            }
            let tasks = round
                .steps
                .iter()
                .map(|step| task_later(self.clock_offset, self.step(step)))
                .collect();
            let mut scheduler = Random(fastrand::Rng::with_seed(round.seed));
            run_interleaved(tasks, &mut scheduler, round.may_crash.into()).await;
        }
    }

    async fn step(&self, step: &Step) {
        match step {
            Step::Create { payment, reply } => self.create(*payment, *reply).await,
            Step::Webhook {
                payment,
                id,
                outcome,
                amount,
                currency,
                shape,
                has_our_id,
            } => {
                let webhook = {
                    let history = self.history(*payment);
                    if history.provider_ids.is_empty() {
                        return;
                    }
                    let (_, ids) = &history.provider_ids[id.index(history.provider_ids.len())];
                    let our_id = history.id.filter(|_| *has_our_id);
                    let money = (*amount, *currency);
                    webhook(history.provider, ids, *outcome, money, *shape, our_id, &history.order)
                };
                self.deliver(*payment, webhook).await;
            }
            Step::Burst { payment, id } => {
                let notification = {
                    let history = self.history(*payment);
                    if history.provider_ids.is_empty() {
                        return;
                    }
                    let (_, ids) = &history.provider_ids[id.index(history.provider_ids.len())];
                    let nothing = (None, None);
                    webhook(
                        history.provider,
                        ids,
                        Outcome::Unrecognised,
                        nothing,
                        2,
                        None,
                        &history.order,
                    )
                };
                for number in 0..=MAX_MOVED {
                    let fact = Fact {
                        raw_status: format!("NEW_{number}"),
                        ..notification.fact.clone()
                    };
                    self.deliver(*payment, Notification { payment_id: None, fact }).await;
                }
            }
            Step::UnreadableWebhook { provider, body } => {
                self.unreadable_webhooks
                    .lock()
                    .unwrap()
                    .insert((provider.name(), *body));
                self.deliver_unreadable(*provider, *body).await;
            }
            Step::UnknownWebhook { provider, shape } => {
                let ids = self.create_ids();
                let webhook = webhook(
                    *provider,
                    &ids,
                    Outcome::Completed,
                    (Some("25.50"), Some("USD")),
                    *shape,
                    None,
                    "unknown",
                );
                self.unknown_webhooks.lock().unwrap().push(webhook.clone());
                record_notification(&self.store, &webhook, clock::now()).await.unwrap();
            }
            Step::LostWebhook { payment, outcome } => self.lose_webhook(*payment, *outcome),
            Step::Sweep => {
                self.sweep().await;
            }
            Step::Wait(_) => {}
        }
    }

    /// Creates new ids at a provider.
    fn create_ids(&self) -> ProviderIds {
        let number = self.id_count.fetch_add(1, Ordering::Relaxed);
        ProviderIds {
            payment: format!("00000000-0000-4000-8000-{number:012}"),
            // Some are made of digits, and then a number in some webhooks.
            transaction: if number.is_multiple_of(3) {
                format!("{}", 26_030_000 + number)
            } else {
                format!("FP{number}")
            },
        }
    }

    async fn deliver_unreadable(&self, provider: Provider, body: usize) {
        let now = clock::now();
        let body = UNREADABLE[body].as_bytes();
        let reason = webhooks(provider).read(body, now).expect_err("nobody can read it");
        quarantine(&self.store, provider, body, None, reason, now)
            .await
            .unwrap();
    }

    async fn create(&self, index: usize, reply: Reply) {
        let (provider, order, key) = {
            let mut history = self.history(index);
            history.is_requested = true;
            (history.provider, history.order.clone(), history.key.clone())
        };
        let keyed = IdempotentRequest {
            key,
            fingerprint: Fingerprint::of(&Json::Null),
        };
        let intent = Payment {
            order_id: OrderId::parse(&order),
            ..Payment::new(
                PaymentId::random(),
                provider,
                Environment::Sandbox,
                Money::from_minor(2550, Currency::USD),
                clock::now(),
            )
        };
        let received_id = Mutex::new(None);
        let gateway = |id, _| SimulatedGateway {
            simulation: self,
            index,
            reply,
            id,
            received_id: &received_id,
        };
        match create_payment::create(&self.store, &self.keys, intent, Some(&keyed), None, gateway).await {
            Ok(creation) => {
                let mut history = self.history(index);
                assert_eq!(
                    *history.id.get_or_insert(creation.payment),
                    creation.payment,
                    "one payment per key"
                );
                let body: Value = serde_json::from_str(&creation.response.body).unwrap();
                let ids = ["processId", "paymentId"].map(|name| body[name].as_str().map(str::to_owned));
                history.returned_ids.extend(ids.into_iter().flatten());
                match creation.response.status {
                    201 => {}
                    422 => history.is_rejected = true,
                    other => panic!("{other}"),
                }
            }
            Err(problem) => {
                let response = problem.to_stored_response();
                assert!([409, 502, 503, 504].contains(&response.status), "{response:?}");
            }
        }
        // A holder that received an id and finished has attached it, even if it lost the key and its response is 409.
        let received_id = received_id.into_inner().unwrap();
        self.history(index).returned_ids.extend(received_id);
    }

    async fn deliver(&self, index: usize, webhook: Notification) {
        self.history(index).unacknowledged.push(webhook.clone());
        record_notification(&self.store, &webhook, clock::now()).await.unwrap();
        let mut history = self.history(index);
        history
            .unacknowledged
            .retain(|unacknowledged| *unacknowledged != webhook);
        history.acknowledged.push(webhook);
    }

    /// Raises the status at FinvyPay, which a later poll returns.
    fn lose_webhook(&self, index: usize, outcome: Outcome) {
        let mut history = self.history(index);
        if history.provider == Provider::FinvyPay
            && let Some(status) = outcome.implied_status()
            && !history.returned_ids.is_empty()
        {
            history.provider_status = history.provider_status.join(status);
        }
    }

    /// Updates the responses of FinvyPay's status API.
    fn update_status_api(&self) {
        let mut orders: BTreeMap<String, Vec<Notification>> = BTreeMap::new();
        for history in &self.histories {
            let history = history.lock().unwrap();
            if history.provider != Provider::FinvyPay {
                continue;
            }
            for (_, ids) in &history.provider_ids {
                // Only a payment whose ids the buyer received can have been paid.
                let is_received = history.returned_ids.contains(&ids.payment);
                let status = if is_received {
                    history.provider_status
                } else {
                    Status::Pending
                };
                let data = json!({
                    "transactionId": ids.transaction, "orderId": history.order, "status": finvypay_status(status),
                    "amount": 25.5, "currency": "USD", "metadata": { "paymentFunctionsId": history.id },
                });
                let read = |id: &str| {
                    let reply = reply(&json!({ "success": true, "data": data }));
                    finvypay::status::read_status(&reply, &Reference::parse(id).unwrap(), clock::now())
                        .unwrap()
                        .unwrap()
                };
                for id in [&ids.payment, &ids.transaction] {
                    self.status_api.set_status(id, read(id));
                }
                orders
                    .entry(history.order.clone())
                    .or_default()
                    .push(read(&ids.transaction));
            }
        }
        for (order, transactions) in orders {
            self.status_api.set_transactions(&order, transactions);
        }
    }

    async fn sweep(&self) {
        self.update_status_api();
        let sweep = Sweep::new(&self.store, self.status_api.clone(), clock::now());
        let (report, _) = sweep.run(SWEEP_LIMIT).await.unwrap();
        assert_eq!((report.failed, report.unfinished), (0, false), "{report:?}");
    }

    /// Recovers as in production, until every payment has ended.
    async fn recover(&mut self) {
        self.clock_offset += Duration::from_secs(61);
        for index in 0..PAYMENTS {
            let unacknowledged = std::mem::take(&mut self.history(index).unacknowledged);
            for webhook in unacknowledged {
                self.run_alone(self.deliver(index, webhook)).await;
            }
            if self.history(index).is_requested {
                self.run_alone(self.create(index, Reply::Accepts)).await;
            }
        }
        let unknown_webhooks = self.unknown_webhooks.lock().unwrap().clone();
        for webhook in &unknown_webhooks {
            self.run_alone(async {
                record_notification(&self.store, webhook, clock::now()).await.unwrap();
            })
            .await;
        }
        let unreadable_webhooks = self.unreadable_webhooks.lock().unwrap().clone();
        for (name, body) in unreadable_webhooks {
            let provider = Provider::ALL
                .into_iter()
                .find(|provider| provider.name() == name)
                .unwrap();
            self.run_alone(self.deliver_unreadable(provider, body)).await;
        }
        for seconds in FINAL_SWEEPS {
            self.clock_offset += Duration::from_secs(seconds);
            self.run_alone(self.sweep()).await;
        }
    }

    /// Compares every payment with the model, and returns the number of requested payments.
    async fn assert_as_modelled(&self) -> usize {
        let items = self.table.items().unwrap();
        let requested = self
            .histories
            .iter()
            .filter(|history| history.lock().unwrap().is_requested)
            .count();
        let states = items.iter().filter(|item| item["sk"]["S"] == "STATE").count();
        assert_eq!(states, requested, "one payment per key");
        let mut unmatched = self
            .unknown_webhooks
            .lock()
            .unwrap()
            .iter()
            .map(|webhook| webhook.fact.digest())
            .collect::<BTreeSet<_>>()
            .len();
        for history in &self.histories {
            let id = {
                let history = history.lock().unwrap();
                assert_eq!(history.id.is_some(), history.is_requested, "every key has a payment");
                let Some(id) = history.id else { continue };
                id
            };
            let payment = self.store.payment(id).await.unwrap().unwrap();
            let handed_out: Vec<Reference> = {
                let returned_ids = &history.lock().unwrap().returned_ids;
                returned_ids.iter().filter_map(|id| Reference::parse(id)).collect()
            };
            for reference in handed_out.iter().chain(&payment.references) {
                let owner = self.store.owner(payment.provider, reference).await.unwrap();
                assert_eq!(owner, Some(id), "owner of {reference:?}");
            }
            let history = history.lock().unwrap();
            let model = history.model();
            assert_eq!(payment.status, model.status, "{payment:?} {:?}", history.acknowledged);
            unmatched += model.unmatched;
            let is_fact = is_in_ledger(id);
            let (ledger, facts): (Vec<&str>, Vec<Fact>) = items
                .iter()
                .filter(|item| is_fact(item))
                .filter_map(|item| Some((item["sk"]["S"].as_str()?.strip_prefix("FACT#")?, fact_in(item))))
                .unzip();
            let missing = history
                .acknowledged
                .iter()
                .filter(|webhook| !ledger.contains(&webhook.fact.digest().as_str()));
            let missing = missing.map(|webhook| webhook.fact.digest()).collect::<BTreeSet<_>>();
            assert_eq!(
                missing.len(),
                model.unmatched,
                "acknowledged facts are in the ledger or unmatched"
            );
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
            let is_unclear = |fact: &Fact| match fact.outcome {
                Outcome::Unrecognised => true,
                Outcome::Contradictory => payment.provider == Provider::ApoloPay,
                _ => false,
            };
            assert_eq!(
                payment.attention.get(AttentionReason::UnrecognisedStatus).is_some(),
                facts.iter().any(is_unclear),
                "{payment:?} {facts:?}"
            );
        }
        let is_unmatched = |item: &&Value| {
            item["sk"]["S"]
                .as_str()
                .is_some_and(|sk| sk.starts_with("NOTIFICATION#"))
        };
        let stored: BTreeSet<(&str, String)> = items
            .iter()
            .filter(is_unmatched)
            .filter_map(|item| Some((item["pk"]["S"].as_str()?, fact_in(&item["fact"]["M"]).digest())))
            .collect();
        assert_eq!(stored.len(), unmatched, "only unmatched facts are kept");
        let in_quarantine = |item: &&Value| item["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with("QUARANTINE#"));
        assert_eq!(
            items.iter().filter(in_quarantine).count(),
            self.unreadable_webhooks.lock().unwrap().len(),
            "each unreadable webhook is in quarantine once"
        );
        requested
    }
}

/// Reads a fact from its attributes.
fn fact_in(item: &Value) -> Fact {
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

/// A call to the provider in progress.
struct CallInProgress<'a>(&'a Mutex<History>);

impl<'a> CallInProgress<'a> {
    fn start(history: &'a Mutex<History>) -> Self {
        let in_progress = {
            let mut locked = history.lock().unwrap();
            locked.calls_in_progress += 1;
            locked.calls_in_progress
        };
        let call = Self(history);
        assert_eq!(in_progress, 1, "one call at a time");
        call
    }
}

impl Drop for CallInProgress<'_> {
    fn drop(&mut self) {
        if let Ok(mut history) = self.0.lock() {
            history.calls_in_progress -= 1;
        }
    }
}

/// The provider for one call.
struct SimulatedGateway<'a> {
    simulation: &'a Simulation,
    index: usize,
    reply: Reply,
    id: PaymentId,
    /// The id that the caller has received.
    received_id: &'a Mutex<Option<String>>,
}

impl Gateway for SimulatedGateway<'_> {
    async fn create(&self, _payment: &Payment, attempt: u32) -> Result<Accepted, CallError> {
        let _call = CallInProgress::start(&self.simulation.histories[self.index]);
        // Other flows run meanwhile, and the caller may crash before it has the response.
        wrap(ExternalCall::CreateAtProvider, std::future::ready(())).await;
        let mut history = self.simulation.history(self.index);
        assert!(history.id.is_none_or(|id| id == self.id), "one payment per key");
        history.id = Some(self.id);
        match self.reply {
            Reply::Rejects => {
                return Err(CallError::Rejected {
                    code: None,
                    references: Vec::new(),
                });
            }
            Reply::Throttles => return Err(CallError::Throttled { retry_after: None }),
            Reply::RepliesNonsense => return Err(CallError::unusable("nonsense")),
            Reply::Accepts | Reply::AcceptsButTimesOut => {}
        }
        let known = history
            .provider_ids
            .iter()
            .find(|(of, _)| history.provider == Provider::FinvyPay && *of == attempt);
        let ids = known
            .map(|(_, ids)| ids.clone())
            .unwrap_or_else(|| self.simulation.create_ids());
        if !history.provider_ids.iter().any(|(_, known)| *known == ids) {
            history.provider_ids.push((attempt, ids.clone()));
        }
        if matches!(self.reply, Reply::AcceptsButTimesOut) {
            return Err(CallError::TimedOut);
        }
        *self.received_id.lock().unwrap() = Some(ids.payment.clone());
        Ok(Accepted {
            checkout_session: CheckoutSession {
                reference: Reference::parse(&ids.payment).unwrap(),
                redirect_url: None,
                expires_at: None,
            },
            references: Vec::new(),
        })
    }
}

/// A webhook in one of its provider's shapes, parsed as by the webhook-handler. What it means is decided here, by rules
/// of the test's own, and the product must read the same.
fn webhook(
    provider: Provider,
    ids: &ProviderIds,
    outcome: Outcome,
    (amount, currency): (Option<&str>, Option<&str>),
    shape: usize,
    our_id: Option<PaymentId>,
    order: &str,
) -> Notification {
    // ApoloPay reports only completions.
    let is_known = provider != Provider::ApoloPay || matches!(outcome, Outcome::Completed | Outcome::Contradictory);
    let reported = if is_known { outcome } else { Outcome::Unrecognised };
    let is_general = provider == Provider::FinvyPay && shape < 2 && our_id.is_none();
    let expected = Notification {
        payment_id: our_id,
        fact: Fact {
            payment: Reference::parse(&ids.payment).filter(|_| !is_general),
            transaction: Reference::parse(&ids.transaction).filter(|_| is_general),
            order_id: OrderId::parse(order).filter(|_| provider == Provider::FinvyPay),
            amount: amount.and_then(Decimal::parse),
            currency: currency
                .filter(|_| provider != Provider::ApoloPay)
                .map(str::to_uppercase),
            ..facts::fact(provider, reported)
        },
    };
    let status = match outcome {
        Outcome::Unrecognised => "settled",
        Outcome::Contradictory | Outcome::Reversed => "completed",
        Outcome::Cancelled if shape % 2 == 1 => "canceled",
        Outcome::Pending | Outcome::Authorized | Outcome::Cancelled | Outcome::Failed | Outcome::Completed => {
            outcome.name()
        }
    };
    let mut body = body(provider, ids, status, (amount, currency), shape, our_id, order);
    if outcome == Outcome::Contradictory {
        match shape % 3 {
            0 => body["success"] = json!(false),
            1 => body["error"] = json!({ "code": "DECLINED" }),
            _ => body["errors"] = json!(["declined"]),
        }
    }
    let byte_order_mark = if shape == 1 { "\u{feff}" } else { "" };
    let text = format!("{byte_order_mark}{body}");
    let read = webhooks(provider).read(text.as_bytes(), clock::now()).unwrap();
    let comparable = |notification: &Notification| Notification {
        fact: Fact {
            raw_status: String::new(),
            received_at: read.fact.received_at,
            ..notification.fact.clone()
        },
        ..notification.clone()
    };
    assert_eq!(comparable(&read), comparable(&expected), "{text}");
    read
}

fn body(
    provider: Provider,
    ids: &ProviderIds,
    status: &str,
    (amount, currency): (Option<&str>, Option<&str>),
    shape: usize,
    our_id: Option<PaymentId>,
    order: &str,
) -> Value {
    let amount: Value = amount.map_or(Value::Null, |amount| amount.into());
    let mut metadata = our_id.map_or_else(|| json!({}), |id| json!({ "paymentFunctionsId": id }));
    if shape == 3 {
        metadata = metadata.to_string().into();
    }
    let transaction = match ids.transaction.parse::<u32>() {
        Ok(number) if shape == 0 => json!(number),
        _ => json!(ids.transaction),
    };
    match (provider, shape) {
        (Provider::ApoloPay, 0 | 1) => {
            json!({ "id": ids.payment.to_uppercase(), "status": status, "amount": amount, "metadata": metadata })
        }
        (Provider::ApoloPay, _) => {
            let event = format!("payment.{status}");
            json!({ "processId": ids.payment, "event": event, "amount": amount, "metadata": metadata })
        }
        // FinvyPay's general webhook has no field for our id.
        (Provider::FinvyPay, 0 | 1) if our_id.is_none() => {
            let general = json!({ "success": true, "status": status.to_uppercase(), "data": {
                "amount": amount, "currency": currency, "order_id": order, "txn_id": transaction,
            } });
            if shape == 0 {
                general
            } else {
                json!({ "request": general })
            }
        }
        (Provider::FinvyPay, _) => json!({
            "event": format!("payment.{status}"), "status": status.to_uppercase(), "paymentId": ids.payment,
            "orderId": order, "amount": amount, "currency": currency, "metadata": metadata,
        }),
    }
}

/// FinvyPay's name of a status.
fn finvypay_status(status: Status) -> &'static str {
    match status {
        Status::Completed => "COMPLETED",
        Status::Failed => "FAILED",
        Status::Cancelled => "CANCELLED",
        Status::Authorized => "AUTHORIZED",
        Status::Creating | Status::Pending | Status::Expired | Status::Review => "PENDING",
    }
}

fn reply(body: &Value) -> payment_functions::providers::http_client::Reply {
    payment_functions::providers::http_client::Reply {
        status: reqwest::StatusCode::OK,
        body: Json::parse(body.to_string().as_bytes()).unwrap().as_object().cloned(),
    }
}

/// Runs the simulation with a seed, and returns the number of its requested payments.
fn run_simulation(runtime: &Runtime, seed: [u8; 32]) -> usize {
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let requested = AtomicUsize::new(0);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let ran = TestRunner::new_with_rng(config, rng).run(&rounds(), |rounds| {
        let count = runtime.block_on(async {
            let mut simulation = Simulation::new();
            simulation.run(&rounds).await;
            simulation.recover().await;
            simulation.assert_as_modelled().await
        });
        requested.store(count, Ordering::Relaxed);
        Ok(())
    });
    ran.unwrap_or_else(|failure| panic!("{failure}\nseed {}", hex::encode(seed)));
    requested.into_inner()
}

#[test]
fn random_histories_end_as_the_model_predicts() {
    let wanted: usize = std::env::var("HISTORIES").map_or(500, |number| number.parse().unwrap());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let start = std::time::Instant::now();
    let report = |count: usize| {
        print_uncaptured(&format!(
            "histories: {count} payment histories in {:.1?}",
            start.elapsed()
        ));
    };
    let finished = AtomicUsize::new(0);
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        while finished.load(Ordering::Relaxed) < wanted {
            let count = run_simulation(&runtime, std::array::from_fn(|_| fastrand::u8(..)));
            let before = finished.fetch_add(count, Ordering::Relaxed);
            if (before + count) / PROGRESS_INTERVAL > before / PROGRESS_INTERVAL {
                report(before + count);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    report(finished.into_inner());
}
