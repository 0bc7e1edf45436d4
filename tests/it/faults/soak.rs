//! A soak: everything at once, as fast as the machine goes, while faults strike one call in twenty and processes are
//! killed; then calm, and an audit of the whole table, and of what was published of it.
//!
//! Buyers create payments with a key and without, some at two tills at once; webhooks come in every shape, some before the
//! create call is answered; operators complete and close; GETs, reconcilers and the publisher go on beside them. Each order has
//! one payment and each function one set of secrets: orders of several, rotation and quotes have tests of their own.
//!
//! A few seconds of it in `cargo test`; `SOAK_SECONDS` goes on for longer with more at a time, as `make soak` does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::future::join;
use futures_util::stream::{self, StreamExt};
use payment_functions_local::TableStream;
use payment_functions_local::sandbox::Chaos;
use payment_functions_tests::world::{AwsProxy, Fault};

use super::life::{Webhook, is_final};
use super::shop::{create_at, say_at};
use super::verdict::{Record, Stage, Table, judge};
use super::*;

/// How many of a hundred calls a fault strikes.
const PERCENT: u8 = 5;
const SEED: u64 = 1;
/// How many for a processor, in a long soak: measured, with more of them less is done.
const TILLS: usize = 20;
/// How often a buyer tries.
const TRIES: usize = 3;
/// The pause between two deaths, and between two runs of a reconciler.
const PAUSE: Duration = Duration::from_secs(1);
const RECONCILERS: usize = 2;
/// The instance of the reconciler to which operators speak.
const OPERATORS: usize = RECONCILERS;
/// How many records of the table's stream are published together, and how often some are tried at most.
const BATCH: usize = 100;
const MOST_TRIES: usize = 50;
/// How often it is looked for more of them.
const POLL: Duration = Duration::from_millis(100);
/// At a till somebody buys, with functions of its own.
const FUNCTIONS: [&str; 4] = ["create-preorder", "create-apm", "webhook-handler", "get-payment"];
/// How many keys are tried again at one time when all is calm.
const TOGETHER: usize = 4;

/// One answer in all of AWS's ways to fail.
fn faults() -> Vec<Fault> {
    vec![
        Fault::THROTTLED,
        Fault::UNAVAILABLE,
        Fault::ErrorAfter(500, "InternalServerError"),
        Fault::Disconnect,
        Fault::LoseAnswer,
        Fault::Hang,
        Fault::HangAfter,
        Fault::Late(Duration::from_millis(250)),
    ]
}

struct Soak {
    town: Town,
    table: String,
    proxy: AwsProxy,
    tills: usize,
    until: Instant,
    /// Of each provider, with a key and without.
    flows: [[Arc<Flow>; 2]; 2],
    /// Where events are put, and where they arrive.
    bus: String,
    arrivals: String,
    dead_letters: String,
    /// Whether nothing changes any more.
    is_over: AtomicBool,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// What is wrong, and of no payment.
    wrongs: Mutex<BTreeSet<String>>,
}

/// What is published of a payment: its id, its version and the kind of event.
type Told = (String, u64, String);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_at_once_with_faults_loses_nothing() {
    let _busy = MACHINE.read().await;
    let seconds = std::env::var("SOAK_SECONDS").ok();
    let seconds: Option<u64> = seconds.map(|text| text.parse().expect("SOAK_SECONDS: a number"));
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (tills, load) = seconds.map_or((3, 8), |seconds| (TILLS * processors, seconds));
    let soak = Arc::new(Soak::open(tills, Duration::from_secs(load)).await);

    let publisher = Arc::clone(&soak);
    let publisher = tokio::spawn(async move { publisher.publish().await });
    let cases = soak.load().await;
    let counts = soak.counts.lock().unwrap().clone();
    let (by_kind, beside): (BTreeMap<_, _>, BTreeMap<_, _>) =
        counts.into_iter().partition(|(name, _)| REQUESTS.contains(name));
    let requests: u64 = by_kind.values().sum();
    let calls: usize = AWS_CALLS.iter().map(|action| soak.proxy.count(action)).sum();
    let of_aws = soak.proxy.injected();
    soak.proxy.calm();
    let of_provider = soak.town.control.chaos(&Chaos::default()).await.expect("calm");

    println!("calm after {} payments", cases.len());
    let (cases, table) = soak.audit(cases).await;
    soak.is_over.store(true, Ordering::Relaxed);
    let stored = publisher.await.unwrap();
    let events = soak.audit_events(&stored, &table).await;
    let facts = table.facts();
    let wrongs = cases
        .iter()
        .flat_map(|case| case.wrongs.iter().map(|wrong| format!("{}: {wrong}", case.order)));
    let wrongs: Vec<String> = wrongs.chain(soak.wrongs.lock().unwrap().clone()).collect();
    let (by_aws, by_providers): (usize, usize) = (of_aws.values().sum(), of_provider.mishaps.values().sum());
    let struck = by_aws + by_providers;
    println!(
        "soak: {tills} tills, {load} s, {} payments, {requests} requests",
        cases.len()
    );
    println!("  load: {} requests a second: {by_kind:?}; {beside:?}", requests / load);
    println!("  AWS: {calls} calls, faults {of_aws:?}");
    println!(
        "  providers: {} calls, faults {:?}",
        of_provider.calls, of_provider.mishaps
    );
    println!(
        "  {struck} faults in {} calls; {facts} facts in the ledgers; {} changes, {events} events",
        calls + of_provider.calls,
        stored.len()
    );
    println!("  violations: {}", wrongs.len());
    aloud(&format!(
        "soak: {requests} requests, {struck} faults, {facts} facts, {} violations",
        wrongs.len()
    ));
    assert!(
        wrongs.is_empty(),
        "{}",
        wrongs.into_iter().take(40).collect::<Vec<_>>().join("\n")
    );
    assert!(
        by_aws > 0 && cases.len() > tills && facts > 0 && events > 0,
        "a soak without faults, or without load"
    );
    if seconds.is_some() {
        let shares = [100 * by_aws / calls, 100 * by_providers / of_provider.calls];
        let expected = usize::from(PERCENT - 2)..=usize::from(PERCENT + 2);
        assert!(
            shares.iter().all(|percent| expected.contains(percent)),
            "faults in {shares:?} of a hundred calls"
        );
    }
}

/// What is counted as a request, of all that is counted.
const REQUESTS: [&str; 6] = [
    "create",
    "webhook",
    "get",
    "operator's word",
    "sweep",
    "batch of records",
];
const NOT_LOOKED_AT: &str = "not looked at";
const AWS_CALLS: [&str; 6] = [
    "GetItem",
    "Query",
    "TransactWriteItems",
    "GetSecretValue",
    "PutEvents",
    "SendMessage",
];

impl Soak {
    async fn open(tills: usize, load: Duration) -> Self {
        let town = Town::open(false).await;
        let table = unique("soak");
        aws::create_table(&table).await;
        let proxy = aws::proxy().await;
        proxy.chaos(PERCENT, SEED, &faults());
        let flows = BOTH.map(|provider| [true, false].map(|keyed| Arc::new(Flow::at_random(provider, keyed))));
        let (bus, arrivals) = aws::create_bus().await;
        let soak = Self {
            town,
            table,
            proxy,
            tills,
            until: Instant::now(),
            flows,
            bus,
            arrivals,
            dead_letters: aws::create_queue().await,
            is_over: AtomicBool::new(false),
            counts: Mutex::default(),
            wrongs: Mutex::default(),
        };
        for till in 0..tills {
            for function in FUNCTIONS {
                soak.start(function, till).await;
            }
        }
        for nth in 0..=OPERATORS {
            soak.start("reconcile-payments", nth).await;
        }
        soak.start("publish-events", 0).await;
        let chaos = Chaos {
            percent: PERCENT,
            seed: SEED,
            ..Chaos::default()
        };
        soak.town.control.chaos(&chaos).await.expect("the stand-ins");
        Self {
            until: Instant::now() + load,
            ..soak
        }
    }

    /// Starts a function, in the place of the one that was there.
    async fn start(&self, function: &str, till: usize) {
        // The reconciler looks at what is a minute old.
        let ahead = if function == "reconcile-payments" {
            MINUTE + 10
        } else {
            0
        };
        // What hangs is given up as soon as in Lambda: whoever is cut short tries again.
        let mut changes = vec![("AWS_ENDPOINT_URL", Some(self.proxy.url())), USUAL_LIMITS];
        if function == "publish-events" {
            changes.extend([
                ("EVENT_BUS", Some(self.bus.as_str())),
                ("DEAD_LETTER_QUEUE_URL", Some(self.dead_letters.as_str())),
            ]);
        }
        let lambda = self.town.lambda(function, &self.table, ahead, &changes).await;
        self.town.gate.put(&place(function, till), &Arc::new(lambda));
    }

    fn is_load_over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn count(&self, what: &'static str) {
        self.count_more(what, 1);
    }

    fn count_more(&self, what: &'static str, more: u64) {
        *self.counts.lock().unwrap().entry(what).or_default() += more;
    }

    fn wrong(&self, what: String) {
        self.wrongs.lock().unwrap().insert(what);
    }

    /// Everything at once, until the time is over.
    async fn load(self: &Arc<Self>) -> Vec<Case> {
        let buyers = (0..self.tills).map(|till| {
            let soak = Arc::clone(self);
            tokio::spawn(async move { soak.serve(till).await })
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
            // Its run would go on for most of a minute.
            self.town.gate.function(&place("reconcile-payments", nth)).kill().await;
        }
        done(reconcilers.into_iter().chain([killer])).await;
        cases
    }

    async fn serve(&self, till: usize) -> Vec<Case> {
        let mut random = fastrand::Rng::with_seed(u64::try_from(till).expect("small"));
        let mut cases = Vec::new();
        while !self.is_load_over() {
            let [keyed, keyless] = random.choice(&self.flows).expect("two");
            let flow = if random.u8(..5) == 0 { keyless } else { keyed };
            let mut case = Case::new(flow, &Cell::undisturbed(Life::SameKey));
            self.create(&mut case, till, &mut random).await;
            case.hears(&self.town).await;
            self.live(&mut case, till, &mut random).await;
            self.look(&mut case, till).await;
            cases.push(case);
        }
        cases
    }

    /// Asks for a payment until there is an answer, or the buyer gives up; now and then at two tills at once. Without a key
    /// each request is a payment of its own, and so there is only one.
    async fn create(&self, case: &mut Case, till: usize, random: &mut fastrand::Rng) {
        if random.u8(..10) == 0 {
            let gate = self.town.gate.url(&place("webhook-handler", till));
            let url = format!("{gate}/webhooks/{}", aws::name(case.flow.provider));
            let kind = random.choice(Webhook::ALL).expect("some");
            let webhook = with(kind.spec(case.flow.provider), json!({ "url": url }));
            case.scripts(&self.town, &json!({ "webhookBeforeReply": webhook }))
                .await;
            self.count("webhook before the reply");
        }
        for _ in 0..TRIES {
            let mut answers = Vec::new();
            if case.key.is_some() && random.u8(..10) == 0 {
                let other = (till + 1) % self.tills;
                let (one, two) = join(self.ask(case, till), self.ask(case, other)).await;
                answers.extend([one, two]);
            } else {
                answers.push(self.ask(case, till).await);
            }
            answers.sort_by_key(turn);
            for answer in answers {
                match answer {
                    Ok(answer) => {
                        if answer.status != 409 {
                            case.first_answer(&answer, false);
                        }
                        case.notes(&answer);
                    }
                    Err(NoAnswer::Died { .. }) => case.callers += 1,
                    Err(error) => case.wrong(format!("no answer: {error}")),
                }
            }
            if case.answer.is_some() || case.key.is_none() {
                return;
            }
        }
    }

    async fn ask(&self, case: &Case, till: usize) -> Result<Answer, NoAnswer> {
        self.count("create");
        let lambda = self.town.gate.function(&place(function(case.flow.provider), till));
        create_at(&lambda, case, &case.body()).await
    }

    /// What becomes of a payment at its provider.
    async fn live(&self, case: &mut Case, till: usize, random: &mut fastrand::Rng) {
        let Some(there) = case.at_provider(&self.town).await.pop() else {
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
        let other_money = json!({ "amount": 1, "moves": false });
        let three_times = json!({ "times": 3, "concurrent": true });
        // What nobody ever settles is rare: the audit asks the provider for each, again and again.
        let told = match scenario {
            0..2 => vec![],
            2..4 => {
                // It is paid, and nobody tells.
                if case.flow.provider == Provider::Finvypay {
                    let control = &self.town.control;
                    let moved = control.set_status(Provider::Finvypay, &there.id, "COMPLETED").await;
                    moved.expect("a payment");
                    case.is_paid = true;
                }
                vec![]
            }
            4..6 => vec![webhook(failed)],
            6..20 => vec![webhook(failed), webhook(paid)],
            20..34 => vec![webhook(paid), webhook(failed)],
            34..45 => vec![webhook(other_money), webhook(paid)],
            45..48 => vec![webhook(other_money)],
            48..62 => vec![webhook(three_times)],
            62..70 => vec![],
            _ => vec![webhook(paid)],
        };
        if (62..80).contains(&scenario) {
            case.is_completed = self.say(case, ("complete", "completed")).await;
        }
        for spec in &told {
            for _ in 0..TRIES {
                let gate = self.town.gate.url(&place("webhook-handler", till));
                let deliveries = case.tell(&self.town, spec, &gate).await;
                for delivery in &deliveries {
                    self.count("webhook");
                    // At the gate, 502 is a death and nothing else.
                    let is_expected = matches!(delivery.status, Some(200 | 502 | 503));
                    case.check(is_expected, || format!("a webhook was answered {delivery:?}"));
                }
                if deliveries.iter().any(|delivery| delivery.status == Some(200)) {
                    break;
                }
            }
        }
        let is_in_review = matches!(case.taken.as_slice(), [said] if said.amount == 1);
        if (45..48).contains(&scenario) && is_in_review {
            case.is_closed = self.say(case, ("close", "review")).await;
        }
    }

    /// An operator says something, and says it again until there is an answer. Whether it was said.
    async fn say(&self, case: &mut Case, (action, status): (&'static str, &str)) -> bool {
        let Some(id) = case.id.clone() else { return false };
        for _ in 0..MOST_TRIES {
            self.count("operator's word");
            let lambda = self.town.gate.function(&place("reconcile-payments", OPERATORS));
            match say_at(&lambda, action, &id).await {
                Ok(done) => {
                    case.check(done["status"] == status, || format!("the operator's word: {done}"));
                    self.count(action);
                    return true;
                }
                // What was told of it waits for its payment to become known.
                Err(NoAnswer::Failed(words)) if action == "close" && words["errorType"] == "REFUSED" => return false,
                Err(error) => case.check(passes(&error), || format!("the operator's word: {error}")),
            }
            // Where it died, there is another soon.
            tokio::time::sleep(POLL).await;
        }
        case.wrong("no operator is heard".to_owned());
        false
    }

    async fn look(&self, case: &mut Case, till: usize) {
        let Some(id) = &case.id else { return };
        self.count("get");
        let lambda = self.town.gate.function(&place("get-payment", till));
        match lambda.http("GET", &format!("/payments/{id}"), &[], b"").await {
            Ok(answer) => {
                let is_expected = [200, 503].contains(&answer.status);
                case.check(is_expected, || format!("GET was answered {answer:?}"));
            }
            Err(NoAnswer::Died { .. }) => {}
            Err(error) => case.wrong(format!("no answer: {error}")),
        }
    }

    async fn reconcile(&self, nth: usize) {
        while !self.is_load_over() {
            self.count("sweep");
            let lambda = self.town.gate.function(&place("reconcile-payments", nth));
            match lambda.invoke(r#"{"action":"sweep"}"#).await {
                Ok(report) => {
                    let report: Value = serde_json::from_slice(&report).expect("JSON");
                    self.count_more(NOT_LOOKED_AT, report["failed"].as_u64().expect("a number"));
                }
                // The next run goes on.
                Err(error) if passes(&error) => {}
                Err(error) => self.wrong(format!("a run of the reconciler: {error}")),
            }
            for line in strange_failures(&lambda.log()) {
                self.wrong(format!("a run of the reconciler: {line}"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Kills one process after the other.
    async fn kill(&self) {
        let mut random = fastrand::Rng::with_seed(SEED);
        while !self.is_load_over() {
            tokio::time::sleep(PAUSE).await;
            self.count("death");
            let (function, till) = match random.u8(..10) {
                0 => ("reconcile-payments", random.usize(..=OPERATORS)),
                1 => ("publish-events", 0),
                _ => (random.choice(FUNCTIONS).expect("some"), random.usize(..self.tills)),
            };
            self.town.gate.function(&place(function, till)).kill().await;
            self.start(function, till).await;
        }
    }

    /// Hands the table's stream to publish-events, as Lambda does, until all of it is handed on and nothing changes any
    /// more. Gives all that must be published.
    async fn publish(&self) -> BTreeSet<Told> {
        let aws = self.town.world.aws();
        let mut stream = TableStream::open(aws, &self.table).await.expect("a stream");
        let mut stored = BTreeSet::new();
        loop {
            let is_over = self.is_over.load(Ordering::Relaxed);
            let records = stream.read().await.expect("records");
            if records.is_empty() {
                if is_over {
                    return stored;
                }
                tokio::time::sleep(POLL).await;
            }
            let is_payment = |record: &&Value| record["dynamodb"]["Keys"]["sk"]["S"] == "STATE";
            let payments: Vec<Value> = records.iter().filter(is_payment).cloned().collect();
            stored.extend(payments.iter().flat_map(changes));
            for batch in payments.chunks(BATCH) {
                self.hand_on(batch).await;
            }
        }
    }

    /// Hands records on until all are done: from the first that is not, all come again.
    async fn hand_on(&self, mut batch: &[Value]) {
        let mut tries = 0;
        while !batch.is_empty() {
            self.count("batch of records");
            let lambda = self.town.gate.function(&place("publish-events", 0));
            let answer = lambda.invoke(json!({ "Records": batch }).to_string()).await;
            let rest = match answer {
                Ok(answer) => {
                    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
                    let failure = &answer["batchItemFailures"][0]["itemIdentifier"];
                    let is_first = |record: &Value| record["dynamodb"]["SequenceNumber"] == *failure;
                    let done = batch.iter().position(is_first);
                    done.map_or(&[][..], |done| &batch[done..])
                }
                Err(NoAnswer::Died { .. }) => batch,
                Err(error) => return self.wrong(format!("not published: {error}")),
            };
            tries = if rest.len() < batch.len() { 0 } else { tries + 1 };
            if tries == MOST_TRIES {
                return self.wrong(format!("never published: {}", batch[0]));
            }
            batch = rest;
            if !batch.is_empty() {
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// Every status that is in the table is among what was stored; everything that was stored was published, and nothing else:
    /// in order where it came for the first time. Gives how many events came.
    async fn audit_events(&self, stored: &BTreeSet<Told>, table: &Table) -> usize {
        let changes: BTreeSet<(&str, &str)> = stored
            .iter()
            .map(|(id, _, kind)| (id.as_str(), kind.as_str()))
            .collect();
        for (id, status) in table.statuses().filter(|(_, status)| *status != "creating") {
            if !changes.contains(&(id, format!("payment.{status}").as_str())) {
                self.wrong(format!("{id} is {status}, and the stream has not told it"));
            }
        }
        let messages = aws::receive_all(&self.arrivals).await;
        let (mut seen, mut latest) = (BTreeSet::new(), BTreeMap::new());
        for message in &messages {
            let event: Value = serde_json::from_str(message["Body"].as_str().expect("a body")).expect("JSON");
            let (detail, kind) = (&event["detail"], &event["detail-type"]);
            let [id, kind] = [&detail["id"], kind].map(|text| text.as_str().expect("a text").to_owned());
            let version = detail["version"].as_u64().expect("a version");
            if seen.insert((id.clone(), version, kind)) {
                let before = latest.insert(id, version).unwrap_or_default();
                if before > version {
                    self.wrong(format!("published after version {before}: {event}"));
                }
            }
        }
        for told in stored.difference(&seen) {
            self.wrong(format!("stored, and not published: {told:?}"));
        }
        for told in seen.difference(stored) {
            self.wrong(format!("published, and not stored: {told:?}"));
        }
        for letter in aws::receive_all(&self.dead_letters).await {
            self.wrong(format!("given up: {letter}"));
        }
        messages.len()
    }

    /// Lets come what comes in calm: the keys that have no answer yet, and the reconciler. Then judges everything, and gives
    /// the table too.
    async fn audit(&self, cases: Vec<Case>) -> (Vec<Case>, Table) {
        let (first, apm) = join(
            self.town.lambda("create-preorder", &self.table, LATER, &[]),
            self.town.lambda("create-apm", &self.table, LATER, &[]),
        )
        .await;
        let later = [&first, &apm];
        let again = cases.into_iter().map(|mut case| async {
            if case.answer.is_none() && case.key.is_some() {
                let lambda = later[usize::from(case.flow.provider == Provider::Finvypay)];
                let answer = create_at(lambda, &case, &case.body()).await.expect("an answer");
                case.notes(&answer);
                case.check(is_final(&answer), || format!("the same key again: {answer:?}"));
            }
            case
        });
        let mut cases: Vec<Case> = stream::iter(again).buffer_unordered(TOGETHER).collect().await;
        for ahead in [SWEEPS[0], SWEEPS[2]] {
            self.town.sweep(&self.table, LATER + ahead).await;
        }
        let table = Table::read(&self.table).await;
        let records = Record::of_both(&self.town.control).await;
        judge(&table, &records, &mut cases, Stage::Calm);
        let orders: BTreeSet<&str> = cases.iter().map(|case| case.order.as_str()).collect();
        let strays: Vec<&String> = table
            .orders()
            .filter(|order| !orders.contains(order.as_str()))
            .collect();
        assert!(strays.is_empty(), "payments that nobody asked for: {strays:?}");
        for id in table.missing_payments() {
            self.wrong(format!("something leads to {id}, which is not there"));
        }
        (cases, table)
    }
}

/// The name of a function at the gate.
fn place(function: &str, till: usize) -> String {
    format!("{function}-{till}")
}

/// Whether somebody gave up on AWS, or died: it is for the next to go on.
fn passes(error: &NoAnswer) -> bool {
    match error {
        NoAnswer::Failed(words) => words["errorType"] == "UNAVAILABLE",
        NoAnswer::Died { .. } => true,
        NoAnswer::TimedOut { .. } | NoAnswer::Unreadable(_) => false,
    }
}

/// What a reconciler could not look at for another reason than that the table was out of reach.
fn strange_failures(log: &str) -> Vec<Value> {
    let is_strange = |line: &Value| {
        let is_out_of_reach = line["error"]
            .as_str()
            .is_some_and(|error| error.starts_with("DynamoDB "));
        line["message"] == "not looked at" && !is_out_of_reach
    };
    entries(log).filter(is_strange).collect()
}

/// What must be published of a record of a payment: the status that it has come to, from `pending` on, and what a person
/// should look at.
fn changes(record: &Value) -> Vec<Told> {
    let [old, new] = ["OldImage", "NewImage"].map(|name| &record["dynamodb"][name]);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let id = text(&new["pk"]["S"]).split_off("PAYMENT#".len());
    let version = text(&new["version"]["N"]).parse().expect("a version");
    let mut kinds = Vec::new();
    let status = text(&new["status"]["S"]);
    if old["status"] != new["status"] && status != "creating" {
        kinds.push(status);
    }
    if old["noted"] != new["noted"] && new["attention"] != Value::Null {
        kinds.push("attention".to_owned());
    }
    let told = |kind| (id.clone(), version, format!("payment.{kind}"));
    kinds.into_iter().map(told).collect()
}

/// Of two answers to equal requests at one time, the one that is no answer to keep comes first, and a replay of the other
/// last.
fn turn(answer: &Result<Answer, NoAnswer>) -> u8 {
    match answer {
        Ok(answer) if answer.header("idempotency-replayed").is_some() => 2,
        Ok(answer) if is_final(answer) => 1,
        Ok(_) | Err(_) => 0,
    }
}
