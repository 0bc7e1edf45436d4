//! The reconciler's schedule: when it checks a payment or an unmatched notification.
//!
//! Guarantee: everything that the reconciler must still check has a time for its next check, and nothing else has one.
//! The write that changes a payment's status may also change that time.
//!
//! A payment is unpaid if it is `creating`, `pending`, `expired`, `cancelled` or `failed`.
//!
//! | item | checks |
//! |---|---|
//! | unpaid, provider without status query (ApoloPay) | once, when it expires |
//! | unpaid, provider with status query (FinvyPay) | after one minute, five minutes later, then each time its age doubles, at least daily, for eight days or until it expires, whichever is later; also when it expires |
//! | unpaid FinvyPay payment, rejected without a provider id | as above, but they end at its expiry time. If the provider does not respond to that last check, they go on until it responds, for at most eight days |
//! | authorized FinvyPay payment | as for an unpaid one, for thirty days |
//! | unpaid or authorized FinvyPay payment, for which a contradictory message comes | at once, then as above |
//! | completed FinvyPay payment, for which a contradictory message comes | at once; if the provider does not respond, then each time its age doubles, at least daily, until it responds or the payment is eight days old |
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

/// Time from the creation of a payment that can be polled to its first check.
const FIRST_CHECK_AFTER: Duration = MINUTE;
/// Minimum backoff, and the time from an authorization to the next check.
const MIN_BACKOFF: Duration = Duration::from_secs(5 * 60);
/// Maximum time between two checks.
pub const MAX_BACKOFF: Duration = DAY;
/// Time from the first failed check of an item to its retry.
const FAILED_CHECK_BACKOFF: Duration = Duration::from_secs(2 * 60);
/// After so many failed checks in a row a payment counts as unprocessable: half an hour after the first.
pub const UNPROCESSABLE_AFTER: u64 = 5;
/// How long a completion that names only an order waits for its confirmation before a person should look.
pub const UNCONFIRMED_AFTER: Duration = DAY;
/// How long the provider is polled about an unpaid payment.
const POLL_WINDOW: Duration = Duration::from_secs(8 * 24 * 60 * 60);
/// How long after its expiry an unpaid payment is deleted, unless configured otherwise.
pub const DELETE_UNPAID_AFTER: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// How long the provider is polled about an authorized payment.
const AUTHORIZED_POLL_WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Items that are checked together. Each queue has its own share of a run's time, so that none starves another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// A provider's payments, to poll or to expire.
    Payments(Provider),
    /// Payments that need manual review.
    Review,
    /// Notifications without a known payment.
    Unmatched,
}

impl Queue {
    /// Every queue, in processing order: those with few provider calls first, the slowest last.
    pub fn all() -> impl Iterator<Item = Self> {
        let payments = |supports_status_query| {
            let providers = Provider::ALL.into_iter();
            providers
                .filter(move |provider| provider.capabilities().supports_status_query == supports_status_query)
                .map(Self::Payments)
        };
        [Self::Review]
            .into_iter()
            .chain(payments(false))
            .chain([Self::Unmatched])
            .chain(payments(true))
    }

    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Payments(provider) => provider.name(),
            Self::Review => "review",
            Self::Unmatched => "unmatched",
        }
    }

    /// Its share of a run's time, relative to the other queues.
    pub const fn share(self) -> u32 {
        match self {
            Self::Review => 1,
            Self::Payments(provider) if provider.capabilities().supports_status_query => 5,
            Self::Payments(_) | Self::Unmatched => 3,
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
            // The schedule may have ended before the authorization.
            Status::Authorized => Self::At(Queue::Payments(provider), now.plus(MIN_BACKOFF)),
            Status::Review => Self::At(Queue::Review, now),
            Status::Completed => Self::Remove,
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
        if can_be_polled && facts.into_iter().any(is_contradictory) {
            Self::At(Queue::Payments(after.provider), now)
        } else if before.status != after.status {
            Self::for_status(after.provider, after.status, now)
        } else if after.status == Status::Review && before.mismatches != after.mismatches {
            Self::AtUnlessScheduled(Queue::Review, now)
        } else {
            Self::Keep
        }
    }
}

/// Queue and time of a new payment's first check.
pub fn first_check(payment: &Payment) -> (Queue, Timestamp) {
    let at = if payment.provider.capabilities().supports_status_query {
        payment.created_at.plus(FIRST_CHECK_AFTER)
    } else {
        payment.expires_at()
    };
    (Queue::Payments(payment.provider), at)
}

/// Time of the check after one at `now`. `None` if there is no further one. `check_is_conclusive`: the provider
/// responded, or there was no need to poll it.
pub fn next_check_at(payment: &Payment, check_is_conclusive: bool, now: Timestamp) -> Option<Timestamp> {
    let age = now.since(payment.created_at);
    let expires_at = payment.expires_at();
    match (payment.status, payment.provider.capabilities().supports_status_query) {
        (Status::Completed, true) if !check_is_conclusive => (age < POLL_WINDOW).then(|| by_age(age, now)),
        (Status::Completed, _) => None,
        (Status::Review, _) => Some(now.plus(MAX_BACKOFF)),
        (Status::Creating | Status::Pending, false) => Some(expires_at.max(now)),
        (Status::Expired | Status::Authorized | Status::Cancelled | Status::Failed, false) => None,
        (Status::Creating | Status::Pending, true) if now < expires_at => Some(by_age(age, now).min(expires_at)),
        (Status::Authorized, true) => (age < AUTHORIZED_POLL_WINDOW).then(|| by_age(age, now)),
        (Status::Failed, true) if payment.is_rejected_without_provider_id() && check_is_conclusive => {
            (now < expires_at).then(|| by_age(age, now).min(expires_at))
        }
        (Status::Creating | Status::Pending | Status::Expired | Status::Cancelled | Status::Failed, true) => {
            (age < POLL_WINDOW).then(|| by_age(age, now))
        }
    }
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
