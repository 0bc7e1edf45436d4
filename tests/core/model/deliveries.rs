//! One event after another: whose it is, and what it changes.

use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::OrderId;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::status::Status;
use payment_functions::flows::record_notification::{RecordResult, record_if_matched, record_notification};
use payment_functions::platform::clock;
use payment_functions::providers::Notification;

use super::*;
use crate::facts::said;
use crate::ledger;
use crate::sweeps::Shop;

async fn told(shop: &Shop, event: &Notification) -> RecordResult {
    record_notification(&shop.store, event, shop.start).await.unwrap()
}

fn event(provider: Provider, outcome: Outcome, id: Option<&str>, order: Option<&str>) -> Notification {
    Notification {
        payment_id: None,
        fact: Fact {
            payment: id.and_then(Reference::parse),
            order_id: order.and_then(OrderId::parse),
            ..said(provider, outcome)
        },
    }
}

/// Whether or not the event names our own id, which is the shorter way.
#[tokio::test]
async fn a_delivery_tells_what_it_has_changed() {
    for provider in Provider::ALL {
        for names_ours in [false, true] {
            let shop = Shop::open();
            let payment = shop.pending(provider, "o", "p").await;
            for (outcome, raised) in [
                (Outcome::Pending, None),
                (Outcome::Failed, Some(Status::Failed)),
                (Outcome::Cancelled, None),
                (Outcome::Completed, Some(Status::Completed)),
                (Outcome::Unrecognised, None),
            ] {
                let event = Notification {
                    payment_id: names_ours.then_some(payment.id),
                    ..event(provider, outcome, Some("p"), None)
                };
                let delivery = told(&shop, &event).await;
                assert_eq!(
                    delivery,
                    RecordResult::Recorded(payment.id, raised),
                    "{provider} {outcome:?}"
                );
                assert_eq!(told(&shop, &event).await, RecordResult::Duplicate(payment.id));
            }
            assert_eq!(ledger(&shop.table, payment.id).len(), 5);
        }
    }
}

#[tokio::test]
async fn an_order_alone_says_whose_it_is_only_where_its_provider_may_name_no_more() {
    for (provider, is_known) in [(Provider::FinvyPay, true), (Provider::ApoloPay, false)] {
        let shop = Shop::open();
        let payment = shop.pending(provider, "o", "p").await;
        let event = event(provider, Outcome::Completed, None, Some("o"));
        let expected = if is_known {
            RecordResult::Recorded(payment.id, Some(Status::Completed))
        } else {
            RecordResult::Unmatched
        };
        assert_eq!(told(&shop, &event).await, expected, "{provider}");
        let status = if is_known { Status::Completed } else { Status::Pending };
        assert_eq!(shop.status(payment.id).await, status, "{provider}");
        let parked = shop.store.unmatched(provider, "order:o").await.unwrap();
        assert_eq!(parked.is_some(), !is_known, "{provider}");
    }
}

#[tokio::test]
async fn what_nobody_is_known_for_is_stored_nowhere_unless_it_may_be_parked() {
    let shop = Shop::open();
    shop.pending(Provider::FinvyPay, "o", "p").await;
    let before = shop.table.items().unwrap().len();
    let stranger = event(Provider::FinvyPay, Outcome::Completed, Some("p2"), Some("o2"));
    let known = record_if_matched(&shop.store, &stranger, clock::now()).await;
    assert_eq!(known.unwrap(), None);
    assert_eq!(shop.table.items().unwrap().len(), before);
    assert_eq!(told(&shop, &stranger).await, RecordResult::Unmatched);
    assert_eq!(shop.table.items().unwrap().len(), before + 1);
}

/// Our own id in the metadata of somebody else's event, or of the other provider's.
#[tokio::test]
async fn the_id_that_a_provider_gave_decides_and_only_that_provider_moves_a_payment() {
    let shop = Shop::open();
    let one = shop.pending(Provider::FinvyPay, "o1", "p1").await;
    let other = shop.pending(Provider::FinvyPay, "o2", "p2").await;
    let named = |event| Notification {
        payment_id: Some(other.id),
        ..event
    };
    let paid = named(event(Provider::FinvyPay, Outcome::Completed, Some("p1"), None));
    let delivery = told(&shop, &paid).await;
    assert_eq!(delivery, RecordResult::Recorded(one.id, Some(Status::Completed)));
    let foreign = named(event(Provider::ApoloPay, Outcome::Completed, Some("p3"), None));
    assert_eq!(told(&shop, &foreign).await, RecordResult::Unmatched);
    assert_eq!(shop.status(other.id).await, Status::Pending);
    assert_eq!(ledger(&shop.table, other.id).len(), 0);
}
