//! What docs/scale.md reckons with: what a payment writes, how that spreads over the table's partitions and the index's
//! parts, and how much the reconciler gets done. All of it in this process, with what the code itself writes and asks.
//!
//! Nothing is random but the payments' ids, as they are in production. Each bound that a test sets lies so far from what
//! is likely that chance does not reach it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::idempotency::{Fingerprint, IdempotencyKey};
use payment_functions::domain::json::Json;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::schedule::{self, Queue};
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::create_payment::{self, Creation, IdempotentRequest};
use payment_functions::flows::record_notification::{RecordResult, record_notification};
use payment_functions::platform::clock;
use payment_functions::providers::Notification;
use payment_functions::store::{SHARDS, Store, Subject};
use payment_functions_local::workspace;
use payment_functions_tests::world::MemoryTable;
use reconcile_payments::handler::TIME;
use reconcile_payments::poller::INTERVAL;
use reconcile_payments::sweep::{BATCH, Sweep};
use serde_json::Value;

use crate::facts::said;
use crate::model::{StandIn, api_keys};
use crate::recorded::Recorded;
use crate::sweeps::Book;
use crate::units::writes;

/// Payments a second.
const RATES: [usize; 3] = [10, 1_000, 100_000];
/// What a partition takes in a second.
const PARTITION_UNITS: usize = 1_000;
/// How many partitions a new table or index has, by the units that it takes at once.
const NEW_PARTITIONS: usize = 4;
/// Stands in keys where each payment has another text there, as its ids are.
const OTHER: &str = "{other}";
/// Stands in keys for the shop's own number of an order, one after another.
const NTH: &str = "{nth}";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Recorded {
    /// The index's key of the payment, where it is in the index.
    fn due(&self) -> Option<(Value, Value)> {
        let items = self.table.items().unwrap();
        let state = items.into_iter().find(|item| item["sk"]["S"] == "STATE");
        let state = state.expect("the payment");
        let is_due = state["dueAt"].is_object();
        is_due.then(|| (state["dueQueue"]["S"].clone(), state["dueAt"]["N"].clone()))
    }
}

/// A payment that was created under a key of the shop's, taken by its provider, and paid.
struct Life {
    /// Write units by partition key, in which [`OTHER`] and [`NTH`] stand for what differs between payments.
    writes: BTreeMap<String, usize>,
    /// Write units of the index.
    index: usize,
    /// Records in the table's stream.
    records: usize,
    /// Those of them that the filter in template.yaml lets through.
    published: usize,
}

impl Life {
    async fn of(provider: Provider) -> Self {
        let recorded = Recorded::new();
        let store = recorded.store();
        let intent = intent(provider, clock::now());
        create(&store, &intent, Some(&keyed())).await;
        let due = recorded.due().expect("it is in the index");
        let (queue, at) = schedule::first_check(&intent);
        let part = format!("{}#{}", queue.name(), intent.id.shard(SHARDS));
        assert_eq!(
            due,
            (part.into(), at.as_millis().to_string().into()),
            "as it was put there"
        );
        record_notification(&store, &paid(&intent), clock::now()).await.unwrap();
        assert_eq!(recorded.due(), None, "and taken out");

        let items = recorded.table.items().unwrap();
        let mut life = Self {
            writes: BTreeMap::new(),
            index: 2,
            records: 0,
            published: 0,
        };
        for (action, body) in recorded.take() {
            assert_eq!(action, "TransactWriteItems");
            for (key, units) in writes(&body, &items) {
                let key = key.replace(&intent.id.to_string(), OTHER);
                *life.writes.entry(key).or_default() += units;
            }
            for step in body["TransactItems"].as_array().unwrap() {
                life.records += usize::from(step["ConditionCheck"].is_null());
                life.published += usize::from(step["Update"]["Key"]["sk"]["S"] == "STATE");
            }
        }
        life
    }

    fn units(&self) -> usize {
        self.writes.values().sum()
    }

    /// How many write units each partition gets of so many payments.
    fn spread(&self, payments: usize, partitions: usize) -> Vec<usize> {
        let mut spread = vec![0; partitions];
        for nth in 0..payments {
            let (other, nth) = (PaymentId::random().to_string(), nth.to_string());
            for (key, units) in &self.writes {
                let key = key.replace(OTHER, &other).replace(NTH, &nth);
                spread[partition(&key, partitions)] += units;
            }
        }
        spread
    }
}

/// Creates a payment as the functions do, at a provider that takes it.
async fn create(store: &Store, intent: &Payment, keyed: Option<&IdempotentRequest>) -> Creation {
    let gateway = StandIn::accepting(&reference());
    create_payment::create(store, &api_keys(), intent.clone(), keyed, None, |_, _| gateway.clone())
        .await
        .unwrap()
}

fn keyed() -> IdempotentRequest {
    IdempotentRequest {
        key: IdempotencyKey::parse("create", OTHER.as_bytes()).unwrap(),
        fingerprint: Fingerprint::of(&Json::String("it".to_owned())),
    }
}

fn reference() -> Reference {
    Reference::parse(OTHER).unwrap()
}

fn intent(provider: Provider, now: Timestamp) -> Payment {
    let money = Money::from_minor(2550, Currency::USD);
    Payment {
        order_id: OrderId::parse(NTH),
        ..Payment::new(PaymentId::random(), provider, money, now)
    }
}

/// What a provider's webhook says of a payment that was paid.
fn paid(payment: &Payment) -> Notification {
    Notification {
        payment_id: Some(payment.id),
        fact: Fact {
            payment: Some(reference()),
            ..said(payment.provider, Outcome::Completed)
        },
    }
}

/// Which of so many partitions has a key, each having an equal range of hashes. DynamoDB's own hash is not public; one
/// good hash spreads as another does.
fn partition(key: &str, partitions: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    hasher.write(key.as_bytes());
    let wide = u128::from(hasher.finish()) * u128::try_from(partitions).unwrap();
    usize::try_from(wide >> 64).unwrap()
}

/// With a comma between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(",")
}

fn page() -> String {
    std::fs::read_to_string(workspace().join("docs/scale.md")).unwrap()
}

/// Compares rows with the page: each one's name and its numbers.
#[track_caller]
fn assert_page_has<const COLUMNS: usize>(rows: &[(&str, [usize; COLUMNS])]) {
    let row = |(name, numbers): &(&str, [usize; COLUMNS])| format!("| {name} | {} |", numbers.map(grouped).join(" | "));
    let page = page();
    let rows: Vec<_> = rows.iter().map(row).collect();
    let missing: Vec<_> = rows.iter().filter(|row| !page.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "docs/scale.md does not say:\n{missing:#?}");
}

#[tokio::test]
async fn a_payment_writes_what_the_page_on_scale_says() {
    let lives = [Life::of(Provider::ApoloPay).await, Life::of(Provider::FinvyPay).await];
    let of_own_key = |life: &Life| life.writes[&format!("PAYMENT#{OTHER}")];
    assert_page_has(&[
        ("write units of the table", lives.each_ref().map(Life::units)),
        ("of which under the payment's own key", lives.each_ref().map(of_own_key)),
        ("write units of the index", lives.each_ref().map(|life| life.index)),
        ("records in the stream", lives.each_ref().map(|life| life.records)),
        ("of which are published", lives.each_ref().map(|life| life.published)),
    ]);
    let every_key_differs = |life: &Life| life.writes.keys().all(|key| key.contains(OTHER) || key.contains(NTH));
    assert!(lives.iter().all(every_key_differs), "no key is shared by payments");
}

#[tokio::test]
async fn at_each_rate_there_is_as_much_as_the_page_on_scale_says() {
    let life = Life::of(Provider::FinvyPay).await;
    let cost = std::fs::read_to_string(workspace().join("docs/cost.md")).unwrap();
    for assumed in [
        "0.85 s to create, 0.02 s a webhook, 0.01 s a look, 0.03 s an event",
        "| bytes that the functions log, at most | 3250 | 3250 |",
        "the functions' 3,250 bytes, Lambda's own 600 an invocation, API Gateway's 400 a request",
        "looked at five times by the frontend",
    ] {
        assert!(cost.contains(assumed), "docs/cost.md no longer assumes: {assumed}");
    }
    // Requests a payment, and how long each takes, in milliseconds.
    let at_work = |requests: usize, millis: usize| RATES.map(|rate| (rate * requests * millis).div_ceil(1000));
    let per_second = |of_one: usize| RATES.map(|rate| rate * of_one);
    assert_page_has(&[
        ("requests of the API", per_second(6)),
        ("write units of the table", per_second(life.units())),
        ("write units of the index", per_second(life.index)),
        ("read units of the table", per_second(5)),
        ("events for the bus", per_second(life.published)),
        ("at work creating", at_work(1, 850)),
        ("at work on webhooks", at_work(1, 20)),
        ("at work on looks", at_work(5, 10)),
        ("at work publishing, at most", at_work(life.published, 30)),
        (
            "kilobytes of logs",
            RATES.map(|rate| rate * (3_250 + 9 * 600 + 6 * 400) / 1000),
        ),
    ]);
}

#[tokio::test]
async fn no_partition_of_the_table_gets_too_much() {
    let life = Life::of(Provider::FinvyPay).await;
    // Twice as many as the writes would just fill.
    let partitions = RATES.map(|rate| (2 * rate * life.units()).div_ceil(PARTITION_UNITS).max(NEW_PARTITIONS));
    let mut even = [0; RATES.len()];
    for (nth, (rate, partitions)) in RATES.into_iter().zip(partitions).enumerate() {
        let spread = life.spread(rate, partitions);
        let hottest = *spread.iter().max().unwrap();
        even[nth] = rate * life.units() / partitions;
        println!(
            "{rate} payments a second on {partitions} partitions: {} units each, the hottest {hottest}",
            even[nth]
        );
        assert_eq!(spread.iter().sum::<usize>(), rate * life.units());
        assert!(hottest < PARTITION_UNITS, "{rate} a second: {hottest} units");
        // As the page says; of ten payments chance can put all into one.
        assert!(
            rate == 10 || 10 * hottest <= 17 * even[nth],
            "{rate} a second: {hottest} units"
        );
    }
    assert_page_has(&[
        ("partitions, twice what would just do", partitions),
        ("write units of each, if even", even),
    ]);
}

/// In how many ways so many parts can lie on so many partitions, at most `most` on each.
fn ways(parts: u128, partitions: u128, most: u128) -> u128 {
    if partitions == 0 {
        return u128::from(parts == 0);
    }
    // One partition has `held` of the parts, which can be chosen in so many ways, and the others have the rest.
    let (mut all, mut chosen) = (0, 1);
    for held in 0..=most.min(parts) {
        all += chosen * ways(parts - held, partitions - 1, most);
        chosen = chosen * (parts - held) / (held + 1);
    }
    all
}

#[test]
fn the_parts_of_the_index_take_what_the_page_on_scale_says() {
    let parts = usize::from(SHARDS);
    let mut payments = vec![0_usize; parts];
    // As many for each part that chance is small beside it: 100,000 for eight.
    let even = 12_500;
    for _ in 0..even * parts {
        payments[usize::from(PaymentId::random().shard(SHARDS))] += 1;
    }
    let most = *payments.iter().max().unwrap();
    println!("{parts} parts: {even} payments each if even, {most} in the fullest");
    assert!(100 * most <= 105 * even, "{payments:?}");
    // A byte of the id decides, so this is what makes the parts equal.
    assert_eq!(256 % parts, 0);

    // A new index puts each part into one of its partitions by chance: all ways of doing so, by the fullest partition.
    let (count, places) = (u128::from(SHARDS), u128::try_from(NEW_PARTITIONS).unwrap());
    let fullest = |most| ways(count, places, most) - ways(count, places, most - 1);
    let in_fullest: u128 = (1..=count).map(|most| most * fullest(most)).sum();
    let takes = PARTITION_UNITS * parts / 2;
    let takes_new = u128::try_from(takes).unwrap() * ways(count, places, count) / in_fullest;
    assert_page_has(&[
        ("parts of each queue (`SHARDS`)", [parts]),
        ("payments a second that they take, at each provider", [takes]),
        (
            "the same while the index is new, on average",
            [usize::try_from(takes_new).unwrap()],
        ),
        ("queries of an idle run", [(Queue::all().count() + 2) * parts]),
    ]);
}

/// As after a change of [`SHARDS`]: an item is in a part that its id would not put it into.
#[tokio::test]
async fn an_item_stays_in_the_part_it_was_put_into_until_it_is_settled() {
    for settle in [true, false] {
        let recorded = Recorded::new();
        let store = recorded.store();
        let intent = intent(Provider::ApoloPay, clock::now());
        store.insert_payment(&intent, None, intent.created_at).await.unwrap();
        let other = (intent.id.shard(SHARDS) + 1) % SHARDS;
        let part = Value::from(format!("{}#{other}", Queue::Of(Provider::ApoloPay).name()));
        let moved = recorded.table.client().update_item().table_name("payments");
        let moved = moved.key("pk", AttributeValue::S(format!("PAYMENT#{}", intent.id)));
        let moved = moved.key("sk", AttributeValue::S("STATE".to_owned()));
        let moved = moved.update_expression("SET dueQueue = :part");
        let moved = moved.expression_attribute_values(":part", AttributeValue::S(part.as_str().unwrap().to_owned()));
        moved.send().await.unwrap();
        if settle {
            let event = Notification {
                payment_id: Some(intent.id),
                fact: said(Provider::ApoloPay, Outcome::Completed),
            };
            record_notification(&store, &event, clock::now()).await.unwrap();
        } else {
            let due = store
                .due(Queue::Of(Provider::ApoloPay), intent.expires_at(), BATCH)
                .await
                .unwrap();
            let claimed = store.reserve(&due[0], intent.expires_at()).await.unwrap().unwrap();
            assert_eq!(recorded.due().unwrap().0, part, "moved within its part");
            store.reschedule(&claimed, None).await.unwrap();
        }
        assert_eq!(recorded.due(), None, "settled by a webhook: {settle}");
    }
}

/// How often a payment is looked at, and what its provider is asked meanwhile, where each look comes `late`.
async fn looks(provider: Provider, late: Duration, book: &Book) -> (usize, usize) {
    let table = MemoryTable::new().unwrap();
    let store = table.store();
    let start = clock::now();
    let intent = intent(provider, start);
    create(&store, &intent, None).await;
    let queue = schedule::first_check(&intent).0;
    let (mut looks, end) = (0, start.plus(100 * DAY));
    loop {
        let due = store.due(queue, end, BATCH).await.unwrap();
        let Some(next) = due.first() else { break };
        assert_eq!(next.subject, Subject::Payment(intent.id));
        let mut sweep = Sweep::new(&store, book.clone(), next.at.plus(late));
        assert!(sweep.look_at(next).await.unwrap());
        looks += 1;
        assert!(looks < 100, "it ends");
    }
    (looks, book.asked().len())
}

#[tokio::test]
async fn the_reconciler_gets_done_what_the_page_on_scale_says() {
    let millis = |time: Duration| usize::try_from(time.as_millis()).unwrap();
    // The first at once.
    let calls = millis(TIME) / millis(INTERVAL) + 1;
    let in_time = Duration::ZERO;
    let (abandoned, asked) = looks(Provider::FinvyPay, in_time, &Book::default()).await;
    let book = Book::default();
    let told = Notification {
        payment_id: None,
        ..paid(&intent(Provider::FinvyPay, clock::now()))
    };
    book.knows(OTHER, told);
    let (_, asked_once) = looks(Provider::FinvyPay, in_time, &book).await;

    // What the table is asked for an ApoloPay payment that expires, at 10 ms a write and 5 ms a read.
    let recorded = Recorded::new();
    let store = recorded.store();
    let intent = intent(Provider::ApoloPay, clock::now());
    store.insert_payment(&intent, None, intent.created_at).await.unwrap();
    let due = store
        .due(Queue::Of(Provider::ApoloPay), intent.expires_at(), BATCH)
        .await
        .unwrap();
    recorded.take();
    let mut sweep = Sweep::new(&store, Book::default(), intent.expires_at());
    assert!(sweep.look_at(&due[0]).await.unwrap());
    let trips = recorded.take();
    let took: usize = trips
        .iter()
        .map(|(action, _)| if action == "GetItem" { 5 } else { 10 })
        .sum();
    assert_eq!(store.payment(intent.id).await.unwrap().unwrap().status, Status::Expired);

    assert_page_has(&[
        ("a run goes on for, in seconds", [millis(TIME) / 1000]),
        ("between two calls, in milliseconds", [millis(INTERVAL)]),
        ("calls of a run, at most", [calls]),
        ("read at once of each part of a queue (`BATCH`)", [usize::from(BATCH)]),
        (
            "looks at a FinvyPay payment that is never paid, in eight days",
            [abandoned],
        ),
        ("calls for it", [asked]),
        ("calls for a payment whose webhook was lost", [asked_once]),
        ("round trips to let an ApoloPay payment expire", [trips.len()]),
        // A third of the run is ApoloPay's at the most.
        ("ApoloPay payments that a run lets expire", [millis(TIME) / 3 / took]),
    ]);

    // The later each look comes the fewer there are, for each wait is as long as everything before it.
    let mut rows = Vec::new();
    for (name, late) in [
        ("not at all", in_time),
        ("by a quarter of an hour", DAY / 96),
        ("by a day", DAY),
        ("by eight days", 8 * DAY),
    ] {
        let (looks, asked) = looks(Provider::FinvyPay, late, &Book::default()).await;
        rows.push((name, [looks, calls * 60 * 24 / asked]));
    }
    assert_page_has(&rows);
}

#[tokio::test]
async fn what_is_repeated_costs_what_the_page_on_scale_says() {
    let recorded = Recorded::new();
    let store = recorded.store();
    let intent = intent(Provider::FinvyPay, clock::now());
    let again = async || {
        let again = Payment {
            id: PaymentId::random(),
            ..intent.clone()
        };
        create(&store, &again, Some(&keyed())).await
    };
    let created = again().await;
    let payment = Payment {
        id: created.payment,
        ..intent.clone()
    };
    record_notification(&store, &paid(&payment), clock::now())
        .await
        .unwrap();
    let units = |under: &str| {
        let items = recorded.table.items().unwrap();
        let writes = recorded.take().into_iter().flat_map(|(_, body)| writes(&body, &items));
        writes
            .filter(|(key, _)| key == under)
            .map(|(_, units)| units)
            .sum::<usize>()
    };
    recorded.take();

    assert_eq!(
        record_notification(&store, &paid(&payment), clock::now())
            .await
            .unwrap(),
        RecordResult::Duplicate(payment.id)
    );
    let of_webhook = units(&format!("PAYMENT#{}", payment.id));
    assert!(again().await.replayed);
    let of_key = units(&format!("KEY#create#{OTHER}"));
    let (webhooks, requests) = (PARTITION_UNITS / of_webhook, PARTITION_UNITS / of_key);
    let said = format!("{webhooks} webhooks of one payment again, {requests} requests with one idempotency key");
    let words = page().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&said), "docs/scale.md does not say: {said}");
}
