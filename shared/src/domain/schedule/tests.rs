use std::collections::BTreeSet;

use super::*;
use crate::domain::id::{PaymentId, Reference};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::CheckoutSession;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn intent(provider: Provider) -> Payment {
    Payment::new(
        PaymentId::random(),
        provider,
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

/// When a payment that stays as it is, but for expiring, is looked at: seconds after its creation.
fn looks(payment: &Payment) -> Vec<u64> {
    let mut payment = payment.clone();
    let mut times = Vec::new();
    let mut next = Some(first_check(&payment).1);
    while let Some(at) = next {
        times.push(at.since(NOW).as_secs());
        assert!(times.len() < 100, "it ends: {times:?}");
        payment = payment.expire(at);
        next = next_check(&payment, true, at);
        assert!(next.is_none_or(|next| next > at), "and goes on: {times:?}");
    }
    times
}

#[test]
fn every_queue_has_its_turn_a_name_and_a_share() {
    let queues: Vec<(&str, u32)> = Queue::all().map(|queue| (queue.name(), queue.share())).collect();
    // First what needs no provider, last what takes longest, and that has the most time.
    assert_eq!(queues, [("review", 1), ("apolopay", 3), ("parked", 3), ("finvypay", 5)]);
}

#[test]
fn promised_money_is_asked_about_for_thirty_days() {
    let authorized = Payment {
        status: Status::Authorized,
        ..pending(Provider::FinvyPay, None)
    };
    assert!(next_check(&authorized, true, NOW.plus(30 * DAY - MINUTE)).is_some());
    assert_eq!(next_check(&authorized, true, NOW.plus(30 * DAY)), None);
}

#[test]
fn finvypay_is_asked_after_a_minute_then_five_then_slower_for_eight_days() {
    const HOUR: u64 = 3600;
    let expiry = Some(NOW.plus(30 * MINUTE));
    let abandoned = looks(&pending(Provider::FinvyPay, expiry));
    assert_eq!(
        abandoned[..6],
        [60, 360, 720, 1440, 2700, 5400],
        "also when it expires, at 45 minutes"
    );
    assert!(abandoned.windows(2).all(|pair| pair[1] - pair[0] <= 24 * HOUR));
    let last = abandoned.last().unwrap();
    assert!((8 * 24 * HOUR..9 * 24 * HOUR).contains(last), "{abandoned:?}");
    assert!(abandoned.len() <= 18, "{abandoned:?}");
    // The same where the provider named no moment, or never answered.
    assert_eq!(looks(&pending(Provider::FinvyPay, None)), abandoned);
    assert_eq!(looks(&intent(Provider::FinvyPay)), abandoned);
}

/// Only if it was not let expire first.
#[test]
fn what_can_be_paid_no_more_does_not_stay_due() {
    let late = pending(Provider::FinvyPay, None);
    let expires_at = late.expires_at();
    assert_eq!(next_check(&late, true, expires_at), Some(expires_at.plus(45 * MINUTE)));
}

#[test]
fn money_may_come_after_a_failure_and_for_a_while_after_a_refusal() {
    let failed = Payment {
        status: Status::Failed,
        ..pending(Provider::FinvyPay, None)
    };
    assert!(next_check(&failed, true, NOW.plus(DAY)).is_some());
    let refused = intent(Provider::FinvyPay).refuse([], NOW);
    assert_eq!(looks(&refused), [60, 360, 720, 1440, 2700]);
    assert_eq!(next_check(&refused, true, NOW.plus(DAY)), None);
    assert!(
        next_check(&refused, false, NOW.plus(DAY)).is_some(),
        "nobody could be asked"
    );
    assert_eq!(next_check(&refused, false, NOW.plus(8 * DAY)), None);
    let made = refused.add_references([Reference::parse("x").unwrap()], NOW);
    assert!(
        next_check(&made, true, NOW.plus(DAY)).is_some(),
        "an attempt at it has made a payment all the same"
    );
}

#[test]
fn apolopay_is_looked_at_once_when_it_expires() {
    for payment in [intent(Provider::ApoloPay), pending(Provider::ApoloPay, None)] {
        assert_eq!(looks(&payment), [24 * 3600]);
    }
}

#[test]
fn what_is_in_review_is_reported_daily_and_what_is_completed_never() {
    for provider in Provider::ALL {
        let review = Payment {
            status: Status::Review,
            ..intent(provider)
        };
        assert_eq!(
            Change::between(&intent(provider), &review, NOW),
            Change::At(Queue::Review, NOW)
        );
        let more = Payment {
            noted: BTreeSet::from(["more".to_owned()]),
            ..review.clone()
        };
        assert_eq!(Change::between(&review, &more, NOW), Change::Resume(Queue::Review, NOW));
        assert_eq!(Change::between(&more, &more, NOW), Change::Keep);
        assert_eq!(next_check(&review, true, NOW), Some(NOW.plus(DAY)));
        let later = NOW.plus(365 * DAY);
        assert_eq!(
            next_check(&review, true, later),
            Some(later.plus(DAY)),
            "it does not fall silent"
        );
        let completed = Payment {
            status: Status::Completed,
            ..intent(provider)
        };
        assert_eq!(Change::between(&review, &completed, NOW), Change::Never);
        assert_eq!(next_check(&completed, true, NOW), None);
    }
}

#[test]
fn whatever_is_not_settled_is_looked_at_again_while_it_is_young() {
    for status in Status::ALL {
        let payment = Payment {
            status,
            ..pending(Provider::FinvyPay, None)
        };
        let is_looked_at = next_check(&payment, true, NOW.plus(MINUTE)).is_some();
        assert_eq!(is_looked_at, status != Status::Completed, "{status}");
    }
}
