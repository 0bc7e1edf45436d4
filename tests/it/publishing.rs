//! What becomes of a change on its way to the merchant's systems: real records of a table's stream, handed to the real
//! function, and a rule of the bus that shows what arrives.

mod broken;
mod failing;
mod shown;

use std::collections::BTreeSet;

use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::{CheckoutSession, Payment};
use payment_functions::domain::provider::Provider;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::record_notification::record_notification;
use payment_functions::platform::clock;
use payment_functions::providers::Notification;
use payment_functions::store::{CommitExtras, CommitResult, Due, InsertResult, Store, Subject};
use payment_functions_tests::world::{AwsProxy, Lambda, NoAnswer};

use crate::aws;
use crate::facts::said;
use crate::support::{Value, json, unique, world};

/// The function with a table, a bus and a dead-letter queue of its own.
struct Feed {
    table: String,
    store: Store,
    bus: String,
    /// Where everything on the bus arrives.
    arrivals: String,
    dead_letters: String,
    proxy: AwsProxy,
    function: Lambda,
    now: Timestamp,
}

/// What arrived: detail-type, event id, version.
type Told = (String, String, u64);

impl Feed {
    async fn open() -> Self {
        Self::with(&[]).await
    }

    /// The same with the function's environment changed.
    async fn with(changes: &[(&str, Option<&str>)]) -> Self {
        let table = unique("publishing");
        aws::create_table(&table).await;
        Self::of(table, changes).await
    }

    /// The same for a table that is there.
    async fn of(table: String, changes: &[(&str, Option<&str>)]) -> Self {
        let (bus, arrivals) = aws::create_bus().await;
        let dead_letters = aws::create_queue().await;
        let proxy = aws::proxy().await;
        let own = [
            ("PAYMENTS_TABLE", Some(table.as_str())),
            ("EVENT_BUS", Some(bus.as_str())),
            ("DEAD_LETTER_QUEUE_URL", Some(dead_letters.as_str())),
            ("AWS_ENDPOINT_URL", Some(proxy.url())),
        ];
        let function = world().await.lambda("publish-events", &[&own, changes].concat()).await;
        Self {
            store: Store::open(&aws::clients(world().await.aws_url()), table.clone()),
            function: function.expect("the function"),
            table,
            bus,
            arrivals,
            dead_letters,
            proxy,
            now: clock::now(),
        }
    }

    /// A payment over 25.50 USD that its provider has not answered for.
    async fn intent(&self) -> Payment {
        let money = Money::from_minor(2550, Currency::USD);
        let payment = Payment {
            order_id: OrderId::parse(&unique("order")),
            ..Payment::new(PaymentId::random(), Provider::FinvyPay, money, self.now)
        };
        let opened = self.store.insert_payment(&payment, None, self.now).await.unwrap();
        assert_eq!(opened, InsertResult::Inserted);
        payment
    }

    /// The same once its provider has taken it.
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

    /// The provider says something of a payment.
    async fn hear(&self, id: PaymentId, fact: Fact) {
        let event = Notification {
            payment_id: Some(id),
            fact,
        };
        record_notification(&self.store, &event, self.now).await.unwrap();
    }

    /// A payment that became pending, authorized and completed: three events.
    async fn paid(&self) -> PaymentId {
        let id = self.pending().await.id;
        for outcome in [Outcome::Authorized, Outcome::Completed] {
            self.hear(id, said(Provider::FinvyPay, outcome)).await;
        }
        id
    }

    async fn records(&self) -> Vec<Value> {
        aws::stream_records(&self.table).await
    }

    /// The records that are a payment's own item.
    async fn records_of(&self, id: PaymentId) -> Vec<Value> {
        let mut records = self.records().await;
        let key = json!({ "pk": { "S": format!("PAYMENT#{id}") }, "sk": { "S": "STATE" } });
        records.retain(|record| record["dynamodb"]["Keys"] == key);
        records
    }

    /// Hands the function a batch of the stream, and gives what it reports as failed.
    async fn publish(&self, records: &[Value]) -> Vec<String> {
        failures(&self.invoke(json!({ "Records": records })).await.unwrap())
    }

    async fn invoke(&self, event: Value) -> Result<Value, NoAnswer> {
        let answer = self.function.invoke(event.to_string()).await?;
        Ok(serde_json::from_slice(&answer).expect("JSON"))
    }

    /// Hands the function messages as Lambda does that drains a queue, and gives the ids of those that stay.
    async fn drain(&self, messages: &[Value]) -> Vec<String> {
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

    /// What has arrived since it was last asked for, in order.
    async fn events(&self) -> Vec<Value> {
        let messages = aws::receive_all(&self.arrivals).await;
        messages.iter().map(|message| read(&message["Body"])).collect()
    }

    async fn told(&self) -> Vec<Told> {
        let told = |event: &Value| {
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            let version = event["detail"]["version"].as_u64().expect("a version");
            (text(&event["detail-type"]), text(&event["detail"]["eventId"]), version)
        };
        self.events().await.iter().map(told).collect()
    }

    /// The letters that came since it was last asked for, each with its message.
    async fn letters(&self) -> Vec<(Value, Value)> {
        let messages = aws::receive_all(&self.dead_letters).await;
        messages
            .into_iter()
            .map(|message| (read(&message["Body"]), message))
            .collect()
    }
}

fn read(text: &Value) -> Value {
    serde_json::from_str(text.as_str().expect("a text")).expect("JSON")
}

/// A moment as the SDK writes it: seconds since 1970, as few digits as there need be.
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

fn failures(answer: &Value) -> Vec<String> {
    let failures = answer["batchItemFailures"].as_array();
    let failures = failures.unwrap_or_else(|| panic!("not an answer to a batch: {answer}"));
    let id = |failure: &Value| failure["itemIdentifier"].as_str().expect("an id").to_owned();
    failures.iter().map(id).collect()
}

/// What the events of a payment's changes are, by name and version.
fn events_of(id: PaymentId, changes: &[(&str, u64)]) -> Vec<Told> {
    let told = |(change, version): &(&str, u64)| {
        let kind = change.split(':').next().unwrap();
        (format!("payment.{kind}"), format!("{id}:{change}"), *version)
    };
    changes.iter().map(told).collect()
}

const PAID: [(&str, u64); 3] = [("pending", 2), ("authorized", 3), ("completed", 4)];

#[tokio::test]
async fn every_change_of_status_is_published_once_and_in_order_and_nothing_else_is() {
    let feed = Feed::open().await;
    let intent = feed.intent().await;
    let id = intent.id;
    let mut expected = Vec::new();
    let mut seen = 0;
    // Each step, and the events that it leads to.
    let mut step = async |changes: &[(&str, u64)]| {
        let records = feed.records().await;
        let new = &records[std::mem::replace(&mut seen, records.len())..];
        assert!(!new.is_empty(), "no record for {changes:?}");
        assert_eq!(feed.publish(new).await, [""; 0]);
        let told = feed.told().await;
        assert_eq!(told, events_of(id, changes));
        expected.extend(told);
    };
    step(&[]).await;

    let known = intent.add_references([reference(&unique("early"))], feed.now);
    feed.commit(&intent, &known).await;
    step(&[]).await;
    let checkout_session = CheckoutSession {
        reference: reference(&unique("pay")),
        redirect_url: None,
        expires_at: None,
    };
    let own = checkout_session.reference.clone();
    let pending = known.accept(checkout_session, [], feed.now);
    feed.commit(&known, &pending).await;
    step(&[("pending", 3)]).await;

    // Due times, an id, a word that is not known.
    let state = aws::raw_items_of(&feed.table, &format!("PAYMENT#{id}")).await;
    let at = state[0]["dueAt"]["N"].as_str().unwrap().parse().unwrap();
    let due = Due {
        subject: Subject::Payment(id),
        at: Timestamp::from_millis(at),
    };
    let claimed = feed.store.reserve(&due, feed.now).await.unwrap().expect("it is due");
    step(&[]).await;
    feed.store.reschedule(&claimed, Some(feed.now)).await.unwrap();
    step(&[]).await;
    feed.hear(id, said(Provider::FinvyPay, Outcome::Unrecognised)).await;
    step(&[]).await;
    let moved = feed.store.payment(id).await.unwrap().unwrap();
    feed.commit(&moved, &moved.add_references([reference(&unique("late"))], feed.now))
        .await;
    step(&[]).await;

    feed.hear(id, said(Provider::FinvyPay, Outcome::Authorized)).await;
    step(&[("authorized", 5)]).await;
    feed.hear(id, said(Provider::FinvyPay, Outcome::Failed)).await;
    step(&[("failed", 6)]).await;
    // What is below says nothing new.
    feed.hear(id, said(Provider::FinvyPay, Outcome::Cancelled)).await;
    step(&[]).await;
    let paid = |reference| Fact {
        payment: Some(reference),
        ..said(Provider::FinvyPay, Outcome::Completed)
    };
    feed.hear(id, paid(own)).await;
    step(&[("completed", 7)]).await;
    feed.hear(id, paid(reference(&unique("second")))).await;
    step(&[("attention:1", 8)]).await;
    feed.hear(id, paid(reference(&unique("third")))).await;
    step(&[("attention:2", 9)]).await;
    for (currency, event) in [("EUR", ("attention:3", 10)), ("CHF", ("attention:4", 11))] {
        let wrong = Fact {
            currency: Some(currency.to_owned()),
            ..said(Provider::FinvyPay, Outcome::Completed)
        };
        feed.hear(id, wrong).await;
        step(&[event]).await;
    }

    // All of it at once, once more: the same events under the same ids.
    let records = feed.records().await;
    assert_eq!(feed.publish(&records).await, [""; 0]);
    assert_eq!(feed.told().await, expected);
    assert_eq!(feed.letters().await, []);
    let calls = feed.proxy.calls();
    for call in calls.iter().filter(|call| call.action == "PutEvents") {
        let entries = call.body["Entries"].as_array().unwrap();
        assert_eq!(entries.len(), 1, "never two of one payment: {entries:?}");
    }
}

#[tokio::test]
async fn the_events_of_many_payments_share_calls_and_keep_each_payments_order() {
    let feed = Feed::open().await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(feed.pending().await.id);
    }
    for id in &ids {
        feed.hear(*id, said(Provider::FinvyPay, Outcome::Completed)).await;
    }
    let records = feed.records().await;
    assert_eq!(feed.publish(&records).await, [""; 0]);
    let told = feed.told().await;
    assert_eq!(told.len(), 24);
    for id in &ids {
        let own: Vec<_> = told
            .iter()
            .filter(|(_, event, _)| event.starts_with(&id.to_string()))
            .cloned()
            .collect();
        assert_eq!(own, events_of(*id, &[("pending", 2), ("completed", 3)]));
    }
    // Ten; then the other two and the first eight once more; then the rest.
    let calls = feed.proxy.calls();
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
        let apart: BTreeSet<_> = ids.iter().map(|detail| detail["id"].to_string()).collect();
        assert_eq!(apart.len(), ids.len());
    }
}

#[tokio::test]
async fn an_operator_has_a_payment_published_again() {
    let feed = Feed::open().await;
    let id = feed.paid().await;
    let records = feed.records().await;
    feed.publish(&records).await;
    assert_eq!(feed.told().await, events_of(id, &PAID));
    let republish = |id: &str| json!({ "action": "republish", "paymentId": id });
    // Another version, whose status is the same.
    let paid = feed.store.payment(id).await.unwrap().unwrap();
    feed.commit(&paid, &paid.add_references([reference(&unique("late"))], feed.now))
        .await;
    let done = feed.invoke(republish(&id.to_string())).await.unwrap();
    assert_eq!(done, json!({ "paymentId": id, "published": ["payment.completed"] }));
    assert_eq!(
        feed.told().await,
        events_of(id, &[("completed", 5)]),
        "the same event id"
    );

    let wrong = Fact {
        currency: Some("EUR".to_owned()),
        ..said(Provider::FinvyPay, Outcome::Completed)
    };
    feed.hear(id, wrong).await;
    let done = feed.invoke(republish(&id.to_string())).await.unwrap();
    assert_eq!(
        done,
        json!({ "paymentId": id, "published": ["payment.completed", "payment.attention"] })
    );
    assert_eq!(
        feed.told().await,
        events_of(id, &[("completed", 6), ("attention:1", 6)])
    );

    let creating = feed.intent().await.id.to_string();
    let unknown = PaymentId::random().to_string();
    for (event, kind, part) in [
        (republish(&unknown), "REFUSED", unknown.as_str()),
        (republish(&creating), "REFUSED", "still being created"),
        (republish("x"), "INVALID_EVENT", "UUID"),
        (json!({ "action": "publish" }), "INVALID_EVENT", "publish"),
        (json!({ "Records": [] }), "INVALID_EVENT", "source"),
        (
            json!({ "Records": [{ "eventSource": "aws:s3" }] }),
            "INVALID_EVENT",
            "source",
        ),
        (json!({}), "INVALID_EVENT", "action"),
    ] {
        match feed.invoke(event.clone()).await {
            Err(NoAnswer::Failed(words)) => {
                assert_eq!(words["errorType"], kind, "{event}: {words}");
                assert!(
                    words["errorMessage"].as_str().unwrap().contains(part),
                    "{event}: {words}"
                );
            }
            other => panic!("{event}: {other:?}"),
        }
    }
    assert_eq!(feed.told().await, []);
}
