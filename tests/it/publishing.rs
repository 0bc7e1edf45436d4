//! publish-events, from the table's stream to the event bus: real stream records, the real function, and a rule of the
//! bus that collects what arrives.

mod attention;
mod broken;
mod failing;
mod order_paid_twice;
mod republishing;
mod shown;

use std::collections::BTreeSet;

use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::idempotency::RequestNames;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::payment::{CheckoutSession, Payment};
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::record_notification::record_notification;
use payment_functions::platform::clock;
use payment_functions::providers::Notification;
use payment_functions::store::{CommitExtras, CommitResult, Due, InsertResult, Store, Subject};
use payment_functions_tests::world::{AwsProxy, InvokeError, Lambda};

use crate::aws;
use crate::facts;
use crate::support::{Value, json, unique, world};

/// The function with its own table, bus and dead-letter queue.
struct Feed {
    table: String,
    store: Store,
    bus: String,
    /// The queue that receives everything published to the bus.
    arrivals: String,
    dead_letter_queue: String,
    proxy: AwsProxy,
    function: Lambda,
    now: Timestamp,
}

/// A published event: detail-type, event id, version.
type Summary = (String, String, u64);

impl Feed {
    async fn open() -> Self {
        Self::with(&[]).await
    }

    /// A feed whose function has these changes to its environment.
    async fn with(changes: &[(&str, Option<&str>)]) -> Self {
        let table = unique("publishing");
        aws::create_table(&table).await;
        Self::of(table, changes).await
    }

    /// A feed over an existing table.
    async fn of(table: String, changes: &[(&str, Option<&str>)]) -> Self {
        let (bus, arrivals) = aws::create_bus().await;
        let dead_letter_queue = aws::create_queue().await;
        let proxy = aws::proxy().await;
        let own = [
            ("PAYMENTS_TABLE", Some(table.as_str())),
            ("EVENT_BUS", Some(bus.as_str())),
            ("DEAD_LETTER_QUEUE_URL", Some(dead_letter_queue.as_str())),
            ("AWS_ENDPOINT_URL", Some(proxy.url())),
        ];
        let function = world().await.lambda("publish-events", &[&own, changes].concat()).await;
        Self {
            store: Store::open(&aws::clients(world().await.aws_url()), table.clone()),
            function: function.expect("the function"),
            table,
            bus,
            arrivals,
            dead_letter_queue,
            proxy,
            now: clock::now(),
        }
    }

    /// A `creating` payment of 25.50 USD.
    async fn intent(&self) -> Payment {
        let money = Money::from_minor(2550, Currency::USD);
        let payment = Payment {
            order_id: OrderId::parse(&unique("order")),
            ..Payment::new(
                PaymentId::random(),
                Provider::FinvyPay,
                Environment::Sandbox,
                money,
                self.now,
            )
        };
        let opened = self
            .store
            .insert_payment(&payment, RequestNames::default(), self.now)
            .await
            .unwrap();
        assert_eq!(opened, InsertResult::Inserted);
        payment
    }

    /// A payment that its provider has accepted.
    async fn pending(&self) -> Payment {
        let intent = self.intent().await;
        let checkout_session = CheckoutSession {
            reference: reference(&unique("pay")),
            redirect_url: None,
            expires_at: None,
        };
        let payment = intent.accept(checkout_session, [], self.now);
        self.commit(&intent, &payment).await;
        payment
    }

    async fn commit(&self, before: &Payment, after: &Payment) {
        let commit = self
            .store
            .commit(before, after, &CommitExtras::default(), self.now)
            .await;
        assert!(matches!(commit, Ok(CommitResult::Done)), "{commit:?}");
    }

    /// Records a fact of the payment's provider.
    async fn record(&self, id: PaymentId, fact: Fact) {
        let event = Notification {
            payment_id: Some(id),
            fact,
        };
        record_notification(&self.store, &event, OrderMatching::default(), self.now)
            .await
            .unwrap();
    }

    /// A payment that went through `pending`, `authorized` and `completed`: three events.
    async fn paid(&self) -> PaymentId {
        let id = self.pending().await.id;
        for outcome in [Outcome::Authorized, Outcome::Completed] {
            self.record(id, facts::fact(Provider::FinvyPay, outcome)).await;
        }
        id
    }

    async fn records(&self) -> Vec<Value> {
        aws::stream_records(&self.table).await
    }

    /// The records of a payment's own item.
    async fn records_of(&self, id: PaymentId) -> Vec<Value> {
        let mut records = self.records().await;
        let key = json!({ "pk": { "S": format!("PAYMENT#{id}") }, "sk": { "S": "STATE" } });
        records.retain(|record| record["dynamodb"]["Keys"] == key);
        records
    }

    /// Invokes the function with a batch of the stream, and returns the sequence numbers that it reports as failed.
    async fn publish(&self, records: &[Value]) -> Vec<String> {
        failures(&self.invoke(json!({ "Records": records })).await.unwrap())
    }

    async fn invoke(&self, event: Value) -> Result<Value, InvokeError> {
        let response = self.function.invoke(event.to_string()).await?;
        Ok(serde_json::from_slice(&response).expect("JSON"))
    }

    /// Invokes the function with messages as Lambda delivers them from a queue, and returns the ids of those that
    /// failed.
    async fn redrive(&self, messages: &[Value]) -> Vec<String> {
        let record = |message: &Value| {
            json!({
                "messageId": message["MessageId"], "receiptHandle": message["ReceiptHandle"], "body": message["Body"],
                "attributes": { "ApproximateReceiveCount": "1" }, "messageAttributes": {},
                "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q",
                "awsRegion": "us-east-1",
            })
        };
        let records: Vec<_> = messages.iter().map(record).collect();
        failures(&self.invoke(json!({ "Records": records })).await.unwrap())
    }

    /// The events that arrived since the last call, in order.
    async fn events(&self) -> Vec<Value> {
        let messages = aws::receive_all(&self.arrivals).await;
        messages.iter().map(|message| read(&message["Body"])).collect()
    }

    /// A summary of each of them.
    async fn published(&self) -> Vec<Summary> {
        let summary = |event: &Value| {
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            let version = event["detail"]["version"].as_u64().expect("a version");
            (text(&event["detail-type"]), text(&event["detail"]["eventId"]), version)
        };
        self.events().await.iter().map(summary).collect()
    }

    /// The dead-letter messages that came since the last call: each one's body, and the message as SQS delivers it.
    async fn dead_letters(&self) -> Vec<(Value, Value)> {
        let messages = aws::receive_all(&self.dead_letter_queue).await;
        messages
            .into_iter()
            .map(|message| (read(&message["Body"]), message))
            .collect()
    }
}

fn read(text: &Value) -> Value {
    serde_json::from_str(text.as_str().expect("a text")).expect("JSON")
}

/// A time in the SDK's format: seconds since 1970, without trailing zeros.
fn seconds(time: Timestamp) -> String {
    let text = format!("{}.{:03}", time.as_seconds(), time.as_millis() % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn sequence(record: &Value) -> String {
    record["dynamodb"]["SequenceNumber"]
        .as_str()
        .expect("a number")
        .to_owned()
}

fn failures(response: &Value) -> Vec<String> {
    let failures = response["batchItemFailures"].as_array();
    let failures = failures.unwrap_or_else(|| panic!("not a batch response: {response}"));
    let id = |failure: &Value| failure["itemIdentifier"].as_str().expect("an id").to_owned();
    failures.iter().map(id).collect()
}

/// The expected events of a payment's changes, given by name and version.
fn events_of(id: PaymentId, changes: &[(&str, u64)]) -> Vec<Summary> {
    let summary = |(change, version): &(&str, u64)| {
        let kind = change.split(':').next().unwrap();
        (format!("payment.{kind}"), format!("{id}:{change}"), *version)
    };
    changes.iter().map(summary).collect()
}

const PAID: [(&str, u64); 3] = [("pending", 2), ("authorized", 3), ("completed", 4)];

/// Publishes a payment's records step by step, as they come.
struct Steps<'a> {
    feed: &'a Feed,
    id: PaymentId,
    /// How many records were published before.
    seen: usize,
    /// All events until now.
    published: Vec<Summary>,
}

impl Steps<'_> {
    /// Publishes the new records, and checks that they lead to exactly these events.
    async fn publish(&mut self, changes: &[(&str, u64)]) {
        let records = self.feed.records().await;
        let new = &records[std::mem::replace(&mut self.seen, records.len())..];
        assert!(!new.is_empty(), "no record for {changes:?}");
        assert_eq!(self.feed.publish(new).await, [""; 0]);
        let published = self.feed.published().await;
        assert_eq!(published, events_of(self.id, changes));
        self.published.extend(published);
    }

    /// Records a fact of the provider, and publishes the new records.
    async fn record(&mut self, fact: Fact, changes: &[(&str, u64)]) {
        self.feed.record(self.id, fact).await;
        self.publish(changes).await;
    }

    /// Writes of a pending payment that change neither its status nor its attention: its due time, a reference.
    async fn publish_nothing(&mut self) {
        let (feed, id) = (self.feed, self.id);
        let state = aws::raw_items_of(&feed.table, &format!("PAYMENT#{id}")).await;
        let at = state[0]["dueAt"]["N"].as_str().unwrap().parse().unwrap();
        let due = Due {
            subject: Subject::Payment(id),
            at: Timestamp::from_millis(at),
        };
        let reserved = feed.store.reserve(&due, feed.now).await.unwrap().expect("it is due");
        self.publish(&[]).await;
        feed.store.reschedule(&reserved, Some(feed.now)).await.unwrap();
        self.publish(&[]).await;
        let current = feed.store.payment(id).await.unwrap().unwrap();
        let referenced = current.add_references([reference(&unique("late"))], feed.now);
        feed.commit(&current, &referenced).await;
        self.publish(&[]).await;
    }
}

#[tokio::test]
async fn every_status_change_is_published_once_in_order_and_nothing_else() {
    let feed = Feed::open().await;
    let intent = feed.intent().await;
    let mut steps = Steps {
        feed: &feed,
        id: intent.id,
        seen: 0,
        published: Vec::new(),
    };
    steps.publish(&[]).await;
    let referenced = intent.add_references([reference(&unique("early"))], feed.now);
    feed.commit(&intent, &referenced).await;
    steps.publish(&[]).await;
    let checkout_session = CheckoutSession {
        reference: reference(&unique("pay")),
        redirect_url: None,
        expires_at: None,
    };
    let own_reference = checkout_session.reference.clone();
    let pending = referenced.accept(checkout_session, [], feed.now);
    feed.commit(&referenced, &pending).await;
    steps.publish(&[("pending", 3)]).await;
    steps.publish_nothing().await;

    let fact = |outcome| facts::fact(Provider::FinvyPay, outcome);
    steps.record(fact(Outcome::Authorized), &[("authorized", 5)]).await;
    steps.record(fact(Outcome::Failed), &[("failed", 6)]).await;
    // A lower status changes nothing.
    steps.record(fact(Outcome::Cancelled), &[]).await;
    for (reference, event) in [
        (own_reference, ("completed", 7)),
        (reference(&unique("second")), ("attention:1", 8)),
        (reference(&unique("third")), ("attention:2", 9)),
    ] {
        let paid = Fact {
            payment: Some(reference),
            ..fact(Outcome::Completed)
        };
        steps.record(paid, &[event]).await;
    }
    for (currency, event) in [("EUR", ("attention:3", 10)), ("CHF", ("attention:4", 11))] {
        let wrong = Fact {
            currency: Some(currency.to_owned()),
            ..fact(Outcome::Completed)
        };
        steps.record(wrong, &[event]).await;
    }
    republished_unchanged(&feed, &steps.published).await;
}

/// Publishing every record again gives the same events under the same ids, one call for each.
async fn republished_unchanged(feed: &Feed, expected: &[Summary]) {
    let records = feed.records().await;
    assert_eq!(feed.publish(&records).await, [""; 0]);
    assert_eq!(feed.published().await, expected);
    assert_eq!(feed.dead_letters().await, []);
    let calls = feed.proxy.calls();
    for call in calls.iter().filter(|call| call.action == "PutEvents") {
        let entries = call.body["Entries"].as_array().unwrap();
        assert_eq!(
            entries.len(),
            1,
            "at most one event of a payment in a call: {entries:?}"
        );
    }
}

#[tokio::test]
async fn events_of_many_payments_share_calls_and_keep_each_payments_order() {
    let feed = Feed::open().await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(feed.pending().await.id);
    }
    for id in &ids {
        feed.record(*id, facts::fact(Provider::FinvyPay, Outcome::Completed))
            .await;
    }
    let records = feed.records().await;
    assert_eq!(feed.publish(&records).await, [""; 0]);
    let published = feed.published().await;
    assert_eq!(published.len(), 24);
    for id in &ids {
        let own: Vec<_> = published
            .iter()
            .filter(|(_, event, _)| event.starts_with(&id.to_string()))
            .cloned()
            .collect();
        assert_eq!(own, events_of(*id, &[("pending", 2), ("completed", 3)]));
    }
    // Ten; then the other two and the second event of the first eight; then the rest.
    let mut calls = feed.proxy.calls();
    calls.retain(|call| call.action == "PutEvents");
    let sizes: Vec<_> = calls
        .iter()
        .map(|call| call.body["Entries"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [10, 10, 4]);
    for call in &calls {
        let ids: Vec<_> = call.body["Entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| read(&entry["Detail"]))
            .collect();
        let distinct: BTreeSet<_> = ids.iter().map(|detail| detail["id"].to_string()).collect();
        assert_eq!(distinct.len(), ids.len());
    }
}
