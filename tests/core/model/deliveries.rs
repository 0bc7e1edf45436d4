//! One event after another: whose it is, and what it changes.

use payment_functions::delivery::{Delivery, deliver, deliver_known};
use payment_functions::id::{OrderId, Provider};
use payment_functions::money::{Currency, Money};
use payment_functions::payment::{Fact, Outcome};
use payment_functions::providers::Event;
use payment_functions::status::Status;
use payment_functions::store::{Also, Commit, Opened};

use super::*;
use crate::facts;

impl Table {
    /// A payment of an order that its provider has taken under an id.
    async fn pending(&self, provider: Provider, order: &str, id: &str) -> Payment {
        let now = Timestamp::now();
        let money = Money::from_minor(2550, Currency::USD);
        let intent = Payment {
            order_id: OrderId::parse(order),
            ..Payment::intend(PaymentId::random(), provider, money, now)
        };
        assert_eq!(self.store.open(&intent, None, now).await.unwrap(), Opened::Started);
        let handoff = Handoff {
            reference: Reference::parse(id).unwrap(),
            redirect_url: None,
            expires_at: None,
        };
        let payment = intent.accept(handoff, [], now);
        let commit = self.store.commit(&intent, &payment, &Also::default(), now).await;
        assert!(matches!(commit, Ok(Commit::Done)), "{commit:?}");
        payment
    }

    async fn deliver(&self, event: &Event) -> Delivery {
        deliver(&self.store, event, Timestamp::now()).await.unwrap()
    }

    async fn status(&self, payment: &Payment) -> Status {
        self.store.payment(payment.id).await.unwrap().unwrap().status
    }
}

fn event(provider: Provider, outcome: Outcome, id: Option<&str>, order: Option<&str>) -> Event {
    Event {
        payment_id: None,
        fact: Fact {
            payment: id.and_then(Reference::parse),
            order_id: order.and_then(OrderId::parse),
            ..facts::said(provider, outcome)
        },
    }
}

/// Whether or not the event names our own id, which is the shorter way.
#[tokio::test]
async fn a_delivery_tells_what_it_has_changed() {
    for provider in Provider::ALL {
        for names_ours in [false, true] {
            let table = Table::new();
            let payment = table.pending(provider, "o", "p").await;
            for (outcome, raised) in [
                (Outcome::Pending, None),
                (Outcome::Failed, Some(Status::Failed)),
                (Outcome::Cancelled, None),
                (Outcome::Completed, Some(Status::Completed)),
                (Outcome::Unrecognised, None),
            ] {
                let event = Event {
                    payment_id: names_ours.then_some(payment.id),
                    ..event(provider, outcome, Some("p"), None)
                };
                let delivery = table.deliver(&event).await;
                assert_eq!(
                    delivery,
                    Delivery::Recorded(payment.id, raised),
                    "{provider} {outcome:?}"
                );
                assert_eq!(table.deliver(&event).await, Delivery::Duplicate(payment.id));
            }
            assert_eq!(table.facts(payment.id), 5);
        }
    }
}

#[tokio::test]
async fn an_order_alone_says_whose_it_is_only_where_its_provider_may_name_no_more() {
    for (provider, is_known) in [(Provider::FinvyPay, true), (Provider::ApoloPay, false)] {
        let table = Table::new();
        let payment = table.pending(provider, "o", "p").await;
        let event = event(provider, Outcome::Completed, None, Some("o"));
        let expected = if is_known {
            Delivery::Recorded(payment.id, Some(Status::Completed))
        } else {
            Delivery::Parked
        };
        assert_eq!(table.deliver(&event).await, expected, "{provider}");
        let status = if is_known { Status::Completed } else { Status::Pending };
        assert_eq!(table.status(&payment).await, status, "{provider}");
        let parked = table.store.parked(provider, "order:o").await.unwrap();
        assert_eq!(parked.is_some(), !is_known, "{provider}");
    }
}

#[tokio::test]
async fn what_nobody_is_known_for_is_stored_nowhere_unless_it_may_be_parked() {
    let table = Table::new();
    table.pending(Provider::FinvyPay, "o", "p").await;
    let before = table.memory.items().unwrap().len();
    let stranger = event(Provider::FinvyPay, Outcome::Completed, Some("p2"), Some("o2"));
    let known = deliver_known(&table.store, &stranger, Timestamp::now()).await;
    assert_eq!(known.unwrap(), None);
    assert_eq!(table.memory.items().unwrap().len(), before);
    assert_eq!(table.deliver(&stranger).await, Delivery::Parked);
    assert_eq!(table.memory.items().unwrap().len(), before + 1);
}

/// Our own id in the metadata of somebody else's event, or of the other provider's.
#[tokio::test]
async fn the_id_that_a_provider_gave_decides_and_only_that_provider_moves_a_payment() {
    let table = Table::new();
    let one = table.pending(Provider::FinvyPay, "o1", "p1").await;
    let other = table.pending(Provider::FinvyPay, "o2", "p2").await;
    let named = |event| Event {
        payment_id: Some(other.id),
        ..event
    };
    let paid = named(event(Provider::FinvyPay, Outcome::Completed, Some("p1"), None));
    let delivery = table.deliver(&paid).await;
    assert_eq!(delivery, Delivery::Recorded(one.id, Some(Status::Completed)));
    let foreign = named(event(Provider::ApoloPay, Outcome::Completed, Some("p3"), None));
    assert_eq!(table.deliver(&foreign).await, Delivery::Parked);
    assert_eq!(table.status(&other).await, Status::Pending);
    assert_eq!(table.facts(other.id), 0);
}
