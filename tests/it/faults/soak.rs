//! A soak test: full load while 5% of the calls fail and processes are killed; then an audit of the table and of the
//! published events.
//!
//! Buyers create payments with and without a key, some twice concurrently; webhooks come in every shape, some before
//! the create response; some are unreadable or contradictory, or come in bursts under an unknown id; money goes back,
//! and comes again; nobody knows what a status means; operators complete, close and replay; GETs, reconcilers and the
//! publisher run beside them. Each order has one payment, and no secrets rotate: other tests cover those.
//!
//! `cargo test` runs it for a few seconds. `SOAK_SECONDS` (`make soak`) runs it for longer, with more buyers.

mod attention;
mod claims;
mod kept;
mod publishing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::future::join;
use futures_util::stream::{self, StreamExt};
use payment_functions_local::sandbox::Chaos;
use payment_functions_tests::world::{AwsProxy, Fault as AwsFault};

pub use self::claims::Unconfirmed;
use self::kept::Extra;
use super::audit::{Record, Stage, Table, audit};
use super::recovery::{Webhook, is_final};
use super::stack::{command_at, create_at};
use super::*;

/// Percentage of calls with a fault.
const PERCENT: u8 = 5;
/// With this seed, the fourth call to a provider has a fault, so that the shortest soak has one.
const SEED: u64 = 2;
/// Buyers per processor in a long soak. More of them measurably lower the throughput.
const BUYERS_PER_CPU: usize = 20;
/// Attempts of a buyer.
const TRIES: usize = 3;
/// The pause between two kills, and between two runs of a reconciler.
const PAUSE: Duration = Duration::from_secs(1);
/// How much longer than planned the load goes on if something has not happened yet.
const GRACE: Duration = Duration::from_secs(120);
const RECONCILERS: usize = 2;
/// The reconciler instance that gets operators' commands.
const OPERATOR_FUNCTION: usize = RECONCILERS;
/// Maximum attempts of a batch, a command or a webhook that must be acknowledged, and the pause between two.
const MOST_TRIES: usize = 50;
const POLL: Duration = Duration::from_millis(100);
/// Each buyer has its own functions.
const FUNCTIONS: [&str; 4] = ["create-preorder", "create-apm", "webhook-handler", "get-payment"];
/// Concurrent retries after the load.
const TOGETHER: usize = 4;

/// AWS faults, one of each kind.
fn faults() -> Vec<AwsFault> {
    vec![
        AwsFault::THROTTLED,
        AwsFault::UNAVAILABLE,
        AwsFault::ErrorAfter(500, "InternalServerError"),
        AwsFault::Disconnect,
        AwsFault::LoseResponse,
        AwsFault::Hang,
        AwsFault::HangAfter,
        AwsFault::Late(Duration::from_millis(250)),
    ]
}

struct Soak {
    harness: Harness,
    table: String,
    proxy: AwsProxy,
    buyers: usize,
    until: Instant,
    /// By provider; with and without a key.
    flows: [[Arc<Flow>; 2]; 2],
    /// The event bus, and the queue where its events arrive.
    bus: String,
    arrivals: String,
    dead_letters: String,
    /// Whether all changes are done.
    is_over: AtomicBool,
    counts: Mutex<BTreeMap<String, u64>>,
    /// Violations that belong to no payment.
    violations: Mutex<BTreeSet<String>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_at_once_with_faults_loses_nothing() {
    let _busy = MACHINE.read().await;
    let seconds = std::env::var("SOAK_SECONDS").ok();
    let seconds: Option<u64> = seconds.map(|text| text.parse().expect("SOAK_SECONDS: a number"));
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (buyers, load) = seconds.map_or((3, 8), |seconds| (BUYERS_PER_CPU * processors, seconds));
    let soak = Arc::new(Soak::open(buyers, Duration::from_secs(load)).await);

    let publisher = Arc::clone(&soak);
    let publisher = tokio::spawn(async move { publisher.publish().await });
    let cases = soak.load().await;
    let counts = soak.counts.lock().unwrap().clone();
    let (by_kind, beside): (BTreeMap<_, _>, BTreeMap<_, _>) = counts
        .into_iter()
        .partition(|(name, _)| REQUESTS.contains(&name.as_str()));
    let requests: u64 = by_kind.values().sum();
    let calls: usize = AWS_CALLS.iter().map(|action| soak.proxy.count(action)).sum();
    let of_aws = soak.proxy.injected();
    soak.proxy.end_chaos();
    let of_provider = soak
        .harness
        .stand_ins
        .control
        .chaos(&Chaos::default())
        .await
        .expect("calm");

    println!("faults end after {} payments", cases.len());
    let (cases, table) = soak.audit(cases).await;
    soak.is_over.store(true, Ordering::Relaxed);
    let stored = publisher.await.unwrap();
    let (confirmed, unconfirmed) = soak.audit_claims(&cases, &table);
    let events = soak.audit_events(&stored, &table).await;
    let facts = table.facts();
    let violations = cases.iter().flat_map(|case| {
        case.violations
            .iter()
            .map(|violation| format!("{}: {violation}", case.order))
    });
    let violations: Vec<String> = violations.chain(soak.violations.lock().unwrap().clone()).collect();
    let (by_aws, by_providers): (usize, usize) = (of_aws.values().sum(), of_provider.faults.values().sum());
    let injected = by_aws + by_providers;
    println!(
        "soak: {buyers} buyers, {load} s, {} payments, {requests} requests",
        cases.len()
    );
    println!(
        "  load: {} requests per second: {by_kind:?}; {beside:?}",
        requests / load
    );
    println!("  AWS: {calls} calls, faults {of_aws:?}");
    println!(
        "  providers: {} calls, faults {:?}",
        of_provider.calls, of_provider.faults
    );
    println!(
        "  {injected} faults in {} calls; {facts} recorded facts; {} changes, {events} events",
        calls + of_provider.calls,
        stored.len()
    );
    println!("  claims: {confirmed} confirmed, {unconfirmed} not");
    println!("  violations: {}", violations.len());
    print_uncaptured(&format!(
        "soak: {requests} requests, {injected} faults, {facts} facts, {confirmed} claims confirmed, {unconfirmed} not, {} \
         violations; {beside:?}",
        violations.len()
    ));
    assert!(
        violations.is_empty(),
        "{}",
        violations.into_iter().take(40).collect::<Vec<_>>().join("\n")
    );
    assert!(
        by_aws > 0 && by_providers > 0 && cases.len() > buyers && facts > 0 && events > 0,
        "soak without faults or without load"
    );
    assert!(confirmed > 0 && unconfirmed > 0, "soak without claims");
    assert_eq!(soak.missing(), None, "the audit would prove nothing about it");
    if seconds.is_some() {
        let shares = [100 * by_aws / calls, 100 * by_providers / of_provider.calls];
        let expected = usize::from(PERCENT - 2)..=usize::from(PERCENT + 2);
        assert!(
            shares.iter().all(|percent| expected.contains(percent)),
            "faults in {shares:?} percent of the calls"
        );
    }
}

/// The counters that are requests.
const REQUESTS: [&str; 6] = [
    "create",
    "webhook",
    "get",
    "operator command",
    "sweep",
    "batch of records",
];
/// The other counters that must not stay at zero.
const MUST_HAPPEN: [&str; 11] = [
    claims::CONFIRMED,
    claims::UNKNOWN,
    claims::EARLY,
    "process killed",
    "finished sweep",
    "change of attention",
    "unreadable webhook",
    "contradictory webhook",
    "ending by the provider's status",
    "burst before the response",
    "replay",
];
const NOT_CHECKED: &str = "due item could not be checked";
const AWS_CALLS: [&str; 6] = [
    "GetItem",
    "Query",
    "TransactWriteItems",
    "GetSecretValue",
    "PutEvents",
    "SendMessage",
];

impl Soak {
    async fn open(buyers: usize, load: Duration) -> Self {
        let harness = Harness::open(false).await;
        let table = unique("soak");
        aws::create_table(&table).await;
        let proxy = aws::proxy().await;
        proxy.chaos(PERCENT, SEED, &faults());
        let flows = BOTH.map(|provider| [true, false].map(|keyed| Arc::new(Flow::at_random(provider, keyed))));
        let (bus, arrivals) = aws::create_bus().await;
        let soak = Self {
            harness,
            table,
            proxy,
            buyers,
            until: Instant::now(),
            flows,
            bus,
            arrivals,
            dead_letters: aws::create_queue().await,
            is_over: AtomicBool::new(false),
            counts: Mutex::default(),
            violations: Mutex::default(),
        };
        for buyer in 0..buyers {
            for function in FUNCTIONS {
                soak.start(function, buyer).await;
            }
        }
        for nth in 0..=OPERATOR_FUNCTION {
            soak.start("reconcile-payments", nth).await;
        }
        soak.start("publish-events", 0).await;
        let chaos = Chaos {
            percent: PERCENT,
            seed: SEED,
            ..Chaos::default()
        };
        soak.harness
            .stand_ins
            .control
            .chaos(&chaos)
            .await
            .expect("the stand-ins");
        Self {
            until: Instant::now() + load,
            ..soak
        }
    }

    /// Starts a function, replacing the previous one.
    async fn start(&self, function: &str, buyer: usize) {
        // The reconciler polls payments that are a minute old.
        let ahead = if function == "reconcile-payments" {
            MINUTE + 10
        } else {
            0
        };
        // Hung calls time out as in Lambda; callers retry.
        let mut changes = vec![("AWS_ENDPOINT_URL", Some(self.proxy.url())), PRODUCTION_TIMEOUTS];
        if function == "publish-events" {
            changes.extend([
                ("EVENT_BUS", Some(self.bus.as_str())),
                ("DEAD_LETTER_QUEUE_URL", Some(self.dead_letters.as_str())),
            ]);
        }
        let lambda = self.harness.lambda(function, &self.table, ahead, &changes).await;
        self.harness
            .function_urls
            .put(&function_name(function, buyer), &Arc::new(lambda));
    }

    /// Whether the time is over and everything has happened that must, or has had more than enough time to.
    fn is_load_over(&self) -> bool {
        let now = Instant::now();
        now >= self.until && (now >= self.until + GRACE || self.missing().is_none())
    }

    /// Something that must happen and has not yet.
    fn missing(&self) -> Option<String> {
        let must_happen = MUST_HAPPEN
            .into_iter()
            .map(str::to_owned)
            .chain(attention::must_be_sent());
        self.missing_of(must_happen)
    }

    fn missing_of(&self, kinds: impl IntoIterator<Item = String>) -> Option<String> {
        let counts = self.counts.lock().unwrap();
        kinds.into_iter().find(|kind| !counts.contains_key(kind))
    }

    fn count(&self, what: &str) {
        self.count_more(what, 1);
    }

    fn count_more(&self, what: &str, more: u64) {
        *self.counts.lock().unwrap().entry(what.to_owned()).or_default() += more;
    }

    fn violation(&self, what: String) {
        self.violations.lock().unwrap().insert(what);
    }

    /// The full load, until the time is over.
    async fn load(self: &Arc<Self>) -> Vec<Case> {
        let buyers = (0..self.buyers).map(|buyer| {
            let soak = Arc::clone(self);
            tokio::spawn(async move { soak.serve(buyer).await })
        });
        let buyers: Vec<_> = buyers.collect();
        let reconcilers = (0..RECONCILERS).map(|nth| {
            let soak = Arc::clone(self);
            tokio::spawn(async move { soak.reconcile(nth).await })
        });
        let reconcilers: Vec<_> = reconcilers.collect();
        let soak = Arc::clone(self);
        let killer = tokio::spawn(async move { soak.kill().await });
        let cases = done(buyers).await.into_iter().flatten().collect();
        for nth in 0..RECONCILERS {
            // A run may take most of a minute.
            self.harness
                .function_urls
                .function(&function_name("reconcile-payments", nth))
                .kill()
                .await;
        }
        done(reconcilers.into_iter().chain([killer])).await;
        cases
    }

    async fn serve(&self, buyer: usize) -> Vec<Case> {
        let mut random = fastrand::Rng::with_seed(u64::try_from(buyer).expect("small"));
        let mut cases = Vec::new();
        while !self.is_load_over() {
            let [keyed, keyless] = random.choice(&self.flows).expect("two");
            let flow = if random.u8(..5) == 0 { keyless } else { keyed };
            let extra = self.next_extra(flow.provider, buyer, cases.len(), &mut random);
            let mut case = Case::new(flow, &Cell::without_fault(Recovery::SameKey));
            if extra == Extra::UnknownClaim {
                self.claim_early(&mut case, buyer).await;
            }
            self.script_early_webhooks(&case, extra, buyer, &mut random).await;
            self.create(&mut case, buyer, &mut random).await;
            case.record_early_webhooks(&self.harness).await;
            self.add_extra(&mut case, extra, buyer, &mut random).await;
            self.raise_attention(&mut case, buyer, &mut random).await;
            if extra.may_be_paid_otherwise() {
                self.pay(&mut case, buyer, &mut random).await;
            }
            self.raise_attention(&mut case, buyer, &mut random).await;
            self.get(&mut case, buyer).await;
            cases.push(case);
        }
        cases
    }

    /// Sends a create request until there is a final response or the buyer gives up; sometimes to two functions
    /// concurrently. Without a key each request is a new payment, so there is only one.
    async fn create(&self, case: &mut Case, buyer: usize, random: &mut fastrand::Rng) {
        for _ in 0..TRIES {
            let mut responses = Vec::new();
            if case.key.is_some() && random.u8(..10) == 0 {
                let other = (buyer + 1) % self.buyers;
                let (one, two) = join(self.create_once(case, buyer), self.create_once(case, other)).await;
                responses.extend([one, two]);
            } else {
                responses.push(self.create_once(case, buyer).await);
            }
            responses.sort_by_key(replay_order);
            for response in responses {
                match response {
                    Ok(response) => {
                        if response.status != 409 {
                            case.first_response(&response, false);
                        }
                        case.record_response(&response);
                    }
                    Err(InvokeError::Died { .. }) => case.possible_calls += 1,
                    Err(error) => case.violation(format!("no response: {error}")),
                }
            }
            if case.response.is_some() || case.key.is_none() {
                return;
            }
        }
    }

    async fn create_once(&self, case: &Case, buyer: usize) -> Result<Response, InvokeError> {
        self.count("create");
        let lambda = self
            .harness
            .function_urls
            .function(&function_name(function(case.flow.provider), buyer));
        create_at(&lambda, case, &case.body()).await
    }

    /// Pays or fails a payment at its provider.
    async fn pay(&self, case: &mut Case, buyer: usize, random: &mut fastrand::Rng) {
        let Some(there) = case.at_provider(&self.harness).await.pop() else {
            return;
        };
        let scenario = random.u8(..100);
        let mut webhook = |members: Value| {
            let kind = random.choice(Webhook::ALL).expect("some");
            with(
                with(kind.spec(case.flow.provider), json!({ "payment": there.id })),
                members,
            )
        };
        let paid = json!({});
        let failed = json!({ "outcome": "failed", "moves": false });
        let refunded_failure = with(failed.clone(), json!({ "extra": { "refundDate": "2026-01-02" } }));
        let other_money = json!({ "amount": 1, "moves": false });
        let three_times = json!({ "times": 3, "concurrent": true });
        // Payments that are never resolved are rare: the audit polls the provider for each of them.
        let delivered = match scenario {
            0..2 => vec![],
            2..4 => {
                // It is paid, but no webhook comes.
                if case.flow.provider == Provider::Finvypay {
                    let control = &self.harness.stand_ins.control;
                    let moved = control.set_status(Provider::Finvypay, &there.id, "COMPLETED").await;
                    moved.expect("a payment");
                    case.is_paid = true;
                }
                vec![]
            }
            4..6 => vec![webhook(failed)],
            6..10 => vec![webhook(refunded_failure), webhook(paid)],
            10..20 => vec![webhook(failed), webhook(paid)],
            20..34 => vec![webhook(paid), webhook(failed)],
            34..45 => vec![webhook(other_money), webhook(paid)],
            45..48 => vec![webhook(other_money)],
            48..62 => vec![webhook(three_times)],
            62..70 => vec![],
            _ => vec![webhook(paid)],
        };
        if (62..80).contains(&scenario) {
            case.is_completed = self.send_command(case, ("complete", "completed")).await;
        }
        for spec in &delivered {
            for _ in 0..TRIES {
                let base_url = self.webhook_handler(buyer);
                let deliveries = case.send_webhook(&self.harness, spec, &base_url).await;
                for delivery in &deliveries {
                    self.count("webhook");
                    // Here 502 means that the process was killed.
                    let is_expected = matches!(delivery.status, Some(200 | 502 | 503));
                    case.check(is_expected, || format!("webhook response {delivery:?}"));
                }
                if deliveries.iter().any(|delivery| delivery.status == Some(200)) {
                    break;
                }
            }
        }
        let completions = case.accepted().filter(|said| said.is_completion);
        let amounts: BTreeSet<String> = completions.map(|said| said.amount.to_string()).collect();
        let is_in_review = amounts == BTreeSet::from(["1".to_owned()]);
        if (45..48).contains(&scenario) && is_in_review {
            case.is_closed = self.send_command(case, ("close", "review")).await;
        }
    }

    /// Sends an operator's command until it succeeds. Returns whether it was applied.
    async fn send_command(&self, case: &mut Case, (action, status): (&'static str, &str)) -> bool {
        let Some(id) = case.id.clone() else { return false };
        for _ in 0..MOST_TRIES {
            self.count("operator command");
            let lambda = self
                .harness
                .function_urls
                .function(&function_name("reconcile-payments", OPERATOR_FUNCTION));
            match command_at(&lambda, action, &id).await {
                Ok(done) => {
                    case.check(done["status"] == status, || format!("operator command: {done}"));
                    self.count(action);
                    return true;
                }
                // The webhook may still be unmatched.
                Err(InvokeError::Failed(words)) if action == "close" && words["errorType"] == "REFUSED" => {
                    return false;
                }
                Err(error) => case.check(is_transient(&error), || format!("operator command: {error}")),
            }
            // A killed function is replaced soon.
            tokio::time::sleep(POLL).await;
        }
        case.violation("operator commands keep failing".to_owned());
        false
    }

    async fn get(&self, case: &mut Case, buyer: usize) {
        let Some(id) = &case.id else { return };
        self.count("get");
        let lambda = self
            .harness
            .function_urls
            .function(&function_name("get-payment", buyer));
        match lambda.http("GET", &format!("/payments/{id}"), &[], b"").await {
            Ok(response) => {
                let is_expected = [200, 503].contains(&response.status);
                case.check(is_expected, || format!("GET response {response:?}"));
            }
            Err(InvokeError::Died { .. }) => {}
            Err(error) => case.violation(format!("no response: {error}")),
        }
    }

    async fn reconcile(&self, nth: usize) {
        while !self.is_load_over() {
            self.count("sweep");
            let lambda = self
                .harness
                .function_urls
                .function(&function_name("reconcile-payments", nth));
            match lambda.invoke(r#"{"action":"sweep"}"#).await {
                Ok(report) => {
                    let report: Value = serde_json::from_slice(&report).expect("JSON");
                    self.count_more(NOT_CHECKED, report["failed"].as_u64().expect("a number"));
                    self.count("finished sweep");
                }
                Err(error) if is_transient(&error) => {}
                Err(error) => self.violation(format!("reconciler run: {error}")),
            }
            for line in unexpected_failures(&lambda.log()) {
                self.violation(format!("reconciler run: {line}"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Kills one process after the other.
    async fn kill(&self) {
        let mut random = fastrand::Rng::with_seed(SEED);
        while !self.is_load_over() {
            tokio::time::sleep(PAUSE).await;
            self.count("process killed");
            let (function, buyer) = match random.u8(..10) {
                0 => ("reconcile-payments", random.usize(..=OPERATOR_FUNCTION)),
                1 => ("publish-events", 0),
                _ => (random.choice(FUNCTIONS).expect("some"), random.usize(..self.buyers)),
            };
            self.harness
                .function_urls
                .function(&function_name(function, buyer))
                .kill()
                .await;
            self.start(function, buyer).await;
        }
    }

    /// Retries the keys without a response, runs the reconciler, and audits everything. Returns the table too.
    async fn audit(&self, cases: Vec<Case>) -> (Vec<Case>, Table) {
        let (first, apm) = join(
            self.harness.lambda("create-preorder", &self.table, AFTER_LEASES, &[]),
            self.harness.lambda("create-apm", &self.table, AFTER_LEASES, &[]),
        )
        .await;
        let later = [&first, &apm];
        let retries = cases.into_iter().map(|mut case| async {
            if case.response.is_none() && case.key.is_some() {
                let lambda = later[usize::from(case.flow.provider == Provider::Finvypay)];
                let response = create_at(lambda, &case, &case.body()).await.expect("a response");
                case.record_response(&response);
                case.check(is_final(&response), || format!("repeated request: {response:?}"));
            }
            case
        });
        let mut cases: Vec<Case> = stream::iter(retries).buffer_unordered(TOGETHER).collect().await;
        for ahead in [SWEEPS[0], SWEEPS[2]] {
            self.harness
                .sweep(&self.harness.stand_ins, &self.table, AFTER_LEASES + ahead)
                .await;
        }
        let table = Table::read(&self.table).await;
        let records = Record::of_both(&self.harness.stand_ins.control).await;
        audit(&table, &records, &mut cases, Stage::Calm);
        let orders: BTreeSet<&str> = cases.iter().map(|case| case.order.as_str()).collect();
        let strays: Vec<&String> = table
            .orders()
            .filter(|order| !orders.contains(order.as_str()))
            .collect();
        assert!(strays.is_empty(), "payments of unknown orders: {strays:?}");
        for id in table.missing_payments() {
            self.violation(format!("a reference, key or fact names the missing payment {id}"));
        }
        let quarantined: usize = cases.iter().map(|case| case.quarantined.len()).sum();
        if table.quarantined() != quarantined {
            let there = table.quarantined();
            self.violation(format!("{there} webhooks in quarantine, but {quarantined} were sent"));
        }
        (cases, table)
    }
}

fn function_name(function: &str, buyer: usize) -> String {
    format!("{function}-{buyer}")
}

/// Whether the call failed because of an AWS timeout or a killed process.
fn is_transient(error: &InvokeError) -> bool {
    match error {
        InvokeError::Failed(words) => words["errorType"] == "UNAVAILABLE",
        InvokeError::Died { .. } => true,
        InvokeError::TimedOut { .. } | InvokeError::Unreadable(_) => false,
    }
}

/// Items that a reconciler could not check for another reason than an unavailable table.
fn unexpected_failures(log: &str) -> Vec<Value> {
    let is_unexpected = |line: &Value| {
        let is_unavailable = line["error"]
            .as_str()
            .is_some_and(|error| error.starts_with("DynamoDB "));
        line["message"] == "due item could not be checked" && !is_unavailable
    };
    entries(log).filter(is_unexpected).collect()
}

/// Orders responses to concurrent equal requests: failures, then the first final one, then its replays.
fn replay_order(response: &Result<Response, InvokeError>) -> u8 {
    match response {
        Ok(response) if response.header("idempotency-replayed").is_some() => 2,
        Ok(response) if is_final(response) => 1,
        Ok(_) | Err(_) => 0,
    }
}
