use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Reversal, ReversalKind};
use payment_functions::domain::id::PaymentId;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::provider::Environment;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A status, and the amounts that were refunded.
type State = (Status, &'static [&'static str]);

/// A payment of 25.50 USD.
fn payment((status, refunds): State) -> Payment {
    let money = Money::from_minor(2550, Currency::USD);
    let refund = |amount: &&str| Reversal {
        kind: ReversalKind::Refund,
        undone: false,
        id: None,
        amount: Decimal::parse(amount),
        currency: None,
        at: None,
        reported_at: None,
    };
    Payment {
        status,
        reversals: refunds.iter().map(refund).collect(),
        ..Payment::new(
            PaymentId::random(),
            Provider::FinvyPay,
            Environment::Sandbox,
            money,
            NOW,
        )
    }
}

#[test]
fn payment_is_newly_paid_once_it_is_completed_or_its_whole_refund_undone() {
    use Status::{Completed, Pending, Review};
    const REFUNDED: &[&str] = &["25.50"];
    let cases: [(Option<State>, State, bool); 10] = [
        (Some((Pending, &[])), (Completed, &[]), true),
        (Some((Review, &[])), (Completed, &[]), true),
        (None, (Completed, &[]), true),
        (Some((Pending, &["5"])), (Completed, &["5"]), true),
        (Some((Completed, REFUNDED)), (Completed, &[]), true),
        (Some((Completed, &[])), (Completed, &[]), false),
        (Some((Completed, &[])), (Completed, &["5"]), false),
        (Some((Completed, &[])), (Completed, REFUNDED), false),
        (Some((Pending, REFUNDED)), (Completed, REFUNDED), false),
        (Some((Pending, &[])), (Review, &[]), false),
    ];
    for (before, after, expected) in cases {
        let context = format!("{before:?} {after:?}");
        let after = payment(after);
        let change = Change {
            before: before.map(payment),
            after: after.clone(),
        };
        assert_eq!(newly_paid(change), expected.then_some(after), "{context}");
    }
}

#[test]
fn order_is_paid_twice_if_two_payments_are_completed_and_not_refunded_in_whole() {
    use Status::{Completed, Failed, Review};
    let cases: [(&[State], &[usize]); 9] = [
        (&[], &[]),
        (&[(Completed, &[])], &[]),
        (&[(Completed, &[]), (Completed, &[])], &[0, 1]),
        (&[(Completed, &[]), (Completed, &[]), (Completed, &[])], &[0, 1, 2]),
        (&[(Completed, &["25.50"]), (Completed, &[])], &[]),
        (&[(Completed, &["25.49"]), (Completed, &[])], &[0, 1]),
        (
            &[(Completed, &["20", "25.5"]), (Completed, &[]), (Completed, &[])],
            &[1, 2],
        ),
        // Nobody can tell whether these are two refunds.
        (&[(Completed, &["20", "5.5"]), (Completed, &[])], &[0, 1]),
        (&[(Review, &[]), (Failed, &[]), (Completed, &[])], &[]),
    ];
    for (payments, expected) in cases {
        let payments: Vec<_> = payments.iter().copied().map(payment).collect();
        let expected: Vec<_> = expected.iter().map(|nth| payments[*nth].clone()).collect();
        assert_eq!(paid_twice(payments), expected);
    }
}
