//! The reconciler's schedule: when it checks a payment or an unmatched notification.
//!
//! Guarantee: everything that the reconciler must still check has a time for its next check, and nothing else has one.
//! The write that changes a payment's status may also change that time.
//!
//! A payment is unpaid if it is `creating`, `pending`, `expired`, `cancelled` or `failed`.
//!
//! | item | checks |
//! |---|---|
//! | unpaid | once, when it expires: [`Queue::Expiry`]. Its provider's list is read in bulk meanwhile, and for eight days: [`list_reading`](crate::domain::list_reading) |
//! | the same, while the list cannot be read | as above, then each time its age doubles, at least daily, for eight days |
//! | unpaid or authorized, with evidence of money that a single call may settle: authorized, contradictory, unrecognised | at once (authorized: after five minutes), then each time its age doubles, at least daily, for eight days; authorized for thirty |
//! | completed, for which a contradictory message comes | at once; if the provider does not respond, then each time its age doubles, at least daily, until it responds or the payment is eight days old |
//! | in `review` | at once, then daily until it is completed or an operator closes it; again if another mismatching completion arrives later |
//! | anything whose check fails | two minutes later, then after twice the time with each failure in a row, at least daily |
//! | unmatched notification | at once, and at once again whenever another is stored under the same key; otherwise a minute later, then each time its age doubles, at least daily, and when it is a day old, until it is deleted |

use std::time::Duration;

use crate::domain::fact::{Fact, Outcome};
use crate::domain::payment::Payment;
use crate::domain::provider::Provider;
use crate::domain::status::Status;
use crate::domain::time::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Minimum backoff, and the time from an authorization to the next check.
const MIN_BACKOFF: Duration = Duration::from_secs(5 * 60);
/// Bound of [`expiry_tolerance`].
const MAX_EXPIRY_TOLERANCE: Duration = Duration::from_secs(15);
/// Maximum time between two checks.
pub const MAX_BACKOFF: Duration = DAY;
/// Time from the first failed check of an item to its retry.
const FAILED_CHECK_BACKOFF: Duration = Duration::from_secs(2 * 60);
/// After so many failed checks in a row a payment counts as unprocessable: half an hour after the first.
pub const UNPROCESSABLE_AFTER: u64 = 5;
/// How long a completion that names only an order waits for its confirmation before a person should look.
pub const UNCONFIRMED_AFTER: Duration = DAY;
/// How long the provider is polled about a payment.
const POLL_WINDOW: Duration = Duration::from_secs(8 * 24 * 60 * 60);
/// How long after its expiry an unpaid payment is deleted, unless configured otherwise.
pub const DELETE_UNPAID_AFTER: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// How long the provider is polled about an authorized payment.
const AUTHORIZED_POLL_WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Items that are checked in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Payments that expire. No call to a provider.
    Expiry,
    /// Payments with evidence of money, to poll singly.
    Poll,
    /// Payments that need manual review.
    Review,
    /// Notifications without a known payment.
    Unmatched,
}

impl Queue {
    /// Every queue.
    pub const ALL: [Self; 4] = [Self::Expiry, Self::Poll, Self::Review, Self::Unmatched];

    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expiry => "expiry",
            Self::Poll => "poll",
            Self::Review => "review",
            Self::Unmatched => "unmatched",
        }
    }

    /// Number of shards in the index, so that writes spread over its partitions. See docs/scale.md for its limits, and
    /// for how to change it. A power of two, at most 128.
    pub const fn shards(self) -> u8 {
        match self {
            Self::Expiry => 4,
            Self::Poll | Self::Review | Self::Unmatched => 1,
        }
    }
}

/// How a change of a payment changes its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleChange {
    /// The next check stays as it is.
    Keep,
    /// The next check is at this time.
    At(Queue, Timestamp),
    /// The next check is at this time, unless one is already scheduled.
    AtUnlessScheduled(Queue, Timestamp),
    /// There is no next check: the payment is completed, or its review was closed.
    Remove,
}

impl ScheduleChange {
    /// The change when a payment reaches `status` at `now`.
    pub fn for_status(provider: Provider, status: Status, now: Timestamp) -> Self {
        match status {
            Status::Creating | Status::Pending | Status::Expired | Status::Cancelled | Status::Failed => Self::Keep,
            Status::Authorized if provider.capabilities().supports_status_query => {
                Self::At(Queue::Poll, now.plus(MIN_BACKOFF))
            }
            // Nobody can be asked. It expires no more.
            Status::Authorized | Status::Completed => Self::Remove,
            Status::Review => Self::At(Queue::Review, now),
        }
    }

    /// The change when a payment changes from `before` to `after` at `now`, because of `facts`.
    pub fn between<'a>(
        before: &Payment,
        after: &Payment,
        facts: impl IntoIterator<Item = &'a Fact>,
        now: Timestamp,
    ) -> Self {
        let is_contradictory = |fact: &Fact| fact.outcome == Outcome::Contradictory;
        // One in review is polled daily, until a person closes it.
        let can_be_polled = after.status != Status::Review && after.provider.capabilities().supports_status_query;
        let is_evidence_new = after.has_evidence_of_money && !before.has_evidence_of_money;
        let for_status = Self::for_status(after.provider, after.status, now);
        if can_be_polled && facts.into_iter().any(is_contradictory) {
            Self::At(Queue::Poll, now)
        } else if before.status != after.status && for_status != Self::Keep {
            for_status
        } else if after.status == Status::Review && before.mismatches != after.mismatches {
            Self::AtUnlessScheduled(Queue::Review, now)
        } else if can_be_polled && is_evidence_new && after.status != Status::Completed {
            Self::At(Queue::Poll, now)
        } else if after.status.is_payable() && !after.has_evidence_of_money && !is_near(before, after) {
            Self::At(Queue::Expiry, after.expires_at())
        } else {
            Self::Keep
        }
    }
}

/// Time of a new payment's first check, in [`Queue::Expiry`]: when it expires, if the provider names no other time. It
/// is late enough for one that names the usual time, so that nothing needs to be written then.
pub fn first_check_at(payment: &Payment) -> Timestamp {
    payment.expires_at().plus(expiry_tolerance(payment))
}

/// Whether a payment that was to be checked first as `before` may be checked then as `after`.
fn is_near(before: &Payment, after: &Payment) -> bool {
    let (before_at, after_at) = (before.expires_at(), after.expires_at());
    before_at.since(after_at).max(after_at.since(before_at)) <= expiry_tolerance(after)
}

/// How much later than its expiry a payment may be checked: as long as the call may take that learns the exact time.
/// Nothing, if the provider names no time.
fn expiry_tolerance(payment: &Payment) -> Duration {
    payment.provider.capabilities().expiry_grace.min(MAX_EXPIRY_TOLERANCE)
}

/// Time of the next check of a payment in [`Queue::Expiry`] that was checked at `now`. `None` if there is none: it
/// waits for a webhook, or for the provider's list. `is_list_read`: that list was read as it should be, or there is none.
pub fn next_expiry_check_at(payment: &Payment, is_list_read: bool, now: Timestamp) -> Option<Timestamp> {
    let age = now.since(payment.created_at);
    if payment.status.is_payable() && now < payment.expires_at() {
        return Some(payment.expires_at());
    }
    let waits = !is_list_read && payment.provider.capabilities().supports_status_query;
    (waits && payment.status < Status::Review && age < POLL_WINDOW).then(|| by_age(age, now))
}

/// Time of the next check of a payment in [`Queue::Poll`] or [`Queue::Review`] that was checked at `now`. `None` if there
/// is no further one. `is_conclusive`: the provider responded, or there was no need to poll it.
pub fn next_poll_at(payment: &Payment, is_conclusive: bool, now: Timestamp) -> Option<Timestamp> {
    let age = now.since(payment.created_at);
    let window = match payment.status {
        Status::Review => return Some(now.plus(MAX_BACKOFF)),
        Status::Completed if is_conclusive => return None,
        Status::Authorized => AUTHORIZED_POLL_WINDOW,
        Status::Creating
        | Status::Pending
        | Status::Expired
        | Status::Cancelled
        | Status::Failed
        | Status::Completed => POLL_WINDOW,
    };
    let next = (age < window && payment.provider.capabilities().supports_status_query).then(|| by_age(age, now));
    if payment.status.is_payable() && now < payment.expires_at() {
        return next.map(|next| next.min(payment.expires_at()));
    }
    next
}

/// Time of the retry if the check at `now` could not finish polling the provider. The next run retries it, but first
/// checks the items that this run did not reach, because these have been due for longer.
pub fn retry_check_at(now: Timestamp) -> Timestamp {
    now.plus(MINUTE)
}

/// Time of the retry after `failures` checks in a row have failed, the last one at `now`.
pub fn retry_failed_check_at(failures: u64, now: Timestamp) -> Timestamp {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let wait = FAILED_CHECK_BACKOFF.saturating_mul(2_u32.saturating_pow(doublings));
    now.plus(wait.min(MAX_BACKOFF))
}

/// Time of the next check of an unmatched notification that was checked at `now`.
pub fn next_unmatched_check_at(unmatched_since: Timestamp, now: Timestamp) -> Timestamp {
    let age = now.since(unmatched_since);
    let next = now.plus(age.clamp(MINUTE, MAX_BACKOFF));
    let unconfirmed_at = unmatched_since.plus(UNCONFIRMED_AFTER);
    if now < unconfirmed_at {
        next.min(unconfirmed_at)
    } else {
        next
    }
}

/// Exponential backoff: wait as long as the item is old, within bounds.
fn by_age(age: Duration, now: Timestamp) -> Timestamp {
    now.plus(age.clamp(MIN_BACKOFF, MAX_BACKOFF))
}

#[cfg(test)]
mod tests;
