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

/// Times of the checks of a payment about which no fact comes, in seconds after its creation.
fn checks(payment: &Payment, next_check_at: impl Fn(&Payment, Timestamp) -> Option<Timestamp>) -> Vec<u64> {
    let mut payment = payment.clone();
    let mut times = Vec::new();
    let mut next = Some(first_check_at(&payment));
    while let Some(at) = next {
        times.push(at.since(NOW).as_secs());
        assert!(times.len() < 100, "endless: {times:?}");
        payment = payment.expire(at, None);
        next = next_check_at(&payment, at);
        assert!(next.is_none_or(|next| next > at), "not later: {times:?}");
    }
    times
}

#[test]
fn queues_have_names_and_shards() {
    let queues = Queue::ALL.map(|queue| (queue.name(), queue.shards()));
    assert_eq!(queues, [("expiry", 4), ("poll", 1), ("review", 1), ("unmatched", 1)]);
    // A byte of the id decides, so this makes all shards equal.
    assert!(Queue::ALL.iter().all(|queue| 256 % u16::from(queue.shards()) == 0));
}

#[test]
fn unpaid_payment_is_checked_once_when_it_expires() {
    let is_list_read = true;
    let checks = |payment: &Payment| checks(payment, |payment, now| next_expiry_check_at(payment, is_list_read, now));
    for payment in [intent(Provider::ApoloPay), pending(Provider::ApoloPay, None)] {
        assert_eq!(checks(&payment), [24 * 3600]);
    }
    let named = pending(Provider::FinvyPay, Some(NOW.plus(30 * MINUTE)));
    for payment in [intent(Provider::FinvyPay), pending(Provider::FinvyPay, None), named] {
        assert_eq!(checks(&payment), [45 * 60 + 15]);
    }
    for status in [Status::Failed, Status::Cancelled, Status::Expired] {
        let payment = Payment {
            status,
            ..intent(Provider::FinvyPay)
        };
        assert_eq!(
            next_expiry_check_at(&payment, is_list_read, NOW.plus(DAY)),
            None,
            "{status}"
        );
    }
}

#[test]
fn expiry_follows_the_time_that_the_provider_names() {
    let intent = intent(Provider::FinvyPay);
    let accepted = |minutes: u32, millis: u64| {
        pending(
            Provider::FinvyPay,
            Some(NOW.plus(minutes * MINUTE + Duration::from_millis(millis))),
        )
    };
    for (after, expected) in [
        (accepted(30, 0), ScheduleChange::Keep),
        (accepted(30, 15_000), ScheduleChange::Keep),
        (accepted(5, 0), ScheduleChange::At(Queue::Expiry, NOW.plus(20 * MINUTE))),
        (
            accepted(60, 0),
            ScheduleChange::At(Queue::Expiry, NOW.plus(75 * MINUTE)),
        ),
    ] {
        assert_eq!(ScheduleChange::between(&intent, &after, [], NOW), expected, "{after:?}");
        assert!(
            expected != ScheduleChange::Keep || first_check_at(&intent) >= after.expires_at(),
            "not checked too early"
        );
    }
}

#[test]
fn payment_with_evidence_stays_polled_when_its_expiry_becomes_known() {
    let before = Payment {
        has_evidence_of_money: true,
        ..intent(Provider::FinvyPay)
    };
    let after = Payment {
        has_evidence_of_money: true,
        ..pending(Provider::FinvyPay, Some(NOW.plus(5 * MINUTE)))
    };
    assert_eq!(ScheduleChange::between(&before, &after, [], NOW), ScheduleChange::Keep);
}

#[test]
fn unread_list_keeps_an_unpaid_payment_in_the_schedule_for_eight_days() {
    const HOUR: u64 = 3600;
    let payment = pending(Provider::FinvyPay, None);
    let times = checks(&payment, |payment, now| next_expiry_check_at(payment, false, now));
    assert_eq!(times[..3], [2715, 5430, 10_860]);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 24 * HOUR));
    let last = times.last().unwrap();
    assert!((8 * 24 * HOUR..9 * 24 * HOUR).contains(last), "{times:?}");
    // ApoloPay has no list.
    let times = checks(&pending(Provider::ApoloPay, None), |payment, now| {
        next_expiry_check_at(payment, false, now)
    });
    assert_eq!(times.len(), 1);
}

#[test]
fn payment_with_evidence_is_polled_with_backoff() {
    let before = pending(Provider::FinvyPay, None);
    let evident = Payment {
        has_evidence_of_money: true,
        ..before.clone()
    };
    assert_eq!(
        ScheduleChange::between(&before, &evident, [], NOW),
        ScheduleChange::At(Queue::Poll, NOW)
    );
    assert_eq!(
        ScheduleChange::between(&evident, &evident, [], NOW),
        ScheduleChange::Keep
    );
    let at = |minutes: u32| NOW.plus(minutes * MINUTE);
    assert_eq!(next_poll_at(&evident, true, at(6)), Some(at(12)));
    assert_eq!(next_poll_at(&evident, true, at(40)), Some(at(45)), "its expiry");
    assert_eq!(next_poll_at(&evident, true, NOW.plus(8 * DAY)), None);
    let authorized = Payment {
        status: Status::Authorized,
        ..evident
    };
    assert_eq!(
        ScheduleChange::between(&before, &authorized, [], NOW),
        ScheduleChange::At(Queue::Poll, at(5))
    );
    assert!(next_poll_at(&authorized, true, NOW.plus(30 * DAY - MINUTE)).is_some());
    assert_eq!(next_poll_at(&authorized, true, NOW.plus(30 * DAY)), None);
    let completed = Payment {
        status: Status::Completed,
        ..authorized
    };
    assert_eq!(next_poll_at(&completed, true, at(6)), None);
    assert_eq!(next_poll_at(&completed, false, at(6)), Some(at(12)), "no response yet");
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
        let later = NOW.plus(365 * DAY);
        assert_eq!(
            next_poll_at(&review, true, later),
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
        assert_eq!(next_poll_at(&completed, true, NOW), None);
    }
}
