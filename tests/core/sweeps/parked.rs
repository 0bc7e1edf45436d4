//! Events that no payment was known for.

use super::*;

fn completion() -> Fact {
    said(Outcome::Completed)
}

/// FinvyPay's general webhook: an order and a transaction.
fn general(order: &str, transaction: &str) -> Notification {
    let fact = Fact {
        order_id: OrderId::parse(order),
        transaction: Reference::parse(transaction),
        ..completion()
    };
    event(None, fact)
}

async fn is_parked(shop: &Shop, provider: Provider, place: &str) -> bool {
    shop.store.unmatched(provider, place).await.unwrap().is_some()
}

#[tokio::test]
async fn the_provider_tells_by_our_own_id_whose_a_transaction_of_several_payments_is() {
    let shop = Shop::open();
    let book = Book::default();
    let one = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let other = shop.pending(Provider::FinvyPay, "o", "p2").await;
    shop.deliver(&general("o", "FP2")).await;
    assert!(is_parked(&shop, Provider::FinvyPay, "FP2").await);
    book.knows(
        "FP2",
        event(
            Some(other.id),
            Fact {
                transaction: Reference::parse("FP2"),
                ..completion()
            },
        ),
    );
    let report = shop.sweep(MINUTE, &book).await;
    assert_eq!(report.collected, 1, "{report:?}");
    assert!(!is_parked(&shop, Provider::FinvyPay, "FP2").await);
    assert_eq!(shop.status(one.id).await, Status::Pending);
    assert_eq!(shop.status(other.id).await, Status::Completed);
}

#[tokio::test]
async fn the_provider_tells_by_the_payments_of_the_order_whose_a_transaction_is() {
    let shop = Shop::open();
    let book = Book::default();
    let one = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let other = shop.pending(Provider::FinvyPay, "o", "p2").await;
    shop.deliver(&general("o", "FP2")).await;
    // The status call knows only payments' ids and gives no metadata.
    book.knows(
        "p2",
        event(
            None,
            Fact {
                payment: Reference::parse("p2"),
                transaction: Reference::parse("FP2"),
                ..said(Outcome::Authorized)
            },
        ),
    );
    shop.sweep(MINUTE, &book).await;
    assert!(!is_parked(&shop, Provider::FinvyPay, "FP2").await);
    assert_eq!(shop.status(one.id).await, Status::Pending);
    assert_eq!(
        shop.status(other.id).await,
        Status::Completed,
        "what was parked said so"
    );
}

#[tokio::test]
async fn an_event_that_names_only_an_order_goes_to_the_payment_that_the_provider_says_it_of() {
    let shop = Shop::open();
    let book = Book::default();
    let one = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let other = shop.pending(Provider::FinvyPay, "o", "p2").await;
    let only_order = event(
        None,
        Fact {
            order_id: OrderId::parse("o"),
            ..completion()
        },
    );
    shop.deliver(&only_order).await;
    let report = shop.sweep(MINUTE, &book).await;
    assert_eq!(report.collected, 0, "neither is known to be paid");
    assert!(is_parked(&shop, Provider::FinvyPay, "order:o").await);
    book.knows(
        "p2",
        event(
            None,
            Fact {
                payment: Reference::parse("p2"),
                ..completion()
            },
        ),
    );
    shop.sweep(6 * MINUTE, &book).await;
    assert!(!is_parked(&shop, Provider::FinvyPay, "order:o").await);
    assert_eq!(shop.status(one.id).await, Status::Pending);
    let after = shop.payment(other.id).await;
    assert_eq!((after.status, after.attention.len()), (Status::Completed, 0));
}

#[tokio::test]
async fn what_two_payments_could_mean_stays_for_a_person() {
    let shop = Shop::open();
    let book = Book::default();
    for id in ["p1", "p2"] {
        let payment = shop.pending(Provider::FinvyPay, "o", id).await;
        book.knows(
            id,
            event(
                Some(payment.id),
                Fact {
                    payment: Reference::parse(id),
                    ..completion()
                },
            ),
        );
    }
    shop.deliver(&event(
        None,
        Fact {
            order_id: OrderId::parse("o"),
            ..completion()
        },
    ))
    .await;
    shop.sweep(MINUTE, &book).await;
    assert!(is_parked(&shop, Provider::FinvyPay, "order:o").await);
    let report = shop.sweep(12 * MINUTE, &book).await;
    let matter = serde_json::to_value(&report.for_a_person[0]).unwrap();
    assert_eq!(
        matter,
        serde_json::json!({ "matter": "parked", "provider": "finvypay", "parkedUnder": "order:o", "orderId": "o" })
    );
    assert_eq!(report.oldest_unmatched_seconds, Some(720));
}

#[tokio::test]
async fn what_nobody_can_be_asked_about_is_reported_and_kept() {
    let shop = Shop::open();
    let book = Book::default();
    let stranger = event(
        Some(PaymentId::random()),
        Fact {
            provider: Provider::ApoloPay,
            payment: Reference::parse("unknown"),
            ..completion()
        },
    );
    shop.deliver(&stranger).await;
    let mut reported = Vec::new();
    for minute in 1..30 {
        if shop.sweep(minute * MINUTE, &book).await.for_a_person_count > 0 {
            reported.push(minute);
        }
    }
    assert_eq!(reported, [12, 24], "before, it may yet be attached");
    reported.clear();
    for hour in 1..100 {
        if shop.sweep(hour * HOUR, &book).await.for_a_person_count > 0 {
            reported.push(hour);
        }
    }
    assert_eq!(
        reported,
        [1, 2, 4, 8, 16, 32, 56, 80],
        "ever more slowly, and daily at last"
    );
    assert_eq!(book.asked(), [""; 0], "ApoloPay has no status call");
    assert!(is_parked(&shop, Provider::ApoloPay, "unknown").await);
}

#[tokio::test]
async fn without_turns_what_is_parked_stays_due_and_apolopays_is_looked_at_all_the_same() {
    let shop = Shop::open();
    let book = Book::default();
    shop.pending(Provider::FinvyPay, "o", "p1").await;
    shop.pending(Provider::FinvyPay, "o", "p2").await;
    shop.deliver(&general("o", "FP1")).await;
    shop.deliver(&event(
        None,
        Fact {
            provider: Provider::ApoloPay,
            payment: Reference::parse("x"),
            ..completion()
        },
    ))
    .await;
    book.has_turns(0);
    let report = shop.sweep(MINUTE, &book).await;
    assert!(report.unfinished);
    assert_eq!(
        shop.due(Queue::Unmatched, MINUTE).await,
        [Subject::Unmatched(Provider::FinvyPay, "FP1".to_owned())]
    );
}

/// One webhook of an order whose payments take longer to ask about than a run has: the payments that are due are asked
/// about all the same.
#[tokio::test]
async fn what_takes_all_turns_of_its_queue_leaves_the_others_theirs() {
    let shop = Shop::open();
    let book = Book::default();
    for index in 0..8 {
        shop.pending(Provider::FinvyPay, "several", &format!("p{index}")).await;
    }
    shop.deliver(&general("several", "FP1")).await;
    let behind = shop.pending(Provider::FinvyPay, "o", "behind").await;
    let paid = Fact {
        payment: Reference::parse("behind"),
        ..completion()
    };
    book.knows("behind", event(Some(behind.id), paid));
    book.takes(Duration::from_millis(60));
    // Seven of twelve parts of it have passed when the payments' turn comes.
    let limit = Duration::from_millis(450);
    let mut minutes = 0;
    while shop.status(behind.id).await != Status::Completed {
        minutes += 1;
        assert!(minutes < 10, "nobody asks about it");
        let report = shop.sweep_for(minutes * MINUTE, &book, limit).await;
        // At first everything is due; later runs have less to do, and may come to an end.
        assert!(report.unfinished || minutes > 1, "{report:?}");
    }
    // Nor is it left to itself.
    let report = shop.sweep_for(HOUR, &book, limit).await;
    assert!(matters(&report).contains(&(Matter::Unmatched, None)), "{report:?}");
}

/// An event that names nothing but an order is not given to the one that is known to be paid, where the other could not be
/// asked about.
#[tokio::test]
async fn whose_an_event_is_is_not_decided_without_asking_about_all() {
    let shop = Shop::open();
    let book = Book::default();
    let paid = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let other = shop.pending(Provider::FinvyPay, "o", "p2").await;
    let told = Fact {
        payment: Reference::parse("p1"),
        ..completion()
    };
    shop.deliver(&event(Some(paid.id), told)).await;
    let of_order = Fact {
        order_id: OrderId::parse("o"),
        ..completion()
    };
    shop.deliver(&event(None, of_order)).await;
    let failures: [(u32, fn() -> PollError); 3] = [(1, down), (12, closed), (24, out_of_turns)];
    for (minute, failure) in failures {
        book.fails(Some(failure));
        shop.sweep(minute * MINUTE, &book).await;
        assert!(is_parked(&shop, Provider::FinvyPay, "order:o").await, "minute {minute}");
    }
    // It was the other's.
    book.fails(None);
    let told = Fact {
        payment: Reference::parse("p2"),
        ..completion()
    };
    book.knows("p2", event(Some(other.id), told));
    shop.sweep(DAY, &book).await;
    assert_eq!(shop.status(other.id).await, Status::Completed);
    assert!(
        is_parked(&shop, Provider::FinvyPay, "order:o").await,
        "two are paid now"
    );
}

/// Of an order of many not all are asked about, and so nobody knows that it is no other's.
#[tokio::test]
async fn an_event_of_an_order_of_many_is_left_to_a_person() {
    let shop = Shop::open();
    let (order, mut payments) = ("o", Vec::new());
    for nth in 0..11 {
        payments.push(shop.pending(Provider::FinvyPay, order, &format!("p{nth}")).await.id);
    }
    let first = shop
        .store
        .payments_of(Provider::FinvyPay, &OrderId::parse(order).unwrap(), 1)
        .await
        .unwrap()[0];
    let nth = payments.iter().position(|payment| *payment == first).unwrap();
    let told = Fact {
        payment: Some(reference(&format!("p{nth}"))),
        ..completion()
    };
    shop.deliver(&event(Some(first), told)).await;
    let of_order = Fact {
        order_id: OrderId::parse(order),
        ..completion()
    };
    shop.deliver(&event(None, of_order)).await;
    let report = shop.sweep(HOUR, &Book::default()).await;
    assert!(matters(&report).contains(&(Matter::Unmatched, None)), "{report:?}");
    assert!(is_parked(&shop, Provider::FinvyPay, "order:o").await);
}

/// The list of an order names the money of a payment that is paid already, under an id that nobody has heard of yet.
#[tokio::test]
async fn money_of_a_payment_that_is_paid_is_found_by_asking_about_that_one() {
    let shop = Shop::open();
    let book = Book::default();
    shop.pending(Provider::FinvyPay, "o", "p1").await;
    let paid = shop.pending(Provider::FinvyPay, "o", "p2").await;
    let told = Fact {
        payment: Reference::parse("p2"),
        ..completion()
    };
    shop.deliver(&event(None, told.clone())).await;
    book.lists("o", vec![general("o", "FP2")]);
    shop.sweep(MINUTE, &book).await;
    assert!(is_parked(&shop, Provider::FinvyPay, "FP2").await);
    let both = Fact {
        transaction: Reference::parse("FP2"),
        ..told
    };
    book.knows("p2", event(None, both));
    shop.sweep(3 * MINUTE, &book).await;
    assert!(!is_parked(&shop, Provider::FinvyPay, "FP2").await);
    assert_eq!(shop.payment(paid.id).await.attention.len(), 0, "it came once");
}

#[tokio::test]
async fn what_is_parked_again_is_looked_at_no_sooner_and_what_is_added_is() {
    let shop = Shop::open();
    let book = Book::default();
    shop.deliver(&general("o", "FP1")).await;
    for minute in [1, 12, 24] {
        shop.sweep(minute * MINUTE, &book).await;
    }
    shop.deliver(&general("o", "FP1")).await;
    assert_eq!(shop.due(Queue::Unmatched, 30 * MINUTE).await.len(), 0);
    let added = event(
        None,
        Fact {
            transaction: Reference::parse("FP1"),
            ..said(Outcome::Failed)
        },
    );
    shop.deliver(&added).await;
    assert_eq!(shop.due(Queue::Unmatched, 30 * MINUTE).await.len(), 1);
}

#[tokio::test]
async fn what_was_added_meanwhile_is_not_forgotten() {
    let shop = Shop::open();
    let parked = event(
        None,
        Fact {
            order_id: OrderId::parse("o"),
            ..completion()
        },
    );
    let added = event(
        None,
        Fact {
            order_id: OrderId::parse("o"),
            ..said(Outcome::Failed)
        },
    );
    shop.deliver(&parked).await;
    let seen = shop
        .store
        .unmatched(Provider::FinvyPay, "order:o")
        .await
        .unwrap()
        .unwrap();
    shop.deliver(&added).await;
    shop.store
        .delete_unmatched(Provider::FinvyPay, "order:o", &seen)
        .await
        .unwrap();
    let kept = shop
        .store
        .unmatched(Provider::FinvyPay, "order:o")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.events.len(), 2);
    shop.store
        .delete_unmatched(Provider::FinvyPay, "order:o", &kept)
        .await
        .unwrap();
    assert!(!is_parked(&shop, Provider::FinvyPay, "order:o").await);
}

#[tokio::test]
async fn what_is_parked_is_asked_about_soon_after_the_provider_answered_nobody() {
    let shop = Shop::open();
    let book = Book::default();
    shop.deliver(&general("o", "FP1")).await;
    book.fails(Some(closed));
    let report = shop.sweep(HOUR, &book).await;
    assert_eq!((report.checked, report.unfinished), (1, true));
    // One that is reported is looked at an hour later; this one was not asked about.
    assert_eq!(report.for_a_person_count, 0);
    assert_eq!(shop.due(Queue::Unmatched, HOUR + MINUTE).await.len(), 1);
}

/// Where an event names a transaction, that decides: a payment of its order that was paid may have been paid otherwise.
#[tokio::test]
async fn a_transaction_that_nobody_knows_is_not_given_to_a_payment_for_its_order() {
    let shop = Shop::open();
    let book = Book::default();
    let one = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let other = shop.pending(Provider::FinvyPay, "o", "p2").await;
    shop.deliver(&general("o", "FP1")).await;
    let paid = Fact {
        payment: Reference::parse("p1"),
        ..completion()
    };
    book.knows("p1", event(Some(one.id), paid));
    shop.sweep(MINUTE, &book).await;
    assert_eq!(shop.status(one.id).await, Status::Completed);
    assert_eq!(shop.status(other.id).await, Status::Pending);
    assert!(is_parked(&shop, Provider::FinvyPay, "FP1").await);
    let fp = Reference::parse("FP1").unwrap();
    assert_eq!(shop.store.owner(Provider::FinvyPay, &fp).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_parked_is_counted_and_kept_for_120_days() {
    let shop = Shop::open();
    assert_eq!(shop.store.oldest_unmatched().await.unwrap(), None);
    assert_eq!(shop.store.count(Queue::Unmatched).await.unwrap(), 0);
    for (index, transaction) in ["FP1", "FP2", "FP3"].into_iter().enumerate() {
        let later = shop.after(u32::try_from(index).unwrap() * MINUTE);
        record_notification(&shop.store, &general("o", transaction), later)
            .await
            .unwrap();
    }
    assert_eq!(shop.store.oldest_unmatched().await.unwrap(), Some(shop.start));
    assert_eq!(shop.store.count(Queue::Unmatched).await.unwrap(), 3);
    let items = shop.table.items().unwrap();
    let until = |item: &serde_json::Value| item["ttl"]["N"].as_str().and_then(|at| at.parse::<u64>().ok());
    let first = items.iter().filter_map(until).min();
    assert_eq!(first, Some(shop.start.as_seconds() + 10_368_000));
}
