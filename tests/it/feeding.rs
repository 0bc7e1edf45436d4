//! The local counterparts of Lambda's event source mapping and of the scheduler: the table's stream reaches
//! publish-events, and reconcile-payments runs regularly.

use std::time::Duration;

use payment_functions_local::{Log, Mapping, Rate, Schedule, StreamFeed, TableStream};
use payment_functions_tests::world::{Attached, AwsProxy, Fault};

use crate::aws;
use crate::support::*;

/// How long a test waits, long enough for a busy machine.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// The functions with their own table, bus and dead-letter queue.
struct Shop {
    table: String,
    arrivals: String,
    dead_letters: String,
    proxy: AwsProxy,
    create: Attached,
    publish: Attached,
}

impl Shop {
    async fn open() -> Self {
        let table = unique("feeding");
        aws::create_table(&table).await;
        let (bus, arrivals) = aws::create_bus().await;
        let dead_letters = aws::create_queue().await;
        let own = [("PAYMENTS_TABLE", Some(table.as_str()))];
        let create = world()
            .await
            .attach("create-preorder", 1, &own)
            .await
            .expect("a function");
        let publisher = [
            ("EVENT_BUS", Some(bus.as_str())),
            ("DEAD_LETTER_QUEUE_URL", Some(dead_letters.as_str())),
        ];
        let (proxy, publish) = aws::behind_proxy("publish-events", &[&own[..], &publisher].concat()).await;
        Self {
            table,
            arrivals,
            dead_letters,
            proxy,
            create,
            publish,
        }
    }

    async fn feed(&self, mapping: Mapping) -> StreamFeed {
        let functions = self.publish.invocations().expect("a client");
        let aws = world().await.aws();
        let feed = StreamFeed::start(aws, &self.table, functions, &self.dead_letters, mapping, Log::Silent);
        feed.await.expect("a feed")
    }

    /// Creates a payment and returns its id.
    async fn create(&self) -> String {
        let body = preorder(&unique("order")).to_string();
        let response = post_to(self.create.url(), "/preorders", body, &[]).await;
        assert_eq!(response.status, 201, "{response:?}");
        response.str("id")
    }

    /// Waits for `count` events and returns the payment id of each, in order.
    async fn published(&self, count: usize) -> Vec<String> {
        let id = |message: Value| {
            let event: Value = serde_json::from_str(message["Body"].as_str().expect("a body")).expect("JSON");
            event["detail"]["id"].as_str().expect("an id").to_owned()
        };
        let messages = collected(&self.arrivals, count).await;
        messages.into_iter().map(id).collect()
    }
}

/// Waits for `count` messages of a queue and removes them.
async fn collected(queue: &str, count: usize) -> Vec<Value> {
    let all = async {
        let mut messages = Vec::new();
        while messages.len() < count {
            messages.extend(aws::receive_all(queue).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        messages
    };
    tokio::time::timeout(WAIT_LIMIT, all).await.expect("in time")
}

fn template() -> Mapping {
    Mapping::of_changes().expect("the template's mapping")
}

#[tokio::test]
async fn every_change_arrives_once_and_a_failed_batch_is_retried_from_the_failed_record() {
    let shop = Shop::open().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(shop.create().await);
    }
    // The feed starts at the beginning of the stream. The proxy accepts the first event and fails the second twice.
    let accepted = json!({ "EventId": "1" });
    let busy = json!({ "ErrorCode": "InternalFailure", "ErrorMessage": "injected" });
    for entries in [json!([accepted, busy, accepted]), json!([busy, accepted])] {
        let response = json!({ "FailedEntryCount": 1, "Entries": entries });
        shop.proxy.fail_times("PutEvents", 1, Fault::Response(response));
    }
    let _feed = shop.feed(template()).await;
    assert_eq!(
        shop.published(2).await,
        ids[1..],
        "the proxy faked the first acceptance"
    );
    let calls = shop.proxy.calls();
    let sizes: Vec<_> = calls
        .iter()
        .map(|call| call.body["Entries"].as_array().expect("entries").len())
        .collect();
    assert_eq!(sizes, [3, 2, 2]);

    // Later changes are fed too, and nothing arrives twice.
    let late = shop.create().await;
    assert_eq!(shop.published(1).await, [late]);
    assert_eq!(aws::receive_all(&shop.dead_letters).await, [Value::Null; 0]);
}

#[tokio::test]
async fn records_that_keep_failing_are_dead_lettered_and_the_rest_is_published() {
    let (mut by_tries, mut by_age) = (template(), template());
    by_tries.maximum_retries = Some(1);
    by_age.maximum_age = Some(1);
    for (mapping, condition) in [(by_tries, "RetryAttemptsExhausted"), (by_age, "RecordAgeExceeded")] {
        let shop = Shop::open().await;
        let lost = shop.create().await;
        shop.proxy.fail("PutEvents", Fault::UNAVAILABLE);
        let _feed = shop.feed(mapping).await;
        let messages = collected(&shop.dead_letters, 1).await;
        shop.proxy.reset();
        let message: Value = serde_json::from_str(messages[0]["Body"].as_str().expect("a body")).expect("JSON");
        assert_eq!(message["requestContext"]["condition"], condition);
        // The message names the record, which names the payment.
        let mut stream = TableStream::open(world().await.aws(), &shop.table)
            .await
            .expect("a stream");
        let records = stream.read().await.expect("records");
        let batch = &message["DDBStreamBatchInfo"];
        let named = records
            .iter()
            .find(|record| record["dynamodb"]["SequenceNumber"] == batch["startSequenceNumber"]);
        assert_eq!(
            named.expect("the record")["dynamodb"]["Keys"]["pk"]["S"],
            format!("PAYMENT#{lost}")
        );
        assert_eq!(batch["batchSize"], 1, "the filter leaves out the other records");
        let next = shop.create().await;
        assert_eq!(shop.published(1).await, [next], "{condition}");
    }
}

#[tokio::test]
async fn reconciler_runs_on_its_schedule() {
    let rate = Rate::of_template().expect("the template's rate");
    assert_eq!(rate.period, Duration::from_secs(60));
    let table = unique("schedule");
    aws::create_table(&table).await;
    let changes = [("PAYMENTS_TABLE", Some(table.as_str()))];
    let function = world()
        .await
        .attach("reconcile-payments", 1, &changes)
        .await
        .expect("a function");
    let often = Rate {
        period: Duration::from_millis(50),
        ..rate
    };
    let _schedule = Schedule::start(function.invocations().expect("a client"), often, Log::Silent).expect("a schedule");
    let swept = async {
        while function
            .log()
            .matches(r#""message":"reconciliation run finished""#)
            .count()
            < 2
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WAIT_LIMIT, swept).await.expect("two runs");
}
