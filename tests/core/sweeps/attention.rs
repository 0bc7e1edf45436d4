//! The reasons for attention that no fact brings: the run raises and resolves them.

use super::*;
use payment_functions::domain::schedule::UNPROCESSABLE_AFTER;
use payment_functions::flows::record_notification::RecordResult;

const LATE: Duration = Duration::from_secs(40 * 24 * 60 * 60);

/// Runs each hour of the first day, then once a day until `end`. Returns the changes of a payment's reasons, each with
/// its hour.
async fn changes(
    shop: &Shop,
    id: PaymentId,
    provider: &FakeProvider,
    end: Duration,
) -> Vec<(u32, Vec<AttentionReason>)> {
    let mut changes = Vec::new();
    let mut known = shop.reasons(id).await;
    for hour in (0..24).chain((1..40).map(|day| 24 * day)) {
        if hour * HOUR > end {
            break;
        }
        shop.sweep(hour * HOUR + MINUTE, provider).await;
        let reasons = shop.reasons(id).await;
        if reasons != known {
            changes.push((hour, reasons.clone()));
            known = reasons;
        }
    }
    changes
}

fn of_payment(payment: &Payment, outcome: Outcome) -> Notification {
    let fact = Fact {
        payment: Some(reference("p")),
        order_id: payment.order_id.clone(),
        ..reported(outcome)
    };
    notification(Some(payment.id), fact)
}

#[tokio::test]
async fn payment_still_authorized_after_thirty_days_needs_attention_until_its_next_status() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let authorized = of_payment(&payment, Outcome::Authorized);
    shop.deliver(&authorized).await;
    provider.set_status("p", authorized);
    let reason = AttentionReason::StillAuthorized;
    assert_eq!(
        changes(&shop, payment.id, &provider, LATE).await,
        [(30 * 24, vec![reason])]
    );
    assert!(shop.is_resolved(payment.id).await);
    shop.deliver(&of_payment(&payment, Outcome::Completed)).await;
    let payment = shop.payment(payment.id).await;
    assert_eq!(
        (payment.status, payment.attention.is_empty()),
        (Status::Completed, true)
    );
}

#[tokio::test]
async fn provider_silent_about_evidence_of_money_needs_attention_until_it_answers() {
    for is_unreachable in [false, true] {
        for (evidence, raised) in [
            (Some(Outcome::Contradictory), true),
            (Some(Outcome::Cancelled), false),
            (None, false),
        ] {
            let shop = Shop::open();
            let provider = FakeProvider::default();
            provider.fail_with(is_unreachable.then_some(unreachable));
            let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
            if let Some(outcome) = evidence {
                shop.deliver(&of_payment(&payment, outcome)).await;
            }
            let expected = raised.then(|| (8 * 24, vec![AttentionReason::ProviderSilent]));
            let changes = changes(&shop, payment.id, &provider, LATE).await;
            assert_eq!(changes, Vec::from_iter(expected), "{evidence:?} {is_unreachable}");
            assert!(shop.is_resolved(payment.id).await);
            shop.deliver(&of_payment(&payment, Outcome::Failed)).await;
            assert_eq!(shop.reasons(payment.id).await, [], "it has answered");
        }
    }
}

/// The order's list answers although the status query fails.
#[tokio::test]
async fn provider_that_lists_the_payment_is_not_silent() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    shop.deliver(&of_payment(&payment, Outcome::Contradictory)).await;
    provider.set_transactions("o", vec![of_payment(&payment, Outcome::Pending)]);
    provider.fail_status_queries();
    assert_eq!(changes(&shop, payment.id, &provider, LATE).await, []);
    assert!(shop.is_resolved(payment.id).await);
}

/// The status query does not know the transaction's id, which was learnt last.
#[tokio::test]
async fn completed_payment_that_the_list_knows_is_no_silence() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let mut completed = of_payment(&payment, Outcome::Completed);
    completed.fact.transaction = Some(reference("FP1"));
    shop.deliver(&completed).await;
    provider.set_transactions("o", vec![completed]);
    shop.deliver(&of_payment(&payment, Outcome::Contradictory)).await;
    shop.sweep(MINUTE, &provider).await;
    assert_eq!(provider.take_calls(), ["FP1", "order o"]);
    assert_eq!(shop.reasons(payment.id).await, []);
    assert!(shop.is_resolved(payment.id).await);
}

/// While the provider refuses every call, a payment is never given up.
#[tokio::test]
async fn provider_that_refuses_every_call_is_silent_until_a_poll_succeeds() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    shop.deliver(&of_payment(&payment, Outcome::Contradictory)).await;
    provider.fail_with(Some(provider_refuses_all));
    let reason = AttentionReason::ProviderSilent;
    let raised = changes(&shop, payment.id, &provider, LATE).await;
    assert_eq!(raised, [(8 * 24, vec![reason])]);

    // Acknowledged, it is not raised by the next check.
    let before = shop.payment(payment.id).await;
    shop.commit(&before, &before.acknowledge(reason, shop.after(LATE)))
        .await;
    shop.sweep(LATE, &provider).await;
    assert_eq!(shop.reasons(payment.id).await, []);

    // New evidence raises it again, and the answer, although the fact is known, resolves it.
    let mut more = of_payment(&payment, Outcome::Contradictory);
    more.fact.raw_status = "another".to_owned();
    shop.deliver(&more).await;
    shop.sweep(LATE + HOUR, &provider).await;
    assert_eq!(shop.reasons(payment.id).await, [reason]);
    let pending = of_payment(&payment, Outcome::Pending);
    shop.deliver(&pending).await;
    provider.set_status("p", pending);
    provider.fail_with(None);
    shop.sweep(LATE + 2 * HOUR, &provider).await;
    assert_eq!(shop.reasons(payment.id).await, []);
}

#[tokio::test]
async fn contradiction_about_completed_payment_is_polled_at_once() {
    for is_answered in [false, true] {
        let shop = Shop::open();
        let provider = FakeProvider::default();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        let completed = of_payment(&payment, Outcome::Completed);
        shop.deliver(&completed).await;
        assert!(shop.is_resolved(payment.id).await);
        if is_answered {
            provider.set_status("p", completed);
        }
        shop.deliver(&of_payment(&payment, Outcome::Contradictory)).await;
        provider.fail_with(Some(unreachable));
        shop.sweep(MINUTE, &provider).await;
        assert_eq!(shop.reasons(payment.id).await, [], "it is polled again");
        provider.fail_with(None);
        shop.sweep(HOUR, &provider).await;
        let expected = (!is_answered).then_some(AttentionReason::ProviderSilent);
        assert_eq!(shop.reasons(payment.id).await, Vec::from_iter(expected));
        assert_eq!(shop.status(payment.id).await, Status::Completed);
        assert!(shop.is_resolved(payment.id).await);
    }
}

#[tokio::test]
async fn undocumented_status_in_a_poll_needs_attention_at_once() {
    let shop = Shop::open();
    let provider = FakeProvider::default().without_list();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    provider.set_status("p", of_payment(&payment, Outcome::Unrecognised));
    shop.sweep(MINUTE, &provider).await;
    assert_eq!(shop.reasons(payment.id).await, [AttentionReason::UnrecognisedStatus]);
}

/// The fact is stored, so the provider need not send it again.
#[tokio::test]
async fn repeated_webhook_of_an_unreadable_payment_is_a_duplicate() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let completed = of_payment(&payment, Outcome::Completed);
    shop.deliver(&completed).await;
    shop.break_payment(payment.id).await;
    let repeated = record_notification(&shop.store, &completed, OrderMatching::default(), shop.start).await;
    assert_eq!(repeated.unwrap(), RecordResult::Duplicate(payment.id));
}

/// The payment cannot even be read, so its attention is read from the item.
#[tokio::test]
async fn payment_whose_checks_all_fail_is_unprocessable_until_a_good_one() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let other = shop.pending(Provider::FinvyPay, "o2", "p2").await;
    shop.break_payment(payment.id).await;
    let mut failures = Vec::new();
    for minute in 1..100 {
        if shop.sweep(minute * MINUTE, &provider).await.failed > 0 {
            failures.push(minute);
        }
    }
    assert_eq!(failures, [46, 48, 52, 60, 76], "ever more rarely");
    assert_eq!(failures.get(4), Some(&76), "{UNPROCESSABLE_AFTER} failures");
    shop.mend_payment(payment.id).await;
    let broken = shop.payment(payment.id).await;
    let since: Vec<_> = broken
        .attention
        .entries()
        .iter()
        .map(|entry| (entry.reason, entry.since))
        .collect();
    assert_eq!(
        since,
        [(AttentionReason::Unprocessable, shop.after(76 * MINUTE))],
        "once"
    );
    assert!(broken.version > payment.version, "the change is published");
    assert_eq!(shop.reasons(other.id).await, []);

    shop.sweep(5 * HOUR, &provider).await;
    assert_eq!(
        (shop.reasons(payment.id).await, shop.status(payment.id).await),
        (vec![], Status::Expired)
    );
    // It counts anew.
    shop.break_payment(payment.id).await;
    shop.sweep(2 * DAY, &provider).await;
    shop.mend_payment(payment.id).await;
    assert_eq!(shop.reasons(payment.id).await, []);
}

#[tokio::test]
async fn expired_payment_of_unpolled_provider_needs_no_attention() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::ApoloPay, "o", "p").await;
    assert_eq!(changes(&shop, payment.id, &FakeProvider::default(), LATE).await, []);
    assert_eq!(shop.status(payment.id).await, Status::Expired);
    assert!(shop.is_resolved(payment.id).await);
}
