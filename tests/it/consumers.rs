//! The example consumers in docs/consumers, with events that the publisher makes of payments. They arrive in every
//! order, repeated, and at consumers that are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Output, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use payment_functions::domain::attention::{Attention, AttentionReason};
use payment_functions::domain::id::{OrderId, PaymentId};
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::store::stream::Change;
use payment_functions_local::workspace;
use publish_events::payment_event::{EventEntry, from_change, from_payment};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::unique;

use AttentionReason::{Chargeback, DuplicatePayment, Refunded, UnrecognisedStatus};
use Status::{Authorized, Completed, Expired, Failed, Pending, Review};

/// The interpreter, and the program that feeds one consumer.
const CONSUMERS: [(&str, &str); 2] = [("node", "feed.mjs"), ("python", "feed.py")];

/// The shop's orders.
const ORDERS: [(&str, &str, &str); 2] = [("ORD-1", "25.50", "USD"), ("ORD-2", "7", "USD")];

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_123);

fn euros() -> Currency {
    "EUR".parse().expect("a currency")
}

/// A payment, and the events of its writes so far.
struct Story {
    payment: Payment,
    events: Vec<Value>,
}

impl Story {
    fn of(order: &str, amount: u64, currency: Currency) -> Self {
        let money = Money::from_minor(amount, currency);
        let provider = Provider::FinvyPay;
        let mut payment = Payment::new(PaymentId::random(), provider, Environment::Production, money, NOW);
        payment.order_id = OrderId::parse(order);
        Self {
            payment,
            events: Vec::new(),
        }
    }

    /// A payment that its order expects.
    fn matching(order: &str) -> Self {
        Self::of(order, if order == "ORD-2" { 700 } else { 2550 }, Currency::USD)
    }

    fn sandbox(mut self) -> Self {
        self.payment.environment = Environment::Sandbox;
        self
    }

    fn write(mut self, change: impl FnOnce(&mut Payment)) -> Self {
        let before = Some(self.payment.clone());
        self.payment.version += 1;
        change(&mut self.payment);
        let after = self.payment.clone();
        self.publish(from_change(&Change { before, after }).expect("events"))
    }

    fn becomes(self, status: Status) -> Self {
        self.write(|payment| payment.status = status)
    }

    fn raises(self, reason: AttentionReason) -> Self {
        self.write(|payment| payment.attention.raise(Attention::new(reason, NOW)))
    }

    fn resolves(self, reason: AttentionReason) -> Self {
        self.write(|payment| payment.attention.resolve(reason))
    }

    fn republished(self) -> Self {
        let entries = from_payment(&self.payment).expect("events");
        self.publish(entries)
    }

    fn publish(mut self, entries: Vec<EventEntry>) -> Self {
        self.events.extend(entries.into_iter().map(|entry| {
            let detail: Value = serde_json::from_str(entry.detail.expose()).expect("JSON");
            json!({ "source": "payment-functions", "detail-type": entry.detail_type, "detail": detail })
        }));
        self
    }
}

fn id(detail: &Value) -> &str {
    detail["id"].as_str().expect("an id")
}

/// What is delivered: an order, or else a payment.
fn goods(detail: &Value) -> &str {
    detail["orderId"].as_str().unwrap_or_else(|| id(detail))
}

/// Whether the shop has the money, as far as this event knows.
fn is_paid(detail: &Value) -> bool {
    let reasons = detail["attention"].as_array().into_iter().flatten();
    let went_back = |entry: &Value| entry["reason"] == "refunded" || entry["reason"] == "chargeback";
    detail["status"] == "completed" && detail["environment"] == "production" && !reasons.into_iter().any(went_back)
}

/// Whether the payment is of the money that its order costs.
fn matches_the_order(detail: &Value) -> bool {
    let costs = |(order, amount, currency): &(&str, &str, &str)| {
        detail["orderId"] == *order
            && detail["amount"].as_f64() == amount.parse().ok()
            && detail["currency"] == *currency
    };
    detail.get("orderId").is_none() || ORDERS.iter().any(costs)
}

/// The details with the highest version of each payment.
fn newest<'a>(details: &[&'a Value]) -> BTreeMap<&'a str, &'a Value> {
    let mut newest = BTreeMap::new();
    for detail in details {
        let known = newest.entry(id(detail)).or_insert(*detail);
        if detail["version"].as_u64() > known["version"].as_u64() {
            *known = *detail;
        }
    }
    newest
}

/// The payments that must be delivered for, in this order: of each order the first of which the events up to some
/// moment say that it is paid.
fn due<'a>(details: &[&'a Value]) -> Vec<&'a str> {
    let (mut due, mut delivered) = (Vec::new(), BTreeSet::new());
    for count in 1..=details.len() {
        for (payment, detail) in newest(&details[..count]) {
            if is_paid(detail) && matches_the_order(detail) && delivered.insert(goods(detail)) {
                due.push(payment);
            }
        }
    }
    due
}

/// Events, and the sequences in which they arrive, as indices.
struct Case {
    name: String,
    events: Vec<Value>,
    sequences: Vec<Vec<usize>>,
}

impl Case {
    fn line(&self, store: &str, killed: bool) -> String {
        let case = json!({ "store": store, "killed": killed, "orders": ORDERS, "events": self.events,
            "sequences": self.sequences });
        format!("{case}\n")
    }

    /// Compares what a consumer did at one sequence. Returns the goods that it delivered.
    fn check(&self, sequence: &[usize], done: &Value) -> BTreeSet<&str> {
        let details: Vec<&Value> = sequence.iter().map(|index| &self.events[*index]["detail"]).collect();
        let told = || {
            let told = details
                .iter()
                .map(|detail| format!("{} v{}", detail["eventId"], detail["version"]));
            format!("{}: {:#?}\n{done:#}", self.name, told.collect::<Vec<_>>())
        };
        let due = due(&details);
        for (arrived, deliveries) in (1..).zip(done["deliveries"].as_array().expect("deliveries")) {
            let expected = self::due(&details[..arrived]);
            assert_eq!(*deliveries, json!(expected), "after {arrived} events: {}", told());
        }
        let newest = newest(&details);
        let delivered: Vec<&str> = due.iter().map(|payment| goods(newest[payment])).collect();
        let once: BTreeSet<&str> = delivered.iter().copied().collect();
        assert_eq!(once.len(), delivered.len(), "delivered twice: {}", told());

        let stored = done["payments"].as_array().expect("payments");
        let states: BTreeMap<&str, Value> = stored.iter().map(|detail| (id(detail), state(detail))).collect();
        let expected = newest.iter().map(|(payment, detail)| (*payment, state(detail)));
        assert_eq!(states, expected.collect(), "{}", told());

        let review: BTreeSet<&str> = done["review"]
            .as_array()
            .expect("ids")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let disagrees = |payment: &&str| is_paid(newest[payment]) != due.contains(payment);
        let expected = newest.keys().copied().filter(disagrees);
        assert_eq!(review, expected.collect(), "{}", told());
        once
    }
}

/// What the events of one version have in common: all but the event's id. Amounts are compared by value: 7 is 7.0.
fn state(detail: &Value) -> Value {
    let mut state = detail.clone();
    state["amount"] = json!(detail["amount"].as_f64());
    let members = state.as_object_mut().expect("an object");
    members.remove("eventId");
    // A status event leaves an empty list out.
    members.retain(|name, value| name != "attention" || *value != json!([]));
    state
}

/// Runs a feeding program with these lines.
async fn feed((program, file): (&str, &str), lines: String) -> Output {
    let mut child = Command::new(workspace().join(".venv/bin").join(program))
        .arg(workspace().join("tests/it/consumers").join(file))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it runs");
    let mut input = child.stdin.take().expect("its input");
    let write = async move {
        // A killed consumer reads no more.
        let _ = input.write_all(lines.as_bytes()).await;
    };
    let both = async { tokio::join!(write, child.wait_with_output()).1 };
    let output = tokio::time::timeout(Duration::from_secs(120), both).await;
    output.expect("in time").expect("it ends")
}

/// The responses to all sequences, in order.
fn responses(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    let text = std::str::from_utf8(&output.stdout).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Feeds both consumers with all cases, and checks each sequence. Returns the goods delivered at each, case by case.
async fn run(cases: &[Case]) -> Vec<Vec<BTreeSet<&str>>> {
    let lines: String = cases.iter().map(|case| case.line(":memory:", false)).collect();
    let outputs = join_all(CONSUMERS.map(|consumer| feed(consumer, lines.clone()))).await;
    let [node, python] = [&outputs[0], &outputs[1]].map(responses);
    assert_eq!(node.len(), python.len());
    let mut done = node.iter().zip(&python);
    let mut delivered = Vec::new();
    for case in cases {
        let of_sequence = |sequence: &Vec<usize>| {
            let (node, python) = done.next().expect("a response for each sequence");
            case.check(sequence, python);
            case.check(sequence, node)
        };
        delivered.push(case.sequences.iter().map(of_sequence).collect());
    }
    assert!(done.next().is_none());
    delivered
}

/// The next permutation in lexicographic order, or `false` after the last.
fn permute(sequence: &mut [usize]) -> bool {
    let Some(pivot) = sequence.windows(2).rposition(|pair| pair[0] < pair[1]) else {
        return false;
    };
    let larger = sequence.iter().rposition(|item| *item > sequence[pivot]).expect("one");
    sequence.swap(pivot, larger);
    sequence[pivot + 1..].reverse();
    true
}

/// All orders of `count` events, and all orders with any one of them repeated.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let repeated = (0..count).map(|again| (0..count).chain([again]).collect());
    let mut orders = Vec::new();
    for mut sequence in std::iter::once((0..count).collect::<Vec<_>>()).chain(repeated) {
        sequence.sort_unstable();
        orders.push(sequence.clone());
        while permute(&mut sequence) {
            orders.push(sequence.clone());
        }
    }
    orders
}

/// What is delivered, whatever the order in which the events arrive.
#[derive(Clone, Copy)]
enum Delivery {
    Always(&'static [&'static str]),
    Never,
    /// Only if the completion arrives before the news that the money went back.
    BeforeTheRefund,
}

type Situation = (&'static str, Vec<Story>, Delivery);

const ONE: Delivery = Delivery::Always(&["ORD-1"]);

fn paid(order: &str) -> Story {
    Story::matching(order).becomes(Pending).becomes(Completed)
}

fn one_payment() -> Vec<Situation> {
    let order = || Story::matching("ORD-1").becomes(Pending);
    let at_once = order().write(|payment| {
        payment.status = Completed;
        payment.attention.raise(Attention::new(DuplicatePayment, NOW));
    });
    let late = order().becomes(Expired).becomes(Failed).becomes(Completed);
    let unpaid = order().becomes(Authorized).becomes(Review).raises(UnrecognisedStatus);
    let cheap = Story::of("ORD-1", 2549, Currency::USD)
        .becomes(Pending)
        .becomes(Completed);
    let foreign = Story::of("ORD-1", 2550, euros())
        .becomes(Completed)
        .raises(DuplicatePayment);
    let sandbox = order().sandbox().becomes(Completed).raises(UnrecognisedStatus);
    let overtaken = paid("ORD-1").raises(DuplicatePayment);
    vec![
        ("attention overtakes completed", vec![overtaken], ONE),
        ("completed and attention in one write", vec![at_once], ONE),
        ("completed after expired and failed", vec![late], ONE),
        ("not paid", vec![unpaid], Delivery::Never),
        ("other amount", vec![cheap], Delivery::Never),
        ("other currency", vec![foreign], Delivery::Never),
        ("unknown order", vec![paid("ORD-3")], Delivery::Never),
        ("sandbox", vec![sandbox], Delivery::Never),
    ]
}

fn money_that_goes_back() -> Vec<Situation> {
    use Delivery::{BeforeTheRefund, Never};
    let paid = || paid("ORD-1");
    let refunded_first = Story::matching("ORD-1").raises(Refunded).becomes(Completed);
    let doubly_flagged = paid().raises(DuplicatePayment).raises(Refunded);
    let republished = paid().raises(Refunded).republished();
    let undone = paid().raises(Refunded).resolves(Refunded);
    vec![
        (
            "completed, then refunded",
            vec![paid().raises(Refunded)],
            BeforeTheRefund,
        ),
        (
            "completed, then charged back",
            vec![paid().raises(Chargeback)],
            BeforeTheRefund,
        ),
        ("refunded, with other attention", vec![doubly_flagged], BeforeTheRefund),
        ("refunded and republished", vec![republished], BeforeTheRefund),
        ("refunded before completed", vec![refunded_first], Never),
        ("refund undone", vec![undone], ONE),
    ]
}

fn several_payments() -> Vec<Situation> {
    let order = || Story::matching("ORD-1");
    let paid = || paid("ORD-1");
    let expired = order().becomes(Pending).becomes(Expired);
    let refunded = order().raises(Refunded).becomes(Completed);
    let sandbox = order().sandbox().becomes(Pending).becomes(Completed);
    let cheap = Story::of("ORD-1", 1, Currency::USD).becomes(Completed);
    let both = Delivery::Always(&["ORD-1", "ORD-2"]);
    vec![
        ("two payments of one order", vec![paid(), paid()], ONE),
        ("two orders", vec![paid(), self::paid("ORD-2")], both),
        ("expired and completed payments", vec![expired, paid()], ONE),
        ("refunded and completed payments", vec![refunded, paid()], ONE),
        ("sandbox and production", vec![sandbox, paid()], ONE),
        ("other amount and the right one", vec![cheap, paid()], ONE),
    ]
}

#[tokio::test]
async fn order_is_delivered_once_or_never_whatever_the_order_of_its_events() {
    let (mut cases, mut expected) = (Vec::new(), Vec::new());
    for (name, stories, delivery) in [one_payment(), money_that_goes_back(), several_payments()]
        .into_iter()
        .flatten()
    {
        let events: Vec<_> = stories.into_iter().flat_map(|story| story.events).collect();
        let sequences = orders(events.len());
        cases.push(Case {
            name: name.to_owned(),
            events,
            sequences,
        });
        expected.push(delivery);
    }
    let delivered = run(&cases).await;
    for ((case, expected), delivered) in cases.iter().zip(expected).zip(&delivered) {
        let distinct: BTreeSet<_> = delivered.iter().collect();
        let (one, none) = (BTreeSet::from(["ORD-1"]), BTreeSet::new());
        let expected = match expected {
            Delivery::Always(goods) => vec![goods.iter().copied().collect()],
            Delivery::Never => vec![none],
            Delivery::BeforeTheRefund => vec![none, one],
        };
        assert_eq!(distinct, expected.iter().collect(), "{}", case.name);
    }
    println!(
        "{} histories of {} situations",
        delivered.iter().flatten().count(),
        cases.len()
    );
}

#[tokio::test]
async fn payment_without_order_is_delivered_once() {
    let paid = || Story::of("", 123, euros()).becomes(Pending).becomes(Completed);
    let stories = [paid().raises(DuplicatePayment), paid()];
    let ids: Vec<_> = stories.iter().map(|story| story.payment.id.to_string()).collect();
    let events: Vec<_> = stories.into_iter().flat_map(|story| story.events).collect();
    let case = Case {
        name: "no order".into(),
        sequences: orders(events.len()),
        events,
    };
    for delivered in &run(&[case]).await[0] {
        assert_eq!(*delivered, ids.iter().map(String::as_str).collect());
    }
}

/// Random payments of few orders, and their events in a random order with repetitions.
fn random_case(seed: u64) -> Case {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut events = Vec::new();
    for _ in 0..random.usize(2..6) {
        let order = ["ORD-1", "ORD-1", "ORD-2", "ORD-3", ""][random.usize(..5)];
        let mut story = if random.u8(..6) == 0 {
            Story::of(order, 700, euros())
        } else {
            Story::matching(order)
        };
        if random.u8(..6) == 0 {
            story = story.sandbox();
        }
        for _ in 0..random.usize(1..9) {
            let reason = AttentionReason::ALL[random.usize(..AttentionReason::ALL.len())];
            let status = Status::ALL[random.usize(..Status::ALL.len())];
            story = match random.u8(..6) {
                0 => story.raises(reason),
                1 => story.resolves(reason),
                2 => story.republished(),
                3 => story.becomes(Completed),
                _ => story.write(|payment| payment.status = payment.status.join(status)),
            };
        }
        events.extend(story.events);
    }
    let mut sequence: Vec<usize> = (0..events.len())
        .flat_map(|index| vec![index; random.usize(1..4)])
        .collect();
    random.shuffle(&mut sequence);
    Case {
        name: format!("seed {seed}"),
        events,
        sequences: vec![sequence],
    }
}

#[tokio::test]
async fn random_histories_deliver_each_order_at_most_once() {
    let cases: Vec<_> = (0..500).map(random_case).collect();
    let delivered = run(&cases).await;
    let count = |few: usize| delivered.iter().filter(|delivered| delivered[0].len() >= few).count();
    println!(
        "{} histories, {} with a delivery, {} with several",
        cases.len(),
        count(1),
        count(2)
    );
    assert!(
        count(1) > 200 && count(2) > 50 && count(1) < 500,
        "{} {}",
        count(1),
        count(2)
    );
}

#[tokio::test]
async fn consumer_killed_between_deciding_and_committing_delivers_once() {
    let story = Story::matching("ORD-1").becomes(Pending).becomes(Completed);
    let case = |sequence: &[usize]| Case {
        name: "killed".to_owned(),
        events: story.events.clone(),
        sequences: vec![sequence.to_vec()],
    };
    for consumer in CONSUMERS {
        let store = std::env::temp_dir().join(unique("consumer"));
        let path = store.to_str().expect("text");
        let killed = feed(consumer, case(&[0, 1]).line(path, true)).await;
        // It ended without a response and without an error of its own. Node's wrapper hides the signal.
        let said = [&killed.stdout, &killed.stderr].map(Vec::len);
        assert!(!killed.status.success() && said == [0, 0], "{killed:?}");
        let found = responses(&feed(consumer, case(&[]).line(path, false)).await);
        assert_eq!(found[0]["payments"][0]["status"], "pending", "{found:?}");
        // The message is still in the queue, and arrives twice more.
        let again = case(&[1, 1]);
        let done = responses(&feed(consumer, again.line(path, false)).await);
        assert_eq!(again.check(&[1, 1], &done[0]), BTreeSet::from(["ORD-1"]));
        std::fs::remove_file(store).expect("removed");
    }
}
