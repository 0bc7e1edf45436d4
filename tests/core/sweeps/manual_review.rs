//! Payments that are reported for manual review.

use super::*;

#[tokio::test]
async fn payment_authorized_at_last_check_needs_review() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let authorized = Fact {
        payment: Some(reference("p")),
        ..reported(Outcome::Authorized)
    };
    provider.set_status("p", notification(Some(payment.id), authorized));
    let mut matters = Vec::new();
    for day in 0..40 {
        let report = shop.sweep(MINUTE + day * DAY, &provider).await;
        matters.extend(
            report
                .for_a_person
                .iter()
                .map(|matter| (day, format!("{:?}", matter.matter))),
        );
    }
    assert_eq!(matters, [(30, "Unsettled".to_owned())]);
    assert!(shop.is_resolved(payment.id).await);
}

/// What is reported for manual review in forty days, each with its hour. There is a run each hour of the first day,
/// then one a day.
async fn matters_of_forty_days(shop: &Shop, provider: &FakeProvider) -> Vec<(u32, Matter, Option<PaymentId>)> {
    let mut all = Vec::new();
    for hour in (0..24).chain((1..40).map(|day| 24 * day)) {
        let report = shop.sweep(hour * HOUR + MINUTE, provider).await;
        all.extend(matters(&report).into_iter().map(|(matter, id)| (hour, matter, id)));
    }
    all
}

/// The order's list has two transactions without our ids. The order has two payments: one is known by its transaction,
/// and the webhook of the other was lost.
#[tokio::test]
async fn listed_money_of_unknown_payment_is_stored_and_needs_review() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
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
    let matters = matters_of_forty_days(&shop, &provider).await;
    let unmatched = shop
        .store
        .unmatched(Provider::FinvyPay, "FP1", MAX_MOVED)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(unmatched.notifications.len(), 1);
    assert!(matters.contains(&(1, Matter::Unmatched, None)), "{matters:?}");
    let about_payments = matters
        .into_iter()
        .filter(|(_, matter, _)| *matter != Matter::Unmatched);
    assert_eq!(
        about_payments.collect::<Vec<_>>(),
        [(8 * 24, Matter::Unanswered, Some(paid.id))],
        "a report of one payment says nothing of the other"
    );
}

#[tokio::test]
async fn undocumented_status_of_unpaid_payment_needs_review() {
    for status in [Status::Expired, Status::Failed] {
        let shop = Shop::open();
        let provider = FakeProvider::default();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        let report = |outcome| {
            let fact = Fact {
                payment: Some(reference("p")),
                raw_status: "settled".to_owned(),
                ..reported(outcome)
            };
            notification(Some(payment.id), fact)
        };
        if status == Status::Failed {
            shop.deliver(&report(Outcome::Failed)).await;
        }
        provider.set_status("p", report(Outcome::Unrecognised));
        let matters = matters_of_forty_days(&shop, &provider).await;
        assert_eq!(shop.status(payment.id).await, status);
        let first = (status == Status::Expired).then_some(1);
        let expected: Vec<_> = first
            .into_iter()
            .chain((2..=8).map(|day| 24 * day))
            .map(|hour| (hour, Matter::Unrecognised, Some(payment.id)))
            .collect();
        assert_eq!(
            matters, expected,
            "once when it expires, then daily from the second day"
        );
    }
}

/// The order is polled, since the provider may never report anything else under the cancelled id.
#[tokio::test]
async fn cancelled_or_failed_payment_is_polled_by_its_order() {
    for outcome in [Outcome::Cancelled, Outcome::Failed] {
        for is_known in [false, true] {
            let shop = Shop::open();
            let provider = FakeProvider::default();
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
            provider.set_transactions("o", vec![notification(None, listed)]);
            shop.sweep(MINUTE, &provider).await;
            assert_eq!(shop.status(payment.id).await, Status::Completed, "{outcome:?}");
        }
        for is_unreachable in [false, true] {
            let shop = Shop::open();
            let provider = FakeProvider::default();
            let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
            shop.deliver(&notification(Some(payment.id), reported(outcome))).await;
            provider.fail_with(is_unreachable.then_some(unreachable));
            let matters = matters_of_forty_days(&shop, &provider).await;
            let expected = is_unreachable.then_some((8 * 24, Matter::Unanswered, Some(payment.id)));
            assert_eq!(matters, Vec::from_iter(expected), "{outcome:?}");
        }
    }
}

/// After eight days of polling, a person must review a payment that the provider never knew.
#[tokio::test]
async fn expired_payment_unknown_to_provider_needs_review() {
    for (known_by, matters) in [
        (None, &[Matter::Unanswered][..]),
        (Some("status"), &[]),
        // The list has it, although the status query fails.
        (Some("list"), &[]),
    ] {
        let shop = Shop::open();
        let provider = FakeProvider::default();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        let fact = Fact {
            payment: Some(reference("p")),
            order_id: OrderId::parse("o"),
            ..reported(Outcome::Pending)
        };
        let report = notification(Some(payment.id), fact);
        match known_by {
            Some("status") => provider.set_status("p", report),
            Some(_) => provider.set_transactions("o", vec![report]),
            None => {}
        }
        if known_by == Some("list") {
            provider.fail_status_queries();
        }
        let left = matters_of_forty_days(&shop, &provider).await;
        let left: Vec<Matter> = left.into_iter().map(|(_, matter, _)| matter).collect();
        assert_eq!(left, matters, "{known_by:?}");
        assert_eq!(shop.status(payment.id).await, Status::Expired);
        assert!(shop.is_resolved(payment.id).await);
    }
}
