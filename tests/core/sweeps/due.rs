//! The due index, reservations, and runs that are concurrent, end early, or die.

use payment_functions::domain::provider::Environment;
use std::collections::BTreeSet;

use super::*;
use futures_util::future::join_all;
use payment_functions::domain::request_rate::{LaneLimit, RequestRate};

#[tokio::test]
async fn unresolved_payment_is_due_and_resolved_one_is_not() {
    let shop = Shop::open();
    let pending = shop.pending(Provider::FinvyPay, "o1", "p1").await;
    let intent = shop.intent(Provider::FinvyPay, "o2").await;
    let crypto = shop.pending(Provider::ApoloPay, "o3", "p3").await;
    let due = |queue, time| shop.due(queue, time);
    assert_eq!(due(Queue::Expiry, 45 * MINUTE).await, []);
    let due_at_finvypay = BTreeSet::from_iter(
        due(Queue::Expiry, 46 * MINUTE)
            .await
            .iter()
            .map(|due| format!("{due:?}")),
    );
    let expected = [pending.id, intent.id].map(|id| format!("{:?}", Subject::Payment(id)));
    assert_eq!(due_at_finvypay, BTreeSet::from(expected));
    assert_eq!(due(Queue::Expiry, DAY - MINUTE).await.len(), 2);
    assert!(due(Queue::Expiry, DAY).await.contains(&Subject::Payment(crypto.id)));

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
    let contradictory = |id: &str| {
        let fact = Fact {
            payment: Some(reference(id)),
            ..reported(Outcome::Contradictory)
        };
        notification(None, fact)
    };
    let payments = join_all((0..60).map(|index| {
        let shop = &shop;
        async move {
            let id = format!("p{index}");
            (shop.pending(Provider::FinvyPay, &format!("o{index}"), &id).await, id)
        }
    }))
    .await;
    for (payment, id) in &payments {
        shop.deliver(&contradictory(id)).await;
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
async fn shard_larger_than_a_batch_is_read_to_its_end() {
    let shop = Shop::open();
    let mut in_first_shard = 0;
    while in_first_shard < 250 {
        let money = Money::from_minor(2550, Currency::USD);
        let payment = Payment::new(
            PaymentId::random(),
            Provider::ApoloPay,
            Environment::Production,
            money,
            shop.start,
        );
        if payment.id.shard(Queue::Expiry.shards()) == 0 {
            shop.store
                .insert_payment(&payment, RequestNames::default(), shop.start)
                .await
                .unwrap();
            in_first_shard += 1;
        }
    }
    let report = shop.sweep(2 * DAY, &FakeProvider::default()).await;
    assert_eq!((report.checked, report.expired, report.unfinished), (250, 250, false));
}

#[tokio::test]
async fn concurrent_runs_expire_each_payment_once() {
    let shop = Shop::open();
    for index in 0..60 {
        shop.intent(Provider::ApoloPay, &format!("o{index}")).await;
    }
    let provider = FakeProvider::default();
    let (one, other) = tokio::join!(shop.sweep(2 * DAY, &provider), shop.sweep(2 * DAY, &provider));
    assert_eq!((one.expired + other.expired, one.failed + other.failed), (60, 0));
}

#[tokio::test]
async fn items_reserved_by_a_dead_run_are_checked_later() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    shop.pending(Provider::FinvyPay, "o", "p").await;
    let unclear = Fact {
        payment: Some(reference("p")),
        ..reported(Outcome::Contradictory)
    };
    shop.deliver(&notification(None, unclear)).await;
    let due = due_in(&shop.store, Queue::Poll, shop.after(MINUTE)).await;
    let reserved = shop.store.reserve(&due[0], shop.after(MINUTE)).await.unwrap();
    assert!(reserved.is_some());
    let again = shop.store.reserve(&due[0], shop.after(MINUTE)).await.unwrap();
    assert_eq!(again, None, "only once");
    shop.sweep(2 * MINUTE, &provider).await;
    assert_eq!(provider.take_calls(), [""; 0], "the other run has reserved it");
    shop.sweep(3 * MINUTE, &provider).await;
    assert_eq!(provider.take_calls(), ["p", "order o"]);
    // The run that seemed dead goes on, and changes nothing.
    let before = due_in(&shop.store, Queue::Poll, shop.after(DAY)).await;
    shop.store.reschedule(&reserved.unwrap(), None).await.unwrap();
    assert_eq!(due_in(&shop.store, Queue::Poll, shop.after(DAY)).await, before);
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
    const SECOND: Duration = Duration::from_secs(1);
    let shop = Shop::open();
    let limit = LaneLimit {
        interval: Duration::from_millis(750),
        burst: 3,
    };
    let reserve = |lane, now, latest| {
        shop.store
            .reserve_slots(Provider::FinvyPay, lane, 1, limit, now, latest)
    };
    let slots = async |latest| {
        let mut slots = Vec::new();
        while slots.len() < 10 {
            match reserve(Lane::Single, shop.start, latest).await.unwrap() {
                Some(slot) => slots.push(slot),
                None => break,
            }
        }
        slots
    };
    let latest = shop.after(HOUR);
    let (one, other, third) = tokio::join!(slots(latest), slots(latest), slots(latest));
    let mut all = [one, other, third].concat();
    all.sort();
    assert_eq!((all.len(), all[0]), (30, shop.start));
    assert_eq!(all[3], shop.start, "a burst of three beside the first");
    for (nth, slot) in (0_u32..).zip(&all[3..]) {
        assert_eq!(*slot, shop.start.plus(nth * limit.interval), "{all:?}");
    }
    assert_eq!(
        slots(shop.after(2 * SECOND)).await,
        [],
        "there is none before the last one is over"
    );
    assert!(
        reserve(Lane::List, shop.start, shop.start).await.unwrap().is_some(),
        "the other lane"
    );
    // After a rest there is no wait.
    let now = shop.after(HOUR);
    assert_eq!(reserve(Lane::Single, now, now).await.unwrap(), Some(now));
    // A pause holds for both lanes, and a shorter one does not end it.
    for seconds in [60, 30] {
        let until = now.plus(seconds * SECOND);
        shop.store
            .pause_calls(Provider::FinvyPay, until, |_| limit)
            .await
            .unwrap();
    }
    for lane in Lane::ALL {
        let slot = reserve(lane, now, latest.plus(HOUR)).await.unwrap();
        assert_eq!(slot, Some(now.plus(60 * SECOND)), "{lane:?}");
    }
}

/// A single call takes a free slot of the list, but waits only for one of its own lane.
#[tokio::test]
async fn single_calls_take_the_free_slots_of_the_list() {
    for (is_list_read, at_once) in [(false, 10), (true, 6)] {
        let shop = Shop::open();
        let slots = CallSlots::new(shop.store.clone(), RequestRate::DEFAULT);
        let free = async |lane| slots.next(lane, shop.start, shop.start).await.unwrap();
        if is_list_read {
            let limit = RequestRate::DEFAULT.limit(Lane::List);
            let reserved = shop
                .store
                .reserve_slots(Provider::FinvyPay, Lane::List, 4, limit, shop.start, shop.start);
            assert!(reserved.await.unwrap().is_some());
        }
        for _ in 0..at_once {
            assert_eq!(
                free(Lane::Single).await,
                Some(shop.start),
                "the list is read: {is_list_read}"
            );
        }
        assert_eq!(free(Lane::Single).await, None);
        assert_eq!(free(Lane::List).await, None);
        let next = slots.next(Lane::Single, shop.start, shop.after(MINUTE)).await.unwrap();
        assert_eq!(
            next,
            Some(shop.start.plus(RequestRate::DEFAULT.limit(Lane::Single).interval))
        );
    }
}

/// Both lanes together leave a fifth of the requests of any minute.
#[test]
fn lanes_use_at_most_four_fifths_of_the_requests() {
    for requests in [1, 5, 99, 100, 500, 100_000] {
        let rate = RequestRate::per_minute(requests).unwrap();
        let of_a_minute = Lane::ALL.map(|lane| {
            let limit = rate.limit(lane);
            MINUTE.as_nanos() / limit.interval.as_nanos() + u128::from(limit.burst)
        });
        let used = of_a_minute.iter().sum::<u128>();
        assert!(100 * used <= 80 * u128::from(requests), "{requests}: {of_a_minute:?}");
        assert!(
            requests < 99 || 100 * used >= 75 * u128::from(requests),
            "{requests}: {of_a_minute:?}"
        );
    }
}
