//! Crash and fault injection: every flow with a fault at every step, followed by a recovery.
//!
//! A flow first runs without a fault and with `FAILPOINTS=log`, which records its steps. A new call in a flow therefore
//! adds cells by itself, and an AWS call without a failpoint fails the test. At each step the real function crashes
//! before and after the call, or the call is throttled, refused, hung, disconnected, late or applied too late, by a
//! proxy in front of the local AWS or by the provider's stand-in. One recovery follows: the same key during and after
//! the lease, the provider's webhook, or the reconciler a minute, 45 minutes and a day later. Then all of them follow.
//! The table and the stand-in's record are audited after each ([`audit`]).
//!
//! | by default | with `FAULT_MATRIX=full` |
//! |---|---|
//! | each cell gets one of the three recoveries, in turn | all of them |
//! | all faults on a call in the first flow that makes it, every third fault in the others | all faults |
//! | faults on Secrets Manager calls at the start in the first flow of each function | in every flow |
//! | faults on the first and the last of repeated calls of a reconciler run | on every one |
//! | faults on the calls of a reconciler run that no other flow makes | on all of them |
//!
//! `cargo test` prints the matrix with `-- --nocapture`. `FAULT_FLOWS=webhook` runs only the flows whose names contain
//! that.

mod audit;
mod content;
mod fault;
mod flows;
mod matrix;
mod points;
mod recovery;
mod replay;
mod runs;
mod soak;
mod stack;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use payment_functions::platform::failpoint::ExternalCall;
use payment_functions_local::sandbox::{ListMode, Payment};
use payment_functions_tests::world::{InvokeError, PRODUCTION_TIMEOUTS};
use tokio::task::JoinHandle;

use self::content::WebhookContent;
use self::fault::Fault;
use self::flows::{Action, Flow, Quote};
use self::matrix::Matrix;
use self::points::{NOT_IN_A_FLOW, Step, Wire};
use self::replay::Quarantined;
use self::runs::{Fixture, RunResult};
use self::soak::Unconfirmed;
use self::stack::{Harness, Stack, Worker};
use super::routes::*;
use super::support::*;
use super::{aws, quotes};

/// The time limit of the contract for every POST.
const RESPONSE_LIMIT: Duration = Duration::from_secs(20);

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

/// Clock offset of the functions under test, in seconds: all earlier leases have expired.
const DURING_FLOW: u64 = 31;
/// Clock offset once the leases of the functions under test have expired.
const AFTER_LEASES: u64 = 2 * DURING_FLOW + 2;
/// Clock offsets of reconciler runs: FinvyPay's first poll, its payments expired, ApoloPay's payments expired.
const SWEEPS: [u64; 3] = [
    DURING_FLOW + MINUTE + 1,
    DURING_FLOW + 46 * MINUTE,
    DURING_FLOW + DAY + 60 * MINUTE,
];
const AFTER_SWEEPS: u64 = SWEEPS[2] + 60 * MINUTE;

/// What follows a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Recovery {
    SameKey,
    Webhook,
    Reconciler,
}

impl Recovery {
    const ALL: [Self; 3] = [Self::SameKey, Self::Webhook, Self::Reconciler];

    const fn name(self) -> &'static str {
        match self {
            Self::SameKey => "the same key",
            Self::Webhook => "a webhook",
            Self::Reconciler => "the reconciler",
        }
    }
}

/// When a request comes, relative to the flow under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    Early,
    Soon,
    Later,
}

#[derive(Clone, Debug)]
struct Cell {
    /// Its index among the cells of its flow.
    nth: usize,
    /// The fault, and the step where it is injected.
    fault: Option<(Step, Fault)>,
    recovery: Recovery,
    /// The number of calls that the function makes at its start.
    calls_at_start: usize,
}

impl Cell {
    fn without_fault(recovery: Recovery) -> Self {
        Self {
            nth: 0,
            fault: None,
            recovery,
            calls_at_start: 0,
        }
    }
}

/// One run of a cell: an order and everything that happened to it.
struct Case {
    flow: Arc<Flow>,
    cell: Cell,
    nth: usize,
    order: String,
    key: Option<String>,
    /// The quote of all its requests.
    quote: Option<String>,
    /// Our payment id, once a response contained it.
    id: Option<String>,
    /// The final response to the create request.
    response: Option<Response>,
    /// The number of create requests that may have called the provider.
    possible_calls: usize,
    /// The provider's ids that responses gave to the buyer.
    given_ids: Vec<String>,
    /// The webhooks that were sent. Those replayed from quarantine count as accepted.
    sent: Vec<WebhookContent>,
    /// Webhooks in quarantine that an operator replays.
    quarantined: Vec<Quarantined>,
    has_crashed: bool,
    /// Whether it was paid without a webhook.
    is_paid: bool,
    /// The status at which the provider has it now, if no webhook and no operator says more.
    provider_status: Option<&'static str>,
    /// What the provider's status then says.
    provider_says: Option<WebhookContent>,
    /// Whether an operator's command completed or closed it.
    is_completed: bool,
    is_closed: bool,
    /// Whether a claim says that it is paid, and nothing else.
    is_claimed: bool,
    /// Claims that the provider never confirms.
    unconfirmed: Unconfirmed,
    /// The number of responses with PROVIDER_ERROR.
    provider_errors: usize,
    /// The id of its function's own secret, which is rotated.
    secret: Option<String>,
    violations: Vec<String>,
}

impl Case {
    fn new(flow: &Arc<Flow>, cell: &Cell) -> Self {
        let order = unique("ORD");
        let quote = flow.quote.valid_for().map(|seconds| {
            let body = body(flow.provider, &order);
            quotes::token(&body, seconds)
        });
        Self {
            flow: Arc::clone(flow),
            cell: cell.clone(),
            nth: cell.nth,
            order,
            quote,
            key: flow.keyed.then(|| unique("key")),
            id: None,
            response: None,
            possible_calls: 0,
            given_ids: Vec::new(),
            sent: Vec::new(),
            quarantined: Vec::new(),
            has_crashed: false,
            is_paid: false,
            provider_status: None,
            provider_says: None,
            is_completed: false,
            is_closed: false,
            is_claimed: false,
            unconfirmed: Unconfirmed::default(),
            provider_errors: 0,
            secret: None,
            violations: Vec::new(),
        }
    }

    /// Whether a repeated request gets the first response.
    fn is_repeatable(&self) -> bool {
        self.key.is_some() || self.quote.is_some()
    }

    fn accepted(&self) -> impl Iterator<Item = &WebhookContent> {
        self.sent.iter().filter(|said| said.is_accepted)
    }

    fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violation(what());
        }
    }

    /// The flow, the step, the fault and the recovery.
    fn name(&self) -> String {
        let (flow, recovery) = (&self.flow.name, self.cell.recovery.name());
        match &self.cell.fault {
            None => format!("{flow}: no fault, then {recovery}"),
            Some((step, fault)) => {
                let (call, nth, fault) = (step.call.name(), step.nth, fault.name());
                format!("{flow}: {call}#{nth}: {fault}, then {recovery}")
            }
        }
    }

    /// The order's payments at the provider.
    async fn at_provider(&self, harness: &Harness) -> Vec<Payment> {
        let payments = harness
            .stand_ins
            .control
            .payments(self.flow.provider, &self.order)
            .await;
        payments.expect("the payments")
    }

    /// Records what a response to a create request reveals about the payment.
    fn record_response(&mut self, response: &Response) {
        let body = response.json();
        if let Some(id) = body["id"].as_str() {
            let known = self.id.get_or_insert_with(|| id.to_owned()).clone();
            self.check(known == id, || {
                format!("unexpected payment id: {response:?}, expected {known}")
            });
        }
        let given_ids = ["processId", "paymentId"]
            .iter()
            .filter_map(|name| body[*name].as_str());
        self.given_ids.extend(given_ids.map(str::to_owned));
        self.provider_errors += usize::from(response.status == 502);
        let is_replayed = response.header("idempotency-replayed").is_some();
        self.possible_calls += usize::from(!is_replayed && response.status != 409);
        if let Some(first) = self.response.clone() {
            // A fault may hit the replay itself.
            let may_fail = self.flow.is_replay() && response.status == 503;
            if self.is_repeatable() && !may_fail {
                let is_same = (response.status, &response.text) == (first.status, &first.text) && is_replayed;
                self.check(is_same, || format!("not replayed: {response:?} after {first:?}"));
            }
        } else if recovery::is_final(response) {
            self.response = Some(response.clone());
        }
    }

    /// Checks the response of the function under test. `has_begun` is true if it stored its intent.
    fn first_response(&mut self, response: &Response, has_begun: bool) {
        let is_in_contract = match (response.status, response.json()["code"].as_str()) {
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
        self.check(is_in_contract, || format!("response not in the contract: {response:?}"));
        let before_the_intent = |(step, _): &(Step, Fault)| {
            let calls = [
                ExternalCall::CurrentSecret,
                ExternalCall::PreviousSecret,
                ExternalCall::FindRequest,
                ExternalCall::InsertPayment,
            ];
            calls.contains(&step.call) && !step.is_forced()
        };
        let is_stored = has_begun && !self.flow.at_random && !self.cell.fault.as_ref().is_some_and(before_the_intent);
        if response.status >= 500 && is_stored {
            self.check(response.json()["id"].is_string(), || {
                format!("no payment id: {response:?}")
            });
        }
    }
}

/// Plans the cells of all flows.
struct CellPlanner {
    is_full: bool,
    /// Calls with all faults planned, and their provider.
    covered: BTreeSet<(ExternalCall, Option<&'static str>)>,
    /// Functions whose Secrets Manager calls have all faults planned.
    functions: BTreeSet<&'static str>,
    turn: usize,
}

/// A step whose call is covered gets every third fault.
const THIRD: usize = 3;

impl CellPlanner {
    fn new(is_full: bool) -> Self {
        Self {
            is_full,
            covered: BTreeSet::new(),
            functions: BTreeSet::new(),
            turn: 0,
        }
    }

    fn cells(&mut self, flow: &Flow, steps: &[Step]) -> Vec<Cell> {
        let is_first_of_function = self.functions.insert(flow.function());
        let mut faults = Vec::new();
        for step in steps {
            let on_the_way = match step.wire() {
                Wire::SecretsManager if self.is_full || is_first_of_function || step.is_forced() => {
                    Fault::of(step, flow.provider)
                }
                Wire::Provider(_) if !flow.has_reply(step) => self.some(step, flow),
                Wire::DynamoDb(_) => self.some(step, flow),
                Wire::SecretsManager | Wire::Provider(_) | Wire::Events(_) => Vec::new(),
            };
            let of_step = Fault::CRASHES.into_iter().chain(on_the_way);
            faults.extend(of_step.map(|fault| (*step, fault)));
        }
        // How many tries a call slot costs varies.
        let kept = if matches!(flow.action, Action::CheckClaim) {
            points::first_and_last(steps)
        } else {
            steps.to_vec()
        };
        faults.retain(|(step, _)| kept.contains(step));
        self.turn += 1;
        let calls_at_start = steps.iter().filter(|step| step.is_at_start).count();
        let mut cells = in_turn(faults, &Recovery::ALL, self.is_full, self.turn);
        for cell in &mut cells {
            cell.calls_at_start = calls_at_start;
        }
        cells
    }

    fn some(&mut self, step: &Step, flow: &Flow) -> Vec<Fault> {
        let all = Fault::of(step, flow.provider);
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
            .map(|(_, fault)| fault)
            .collect()
    }

    fn run_cells(&self, steps: &[Step]) -> Vec<Cell> {
        let mut faults = Vec::new();
        for step in steps {
            faults.extend(Fault::CRASHES.map(|crash| (*step, crash)));
            let is_injected = match step.wire() {
                // Later calls concern different payments in each run.
                Wire::Provider(_) => step.nth == 1,
                Wire::DynamoDb(_) | Wire::SecretsManager | Wire::Events(_) => {
                    let is_covered = self.covered.iter().any(|(call, _)| *call == step.call);
                    self.is_full || (step.nth == 1 && !is_covered)
                }
            };
            if is_injected {
                let on_the_way = Fault::of(step, Provider::Finvypay)
                    .into_iter()
                    .map(Fault::for_slow_machine);
                faults.extend(on_the_way.map(|fault| (*step, fault)));
            }
        }
        let mut cells = in_turn(faults, &[Recovery::Webhook, Recovery::Reconciler], self.is_full, 0);
        cells.sort_by_key(wait);
        cells
    }
}

/// Assigns one of the recoveries to each fault, in turn; all of them if `is_full`.
fn in_turn(faults: Vec<(Step, Fault)>, recoveries: &[Recovery], is_full: bool, shift: usize) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (nth, fault) in faults.into_iter().enumerate() {
        let turn = if is_full {
            recoveries
        } else {
            &[recoveries[(nth + shift) % recoveries.len()]]
        };
        cells.extend(turn.iter().map(|recovery| Cell {
            nth,
            fault: Some(fault.clone()),
            recovery: *recovery,
            calls_at_start: 0,
        }));
    }
    cells
}

/// Sort key: cells that mostly wait come first. Cells with the same worker setup are adjacent.
fn wait(cell: &Cell) -> u8 {
    match &cell.fault {
        Some((_, fault)) if fault.needs_usual_limits() => 0,
        Some((_, Fault::Provider(name, _))) if name.starts_with("hung") => 1,
        Some((_, Fault::Aws(..))) => 2,
        _ => 3,
    }
}

type Job = (Arc<Flow>, Cell);

/// A queue that several workers share.
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

/// The workers of each stack. Each has a function and a proxy.
const WORKERS: [(&str, usize); 5] = [
    ("create-preorder", 6),
    ("create-apm", 6),
    ("webhook-handler", 4),
    ("get-payment", 2),
    ("reconcile-payments", 2),
];
/// Workers that record the flows' steps.
const RECORDING_WORKERS: usize = 6;
/// Workers of each stack that start a process for each cell; and workers for reconciler runs.
const CRASH_WORKERS: usize = 3;
const RUN_WORKERS: usize = 24;

/// A flow that ran without a fault.
struct RecordedFlow {
    flow: Arc<Flow>,
    steps: Vec<Step>,
    case: Case,
}

#[test]
fn documented_number_of_flows_is_right() {
    let page = std::fs::read_to_string(payment_functions_local::workspace().join("docs/guarantees.md")).unwrap();
    // And the reconciler's run.
    let flows = flows::all().len() + 1;
    assert!(page.contains(&format!("in all {flows} flows")), "{flows} flows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn every_flow_survives_every_fault_at_every_step() {
    let _busy = MACHINE.read().await;
    let is_full = std::env::var("FAULT_MATRIX").is_ok_and(|size| size == "full");
    let only = std::env::var("FAULT_FLOWS").ok();
    let is_wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let harness = Arc::new(Harness::open(is_full).await);
    // The flows' tables have an account together, whose payments the list would mix up.
    let modes = harness.stand_ins.control.list_modes(&[ListMode::OnlyOfOrders]);
    modes.await.expect("the stand-ins");
    let open = Recovery::ALL.map(|recovery| {
        let harness = Arc::clone(&harness);
        tokio::spawn(async move { Arc::new(Stack::open(&harness, recovery).await) })
    });
    let stacks: Vec<Arc<Stack>> = done(open).await;

    let wanted = flows::all().into_iter().filter(|flow| is_wanted(&flow.name)).collect();
    let flows = record_steps(&harness, &stacks[0], wanted).await;
    let fixture = Arc::new(Fixture::fill(&harness, &unique("fixture")).await);
    let (run_steps, run) = runs::record_steps(&harness, &fixture).await;
    let steps = flows.iter().flat_map(|recorded| &recorded.steps).chain(&run_steps);
    let reached: BTreeSet<ExternalCall> = steps.map(|step| step.call).collect();
    assert!(
        only.is_some()
            || ExternalCall::ALL
                .iter()
                .all(|call| reached.contains(call) != NOT_IN_A_FLOW.contains(call)),
        "calls reached by the flows do not match NOT_IN_A_FLOW: {reached:?}"
    );

    let (mut matrix, mut planner) = (Matrix::default(), CellPlanner::new(is_full));
    let mut cells = Vec::new();
    let mut cases: Vec<Vec<Case>> = stacks.iter().map(|_| Vec::new()).collect();
    for recorded in flows {
        matrix.add_flow(&recorded.flow.name, &recorded.steps);
        let planned = planner.cells(&recorded.flow, &recorded.steps);
        cells.extend(planned.into_iter().map(|cell| (Arc::clone(&recorded.flow), cell)));
        cases[0].push(recorded.case);
    }
    let run_steps = if is_full {
        run_steps
    } else {
        points::first_and_last(&run_steps)
    };
    let run_cells = if is_wanted(runs::NAME) {
        planner.run_cells(&run_steps)
    } else {
        Vec::new()
    };
    matrix.add_flow(runs::NAME, &run_steps);

    // Faults, and the recoveries that follow at once.
    let run_workers = inject_runs(&harness, &fixture, run_cells);
    let injected = stacks.iter().map(|stack| {
        let of_stack = cells
            .iter()
            .filter(|(_, cell)| cell.recovery == stack.recovery)
            .cloned();
        tokio::spawn(inject(Arc::clone(&harness), Arc::clone(stack), of_stack.collect()))
    });
    for (cases, more) in cases.iter_mut().zip(done(injected).await) {
        cases.extend(more);
    }

    // Recoveries for all cases together, and the audit.
    let recoveries = stacks.iter().zip(cases).map(|(stack, cases)| {
        let (harness, stack) = (Arc::clone(&harness), Arc::clone(stack));
        tokio::spawn(async move { stack.recover_all(&harness, cases).await })
    });
    let mut violations = BTreeSet::new();
    for case in done(recoveries).await.into_iter().flatten() {
        matrix.count(&case.flow.name, &case.cell);
        violations.extend(
            case.violations
                .iter()
                .map(|violation| format!("{}: {violation}", case.name())),
        );
    }
    for result in done(run_workers).await.into_iter().flatten().chain([run]) {
        matrix.count(runs::NAME, &result.cell);
        violations.extend(
            result
                .violations
                .iter()
                .map(|violation| format!("{}: {violation}", result.name())),
        );
    }
    println!("{matrix}");
    let retries = harness.retries();
    print_uncaptured(&format!(
        "faults: {}; retried on a busy machine: {} {retries:?}",
        matrix.to_string().lines().last().expect("a total"),
        retries.values().sum::<usize>()
    ));
    let shown: Vec<&str> = violations.iter().take(60).map(String::as_str).collect();
    if !shown.is_empty() {
        print_uncaptured(&format!("{} violations\n{}", violations.len(), shown.join("\n")));
    }
    assert!(shown.is_empty(), "{} violations, shown above", violations.len());
}

/// The results of tasks, in order.
async fn done<T>(tasks: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

/// Runs flows without faults.
async fn record_steps(harness: &Arc<Harness>, stack: &Arc<Stack>, flows: Vec<Flow>) -> Vec<RecordedFlow> {
    let jobs = Jobs::new(flows.into_iter().map(Arc::new).enumerate());
    let recorders: Vec<_> = (0..RECORDING_WORKERS)
        .map(|_| {
            let (harness, stack, jobs) = (Arc::clone(harness), Arc::clone(stack), jobs.clone());
            tokio::spawn(async move {
                let mut recorded = Vec::new();
                while let Some((nth, flow)) = jobs.take() {
                    let (case, steps) = stack.record_steps(&harness, &flow).await;
                    recorded.push((nth, RecordedFlow { flow, steps, case }));
                }
                recorded
            })
        })
        .collect();
    let mut recorded: Vec<_> = done(recorders).await.into_iter().flatten().collect();
    recorded.sort_by_key(|(nth, _)| *nth);
    recorded.into_iter().map(|(_, recorded)| recorded).collect()
}

/// Runs the cells of flows in a stack. Each crash has its own process.
async fn inject(harness: Arc<Harness>, stack: Arc<Stack>, mut jobs: Vec<Job>) -> Vec<Case> {
    jobs.sort_by_key(|(_, cell)| wait(cell));
    let (crashes, faults): (Vec<Job>, Vec<Job>) = jobs
        .into_iter()
        .partition(|(_, cell)| matches!(cell.fault, Some((_, Fault::Crash(_)))));
    let crashes = Jobs::new(crashes);
    let crash_workers = (0..CRASH_WORKERS).map(|_| {
        let (harness, stack, jobs) = (Arc::clone(&harness), Arc::clone(&stack), crashes.clone());
        tokio::spawn(async move {
            let mut cases = Vec::new();
            while let Some((flow, cell)) = jobs.take() {
                cases.push(stack.crash(&harness, &flow, &cell).await);
            }
            cases
        })
    });
    let workers = WORKERS.iter().flat_map(|(function, count)| {
        let own = faults.iter().filter(|(flow, _)| flow.function() == *function);
        let own = Jobs::new(own.cloned());
        (0..*count).map(move |_| own.clone())
    });
    let workers = workers.map(|jobs| {
        let (harness, stack) = (Arc::clone(&harness), Arc::clone(&stack));
        tokio::spawn(async move {
            let (mut cases, mut worker) = (Vec::new(), Worker::open(&stack.table).await);
            while let Some((flow, cell)) = jobs.take() {
                cases.push(stack.inject(&harness, &mut worker, &flow, &cell).await);
            }
            cases
        })
    });
    done(crash_workers.chain(workers).collect::<Vec<_>>())
        .await
        .into_iter()
        .flatten()
        .collect()
}

/// Runs the cells of reconciler runs.
fn inject_runs(harness: &Arc<Harness>, fixture: &Arc<Fixture>, cells: Vec<Cell>) -> Vec<JoinHandle<Vec<RunResult>>> {
    let jobs = Jobs::new(cells);
    let run_worker = |_| {
        let (harness, fixture, jobs) = (Arc::clone(harness), Arc::clone(fixture), jobs.clone());
        tokio::spawn(async move {
            let mut results = Vec::new();
            while let Some(cell) = jobs.take() {
                results.push(runs::inject(&harness, &fixture, &cell).await);
            }
            results
        })
    };
    (0..RUN_WORKERS).map(run_worker).collect()
}
