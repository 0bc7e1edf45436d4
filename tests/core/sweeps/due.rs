//! The due index, reservations, and runs that are concurrent, end early, or die.

use payment_functions::domain::provider::Environment;
use std::collections::BTreeSet;

use futures_util::future::join_all;
use payment_functions::store::SHARDS;

use super::*;

#[tokio::test]
async fn unresolved_payment_is_due_and_resolved_one_is_not() {
    let shop = Shop::open();
    let pending = shop.pending(Provider::FinvyPay, "o1", "p1").await;
    let intent = shop.intent(Provider::FinvyPay, "o2").await;
    let crypto = shop.pending(Provider::ApoloPay, "o3", "p3").await;
    let due = |queue, time| shop.due(queue, time);
    assert_eq!(due(Queue::Payments(Provider::FinvyPay), 59 * MINUTE / 60).await, []);
    let due_at_finvypay = BTreeSet::from_iter(
        due(Queue::Payments(Provider::FinvyPay), MINUTE)
            .await
            .iter()
            .map(|due| format!("{due:?}")),
    );
    let expected = [pending.id, intent.id].map(|id| format!("{:?}", Subject::Payment(id)));
    assert_eq!(due_at_finvypay, BTreeSet::from(expected));
    assert_eq!(due(Queue::Payments(Provider::ApoloPay), DAY - MINUTE).await, []);
    assert_eq!(
        due(Queue::Payments(Provider::ApoloPay), DAY).await,
        [Subject::Payment(crypto.id)]
    );

    // A completion takes the payment out of the index, on the fast path and on the slow path.
    let paid = notification(
        Some(pending.id),
        Fact {
            payment: Some(reference("p1")),
            ..reported(Outcome::Completed)
        },
    );
    shop.deliver(&paid).await;
    assert!(shop.is_resolved(pending.id).await);
    let paid = notification(
        Some(intent.id),
        Fact {
            payment: Some(reference("p2")),
            ..reported(Outcome::Completed)
        },
    );
    shop.deliver(&paid).await;
    assert!(shop.is_resolved(intent.id).await);

    for outcome in [
        Outcome::Failed,
        Outcome::Cancelled,
        Outcome::Authorized,
        Outcome::Pending,
    ] {
        let id = unique("p");
        let payment = shop.pending(Provider::FinvyPay, "o5", &id).await;
        let fact = Fact {
            payment: Some(reference(&id)),
            ..reported(outcome)
        };
        shop.deliver(&notification(Some(payment.id), fact)).await;
        assert!(!shop.is_resolved(payment.id).await, "money can still come: {outcome:?}");
    }
}

#[tokio::test]
async fn payment_in_review_is_counted_and_checked_daily() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::ApoloPay, "o", "p").await;
    let wrong = Fact {
        provider: Provider::ApoloPay,
        payment: Some(reference("p")),
        amount: Decimal::parse("1"),
        ..reported(Outcome::Completed)
    };
    shop.deliver(&notification(Some(payment.id), wrong)).await;
    assert_eq!(shop.status(payment.id).await, Status::Review);
    let provider = FakeProvider::default();
    for day in 0..3 {
        for (time, checked) in [(day * DAY + MINUTE, 1), (day * DAY + HOUR, 0)] {
            assert_eq!(shop.sweep(time, &provider).await.checked, checked);
            assert_eq!(shop.store.count(Queue::Review).await.unwrap(), 1);
        }
    }
}

#[tokio::test]
async fn concurrent_runs_share_the_work_and_poll_once() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payments = join_all((0..60).map(|index| {
        let shop = &shop;
        async move {
            let id = format!("p{index}");
            (shop.pending(Provider::FinvyPay, &format!("o{index}"), &id).await, id)
        }
    }))
    .await;
    for (payment, id) in &payments {
        let fact = Fact {
            transaction: Some(reference(&format!("FP-{id}"))),
            payment: Some(reference(id)),
            ..reported(Outcome::Completed)
        };
        provider.set_status(id, notification(Some(payment.id), fact));
    }
    let (one, other) = tokio::join!(shop.sweep(2 * MINUTE, &provider), shop.sweep(2 * MINUTE, &provider));
    assert_eq!((one.checked + other.checked, one.failed + other.failed), (60, 0));
    assert_eq!(one.resolved + other.resolved, 60);
    let calls = provider.take_calls();
    assert_eq!((calls.len(), BTreeSet::from_iter(&calls).len()), (60, 60), "each once");
    for (payment, _) in &payments {
        assert_eq!(shop.status(payment.id).await, Status::Completed);
        assert!(shop.is_resolved(payment.id).await);
    }
}

#[tokio::test]
async fn run_without_time_leaves_items_to_the_next() {
    let shop = Shop::open();
    for index in 0..12 {
        shop.intent(Provider::ApoloPay, &format!("o{index}")).await;
    }
    let nothing = shop.sweep_for(2 * DAY, &FakeProvider::default(), Duration::ZERO).await;
    assert_eq!((nothing.checked, nothing.unfinished), (0, true));
    let all = shop.sweep(2 * DAY, &FakeProvider::default()).await;
    assert_eq!((all.checked, all.expired, all.unfinished), (12, 12, false));
}

#[tokio::test]
async fn provider_is_polled_only_while_time_is_left() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    // Each check makes two calls: for the id and for the order.
    provider.delay_by(Duration::from_millis(5));
    for index in 0..60 {
        let (order, id) = (format!("o{index}"), format!("p{index}"));
        shop.pending(Provider::FinvyPay, &order, &id).await;
    }
    let report = shop.sweep_for(MINUTE, &provider, Duration::from_millis(240)).await;
    assert!(report.unfinished && report.checked < 60, "{report:?}");
    // The payment that was being polled when time ran out is due a minute later.
    for time in [MINUTE, 2 * MINUTE] {
        assert!(!shop.sweep(time, &provider).await.unfinished);
    }
    let calls = provider.take_calls();
    let orders = calls.iter().filter(|call| call.starts_with("order "));
    assert_eq!(
        (
            orders.count(),
            shop.due(Queue::Payments(Provider::FinvyPay), 2 * MINUTE).await.len()
        ),
        (60, 0)
    );
}

#[tokio::test]
async fn shard_larger_than_a_batch_is_read_again() {
    let shop = Shop::open();
    let mut in_first_shard = 0;
    while in_first_shard < 25 {
        let money = Money::from_minor(2550, Currency::USD);
        let payment = Payment::new(
            PaymentId::random(),
            Provider::ApoloPay,
            Environment::Production,
            money,
            shop.start,
        );
        if payment.id.shard(SHARDS) == 0 {
            shop.store
                .insert_payment(&payment, RequestNames::default(), shop.start)
                .await
                .unwrap();
            in_first_shard += 1;
        }
    }
    let report = shop.sweep(2 * DAY, &FakeProvider::default()).await;
    assert_eq!((report.checked, report.expired, report.unfinished), (25, 25, false));
}

#[tokio::test]
async fn items_reserved_by_a_dead_run_are_checked_later() {
    let shop = Shop::open();
    let payment = shop.intent(Provider::ApoloPay, "o").await;
    let due = shop
        .store
        .due(Queue::Payments(Provider::ApoloPay), shop.after(2 * DAY), 1)
        .await
        .unwrap();
    let reserved = shop.store.reserve(&due[0], shop.after(2 * DAY)).await.unwrap();
    assert!(reserved.is_some());
    assert_eq!(
        shop.store.reserve(&due[0], shop.after(2 * DAY)).await.unwrap(),
        None,
        "only once"
    );
    assert_eq!(
        shop.sweep(2 * DAY + MINUTE, &FakeProvider::default()).await.checked,
        0,
        "the other run has reserved it"
    );
    assert_eq!(
        shop.sweep(2 * DAY + 2 * MINUTE, &FakeProvider::default()).await.expired,
        1
    );
    assert_eq!(shop.status(payment.id).await, Status::Expired);
    // The run that seemed dead goes on, and changes nothing.
    shop.store
        .reschedule(&reserved.unwrap(), Some(shop.after(9 * DAY)))
        .await
        .unwrap();
    assert!(shop.is_resolved(payment.id).await);
}

#[tokio::test]
async fn unreadable_payment_does_not_block_the_others() {
    let shop = Shop::open();
    let before = shop.intent(Provider::ApoloPay, "o1").await;
    let broken = shop.intent(Provider::ApoloPay, "o2").await;
    let behind = shop.intent(Provider::ApoloPay, "o3").await;
    shop.break_payment(broken.id).await;
    let report = shop.sweep(2 * DAY, &FakeProvider::default()).await;
    assert_eq!((report.expired, report.failed), (2, 1));
    for payment in [before, behind] {
        assert_eq!(shop.status(payment.id).await, Status::Expired);
    }
    assert_eq!(
        shop.sweep(2 * DAY, &FakeProvider::default()).await.failed,
        0,
        "it is reserved for a while"
    );
    assert_eq!(
        shop.sweep(2 * DAY + 2 * MINUTE, &FakeProvider::default()).await.failed,
        1,
        "it is retried later"
    );
}

#[tokio::test]
async fn concurrent_callers_keep_the_rate_limit() {
    let shop = Shop::open();
    let (interval, latest) = (Duration::from_millis(750), shop.after(HOUR));
    let turns = |latest| {
        let shop = &shop;
        async move {
            let mut turns = Vec::new();
            while turns.len() < 10 {
                let turn = shop
                    .store
                    .next_turn(Provider::FinvyPay, interval, shop.start, latest)
                    .await;
                match turn.unwrap() {
                    Some(turn) => turns.push(turn),
                    None => break,
                }
            }
            turns
        }
    };
    let (one, other, third) = tokio::join!(turns(latest), turns(latest), turns(latest));
    let mut all = [one, other, third].concat();
    all.sort();
    assert_eq!((all.len(), all[0]), (30, shop.start));
    assert!(all.windows(2).all(|pair| pair[1].since(pair[0]) >= interval), "{all:?}");
    assert_eq!(
        turns(shop.after(2 * Duration::from_secs(1))).await,
        [],
        "there is none before the last one is over"
    );
    // After a pause there is no wait.
    let now = shop.after(HOUR);
    let turn = shop
        .store
        .next_turn(Provider::FinvyPay, interval, now, now)
        .await
        .unwrap();
    assert_eq!(turn, Some(now));
}
