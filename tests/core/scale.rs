//! The numbers in docs/scale.md: the writes of a payment, how they spread over the table's partitions and the index's
//! shards, and the reconciler's throughput. All are measured in this process, from the code's own requests.
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
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::{Environment, Provider};
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
use publish_events::order_paid_twice::check_order;
use reconcile_payments::handler::RUN_TIME;
use reconcile_payments::poller::INTERVAL;
use reconcile_payments::sweep::{BATCH, Sweep};
use serde_json::Value;

use crate::facts::fact;
use crate::model::{FakeGateway, api_keys};
use crate::recorded::Recorded;
use crate::sweeps::FakeProvider;
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
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

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
        let (queue, at) = schedule::first_check(&intent);
        let shard = format!("{}#{}", queue.name(), intent.id.shard(SHARDS));
        assert_eq!(
            due,
            (shard.into(), at.as_millis().to_string().into()),
            "in the index at first"
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
            index: 2,
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
fn assert_page_has<const COLUMNS: usize>(rows: &[(&str, [usize; COLUMNS])]) {
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
    let shards = usize::from(SHARDS);
    let mut payments = vec![0_usize; shards];
    // Enough payments for each shard that chance is small: 100,000 for eight shards.
    let even = 12_500;
    for _ in 0..even * shards {
        payments[usize::from(PaymentId::random().shard(SHARDS))] += 1;
    }
    let most = *payments.iter().max().unwrap();
    println!("{shards} shards: {even} payments each if even, {most} in the fullest");
    assert!(100 * most <= 105 * even, "{payments:?}");
    // A byte of the id decides over the shard, so this makes all shards equal.
    assert_eq!(256 % shards, 0);

    // A new index places each shard on a random partition. This counts all ways to do so, by the fullest partition.
    let (count, partitions) = (u128::from(SHARDS), u128::try_from(NEW_PARTITIONS).unwrap());
    let fullest = |most| ways(count, partitions, most) - ways(count, partitions, most - 1);
    let in_fullest: u128 = (1..=count).map(|most| most * fullest(most)).sum();
    let takes = PARTITION_UNITS * shards / 2;
    let takes_new = u128::try_from(takes).unwrap() * ways(count, partitions, count) / in_fullest;
    assert_page_has(&[
        ("shards of each queue (`SHARDS`)", [shards]),
        ("payments a second that they take, at each provider", [takes]),
        (
            "the same while the index is new, on average",
            [usize::try_from(takes_new).unwrap()],
        ),
        ("queries of an idle run", [(Queue::all().count() + 2) * shards]),
    ]);
}

/// As after a change of [`SHARDS`]: an item is in another shard than the one that its id chooses.
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
        let other = (intent.id.shard(SHARDS) + 1) % SHARDS;
        let shard = Value::from(format!("{}#{other}", Queue::Payments(Provider::ApoloPay).name()));
        let moved = recorded.table.client().update_item().table_name("payments");
        let moved = moved.key("pk", AttributeValue::S(format!("PAYMENT#{}", intent.id)));
        let moved = moved.key("sk", AttributeValue::S("STATE".to_owned()));
        let moved = moved.update_expression("SET dueQueue = :shard");
        let moved = moved.expression_attribute_values(":shard", AttributeValue::S(shard.as_str().unwrap().to_owned()));
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
            let due = store
                .due(Queue::Payments(Provider::ApoloPay), intent.expires_at(), BATCH)
                .await
                .unwrap();
            let reserved = store.reserve(&due[0], intent.expires_at()).await.unwrap().unwrap();
            assert_eq!(recorded.due().unwrap().0, shard, "moved within its shard");
            store.reschedule(&reserved, None).await.unwrap();
        }
        assert_eq!(recorded.due(), None, "resolved by a webhook: {by_webhook}");
    }
}

/// The number of checks of a payment, and of calls to its provider, if each check is `late`.
async fn checks(provider: Provider, late: Duration, fake: &FakeProvider) -> (usize, usize) {
    let table = MemoryTable::new().unwrap();
    let store = table.store();
    let start = clock::now();
    let intent = intent(provider, start);
    create(&store, &intent, None).await;
    let queue = schedule::first_check(&intent).0;
    let (mut checks, end) = (0, start.plus(100 * DAY));
    loop {
        let due = store.due(queue, end, BATCH).await.unwrap();
        let Some(next) = due.first() else { break };
        assert_eq!(next.subject, Subject::Payment(intent.id));
        let mut sweep = Sweep::new(&store, fake.clone(), next.at.plus(late));
        assert!(sweep.check_due(next).await.unwrap());
        checks += 1;
        assert!(checks < 100, "it ends");
    }
    (checks, fake.take_calls().len())
}

fn millis(time: Duration) -> usize {
    usize::try_from(time.as_millis()).unwrap()
}

/// The calls of a run, at most. The first one is at once.
fn calls_per_run() -> usize {
    millis(RUN_TIME) / millis(INTERVAL) + 1
}

#[tokio::test]
async fn throughput_of_the_reconciler_matches_the_scale_page() {
    let in_time = Duration::ZERO;
    let (abandoned, calls_abandoned) = checks(Provider::FinvyPay, in_time, &FakeProvider::default()).await;
    let fake = FakeProvider::default();
    let report = Notification {
        payment_id: None,
        ..paid(&intent(Provider::FinvyPay, clock::now()))
    };
    fake.set_status(OTHER, report);
    let (_, calls_lost) = checks(Provider::FinvyPay, in_time, &fake).await;

    // The round trips to expire an ApoloPay payment, at 10 ms a write and 5 ms a read.
    let recorded = Recorded::new();
    let store = recorded.store();
    let intent = intent(Provider::ApoloPay, clock::now());
    store
        .insert_payment(&intent, RequestNames::default(), intent.created_at)
        .await
        .unwrap();
    let due = store
        .due(Queue::Payments(Provider::ApoloPay), intent.expires_at(), BATCH)
        .await
        .unwrap();
    recorded.take();
    let mut sweep = Sweep::new(&store, FakeProvider::default(), intent.expires_at());
    assert!(sweep.check_due(&due[0]).await.unwrap());
    let trips = recorded.take();
    let took: usize = trips
        .iter()
        .map(|(action, _)| if action == "GetItem" { 5 } else { 10 })
        .sum();
    assert_eq!(store.payment(intent.id).await.unwrap().unwrap().status, Status::Expired);

    assert_page_has(&[
        ("length of a run, in seconds", [millis(RUN_TIME) / 1000]),
        ("time between two calls, in milliseconds", [millis(INTERVAL)]),
        ("calls of a run, at most", [calls_per_run()]),
        (
            "items read at once from each shard of a queue (`BATCH`)",
            [usize::from(BATCH)],
        ),
        (
            "checks of a FinvyPay payment that is never paid, in eight days",
            [abandoned],
        ),
        ("calls for it", [calls_abandoned]),
        ("calls for a payment whose webhook was lost", [calls_lost]),
        ("round trips to expire an ApoloPay payment", [trips.len()]),
        // ApoloPay's queue has at most a third of the run.
        ("ApoloPay payments that a run can expire", [millis(RUN_TIME) / 3 / took]),
    ]);
}

#[tokio::test]
async fn expiry_of_an_unpaid_payment_matches_the_scale_page() {
    let (mut units, mut stays) = (Vec::new(), 0);
    for provider in [Provider::ApoloPay, Provider::FinvyPay] {
        let recorded = Recorded::new();
        let store = recorded.store();
        let intent = intent(provider, clock::now());
        create(&store, &intent, None).await;
        if provider == Provider::FinvyPay {
            // FinvyPay was polled before.
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
        let at = intent.expires_at();
        let due = store.due(Queue::Payments(provider), at, BATCH).await.unwrap();
        recorded.take();
        let mut sweep = Sweep::new(&store, FakeProvider::default(), at);
        assert!(sweep.check_due(&due[0]).await.unwrap());
        let items = recorded.table.items().unwrap();
        // The only other writes reserve the item and set the time of its next check.
        let calls = recorded
            .take()
            .into_iter()
            .filter(|(action, _)| action == "TransactWriteItems");
        let expiry = calls.map(|(_, body)| writes(&body, &items)).max_by_key(Vec::len);
        units.push(expiry.unwrap().iter().map(|(_, units)| units).sum());
        stays = items.iter().filter(|item| item["ttl"].is_null()).map(size).sum();
    }
    assert_page_has(&[
        ("write units of the write that expires an ApoloPay payment", [units[0]]),
        ("the same for a FinvyPay payment", [units[1]]),
        (
            "bytes that stay of a FinvyPay payment that was polled as pending and is deleted",
            [stays],
        ),
    ]);
}

/// The later the checks, the fewer there are, since each wait is as long as the item is old.
#[tokio::test]
async fn late_checks_of_abandoned_payments_match_the_scale_page() {
    let mut rows = Vec::new();
    for (name, late) in [
        ("none", Duration::ZERO),
        ("a quarter of an hour", DAY / 96),
        ("a day", DAY),
        ("eight days", 8 * DAY),
    ] {
        let (checks, calls) = checks(Provider::FinvyPay, late, &FakeProvider::default()).await;
        rows.push((name, [checks, calls_per_run() * 60 * 24 / calls]));
    }
    assert_page_has(&rows);
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
