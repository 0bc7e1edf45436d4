//! Claims: completions that name only an order, and what the provider says about them.

use super::*;

/// FinvyPay's general webhook about a transaction of an order, received at `time` after the start.
fn claim(shop: &Shop, order: &str, transaction: &str, time: Duration) -> Notification {
    notification(
        None,
        Fact {
            order_id: OrderId::parse(order),
            transaction: Reference::parse(transaction),
            received_at: shop.after(time),
            ..reported(Outcome::Completed)
        },
    )
}

/// FinvyPay's report of the same transaction as paid, without metadata. It has the day of the payment's completion.
fn report(shop: &Shop, order: &str, transaction: &str, paid_at: Duration) -> Notification {
    let mut report = claim(shop, order, transaction, paid_at);
    report.fact.received_at = shop.after(paid_at + 2 * HOUR);
    report.fact.occurred_at = Some(shop.after(paid_at).to_string());
    report
}

/// FinvyPay's report of a transaction of the order `o` that was paid with `amount`. Its metadata names a payment.
fn named_report(shop: &Shop, id: PaymentId, transaction: &str, amount: &str) -> Notification {
    let report = report(shop, "o", transaction, MINUTE);
    let fact = Fact {
        amount: Decimal::parse(amount),
        ..report.fact
    };
    notification(Some(id), fact)
}

/// A payment of the order `o`, made `time` after the start.
async fn made(shop: &Shop, id: &str, cents: u64, time: Duration, is_quoted: bool) -> Payment {
    let payment = Payment {
        order_id: OrderId::parse("o"),
        quote_kept_until: is_quoted.then(|| shop.after(DAY)),
        ..Payment::new(
            PaymentId::random(),
            Provider::FinvyPay,
            Environment::Sandbox,
            Money::from_minor(cents, Currency::USD),
            shop.after(time),
        )
    };
    let inserted = shop
        .store
        .insert_payment(&payment, RequestNames::default(), payment.created_at);
    assert_eq!(inserted.await.unwrap(), InsertResult::Inserted);
    let checkout_session = CheckoutSession {
        reference: reference(id),
        redirect_url: None,
        expires_at: None,
    };
    let accepted = payment.accept(checkout_session, [], payment.created_at);
    shop.commit(&payment, &accepted).await;
    accepted
}

/// Two general webhooks name the same transaction, but different orders. FinvyPay knows it for one of them.
#[tokio::test]
async fn claim_never_belongs_to_a_payment_of_another_order() {
    for (paid, other) in [("o1", "o2"), ("o2", "o1")] {
        let shop = Shop::open();
        let provider = FakeProvider::default();
        let [payment, stranger] = [paid, other].map(|order| (order, format!("p-{order}")));
        let payment = shop.pending(Provider::FinvyPay, payment.0, &payment.1).await;
        let stranger = shop.pending(Provider::FinvyPay, stranger.0, &stranger.1).await;
        for order in [paid, other] {
            shop.deliver(&claim(&shop, order, "FP1", Duration::ZERO)).await;
        }
        provider.set_status("FP1", report(&shop, paid, "FP1", Duration::ZERO));
        for minute in [1, 3, 7] {
            shop.sweep(minute * MINUTE, &provider).await;
        }
        assert_eq!(shop.status(stranger.id).await, Status::Pending, "{other}");
        assert_eq!(shop.status(payment.id).await, Status::Completed, "{paid}");
    }
}

/// The list of an order has money from before the payment existed. Another payment of the order existed before, of other money.
#[tokio::test]
async fn listed_money_from_before_the_payment_never_completes_it() {
    for is_quoted in [false, true] {
        let shop = Shop::open();
        let provider = FakeProvider::default();
        made(&shop, "p1", 1000, Duration::ZERO, false).await;
        let listed = report(&shop, "o", "FP1", MINUTE);
        provider.set_status("FP1", listed.clone());
        provider.set_transactions("o", vec![listed]);
        let later = made(&shop, "p2", 2550, HOUR, is_quoted).await;
        for time in [HOUR + MINUTE, HOUR + 3 * MINUTE, HOUR + 10 * MINUTE] {
            shop.sweep(time, &provider).await;
        }
        assert_eq!(shop.status(later.id).await, Status::Pending, "{is_quoted}");
    }
}

/// FinvyPay does not say when the listed transaction was paid, or says that it was paid after the payment was made. But
/// it was created long before.
#[tokio::test]
async fn transaction_created_before_the_payment_never_completes_it() {
    for paid_at in [None, Some(HOUR + MINUTE)] {
        let shop = Shop::open();
        let provider = FakeProvider::default();
        let payment = made(&shop, "p", 2550, HOUR, false).await;
        let mut listed = report(&shop, "o", "FP1", HOUR + MINUTE);
        listed.fact.occurred_at = paid_at.map(|time| shop.after(time).to_string());
        listed.fact.created_at = Some(shop.after(MINUTE));
        provider.set_status("FP1", listed.clone());
        provider.set_transactions("o", vec![listed]);
        for minutes in [2, 4, 10, 60] {
            shop.sweep(HOUR + minutes * MINUTE, &provider).await;
        }
        assert_ne!(shop.status(payment.id).await, Status::Completed, "{paid_at:?}");
    }
}

/// The webhook of old money comes late: after a new payment of the order was made.
#[tokio::test]
async fn late_claim_about_money_from_before_the_payment_never_completes_it() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = made(&shop, "p", 2550, HOUR, false).await;
    shop.deliver(&claim(&shop, "o", "FP1", HOUR + MINUTE)).await;
    provider.set_status("FP1", report(&shop, "o", "FP1", MINUTE));
    for minutes in [1, 3, 7] {
        shop.sweep(HOUR + minutes * MINUTE, &provider).await;
    }
    assert_eq!(shop.status(payment.id).await, Status::Pending);
}

/// The status of the payment itself cannot be had, so that it may contradict the transaction's.
#[tokio::test]
async fn claim_waits_for_the_status_of_the_payment_itself() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let learnt = notification(
        Some(payment.id),
        Fact {
            transaction: Some(reference("FP0")),
            ..reported(Outcome::Pending)
        },
    );
    shop.deliver(&learnt).await;
    provider.set_status("FP0", learnt);
    shop.deliver(&claim(&shop, "o", "FP1", MINUTE)).await;
    provider.set_status("FP1", report(&shop, "o", "FP1", MINUTE));
    provider.fail_status_query("p", true);
    shop.sweep(2 * MINUTE, &provider).await;
    assert_eq!(shop.status(payment.id).await, Status::Pending, "nobody knows yet");
    provider.fail_status_query("p", false);
    shop.sweep(5 * MINUTE, &provider).await;
    assert_eq!(shop.status(payment.id).await, Status::Completed);
}

/// Nobody knows the transaction for a day. Then the provider denies it, or confirms it.
#[tokio::test]
async fn unconfirmed_match_is_raised_after_a_day_and_goes_with_the_decision() {
    for is_confirmed in [true, false] {
        let shop = Shop::open();
        let provider = FakeProvider::default();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        shop.deliver(&claim(&shop, "o", "FP1", Duration::ZERO)).await;
        shop.sweep(MINUTE, &provider).await;
        shop.sweep(DAY - MINUTE, &provider).await;
        assert_eq!(shop.reasons(payment.id).await, []);
        shop.sweep(DAY, &provider).await;
        assert_eq!(shop.reasons(payment.id).await, [AttentionReason::UnconfirmedMatch]);
        let mut decision = report(&shop, "o", "FP1", MINUTE);
        if !is_confirmed {
            decision.fact.amount = Decimal::parse("1");
        }
        provider.set_status("FP1", decision);
        shop.sweep(3 * DAY, &provider).await;
        assert_eq!(shop.reasons(payment.id).await, [], "{is_confirmed}");
        let expected = if is_confirmed {
            Status::Completed
        } else {
            Status::Expired
        };
        assert_eq!(shop.status(payment.id).await, expected);
    }
}

/// FinvyPay reports the transaction as paid, but not of which order or how much. That is no denial. Other metadata is.
#[tokio::test]
async fn report_that_says_too_little_leaves_the_claim_open() {
    let says_too_little: [fn(&mut Fact); 3] = [
        |fact| fact.order_id = None,
        |fact| fact.amount = None,
        |fact| (fact.order_id, fact.currency) = (None, None),
    ];
    for (nth, change) in says_too_little.into_iter().enumerate() {
        for is_foreign in [false, true] {
            let shop = Shop::open();
            let provider = FakeProvider::default();
            let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
            shop.deliver(&claim(&shop, "o", "FP1", Duration::ZERO)).await;
            let mut told = report(&shop, "o", "FP1", MINUTE);
            change(&mut told.fact);
            told.fact.is_foreign = is_foreign;
            provider.set_status("FP1", told);
            for time in [MINUTE, HOUR, DAY] {
                shop.sweep(time, &provider).await;
            }
            let expected: &[AttentionReason] = if is_foreign {
                &[]
            } else {
                &[AttentionReason::UnconfirmedMatch]
            };
            assert_eq!(shop.reasons(payment.id).await, expected, "{nth} {is_foreign}");
            assert_eq!(shop.status(payment.id).await, Status::Expired);
        }
    }
}

/// A payment of another environment has the order and the money too.
#[tokio::test]
async fn claim_is_never_one_of_another_environment() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    provider.switch_to(Environment::Production);
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    shop.deliver(&claim(&shop, "o", "FP1", MINUTE)).await;
    provider.set_status("FP1", report(&shop, "o", "FP1", MINUTE));
    for minutes in [2, 5, 12] {
        shop.sweep(minutes * MINUTE, &provider).await;
    }
    assert_eq!(shop.status(payment.id).await, Status::Pending);
}

/// The shop vouched for a payment that was made after the webhook. The list repeats what the webhook said, without a
/// time.
#[tokio::test]
async fn list_never_completes_a_payment_made_after_the_claim() {
    for is_quoted in [false, true] {
        let shop = Shop::open();
        let provider = FakeProvider::default();
        shop.deliver(&claim(&shop, "o", "FP1", MINUTE)).await;
        let payment = made(&shop, "p", 2550, HOUR, is_quoted).await;
        let listed = claim(&shop, "o", "FP1", 2 * HOUR);
        provider.set_status("FP1", listed.clone());
        provider.set_transactions("o", vec![listed]);
        for minutes in [1, 3, 10, 60] {
            shop.sweep(2 * HOUR + minutes * MINUTE, &provider).await;
        }
        assert_ne!(shop.status(payment.id).await, Status::Completed, "{is_quoted}");
    }
}

#[tokio::test]
async fn old_claim_raises_nothing_while_our_own_limit_keeps_us_from_asking() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    shop.deliver(&claim(&shop, "o", "FP1", Duration::ZERO)).await;
    provider.limit_slots(0);
    shop.sweep(2 * DAY, &provider).await;
    assert_eq!(shop.reasons(payment.id).await, []);
    provider.limit_slots(10);
    shop.sweep(2 * DAY + MINUTE, &provider).await;
    assert_eq!(shop.reasons(payment.id).await, [AttentionReason::UnconfirmedMatch]);
}

/// A person has looked at the first claim. FinvyPay does not know the second one either, and completes the payment by
/// a third one in the end.
#[tokio::test]
async fn each_claim_raises_unconfirmed_match_until_it_is_acknowledged() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let reason = AttentionReason::UnconfirmedMatch;
    for (days, transaction) in [(0, "FP1"), (10, "FP2")] {
        shop.deliver(&claim(&shop, "o", transaction, days * DAY)).await;
        for raised in [vec![reason], vec![]] {
            shop.sweep((days + 1) * DAY + MINUTE, &provider).await;
            assert_eq!(shop.reasons(payment.id).await, raised, "{transaction}");
            let before = shop.payment(payment.id).await;
            let after = before.acknowledge(reason, shop.after((days + 1) * DAY));
            shop.commit(&before, &after).await;
        }
    }
    let paid = claim(&shop, "o", "FP3", 20 * DAY);
    shop.deliver(&notification(Some(payment.id), paid.fact)).await;
    assert_eq!(shop.status(payment.id).await, Status::Completed);
    for days in 20..25 {
        shop.sweep(days * DAY, &provider).await;
        assert_eq!(shop.reasons(payment.id).await, [], "{days}");
    }
}

/// Two payments of the order may be meant, until FinvyPay says which.
#[tokio::test]
async fn unconfirmed_match_goes_from_every_payment_that_may_have_been_meant() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let paid = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let other = shop.pending(Provider::FinvyPay, "o", "p2").await;
    let webhook = claim(&shop, "o", "FP1", Duration::ZERO);
    shop.deliver(&webhook).await;
    shop.sweep(MINUTE, &provider).await;
    shop.sweep(DAY, &provider).await;
    for id in [paid.id, other.id] {
        assert_eq!(shop.reasons(id).await, [AttentionReason::UnconfirmedMatch]);
    }
    provider.set_status("FP1", notification(Some(paid.id), webhook.fact.clone()));
    shop.sweep(3 * DAY, &provider).await;
    assert_eq!(shop.status(paid.id).await, Status::Completed);
    for id in [paid.id, other.id] {
        assert_eq!(shop.reasons(id).await, []);
    }
}

/// An operator completed a payment of which no id is known. A webhook that names only its order contradicts itself.
#[tokio::test]
async fn completed_payment_without_ids_is_polled_by_its_order() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.intent(Provider::FinvyPay, "o").await;
    let paid = notification(
        Some(payment.id),
        Fact {
            payment: None,
            ..reported(Outcome::Completed)
        },
    );
    shop.deliver(&paid).await;
    let mut contradictory = claim(&shop, "o", "FP1", MINUTE);
    contradictory.fact.outcome = Outcome::Contradictory;
    shop.deliver(&contradictory).await;
    let row = Fact {
        order_id: OrderId::parse("o"),
        transaction: Reference::parse("FP1"),
        ..reported(Outcome::Completed)
    };
    provider.set_transactions("o", vec![notification(Some(payment.id), row)]);
    shop.sweep(MINUTE, &provider).await;
    assert_eq!(shop.reasons(payment.id).await, []);
    assert_eq!(provider.take_calls(), ["order o"]);
}

/// FinvyPay has our payment in the transaction's metadata, but other money than the webhook said.
#[tokio::test]
async fn claim_denied_for_its_money_completes_nothing_although_it_names_our_payment() {
    for is_reported_first in [false, true] {
        let shop = Shop::open();
        let provider = FakeProvider::default();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        let named = named_report(&shop, payment.id, "FP1", "1");
        provider.set_status("FP1", named.clone());
        if is_reported_first {
            provider.set_transactions("o", vec![named]);
            shop.sweep(MINUTE, &provider).await;
        }
        // FinvyPay repeats its webhooks.
        for minute in [2, 4, 8] {
            shop.deliver(&claim(&shop, "o", "FP1", MINUTE)).await;
            shop.sweep(minute * MINUTE, &provider).await;
        }
        assert_eq!(shop.status(payment.id).await, Status::Review, "{is_reported_first}");
        assert_eq!(shop.reasons(payment.id).await, []);
        let group = shop.store.unmatched(Provider::FinvyPay, "FP1", 10).await.unwrap();
        assert_eq!(group.unwrap().notifications.len(), 1, "the claim stays unmatched");
    }
}

/// FinvyPay has our payment in the transaction's metadata, and the money that the webhook said, which is not the
/// payment's.
#[tokio::test]
async fn claim_of_other_money_that_names_our_payment_is_recorded_for_review() {
    for is_listed in [false, true] {
        let shop = Shop::open();
        let provider = FakeProvider::default();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        // Another payment of the order has that money, and is not meant.
        let other = made(&shop, "p2", 100, Duration::ZERO, false).await;
        let named = named_report(&shop, payment.id, "FP1", "1");
        if is_listed {
            provider.set_transactions("o", vec![named]);
        } else {
            provider.set_status("FP1", named);
        }
        let mut webhook = claim(&shop, "o", "FP1", MINUTE);
        webhook.fact.amount = Decimal::parse("1");
        shop.deliver(&webhook).await;
        shop.sweep(2 * MINUTE, &provider).await;
        let after = shop.payment(payment.id).await;
        assert_eq!((after.status, after.mismatches), (Status::Review, 1), "{is_listed}");
        assert_eq!(shop.status(other.id).await, Status::Pending);
        let group = shop.store.unmatched(Provider::FinvyPay, "FP1", 10).await.unwrap();
        assert_eq!(group, None, "{is_listed}");
    }
}

/// Two webhooks about one transaction say different money. FinvyPay confirms what is not the payment's.
#[tokio::test]
async fn claims_of_one_transaction_end_the_same_in_any_order() {
    for amounts in [["25.50", "1"], ["1", "25.50"]] {
        let shop = Shop::open();
        let provider = FakeProvider::default();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        let mut paid = report(&shop, "o", "FP1", MINUTE);
        paid.fact.amount = Decimal::parse("1");
        provider.set_status("FP1", paid);
        for (minute, amount) in (2..).zip(amounts) {
            let mut webhook = claim(&shop, "o", "FP1", MINUTE);
            webhook.fact.amount = Decimal::parse(amount);
            shop.deliver(&webhook).await;
            shop.sweep(minute * MINUTE, &provider).await;
        }
        assert_eq!(shop.status(payment.id).await, Status::Review, "{amounts:?}");
    }
}

/// FinvyPay does not know one transaction, and denies another one that the same order was said to be paid by.
#[tokio::test]
async fn unconfirmed_match_stays_although_another_claim_is_denied() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    for transaction in ["FP1", "FP2"] {
        shop.deliver(&claim(&shop, "o", transaction, Duration::ZERO)).await;
    }
    let mut denial = report(&shop, "o", "FP2", MINUTE);
    denial.fact.amount = Decimal::parse("1");
    provider.set_status("FP2", denial);
    for days in 1..5 {
        shop.sweep(days * DAY + MINUTE, &provider).await;
        let attention = shop.payment(payment.id).await.attention;
        let raised = attention.get(AttentionReason::UnconfirmedMatch).unwrap();
        assert_eq!(raised.since, shop.after(DAY + MINUTE), "{days}");
    }
}

/// A webhook with metadata names the transaction, after a day of waiting.
#[tokio::test]
async fn unconfirmed_match_goes_from_every_payment_once_a_webhook_names_one() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let paid = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let other = shop.pending(Provider::FinvyPay, "o", "p2").await;
    let webhook = claim(&shop, "o", "FP1", Duration::ZERO);
    shop.deliver(&webhook).await;
    shop.sweep(DAY, &provider).await;
    for id in [paid.id, other.id] {
        assert_eq!(shop.reasons(id).await, [AttentionReason::UnconfirmedMatch]);
    }
    let mut named = notification(Some(paid.id), webhook.fact.clone());
    named.fact.received_at = shop.after(DAY + HOUR);
    record_notification(&shop.store, &named, OrderMatching::default(), shop.after(DAY + HOUR))
        .await
        .unwrap();
    assert_eq!(shop.status(paid.id).await, Status::Completed);
    shop.sweep(DAY + 2 * HOUR, &provider).await;
    for id in [paid.id, other.id] {
        assert_eq!(shop.reasons(id).await, []);
    }
    let group = shop.store.unmatched(Provider::FinvyPay, "FP1", 10).await.unwrap();
    assert_eq!(group, None);
}

/// FinvyPay called the payment pending just after the webhook, and still does when it repeats the webhook.
#[tokio::test]
async fn repetition_of_a_claim_that_is_recorded_for_review_does_not_stay() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let mut webhook = claim(&shop, "o", "FP1", Duration::ZERO);
    webhook.fact.amount = Decimal::parse("1");
    provider.set_status("FP1", webhook.clone());
    let own = Fact {
        payment: Some(reference("p")),
        ..reported(Outcome::Pending)
    };
    provider.set_status("p", notification(Some(payment.id), own));
    for minutes in [1, 60] {
        shop.deliver(&webhook).await;
        shop.sweep(minutes * MINUTE, &provider).await;
        let after = shop.payment(payment.id).await;
        assert_eq!((after.status, after.mismatches), (Status::Review, 1), "{minutes}");
        let group = shop.store.unmatched(Provider::FinvyPay, "FP1", 10).await.unwrap();
        assert_eq!(group, None, "{minutes}");
    }
}
