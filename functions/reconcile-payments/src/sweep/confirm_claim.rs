//! Decides what the provider's reports say about a claim: a completion that names only an order.
//!
//! Guarantee: a claim is confirmed only if the provider reports the same transaction as paid, for the same order and
//! money, and nothing that it says of the payment contradicts that.

use std::time::Duration;

use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::PaymentId;
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::time::Timestamp;
use payment_functions::providers::Notification;

/// How long the provider may report a payment as pending although its transaction is paid.
const PENDING_LIMIT: Duration = Duration::from_secs(15 * 60);

/// What the provider and the table say about a group of notifications.
#[derive(Debug)]
pub(super) struct Findings {
    /// The provider's report under the id of the group.
    pub proof: Option<Notification>,
    /// The payment that the report names in its metadata, or else the payments of the order.
    pub payments: Vec<Candidate>,
    /// When the first claim was received.
    pub since: Option<Timestamp>,
}

impl Findings {
    /// The payment that the provider's report names in its metadata. It may not exist.
    pub fn named_payment(&self) -> Option<PaymentId> {
        self.proof.as_ref()?.payment_id
    }
}

/// A payment that a claim may mean.
#[derive(Debug)]
pub(super) struct Candidate {
    pub payment: Payment,
    /// What the provider reports under the id that it gave at the payment's creation; `None` if it knows nothing.
    pub own_outcome: Option<Outcome>,
}

/// What follows for a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// It is this payment's.
    Confirmed(PaymentId),
    /// The provider says otherwise.
    Denied,
    /// The provider does not know yet or says too little, or several payments may be meant.
    Open,
}

/// Decides about a claim at `now`.
pub(super) fn confirm(claim: &Fact, findings: &Findings, matching: OrderMatching, now: Timestamp) -> Confirmation {
    let Some(proof) = &findings.proof else {
        return Confirmation::Open;
    };
    match proof.fact.outcome {
        Outcome::Completed => {}
        Outcome::Failed | Outcome::Cancelled => return Confirmation::Denied,
        Outcome::Pending | Outcome::Authorized | Outcome::Unrecognised | Outcome::Contradictory | Outcome::Reversed => {
            return Confirmation::Open;
        }
    }
    let (order, money) = (&proof.fact.order_id, proof.fact.money());
    let has_other_order = order.is_some() && *order != claim.order_id;
    let has_other_money = money.is_some() && money != claim.money();
    if proof.fact.is_foreign || has_other_order || has_other_money {
        return Confirmation::Denied;
    }
    if order.is_none() || money.is_none() {
        return Confirmation::Open;
    }
    if let Some(named) = proof.payment_id {
        let mut payments = findings.payments.iter().map(|candidate| candidate.payment.id);
        return payments
            .find(|id| *id == named)
            .map_or(Confirmation::Denied, Confirmation::Confirmed);
    }
    let matching = matching.of_report(&proof.fact);
    let Some(candidate) = meant_payment(claim, findings, matching) else {
        return Confirmation::Open;
    };
    // The provider's own report of the transaction is stored as a claim too, later than the webhook.
    let since = findings
        .since
        .map_or(claim.received_at, |since| since.min(claim.received_at));
    match candidate.own_outcome {
        None | Some(Outcome::Completed) => Confirmation::Confirmed(candidate.payment.id),
        Some(Outcome::Failed | Outcome::Cancelled) => Confirmation::Denied,
        Some(Outcome::Pending | Outcome::Authorized) if now.since(since) > PENDING_LIMIT => Confirmation::Denied,
        Some(Outcome::Pending | Outcome::Authorized) => Confirmation::Confirmed(candidate.payment.id),
        Some(Outcome::Unrecognised | Outcome::Contradictory | Outcome::Reversed) => Confirmation::Open,
    }
}

/// The payment that a claim means. Of several, the only one that the provider reports as paid, unless it was paid by
/// another transaction.
fn meant_payment<'a>(claim: &Fact, findings: &'a Findings, matching: OrderMatching) -> Option<&'a Candidate> {
    let meant = possibly_meant(claim, &findings.payments, |candidate| &candidate.payment, matching);
    if let [only] = meant.as_slice() {
        return Some(*only);
    }
    let mut paid = meant.into_iter().filter(|candidate| {
        candidate.own_outcome == Some(Outcome::Completed) && !candidate.payment.is_second_capture(claim)
    });
    paid.next().filter(|_| paid.next().is_none())
}

/// The payments that a claim may mean: of those of its order that existed before it, those with its money. If none has
/// it, the only one of the order, which then goes to review.
pub(super) fn possibly_meant<'a, T>(
    claim: &Fact,
    candidates: &'a [T],
    payment_of: impl Fn(&T) -> &Payment,
    matching: OrderMatching,
) -> Vec<&'a T> {
    let existed = |candidate: &&T| {
        let payment = payment_of(candidate);
        payment.order_id == claim.order_id && matching.existed_before(payment, claim)
    };
    let existing: Vec<&T> = candidates.iter().filter(existed).collect();
    let has_money = |candidate: &&T| claim.money() == Some(payment_of(candidate).money);
    let with_money: Vec<&T> = existing.iter().copied().filter(has_money).collect();
    if with_money.is_empty() && existing.len() == 1 {
        existing
    } else {
        with_money
    }
}

#[cfg(test)]
mod tests;
