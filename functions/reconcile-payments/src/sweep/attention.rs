//! Decides which reasons for attention the check of a payment brings. Other reasons come with facts.

use payment_functions::domain::attention::AttentionReason;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::status::Status;

use super::poll_payment::Heard;
use crate::poller::PollError;

/// The reasons that a check raises and resolves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AttentionChange {
    pub raised: Vec<AttentionReason>,
    pub resolved: Vec<AttentionReason>,
}

/// What a check of `payment` brings. `is_last`: the schedule has no further check.
pub(super) fn attention_after_check(
    payment: &Payment,
    polled: &Result<Heard, PollError>,
    is_last: bool,
) -> AttentionChange {
    let mut change = AttentionChange {
        resolved: vec![AttentionReason::Unprocessable],
        ..AttentionChange::default()
    };
    if is_last && payment.status == Status::Authorized {
        change.raised.push(AttentionReason::StillAuthorized);
    }
    // A completed payment is only checked because a message contradicted it.
    let has_evidence_of_money = payment.has_evidence_of_money || payment.status == Status::Completed;
    match polled {
        Ok(Heard::Known) => change.resolved.push(AttentionReason::ProviderSilent),
        // The provider would respond, but our own limit does not let us ask.
        Err(PollError::NoSlot) => {}
        Ok(Heard::Nothing | Heard::Contradictory)
        | Err(PollError::ProviderRefusesAll | PollError::Call(_) | PollError::Store(_)) => {
            if is_last && has_evidence_of_money {
                change.raised.push(AttentionReason::ProviderSilent);
            }
        }
    }
    change
}

#[cfg(test)]
mod tests;
