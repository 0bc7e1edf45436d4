use super::*;
use crate::domain::decimal::Decimal;
use crate::domain::fact::{Reversal, ReversalKind};
use crate::domain::id::PaymentId;
use crate::domain::money::{Currency, Money};
use crate::domain::provider::Provider;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A payment of 25.50 USD, a minute old.
fn payment() -> Payment {
    let created_at = Timestamp::from_millis(NOW.as_millis() - 60_000);
    let money = Money::from_minor(2550, Currency::USD);
    Payment::new(
        PaymentId::random(),
        Provider::FinvyPay,
        Environment::Sandbox,
        money,
        created_at,
    )
}

fn quoted() -> Payment {
    Payment {
        quote_kept_until: Some(NOW),
        ..payment()
    }
}

fn of_money(minor: u64) -> Payment {
    Payment {
        money: Money::from_minor(minor, Currency::USD),
        ..quoted()
    }
}

fn later() -> Payment {
    Payment {
        created_at: NOW.plus(std::time::Duration::from_millis(1)),
        ..quoted()
    }
}

fn fact(outcome: Outcome, amount: Option<&str>) -> Fact {
    Fact {
        provider: Provider::FinvyPay,
        payment: None,
        transaction: None,
        order_id: None,
        outcome,
        raw_status: "word".to_owned(),
        amount: amount.and_then(Decimal::parse),
        currency: Some("USD".to_owned()),
        reversals: Vec::new(),
        occurred_at: None,
        created_at: None,
        is_foreign: false,
        received_at: NOW,
        operator: None,
    }
}

/// The index of the chosen payment, and whether it gets the ids.
fn chosen(fact: &Fact, payments: &[Payment], matching: OrderMatching) -> Option<(usize, bool)> {
    let chosen = matching.choose(fact, payments)?;
    let index = payments.iter().position(|payment| payment == chosen.payment)?;
    Some((index, chosen.attaches_ids))
}

#[test]
fn completion_is_believed_only_for_the_only_quoted_payment_with_its_money() {
    let confirm = OrderMatching::default();
    let trust = OrderMatching {
        trusts_orders: true,
        ..confirm
    };
    let paid = fact(Outcome::Completed, Some("25.5"));
    for (payments, by_quote, by_trust) in [
        (vec![], None, None),
        (vec![payment()], None, Some((0, true))),
        (vec![quoted()], Some((0, true)), Some((0, true))),
        // A stranger's payment of other money under the same order delays nobody.
        (vec![of_money(100), quoted()], Some((1, true)), Some((1, true))),
        (vec![of_money(100), payment()], None, Some((1, true))),
        (vec![quoted(), quoted()], None, None),
        (vec![quoted(), payment()], None, None),
        (vec![of_money(100)], None, None),
        (vec![later()], None, None),
        (vec![later(), quoted()], Some((1, true)), Some((1, true))),
    ] {
        assert_eq!(chosen(&paid, &payments, confirm), by_quote, "{payments:?}");
        assert_eq!(chosen(&paid, &payments, trust), by_trust, "{payments:?}");
        let unreadable = fact(Outcome::Completed, None);
        assert_eq!(chosen(&unreadable, &payments, trust), None, "{payments:?}");
    }
    let old_money = OrderMatching {
        not_after: Some(Timestamp::from_millis(NOW.as_millis() - 61_000)),
        ..trust
    };
    assert_eq!(
        chosen(&paid, &[quoted()], old_money),
        None,
        "it is from before the payment"
    );
    let created = |before: u64| Fact {
        created_at: Some(Timestamp::from_millis(NOW.as_millis() - before)),
        ..paid.clone()
    };
    assert_eq!(
        chosen(&created(121_000), &[quoted()], trust),
        None,
        "so is its transaction"
    );
    // The provider's clock may be slow.
    assert_eq!(chosen(&created(119_000), &[quoted()], trust), Some((0, true)));
}

#[test]
fn other_outcomes_belong_to_the_only_payment_without_their_ids() {
    for outcome in [
        Outcome::Pending,
        Outcome::Authorized,
        Outcome::Cancelled,
        Outcome::Failed,
        Outcome::Unrecognised,
        Outcome::Contradictory,
    ] {
        let (priced, free) = (fact(outcome, Some("25.50")), fact(outcome, None));
        for (payments, by_money, by_order) in [
            (vec![payment()], Some((0, false)), Some((0, false))),
            (vec![of_money(100)], None, Some((0, false))),
            (vec![of_money(100), payment()], Some((1, false)), None),
            (vec![payment(), payment()], None, None),
            (vec![later()], None, None),
        ] {
            assert_eq!(
                chosen(&priced, &payments, OrderMatching::default()),
                by_money,
                "{outcome:?}"
            );
            assert_eq!(
                chosen(&free, &payments, OrderMatching::default()),
                by_order,
                "{outcome:?}"
            );
        }
    }
}

#[test]
fn money_that_went_back_belongs_to_the_only_completed_payment() {
    let completed = || Payment {
        status: Status::Completed,
        ..payment()
    };
    let mut refund = fact(Outcome::Reversed, Some("3"));
    refund.reversals.push(Reversal {
        kind: ReversalKind::Refund,
        undone: false,
        id: None,
        amount: None,
        currency: None,
        at: None,
        reported_at: None,
    });
    for (payments, expected) in [
        (vec![completed()], Some((0, false))),
        (vec![payment(), completed()], Some((1, false))),
        (vec![payment()], None),
        (vec![completed(), completed()], None),
    ] {
        assert_eq!(
            chosen(&refund, &payments, OrderMatching::default()),
            expected,
            "{payments:?}"
        );
    }
}
