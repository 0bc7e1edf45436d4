//! Polling payments, and recording what the provider reports.

use super::*;

#[tokio::test]
async fn lost_webhook_is_replaced_by_polling() {
    let shop = Shop::open();
    let provider = FakeProvider::default().without_list();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    provider.set_status("p", notification(Some(payment.id), paid("p")));
    assert_eq!(
        shop.sweep(30 * MINUTE / 60, &provider).await.checked,
        0,
        "the webhook may still come"
    );
    let report = shop.sweep(MINUTE, &provider).await;
    assert_eq!((report.checked, report.resolved), (1, 1));
    let after = shop.payment(payment.id).await;
    assert_eq!(after.status, Status::Completed);
    assert!(
        after.references.contains(&reference("FP-p")),
        "the transaction's id is attached"
    );
    assert!(shop.is_resolved(payment.id).await);
    assert_eq!(provider.take_calls(), ["p"]);
    // The webhook comes after all. It is about the same money.
    let late = notification(
        Some(payment.id),
        Fact {
            transaction: None,
            ..paid("p")
        },
    );
    shop.deliver(&late).await;
    assert!(shop.payment(payment.id).await.attention.is_empty());
}

/// Our key for production shows nothing of the sandbox, and an order of the same id there is another order.
#[tokio::test]
async fn payment_of_another_environment_is_not_polled_and_expires() {
    let shop = Shop::open();
    let provider = FakeProvider::default().without_list();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    assert_eq!(payment.environment, Environment::Sandbox);
    provider.switch_to(Environment::Production);
    provider.set_status("p", notification(Some(payment.id), paid("p")));
    provider.set_transactions("o", vec![notification(None, paid("r"))]);
    // A general webhook of the order makes its payments candidates, which are polled too.
    shop.pending(Provider::FinvyPay, "o", "q").await;
    let general = Fact {
        transaction: Some(reference("FP-x")),
        order_id: OrderId::parse("o"),
        ..reported(Outcome::Completed)
    };
    shop.deliver(&notification(None, general)).await;
    shop.sweep(MINUTE, &provider).await;
    assert_eq!(
        provider.take_calls(),
        ["FP-x"],
        "the transaction may be of any environment"
    );
    shop.sweep(DAY, &provider).await;
    assert_eq!(shop.status(payment.id).await, Status::Expired);
}

#[tokio::test]
async fn payment_without_known_id_is_found_by_its_order() {
    let shop = Shop::open();
    let provider = FakeProvider::default().without_list();
    // The call to create it timed out, so no id is known. Another payment of the order is pending.
    let lost = shop.intent(Provider::FinvyPay, "o").await;
    let other = shop.pending(Provider::FinvyPay, "o", "p2").await;
    let transaction = Fact {
        transaction: Some(reference("FP1")),
        order_id: OrderId::parse("o"),
        ..reported(Outcome::Completed)
    };
    provider.set_transactions("o", vec![notification(Some(lost.id), transaction)]);
    shop.sweep(MINUTE, &provider).await;
    assert_eq!(shop.status(lost.id).await, Status::Completed);
    assert_eq!(shop.status(other.id).await, Status::Pending);
    assert_eq!(
        shop.store.owner(Provider::FinvyPay, &reference("FP1")).await.unwrap(),
        Some(lost.id)
    );
}

/// The response to the first attempt was lost, and the second was rejected. The payment of the first can still be paid.
#[tokio::test]
async fn rejected_payment_is_polled_by_its_order() {
    let shop = Shop::open();
    let provider = FakeProvider::default().without_list();
    let rejected = shop.rejected("o").await;
    shop.sweep(MINUTE, &provider).await;
    assert_eq!(shop.status(rejected.id).await, Status::Failed);
    assert_eq!(provider.take_calls(), ["order o"], "the order is not known there yet");

    // The provider cannot be reached when the payment would have expired, so it is polled again later.
    provider.fail_with(Some(unreachable));
    shop.sweep(DAY, &provider).await;
    assert!(!shop.is_resolved(rejected.id).await);
    provider.fail_with(None);
    let transaction = Fact {
        transaction: Some(reference("FP1")),
        order_id: OrderId::parse("o"),
        ..reported(Outcome::Completed)
    };
    provider.set_transactions("o", vec![notification(Some(rejected.id), transaction)]);
    shop.sweep(3 * DAY, &provider).await;
    assert_eq!(shop.status(rejected.id).await, Status::Completed);
}

/// The provider lists it as authorized at a time when an unknown rejected payment would be resolved.
#[tokio::test]
async fn rejected_payment_known_to_provider_is_polled_like_any_other() {
    let shop = Shop::open();
    let provider = FakeProvider::default().without_list();
    let rejected = shop.rejected("o").await;
    let listed = |outcome| {
        let transaction = Fact {
            transaction: Some(reference("FP1")),
            order_id: OrderId::parse("o"),
            ..reported(outcome)
        };
        notification(Some(rejected.id), transaction)
    };
    provider.set_transactions("o", vec![listed(Outcome::Authorized)]);
    shop.sweep(46 * MINUTE, &provider).await;
    assert_eq!(shop.status(rejected.id).await, Status::Failed, "it is not paid");
    provider.set_transactions("o", vec![listed(Outcome::Completed)]);
    shop.sweep(2 * HOUR, &provider).await;
    assert_eq!(shop.status(rejected.id).await, Status::Completed);
}

#[tokio::test]
async fn id_of_a_webhook_is_polled_and_then_the_order() {
    let shop = Shop::open();
    let provider = FakeProvider::default().without_list();
    let payment = shop.pending(Provider::FinvyPay, "o", "a-given").await;
    let authorized = Fact {
        transaction: Some(reference("z-webhook")),
        ..reported(Outcome::Authorized)
    };
    shop.deliver(&notification(Some(payment.id), authorized)).await;
    shop.sweep(6 * MINUTE, &provider).await;
    assert_eq!(provider.take_calls(), ["z-webhook", "order o"]);
}

#[tokio::test]
async fn polled_status_counts_like_a_webhook() {
    for (fact, status) in [
        (reported(Outcome::Completed), Status::Completed),
        (reported(Outcome::Pending), Status::Pending),
        (reported(Outcome::Authorized), Status::Authorized),
        (reported(Outcome::Cancelled), Status::Cancelled),
        (reported(Outcome::Failed), Status::Failed),
        (
            Fact {
                raw_status: "SETTLED".to_owned(),
                ..reported(Outcome::Unrecognised)
            },
            Status::Pending,
        ),
        (
            Fact {
                amount: Decimal::parse("25.49"),
                ..reported(Outcome::Completed)
            },
            Status::Review,
        ),
        (
            Fact {
                currency: Some("EUR".to_owned()),
                ..reported(Outcome::Completed)
            },
            Status::Review,
        ),
        (
            Fact {
                amount: None,
                ..reported(Outcome::Completed)
            },
            Status::Review,
        ),
        // A report about another order is ignored.
        (
            Fact {
                order_id: OrderId::parse("another"),
                ..reported(Outcome::Completed)
            },
            Status::Pending,
        ),
    ] {
        let shop = Shop::open();
        let provider = FakeProvider::default().without_list();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        let fact = Fact {
            payment: Some(reference("p")),
            ..fact
        };
        provider.set_status("p", notification(Some(payment.id), fact.clone()));
        shop.sweep(MINUTE, &provider).await;
        assert_eq!(shop.status(payment.id).await, status, "{fact:?}");
        let is_resolved = shop.is_resolved(payment.id).await;
        assert_eq!(is_resolved, status == Status::Completed, "{fact:?}");
        let has_polled_order = provider.take_calls().contains(&"order o".to_owned());
        assert_eq!(has_polled_order, status < Status::Review, "{fact:?}");
    }
}

#[tokio::test]
async fn report_late_in_a_run_has_its_own_time() {
    let shop = Shop::open();
    let provider = FakeProvider::default().without_list();
    let delay = Duration::from_millis(50);
    provider.delay_by(delay);
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    provider.set_status("p", notification(Some(payment.id), paid("p")));
    shop.sweep(MINUTE, &provider).await;
    let paid = shop.payment(payment.id).await;
    assert_eq!(paid.status, Status::Completed);
    assert!(paid.updated_at >= shop.after(MINUTE + delay), "{paid:?}");
}

#[tokio::test]
async fn run_without_slots_stops_polling_and_the_rest_stays_due() {
    let shop = Shop::open();
    let provider = FakeProvider::default().without_list();
    for index in 0..6 {
        let id = format!("p{index}");
        shop.pending(Provider::FinvyPay, &format!("o{index}"), &id).await;
        let unclear = Fact {
            payment: Some(reference(&id)),
            ..reported(Outcome::Contradictory)
        };
        shop.deliver(&notification(None, unclear)).await;
    }
    // Each payment takes two calls: for its id and for its order.
    provider.limit_slots(5);
    let report = shop.sweep(MINUTE, &provider).await;
    assert_eq!((provider.take_calls().len(), report.unfinished), (5, true));
    assert_eq!(report.checked, 3, "the third had no slot for its second call");
    assert_eq!(
        shop.due(Queue::Poll, MINUTE).await.len(),
        3,
        "payments without any slot stay due, and the third yields to them"
    );
    provider.limit_slots(100);
    assert_eq!(shop.sweep(MINUTE, &provider).await.checked, 3);
    assert_eq!(shop.sweep(2 * MINUTE, &provider).await.checked, 1);
    assert_eq!(shop.due(Queue::Poll, 2 * MINUTE).await.len(), 0);
}

#[tokio::test]
async fn payment_with_many_ids_is_polled_in_two_calls() {
    let shop = Shop::open();
    let provider = FakeProvider::default().without_list();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    for attempt in 10..64 {
        let declined = Fact {
            payment: Some(reference("p")),
            transaction: Some(reference(&format!("FP{attempt}"))),
            ..reported(Outcome::Failed)
        };
        shop.deliver(&notification(Some(payment.id), declined)).await;
    }
    let unclear = Fact {
        payment: Some(reference("p")),
        ..reported(Outcome::Contradictory)
    };
    shop.deliver(&notification(None, unclear)).await;
    shop.sweep(MINUTE, &provider).await;
    assert_eq!(provider.take_calls(), ["FP63", "order o"]);
}

/// Its next regular check would be hours later.
#[tokio::test]
async fn contradictory_webhook_changes_nothing_and_the_provider_is_polled() {
    let shop = Shop::open();
    let provider = FakeProvider::default().without_list();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    shop.sweep(5 * HOUR, &provider).await;
    assert_eq!(shop.status(payment.id).await, Status::Expired);
    provider.take_calls();
    shop.sweep(5 * HOUR + 2 * MINUTE, &provider).await;
    assert_eq!(provider.take_calls(), [""; 0], "it is not due");

    let contradictory = Fact {
        payment: Some(reference("p")),
        raw_status: "SUCCESS success:false".to_owned(),
        ..reported(Outcome::Contradictory)
    };
    let received_at = shop.after(5 * HOUR + 3 * MINUTE);
    record_notification(
        &shop.store,
        &notification(None, contradictory),
        OrderMatching::default(),
        received_at,
    )
    .await
    .unwrap();
    assert_eq!(shop.status(payment.id).await, Status::Expired);
    provider.set_status(
        "p",
        notification(
            None,
            Fact {
                payment: Some(reference("p")),
                ..reported(Outcome::Completed)
            },
        ),
    );
    shop.sweep(5 * HOUR + 4 * MINUTE, &provider).await;
    assert_eq!(provider.take_calls().first().map(String::as_str), Some("p"));
    assert_eq!(shop.status(payment.id).await, Status::Completed);
}

/// It moves to the payment with a later webhook, which alone would not reschedule the payment.
#[tokio::test]
async fn contradictory_webhook_that_waited_for_its_payment_makes_it_due_at_once() {
    for later in [Outcome::Pending, Outcome::Failed] {
        let shop = Shop::open();
        let provider = FakeProvider::default().without_list();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        shop.sweep(5 * HOUR, &provider).await;
        let about_transaction = |payment: Option<&str>, outcome| {
            let fact = Fact {
                payment: payment.map(reference),
                transaction: Some(reference("FP1")),
                ..reported(outcome)
            };
            notification(None, fact)
        };
        let received_at = shop.after(5 * HOUR + 3 * MINUTE);
        for webhook in [
            about_transaction(None, Outcome::Contradictory),
            about_transaction(Some("p"), later),
        ] {
            record_notification(&shop.store, &webhook, OrderMatching::default(), received_at)
                .await
                .unwrap();
        }
        provider.take_calls();
        provider.set_status("FP1", notification(None, paid("p")));
        shop.sweep(5 * HOUR + 4 * MINUTE, &provider).await;
        assert_eq!(shop.status(payment.id).await, Status::Completed, "{later:?}");
    }
}

/// ApoloPay cannot be polled, and a payment in review is polled daily anyway.
#[tokio::test]
async fn contradictory_webhook_reschedules_a_payment_that_can_be_polled() {
    for (provider, outcome, reschedules) in [
        (Provider::FinvyPay, None, true),
        (Provider::FinvyPay, Some(Outcome::Failed), true),
        (Provider::FinvyPay, Some(Outcome::Completed), true),
        (Provider::ApoloPay, None, false),
    ] {
        let shop = Shop::open();
        let payment = shop.pending(provider, "o", "p").await;
        let about = |outcome| {
            let fact = Fact {
                provider,
                payment: Some(reference("p")),
                ..reported(outcome)
            };
            notification(Some(payment.id), fact)
        };
        if let Some(outcome) = outcome {
            shop.deliver(&about(outcome)).await;
        }
        let due_at = |shop: &Shop| {
            let items = shop.table.items().unwrap();
            let state = items.into_iter().find(|item| item["sk"]["S"] == "STATE").unwrap();
            state["dueAt"]["N"].as_str().map(str::to_owned)
        };
        let before = due_at(&shop);
        shop.deliver(&about(Outcome::Contradictory)).await;
        let now = Some(shop.start.as_millis().to_string());
        assert_eq!(
            due_at(&shop),
            if reschedules { now } else { before },
            "{provider} {outcome:?}"
        );
    }
}

/// The order's list has two transactions without our ids. The order has two payments: one is known by its transaction,
/// and the webhook of the other was lost.
#[tokio::test]
async fn listed_money_of_unknown_payment_is_stored_as_unmatched() {
    let shop = Shop::open();
    let provider = FakeProvider::default().without_list();
    let paid = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let known = shop.pending(Provider::FinvyPay, "o", "p2").await;
    let listed = |transaction, outcome| Fact {
        transaction: Some(reference(transaction)),
        order_id: OrderId::parse("o"),
        ..reported(outcome)
    };
    shop.deliver(&notification(Some(known.id), listed("FP2", Outcome::Pending)))
        .await;
    provider.set_transactions(
        "o",
        vec![
            notification(None, listed("FP1", Outcome::Completed)),
            notification(None, listed("FP2", Outcome::Pending)),
        ],
    );
    shop.sweep(MINUTE, &provider).await;
    let unmatched = shop
        .store
        .unmatched(Provider::FinvyPay, "FP1", MAX_MOVED)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(unmatched.notifications.len(), 1);
    let statuses = [shop.status(paid.id).await, shop.status(known.id).await];
    assert_eq!(statuses, [Status::Pending, Status::Pending], "neither is guessed");
}

/// The order is polled, since the provider may never report anything else under the cancelled id.
#[tokio::test]
async fn cancelled_or_failed_payment_is_polled_by_its_order() {
    for outcome in [Outcome::Cancelled, Outcome::Failed] {
        for is_known in [false, true] {
            let shop = Shop::open();
            let provider = FakeProvider::default().without_list();
            let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
            let ended = Fact {
                payment: Some(reference("p")),
                ..reported(outcome)
            };
            let ended = notification(Some(payment.id), ended);
            shop.deliver(&ended).await;
            if is_known {
                provider.set_status("p", ended);
            }
            let listed = Fact {
                transaction: Some(reference("FP2")),
                order_id: OrderId::parse("o"),
                ..reported(Outcome::Completed)
            };
            provider.set_transactions("o", vec![notification(Some(payment.id), listed)]);
            shop.sweep(MINUTE, &provider).await;
            assert_eq!(shop.status(payment.id).await, Status::Completed, "{outcome:?}");
        }
    }
}
