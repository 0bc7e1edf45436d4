//! Expiring payments, also while the provider cannot be polled.

use super::*;

#[tokio::test]
async fn payment_expires_while_the_provider_is_unreachable_and_is_polled_once_it_is_back() {
    let shop = Shop::open();
    let provider = FakeProvider::default().without_list();
    provider.fail_with(Some(unreachable));
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    for minute in 1..=120 {
        shop.sweep(minute * MINUTE, &provider).await;
        let expected = if minute < 46 { Status::Pending } else { Status::Expired };
        assert_eq!(shop.status(payment.id).await, expected, "minute {minute}");
    }
    assert!(!shop.is_resolved(payment.id).await, "nobody has seen the list");
    provider.fail_with(None);
    provider.set_status("p", notification(Some(payment.id), paid("p")));
    shop.sweep(180 * MINUTE, &provider).await;
    assert_eq!(shop.status(payment.id).await, Status::Completed);
}

#[tokio::test]
async fn expiry_time_depends_on_provider_and_late_money_completes() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let card = shop.pending(Provider::FinvyPay, "o1", "p1").await;
    let intent = shop.intent(Provider::FinvyPay, "o2").await;
    let crypto = shop
        .pending(Provider::ApoloPay, "o3", "a3b2c3d4-e5f6-7890-abcd-ef1234567890")
        .await;
    shop.sweep(45 * MINUTE, &provider).await;
    assert_eq!(
        shop.status(card.id).await,
        Status::Pending,
        "it can be paid for half an hour, and its grace is 15 minutes"
    );
    shop.sweep(46 * MINUTE, &provider).await;
    assert_eq!(shop.status(card.id).await, Status::Expired);
    assert_eq!(shop.status(intent.id).await, Status::Expired);
    shop.sweep(DAY - MINUTE, &provider).await;
    assert_eq!(shop.status(crypto.id).await, Status::Pending);
    shop.sweep(DAY, &provider).await;
    assert_eq!(shop.status(crypto.id).await, Status::Expired);
    assert!(shop.is_resolved(crypto.id).await);
    for payment in [&card, &intent, &crypto] {
        let late = Fact {
            provider: payment.provider,
            ..reported(Outcome::Completed)
        };
        shop.deliver(&notification(Some(payment.id), late)).await;
        assert_eq!(
            shop.status(payment.id).await,
            Status::Completed,
            "money counts whenever it comes"
        );
    }
}

#[tokio::test]
async fn payment_that_a_dead_run_expired_is_resolved() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::ApoloPay, "o", "p").await;
    shop.commit(&payment, &payment.expire(shop.after(DAY), None)).await;
    shop.sweep(DAY + MINUTE, &FakeProvider::default()).await;
    assert!(shop.is_resolved(payment.id).await);
}

/// A webhook that arrives after the run has read the payment is not overwritten.
#[tokio::test]
async fn webhook_during_expiry_wins() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::ApoloPay, "o", "p").await;
    let expired = payment.expire(shop.after(DAY), None);
    let fact = Fact {
        provider: Provider::ApoloPay,
        payment: Some(reference("p")),
        ..reported(Outcome::Completed)
    };
    shop.deliver(&notification(Some(payment.id), fact)).await;
    let commit = shop
        .store
        .commit(&payment, &expired, &CommitExtras::default(), shop.after(DAY))
        .await
        .unwrap();
    assert!(matches!(commit, CommitResult::Conflict(_)), "{commit:?}");
    shop.sweep(2 * DAY, &FakeProvider::default()).await;
    assert_eq!(shop.status(payment.id).await, Status::Completed);
}

/// More payments than are read at once.
#[tokio::test]
async fn payments_expire_while_provider_rejects_every_call() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let mut payments = Vec::new();
    for index in 0..120 {
        let (order, id) = (format!("o{index}"), format!("p{index}"));
        payments.push(shop.pending(Provider::FinvyPay, &order, &id).await.id);
    }
    let review = shop.pending(Provider::FinvyPay, "reviewed", "reviewed").await;
    let wrong = Fact {
        payment: Some(reference("reviewed")),
        amount: Decimal::parse("1"),
        ..reported(Outcome::Completed)
    };
    shop.deliver(&notification(Some(review.id), wrong)).await;
    provider.fail_with(Some(provider_refuses_all));
    let report = shop.sweep(HOUR, &provider).await;
    assert_eq!((report.expired, report.failed, report.unfinished), (120, 0, true));
    assert!(
        provider.take_calls().len() <= 2,
        "each job stops at its first rejected call"
    );
    assert_eq!(shop.due(Queue::Expiry, HOUR).await.len(), 0);

    // All of them are still in the schedule, until the list can be read.
    provider.fail_with(None);
    assert_eq!(shop.due(Queue::Expiry, DAY).await.len(), 120);
    shop.sweep(2 * HOUR - MINUTE, &provider).await;
    shop.sweep(2 * HOUR, &provider).await;
    assert_eq!(shop.due(Queue::Expiry, 30 * DAY).await.len(), 0);
}
