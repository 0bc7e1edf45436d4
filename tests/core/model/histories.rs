//! Random histories of payments, compared with a simple model.
//!
//! A simulation of several payments makes create requests, delivers webhooks in every shape, readable or not, loses
//! responses, rejects and throttles calls, contradicts itself, crashes at any call, runs steps concurrently in any
//! order, waits, replays the quarantine, and runs the reconciler. Then it recovers as in production: unacknowledged
//! webhooks are delivered again, every key is retried, the quarantine is replayed, and the reconciler runs until every
//! payment has ended. In every order, each payment must end as the model in [`expected`] predicts.
//!
//! `HISTORIES` is the minimum number of histories, by default 500. `make histories` runs a million. `HISTORY_SEED` runs
//! the one with this seed again.

mod claims;
mod expected;
mod fates;
mod messages;
mod provider;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use payment_functions::api::problem::Code;
use payment_functions::domain::attention::AttentionReason;
use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Fact, Outcome, Reversal, ReversalKind};
use payment_functions::domain::id::{OrderId, PaymentId};
use payment_functions::domain::idempotency::{Fingerprint, IdempotencyKey};
use payment_functions::domain::json::Json;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::status::Status;
use payment_functions::flows::create_payment::{self, IdempotentRequest, QuoteCheck};
use payment_functions::flows::quarantine::{quarantine, redacted_webhook};
use payment_functions::flows::quote::Quotes;
use payment_functions::flows::record_notification::record_notification;
use payment_functions::platform::clock;
use payment_functions::platform::failpoint::{ExternalCall, wrap};
use payment_functions::providers::{Notification, UnreadableWebhook, finvypay, webhooks};
use payment_functions::store::MAX_MOVED;
use payment_functions_tests::print_uncaptured;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use reconcile_payments::replay::{ReplayCommand, ReplayReport, replay};
use reconcile_payments::sweep::Sweep;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use self::claims::{Claim, Verdict};
use self::expected::{ContradictoryStatus, History, fact_in, unmatched_in};
use self::messages::{Content, Contradiction, Defect, ProviderIds, SHAPES, StatusAnswer, Webhook, read_list};
use self::provider::SimulatedGateway;
use self::steps::{Names, Reply, Round, Step, rounds};
use super::*;
use crate::sweeps::{FakeList, FakeProvider};
use crate::{facts, is_in_ledger};
use payment_functions::providers::finvypay::list::ListRow;

/// The number of payments in a simulation.
const PAYMENTS: usize = 12;
/// A simulation stops waiting after this time. The last wait may exceed it by 25 hours, so keys, which are kept for 48
/// hours, still exist during the recovery.
const MAX_SPAN: Duration = Duration::from_secs(20 * 60 * 60);
/// The waits in seconds before the reconciler's final runs, which cover the expiry of FinvyPay's and ApoloPay's
/// payments, the last checks of claims, and the end of the schedules. The last run checks what the list brought in the one
/// before.
const FINAL_SWEEPS: [u64; 8] = [
    61,
    46 * 60,
    3 * 60 * 60,
    25 * 60 * 60,
    25 * 60 * 60,
    25 * 60 * 60,
    31 * 24 * 60 * 60,
    61,
];
/// Real time limit of a reconciler's run. It must not be exceeded even if the machine is suspended for a while.
const SWEEP_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// A long run prints its progress after this number of histories.
const PROGRESS_INTERVAL: usize = 25_000;

struct Simulation {
    table: MemoryTable,
    store: Store,
    keys: SecretCache<ApiKey, StaticSecret>,
    quotes: Quotes<StaticSecret>,
    start: Timestamp,
    histories: Vec<Mutex<History>>,
    unknown_webhooks: Mutex<Vec<Notification>>,
    /// Unreadable webhooks that were sent, by provider and what distinguishes them in quarantine. All of them are
    /// acknowledged at the end.
    unreadable_webhooks: Mutex<BTreeMap<(&'static str, String), String>>,
    status_api: FakeProvider,
    /// The number of ids that the providers have created.
    id_count: AtomicUsize,
    clock_offset: Duration,
    claims: Mutex<Vec<Claim>>,
    matching: OrderMatching,
    /// Whether FinvyPay's list of all transactions can be read.
    has_list: bool,
    /// Whether FinvyPay gives its final answers.
    is_recovering: bool,
}

impl Simulation {
    fn new(trusts_orders: bool, has_list: bool) -> Self {
        let table = MemoryTable::new().unwrap();
        let history = |index: usize| {
            let provider = Provider::ALL[index % 2];
            // Two orders have two payments: both without a quote, and only the second with one.
            let order = match index {
                7 => "o1".to_owned(),
                9 => "o5".to_owned(),
                _ => format!("o{index}"),
            };
            let keys =
                ["a", "b"].map(|nth| IdempotencyKey::parse("create", format!("k{index}{nth}").as_bytes()).unwrap());
            History::new(provider, order, index.is_multiple_of(3), keys)
        };
        Self {
            store: table.store(),
            table,
            keys: api_keys(),
            quotes: Quotes::new(StaticSecret),
            start: clock::now(),
            histories: (0..PAYMENTS).map(|index| Mutex::new(history(index))).collect(),
            unknown_webhooks: Mutex::default(),
            unreadable_webhooks: Mutex::default(),
            status_api: FakeProvider::default(),
            has_list,
            id_count: AtomicUsize::new(0),
            clock_offset: Duration::ZERO,
            claims: Mutex::default(),
            matching: OrderMatching {
                trusts_orders,
                ..OrderMatching::default()
            },
            is_recovering: false,
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
            Step::Create { payment, reply, names } => self.create(*payment, *reply, *names).await,
            Step::Webhook { payment, id, content } => {
                if let Some(webhook) = self.about(*payment, *id, content, |webhook| webhook.read()) {
                    self.deliver(*payment, webhook).await;
                }
            }
            Step::QuarantinedWebhook { payment, id, content } => {
                let webhook = |webhook: &Webhook<'_>| (webhook.text(), webhook.redacted(), webhook.read());
                if let Some((text, redacted, read)) = self.about(*payment, *id, content, webhook) {
                    self.quarantine_readable(*payment, &text, redacted.to_string(), read)
                        .await;
                }
            }
            Step::Burst { payment, id } => self.burst(*payment, *id).await,
            Step::UnreadableWebhook {
                payment,
                id,
                content,
                defect,
            } => {
                let content = Content {
                    has_our_id: false,
                    // A reversal is a word too, so it could be read without any other.
                    outcome: Some(content.outcome)
                        .filter(|outcome| *outcome != Outcome::Reversed)
                        .unwrap_or(Outcome::Completed),
                    ..content.clone()
                };
                let unreadable = self.about(*payment, *id, &content, |webhook| defect.apply(webhook));
                if let Some((text, distinction)) = unreadable {
                    let provider = self.history(*payment).provider;
                    let sent = (provider.name(), distinction);
                    self.unreadable_webhooks.lock().unwrap().insert(sent, text.clone());
                    self.deliver_unreadable(provider, &text).await;
                }
            }
            Step::UnknownWebhook { provider, shape } => {
                let webhook = Webhook {
                    provider: *provider,
                    ids: &self.create_ids(),
                    order: "unknown",
                    our_id: None,
                    content: &Content::completion(*shape),
                };
                let webhook = webhook.read();
                self.unknown_webhooks.lock().unwrap().push(webhook.clone());
                record_notification(&self.store, &webhook, self.matching, clock::now())
                    .await
                    .unwrap();
            }
            Step::Replay(provider) => {
                self.replay(*provider).await;
            }
            Step::LostWebhook { payment, outcome } => self.lose_webhook(*payment, *outcome),
            Step::ContradictoryStatus { payment, contradiction } => self.contradict(*payment, *contradiction),
            Step::Sweep => {
                self.sweep().await;
            }
            Step::Claim { claim, has_pending } => self.claim(claim.clone(), *has_pending).await,
            Step::RepeatedClaim(nth) => {
                let count = self.claims.lock().unwrap().len();
                if count > 0 {
                    self.deliver_claim(nth.index(count)).await;
                }
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
            created_at: clock::now(),
        }
    }

    /// A webhook about one of a payment's ids; `None` if the provider has created none.
    fn about<T>(
        &self,
        index: usize,
        id: prop::sample::Index,
        content: &Content,
        make: impl FnOnce(&Webhook<'_>) -> T,
    ) -> Option<T> {
        let history = self.history(index);
        if history.provider_ids.is_empty() {
            return None;
        }
        let (_, ids) = &history.provider_ids[id.index(history.provider_ids.len())];
        Some(make(&Webhook {
            provider: history.provider,
            ids,
            order: &history.order,
            our_id: history.id.filter(|_| content.has_our_id),
            content,
        }))
    }

    async fn burst(&self, index: usize, id: prop::sample::Index) {
        let content = Content {
            outcome: Outcome::Unrecognised,
            amount: None,
            currency: None,
            ..Content::completion(2)
        };
        let Some(notification) = self.about(index, id, &content, |webhook| webhook.read()) else {
            return;
        };
        for number in 0..=MAX_MOVED {
            let fact = Fact {
                raw_status: format!("NEW_{number}"),
                ..notification.fact.clone()
            };
            self.deliver(index, Notification { payment_id: None, fact }).await;
        }
    }

    async fn deliver_unreadable(&self, provider: Provider, body: &str) {
        let (now, body) = (clock::now(), body.as_bytes());
        let reason = webhooks(provider).read(body, now).expect_err("nobody can read it");
        quarantine(&self.store, provider, body, None, reason, now)
            .await
            .unwrap();
    }

    /// Puts a readable webhook into quarantine.
    async fn quarantine_readable(&self, index: usize, text: &str, distinction: String, read: Notification) {
        let provider = self.history(index).provider;
        let (now, reason) = (clock::now(), UnreadableWebhook::NoPayment);
        let webhook = redacted_webhook(provider, text.as_bytes(), None, reason, now);
        self.store.quarantine(&webhook, now).await.unwrap();
        self.history(index).quarantined.insert(distinction, read);
    }

    async fn replay(&self, provider: Provider) -> ReplayReport {
        let command = ReplayCommand {
            provider,
            digest: None,
            after: None,
            actor: "on call".to_owned(),
            reason: "a new version".to_owned(),
        };
        let end = Instant::now() + SWEEP_LIMIT;
        replay(&self.store, &command, self.matching, clock::now(), end)
            .await
            .unwrap()
    }

    /// Replays everything. What is unreadable stays so, and what can be read is recorded or unmatched.
    async fn replay_all(&self) {
        for provider in Provider::ALL {
            let report = self.replay(provider).await;
            let readable = report.recorded + report.duplicate + report.unmatched;
            let counts = [report.unreadable, readable].map(|count| usize::try_from(count).unwrap());
            assert_eq!(counts, <[usize; 2]>::from(self.quarantined(provider)), "{report:?}");
            assert_eq!((report.truncated, report.next), (0, None));
        }
    }

    async fn create(&self, index: usize, reply: Reply, names: Names) {
        let (provider, order, keys, is_quoted) = {
            let mut history = self.history(index);
            let is_expired = matches!(names, Names::KeyAndExpiredQuote(_));
            history.is_requested |= !(history.is_quoted && is_expired);
            let history = &*history;
            (
                history.provider,
                history.order.clone(),
                history.keys.clone(),
                history.is_quoted,
            )
        };
        // A quote of ten days, or of 1970.
        let ten_days = self.start.plus(Duration::from_secs(10 * 24 * 60 * 60));
        let (jti, nth, expires_at) = match names {
            _ if !is_quoted => (None, Some(0), ten_days),
            Names::Quote => (Some("one"), None, ten_days),
            Names::QuoteAndKey(nth) => (Some("one"), Some(nth), ten_days),
            Names::KeyAndExpiredQuote(nth) => (Some("other"), Some(nth), Timestamp::from_millis(0)),
        };
        let token = jti.map(|jti| quotes::token(&format!("{jti}{index}"), &order, expires_at));
        let quote = token.as_ref().map(|token| QuoteCheck {
            quotes: &self.quotes,
            token: Some(token),
        });
        let keyed = nth.map(|nth| IdempotentRequest {
            key: keys[nth].clone(),
            fingerprint: Fingerprint::of(&Json::Null),
        });
        let is_bound = nth.is_some_and(|nth| self.history(index).bound.contains(&nth));
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
        let gateway = |payment: &Payment, _| SimulatedGateway {
            simulation: self,
            index,
            reply,
            id: payment.id,
            received_id: &received_id,
        };
        match create_payment::create(&self.store, &self.keys, intent, keyed.as_ref(), quote, gateway).await {
            Ok(creation) => {
                let mut history = self.history(index);
                assert!(history.is_requested, "an expired quote begins nothing");
                history.bound.extend(nth);
                assert_eq!(
                    *history.id.get_or_insert(creation.payment),
                    creation.payment,
                    "one payment per key and quote"
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
                let is_expired = problem.code() == Code::QuoteInvalid;
                if is_expired {
                    assert!(matches!(names, Names::KeyAndExpiredQuote(_)) && !is_bound, "{names:?}");
                }
                assert!(
                    is_expired || [409, 502, 503, 504].contains(&response.status),
                    "{response:?}"
                );
            }
        }
        // A holder that received an id and finished has attached it, even if it lost the key and its response is 409.
        let received_id = received_id.into_inner().unwrap();
        self.history(index).returned_ids.extend(received_id);
    }

    async fn deliver(&self, index: usize, webhook: Notification) {
        self.history(index).unacknowledged.push(webhook.clone());
        record_notification(&self.store, &webhook, self.matching, clock::now())
            .await
            .unwrap();
        let mut history = self.history(index);
        history
            .unacknowledged
            .retain(|unacknowledged| *unacknowledged != webhook);
        history.acknowledged.push(webhook);
    }

    /// Raises the status at FinvyPay, which a later poll returns.
    fn lose_webhook(&self, index: usize, outcome: Outcome) {
        let mut history = self.history(index);
        let is_answered = history.contradiction.is_none_or(|contradiction| contradiction.ends);
        if history.provider == Provider::FinvyPay
            && is_answered
            && let Some(status) = outcome.implied_status()
            && !history.returned_ids.is_empty()
        {
            history.provider_status = history.provider_status.join(status);
        }
    }

    /// FinvyPay contradicts itself from now on. If that never ends, nothing else was ever to be learnt by polling.
    fn contradict(&self, index: usize, contradiction: ContradictoryStatus) {
        let mut history = self.history(index);
        if history.contradiction.is_none() && (contradiction.ends || history.provider_status == Status::Creating) {
            history.contradiction = Some(contradiction);
            history.has_contradicted = true;
        }
    }

    /// Updates the responses of FinvyPay's status API.
    fn update_status_api(&self) {
        let histories: Vec<_> = self.histories.iter().map(|history| history.lock().unwrap()).collect();
        let mut orders: BTreeMap<&str, Vec<StatusAnswer<'_>>> = BTreeMap::new();
        for history in histories
            .iter()
            .filter(|history| history.provider == Provider::FinvyPay)
        {
            for (_, ids) in &history.provider_ids {
                // Only a payment whose ids the buyer received can have been paid.
                let is_received = history.returned_ids.contains(&ids.payment);
                let status = match history.contradiction {
                    Some(contradiction) => contradiction.says,
                    None if is_received => history.provider_status,
                    None => Status::Pending,
                };
                let answer = StatusAnswer {
                    ids,
                    order: &history.order,
                    our_id: history.id,
                    status,
                    contradiction: history.contradiction.map(|contradiction| contradiction.contradiction),
                };
                for id in [&ids.payment, &ids.transaction] {
                    self.status_api.set_status(id, answer.read(id));
                }
                orders.entry(&history.order).or_default().push(answer);
            }
        }
        let mut lists: BTreeMap<String, Vec<(Timestamp, Notification)>> = orders
            .into_iter()
            .map(|(order, answers)| (order.to_owned(), read_list(order, &answers)))
            .collect();
        drop(histories);
        for (order, row) in self.answer_claims() {
            lists.entry(order).or_default().push(row);
        }
        let mut list = FakeList::default();
        list.is_missing = !self.has_list;
        for (order, rows) in lists {
            let row = |(created_at, row): &(Timestamp, Notification)| {
                let status = Some(row.fact.raw_status.clone());
                let row = ListRow {
                    notification: row.clone(),
                    status,
                };
                (*created_at, row)
            };
            list.rows.extend(rows.iter().map(row));
            let rows = rows.into_iter().map(|(_, row)| row);
            self.status_api.set_transactions(&order, rows.collect());
        }
        self.status_api.set_list(list);
    }

    async fn sweep(&self) {
        self.update_status_api();
        let sweep = Sweep::new(&self.store, self.status_api.clone(), clock::now()).matching_orders(self.matching);
        let report = sweep.run(SWEEP_LIMIT).await.unwrap();
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
            let (is_requested, is_quoted) = {
                let history = self.history(index);
                (history.is_requested, history.is_quoted)
            };
            // The other key is bound by now, or here. Then it gets the response with any quote.
            let names = [
                Names::QuoteAndKey(0),
                Names::Quote,
                Names::QuoteAndKey(1),
                Names::KeyAndExpiredQuote(1),
            ];
            for names in names.into_iter().take(if is_quoted { 4 } else { 1 }) {
                if is_requested {
                    self.run_alone(self.create(index, Reply::Accepts, names)).await;
                }
            }
        }
        let unknown_webhooks = self.unknown_webhooks.lock().unwrap().clone();
        for webhook in &unknown_webhooks {
            self.run_alone(async {
                record_notification(&self.store, webhook, self.matching, clock::now())
                    .await
                    .unwrap();
            })
            .await;
        }
        let unreadable_webhooks = self.unreadable_webhooks.lock().unwrap().clone();
        for ((name, _), body) in unreadable_webhooks {
            let mut providers = Provider::ALL.into_iter();
            let provider = providers.find(|provider| provider.name() == name).unwrap();
            self.run_alone(self.deliver_unreadable(provider, &body)).await;
        }
        let claims = self.claims.lock().unwrap().len();
        for nth in 0..claims {
            self.run_alone(self.deliver_claim(nth)).await;
        }
        self.run_alone(self.replay_all()).await;
        self.is_recovering = true;
        for history in &self.histories {
            history
                .lock()
                .unwrap()
                .contradiction
                .take_if(|contradiction| contradiction.ends);
        }
        for seconds in FINAL_SWEEPS {
            self.clock_offset += Duration::from_secs(seconds);
            self.run_alone(self.sweep()).await;
        }
        // Once more, which changes nothing.
        self.run_alone(self.replay_all()).await;
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
            let trusts_orders = rounds.first().is_some_and(|round| round.seed % 4 == 0);
            let has_list = rounds.first().is_some_and(|round| round.seed % 3 != 0);
            let mut simulation = Simulation::new(trusts_orders, has_list);
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
    if let Ok(seed) = std::env::var("HISTORY_SEED") {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        run_simulation(&runtime, hex::decode(seed).unwrap().try_into().unwrap());
        return;
    }
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
    let [claims, recorded, open] = [0, 1, 2].map(|nth| fates::CLAIMS[nth].load(Ordering::Relaxed));
    print_uncaptured(&format!(
        "histories: {claims} claims, {recorded} of them recorded with a payment, {open} payments with an open one"
    ));
    assert!(claims > recorded && recorded > 0 && open > 0, "claims of every kind");
}
