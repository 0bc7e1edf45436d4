//! What is due and what is not: the index, claims, and runs that meet, end early, or die.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use payment_functions::store::SHARDS;

use super::*;

#[tokio::test]
async fn what_is_not_settled_is_due_and_what_is_settled_is_not() {
    let shop = Shop::open();
    let pending = shop.pending(Provider::FinvyPay, "o1", "p1").await;
    let intent = shop.intent(Provider::FinvyPay, "o2").await;
    let crypto = shop.pending(Provider::ApoloPay, "o3", "p3").await;
    let due = |queue, time| shop.due(queue, time);
    assert_eq!(due(Queue::Of(Provider::FinvyPay), 59 * MINUTE / 60).await, []);
    let asked = BTreeSet::from_iter(
        due(Queue::Of(Provider::FinvyPay), MINUTE)
            .await
            .iter()
            .map(|due| format!("{due:?}")),
    );
    let expected = [pending.id, intent.id].map(|id| format!("{:?}", Subject::Payment(id)));
    assert_eq!(asked, BTreeSet::from(expected));
    assert_eq!(due(Queue::Of(Provider::ApoloPay), DAY - MINUTE).await, []);
    assert_eq!(
        due(Queue::Of(Provider::ApoloPay), DAY).await,
        [Subject::Payment(crypto.id)]
    );

    // The usual webhook takes a payment out in its one write, and so does the unusual one.
    let paid = event(
        Some(pending.id),
        Fact {
            payment: Some(reference("p1")),
            ..said(Outcome::Completed)
        },
    );
    shop.deliver(&paid).await;
    assert!(shop.is_settled(pending.id).await);
    let paid = event(
        Some(intent.id),
        Fact {
            payment: Some(reference("p2")),
            ..said(Outcome::Completed)
        },
    );
    shop.deliver(&paid).await;
    assert!(shop.is_settled(intent.id).await);

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
            ..said(outcome)
        };
        shop.deliver(&event(Some(payment.id), fact)).await;
        assert!(!shop.is_settled(payment.id).await, "money can still come: {outcome:?}");
    }
}

#[tokio::test]
async fn a_payment_in_review_is_reported_until_a_person_has_dealt_with_it() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::ApoloPay, "o", "p").await;
    let wrong = Fact {
        provider: Provider::ApoloPay,
        payment: Some(reference("p")),
        amount: Decimal::parse("1"),
        ..said(Outcome::Completed)
    };
    shop.deliver(&event(Some(payment.id), wrong)).await;
    assert_eq!(shop.status(payment.id).await, Status::Review);
    for day in 0..3 {
        let report = shop.sweep(day * DAY + MINUTE, &Book::default()).await;
        let matters: Vec<_> = report
            .for_a_person
            .iter()
            .map(|matter| serde_json::to_value(matter).unwrap())
            .collect();
        assert_eq!(matters.len(), 1, "{report:?}");
        let expected = serde_json::json!({
            "matter": "review", "provider": "apolopay", "paymentId": payment.id, "orderId": "o", "currency": "USD",
        });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(matters[0][name], *value, "{matters:?}");
        }
        let written = serde_json::to_string(&report).unwrap();
        assert!(written.contains(r#""amount":25.50"#), "{written}");
        assert_eq!(
            shop.sweep(day * DAY + HOUR, &Book::default()).await.for_a_person_count,
            0,
            "once a day"
        );
    }
}

#[tokio::test]
async fn two_runs_at_once_share_the_work_and_ask_once() {
    let shop = Shop::open();
    let book = Book::default();
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
            ..said(Outcome::Completed)
        };
        book.knows(id, event(Some(payment.id), fact));
    }
    let (one, other) = tokio::join!(shop.sweep(2 * MINUTE, &book), shop.sweep(2 * MINUTE, &book));
    assert_eq!((one.checked + other.checked, one.failed + other.failed), (60, 0));
    assert_eq!(one.resolved + other.resolved, 60);
    let asked = book.asked();
    assert_eq!((asked.len(), BTreeSet::from_iter(&asked).len()), (60, 60), "each once");
    for (payment, _) in &payments {
        assert_eq!(shop.status(payment.id).await, Status::Completed);
        assert!(shop.is_settled(payment.id).await);
    }
}

#[tokio::test]
async fn a_run_without_time_leaves_the_rest_to_the_next() {
    let shop = Shop::open();
    for index in 0..12 {
        shop.intent(Provider::ApoloPay, &format!("o{index}")).await;
    }
    let nothing = shop.sweep_for(2 * DAY, &Book::default(), Duration::ZERO).await;
    assert_eq!((nothing.checked, nothing.unfinished), (0, true));
    let all = shop.sweep(2 * DAY, &Book::default()).await;
    assert_eq!((all.checked, all.expired, all.unfinished), (12, 12, false));
}

#[tokio::test]
async fn the_provider_is_asked_only_as_long_as_there_is_time() {
    let shop = Shop::open();
    let book = Book::default();
    // Each look asks twice: about the id and the order.
    book.takes(Duration::from_millis(5));
    for index in 0..60 {
        let (order, id) = (format!("o{index}"), format!("p{index}"));
        shop.pending(Provider::FinvyPay, &order, &id).await;
    }
    let report = shop.sweep_for(MINUTE, &book, Duration::from_millis(240)).await;
    assert!(report.unfinished && report.checked < 60, "{report:?}");
    // The one in whose midst it ended makes way for a minute.
    for time in [MINUTE, 2 * MINUTE] {
        assert!(!shop.sweep(time, &book).await.unfinished);
    }
    let asked = book.asked();
    let orders = asked.iter().filter(|asked| asked.starts_with("order "));
    assert_eq!(
        (
            orders.count(),
            shop.due(Queue::Of(Provider::FinvyPay), 2 * MINUTE).await.len()
        ),
        (60, 0)
    );
}

#[tokio::test]
async fn a_part_that_holds_more_than_is_read_at_once_is_read_again() {
    let shop = Shop::open();
    let mut of_one_part = 0;
    while of_one_part < 25 {
        let money = Money::from_minor(2550, Currency::USD);
        let payment = Payment::new(PaymentId::random(), Provider::ApoloPay, money, shop.start);
        if payment.id.shard(SHARDS) == 0 {
            shop.store.insert_payment(&payment, None, shop.start).await.unwrap();
            of_one_part += 1;
        }
    }
    let report = shop.sweep(2 * DAY, &Book::default()).await;
    assert_eq!((report.checked, report.expired, report.unfinished), (25, 25, false));
}

#[tokio::test]
async fn a_run_that_dies_leaves_what_it_had_claimed_to_a_later_one() {
    let shop = Shop::open();
    let payment = shop.intent(Provider::ApoloPay, "o").await;
    let due = shop
        .store
        .due(Queue::Of(Provider::ApoloPay), shop.after(2 * DAY), 1)
        .await
        .unwrap();
    let claimed = shop.store.reserve(&due[0], shop.after(2 * DAY)).await.unwrap();
    assert!(claimed.is_some());
    assert_eq!(
        shop.store.reserve(&due[0], shop.after(2 * DAY)).await.unwrap(),
        None,
        "only once"
    );
    assert_eq!(
        shop.sweep(2 * DAY + MINUTE, &Book::default()).await.checked,
        0,
        "it is the other run's"
    );
    assert_eq!(shop.sweep(2 * DAY + 2 * MINUTE, &Book::default()).await.expired, 1);
    assert_eq!(shop.status(payment.id).await, Status::Expired);
    // The one that was thought dead wakes up, and changes nothing.
    shop.store
        .reschedule(&claimed.unwrap(), Some(shop.after(9 * DAY)))
        .await
        .unwrap();
    assert!(shop.is_settled(payment.id).await);
}

#[tokio::test]
async fn what_cannot_be_read_does_not_stand_in_the_way_of_the_rest() {
    let shop = Shop::open();
    let before = shop.intent(Provider::ApoloPay, "o1").await;
    let broken = shop.intent(Provider::ApoloPay, "o2").await;
    let behind = shop.intent(Provider::ApoloPay, "o3").await;
    shop.break_payment(broken.id).await;
    let report = shop.sweep(2 * DAY, &Book::default()).await;
    assert_eq!((report.expired, report.failed), (2, 1));
    for payment in [before, behind] {
        assert_eq!(shop.status(payment.id).await, Status::Expired);
    }
    assert_eq!(
        shop.sweep(2 * DAY, &Book::default()).await.failed,
        0,
        "not at once again"
    );
    assert_eq!(
        shop.sweep(2 * DAY + 2 * MINUTE, &Book::default()).await.failed,
        1,
        "but later"
    );
}

#[tokio::test]
async fn calls_to_a_provider_keep_their_distance_whoever_makes_them() {
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
        "none before they are all over"
    );
    // After a pause nobody waits.
    let now = shop.after(HOUR);
    let turn = shop
        .store
        .next_turn(Provider::FinvyPay, interval, now, now)
        .await
        .unwrap();
    assert_eq!(turn, Some(now));
}

/// Its id and its transaction's take longer to ask about than its queue has.
#[tokio::test]
async fn a_review_is_reported_though_the_provider_is_slow() {
    let shop = Shop::open();
    let book = Book::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let wrong = Fact {
        payment: Some(reference("p")),
        transaction: Some(reference("FP1")),
        amount: Decimal::parse("1"),
        ..said(Outcome::Completed)
    };
    shop.deliver(&event(Some(payment.id), wrong)).await;
    book.takes(Duration::from_millis(100));
    // A twelfth of it is the review's.
    let report = shop.sweep_for(MINUTE, &book, Duration::from_millis(600)).await;
    assert_eq!(book.asked(), ["FP1"]);
    assert_eq!(matters(&report), [(Matter::Review, Some(payment.id))]);
}
