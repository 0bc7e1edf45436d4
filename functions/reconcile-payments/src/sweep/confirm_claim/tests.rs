use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::CaptureReference;
use payment_functions::domain::id::{OrderId, Reference};
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::provider::{Environment, Provider};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

fn report(outcome: Outcome, amount: &str) -> Notification {
    Notification {
        payment_id: None,
        fact: Fact {
            provider: Provider::FinvyPay,
            payment: None,
            transaction: Reference::parse("FP1"),
            order_id: OrderId::parse("o"),
            outcome,
            raw_status: "word".to_owned(),
            amount: Decimal::parse(amount),
            currency: Some("USD".to_owned()),
            reversals: Vec::new(),
            occurred_at: None,
            created_at: None,
            is_foreign: false,
            received_at: NOW,
            operator: None,
        },
    }
}

fn candidate(minor: u64, own_outcome: Option<Outcome>) -> Candidate {
    let money = Money::from_minor(minor, Currency::USD);
    let payment = Payment {
        order_id: OrderId::parse("o"),
        ..Payment::new(
            PaymentId::random(),
            Provider::FinvyPay,
            Environment::Sandbox,
            money,
            NOW,
        )
    };
    Candidate { payment, own_outcome }
}

fn paid_by(transaction: &str) -> Candidate {
    let mut candidate = candidate(2550, Some(Outcome::Completed));
    let mut fact = report(Outcome::Completed, "25.50").fact;
    fact.transaction = Reference::parse(transaction);
    candidate.payment.capture_references = CaptureReference::of(&fact);
    candidate
}

/// What follows for a claim of 25.50 USD: the index of the confirmed payment, or the decision.
fn decided(proof: Option<Notification>, payments: Vec<Candidate>, after: Duration) -> Result<usize, Confirmation> {
    let claim = report(Outcome::Completed, "25.50").fact;
    let findings = Findings {
        proof,
        payments,
        since: Some(NOW),
    };
    let decision = confirm(&claim, &findings, OrderMatching::default(), NOW.plus(after));
    let Confirmation::Confirmed(id) = decision else {
        return Err(decision);
    };
    let mut payments = findings.payments.iter();
    Ok(payments.position(|candidate| candidate.payment.id == id).unwrap())
}

#[test]
fn claim_is_confirmed_only_by_the_same_transaction_order_and_money() {
    use Confirmation::{Denied, Open};
    let of = |change: fn(&mut Notification)| {
        let mut proof = report(Outcome::Completed, "25.5");
        change(&mut proof);
        Some(proof)
    };
    for (name, proof, expected) in [
        ("unknown to the provider", None, Err(Open)),
        ("the same", of(|_| {}), Ok(0)),
        (
            "our id of another payment",
            of(|proof| proof.payment_id = Some(PaymentId::random())),
            Err(Denied),
        ),
        (
            "other metadata",
            of(|proof| (proof.fact.is_foreign, proof.fact.order_id) = (true, None)),
            Err(Denied),
        ),
        ("no order", of(|proof| proof.fact.order_id = None), Err(Open)),
        ("no amount", of(|proof| proof.fact.amount = None), Err(Open)),
        ("no currency", of(|proof| proof.fact.currency = None), Err(Open)),
        (
            "no order, other money",
            of(|proof| (proof.fact.order_id, proof.fact.amount) = (None, Decimal::parse("25.51"))),
            Err(Denied),
        ),
        (
            "another order, no money",
            of(|proof| (proof.fact.order_id, proof.fact.amount) = (OrderId::parse("p"), None)),
            Err(Denied),
        ),
        (
            "another order",
            of(|proof| proof.fact.order_id = OrderId::parse("p")),
            Err(Denied),
        ),
        (
            "other money",
            of(|proof| proof.fact.amount = Decimal::parse("25.51")),
            Err(Denied),
        ),
        (
            "another currency",
            of(|proof| proof.fact.currency = Some("EUR".to_owned())),
            Err(Denied),
        ),
        ("failed", of(|proof| proof.fact.outcome = Outcome::Failed), Err(Denied)),
        (
            "cancelled",
            of(|proof| proof.fact.outcome = Outcome::Cancelled),
            Err(Denied),
        ),
        ("pending", of(|proof| proof.fact.outcome = Outcome::Pending), Err(Open)),
        (
            "authorized",
            of(|proof| proof.fact.outcome = Outcome::Authorized),
            Err(Open),
        ),
        (
            "unrecognised",
            of(|proof| proof.fact.outcome = Outcome::Unrecognised),
            Err(Open),
        ),
        (
            "contradictory",
            of(|proof| proof.fact.outcome = Outcome::Contradictory),
            Err(Open),
        ),
        (
            "went back",
            of(|proof| proof.fact.outcome = Outcome::Reversed),
            Err(Open),
        ),
    ] {
        assert_eq!(decided(proof, vec![candidate(2550, None)], MINUTE), expected, "{name}");
    }
}

#[test]
fn report_of_the_payment_itself_must_not_contradict() {
    use Confirmation::{Denied, Open};
    for (own, soon, late) in [
        (None, Ok(0), Ok(0)),
        (Some(Outcome::Completed), Ok(0), Ok(0)),
        (Some(Outcome::Pending), Ok(0), Err(Denied)),
        (Some(Outcome::Authorized), Ok(0), Err(Denied)),
        (Some(Outcome::Failed), Err(Denied), Err(Denied)),
        (Some(Outcome::Cancelled), Err(Denied), Err(Denied)),
        (Some(Outcome::Unrecognised), Err(Open), Err(Open)),
        (Some(Outcome::Contradictory), Err(Open), Err(Open)),
        (Some(Outcome::Reversed), Err(Open), Err(Open)),
    ] {
        let proof = || Some(report(Outcome::Completed, "25.50"));
        assert_eq!(
            decided(proof(), vec![candidate(2550, own)], 15 * MINUTE),
            soon,
            "{own:?}"
        );
        assert_eq!(
            decided(proof(), vec![candidate(2550, own)], 16 * MINUTE),
            late,
            "{own:?}"
        );
    }
}

#[test]
fn of_several_payments_exactly_one_must_be_meant() {
    let paid = Some(Outcome::Completed);
    let pending = Some(Outcome::Pending);
    let later = || {
        let mut later = candidate(2550, paid);
        later.payment.created_at = NOW.plus(MINUTE);
        later
    };
    let of_another_order = || {
        let mut other = candidate(2550, paid);
        other.payment.order_id = OrderId::parse("p");
        other
    };
    for (name, payments, expected) in [
        ("none", vec![], None),
        (
            "one with the money",
            vec![candidate(100, paid), candidate(2550, None)],
            Some(1),
        ),
        (
            "only one of other money goes to review",
            vec![candidate(100, None)],
            Some(0),
        ),
        (
            "several of other money",
            vec![candidate(100, paid), candidate(200, None)],
            None,
        ),
        (
            "one of several is paid",
            vec![candidate(2550, pending), candidate(2550, paid)],
            Some(1),
        ),
        (
            "several are paid",
            vec![candidate(2550, paid), candidate(2550, paid)],
            None,
        ),
        (
            "none of several is paid",
            vec![candidate(2550, None), candidate(2550, pending)],
            None,
        ),
        (
            "paid by another transaction",
            vec![candidate(2550, pending), paid_by("FP2")],
            None,
        ),
        (
            "paid by this transaction",
            vec![candidate(2550, pending), paid_by("FP1")],
            Some(1),
        ),
        ("created after the claim", vec![later()], None),
        ("of another order", vec![of_another_order()], None),
        (
            "created after the claim, and one before",
            vec![later(), candidate(2550, None)],
            Some(1),
        ),
    ] {
        let decision = decided(Some(report(Outcome::Completed, "25.50")), payments, MINUTE);
        assert_eq!(decision, expected.ok_or(Confirmation::Open), "{name}");
    }
}

/// The provider's list brings the transaction again, and again as a claim.
#[test]
fn pending_limit_begins_with_the_first_report_of_a_transaction() {
    let mut claim = report(Outcome::Completed, "25.50").fact;
    claim.received_at = NOW.plus(16 * MINUTE);
    let findings = Findings {
        proof: Some(report(Outcome::Completed, "25.50")),
        payments: vec![candidate(2550, Some(Outcome::Pending))],
        since: Some(NOW),
    };
    let decision = confirm(&claim, &findings, OrderMatching::default(), claim.received_at);
    assert_eq!(decision, Confirmation::Denied);
}
