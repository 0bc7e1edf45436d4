//! The numbers in docs/scale.md: the writes of a payment, how they spread over the table's partitions and the index's
//! shards, and the reconciler's requests. All are measured in this process, from the code's own requests. The rates that
//! the reconciler keeps up with are measured by [`simulation`](crate::simulation).
//!
//! Only the payments' ids are random, as they are in production. Each test's bounds are so wide that chance does not
//! reach them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::idempotency::{Fingerprint, IdempotencyKey, RequestNames};
use payment_functions::domain::json::Json;
use payment_functions::domain::list_reading::AGES;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::request_rate::{Lane, RequestRate};
use payment_functions::domain::schedule::{self, Queue};
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::create_payment::{self, Creation, IdempotentRequest};
use payment_functions::flows::record_notification::{RecordResult, record_notification};
use payment_functions::platform::clock;
use payment_functions::providers::Notification;
use payment_functions::providers::finvypay::list::{ListRow, PAGE_ROWS};
use payment_functions::store::Store;
use payment_functions_local::workspace;
use payment_functions_tests::world::MemoryTable;
use publish_events::order_paid_twice::check_order;
use reconcile_payments::handler::RUN_TIME;
use reconcile_payments::sweep::Sweep;
use serde_json::Value;
use tokio::time::Instant;

use crate::facts::fact;
use crate::model::{FakeGateway, api_keys};
use crate::recorded::Recorded;
use crate::simulation::idle_requests;
use crate::sweeps::{FakeList, FakeProvider};
use crate::units::{size, writes};

/// Payments per second.
const RATES: [usize; 3] = [10, 1_000, 100_000];
/// The write units that a partition takes per second.
const PARTITION_UNITS: usize = 1_000;
/// The partitions of a new table or index, by the units that it takes from the start.
const NEW_PARTITIONS: usize = 4;
/// Placeholder in keys for a text that differs between payments, like an id.
const OTHER: &str = "{other}";
/// Placeholder in keys for the shop's own number of an order, which counts up.
const NTH: &str = "{nth}";
const MINUTE: Duration = Duration::from_secs(60);

impl Recorded {
    /// The payment's key in the index, if it is there.
    fn due(&self) -> Option<(Value, Value)> {
        let items = self.table.items().unwrap();
        let state = items.into_iter().find(|item| item["sk"]["S"] == "STATE");
        let state = state.expect("the payment");
        let is_due = state["dueAt"].is_object();
        is_due.then(|| (state["dueQueue"]["S"].clone(), state["dueAt"]["N"].clone()))
    }
}

/// The write units of the index when a key in it changes: one for each that is added or removed.
fn index_units<T: PartialEq>(before: Option<&T>, after: Option<&T>) -> usize {
    if before == after {
        return 0;
    }
    usize::from(before.is_some()) + usize::from(after.is_some())
}

/// The load of one payment: created with an idempotency key, accepted by its provider, paid, and checked for a second
/// payment of its order.
struct PaymentLoad {
    /// Write units by partition key, with the placeholders [`OTHER`] and [`NTH`].
    writes: BTreeMap<String, usize>,
    /// Read units of the check, one for each of its queries.
    reads: usize,
    /// Write units in the index.
    index: usize,
    /// Records in the table's stream.
    records: usize,
    /// The records that pass the filter in template.yaml.
    published: usize,
}

impl PaymentLoad {
    async fn of(provider: Provider) -> Self {
        let recorded = Recorded::new();
        let store = recorded.store();
        let intent = intent(provider, clock::now());
        create(&store, &intent, Some(&keyed())).await;
        let due = recorded.due().expect("it is in the index");
        let shard = format!("{}#{}", Queue::Expiry.name(), intent.id.shard(Queue::Expiry.shards()));
        let at = schedule::first_check_at(&intent);
        assert_eq!(
            due,
            (shard.into(), at.as_millis().to_string().into()),
            "its time in the index is not changed when the provider accepts it"
        );
        record_notification(&store, &paid(&intent), OrderMatching::default(), clock::now())
            .await
            .unwrap();
        assert_eq!(recorded.due(), None, "and taken out when paid");
        let mut calls = recorded.take();
        let completed = store.payment(intent.id).await.unwrap().unwrap();
        recorded.take();
        check_order(&store, &completed, clock::now()).await.unwrap();
        calls.extend(recorded.take());

        let items = recorded.table.items().unwrap();
        let mut load = Self {
            writes: BTreeMap::new(),
            reads: 0,
            index: index_units(None, Some(&due)) + index_units(Some(&due), recorded.due().as_ref()),
            records: 0,
            published: 0,
        };
        for (action, body) in calls {
            if action == "Query" {
                load.reads += 1;
                continue;
            }
            assert_eq!(action, "TransactWriteItems");
            for (key, units) in writes(&body, &items) {
                let key = key.replace(&intent.id.to_string(), OTHER);
                *load.writes.entry(key).or_default() += units;
            }
            for step in body["TransactItems"].as_array().unwrap() {
                load.records += usize::from(step["ConditionCheck"].is_null());
                load.published += usize::from(step["Update"]["Key"]["sk"]["S"] == "STATE");
            }
        }
        load
    }

    fn units(&self) -> usize {
        self.writes.values().sum()
    }

    /// The write units that each partition gets of so many payments.
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

/// Creates a payment as the functions do, at a provider that accepts it.
async fn create(store: &Store, intent: &Payment, keyed: Option<&IdempotentRequest>) -> Creation {
    let gateway = FakeGateway::accepting(&reference());
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
        ..Payment::new(PaymentId::random(), provider, Environment::Sandbox, money, now)
    }
}

/// A provider's webhook of a paid payment.
fn paid(payment: &Payment) -> Notification {
    Notification {
        payment_id: Some(payment.id),
        fact: Fact {
            payment: Some(reference()),
            ..fact(payment.provider, Outcome::Completed)
        },
    }
}

/// The partition of a key, if each partition has an equal range of hashes. DynamoDB's own hash function is not public,
/// but any good one spreads keys alike.
fn partition(key: &str, partitions: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    hasher.write(key.as_bytes());
    let wide = u128::from(hasher.finish()) * u128::try_from(partitions).unwrap();
    usize::try_from(wide >> 64).unwrap()
}

/// A number with commas between thousands.
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

/// Checks that the page has each row: its name and numbers.
#[track_caller]
pub fn assert_page_has<const COLUMNS: usize>(rows: &[(&str, [usize; COLUMNS])]) {
    let row = |(name, numbers): &(&str, [usize; COLUMNS])| format!("| {name} | {} |", numbers.map(grouped).join(" | "));
    let page = page();
    let rows: Vec<_> = rows.iter().map(row).collect();
    let missing: Vec<_> = rows.iter().filter(|row| !page.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "docs/scale.md does not say:\n{missing:#?}");
}

#[tokio::test]
async fn writes_of_a_payment_match_the_scale_page() {
    let loads = [
        PaymentLoad::of(Provider::ApoloPay).await,
        PaymentLoad::of(Provider::FinvyPay).await,
    ];
    let of_own_key = |load: &PaymentLoad| load.writes[&format!("PAYMENT#{OTHER}")];
    assert_page_has(&[
        ("write units of the table", loads.each_ref().map(PaymentLoad::units)),
        ("of which under the payment's own key", loads.each_ref().map(of_own_key)),
        ("write units of the index", loads.each_ref().map(|load| load.index)),
        ("records in the stream", loads.each_ref().map(|load| load.records)),
        ("of which are published", loads.each_ref().map(|load| load.published)),
    ]);
    let every_key_differs = |load: &PaymentLoad| load.writes.keys().all(|key| key.contains(OTHER) || key.contains(NTH));
    assert!(loads.iter().all(every_key_differs), "no two payments share a key");
}

#[tokio::test]
async fn load_at_each_rate_matches_the_scale_page() {
    let load = PaymentLoad::of(Provider::FinvyPay).await;
    let cost = std::fs::read_to_string(workspace().join("docs/cost.md")).unwrap();
    for assumed in [
        "0.85 s to create, 0.02 s a webhook, 0.01 s a status read, 0.03 s an event, 0.02 s to check an order",
        "| bytes that the functions log, at most | 3250 | 3250 |",
        "the functions' 3,250 bytes, Lambda's own 600 an invocation, API Gateway's 400 a request",
        "read five times by the frontend",
    ] {
        assert!(cost.contains(assumed), "docs/cost.md no longer assumes: {assumed}");
    }
    // Busy environments: requests per payment, each of so many milliseconds.
    let busy = |requests: usize, millis: usize| RATES.map(|rate| (rate * requests * millis).div_ceil(1000));
    let per_second = |of_one: usize| RATES.map(|rate| rate * of_one);
    assert_page_has(&[
        ("requests of the API", per_second(6)),
        ("write units of the table", per_second(load.units())),
        ("write units of the index", per_second(load.index)),
        ("read units of the table", per_second(5 + load.reads)),
        ("published events", per_second(load.published)),
        ("environments creating payments", busy(1, 850)),
        ("environments receiving webhooks", busy(1, 20)),
        ("environments reading statuses", busy(5, 10)),
        // The order is checked once.
        ("environments publishing, at most", busy(1, load.published * 30 + 20)),
        (
            "kilobytes of logs",
            RATES.map(|rate| rate * (3_250 + 9 * 600 + 6 * 400) / 1000),
        ),
    ]);
}

#[tokio::test]
async fn no_table_partition_is_overloaded() {
    let load = PaymentLoad::of(Provider::FinvyPay).await;
    // Twice as many as the writes fill.
    let partitions = RATES.map(|rate| (2 * rate * load.units()).div_ceil(PARTITION_UNITS).max(NEW_PARTITIONS));
    let mut even = [0; RATES.len()];
    for (nth, (rate, partitions)) in RATES.into_iter().zip(partitions).enumerate() {
        let spread = load.spread(rate, partitions);
        let hottest = *spread.iter().max().unwrap();
        even[nth] = rate * load.units() / partitions;
        println!(
            "{rate} payments a second on {partitions} partitions: {} units each, the hottest {hottest}",
            even[nth]
        );
        assert_eq!(spread.iter().sum::<usize>(), rate * load.units());
        assert!(hottest < PARTITION_UNITS, "{rate} a second: {hottest} units");
        // As the page says. Of ten payments chance can put all into one partition.
        assert!(
            rate == 10 || 10 * hottest <= 17 * even[nth],
            "{rate} a second: {hottest} units"
        );
    }
    assert_page_has(&[
        ("partitions, twice the minimum", partitions),
        ("write units of each, if even", even),
    ]);
}

/// The number of ways to place `shards` on `partitions`, with at most `most` on each.
fn ways(shards: u128, partitions: u128, most: u128) -> u128 {
    if partitions == 0 {
        return u128::from(shards == 0);
    }
    // One partition has `held` of the shards, which can be chosen in `chosen` ways. The others have the rest.
    let (mut all, mut chosen) = (0, 1);
    for held in 0..=most.min(shards) {
        all += chosen * ways(shards - held, partitions - 1, most);
        chosen = chosen * (shards - held) / (held + 1);
    }
    all
}

#[test]
fn capacity_of_index_shards_matches_the_scale_page() {
    let shards = Queue::Expiry.shards();
    let count = usize::from(shards);
    let mut payments = vec![0_usize; count];
    // Enough payments for each shard that chance is small.
    let even = 12_500;
    for _ in 0..even * count {
        payments[usize::from(PaymentId::random().shard(shards))] += 1;
    }
    let most = *payments.iter().max().unwrap();
    println!("{shards} shards: {even} payments each if even, {most} in the fullest");
    assert!(100 * most <= 105 * even, "{payments:?}");
    // A byte of the id decides over the shard, so this makes all shards equal.
    assert_eq!(256 % count, 0);

    // A new index places each shard on a random partition. This counts all ways to do so, by the fullest partition.
    let (wide, partitions) = (u128::from(shards), u128::try_from(NEW_PARTITIONS).unwrap());
    let fullest = |most| ways(wide, partitions, most) - ways(wide, partitions, most - 1);
    let in_fullest: u128 = (1..=wide).map(|most| most * fullest(most)).sum();
    let takes = PARTITION_UNITS * count / 2;
    let takes_new = u128::try_from(takes).unwrap() * ways(wide, partitions, wide) / in_fullest;
    let others = [Queue::Poll, Queue::Review, Queue::Unmatched].map(|queue| usize::from(queue.shards()));
    assert_eq!(others, [1; 3]);
    assert_page_has(&[
        ("shards of the queue `expiry`", [count]),
        ("shards of each other queue", [1]),
        ("payments a second that they take", [takes]),
        (
            "the same while the index is new, on average",
            [usize::try_from(takes_new).unwrap()],
        ),
    ]);
}

#[tokio::test]
async fn requests_of_an_idle_run_match_the_scale_page() {
    let actions = idle_requests().await;
    assert_page_has(&[("requests of an idle run to DynamoDB, at most", [actions.len()])]);
    let of = |name: &str| actions.iter().filter(|action| *action == name).count();
    let cost = std::fs::read_to_string(workspace().join("docs/cost.md")).unwrap();
    let row = format!("| writes of an idle run, at most | {} |", of("TransactWriteItems"));
    assert!(cost.contains(&row), "docs/cost.md does not say:\n{row}");
    assert_eq!(of("Query") + of("GetItem") + of("TransactWriteItems"), actions.len());
}

/// As after a change of the number of shards: an item is in another shard than the one that its id chooses.
#[tokio::test]
async fn item_stays_in_its_shard_until_it_is_resolved() {
    for by_webhook in [true, false] {
        let recorded = Recorded::new();
        let store = recorded.store();
        let intent = intent(Provider::ApoloPay, clock::now());
        store
            .insert_payment(&intent, RequestNames::default(), intent.created_at)
            .await
            .unwrap();
        let shards = Queue::Expiry.shards();
        let other = (intent.id.shard(shards) + 1) % shards;
        let shard = format!("{}#{other}", Queue::Expiry.name());
        let moved = recorded.table.client().update_item().table_name("payments");
        let moved = moved.key("pk", AttributeValue::S(format!("PAYMENT#{}", intent.id)));
        let moved = moved.key("sk", AttributeValue::S("STATE".to_owned()));
        let moved = moved.update_expression("SET dueQueue = :shard");
        let moved = moved.expression_attribute_values(":shard", AttributeValue::S(shard));
        moved.send().await.unwrap();
        if by_webhook {
            let webhook = Notification {
                payment_id: Some(intent.id),
                fact: fact(Provider::ApoloPay, Outcome::Completed),
            };
            record_notification(&store, &webhook, OrderMatching::default(), clock::now())
                .await
                .unwrap();
        } else {
            expire(&store, intent.expires_at()).await;
        }
        assert_eq!(recorded.due(), None, "resolved by a webhook: {by_webhook}");
    }
}

/// Expires all payments that are due at `now`.
async fn expire(store: &Store, now: Timestamp) -> u32 {
    let is_list_read = true;
    let sweep = Sweep::new(store, FakeProvider::default(), now);
    let report = sweep.expire(is_list_read, Instant::now() + RUN_TIME).await.unwrap();
    assert_eq!(report.failed, 0);
    report.expired
}

/// The calls of a run in a lane, at most. The calls before have used up the burst.
async fn calls_of_a_run(lane: Lane, requests: u32) -> usize {
    let store = MemoryTable::new().unwrap().store();
    let limit = RequestRate::per_minute(requests).unwrap().limit(lane);
    let mut now = clock::now();
    let mut calls = 0;
    for run in 0..2 {
        let end = now.plus(RUN_TIME);
        calls = 0;
        let mut time = now;
        while let Some(slot) = store
            .reserve_slots(Provider::FinvyPay, lane, 1, limit, time, end)
            .await
            .unwrap()
        {
            calls += 1;
            time = slot;
        }
        now = now.plus(MINUTE);
        println!("{lane:?} at {requests} requests a minute, run {run}: {calls} calls");
    }
    calls
}

#[tokio::test]
async fn calls_of_a_run_match_the_scale_page() {
    let mut rows = Vec::new();
    for (name, lane) in [
        ("calls of a run to the list, at most", Lane::List),
        ("single calls of a run, at most", Lane::Single),
    ] {
        rows.push((name, [calls_of_a_run(lane, 100).await, calls_of_a_run(lane, 500).await]));
    }
    assert_page_has(&rows);
    assert_page_has(&[
        (
            "length of a run, in seconds",
            [usize::try_from(RUN_TIME.as_secs()).unwrap()],
        ),
        ("rows of a page of the list", [usize::try_from(PAGE_ROWS).unwrap()]),
        ("readings of each transaction", [AGES.len()]),
    ]);
}

/// A page of paid transactions whose webhooks have come, each with our metadata and its transaction's id.
#[tokio::test]
async fn reads_of_a_page_of_the_list_match_the_scale_page() {
    let recorded = Recorded::new();
    let store = recorded.store();
    let now = clock::now();
    let mut rows = Vec::new();
    for number in 0..PAGE_ROWS {
        let intent = intent(Provider::FinvyPay, now);
        store
            .insert_payment(&intent, RequestNames::default(), now)
            .await
            .unwrap();
        let mut webhook = paid(&intent);
        webhook.fact.transaction = Reference::parse(&format!("FP{number}"));
        webhook.fact.payment = None;
        record_notification(&store, &webhook, OrderMatching::default(), now)
            .await
            .unwrap();
        let row = ListRow {
            notification: webhook,
            status: None,
        };
        rows.push((now, row));
    }
    // An open payment, with which reading begins.
    let open = intent(Provider::FinvyPay, now);
    store.insert_payment(&open, RequestNames::default(), now).await.unwrap();
    let fake = FakeProvider::default();
    let first = Sweep::new(&store, fake.clone(), now.plus(2 * MINUTE));
    first.run(RUN_TIME).await.unwrap();
    let mut list = FakeList::default();
    list.rows = rows;
    fake.set_list(list);
    recorded.take();
    let report = Sweep::new(&store, fake, now.plus(4 * MINUTE))
        .run(RUN_TIME)
        .await
        .unwrap();
    assert_eq!((report.resolved, report.failed), (0, 0));
    let requests = recorded.take();
    let of_rows = requests.iter().filter(|(action, _)| action == "BatchGetItem");
    let keys = of_rows.clone().map(|(_, body)| {
        let tables = body["RequestItems"].as_object().unwrap().values();
        tables
            .map(|table| table["Keys"].as_array().unwrap().len())
            .sum::<usize>()
    });
    // The only other write stores how far the list was read.
    assert_eq!(
        requests.iter().filter(|(action, _)| action.contains("Write")).count(),
        1
    );
    assert_page_has(&[
        ("requests that find the payments of a page", [of_rows.count()]),
        ("items that they read, for half a read unit each", [keys.sum()]),
    ]);
}

#[tokio::test]
async fn expiry_of_an_unpaid_payment_matches_the_scale_page() {
    let (mut units, mut index, mut stays) = (Vec::new(), Vec::new(), 0);
    for provider in [Provider::ApoloPay, Provider::FinvyPay] {
        let recorded = Recorded::new();
        let store = recorded.store();
        let intent = intent(provider, clock::now());
        create(&store, &intent, None).await;
        if provider == Provider::FinvyPay {
            // The whole list has shown it as pending.
            let pending = Fact {
                outcome: Outcome::Pending,
                raw_status: "PENDING".to_owned(),
                ..paid(&intent).fact
            };
            let pending = Notification {
                payment_id: Some(intent.id),
                fact: pending,
            };
            record_notification(&store, &pending, OrderMatching::default(), clock::now())
                .await
                .unwrap();
        }
        let due = recorded.due();
        recorded.take();
        assert_eq!(expire(&store, intent.expires_at().plus(MINUTE)).await, 1);
        index.push(index_units(None, due.as_ref()) + index_units(due.as_ref(), recorded.due().as_ref()));
        let items = recorded.table.items().unwrap();
        let calls = recorded.take();
        let mut transactions = calls.iter().filter(|(action, _)| action == "TransactWriteItems");
        let expiry = transactions.next().map(|(_, body)| writes(body, &items));
        assert!(transactions.next().is_none(), "one write");
        units.push(expiry.unwrap().iter().map(|(_, units)| units).sum());
        stays = items.iter().filter(|item| item["ttl"].is_null()).map(size).sum();
    }
    assert_page_has(&[
        ("write units of the write that expires an ApoloPay payment", [units[0]]),
        ("the same for a FinvyPay payment", [units[1]]),
        (
            "bytes that stay of a FinvyPay payment that a report called pending and that is deleted",
            [stays],
        ),
    ]);
    assert_page_has(&[("write units of the index for an unpaid payment", [index[0], index[1]])]);
}

/// The requests that expire a hundred payments.
#[tokio::test]
async fn requests_of_expiries_match_the_scale_page() {
    let recorded = Recorded::new();
    let store = recorded.store();
    let now = clock::now();
    for _ in 0..100 {
        let intent = intent(Provider::ApoloPay, now);
        store
            .insert_payment(&intent, RequestNames::default(), now)
            .await
            .unwrap();
    }
    recorded.take();
    assert_eq!(expire(&store, intent(Provider::ApoloPay, now).expires_at()).await, 100);
    let requests = recorded.take();
    let of = |name: &str| requests.iter().filter(|(action, _)| action == name).count();
    assert_eq!(
        requests.len(),
        of("Query") + of("BatchGetItem") + of("TransactWriteItems")
    );
    assert_page_has(&[
        ("writes that expire a hundred payments", [of("TransactWriteItems")]),
        ("queries and reads beside them", [of("Query") + of("BatchGetItem")]),
    ]);
}

#[tokio::test]
async fn cost_of_repetitions_matches_the_scale_page() {
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
    record_notification(&store, &paid(&payment), OrderMatching::default(), clock::now())
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
        record_notification(&store, &paid(&payment), OrderMatching::default(), clock::now())
            .await
            .unwrap(),
        RecordResult::Duplicate(payment.id)
    );
    let of_webhook = units(&format!("PAYMENT#{}", payment.id));
    assert!(again().await.replayed);
    let of_key = units(&format!("KEY#create#{OTHER}"));
    let (webhooks, requests) = (PARTITION_UNITS / of_webhook, PARTITION_UNITS / of_key);
    let expected = format!("{webhooks} repeated webhooks of one payment, {requests} requests with one idempotency key");
    let page = page().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains(&expected), "docs/scale.md does not say: {expected}");
}
