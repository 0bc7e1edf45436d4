//! Notifications one after the other: the payment that each matches, and the changes it makes.

use payment_functions::domain::attention::AttentionReason;
use payment_functions::domain::fact::{Fact, Outcome, Reversal, ReversalKind};
use payment_functions::domain::id::OrderId;
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::status::Status;
use payment_functions::flows::record_notification::{RecordResult, record_if_matched, record_notification};
use payment_functions::platform::clock;
use payment_functions::providers::Notification;

use super::*;
use crate::facts::fact;
use crate::ledger;
use crate::sweeps::Shop;

async fn record(shop: &Shop, notification: &Notification) -> RecordResult {
    record_notification(&shop.store, notification, OrderMatching::default(), shop.start)
        .await
        .unwrap()
}

fn notification(provider: Provider, outcome: Outcome, id: Option<&str>, order: Option<&str>) -> Notification {
    Notification {
        payment_id: None,
        fact: Fact {
            payment: id.and_then(Reference::parse),
            order_id: order.and_then(OrderId::parse),
            ..fact(provider, outcome)
        },
    }
}

/// With our own id, which takes the fast path, and without it.
#[tokio::test]
async fn result_reports_the_status_change_and_duplicates() {
    for provider in Provider::ALL {
        for has_our_id in [false, true] {
            let shop = Shop::open();
            let payment = shop.pending(provider, "o", "p").await;
            for (outcome, raised) in [
                (Outcome::Pending, None),
                (Outcome::Failed, Some(Status::Failed)),
                (Outcome::Cancelled, None),
                (Outcome::Completed, Some(Status::Completed)),
                (Outcome::Unrecognised, None),
            ] {
                let webhook = Notification {
                    payment_id: has_our_id.then_some(payment.id),
                    ..notification(provider, outcome, Some("p"), None)
                };
                let result = record(&shop, &webhook).await;
                assert_eq!(
                    result,
                    RecordResult::Recorded {
                        payment: payment.id,
                        new_status: raised
                    },
                    "{provider} {outcome:?}"
                );
                assert_eq!(record(&shop, &webhook).await, RecordResult::Duplicate(payment.id));
            }
            assert_eq!(ledger(&shop.table, payment.id).len(), 5);
        }
    }
}

/// With our own id, and an outcome that takes the fast path when no money goes back.
#[tokio::test]
async fn refund_beside_any_outcome_raises_attention() {
    for outcome in [
        Outcome::Pending,
        Outcome::Failed,
        Outcome::Cancelled,
        Outcome::Authorized,
    ] {
        let shop = Shop::open();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        let mut webhook = notification(Provider::FinvyPay, outcome, Some("p"), None);
        webhook.payment_id = Some(payment.id);
        webhook.fact.reversals.push(Reversal {
            kind: ReversalKind::Refund,
            undone: false,
            id: None,
            amount: None,
            currency: None,
            at: None,
            reported_at: None,
        });
        record(&shop, &webhook).await;
        let stored = shop.store.payment(payment.id).await.unwrap().unwrap();
        assert!(stored.attention.get(AttentionReason::Refunded).is_some(), "{outcome:?}");
    }
}

/// `shared/src/domain/order_matching.rs` tests which payment is chosen.
#[tokio::test]
async fn order_alone_matches_only_if_the_provider_may_omit_our_id() {
    let trust = OrderMatching {
        trusts_orders: true,
        ..OrderMatching::default()
    };
    for (provider, matching, outcome, new_status) in [
        (Provider::FinvyPay, trust, Outcome::Completed, Some(Status::Completed)),
        (Provider::FinvyPay, OrderMatching::default(), Outcome::Completed, None),
        (
            Provider::FinvyPay,
            OrderMatching::default(),
            Outcome::Failed,
            Some(Status::Failed),
        ),
        (Provider::ApoloPay, trust, Outcome::Completed, None),
        (Provider::ApoloPay, trust, Outcome::Failed, None),
    ] {
        let shop = Shop::open();
        let payment = shop.pending(provider, "o", "p").await;
        let webhook = notification(provider, outcome, Some("new"), Some("o"));
        let result = record_notification(&shop.store, &webhook, matching, shop.start)
            .await
            .unwrap();
        let case = format!("{provider} {matching:?} {outcome:?}");
        match new_status {
            Some(_) => assert!(
                matches!(result, RecordResult::Recorded { new_status: new, .. } if new == new_status),
                "{case}"
            ),
            None => assert_eq!(result, RecordResult::Unmatched, "{case}"),
        }
        let after = shop.store.payment(payment.id).await.unwrap().unwrap();
        assert_eq!(after.status, new_status.unwrap_or(Status::Pending), "{case}");
        let is_attached = new_status == Some(Status::Completed);
        let reference = Reference::parse("new").unwrap();
        assert_eq!(after.references.contains(&reference), is_attached, "{case}");
    }
}

#[tokio::test]
async fn notification_of_unknown_payment_is_stored_only_as_unmatched() {
    let shop = Shop::open();
    shop.pending(Provider::FinvyPay, "o", "p").await;
    let before = shop.table.items().unwrap().len();
    let unknown = notification(Provider::FinvyPay, Outcome::Completed, Some("p2"), Some("o2"));
    let matched = record_if_matched(&shop.store, &unknown, OrderMatching::default(), clock::now()).await;
    assert_eq!(matched.unwrap(), None);
    assert_eq!(shop.table.items().unwrap().len(), before);
    assert_eq!(record(&shop, &unknown).await, RecordResult::Unmatched);
    assert_eq!(
        shop.table.items().unwrap().len(),
        before + 2,
        "a group and its notification"
    );
}

/// Our id in the metadata of another payment's notification, and of another provider's.
#[tokio::test]
async fn provider_reference_takes_precedence_over_our_id() {
    let shop = Shop::open();
    let one = shop.pending(Provider::FinvyPay, "o1", "p1").await;
    let other = shop.pending(Provider::FinvyPay, "o2", "p2").await;
    let with_other_id = |notification| Notification {
        payment_id: Some(other.id),
        ..notification
    };
    let paid = with_other_id(notification(Provider::FinvyPay, Outcome::Completed, Some("p1"), None));
    let result = record(&shop, &paid).await;
    assert_eq!(
        result,
        RecordResult::Recorded {
            payment: one.id,
            new_status: Some(Status::Completed)
        }
    );
    let foreign = with_other_id(notification(Provider::ApoloPay, Outcome::Completed, Some("p3"), None));
    assert_eq!(record(&shop, &foreign).await, RecordResult::Unmatched);
    assert_eq!(shop.status(other.id).await, Status::Pending);
    assert_eq!(ledger(&shop.table, other.id).len(), 0);
}
