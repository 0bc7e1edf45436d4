//! Decides whether a person must review a payment.

use std::time::Duration;

use payment_functions::domain::provider::Provider;
use payment_functions::domain::schedule;
use payment_functions::domain::status::Status;

use super::poll_payment::Heard;
use crate::report::Matter;

/// The findings of one check of a payment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Findings {
    /// The payment's provider.
    pub provider: Provider,
    /// The payment's status after the check.
    pub status: Status,
    /// Whether the buyer could still pay just before this check's expiry step.
    pub was_payable: bool,
    /// What the provider said about the payment. `None` if polling failed, `Known` if there was no need to poll.
    pub heard: Option<Heard>,
    /// The time until the next check. `None` if this was the last.
    pub next_in: Option<Duration>,
}

/// Why a person must review the payment. `None` if nobody must.
pub(super) fn reason_for(findings: &Findings) -> Option<Matter> {
    let &Findings { heard, next_in, .. } = findings;
    let is_last = next_in.is_none();
    let is_rare = next_in.is_none_or(|next_in| next_in >= schedule::MAX_BACKOFF);
    let supports_status_query = findings.provider.capabilities().supports_status_query;
    match (findings.status, supports_status_query) {
        (Status::Review, _) => Some(Matter::Review),
        // Also if an earlier run expired the payment, and died before it could report that.
        (Status::Expired, false) => Some(Matter::Unconfirmed),
        (Status::Authorized, true) if is_last => Some(Matter::Unsettled),
        (Status::Expired | Status::Cancelled | Status::Failed, true) if heard == Some(Heard::Unrecognised) => {
            (findings.was_payable || is_rare).then_some(Matter::Unrecognised)
        }
        (Status::Expired, true) if is_last && heard != Some(Heard::Known) => Some(Matter::Unanswered),
        // It may be paid under another id.
        (Status::Cancelled | Status::Failed, true) if is_last && heard.is_none() => Some(Matter::Unanswered),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
