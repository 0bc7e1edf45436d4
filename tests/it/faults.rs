//! Crash and fault injection: every flow, struck at every step, and carried on by what would come next in life.
//!
//! A flow runs once undisturbed with `FAILPOINTS=log`, and so names its own steps: a new call in a flow makes new
//! cells by itself, and a call to AWS that has no point fails the test. At each step the real function dies before the
//! call and after it, and the call is throttled, refused, hung, cut off, answered late or done too late, by a proxy
//! before the local AWS or by the provider's stand-in. Then comes what would come next: the same key again while the
//! lease runs and after it, the provider's webhook, or the reconciler a minute, three quarters of an hour and a day
//! later; and at last all of these. After each the table itself and the stand-in's record are judged ([`verdict`]).
//!
//! | by default | with `FAULT_MATRIX=full` |
//! |---|---|
//! | each cell is carried on in one of the three ways, in turn | in each of them |
//! | a call is struck in every way in the first flow that makes it, and in every third of them in the others | in every way |
//! | the calls to Secrets Manager at a start are struck on the way in the first flow of each function | in every flow |
//! | of a call that a run of the reconciler makes again and again, the first and the last are struck | every one |
//! | a run is struck on the way only at calls that no other flow makes | at all of them |
//!
//! The matrix is printed; `cargo test` shows it with `-- --nocapture`. `FAULT_FLOWS=webhook` goes through the flows alone
//! whose names contain that.

mod blows;
mod flows;
mod life;
mod matrix;
mod points;
mod runs;
mod shop;
mod soak;
mod verdict;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use payment_functions::platform::failpoint::ExternalCall;
use payment_functions_local::sandbox::Payment;
use payment_functions_tests::world::{NoAnswer, USUAL_LIMITS};
use tokio::task::JoinHandle;

use self::blows::Blow;
use self::flows::Flow;
use self::matrix::Matrix;
use self::points::{NOT_IN_A_FLOW, Step, Wire};
use self::runs::{Outcome, Stock};
use self::shop::{Shop, Station, Town};
use super::routes::*;
use super::support::*;
use super::{aws, quotes};

/// Every POST is answered within this.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

/// How far ahead the clocks of the functions are that are struck: the leases of those who came before have run out.
const STRUCK: u64 = 31;
/// The same when the leases of those that were struck have run out.
const LATER: u64 = 2 * STRUCK + 2;
/// When the reconciler comes: when it first asks FinvyPay, when FinvyPay's payments have expired, when ApoloPay's have.
const SWEEPS: [u64; 3] = [STRUCK + MINUTE + 1, STRUCK + 46 * MINUTE, STRUCK + DAY + 60 * MINUTE];
/// After all of them.
const AFTER_SWEEPS: u64 = SWEEPS[2] + 60 * MINUTE;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
    SameKey,
    Webhook,
    Reconciler,
}

impl Life {
    const ALL: [Self; 3] = [Self::SameKey, Self::Webhook, Self::Reconciler];

    const fn name(self) -> &'static str {
        match self {
            Self::SameKey => "the same key",
            Self::Webhook => "a webhook",
            Self::Reconciler => "the reconciler",
        }
    }
}

/// When somebody asks, compared with the flow that is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Early,
    Soon,
    Later,
}

/// A cell of the matrix.
#[derive(Clone, Debug)]
struct Cell {
    /// Which of its flow's cells.
    nth: usize,
    /// What goes wrong, and at which step.
    blow: Option<(Step, Blow)>,
    life: Life,
}

impl Cell {
    fn undisturbed(life: Life) -> Self {
        Self {
            nth: 0,
            blow: None,
            life,
        }
    }

    fn is(&self, name: &str) -> bool {
        self.blow.as_ref().is_some_and(|(_, blow)| blow.name() == name)
    }
}

/// A case of a cell: one order with all that happened to it.
struct Case {
    flow: Arc<Flow>,
    cell: Cell,
    nth: usize,
    order: String,
    key: Option<String>,
    /// Our id of the payment, once an answer has told it.
    id: Option<String>,
    /// The final answer to its creation.
    answer: Option<Answer>,
    /// How many requests to create it may have called the provider.
    callers: usize,
    /// The provider's ids that its buyer was given.
    handed: Vec<String>,
    /// What webhooks said that were answered 200.
    taken: Vec<Said>,
    is_dead: bool,
    /// Whether it was paid without anybody telling us.
    is_paid: bool,
    /// Whether an operator was told that it is completed, or closed.
    is_completed: bool,
    is_closed: bool,
    /// How many answers blamed the provider.
    provider_errors: usize,
    /// The secret that its function has, which will be rotated.
    secret: Option<String>,
    wrongs: Vec<String>,
}

/// What a webhook says.
#[derive(Clone, Debug)]
struct Said {
    payment: Option<String>,
    transaction: Option<String>,
    is_completion: bool,
    names_ours: bool,
    amount: Value,
}

impl Said {
    fn of(body: &str) -> Self {
        let body: Value = serde_json::from_str(body).expect("JSON");
        let data = if body["data"].is_object() { &body["data"] } else { &body };
        let text = |names: &[&str]| names.iter().find_map(|name| data[*name].as_str()).map(str::to_owned);
        let word = [&body["event"], &body["status"]]
            .into_iter()
            .find_map(Value::as_str)
            .expect("a word")
            .to_lowercase();
        Self {
            payment: text(&["id", "processId", "paymentId"]),
            transaction: text(&["txn_id"]),
            is_completion: word.ends_with("completed") || word == "success",
            names_ours: data["metadata"]["paymentFunctionsId"].is_string(),
            amount: data["amount"].clone(),
        }
    }

    fn ids(&self) -> impl Iterator<Item = &String> {
        self.payment.iter().chain(&self.transaction)
    }
}

impl Case {
    fn new(flow: &Arc<Flow>, cell: &Cell) -> Self {
        Self {
            flow: Arc::clone(flow),
            cell: cell.clone(),
            nth: cell.nth,
            order: unique("ORD"),
            key: flow.keyed.then(|| unique("key")),
            id: None,
            answer: None,
            callers: 0,
            handed: Vec::new(),
            taken: Vec::new(),
            is_dead: false,
            is_paid: false,
            is_completed: false,
            is_closed: false,
            provider_errors: 0,
            secret: None,
            wrongs: Vec::new(),
        }
    }

    fn wrong(&mut self, what: String) {
        self.wrongs.push(what);
    }

    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong(what());
        }
    }

    /// Flow, point, what went wrong there, and what came next.
    fn name(&self) -> String {
        let (flow, life) = (&self.flow.name, self.cell.life.name());
        match &self.cell.blow {
            None => format!("{flow}: undisturbed, then {life}"),
            Some((step, blow)) => {
                let (call, nth, blow) = (step.call.name(), step.nth, blow.name());
                format!("{flow}: {call}#{nth}: {blow}, then {life}")
            }
        }
    }

    /// What exists at the provider.
    async fn at_provider(&self, town: &Town) -> Vec<Payment> {
        let payments = town.control.payments(self.flow.provider, &self.order).await;
        payments.expect("the payments")
    }

    /// Takes in what an answer to a creation tells of the payment.
    fn notes(&mut self, answer: &Answer) {
        let body = answer.json();
        if let Some(id) = body["id"].as_str() {
            let known = self.id.get_or_insert_with(|| id.to_owned()).clone();
            self.check(known == id, || format!("another payment's id: {answer:?}, {known}"));
        }
        let handed = ["processId", "paymentId"]
            .iter()
            .filter_map(|name| body[*name].as_str());
        self.handed.extend(handed.map(str::to_owned));
        self.provider_errors += usize::from(answer.status == 502);
        let is_replayed = answer.header("idempotency-replayed").is_some();
        self.callers += usize::from(!is_replayed && answer.status != 409);
        if let Some(first) = self.answer.clone() {
            if self.key.is_some() {
                let is_same = (answer.status, &answer.text) == (first.status, &first.text) && is_replayed;
                self.check(is_same, || format!("not replayed: {answer:?} after {first:?}"));
            }
        } else if life::is_final(answer) {
            self.answer = Some(answer.clone());
        }
    }

    /// The answer of a function that was struck; `is_begun` tells whether it came as far as to store its intent, where
    /// that was not what was struck.
    fn first_answer(&mut self, answer: &Answer, is_begun: bool) {
        let is_in_contract = match (answer.status, answer.json()["code"].as_str()) {
            (201, None) => true,
            (status, Some(code)) => [
                (422, "PROVIDER_REJECTED"),
                (502, "PROVIDER_ERROR"),
                (503, "UNAVAILABLE"),
                (504, "PROVIDER_TIMEOUT"),
            ]
            .contains(&(status, code)),
            _ => false,
        };
        self.check(is_in_contract, || format!("not in the contract: {answer:?}"));
        let before_the_intent = |(step, _): &(Step, Blow)| {
            let calls = [
                ExternalCall::CurrentSecret,
                ExternalCall::PreviousSecret,
                ExternalCall::ReadKey,
                ExternalCall::InsertPayment,
            ];
            calls.contains(&step.call) && !step.is_forced()
        };
        let is_stored = is_begun && !self.flow.at_random && !self.cell.blow.as_ref().is_some_and(before_the_intent);
        if answer.status >= 500 && is_stored {
            self.check(answer.json()["id"].is_string(), || format!("no id: {answer:?}"));
        }
    }
}

/// Deals out the cells of all flows.
struct Dealer {
    is_full: bool,
    /// Calls that were struck in every way, and at which provider.
    covered: BTreeSet<(ExternalCall, Option<&'static str>)>,
    /// Functions whose calls to Secrets Manager were.
    functions: BTreeSet<&'static str>,
    turn: usize,
}

/// Where a call was struck in every way already, a step is struck in every third.
const THIRD: usize = 3;

impl Dealer {
    fn new(is_full: bool) -> Self {
        Self {
            is_full,
            covered: BTreeSet::new(),
            functions: BTreeSet::new(),
            turn: 0,
        }
    }

    /// The cells of a flow with these steps.
    fn cells(&mut self, flow: &Flow, steps: &[Step]) -> Vec<Cell> {
        let is_first_of_function = self.functions.insert(flow.function());
        let mut blows = Vec::new();
        for step in steps {
            let on_the_way = match step.wire() {
                Wire::SecretsManager if self.is_full || is_first_of_function || step.is_forced() => {
                    Blow::of(step, flow.provider)
                }
                Wire::Provider(_) if !flow.has_reply(step) => self.some(step, flow),
                Wire::DynamoDb(_) => self.some(step, flow),
                Wire::SecretsManager | Wire::Provider(_) | Wire::Events(_) => Vec::new(),
            };
            let of_step = Blow::DEATHS.into_iter().chain(on_the_way);
            blows.extend(of_step.map(|blow| (*step, blow)));
        }
        self.turn += 1;
        in_turn(blows, &Life::ALL, self.is_full, self.turn)
    }

    fn some(&mut self, step: &Step, flow: &Flow) -> Vec<Blow> {
        let all = Blow::of(step, flow.provider);
        let provider = matches!(step.wire(), Wire::Provider(_)).then(|| aws::name(flow.provider));
        if self.is_full || self.covered.insert((step.call, provider)) {
            return all;
        }
        self.turn += 1;
        let turn = self.turn;
        let is_chosen = |nth: &usize| (nth + turn).is_multiple_of(THIRD);
        all.into_iter()
            .enumerate()
            .filter(|(nth, _)| is_chosen(nth))
            .map(|(_, blow)| blow)
            .collect()
    }

    /// The cells of a run of the reconciler with these steps.
    fn run_cells(&self, steps: &[Step]) -> Vec<Cell> {
        let mut blows = Vec::new();
        for step in steps {
            blows.extend(Blow::DEATHS.map(|death| (*step, death)));
            let is_struck = match step.wire() {
                // Which payment a later one is about differs from run to run.
                Wire::Provider(_) => step.nth == 1,
                Wire::DynamoDb(_) | Wire::SecretsManager | Wire::Events(_) => {
                    let is_covered = self.covered.iter().any(|(call, _)| *call == step.call);
                    self.is_full || (step.nth == 1 && !is_covered)
                }
            };
            if is_struck {
                let on_the_way = Blow::of(step, Provider::Finvypay)
                    .into_iter()
                    .map(Blow::for_the_patient);
                blows.extend(on_the_way.map(|blow| (*step, blow)));
            }
        }
        let mut cells = in_turn(blows, &[Life::Webhook, Life::Reconciler], self.is_full, 0);
        cells.sort_by_key(wait);
        cells
    }
}

/// Each carried on in one of the ways, in turn, or in all of them.
fn in_turn(blows: Vec<(Step, Blow)>, lives: &[Life], is_full: bool, shift: usize) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (nth, blow) in blows.into_iter().enumerate() {
        let turn = if is_full {
            lives
        } else {
            &[lives[(nth + shift) % lives.len()]]
        };
        cells.extend(turn.iter().map(|life| Cell {
            nth,
            blow: Some(blow.clone()),
            life: *life,
        }));
    }
    cells
}

/// How long a cell waits rather than works: whoever waits longest begins first. Cells that need the same setup of a
/// station follow each other.
fn wait(cell: &Cell) -> u8 {
    match &cell.blow {
        Some((_, blow)) if blow.needs_usual_limits() => 0,
        Some((_, Blow::Provider(name, _))) if name.starts_with("hung") => 1,
        Some((_, Blow::Aws(..))) => 2,
        _ => 3,
    }
}

/// A job for a worker: a cell of a flow.
type Job = (Arc<Flow>, Cell);

/// Jobs that several workers take from.
#[derive(Clone, Default)]
struct Jobs<T>(Arc<Mutex<VecDeque<T>>>);

impl<T> Jobs<T> {
    fn new(jobs: impl IntoIterator<Item = T>) -> Self {
        Self(Arc::new(Mutex::new(jobs.into_iter().collect())))
    }

    fn take(&self) -> Option<T> {
        self.0.lock().unwrap().pop_front()
    }
}

/// Workers that each have a function and a proxy, in each shop.
const STATIONS: [(&str, usize); 5] = [
    ("create-preorder", 6),
    ("create-apm", 6),
    ("webhook-handler", 4),
    ("get-payment", 2),
    ("reconcile-payments", 2),
];
/// Workers that run the flows undisturbed.
const LEARNERS: usize = 6;
/// Workers that start a process for each cell, in each shop, and for the runs of the reconciler.
const KILLERS: usize = 3;
const RUNNERS: usize = 24;

/// What a flow does undisturbed.
struct Learnt {
    flow: Arc<Flow>,
    steps: Vec<Step>,
    case: Case,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn every_flow_survives_every_fault_at_every_step() {
    let _busy = MACHINE.read().await;
    let is_full = std::env::var("FAULT_MATRIX").is_ok_and(|size| size == "full");
    let only = std::env::var("FAULT_FLOWS").ok();
    let is_wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let town = Arc::new(Town::open(is_full).await);
    // One for each way to be carried on.
    let open = Life::ALL.map(|life| {
        let town = Arc::clone(&town);
        tokio::spawn(async move { Arc::new(Shop::open(&town, life).await) })
    });
    let shops: Vec<Arc<Shop>> = done(open).await;

    let wanted = flows::all().into_iter().filter(|flow| is_wanted(&flow.name)).collect();
    let flows = learn(&town, &shops[0], wanted).await;
    let stock = Arc::new(Stock::fill(&town, &unique("stock")).await);
    let (run_steps, run) = runs::learn(&town, &stock).await;
    let steps = flows.iter().flat_map(|learnt| &learnt.steps).chain(&run_steps);
    let reached: BTreeSet<ExternalCall> = steps.map(|step| step.call).collect();
    assert!(
        only.is_some()
            || ExternalCall::ALL
                .iter()
                .all(|call| reached.contains(call) != NOT_IN_A_FLOW.contains(call)),
        "a call that no flow reaches, or one that is said to be in none: {reached:?}"
    );

    let (mut matrix, mut dealer) = (Matrix::default(), Dealer::new(is_full));
    let mut cells = Vec::new();
    let mut cases: Vec<Vec<Case>> = shops.iter().map(|_| Vec::new()).collect();
    for learnt in flows {
        matrix.add_flow(&learnt.flow.name, &learnt.steps);
        let dealt = dealer.cells(&learnt.flow, &learnt.steps);
        cells.extend(dealt.into_iter().map(|cell| (Arc::clone(&learnt.flow), cell)));
        cases[0].push(learnt.case);
    }
    let run_steps = if is_full {
        run_steps
    } else {
        points::first_and_last(&run_steps)
    };
    let run_cells = if is_wanted(runs::NAME) {
        dealer.run_cells(&run_steps)
    } else {
        Vec::new()
    };
    matrix.add_flow(runs::NAME, &run_steps);

    // The blows, and what comes at once.
    let runners = strike_runs(&town, &stock, run_cells);
    let struck = shops.iter().map(|shop| {
        let of_shop = cells.iter().filter(|(_, cell)| cell.life == shop.life).cloned();
        tokio::spawn(strike(Arc::clone(&town), Arc::clone(shop), of_shop.collect()))
    });
    for (cases, more) in cases.iter_mut().zip(done(struck).await) {
        cases.extend(more);
    }

    // What comes for all at one time, and the verdict.
    let lives = shops.iter().zip(cases).map(|(shop, cases)| {
        let (town, shop) = (Arc::clone(&town), Arc::clone(shop));
        tokio::spawn(async move { shop.live_on(&town, cases).await })
    });
    let mut wrongs = BTreeSet::new();
    for case in done(lives).await.into_iter().flatten() {
        matrix.count(&case.flow.name, &case.cell);
        wrongs.extend(case.wrongs.iter().map(|wrong| format!("{}: {wrong}", case.name())));
    }
    for outcome in done(runners).await.into_iter().flatten().chain([run]) {
        matrix.count(runs::NAME, &outcome.cell);
        wrongs.extend(
            outcome
                .wrongs
                .iter()
                .map(|wrong| format!("{}: {wrong}", outcome.name())),
        );
    }
    println!("{matrix}");
    let again = town.again();
    aloud(&format!(
        "faults: {}; begun again on a busy machine: {} {again:?}",
        matrix.to_string().lines().last().expect("a sum"),
        again.values().sum::<usize>()
    ));
    let shown: Vec<&str> = wrongs.iter().take(60).map(String::as_str).collect();
    if !shown.is_empty() {
        aloud(&format!("{} wrongs\n{}", wrongs.len(), shown.join("\n")));
    }
    assert!(shown.is_empty(), "{} wrongs, shown above", wrongs.len());
}

/// What tasks come to, in their order.
async fn done<T>(tasks: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

/// Runs flows undisturbed.
async fn learn(town: &Arc<Town>, shop: &Arc<Shop>, flows: Vec<Flow>) -> Vec<Learnt> {
    let jobs = Jobs::new(flows.into_iter().map(Arc::new).enumerate());
    let learners: Vec<_> = (0..LEARNERS)
        .map(|_| {
            let (town, shop, jobs) = (Arc::clone(town), Arc::clone(shop), jobs.clone());
            tokio::spawn(async move {
                let mut learnt = Vec::new();
                while let Some((nth, flow)) = jobs.take() {
                    let (case, steps) = shop.learn(&town, &flow).await;
                    learnt.push((nth, Learnt { flow, steps, case }));
                }
                learnt
            })
        })
        .collect();
    let mut learnt: Vec<_> = done(learners).await.into_iter().flatten().collect();
    learnt.sort_by_key(|(nth, _)| *nth);
    learnt.into_iter().map(|(_, learnt)| learnt).collect()
}

/// Strikes cells of flows in a shop: the deaths, each with a process of its own, and the others.
async fn strike(town: Arc<Town>, shop: Arc<Shop>, mut jobs: Vec<Job>) -> Vec<Case> {
    jobs.sort_by_key(|(_, cell)| wait(cell));
    let (deaths, blows): (Vec<Job>, Vec<Job>) = jobs
        .into_iter()
        .partition(|(_, cell)| matches!(cell.blow, Some((_, Blow::Die(_)))));
    let deaths = Jobs::new(deaths);
    let killers = (0..KILLERS).map(|_| {
        let (town, shop, jobs) = (Arc::clone(&town), Arc::clone(&shop), deaths.clone());
        tokio::spawn(async move {
            let mut cases = Vec::new();
            while let Some((flow, cell)) = jobs.take() {
                cases.push(shop.kill(&town, &flow, &cell).await);
            }
            cases
        })
    });
    let stations = STATIONS.iter().flat_map(|(function, count)| {
        let own = blows.iter().filter(|(flow, _)| flow.function() == *function);
        let own = Jobs::new(own.cloned());
        (0..*count).map(move |_| own.clone())
    });
    let stations = stations.map(|jobs| {
        let (town, shop) = (Arc::clone(&town), Arc::clone(&shop));
        tokio::spawn(async move {
            let (mut cases, mut station) = (Vec::new(), Station::open(&shop.table).await);
            while let Some((flow, cell)) = jobs.take() {
                cases.push(shop.strike(&town, &mut station, &flow, &cell).await);
            }
            cases
        })
    });
    done(killers.chain(stations).collect::<Vec<_>>())
        .await
        .into_iter()
        .flatten()
        .collect()
}

/// Strikes runs of the reconciler.
fn strike_runs(town: &Arc<Town>, stock: &Arc<Stock>, cells: Vec<Cell>) -> Vec<JoinHandle<Vec<Outcome>>> {
    let jobs = Jobs::new(cells);
    let runner = |_| {
        let (town, stock, jobs) = (Arc::clone(town), Arc::clone(stock), jobs.clone());
        tokio::spawn(async move {
            let proxy = aws::proxy().await;
            let mut outcomes = Vec::new();
            while let Some(cell) = jobs.take() {
                outcomes.push(runs::strike(&town, &stock, &proxy, &cell).await);
            }
            outcomes
        })
    };
    (0..RUNNERS).map(runner).collect()
}
