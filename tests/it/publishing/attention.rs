//! Attention is published, logged and counted by reason, under the name and dimension that the alarms watch.

use std::collections::BTreeMap;
use std::time::Duration;

use payment_functions::domain::attention::AttentionReason;
use payment_functions::domain::fact::{Reversal, ReversalKind};
use payment_functions::domain::status::Status;
use payment_functions_local::workspace;
use payment_functions_tests::world::Fault;

use super::*;
use crate::clock::Clock;

fn reversed(kind: ReversalKind) -> Fact {
    Fact {
        reversals: vec![Reversal {
            kind,
            undone: false,
            id: None,
            amount: None,
            currency: None,
            at: None,
            reported_at: None,
        }],
        ..facts::fact(Provider::FinvyPay, Outcome::Reversed)
    }
}

/// What raises a reason.
enum Cause {
    /// This fact of a paid payment.
    Fact(Fact),
    /// Another completed payment of the same order.
    SecondPayment,
    /// This fact of an unpaid payment, and time.
    FactAndTime(Outcome),
    /// A completion that names only the payment's order, and time.
    Claim,
    /// A payment that cannot be read, and time.
    Broken,
}

fn cause(reason: AttentionReason) -> Cause {
    let completion = facts::fact(Provider::FinvyPay, Outcome::Completed);
    Cause::Fact(match reason {
        AttentionReason::DuplicatePayment => Fact {
            payment: Some(reference(&unique("second"))),
            ..completion
        },
        AttentionReason::AmountMismatch => Fact {
            currency: Some("EUR".to_owned()),
            ..completion
        },
        AttentionReason::Refunded => reversed(ReversalKind::Refund),
        AttentionReason::Chargeback => reversed(ReversalKind::Chargeback),
        AttentionReason::OrderPaidTwice => return Cause::SecondPayment,
        AttentionReason::UnrecognisedStatus => facts::fact(Provider::FinvyPay, Outcome::Unrecognised),
        AttentionReason::StillAuthorized => return Cause::FactAndTime(Outcome::Authorized),
        AttentionReason::ProviderSilent => return Cause::FactAndTime(Outcome::Contradictory),
        AttentionReason::UnconfirmedMatch => return Cause::Claim,
        AttentionReason::Unprocessable => return Cause::Broken,
    })
}

/// Raises a reason on a pending payment.
async fn raise(feed: &Feed, pending: &Payment, reason: AttentionReason) {
    let own = pending.checkout_session.clone().unwrap().reference;
    let completion = Fact {
        payment: Some(own),
        ..facts::fact(Provider::FinvyPay, Outcome::Completed)
    };
    match cause(reason) {
        Cause::SecondPayment => {
            let other = Payment {
                id: PaymentId::random(),
                status: Status::Creating,
                references: BTreeSet::new(),
                ..pending.clone()
            };
            let names = RequestNames::default();
            feed.store.insert_payment(&other, names, feed.now).await.unwrap();
            let paid = facts::fact(Provider::FinvyPay, Outcome::Completed);
            feed.record(other.id, paid).await;
            return feed.record(pending.id, completion).await;
        }
        Cause::Fact(fact) => {
            feed.record(pending.id, completion).await;
            // Repeating it changes nothing.
            for _ in 0..2 {
                feed.record(pending.id, fact.clone()).await;
            }
            return;
        }
        Cause::FactAndTime(outcome) => feed.record(pending.id, facts::fact(Provider::FinvyPay, outcome)).await,
        Cause::Claim => {
            let claim = Notification {
                payment_id: None,
                fact: Fact {
                    order_id: pending.order_id.clone(),
                    transaction: Some(reference(&unique("FP"))),
                    received_at: feed.now,
                    ..facts::fact(Provider::FinvyPay, Outcome::Completed)
                },
            };
            let matching = OrderMatching::default();
            record_notification(&feed.store, &claim, matching, feed.now)
                .await
                .unwrap();
        }
        Cause::Broken => aws::break_payment(&feed.table, &pending.id.to_string()).await,
    }
    let clock = Clock::at(feed.now);
    let variables = [("PAYMENTS_TABLE", Some(feed.table.as_str())), clock.variable()];
    let reconciler = world().await.lambda("reconcile-payments", &variables).await;
    let reconciler = reconciler.expect("a function");
    // The provider, which does not know the payment, is polled for eight or thirty days.
    for _ in 0..35 {
        clock.advance(Duration::from_secs(24 * 60 * 60));
        reconciler.invoke(r#"{"action":"sweep"}"#).await.expect("a report");
    }
}

/// How often a log counted each value of the metric's dimension.
fn counted(log: &str) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if let Some(count) = line["Attention"].as_u64() {
            let directive = &line["_aws"]["CloudWatchMetrics"][0];
            assert_eq!(directive["Dimensions"], json!([["Reason"]]));
            *counted.entry(line["Reason"].as_str().unwrap().to_owned()).or_default() += count;
        }
    }
    counted
}

#[tokio::test]
async fn every_reason_for_attention_is_counted_where_its_alarm_looks() {
    let feed = Feed::open().await;
    let mut seen = 0;
    for reason in AttentionReason::ALL {
        let pending = feed.pending().await;
        raise(&feed, &pending, reason).await;
        let mut events = Vec::new();
        // The publisher's own writes are in the stream too.
        loop {
            let records = feed.records().await;
            let new = &records[std::mem::replace(&mut seen, records.len())..];
            if new.is_empty() {
                break;
            }
            assert_eq!(feed.publish(new).await, [""; 0]);
            events.extend(feed.events().await);
        }
        if reason == AttentionReason::Unprocessable {
            // An unreadable payment has no event, but its message has its id.
            let (letter, _) = feed.dead_letters().await.pop().unwrap();
            assert_eq!(letter["paymentId"], json!(pending.id), "{letter}");
            continue;
        }
        // The payment may have expired afterwards.
        let is_attention =
            |event: &&Value| event["detail-type"] == "payment.attention" && event["detail"]["id"] == json!(pending.id);
        let last = events.iter().rfind(is_attention).expect("an event");
        let entry = &last["detail"]["attention"][0];
        assert_eq!(entry["reason"], reason.name(), "{last}");
        assert!(
            entry["since"].as_str().is_some_and(|since| since.ends_with('Z')),
            "{last}"
        );
    }
    feed.function.kill().await;
    let log = feed.function.log();
    let mut expected = BTreeMap::from(AttentionReason::ALL.map(|reason| (reason.name().to_owned(), 1)));
    // Both payments of the order.
    expected.insert(AttentionReason::OrderPaidTwice.name().to_owned(), 2);
    // The provider knows nothing of the authorized payment either.
    expected.insert(AttentionReason::ProviderSilent.name().to_owned(), 2);
    assert_eq!(counted(&log), expected, "{log}");
    let template = std::fs::read_to_string(workspace().join("template.yaml")).unwrap();
    for reason in AttentionReason::ALL {
        let watched = format!(
            "      MetricName: Attention\n      Dimensions: [{{Name: Reason, Value: {}}}]\n",
            reason.name()
        );
        assert_eq!(template.matches(&watched).count(), 1, "the alarm of {}", reason.name());
    }
}

/// The bus refuses the event for good: a person hears of it all the same.
#[tokio::test]
async fn dead_lettered_attention_is_counted() {
    let feed = Feed::open().await;
    let id = feed.pending().await.id;
    feed.record(id, reversed(ReversalKind::Refund)).await;
    feed.proxy.fail("PutEvents", Fault::Error(413, "RequestEntityTooLarge"));
    let records = feed.records_of(id).await;
    assert_eq!(feed.publish(&records).await, [""; 0]);
    assert!(!feed.dead_letters().await.is_empty());
    feed.function.kill().await;
    assert_eq!(counted(&feed.function.log()).get("refunded"), Some(&1));
}
