use crate::domain::provider::Environment;

use super::*;
use crate::domain::id::{PaymentId, Reference};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::CheckoutSession;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn intent(provider: Provider) -> Payment {
    Payment::new(
        PaymentId::random(),
        provider,
        Environment::Sandbox,
        Money::from_minor(2550, Currency::USD),
        NOW,
    )
}

fn pending(provider: Provider, expires_at: Option<Timestamp>) -> Payment {
    let checkout_session = CheckoutSession {
        reference: Reference::parse("x").unwrap(),
        redirect_url: None,
        expires_at,
    };
    intent(provider).accept(checkout_session, [], NOW)
}

/// Times of the checks of a payment that only expires, in seconds after its creation.
fn checks(payment: &Payment) -> Vec<u64> {
    let mut payment = payment.clone();
    let mut times = Vec::new();
    let mut next = Some(first_check(&payment).1);
    while let Some(at) = next {
        times.push(at.since(NOW).as_secs());
        assert!(times.len() < 100, "endless: {times:?}");
        payment = payment.expire(at, None);
        next = next_check_at(&payment, true, at);
        assert!(next.is_none_or(|next| next > at), "not later: {times:?}");
    }
    times
}

#[test]
fn queues_have_an_order_names_and_shares() {
    let queues: Vec<(&str, u32)> = Queue::all().map(|queue| (queue.name(), queue.share())).collect();
    // The slowest queue is last and has the largest share.
    assert_eq!(
        queues,
        [("review", 1), ("apolopay", 3), ("unmatched", 3), ("finvypay", 5)]
    );
}

#[test]
fn authorized_payment_is_polled_for_thirty_days() {
    let authorized = Payment {
        status: Status::Authorized,
        ..pending(Provider::FinvyPay, None)
    };
    assert!(next_check_at(&authorized, true, NOW.plus(30 * DAY - MINUTE)).is_some());
    assert_eq!(next_check_at(&authorized, true, NOW.plus(30 * DAY)), None);
}

#[test]
fn unpaid_finvypay_payment_is_polled_with_backoff_for_eight_days() {
    const HOUR: u64 = 3600;
    let expiry = Some(NOW.plus(30 * MINUTE));
    let abandoned = checks(&pending(Provider::FinvyPay, expiry));
    assert_eq!(
        abandoned[..6],
        [60, 360, 720, 1440, 2700, 5400],
        "including the expiry at 45 minutes"
    );
    assert!(abandoned.windows(2).all(|pair| pair[1] - pair[0] <= 24 * HOUR));
    let last = abandoned.last().unwrap();
    assert!((8 * 24 * HOUR..9 * 24 * HOUR).contains(last), "{abandoned:?}");
    assert!(abandoned.len() <= 18, "{abandoned:?}");
    // The same if the provider named no expiry time or never responded.
    assert_eq!(checks(&pending(Provider::FinvyPay, None)), abandoned);
    assert_eq!(checks(&intent(Provider::FinvyPay)), abandoned);
}

/// Only possible if the payment was not expired first.
#[test]
fn pending_payment_past_its_expiry_is_not_due_at_once() {
    let late = pending(Provider::FinvyPay, None);
    let expires_at = late.expires_at();
    assert_eq!(
        next_check_at(&late, true, expires_at),
        Some(expires_at.plus(45 * MINUTE))
    );
}

#[test]
fn failed_payment_is_polled_longer_than_rejected_payment() {
    let failed = Payment {
        status: Status::Failed,
        ..pending(Provider::FinvyPay, None)
    };
    assert!(next_check_at(&failed, true, NOW.plus(DAY)).is_some());
    let rejected = intent(Provider::FinvyPay).reject([], NOW);
    assert_eq!(checks(&rejected), [60, 360, 720, 1440, 2700]);
    assert_eq!(next_check_at(&rejected, true, NOW.plus(DAY)), None);
    assert!(
        next_check_at(&rejected, false, NOW.plus(DAY)).is_some(),
        "the provider could not be polled"
    );
    assert_eq!(next_check_at(&rejected, false, NOW.plus(8 * DAY)), None);
    let created = rejected.add_references([Reference::parse("x").unwrap()], NOW);
    assert!(
        next_check_at(&created, true, NOW.plus(DAY)).is_some(),
        "an earlier attempt created the payment"
    );
}

#[test]
fn apolopay_payment_is_checked_once_at_expiry() {
    for payment in [intent(Provider::ApoloPay), pending(Provider::ApoloPay, None)] {
        assert_eq!(checks(&payment), [24 * 3600]);
    }
}

#[test]
fn review_is_checked_daily_and_completed_never() {
    for provider in Provider::ALL {
        let review = Payment {
            status: Status::Review,
            ..intent(provider)
        };
        assert_eq!(
            ScheduleChange::between(&intent(provider), &review, [], NOW),
            ScheduleChange::At(Queue::Review, NOW)
        );
        let more = Payment {
            mismatches: 1,
            ..review.clone()
        };
        assert_eq!(
            ScheduleChange::between(&review, &more, [], NOW),
            ScheduleChange::AtUnlessScheduled(Queue::Review, NOW)
        );
        assert_eq!(ScheduleChange::between(&more, &more, [], NOW), ScheduleChange::Keep);
        assert_eq!(next_check_at(&review, true, NOW), Some(NOW.plus(DAY)));
        let later = NOW.plus(365 * DAY);
        assert_eq!(
            next_check_at(&review, true, later),
            Some(later.plus(DAY)),
            "still daily after a year"
        );
        let completed = Payment {
            status: Status::Completed,
            ..intent(provider)
        };
        assert_eq!(
            ScheduleChange::between(&review, &completed, [], NOW),
            ScheduleChange::Remove
        );
        assert_eq!(next_check_at(&completed, true, NOW), None);
    }
}

#[test]
fn young_unresolved_payment_is_always_scheduled() {
    for status in Status::ALL {
        let payment = Payment {
            status,
            ..pending(Provider::FinvyPay, None)
        };
        let is_scheduled = next_check_at(&payment, true, NOW.plus(MINUTE)).is_some();
        assert_eq!(is_scheduled, status != Status::Completed, "{status}");
    }
}
