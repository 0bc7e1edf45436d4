//! Events that name only an order and are no completion. They are recorded with the order's payment, and stay unmatched
//! under their ids.

use super::*;

const EVENTS: [Outcome; 7] = [
    Outcome::Pending,
    Outcome::Authorized,
    Outcome::Cancelled,
    Outcome::Failed,
    Outcome::Unrecognised,
    Outcome::Contradictory,
    Outcome::Reversed,
];

/// FinvyPay's general webhook about the transaction `FP1` of the order `o`.
fn general(outcome: Outcome) -> Notification {
    let fact = Fact {
        order_id: OrderId::parse("o"),
        transaction: Reference::parse("FP1"),
        ..reported(outcome)
    };
    notification(None, fact)
}

/// A completion of the transaction `FP1` that names a payment.
fn paid_by_name(id: PaymentId) -> Notification {
    notification(Some(id), general(Outcome::Completed).fact)
}

async fn has_fact(shop: &Shop, id: PaymentId, notification: &Notification) -> bool {
    shop.store.has_fact(id, &notification.fact).await.unwrap()
}

async fn kept(shop: &Shop) -> usize {
    let group = shop.store.unmatched(Provider::FinvyPay, "FP1", 10).await.unwrap();
    group.map_or(0, |group| group.notifications.len())
}

async fn owner(shop: &Shop) -> Option<PaymentId> {
    let id = reference("FP1");
    shop.store.owner(Provider::FinvyPay, &id).await.unwrap()
}

/// The only payment of the order, which is completed if the event needs that.
async fn payment_for(shop: &Shop, outcome: Outcome) -> Payment {
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    if outcome == Outcome::Reversed {
        shop.deliver(&notification(Some(payment.id), paid("p"))).await;
    }
    payment
}

#[tokio::test]
async fn event_is_recorded_and_waits_under_its_id_without_being_due() {
    for outcome in EVENTS {
        let shop = Shop::open();
        let payment = payment_for(&shop, outcome).await;
        let event = general(outcome);
        for _ in 0..2 {
            shop.deliver(&event).await;
            assert!(has_fact(&shop, payment.id, &event).await, "{outcome:?}");
            assert_eq!((kept(&shop).await, owner(&shop).await), (1, None), "{outcome:?}");
        }
        assert_eq!(shop.due(Queue::Unmatched, 1000 * DAY).await, [], "{outcome:?}");
        assert_eq!(shop.store.oldest_unmatched().await.unwrap(), None);
    }
}

#[tokio::test]
async fn event_moves_to_the_payment_whose_id_it_turns_out_to_have() {
    for outcome in EVENTS {
        let shop = Shop::open();
        let first = payment_for(&shop, outcome).await;
        let event = general(outcome);
        shop.deliver(&event).await;
        let second = shop.pending(Provider::FinvyPay, "o", "p2").await;
        shop.deliver(&paid_by_name(second.id)).await;
        assert_eq!((kept(&shop).await, owner(&shop).await), (0, Some(second.id)));
        for id in [first.id, second.id] {
            assert!(has_fact(&shop, id, &event).await, "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn event_that_moves_to_its_own_payment_raises_nothing_again() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    shop.deliver(&general(Outcome::Unrecognised)).await;
    let raised = shop.payment(payment.id).await;
    assert_eq!(
        raised.attention.reasons().collect::<Vec<_>>(),
        [AttentionReason::UnrecognisedStatus]
    );
    let acknowledged = raised.acknowledge(AttentionReason::UnrecognisedStatus, shop.after(MINUTE));
    shop.commit(&raised, &acknowledged).await;
    shop.deliver(&paid_by_name(payment.id)).await;
    assert_eq!(shop.status(payment.id).await, Status::Completed);
    assert_eq!(shop.reasons(payment.id).await, []);
    assert_eq!((kept(&shop).await, owner(&shop).await), (0, Some(payment.id)));
}

/// It may be repeated in another shape, with metadata.
#[tokio::test]
async fn repeated_event_with_our_id_attaches_its_ids() {
    for outcome in EVENTS {
        let shop = Shop::open();
        let payment = payment_for(&shop, outcome).await;
        let event = general(outcome);
        shop.deliver(&event).await;
        let before = shop.payment(payment.id).await;
        shop.deliver(&notification(Some(payment.id), event.fact.clone())).await;
        assert_eq!(
            (kept(&shop).await, owner(&shop).await),
            (0, Some(payment.id)),
            "{outcome:?}"
        );
        let after = shop.payment(payment.id).await;
        assert_eq!(
            (after.status, after.attention),
            (before.status, before.attention),
            "{outcome:?}"
        );
    }
}

/// A claim of the same transaction comes later, is denied, and leaves the event where it is.
#[tokio::test]
async fn event_stays_under_its_id_while_a_claim_waits() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    shop.deliver(&general(Outcome::Authorized)).await;
    let mut claim = general(Outcome::Completed);
    claim.fact.received_at = shop.after(MINUTE);
    shop.deliver(&claim).await;
    shop.sweep(2 * MINUTE, &provider).await;
    assert_eq!(
        (shop.status(payment.id).await, kept(&shop).await),
        (Status::Authorized, 2)
    );
    provider.set_status("FP1", general(Outcome::Failed));
    shop.sweep(5 * MINUTE, &provider).await;
    assert_eq!((owner(&shop).await, kept(&shop).await), (None, 2), "denied");
    assert_ne!(shop.status(payment.id).await, Status::Completed);
}

/// The claim of other money is recorded for review, which attaches no id.
#[tokio::test]
async fn event_left_alone_under_its_id_is_not_due() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    shop.deliver(&general(Outcome::Pending)).await;
    let mut claim = general(Outcome::Completed);
    claim.fact.amount = Decimal::parse("1");
    shop.deliver(&claim).await;
    provider.set_status("FP1", claim);
    shop.sweep(MINUTE, &provider).await;
    assert_eq!((shop.status(payment.id).await, kept(&shop).await), (Status::Review, 1));
    assert_eq!(shop.due(Queue::Unmatched, 1000 * DAY).await, []);
}

/// FinvyPay may call the payment pending for a quarter of an hour after the claim, whenever the first event came.
#[tokio::test]
async fn pending_limit_does_not_begin_with_an_earlier_event() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    shop.deliver(&general(Outcome::Pending)).await;
    let mut claim = general(Outcome::Completed);
    claim.fact.received_at = shop.after(25 * MINUTE);
    shop.deliver(&claim).await;
    provider.set_status("FP1", claim);
    let mut own = reported(Outcome::Pending);
    own.payment = Some(reference("p"));
    provider.set_status("p", notification(Some(payment.id), own));
    shop.sweep(26 * MINUTE, &provider).await;
    assert_eq!(shop.status(payment.id).await, Status::Completed);
}

/// Two payments of the order are completed, and FinvyPay does not say yet which of them it means.
#[tokio::test]
async fn refund_of_an_order_paid_twice_waits_with_an_alarm() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let mut payments = Vec::new();
    for id in ["p1", "p2"] {
        let payment = shop.pending(Provider::FinvyPay, "o", id).await;
        shop.deliver(&notification(Some(payment.id), paid(id))).await;
        payments.push(payment.id);
    }
    let refund = Fact {
        reversals: vec![Reversal {
            kind: ReversalKind::Refund,
            undone: false,
            id: None,
            amount: None,
            currency: None,
            at: Some(shop.start),
            reported_at: None,
        }],
        ..general(Outcome::Reversed).fact
    };
    for event in [
        refund.clone(),
        Fact {
            transaction: None,
            ..refund.clone()
        },
    ] {
        shop.deliver(&notification(None, event)).await;
    }
    for minutes in [1, 3, 10, 2 * 24 * 60] {
        shop.sweep(minutes * MINUTE, &provider).await;
    }
    // `OldestUnmatchedSeconds` counts from here.
    assert_eq!(shop.store.oldest_unmatched().await.unwrap(), Some(shop.start));
    assert_eq!(kept(&shop).await, 1);
    let by_order = shop.store.unmatched(Provider::FinvyPay, "order:o", 10).await.unwrap();
    assert_eq!(by_order.map(|group| group.notifications.len()), Some(1));
    for id in &payments {
        assert_eq!(
            (shop.status(*id).await, shop.reasons(*id).await),
            (Status::Completed, vec![])
        );
    }

    // A message that names the payment says whose the refund is, and takes the one under its id along.
    shop.deliver(&notification(Some(payments[1]), refund)).await;
    assert_eq!(kept(&shop).await, 0);
    assert_eq!(shop.reasons(payments[0]).await, []);
    assert_eq!(shop.reasons(payments[1]).await, [AttentionReason::Refunded]);
}
