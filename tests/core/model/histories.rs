//! Whole lives of payments at random, compared with a model of a few lines.
//!
//! A shop of some payments lives through creates, webhooks in every shape, lost answers, refusals, deaths at any call,
//! things that happen at once in any order, waiting, and the reconciler. Then it is carried on as life would: what was
//! not acknowledged is delivered again, every key is tried again, and the reconciler runs until everything is settled.
//! Whatever the order was, [`Model`] says what must have become of each payment.
//!
//! `HISTORIES` says how many lives there are at least, some hundreds if nothing does; `make histories` runs a million.

use payment_functions::platform::clock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{OrderId, PaymentId};
use payment_functions::domain::idempotency::{Fingerprint, IdempotencyKey};
use payment_functions::domain::json::Json;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::AttentionReason;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::status::Status;
use payment_functions::flows::create_payment::{self, IdempotentRequest};
use payment_functions::flows::record_notification::record_notification;
use payment_functions::platform::failpoint::{ExternalCall, wrap};
use payment_functions::providers::{Notification, finvypay, webhooks};
use payment_functions_tests::aloud;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use reconcile_payments::sweep::Sweep;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::*;
use crate::sweeps::Book;
use crate::{facts, is_in_ledger};

/// How many payments a shop has.
const PAYMENTS: usize = 12;
/// How far a shop's life goes, but for one last wait of at most 25 hours, before it is carried on: each key is still
/// kept then, for 48 hours.
const LIFE: Duration = Duration::from_secs(20 * 60 * 60);
/// The times at which the reconciler runs at last: soon, when FinvyPay's and when ApoloPay's payments expire.
const AT_LAST: [u64; 4] = [61, 46 * 60, 3 * 60 * 60, 25 * 60 * 60];
/// What a run of the reconciler has, by the clock on the wall: also on a machine that is stopped for a while.
const TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// After how many lives a long run says how far it is.
const SAID_EVERY: usize = 25_000;

/// What the provider does with a create call.
#[derive(Clone, Copy, Debug)]
enum Reply {
    Accepts,
    /// It makes a payment, and the answer is lost.
    IsNotHeard,
    /// It makes none.
    Refuses,
    Throttles,
    /// It makes none, and answers nonsense.
    Babbles,
}

#[derive(Clone, Debug)]
enum Step {
    Create {
        payment: usize,
        reply: Reply,
    },
    /// A webhook about the latest or an earlier of the ids that the provider has made.
    Webhook {
        payment: usize,
        id: prop::sample::Index,
        outcome: Outcome,
        amount: Option<&'static str>,
        /// As FinvyPay names it; ApoloPay names none.
        currency: Option<&'static str>,
        shape: usize,
        names_ours: bool,
    },
    /// A webhook about something that nobody knows.
    Stranger {
        provider: Provider,
        shape: usize,
    },
    /// FinvyPay comes to know something, and its webhook is lost.
    Silence {
        payment: usize,
        outcome: Outcome,
    },
    Sweep,
    Wait(u64),
}

#[derive(Clone, Debug)]
struct Moment {
    /// What happens at once.
    steps: Vec<Step>,
    /// Whether one of them may die.
    is_deadly: bool,
    /// In which order their calls are made.
    seed: u64,
}

fn moments() -> impl Strategy<Value = Vec<Moment>> {
    let outcome = facts::outcomes();
    let reply = prop::sample::select(vec![
        Reply::Accepts,
        Reply::Accepts,
        Reply::Accepts,
        Reply::Accepts,
        Reply::IsNotHeard,
        Reply::IsNotHeard,
        Reply::Refuses,
        Reply::Throttles,
        Reply::Babbles,
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
            payment.clone(), any::<prop::sample::Index>(), outcome.clone(), amount, currency, 0..4_usize, any::<bool>(),
        )
            .prop_map(|(payment, id, outcome, amount, currency, shape, names_ours)| Step::Webhook {
                payment,
                id,
                outcome,
                amount,
                currency,
                shape,
                names_ours,
            }),
        1 => (prop::sample::select(Provider::ALL.to_vec()), 0..4_usize)
            .prop_map(|(provider, shape)| Step::Stranger { provider, shape }),
        2 => (payment, outcome).prop_map(|(payment, outcome)| Step::Silence { payment, outcome }),
        1 => Just(Step::Sweep),
        2 => prop::sample::select(vec![1, 31, 61, 400, 3000, 90_000]).prop_map(Step::Wait),
    ];
    let moment = (
        prop::collection::vec(step, 1..4),
        prop::bool::weighted(0.3),
        any::<u64>(),
    )
        .prop_map(|(steps, is_deadly, seed)| Moment { steps, is_deadly, seed });
    prop::collection::vec(moment, 20..60)
}

/// What the provider made for one attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Made {
    /// `processId` or `paymentId`.
    payment: String,
    /// `txn_id`.
    transaction: String,
}

/// One payment of the shop, as the provider and the buyer know it.
struct Life {
    provider: Provider,
    order: String,
    key: IdempotencyKey,
    /// Whether there was a request for it.
    is_begun: bool,
    /// Our id, once the provider or the shop has heard it.
    id: Option<PaymentId>,
    /// By attempt: FinvyPay answers the same attempt with the same payment.
    made: Vec<(u32, Made)>,
    /// The ids that the shop was told in an answer.
    told: BTreeSet<String>,
    /// What FinvyPay would answer of its latest payment.
    silent: Status,
    /// Webhooks that were acknowledged, and those that were not.
    heard: Vec<Notification>,
    unheard: Vec<Notification>,
    in_flight: usize,
    is_refused: bool,
}

/// What must have become of a payment: the model.
struct Model {
    status: Status,
    /// Facts that nobody can know the payment of.
    parked: usize,
}

impl Life {
    fn model(&self) -> Model {
        let own = if self.is_refused {
            Status::Failed
        } else {
            Status::Expired
        };
        // FinvyPay can be asked whose an id is. ApoloPay cannot: an id must have been told, or have come with ours.
        let is_known = |id: &Reference| {
            self.provider == Provider::FinvyPay
                || self.told.contains(id.as_str())
                || self
                    .heard
                    .iter()
                    .any(|event| event.payment_id.is_some() && event.fact.references().any(|other| other == id))
        };
        let is_ours = |event: &&Notification| event.payment_id.is_some() || event.fact.references().any(is_known);
        let rungs = self
            .heard
            .iter()
            .filter(is_ours)
            .filter_map(|event| facts::implied_status(&event.fact));
        Model {
            status: rungs.fold(own.join(self.silent), Status::join),
            parked: self
                .heard
                .iter()
                .filter(|event| !is_ours(event))
                .map(|event| event.fact.digest())
                .collect::<BTreeSet<_>>()
                .len(),
        }
    }
}

struct Shop {
    table: MemoryTable,
    store: Store,
    keys: SecretCache<ApiKey, KeyAtHand>,
    lives: Vec<Mutex<Life>>,
    strangers: Mutex<Vec<Notification>>,
    book: Book,
    made: AtomicUsize,
    later: Duration,
}

impl Shop {
    fn new() -> Self {
        let table = MemoryTable::new().unwrap();
        let life = |index: usize| Life {
            provider: Provider::ALL[index % 2],
            // Two orders have several payments.
            order: format!("o{}", if index % 2 == 1 { index % 6 } else { index }),
            key: IdempotencyKey::parse("create", format!("k{index}").as_bytes()).unwrap(),
            is_begun: false,
            id: None,
            made: Vec::new(),
            told: BTreeSet::new(),
            silent: Status::Creating,
            heard: Vec::new(),
            unheard: Vec::new(),
            in_flight: 0,
            is_refused: false,
        };
        Self {
            store: table.store(),
            table,
            keys: api_keys(),
            lives: (0..PAYMENTS).map(|index| Mutex::new(life(index))).collect(),
            strangers: Mutex::default(),
            book: Book::default(),
            made: AtomicUsize::new(0),
            later: Duration::ZERO,
        }
    }

    fn life(&self, index: usize) -> std::sync::MutexGuard<'_, Life> {
        self.lives[index].lock().unwrap()
    }

    /// Lets something happen by itself.
    async fn alone(&self, flow: impl Future<Output = ()>) {
        let mut alone = Exhaustive::default();
        play(vec![act_later(self.later, flow)], &mut alone, 0).await;
    }

    async fn live(&mut self, moments: &[Moment]) {
        for moment in moments {
            for step in &moment.steps {
                if let Step::Wait(seconds) = step
                    && self.later < LIFE
                {
                    self.later += Duration::from_secs(*seconds);
                }
            }
            let acts = moment
                .steps
                .iter()
                .map(|step| act_later(self.later, self.step(step)))
                .collect();
            let mut choices = Random(fastrand::Rng::with_seed(moment.seed));
            play(acts, &mut choices, moment.is_deadly.into()).await;
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
                names_ours,
            } => {
                let event = {
                    let life = self.life(*payment);
                    if life.made.is_empty() {
                        return;
                    }
                    let (_, made) = &life.made[id.index(life.made.len())];
                    let ours = life.id.filter(|_| *names_ours);
                    let money = (*amount, *currency);
                    webhook(life.provider, made, *outcome, money, *shape, ours, &life.order)
                };
                self.deliver(*payment, event).await;
            }
            Step::Stranger { provider, shape } => {
                let made = self.make();
                let event = webhook(
                    *provider,
                    &made,
                    Outcome::Completed,
                    (Some("25.50"), Some("USD")),
                    *shape,
                    None,
                    "nobody's",
                );
                self.strangers.lock().unwrap().push(event.clone());
                record_notification(&self.store, &event, clock::now()).await.unwrap();
            }
            Step::Silence { payment, outcome } => self.keep_silent(*payment, *outcome),
            Step::Sweep => {
                self.sweep().await;
            }
            Step::Wait(_) => {}
        }
    }

    /// An id that nobody has had.
    fn make(&self) -> Made {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        Made {
            payment: format!("00000000-0000-4000-8000-{number:012}"),
            transaction: format!("FP{number}"),
        }
    }

    async fn create(&self, index: usize, reply: Reply) {
        let (provider, order, key) = {
            let mut life = self.life(index);
            life.is_begun = true;
            (life.provider, life.order.clone(), life.key.clone())
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
                Money::from_minor(2550, Currency::USD),
                clock::now(),
            )
        };
        let heard = Mutex::new(None);
        let gateway = |id, _| Counter {
            shop: self,
            index,
            reply,
            id,
            heard: &heard,
        };
        match create_payment::create(&self.store, &self.keys, intent, Some(&keyed), None, gateway).await {
            Ok(creation) => {
                let mut life = self.life(index);
                assert_eq!(
                    *life.id.get_or_insert(creation.payment),
                    creation.payment,
                    "one key, one payment"
                );
                let body: Value = serde_json::from_str(&creation.answer.body).unwrap();
                let ids = ["processId", "paymentId"].map(|name| body[name].as_str().map(str::to_owned));
                life.told.extend(ids.into_iter().flatten());
                match creation.answer.status {
                    201 => {}
                    422 => life.is_refused = true,
                    other => panic!("{other}"),
                }
            }
            Err(problem) => {
                let answer = problem.to_answer();
                assert!([409, 502, 503, 504].contains(&answer.status), "{answer:?}");
            }
        }
        // Whoever heard it and came to its end has attached it, though another has the key and the answer is 409.
        let heard = heard.into_inner().unwrap();
        self.life(index).told.extend(heard);
    }

    async fn deliver(&self, index: usize, event: Notification) {
        // Until it is acknowledged, it is not.
        self.life(index).unheard.push(event.clone());
        record_notification(&self.store, &event, clock::now()).await.unwrap();
        let mut life = self.life(index);
        life.unheard.retain(|unheard| *unheard != event);
        life.heard.push(event);
    }

    /// FinvyPay's own word about its payments, which only climbs here: it is asked at some later time.
    fn keep_silent(&self, index: usize, outcome: Outcome) {
        let mut life = self.life(index);
        if life.provider == Provider::FinvyPay
            && let Some(rung) = outcome.implied_status()
            && !life.told.is_empty()
        {
            life.silent = life.silent.join(rung);
        }
    }

    /// What FinvyPay answers now.
    fn write_book(&self) {
        let mut orders: BTreeMap<String, Vec<Notification>> = BTreeMap::new();
        for life in &self.lives {
            let life = life.lock().unwrap();
            if life.provider != Provider::FinvyPay {
                continue;
            }
            for (_, made) in &life.made {
                // Only the payment whose page the buyer saw can have moved.
                let is_seen = life.told.contains(&made.payment);
                let word = if is_seen { life.silent } else { Status::Pending };
                let data = json!({
                    "transactionId": made.transaction, "orderId": life.order, "status": word_for(word),
                    "amount": 25.5, "currency": "USD", "metadata": { "paymentFunctionsId": life.id },
                });
                let read = |asked: &str| {
                    let reply = reply(&json!({ "success": true, "data": data }));
                    finvypay::status::read_status(&reply, &Reference::parse(asked).unwrap())
                        .unwrap()
                        .unwrap()
                };
                for asked in [&made.payment, &made.transaction] {
                    self.book.knows(asked, read(asked));
                }
                orders
                    .entry(life.order.clone())
                    .or_default()
                    .push(read(&made.transaction));
            }
        }
        for (order, events) in orders {
            self.book.lists(&order, events);
        }
    }

    async fn sweep(&self) {
        self.write_book();
        let sweep = Sweep::new(&self.store, self.book.clone(), clock::now());
        let (report, _) = sweep.run(TIME).await.unwrap();
        assert_eq!((report.failed, report.unfinished), (0, false), "{report:?}");
    }

    /// What comes next in life, until everything is settled.
    async fn carry_on(&mut self) {
        self.later += Duration::from_secs(61);
        for index in 0..PAYMENTS {
            let unheard = std::mem::take(&mut self.life(index).unheard);
            for event in unheard {
                self.alone(self.deliver(index, event)).await;
            }
            if self.life(index).is_begun {
                self.alone(self.create(index, Reply::Accepts)).await;
            }
        }
        let strangers = self.strangers.lock().unwrap().clone();
        for event in &strangers {
            self.alone(async {
                record_notification(&self.store, event, clock::now()).await.unwrap();
            })
            .await;
        }
        for seconds in AT_LAST {
            self.later += Duration::from_secs(seconds);
            self.alone(self.sweep()).await;
        }
    }

    /// Gives how many payments were begun.
    async fn assert_as_modelled(&self) -> usize {
        let items = self.table.items().unwrap();
        let begun = self.lives.iter().filter(|life| life.lock().unwrap().is_begun).count();
        let states = items.iter().filter(|item| item["sk"]["S"] == "STATE").count();
        assert_eq!(states, begun, "one payment for each key");
        let mut parked = self
            .strangers
            .lock()
            .unwrap()
            .iter()
            .map(|event| event.fact.digest())
            .collect::<BTreeSet<_>>()
            .len();
        for life in &self.lives {
            let id = {
                let life = life.lock().unwrap();
                assert_eq!(life.id.is_some(), life.is_begun, "every key has its answer");
                let Some(id) = life.id else { continue };
                id
            };
            let payment = self.store.payment(id).await.unwrap().unwrap();
            let handed_out: Vec<Reference> = {
                let told = &life.lock().unwrap().told;
                told.iter().filter_map(|id| Reference::parse(id)).collect()
            };
            for reference in handed_out.iter().chain(&payment.references) {
                let owner = self.store.owner(payment.provider, reference).await.unwrap();
                assert_eq!(owner, Some(id), "{reference:?} leads to the payment");
            }
            let life = life.lock().unwrap();
            let model = life.model();
            assert_eq!(payment.status, model.status, "{payment:?} {:?}", life.heard);
            parked += model.parked;
            let is_fact = is_in_ledger(id);
            let (ledger, facts): (Vec<&str>, Vec<Fact>) = items
                .iter()
                .filter(|item| is_fact(item))
                .filter_map(|item| Some((item["sk"]["S"].as_str()?.strip_prefix("FACT#")?, fact_in(item))))
                .unzip();
            let missing = life
                .heard
                .iter()
                .filter(|event| !ledger.contains(&event.fact.digest().as_str()));
            let missing = missing.map(|event| event.fact.digest()).collect::<BTreeSet<_>>();
            assert_eq!(
                missing.len(),
                model.parked,
                "what was acknowledged is in the ledger, or parked"
            );
            assert_eq!(
                payment.attention.contains(&AttentionReason::DuplicatePayment),
                came_twice(&facts),
                "{payment:?} {facts:?}"
            );
            let is_other_money = |fact: &Fact| facts::implied_status(fact) == Some(Status::Review);
            assert!(
                !payment.attention.contains(&AttentionReason::AmountMismatch) || facts.iter().any(is_other_money),
                "{payment:?} {facts:?}"
            );
            for (digest, fact) in ledger.iter().zip(&facts) {
                let is_noted = payment.noted.contains(*digest);
                assert!(is_noted || !is_other_money(fact), "{payment:?} {fact:?}");
            }
        }
        let in_places: usize = items
            .iter()
            .filter(|item| item["sk"]["S"] == "UNMATCHED")
            .map(|item| digests(item).len())
            .sum();
        assert_eq!(
            in_places, parked,
            "what nobody knows the payment of is kept, and nothing else"
        );
        begun
    }
}

/// A fact as it is in a ledger.
fn fact_in(item: &Value) -> Fact {
    let text = |name: &str| Some(item[name]["S"].as_str()?.to_owned());
    let reference = |name: &str| Reference::parse(&text(name)?);
    Fact {
        payment: reference("payment"),
        transaction: reference("transaction"),
        amount: text("amount").and_then(|text| Decimal::parse(&text)),
        currency: text("currency"),
        ..facts::said(
            serde_json::from_value(item["provider"]["S"].clone()).unwrap(),
            serde_json::from_value(item["outcome"]["S"].clone()).unwrap(),
        )
    }
}

/// Whether a payment's money came under two ids of one kind.
fn came_twice(facts: &[Fact]) -> bool {
    let under = |id: fn(&Fact) -> &Option<Reference>| {
        let paid = facts
            .iter()
            .filter(|fact| facts::implied_status(fact) == Some(Status::Completed));
        paid.filter_map(|fact| id(fact).as_ref()).collect::<BTreeSet<_>>().len()
    };
    under(|fact| &fact.payment) > 1 || under(|fact| &fact.transaction) > 1
}

/// The distinct facts that are parked in a place.
fn digests(item: &Value) -> BTreeSet<String> {
    let texts = item["facts"]["SS"].as_array().unwrap();
    let read = |text: &Value| {
        serde_json::from_str::<Notification>(text.as_str().unwrap())
            .unwrap()
            .fact
            .digest()
    };
    texts.iter().map(read).collect()
}

/// A call to the provider that is in progress.
struct Flight<'a>(&'a Mutex<Life>);

impl<'a> Flight<'a> {
    fn begin(life: &'a Mutex<Life>) -> Self {
        let flights = {
            let mut begun = life.lock().unwrap();
            begun.in_flight += 1;
            begun.in_flight
        };
        let flight = Self(life);
        assert_eq!(flights, 1, "one call at a time");
        flight
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Ok(mut life) = self.0.lock() {
            life.in_flight -= 1;
        }
    }
}

/// The provider, for one call.
struct Counter<'a> {
    shop: &'a Shop,
    index: usize,
    reply: Reply,
    id: PaymentId,
    /// The id in an answer that the caller has heard.
    heard: &'a Mutex<Option<String>>,
}

impl Gateway for Counter<'_> {
    async fn create(&self, _payment: &Payment, attempt: u32) -> Result<Accepted, CallError> {
        let _flight = Flight::begin(&self.shop.lives[self.index]);
        // Others go on meanwhile, and the caller may die before it has the answer.
        wrap(ExternalCall::CreateAtProvider, std::future::ready(())).await;
        let mut life = self.shop.life(self.index);
        assert!(life.id.is_none_or(|id| id == self.id), "one key, one payment");
        life.id = Some(self.id);
        match self.reply {
            Reply::Refuses => {
                return Err(CallError::Rejected {
                    code: None,
                    references: Vec::new(),
                });
            }
            Reply::Throttles => return Err(CallError::Throttled { retry_after: None }),
            Reply::Babbles => return Err(CallError::unusable("nonsense")),
            Reply::Accepts | Reply::IsNotHeard => {}
        }
        let known = life
            .made
            .iter()
            .find(|(of, _)| life.provider == Provider::FinvyPay && *of == attempt);
        let made = known.map(|(_, made)| made.clone()).unwrap_or_else(|| self.shop.make());
        if !life.made.iter().any(|(_, known)| *known == made) {
            life.made.push((attempt, made.clone()));
        }
        if matches!(self.reply, Reply::IsNotHeard) {
            return Err(CallError::TimedOut);
        }
        *self.heard.lock().unwrap() = Some(made.payment.clone());
        Ok(Accepted {
            checkout_session: CheckoutSession {
                reference: Reference::parse(&made.payment).unwrap(),
                redirect_url: None,
                expires_at: None,
            },
            references: Vec::new(),
        })
    }
}

/// A webhook in one of its provider's shapes, read as the function reads it.
fn webhook(
    provider: Provider,
    made: &Made,
    outcome: Outcome,
    (amount, currency): (Option<&str>, Option<&str>),
    shape: usize,
    ours: Option<PaymentId>,
    order: &str,
) -> Notification {
    let amount: Value = amount.map_or(Value::Null, |amount| amount.into());
    let metadata = ours
        .map(|id| json!({ "paymentFunctionsId": id }))
        .unwrap_or_else(|| json!({}));
    let word = if outcome == Outcome::Unrecognised {
        "settled"
    } else {
        outcome.name()
    };
    let body = match (provider, shape) {
        (Provider::ApoloPay, 0 | 1) => {
            json!({ "id": made.payment, "status": word, "amount": amount, "metadata": metadata })
        }
        (Provider::ApoloPay, _) => {
            json!({ "processId": made.payment, "event": format!("payment.{word}"), "amount": amount, "metadata": metadata })
        }
        // FinvyPay's general webhook has no place for our id.
        (Provider::FinvyPay, 0 | 1) if ours.is_none() => {
            let general = json!({ "success": true, "status": word.to_uppercase(), "data": {
                "amount": amount, "currency": currency, "order_id": order, "txn_id": made.transaction,
            } });
            if shape == 0 {
                general
            } else {
                json!({ "request": general })
            }
        }
        (Provider::FinvyPay, _) => json!({
            "event": format!("payment.{word}"), "status": word.to_uppercase(), "paymentId": made.payment, "orderId": order,
            "amount": amount, "currency": currency, "metadata": metadata,
        }),
    };
    webhooks(provider).read(body.to_string().as_bytes()).unwrap()
}

/// FinvyPay's word for a status.
fn word_for(status: Status) -> &'static str {
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

/// Lives one shop through, as a seed has it. Gives how many of its payments were begun.
fn live_through(runtime: &Runtime, seed: [u8; 32]) -> usize {
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let begun = AtomicUsize::new(0);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let ran = TestRunner::new_with_rng(config, rng).run(&moments(), |moments| {
        let lived = runtime.block_on(async {
            let mut shop = Shop::new();
            shop.live(&moments).await;
            shop.carry_on().await;
            shop.assert_as_modelled().await
        });
        begun.store(lived, Ordering::Relaxed);
        Ok(())
    });
    ran.unwrap_or_else(|failure| panic!("{failure}\nseed {}", hex::encode(seed)));
    begun.into_inner()
}

#[test]
fn every_life_of_a_payment_ends_as_the_model_says() {
    let histories: usize = std::env::var("HISTORIES").map_or(500, |number| number.parse().unwrap());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let start = std::time::Instant::now();
    let say = |lives: usize| {
        aloud(&format!(
            "histories: {lives} lives of payments in {:.1?}",
            start.elapsed()
        ));
    };
    let lived = AtomicUsize::new(0);
    let live = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        while lived.load(Ordering::Relaxed) < histories {
            let begun = live_through(&runtime, std::array::from_fn(|_| fastrand::u8(..)));
            let before = lived.fetch_add(begun, Ordering::Relaxed);
            if (before + begun) / SAID_EVERY > before / SAID_EVERY {
                say(before + begun);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(live);
        }
    });
    say(lived.into_inner());
}
