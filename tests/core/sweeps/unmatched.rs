//! Matching notifications whose payment is not known.

use super::*;

fn completion() -> Fact {
    reported(Outcome::Completed)
}

/// FinvyPay's general webhook, which names only an order and a transaction.
fn general(order: &str, transaction: &str) -> Notification {
    let fact = Fact {
        order_id: OrderId::parse(order),
        transaction: Reference::parse(transaction),
        ..completion()
    };
    notification(None, fact)
}

async fn is_unmatched(shop: &Shop, provider: Provider, lookup_key: &str) -> bool {
    shop.store
        .unmatched(provider, lookup_key, MAX_MOVED)
        .await
        .unwrap()
        .is_some()
}

#[tokio::test]
async fn transaction_is_matched_by_our_id_in_its_status() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let one = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let other = shop.pending(Provider::FinvyPay, "o", "p2").await;
    shop.deliver(&general("o", "FP2")).await;
    assert!(is_unmatched(&shop, Provider::FinvyPay, "FP2").await);
    provider.set_status(
        "FP2",
        notification(
            Some(other.id),
            Fact {
                transaction: Reference::parse("FP2"),
                ..completion()
            },
        ),
    );
    let report = shop.sweep(MINUTE, &provider).await;
    assert_eq!(report.unmatched_resolved, 1, "{report:?}");
    assert!(!is_unmatched(&shop, Provider::FinvyPay, "FP2").await);
    assert_eq!(shop.status(one.id).await, Status::Pending);
    assert_eq!(shop.status(other.id).await, Status::Completed);
}

#[tokio::test]
async fn transaction_is_matched_by_polling_the_payments_of_its_order() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let one = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let other = shop.pending(Provider::FinvyPay, "o", "p2").await;
    shop.deliver(&general("o", "FP2")).await;
    // The status query knows only the payments' ids, and returns no metadata.
    provider.set_status(
        "p2",
        notification(
            None,
            Fact {
                payment: Reference::parse("p2"),
                transaction: Reference::parse("FP2"),
                ..reported(Outcome::Completed)
            },
        ),
    );
    shop.sweep(MINUTE, &provider).await;
    assert!(!is_unmatched(&shop, Provider::FinvyPay, "FP2").await);
    assert_eq!(shop.status(one.id).await, Status::Pending);
    assert_eq!(shop.status(other.id).await, Status::Completed);
}

#[tokio::test]
async fn notification_naming_only_an_order_is_matched_by_polled_status() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let one = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let other = shop.pending(Provider::FinvyPay, "o", "p2").await;
    let only_order = notification(
        None,
        Fact {
            order_id: OrderId::parse("o"),
            ..completion()
        },
    );
    shop.deliver(&only_order).await;
    let report = shop.sweep(MINUTE, &provider).await;
    assert_eq!(report.unmatched_resolved, 0, "neither payment is known to be paid");
    assert!(is_unmatched(&shop, Provider::FinvyPay, "order:o").await);
    provider.set_status(
        "p2",
        notification(
            None,
            Fact {
                payment: Reference::parse("p2"),
                ..completion()
            },
        ),
    );
    shop.sweep(6 * MINUTE, &provider).await;
    assert!(!is_unmatched(&shop, Provider::FinvyPay, "order:o").await);
    assert_eq!(shop.status(one.id).await, Status::Pending);
    let after = shop.payment(other.id).await;
    assert_eq!((after.status, after.attention.is_empty()), (Status::Completed, true));
}

#[tokio::test]
async fn ambiguous_notification_stays_unmatched_and_needs_review() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    for id in ["p1", "p2"] {
        let payment = shop.pending(Provider::FinvyPay, "o", id).await;
        provider.set_status(
            id,
            notification(
                Some(payment.id),
                Fact {
                    payment: Reference::parse(id),
                    ..completion()
                },
            ),
        );
    }
    shop.deliver(&notification(
        None,
        Fact {
            order_id: OrderId::parse("o"),
            ..completion()
        },
    ))
    .await;
    shop.sweep(MINUTE, &provider).await;
    assert!(is_unmatched(&shop, Provider::FinvyPay, "order:o").await);
}

#[tokio::test]
async fn unmatched_notification_of_unpolled_provider_is_checked_ever_more_rarely_and_kept() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let unknown = notification(
        Some(PaymentId::random()),
        Fact {
            provider: Provider::ApoloPay,
            payment: Reference::parse("unknown"),
            ..completion()
        },
    );
    shop.deliver(&unknown).await;
    let mut checked = Vec::new();
    for minute in 1..30 {
        if shop.sweep(minute * MINUTE, &provider).await.checked > 0 {
            checked.push(minute);
        }
    }
    assert_eq!(checked, [1, 2, 4, 8, 16]);
    checked.clear();
    for hour in 1..100 {
        if shop.sweep(hour * HOUR, &provider).await.checked > 0 {
            checked.push(hour);
        }
    }
    assert_eq!(
        checked,
        [1, 2, 4, 8, 16, 24, 48, 72, 96],
        "ever more rarely, and daily in the end"
    );
    assert_eq!(provider.take_calls(), [""; 0], "ApoloPay has no status query");
    assert!(is_unmatched(&shop, Provider::ApoloPay, "unknown").await);
}

#[tokio::test]
async fn finvypay_notification_without_turns_stays_due_and_apolopays_is_checked() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    shop.pending(Provider::FinvyPay, "o", "p1").await;
    shop.pending(Provider::FinvyPay, "o", "p2").await;
    shop.deliver(&general("o", "FP1")).await;
    shop.deliver(&notification(
        None,
        Fact {
            provider: Provider::ApoloPay,
            payment: Reference::parse("x"),
            ..completion()
        },
    ))
    .await;
    provider.limit_slots(0);
    let report = shop.sweep(MINUTE, &provider).await;
    assert!(report.unfinished);
    assert_eq!(
        shop.due(Queue::Unmatched, MINUTE).await,
        [Subject::Unmatched(Provider::FinvyPay, "FP1".to_owned())]
    );
}

/// A notification that names only an order is not matched with the payment known to be paid while the other cannot be
/// polled.
#[tokio::test]
async fn notification_is_not_matched_before_every_candidate_was_polled() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let paid = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let other = shop.pending(Provider::FinvyPay, "o", "p2").await;
    let report = Fact {
        payment: Reference::parse("p1"),
        ..completion()
    };
    shop.deliver(&notification(Some(paid.id), report)).await;
    let of_order = Fact {
        order_id: OrderId::parse("o"),
        ..completion()
    };
    shop.deliver(&notification(None, of_order)).await;
    let failures: [(u32, fn() -> PollError); 3] = [(1, unreachable), (12, provider_refuses_all), (24, unreachable)];
    for (minute, failure) in failures {
        provider.fail_with(Some(failure));
        shop.sweep(minute * MINUTE, &provider).await;
        assert!(
            is_unmatched(&shop, Provider::FinvyPay, "order:o").await,
            "minute {minute}"
        );
    }
    // It was about the other payment.
    provider.fail_with(None);
    let report = Fact {
        payment: Reference::parse("p2"),
        ..completion()
    };
    provider.set_status("p2", notification(Some(other.id), report));
    shop.sweep(DAY, &provider).await;
    assert_eq!(shop.status(other.id).await, Status::Completed);
    assert!(
        is_unmatched(&shop, Provider::FinvyPay, "order:o").await,
        "two payments are paid now"
    );
}

/// Of many payments of one order not all are polled, so that the notification may be about any other.
#[tokio::test]
async fn notification_of_order_with_many_payments_needs_review() {
    let shop = Shop::open();
    let (order, mut payments) = ("o", Vec::new());
    for nth in 0..11 {
        payments.push(shop.pending(Provider::FinvyPay, order, &format!("p{nth}")).await.id);
    }
    let first = shop
        .store
        .order_entries(Provider::FinvyPay, &OrderId::parse(order).unwrap())
        .await
        .unwrap()[0]
        .payment_id;
    let nth = payments.iter().position(|payment| *payment == first).unwrap();
    let report = Fact {
        payment: Some(reference(&format!("p{nth}"))),
        ..completion()
    };
    shop.deliver(&notification(Some(first), report)).await;
    let of_order = Fact {
        order_id: OrderId::parse(order),
        ..completion()
    };
    shop.deliver(&notification(None, of_order)).await;
    shop.sweep(HOUR, &FakeProvider::default()).await;
    assert!(is_unmatched(&shop, Provider::FinvyPay, "order:o").await);
}

/// A webhook and the list of its order have the money of a completed payment, under an id that is not known yet.
#[tokio::test]
async fn money_of_completed_payment_is_matched_by_polling_it() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    shop.pending(Provider::FinvyPay, "o", "p1").await;
    let paid = shop.pending(Provider::FinvyPay, "o", "p2").await;
    let report = Fact {
        payment: Reference::parse("p2"),
        ..completion()
    };
    shop.deliver(&notification(None, report.clone())).await;
    shop.deliver(&general("o", "FP2")).await;
    provider.set_transactions("o", vec![general("o", "FP2")]);
    shop.sweep(MINUTE, &provider).await;
    assert!(is_unmatched(&shop, Provider::FinvyPay, "FP2").await);
    let both = Fact {
        transaction: Reference::parse("FP2"),
        ..report
    };
    provider.set_status("p2", notification(None, both));
    shop.sweep(3 * MINUTE, &provider).await;
    assert!(!is_unmatched(&shop, Provider::FinvyPay, "FP2").await);
    assert!(shop.payment(paid.id).await.attention.is_empty(), "the money came once");
}

#[tokio::test]
async fn repeated_notification_keeps_its_schedule_and_a_new_one_is_due_soon() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    shop.deliver(&general("o", "FP1")).await;
    for minute in [1, 12, 24] {
        shop.sweep(minute * MINUTE, &provider).await;
    }
    shop.deliver(&general("o", "FP1")).await;
    assert_eq!(shop.due(Queue::Unmatched, 30 * MINUTE).await.len(), 0);
    let added = notification(
        None,
        Fact {
            transaction: Reference::parse("FP1"),
            ..reported(Outcome::Failed)
        },
    );
    shop.deliver(&added).await;
    assert_eq!(shop.due(Queue::Unmatched, 30 * MINUTE).await.len(), 1);
}

#[tokio::test]
async fn notification_added_meanwhile_is_not_deleted() {
    let shop = Shop::open();
    let first = notification(
        None,
        Fact {
            order_id: OrderId::parse("o"),
            ..completion()
        },
    );
    let added = notification(
        None,
        Fact {
            order_id: OrderId::parse("o"),
            ..reported(Outcome::Failed)
        },
    );
    shop.deliver(&first).await;
    let seen = shop
        .store
        .unmatched(Provider::FinvyPay, "order:o", MAX_MOVED)
        .await
        .unwrap()
        .unwrap();
    shop.deliver(&added).await;
    shop.store.delete_unmatched(&seen, &seen.notifications).await.unwrap();
    shop.store.delete_unmatched_group(&seen).await.unwrap();
    let kept = shop
        .store
        .unmatched(Provider::FinvyPay, "order:o", MAX_MOVED)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.notifications.len(), 1, "the one that was added");
    shop.store.delete_unmatched(&kept, &kept.notifications).await.unwrap();
    shop.store.delete_unmatched_group(&kept).await.unwrap();
    assert!(!is_unmatched(&shop, Provider::FinvyPay, "order:o").await);
}

#[tokio::test]
async fn unmatched_notification_is_polled_soon_after_provider_refused_all() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    shop.deliver(&general("o", "FP1")).await;
    provider.fail_with(Some(provider_refuses_all));
    let report = shop.sweep(HOUR, &provider).await;
    assert_eq!((report.checked, report.unfinished), (1, true));
    // One that was polled would be due an hour later.
    assert_eq!(shop.due(Queue::Unmatched, HOUR + MINUTE).await.len(), 1);
}

/// A notification with a transaction is matched only by that: a completed payment of its order may have been paid
/// otherwise.
#[tokio::test]
async fn unknown_transaction_is_not_matched_by_its_order() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let one = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let other = shop.pending(Provider::FinvyPay, "o", "p2").await;
    shop.deliver(&general("o", "FP1")).await;
    let paid = Fact {
        payment: Reference::parse("p1"),
        ..completion()
    };
    provider.set_status("p1", notification(Some(one.id), paid));
    shop.sweep(MINUTE, &provider).await;
    assert_eq!(shop.status(one.id).await, Status::Completed);
    assert_eq!(shop.status(other.id).await, Status::Pending);
    assert!(is_unmatched(&shop, Provider::FinvyPay, "FP1").await);
    let fp = Reference::parse("FP1").unwrap();
    assert_eq!(shop.store.owner(Provider::FinvyPay, &fp).await.unwrap(), None);
}

#[tokio::test]
async fn unmatched_notifications_are_counted_and_kept_for_120_days() {
    let shop = Shop::open();
    assert_eq!(shop.store.oldest_unmatched().await.unwrap(), None);
    assert_eq!(shop.store.count(Queue::Unmatched).await.unwrap(), 0);
    for (index, transaction) in ["FP1", "FP2", "FP3"].into_iter().enumerate() {
        let later = shop.after(u32::try_from(index).unwrap() * MINUTE);
        record_notification(&shop.store, &general("o", transaction), OrderMatching::default(), later)
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

/// It waits under both of its ids, and the write that attaches both moves it once.
#[tokio::test]
async fn other_money_that_waited_under_two_ids_counts_once() {
    let shop = Shop::open();
    let wrong = Fact {
        amount: Decimal::parse("30"),
        ..paid("p")
    };
    shop.deliver(&notification(None, wrong)).await;
    let payment = shop.intent(Provider::FinvyPay, "o").await;
    shop.deliver(&notification(Some(payment.id), paid("p"))).await;
    let after = shop.payment(payment.id).await;
    assert_eq!(
        (after.status, after.mismatches, after.attention.changes()),
        (Status::Completed, 1, 1),
        "{after:?}"
    );
}
