//! An order that was paid twice: both payments need attention, whatever fails on the way.

use std::time::Duration;

use payment_functions::domain::attention::AttentionReason;
use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Reversal, ReversalKind};
use payment_functions_tests::world::Fault;
use publish_events::order_paid_twice::check;
use publish_events::stream::Position;
use serde::Deserialize;

use super::*;

const PAID_TWICE: [AttentionReason; 1] = [AttentionReason::OrderPaidTwice];
const HOURS: u64 = 60 * 60;

/// A refund of so much, at a day of the month.
fn refund(provider: Provider, amount: &str, day: u64, undone: bool) -> Fact {
    let at = Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_secs(day * 24 * HOURS));
    Fact {
        reversals: vec![Reversal {
            kind: ReversalKind::Refund,
            undone,
            id: None,
            amount: Decimal::parse(amount),
            currency: None,
            at: Some(at),
            reported_at: None,
        }],
        ..facts::fact(provider, Outcome::Reversed)
    }
}

/// Payments of one order, and how far the table's stream was published.
struct Order<'a> {
    feed: &'a Feed,
    id: Option<OrderId>,
    seen: usize,
}

impl<'a> Order<'a> {
    /// The next order of the feed.
    async fn new(feed: &'a Feed) -> Self {
        Self {
            feed,
            id: OrderId::parse(&unique("order")),
            seen: feed.records().await.len(),
        }
    }

    async fn pending(&self, provider: Provider, environment: Environment) -> PaymentId {
        let feed = self.feed;
        let money = Money::from_minor(2550, Currency::USD);
        let intent = Payment {
            order_id: self.id.clone(),
            ..Payment::new(PaymentId::random(), provider, environment, money, feed.now)
        };
        let names = RequestNames::default();
        feed.store.insert_payment(&intent, names, feed.now).await.unwrap();
        let checkout_session = CheckoutSession {
            reference: reference(&unique("p")),
            redirect_url: None,
            expires_at: None,
        };
        feed.commit(&intent, &intent.accept(checkout_session, [], feed.now))
            .await;
        intent.id
    }

    async fn complete(&self, provider: Provider, id: PaymentId) {
        self.feed.record(id, facts::fact(provider, Outcome::Completed)).await;
    }

    async fn paid(&self, provider: Provider) -> PaymentId {
        let id = self.pending(provider, Environment::Sandbox).await;
        self.complete(provider, id).await;
        id
    }

    /// The payments' records that were not published yet.
    async fn new_records(&mut self) -> Vec<Value> {
        let records = self.feed.records().await;
        let mut new = records[std::mem::replace(&mut self.seen, records.len())..].to_vec();
        new.retain(|record| record["dynamodb"]["Keys"]["sk"]["S"] == "STATE");
        new
    }

    /// Publishes the stream until nothing is new, and returns the ids of the payments with the attention.
    async fn settle(&mut self, ids: &[PaymentId]) -> Vec<PaymentId> {
        loop {
            let records = self.new_records().await;
            if records.is_empty() {
                break;
            }
            assert_eq!(self.feed.publish(&records).await, [""; 0]);
        }
        let mut flagged = Vec::new();
        for id in ids {
            if self.reasons(*id).await.contains(&AttentionReason::OrderPaidTwice) {
                flagged.push(*id);
            }
        }
        flagged
    }

    async fn payment(&self, id: PaymentId) -> Payment {
        self.feed.store.payment(id).await.unwrap().unwrap()
    }

    async fn reasons(&self, id: PaymentId) -> Vec<AttentionReason> {
        self.payment(id).await.attention.reasons().collect()
    }
}

#[tokio::test]
async fn payments_of_an_order_paid_twice_in_one_environment_need_attention() {
    use Environment::{Production, Sandbox};
    use Provider::{ApoloPay, FinvyPay};
    /// A payment: its provider and environment, whether it is paid, and what of it is refunded then.
    type Paid = (Provider, Environment, bool, Option<&'static str>);
    let cases: [(&str, &[Paid], &[usize]); 11] = [
        ("one", &[(FinvyPay, Sandbox, true, None)], &[]),
        (
            "both providers",
            &[(ApoloPay, Production, true, None), (FinvyPay, Production, true, None)],
            &[0, 1],
        ),
        ("two at FinvyPay", &[(FinvyPay, Sandbox, true, None); 2], &[0, 1]),
        ("two at ApoloPay", &[(ApoloPay, Production, true, None); 2], &[0, 1]),
        ("three", &[(FinvyPay, Sandbox, true, None); 3], &[0, 1, 2]),
        (
            "other environment",
            &[(ApoloPay, Production, true, None), (FinvyPay, Sandbox, true, None)],
            &[],
        ),
        (
            "two of three in one environment",
            &[
                (FinvyPay, Sandbox, true, None),
                (ApoloPay, Production, true, None),
                (FinvyPay, Sandbox, true, None),
            ],
            &[0, 2],
        ),
        (
            "another is not paid",
            &[(FinvyPay, Sandbox, false, None), (FinvyPay, Sandbox, true, None)],
            &[],
        ),
        (
            "the first was refunded",
            &[
                (FinvyPay, Sandbox, true, Some("25.50")),
                (FinvyPay, Sandbox, true, None),
            ],
            &[],
        ),
        (
            "the first was refunded in part",
            &[
                (FinvyPay, Sandbox, true, Some("25.49")),
                (FinvyPay, Sandbox, true, None),
            ],
            &[0, 1],
        ),
        (
            "one of three was refunded",
            &[
                (FinvyPay, Sandbox, true, Some("25.50")),
                (ApoloPay, Sandbox, true, None),
                (FinvyPay, Sandbox, true, None),
            ],
            &[1, 2],
        ),
    ];
    let feed = Feed::open().await;
    // In one batch, or after each payment.
    for together in [true, false] {
        for (case, payments, expected) in cases {
            let mut order = Order::new(&feed).await;
            let mut ids = Vec::new();
            for (provider, environment, is_paid, refunded) in payments {
                let id = order.pending(*provider, *environment).await;
                ids.push(id);
                if *is_paid {
                    order.complete(*provider, id).await;
                }
                if let Some(amount) = refunded {
                    feed.record(id, refund(*provider, amount, 1, false)).await;
                }
                if !together {
                    order.settle(&[]).await;
                }
            }
            let expected: Vec<_> = expected.iter().map(|nth| ids[*nth]).collect();
            assert_eq!(order.settle(&ids).await, expected, "{case}, together: {together}");
        }
    }
}

#[tokio::test]
async fn payments_without_an_order_are_not_compared() {
    let feed = Feed::open().await;
    let mut order = Order::new(&feed).await;
    order.id = None;
    let ids = [
        order.paid(Provider::FinvyPay).await,
        order.paid(Provider::FinvyPay).await,
    ];
    feed.proxy.reset();
    assert_eq!(order.settle(&ids).await, []);
    assert_eq!(feed.proxy.operations("Query"), 0);
    assert_eq!(feed.proxy.operations("TransactWriteItems"), 0);
}

/// It was paid twice only after the money of the first came back to the shop.
#[tokio::test]
async fn undone_refund_counts_as_paid_again() {
    let feed = Feed::open().await;
    let mut order = Order::new(&feed).await;
    let first = order.paid(Provider::FinvyPay).await;
    feed.record(first, refund(Provider::FinvyPay, "25.50", 1, false)).await;
    let ids = [first, order.paid(Provider::FinvyPay).await];
    assert_eq!(order.settle(&ids).await, []);
    feed.record(first, refund(Provider::FinvyPay, "25.50", 2, true)).await;
    assert_eq!(order.settle(&ids).await, ids);
}

#[tokio::test]
async fn reason_is_raised_and_published_once_however_often_a_batch_is_repeated() {
    let feed = Feed::open().await;
    let mut order = Order::new(&feed).await;
    let ids = [
        order.paid(Provider::ApoloPay).await,
        order.paid(Provider::FinvyPay).await,
    ];
    let records = order.new_records().await;
    for _ in 0..3 {
        assert_eq!(feed.publish(&records).await, [""; 0]);
    }
    feed.events().await;
    assert_eq!(order.settle(&ids).await, ids);
    let events = feed.events().await;
    let of: BTreeSet<_> = events.iter().map(|event| event["detail"]["id"].to_string()).collect();
    assert_eq!((events.len(), of), (2, ids.map(|id| json!(id).to_string()).into()));
    for event in &events {
        assert_eq!(event["detail-type"], "payment.attention", "{event}");
        assert_eq!(event["detail"]["attention"][0]["reason"], "order_paid_twice", "{event}");
        assert_eq!(event["detail"]["version"], 4, "{event}");
    }

    // What a person took away stays away. A third payment is told.
    for id in ids {
        let payment = order.payment(id).await;
        let acknowledged = payment.acknowledge(AttentionReason::OrderPaidTwice, feed.now);
        feed.commit(&payment, &acknowledged).await;
    }
    assert_eq!(feed.publish(&records).await, [""; 0]);
    assert_eq!(order.settle(&ids).await, []);
    let third = order.paid(Provider::FinvyPay).await;
    assert_eq!(order.settle(&[ids[0], ids[1], third]).await, [third]);
}

/// An earlier version wrote no item for an order at ApoloPay.
#[tokio::test]
async fn payment_whose_order_has_no_item_is_marked_all_the_same() {
    let feed = Feed::open().await;
    let mut order = Order::new(&feed).await;
    let old = order.pending(Provider::ApoloPay, Environment::Sandbox).await;
    let pk = format!("ORDER#apolopay#{}", order.id.as_ref().unwrap().as_str());
    let key = json!({ "pk": { "S": pk }, "sk": { "S": format!("PAYMENT#{old}") } });
    let delete = json!({ "TableName": feed.table, "Key": key });
    aws::call("dynamodb", "DeleteItem", &delete).await;
    order.complete(Provider::ApoloPay, old).await;
    assert_eq!(order.settle(&[old]).await, []);
    let items = aws::raw_items_of(&feed.table, &pk).await;
    assert_eq!(
        (items.len(), &items[0]["paymentId"]["S"]),
        (1, &json!(old)),
        "{items:?}"
    );
    let ids = [old, order.paid(Provider::FinvyPay).await];
    assert_eq!(order.settle(&ids).await, ids);
}

#[tokio::test]
async fn unreachable_table_is_reported_and_the_retry_flags_both() {
    let feed = Feed::open().await;
    // Calls of the two checks: to mark, to read the order at both providers, to read both payments, and to flag them.
    let calls = [
        ("TransactWriteItems", 1),
        ("TransactWriteItems", 2),
        ("Query", 1),
        ("Query", 4),
        ("GetItem", 1),
        ("GetItem", 2),
        ("TransactWriteItems", 3),
        ("TransactWriteItems", 4),
    ];
    for fault in [Fault::UNAVAILABLE, Fault::LoseResponse] {
        for (action, nth) in calls {
            // A read whose response is lost is like one that never arrived.
            if matches!(fault, Fault::LoseResponse) && action != "TransactWriteItems" {
                continue;
            }
            let mut order = Order::new(&feed).await;
            let ids = [
                order.paid(Provider::ApoloPay).await,
                order.paid(Provider::FinvyPay).await,
            ];
            let records = order.new_records().await;
            let context = format!("{fault:?} at {action} {nth}");
            feed.proxy.reset();
            feed.proxy.fail_operation(action, nth, fault.clone());
            let failed = feed.publish(&records).await;
            assert_eq!(feed.published().await.len(), 4, "events do not wait for it: {context}");
            feed.proxy.reset();
            let is_failed = |record: &Value| [sequence(record)] == *failed;
            let from = records.iter().position(is_failed).expect("a failed record");
            let status = &records[from]["dynamodb"]["NewImage"]["status"]["S"];
            assert_eq!(status, "completed", "{context}");
            assert_eq!(feed.publish(&records[from..]).await, [""; 0], "{context}");
            assert_eq!(order.settle(&ids).await, ids, "{context}");
            feed.published().await;
        }
    }
}

#[tokio::test]
async fn check_that_no_retry_can_help_is_given_up_and_logged() {
    let old = (6 * HOURS + 60).to_string();
    for (age, is_broken) in [(old.as_str(), false), ("0", true)] {
        let feed = Feed::with(&[("CLOCK_OFFSET_SECONDS", Some(age))]).await;
        let mut order = Order::new(&feed).await;
        let first = order.paid(Provider::FinvyPay).await;
        order.settle(&[]).await;
        let second = order.paid(Provider::FinvyPay).await;
        let records = order.new_records().await;
        if is_broken {
            aws::break_payment(&feed.table, &first.to_string()).await;
        } else {
            feed.proxy.fail("GetItem", Fault::UNAVAILABLE);
        }
        assert_eq!(feed.publish(&records).await, [""; 0]);
        assert_eq!(order.reasons(second).await, []);
        feed.function.kill().await;
        let log = feed.function.log();
        let given_up = "given up: not checked whether the payment's order was paid twice";
        let lines = log.lines().filter(|line| line.contains(given_up));
        let lines: Vec<_> = lines.map(|line| read(&json!(line))).collect();
        let [line] = lines.as_slice() else { panic!("{log}") };
        assert_eq!((&line["level"], &line["payment"]), (&json!("ERROR"), &json!(second)));
    }
}

#[tokio::test]
async fn death_before_or_after_a_call_of_the_check_is_repaired_by_the_retry() {
    let mut feed = Feed::open().await;
    for call in [
        "mark-paid",
        "mark-paid#2",
        "read-order",
        "read-order#3",
        "read-payment",
        "commit",
        "commit#2",
    ] {
        for side in ["before", "after"] {
            let point = format!("{side}:{call}");
            let (ids, records) = {
                let mut order = Order::new(&feed).await;
                let ids = [
                    order.paid(Provider::ApoloPay).await,
                    order.paid(Provider::FinvyPay).await,
                ];
                (ids, order.new_records().await)
            };
            feed.function
                .restart(&[("FAILPOINTS", Some(&format!("{point}=die")))])
                .await
                .unwrap();
            let died = feed.invoke(json!({ "Records": records })).await;
            assert!(matches!(died, Err(InvokeError::Died { .. })), "{point}: {died:?}");
            feed.function.restart(&[("FAILPOINTS", None)]).await.unwrap();
            assert_eq!(feed.publish(&records).await, [""; 0]);
            for id in ids {
                let payment = feed.store.payment(id).await.unwrap().unwrap();
                let reasons: Vec<_> = payment.attention.reasons().collect();
                assert_eq!(
                    (reasons.as_slice(), payment.attention.changes()),
                    (&PAID_TWICE[..], 1),
                    "{point}"
                );
            }
        }
    }
}

/// Runs in this process, since the function's own time limit is ten seconds. Ten payments are checked at a time.
#[tokio::test]
async fn check_out_of_time_leaves_the_other_records_to_the_retry() {
    let feed = Feed::open().await;
    let mut order = Order::new(&feed).await;
    let mut ids = Vec::new();
    for _ in 0..11 {
        ids.push(order.paid(Provider::FinvyPay).await);
    }
    let with_position = |record: &Value| (Position::deserialize(&record["dynamodb"]).unwrap(), record.clone());
    let batch: Vec<_> = order.new_records().await.iter().map(with_position).collect();
    let store = Store::open(&aws::clients(feed.proxy.url()), feed.table.clone());
    let time_limit = Duration::from_millis(300);
    feed.proxy.fail_times("TransactWriteItems", 1, Fault::Late(time_limit));
    let reported = check(&store, batch.iter(), feed.now, time_limit).await;
    let last = batch.last().unwrap();
    assert_eq!(reported, Some(last.0.sequence_number.as_str()));
    assert_eq!(order.reasons(ids[10]).await, []);
    assert_eq!(
        check(&store, [last].into_iter(), feed.now, 100 * time_limit).await,
        None
    );
    for id in ids {
        let payment = order.payment(id).await;
        let reasons: Vec<_> = payment.attention.reasons().collect();
        assert_eq!((reasons.as_slice(), payment.attention.changes()), (&PAID_TWICE[..], 1));
    }
}
