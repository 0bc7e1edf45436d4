use super::*;
use crate::domain::attention::Acknowledged;
use crate::domain::decimal::Decimal;
use crate::domain::fact::{Operator, Outcome};
use crate::domain::money::Currency;
use crate::domain::provider::Environment;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn payment(provider: Provider) -> Payment {
    Payment::new(
        PaymentId::random(),
        provider,
        Environment::Sandbox,
        Money::from_minor(2550, Currency::USD),
        NOW,
    )
}

#[test]
fn version_and_time_increase_only_with_a_change() {
    let before = payment(Provider::FinvyPay);
    let fact = completion(Provider::FinvyPay, "p", "25.50", Some("USD"));
    let later = NOW.plus(Duration::from_secs(1));
    let after = before.apply(&fact, false, later);
    assert_eq!((after.version, after.updated_at), (before.version + 1, later));
    // The same fact again, with a clock that is behind.
    assert_eq!(after.apply(&fact, false, NOW), after);
    let second = after.apply(&completion(Provider::FinvyPay, "q", "25.50", Some("USD")), false, NOW);
    assert_eq!(
        (second.version, second.updated_at),
        (after.version + 1, later),
        "the time does not go back"
    );
    assert_eq!(reasons(&second), [AttentionReason::DuplicatePayment]);
}

fn reasons(payment: &Payment) -> Vec<AttentionReason> {
    payment.attention.reasons().collect()
}

#[test]
fn stored_names_match_the_displayed_names() {
    for reference in CaptureReference::of(&completion(Provider::FinvyPay, "p", "1", None)) {
        assert_eq!(
            (
                reference.to_string().as_str(),
                serde_json::to_value(&reference).unwrap()
            ),
            ("payment:p", "payment:p".into())
        );
    }
}

#[test]
fn expiry_time_in_the_far_future_is_limited() {
    let named = |expires_at| {
        let checkout_session = CheckoutSession {
            reference: Reference::parse("x").unwrap(),
            redirect_url: None,
            expires_at: Some(expires_at),
        };
        payment(Provider::FinvyPay)
            .accept(checkout_session, [], NOW)
            .expires_at()
    };
    let grace = Provider::FinvyPay.capabilities().expiry_grace;
    assert_eq!(MAX_PAYMENT_TTL.as_secs(), 2_592_000, "thirty days");
    for (expires_at, at) in [
        (NOW.plus(Duration::from_secs(60)), NOW.plus(Duration::from_secs(60))),
        (NOW.plus(MAX_PAYMENT_TTL), NOW.plus(MAX_PAYMENT_TTL)),
        (Timestamp::from_millis(253_402_300_799_000), NOW.plus(MAX_PAYMENT_TTL)),
    ] {
        assert_eq!(named(expires_at), at.plus(grace));
    }
}

fn completion(provider: Provider, id: &str, amount: &str, currency: Option<&str>) -> Fact {
    Fact {
        provider,
        payment: Reference::parse(id),
        transaction: None,
        order_id: None,
        outcome: Outcome::Completed,
        raw_status: "completed".to_owned(),
        amount: Decimal::parse(amount),
        currency: currency.map(str::to_owned),
        reversals: Vec::new(),
        occurred_at: None,
        created_at: None,
        is_foreign: false,
        received_at: NOW,
        operator: None,
    }
}

#[test]
fn completion_with_another_amount_or_currency_leads_to_review() {
    use Provider::{ApoloPay, FinvyPay};
    for (provider, amount, currency, status) in [
        (ApoloPay, "25.5", None, Status::Completed),
        (ApoloPay, "25.50", Some("EUR"), Status::Completed),
        (ApoloPay, "25.51", None, Status::Review),
        (ApoloPay, "25.505", None, Status::Review),
        (ApoloPay, "-25.5", None, Status::Review),
        (ApoloPay, "a lot", None, Status::Review),
        (FinvyPay, "25.50", Some("USD"), Status::Completed),
        (FinvyPay, "25.50", Some("usd"), Status::Completed),
        (FinvyPay, "25.50", Some("EUR"), Status::Review),
        (FinvyPay, "25.50", None, Status::Review),
        (FinvyPay, "2550", Some("USD"), Status::Review),
    ] {
        let after = payment(provider).apply(&completion(provider, "x", amount, currency), false, NOW);
        assert_eq!(after.status, status, "{provider} {amount} {currency:?}");
    }
}

#[test]
fn completion_under_another_payments_id_leads_to_review_without_adding_the_id() {
    let fact = completion(Provider::ApoloPay, "x", "25.50", None);
    let after = payment(Provider::ApoloPay).apply(&fact, true, NOW);
    assert_eq!(after.status, Status::Review);
    assert!(after.references.is_empty() && after.capture_references.is_empty());
}

#[test]
fn second_capture_is_flagged_once_per_kind_of_reference() {
    let paid =
        payment(Provider::FinvyPay).apply(&completion(Provider::FinvyPay, "a", "25.50", Some("USD")), false, NOW);
    assert!(paid.attention.is_empty());
    let by_transaction = Fact {
        payment: None,
        transaction: Reference::parse("FP1"),
        ..completion(Provider::FinvyPay, "a", "25.50", Some("USD"))
    };
    let both = paid.apply(&by_transaction, false, NOW);
    assert!(
        both.attention.is_empty(),
        "the transaction's id identifies the same capture"
    );
    let twice = both.apply(&completion(Provider::FinvyPay, "b", "25.50", Some("USD")), false, NOW);
    assert_eq!(reasons(&twice), [AttentionReason::DuplicatePayment]);
    assert_eq!((twice.status, twice.attention.changes()), (Status::Completed, 1));
    let duplicate = twice.attention.get(AttentionReason::DuplicatePayment).unwrap();
    assert_eq!(
        (duplicate.amount.clone(), duplicate.currency.as_deref()),
        (Decimal::parse("25.5"), Some("USD"))
    );
    assert_eq!(
        twice.apply(&by_transaction, false, NOW),
        twice,
        "a known reference changes nothing"
    );
    let thrice = twice.apply(&completion(Provider::FinvyPay, "c", "25.50", Some("USD")), false, NOW);
    assert_eq!((reasons(&thrice), thrice.attention.changes()), (reasons(&twice), 2));
    let wrong = paid.apply(&completion(Provider::FinvyPay, "a", "1", Some("USD")), false, NOW);
    assert_eq!(
        (wrong.status, reasons(&wrong)),
        (Status::Completed, vec![AttentionReason::AmountMismatch])
    );
    let again = wrong.apply(&completion(Provider::FinvyPay, "a", "2", Some("USD")), false, NOW);
    assert_eq!(
        (reasons(&again), again.attention.changes(), again.mismatches),
        (reasons(&wrong), 2, 2)
    );
    assert!(again.version > wrong.version, "a second mismatch is a change");
}

#[test]
fn id_given_twice_in_a_fact_counts_once() {
    let one = completion(Provider::FinvyPay, "a", "25.50", Some("USD"));
    let same = Fact {
        transaction: one.payment.clone(),
        ..one.clone()
    };
    let two = Fact {
        transaction: Reference::parse("b"),
        ..one.clone()
    };
    assert_eq!([one, same, two].map(|fact| fact.references().count()), [1, 1, 2]);
}

#[test]
fn other_money_needs_attention_whether_it_came_before_or_after_the_right_one() {
    let right = completion(Provider::ApoloPay, "a", "25.50", None);
    let wrong = completion(Provider::ApoloPay, "a", "30", None);
    let apply = |facts: &[&Fact]| {
        let payment = payment(Provider::ApoloPay);
        facts
            .iter()
            .fold(payment, |payment, fact| payment.apply(fact, false, NOW))
    };
    let review = apply(&[&wrong]);
    assert_eq!(
        (review.status, review.attention.changes()),
        (Status::Review, 0),
        "the status says it"
    );
    for facts in [[&wrong, &right], [&right, &wrong]] {
        let after = apply(&facts);
        assert_eq!(
            (after.status, reasons(&after)),
            (Status::Completed, vec![AttentionReason::AmountMismatch])
        );
    }
    let amount = |payment: &Payment| {
        payment
            .attention
            .get(AttentionReason::AmountMismatch)
            .unwrap()
            .amount
            .clone()
    };
    assert_eq!(amount(&apply(&[&right, &wrong])), Decimal::parse("30"));
    let by_operator_without_id = Fact {
        payment: None,
        operator: Some(Operator {
            actor: "on call".into(),
            reason: "the shop accepts it".into(),
        }),
        ..right.clone()
    };
    let accepted = apply(&[&wrong, &by_operator_without_id]);
    assert_eq!((accepted.status, accepted.attention.changes()), (Status::Completed, 0));
    // The right money comes after all: the provider has both.
    assert_eq!(
        reasons(&accepted.apply(&right, false, NOW)),
        [AttentionReason::AmountMismatch]
    );
    let again = Fact {
        payment: None,
        transaction: Reference::parse("FP1"),
        ..right.clone()
    };
    let seen = accepted
        .apply(&right, false, NOW)
        .acknowledge(AttentionReason::AmountMismatch, NOW);
    assert!(
        seen.apply(&again, false, NOW).attention.is_empty(),
        "the same money under another kind of id"
    );
}

/// The provider's report that money went back.
fn reversed(kind: ReversalKind, undone: bool, at: Option<u64>) -> Fact {
    Fact {
        outcome: Outcome::Reversed,
        reversals: vec![Reversal {
            kind,
            undone,
            id: None,
            amount: Decimal::parse("5"),
            currency: None,
            at: at.map(|day| NOW.plus(Duration::from_secs(day * 86_400))),
            reported_at: None,
        }],
        ..completion(Provider::FinvyPay, "p", "25.50", Some("USD"))
    }
}

#[test]
fn money_that_goes_back_never_completes_and_needs_attention() {
    let fact = reversed(ReversalKind::Refund, false, Some(1));
    for status in Status::ALL {
        let before = Payment {
            status,
            ..payment(Provider::FinvyPay)
        };
        let after = before.apply(&fact, false, NOW);
        assert_eq!(
            (after.status, reasons(&after)),
            (status, vec![AttentionReason::Refunded])
        );
        assert!(after.capture_references.is_empty(), "it is no second receipt");
        let entry = after.attention.get(AttentionReason::Refunded).unwrap();
        assert_eq!((&entry.amount, entry.at), (&Decimal::parse("5"), fact.reversals[0].at));
    }
    let chargeback = reversed(ReversalKind::Chargeback, false, None);
    assert_eq!(
        reasons(&payment(Provider::FinvyPay).apply(&chargeback, false, NOW)),
        [AttentionReason::Chargeback]
    );
}

#[test]
fn later_date_of_a_reversal_and_its_undoing_wins_in_every_order() {
    use ReversalKind::{Chargeback, Refund};
    let done = |at| reversed(Refund, false, at);
    let undone = |at| reversed(Refund, true, at);
    for (facts, is_refunded) in [
        (vec![done(Some(1)), undone(Some(2))], false),
        (vec![done(Some(2)), undone(Some(1))], true),
        (vec![done(Some(1)), undone(Some(1))], true),
        (vec![done(None), undone(Some(1))], true),
        (vec![done(Some(1)), undone(None)], true),
        (vec![done(Some(1)), undone(Some(2)), done(Some(3))], true),
        (vec![done(Some(1)), undone(Some(3)), done(Some(2))], false),
        (vec![done(Some(1)), reversed(Chargeback, true, Some(2))], true),
    ] {
        let paid =
            payment(Provider::FinvyPay).apply(&completion(Provider::FinvyPay, "p", "25.50", Some("USD")), false, NOW);
        for shift in 0..facts.len() {
            for is_reversed in [false, true] {
                let mut facts = facts.clone();
                facts.rotate_left(shift);
                if is_reversed {
                    facts.reverse();
                }
                let after = facts
                    .iter()
                    .fold(paid.clone(), |payment, fact| payment.apply(fact, false, NOW));
                let expected = if is_refunded {
                    vec![AttentionReason::Refunded]
                } else {
                    vec![]
                };
                assert_eq!(
                    (after.status, reasons(&after)),
                    (Status::Completed, expected),
                    "{facts:?}"
                );
            }
        }
    }
}

/// Each refund has an id. FinvyPay undoes one of them, or all at once if it names none.
#[test]
fn undoing_one_of_several_refunds_leaves_the_others() {
    let refund = |id: &str, undone, at| {
        let mut fact = reversed(ReversalKind::Refund, undone, at);
        fact.reversals[0].id = Reference::parse(id);
        fact.reversals[0].amount = Decimal::parse(if id == "R1" { "5" } else { "20.50" });
        fact
    };
    let (first, second) = (refund("R1", false, Some(1)), refund("R2", false, Some(2)));
    let undone = |id, at| refund(id, true, at);
    for (others, shown, is_full) in [
        (vec![], Some("20.50"), true),
        (vec![undone("R1", Some(3))], Some("20.50"), false),
        (vec![undone("R2", Some(3))], Some("5"), false),
        (vec![undone("R1", Some(3)), undone("R2", Some(3))], None, false),
        (vec![undone("R1", Some(3)), undone("R2", Some(1))], Some("20.50"), false),
        (vec![undone("R3", Some(3))], Some("20.50"), true),
        (vec![undone("R2", None)], Some("20.50"), true),
        (vec![undone("", Some(3))], None, false),
        // A refund without an id, which no undoing means.
        (
            vec![undone("R1", Some(5)), undone("R2", Some(5)), refund("", false, Some(3))],
            Some("20.50"),
            false,
        ),
    ] {
        let facts: Vec<Fact> = [first.clone(), second.clone()].into_iter().chain(others).collect();
        let paid = Payment {
            status: Status::Completed,
            ..payment(Provider::FinvyPay)
        };
        for shift in 0..facts.len() {
            let mut facts = facts.clone();
            facts.rotate_left(shift);
            for facts in [facts.clone(), facts.into_iter().rev().collect()] {
                let apply = |payment: Payment, fact: &Fact| payment.apply(fact, false, NOW);
                let after = facts.iter().fold(paid.clone(), apply);
                let entry = after.attention.get(AttentionReason::Refunded);
                let amount = entry.map(|entry| entry.amount.clone());
                assert_eq!(amount, shown.map(Decimal::parse), "{facts:?}");
                assert_eq!(after.is_fully_refunded(), is_full, "{facts:?}");
            }
        }
    }
}

#[test]
fn undoing_that_changes_nothing_raises_nothing_again() {
    let refunded = payment(Provider::FinvyPay).apply(&reversed(ReversalKind::Refund, false, Some(2)), false, NOW);
    for at in [None, Some(1)] {
        let after = refunded.apply(&reversed(ReversalKind::Refund, true, at), false, NOW);
        assert_eq!(after.attention, refunded.attention, "{at:?}");
    }
    let acknowledged = refunded.acknowledge(AttentionReason::Refunded, NOW);
    let after = acknowledged.apply(&reversed(ReversalKind::Refund, true, Some(1)), false, NOW);
    assert!(after.attention.is_empty());
}

#[test]
fn attention_shows_the_latest_refund_in_every_order() {
    let refund = |amount: &str, at| {
        let mut fact = reversed(ReversalKind::Refund, false, Some(at));
        fact.reversals[0].amount = Decimal::parse(amount);
        fact
    };
    let facts = [
        refund("5", 1),
        reversed(ReversalKind::Refund, true, Some(2)),
        refund("9", 3),
    ];
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0], [2, 1, 0], [0, 2, 1], [1, 0, 2]] {
        let apply = |payment: Payment, nth: usize| payment.apply(&facts[nth], false, NOW);
        let after = order.into_iter().fold(payment(Provider::FinvyPay), apply);
        let entry = after.attention.get(AttentionReason::Refunded).unwrap();
        assert_eq!(
            (&entry.amount, entry.at),
            (&Decimal::parse("9"), facts[2].reversals[0].at),
            "{order:?}"
        );
    }
}

/// Of a payment of 25.50 USD.
#[test]
fn payment_is_fully_refunded_if_its_refunds_add_up() {
    let reversal = |kind, undone, id: &str, amount, currency: &str, day| Reversal {
        id: Reference::parse(id),
        amount: Decimal::parse(amount),
        currency: (!currency.is_empty()).then(|| currency.to_owned()),
        ..reversed(kind, undone, day).reversals.remove(0)
    };
    let refund = |id, amount, currency, day| reversal(ReversalKind::Refund, false, id, amount, currency, day);
    let undone = |day| reversal(ReversalKind::Refund, true, "", "25.50", "", day);
    let whole = |day| refund("", "25.5", "USD", day);
    for (reversals, expected) in [
        (vec![], false),
        (vec![whole(None)], true),
        (vec![refund("", "25.49", "", None)], false),
        (vec![refund("", "30", "", None)], true),
        (
            vec![refund("a", "20", "", None), refund("b", "5.50", "USD", None)],
            true,
        ),
        (
            vec![refund("", "20", "", Some(1)), refund("", "5.50", "", Some(2))],
            true,
        ),
        // Perhaps one refund, reported in several ways.
        (vec![refund("", "13", "", None), refund("", "13.50", "", None)], false),
        (vec![refund("", "13", "", None), refund("", "13", "", Some(1))], false),
        (vec![refund("a", "13", "", None), refund("", "13", "", Some(1))], false),
        (vec![refund("a", "13", "", Some(1)), refund("", "13", "", None)], false),
        (vec![refund("a", "13", "", None), refund("", "25.50", "", None)], true),
        // One refund that was reported again, at last with its time.
        (vec![refund("a", "20", "", None), refund("a", "20", "", Some(1))], false),
        (
            vec![refund("a", "20", "", None), refund("a", "25.50", "", Some(1))],
            true,
        ),
        (vec![refund("", "25.50", "EUR", None)], false),
        (vec![refund("", "no amount", "", None)], false),
        // Not a whole number of cents.
        (vec![refund("", "25.505", "", None)], false),
        (
            vec![reversal(ReversalKind::Chargeback, false, "", "25.50", "", None)],
            false,
        ),
        (vec![whole(Some(1)), undone(Some(2))], false),
        (vec![undone(Some(2)), whole(Some(1))], false),
        (vec![undone(Some(1)), whole(Some(2))], true),
        (vec![undone(Some(1)), whole(None)], true),
        (vec![whole(Some(1)), undone(None)], true),
        (
            vec![
                whole(Some(1)),
                reversal(ReversalKind::Chargeback, true, "", "25.50", "", Some(2)),
            ],
            true,
        ),
    ] {
        let payment = Payment {
            status: Status::Completed,
            reversals: reversals.clone(),
            ..payment(Provider::FinvyPay)
        };
        assert_eq!(payment.is_fully_refunded(), expected, "{reversals:?}");
    }
}

/// FinvyPay reports one refund under the payment's id and again under the transaction's.
#[test]
fn refund_reported_under_another_kind_of_id_raises_nothing_again() {
    for at in [None, Some(1)] {
        let by_payment = reversed(ReversalKind::Refund, false, at);
        let by_transaction = Fact {
            payment: None,
            transaction: Reference::parse("FP1"),
            ..by_payment.clone()
        };
        let other = Fact {
            reversals: vec![Reversal {
                amount: Decimal::parse("6"),
                ..by_payment.reversals[0].clone()
            }],
            ..by_payment.clone()
        };
        let refunded = payment(Provider::FinvyPay).apply(&by_payment, false, NOW);
        let acknowledged = refunded.acknowledge(AttentionReason::Refunded, NOW);
        let again = acknowledged.apply(&by_transaction, false, NOW);
        assert!(again.attention.is_empty(), "{again:?}");
        assert_eq!(reasons(&again.apply(&other, false, NOW)), [AttentionReason::Refunded]);
    }
}

/// Neither has an id or a time of its own.
#[test]
fn refund_of_the_same_amount_in_a_later_message_raises_attention_again() {
    let at = |second| {
        let mut fact = reversed(ReversalKind::Refund, false, None);
        fact.reversals[0].reported_at = Some(NOW.plus(Duration::from_secs(second)));
        fact
    };
    assert_ne!(at(1).digest(), at(2).digest());
    let refunded = payment(Provider::FinvyPay).apply(&at(1), false, NOW);
    let acknowledged = refunded.acknowledge(AttentionReason::Refunded, NOW);
    assert!(acknowledged.apply(&at(1), false, NOW).attention.is_empty());
    assert_eq!(
        reasons(&acknowledged.apply(&at(2), false, NOW)),
        [AttentionReason::Refunded]
    );
}

#[test]
fn payment_keeps_its_last_50_reversals_and_raises_attention_for_each() {
    let refund = |day| reversed(ReversalKind::Refund, false, Some(day));
    let mut payment = payment(Provider::FinvyPay);
    for day in 1..=60 {
        payment = payment.apply(&refund(day), false, NOW);
        assert_eq!(payment.attention.changes(), 2 * day - 1);
        payment = payment.acknowledge(AttentionReason::Refunded, NOW);
    }
    let kept: Vec<Reversal> = (11..=60).flat_map(|day| refund(day).reversals).collect();
    assert_eq!(payment.reversals, kept);
}

#[test]
fn fact_that_nobody_can_explain_needs_attention_at_once() {
    let with = |outcome| Fact {
        outcome,
        ..completion(Provider::FinvyPay, "p", "25.50", Some("USD"))
    };
    for (provider, fact, is_unclear) in [
        (Provider::FinvyPay, with(Outcome::Unrecognised), true),
        (Provider::ApoloPay, with(Outcome::Unrecognised), true),
        (Provider::FinvyPay, with(Outcome::Contradictory), false), // FinvyPay is polled.
        (Provider::ApoloPay, with(Outcome::Contradictory), true),
        (Provider::FinvyPay, reversed(ReversalKind::Refund, true, Some(1)), false),
        (Provider::FinvyPay, with(Outcome::Pending), false),
    ] {
        let after = payment(provider).apply(&fact, false, NOW);
        let expected = if is_unclear {
            vec![AttentionReason::UnrecognisedStatus]
        } else {
            vec![]
        };
        assert_eq!(reasons(&after), expected, "{provider} {fact:?}");
    }
}

#[test]
fn unrecognised_status_does_not_change_the_status() {
    for status in Status::ALL {
        let before = Payment {
            status,
            ..payment(Provider::FinvyPay)
        };
        let fact = Fact {
            outcome: Outcome::Unrecognised,
            ..completion(Provider::FinvyPay, "x", "25.50", Some("USD"))
        };
        assert_eq!(before.apply(&fact, false, NOW).status, status);
    }
}

#[test]
fn digest_is_the_same_for_every_format_of_a_fact() {
    let a = completion(Provider::ApoloPay, "x", "25.5", None);
    let b = Fact {
        amount: Decimal::parse("25.50"),
        raw_status: "payment.completed".into(),
        reversals: Vec::new(),
        occurred_at: Some("now".into()),
        created_at: Some(NOW),
        ..a.clone()
    };
    assert_eq!(a.digest(), b.digest());
    for other in [
        completion(Provider::ApoloPay, "y", "25.5", None),
        completion(Provider::ApoloPay, "x", "25.6", None),
        Fact {
            outcome: Outcome::Failed,
            ..a.clone()
        },
        Fact {
            provider: Provider::FinvyPay,
            ..a.clone()
        },
    ] {
        assert_ne!(a.digest(), other.digest());
    }
}

fn fact() -> impl Strategy<Value = Fact> {
    let outcome = prop::sample::select(vec![
        Outcome::Pending,
        Outcome::Authorized,
        Outcome::Cancelled,
        Outcome::Failed,
        Outcome::Completed,
        Outcome::Unrecognised,
        Outcome::Contradictory,
        Outcome::Reversed,
    ]);
    (
        outcome,
        "[ab]",
        prop::sample::select(vec!["25.50", "25.5", "1", "none"]),
    )
        .prop_map(|(outcome, id, amount)| {
            if outcome == Outcome::Reversed {
                return reversed(ReversalKind::Refund, id == "a", Some(u64::from(amount == "1")));
            }
            Fact {
                outcome,
                ..completion(Provider::ApoloPay, &id, amount, None)
            }
        })
}

proptest! {
    #[test]
    fn facts_in_any_order_and_repetition_lead_to_the_same_status(
        facts in prop::collection::vec(fact(), 0..8),
        repeats in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        seed in any::<prop::sample::Selector>(),
    ) {
        let fold = |facts: &[Fact]| facts.iter().fold(payment(Provider::ApoloPay), |payment, fact| payment.apply(fact, false, NOW));
        let mut shuffled: Vec<Fact> = facts.clone();
        if !facts.is_empty() {
            shuffled.extend(repeats.iter().map(|index| index.get(&facts).clone()));
            let half = seed.select(0..facts.len());
            shuffled.rotate_left(half);
            shuffled.reverse();
        }
        let (one, other) = (fold(&facts), fold(&shuffled));
        prop_assert_eq!(one.status, other.status);
        let sorted = |payment: &Payment| -> BTreeSet<AttentionReason> { payment.attention.reasons().collect() };
        prop_assert_eq!(sorted(&one), sorted(&other));
        prop_assert_eq!(one.references, other.references);
        prop_assert_eq!(one.capture_references, other.capture_references);
    }

    #[test]
    fn status_never_decreases_and_version_increases_with_each_change(facts in prop::collection::vec(fact(), 0..12)) {
        let mut payment = payment(Provider::ApoloPay);
        for fact in &facts {
            let after = payment.apply(fact, false, NOW);
            prop_assert!(after.status >= payment.status);
            prop_assert_eq!(after.version > payment.version, after != payment);
            payment = after;
        }
    }
}

/// An unpaid FinvyPay payment with one id.
fn unpaid() -> Payment {
    let checkout_session = CheckoutSession {
        reference: Reference::parse("p").unwrap(),
        redirect_url: None,
        expires_at: None,
    };
    payment(Provider::FinvyPay).accept(checkout_session, [], NOW)
}

fn report(outcome: Outcome) -> Fact {
    Fact {
        outcome,
        raw_status: "x".to_owned(),
        ..completion(Provider::FinvyPay, "p", "25.50", Some("USD"))
    }
}

#[test]
fn unpaid_payment_is_deleted_only_if_nothing_suggests_money() {
    let wait = Duration::from_secs(400 * 24 * 60 * 60);
    let ids = |count: usize| (0..count).map(|nth| Reference::parse(&format!("id{nth}")).unwrap());
    let after = |outcome| unpaid().apply(&report(outcome), false, NOW);
    let mismatch = Fact {
        amount: Decimal::parse("1"),
        ..report(Outcome::Completed)
    };
    let attention = Payment {
        attention: AttentionList::new(
            vec![Attention::new(AttentionReason::AmountMismatch, NOW)],
            1,
            Acknowledged::default(),
        ),
        ..unpaid()
    };
    let failed_with_refund = Fact {
        outcome: Outcome::Failed,
        ..reversed(ReversalKind::Refund, false, None)
    };
    for (name, before, status, is_deleted) in [
        ("intent", payment(Provider::FinvyPay), Status::Expired, true),
        ("accepted", unpaid(), Status::Expired, true),
        ("rejected", unpaid().reject([], NOW), Status::Failed, true),
        ("pending", after(Outcome::Pending), Status::Expired, true),
        ("cancelled", after(Outcome::Cancelled), Status::Cancelled, true),
        ("failed", after(Outcome::Failed), Status::Failed, true),
        ("authorized", after(Outcome::Authorized), Status::Authorized, false),
        (
            "failed after an authorization",
            after(Outcome::Authorized).apply(&report(Outcome::Failed), false, NOW),
            Status::Failed,
            false,
        ),
        ("refunded", after(Outcome::Reversed), Status::Expired, false),
        ("completed", after(Outcome::Completed), Status::Completed, false),
        ("review", unpaid().apply(&mismatch, false, NOW), Status::Review, false),
        ("undocumented", after(Outcome::Unrecognised), Status::Expired, false),
        ("contradictory", after(Outcome::Contradictory), Status::Expired, false),
        (
            "failed after a contradiction",
            after(Outcome::Contradictory).apply(&report(Outcome::Failed), false, NOW),
            Status::Failed,
            false,
        ),
        ("attention", attention, Status::Expired, false),
        (
            "failed with a refund, acknowledged",
            unpaid()
                .apply(&failed_with_refund, false, NOW)
                .acknowledge(AttentionReason::Refunded, NOW),
            Status::Failed,
            false,
        ),
        ("20 ids", unpaid().add_references(ids(19), NOW), Status::Expired, true),
        ("21 ids", unpaid().add_references(ids(20), NOW), Status::Expired, false),
    ] {
        let due = before.expires_at();
        let early = Timestamp::from_millis(due.as_millis() - 1);
        assert_eq!(before.expire(early, Some(wait)), before, "{name}");
        let after = before.expire(due, Some(wait));
        let delete_at = is_deleted.then(|| Timestamp::from_seconds(due.plus(wait).as_seconds()));
        assert_eq!((after.status, after.delete_at), (status, delete_at), "{name}");
        let has_changed = u64::from(after != before);
        assert_eq!(after.version, before.version + has_changed, "{name}");
        assert_eq!(after.expire(due.plus(wait), Some(wait)), after, "{name}: only once");
        assert_eq!(before.expire(due, None).delete_at, None, "{name}: never");
    }
}

#[test]
fn payment_is_not_deleted_before_its_quote() {
    let wait = Duration::from_secs(400 * 24 * 60 * 60);
    let due = unpaid().expires_at();
    for (kept_until, delete_at) in [
        (due, due.plus(wait)),
        (due.plus(wait), due.plus(wait)),
        (due.plus(2 * wait), due.plus(2 * wait)),
    ] {
        let before = Payment {
            quote_kept_until: Some(kept_until),
            ..unpaid()
        };
        assert_eq!(before.expire(due, Some(wait)).delete_at, Some(delete_at));
    }
}

#[test]
fn any_change_keeps_an_expired_payment() {
    let due = unpaid().expires_at();
    let expired = unpaid().expire(due, Some(Duration::from_secs(1)));
    let session = unpaid().checkout_session.unwrap();
    let other = || [Reference::parse("q").unwrap()];
    for kept in [
        expired.apply(&report(Outcome::Pending), false, due),
        expired.apply(&report(Outcome::Unrecognised), false, due),
        expired.apply(&report(Outcome::Completed), true, due),
        expired.accept(session, other(), due),
        expired.reject([], due),
        expired.add_references(other(), due),
    ] {
        assert_eq!((kept.delete_at, kept.version), (None, expired.version + 1), "{kept:?}");
    }
    assert_eq!(expired.add_references([], due), expired, "no change");
}

/// It is never deleted, so it need not be remembered.
#[test]
fn contradiction_about_a_completed_payment_changes_nothing() {
    let completed = unpaid().apply(&report(Outcome::Completed), false, NOW);
    assert_eq!(completed.apply(&report(Outcome::Contradictory), false, NOW), completed);
}
