//! When a payment, or an event without one, is looked at next: the reconciler's timetable.
//!
//! Guarantee: what is not settled has a time at which it is looked at, and what is settled has none. Whoever changes a
//! status changes the time in the same write.
//!
//! | what | when |
//! |---|---|
//! | not paid, and its provider cannot be asked (ApoloPay) | once, when it expires |
//! | not paid, and its provider can be asked (FinvyPay) | after a minute, five minutes later, then at twice the age each time and daily at last, for eight days; also when it expires |
//! | the same, refused, and no id of it is known | the same until it would have expired, and later if the provider could not be asked then |
//! | the same, authorized | the same for thirty days |
//! | in `review` | at once and then daily, until a person has dealt with it; again when more money comes after that |
//! | parked | after a minute, then at twice the age each time and daily at last, as long as it is kept |

use std::time::Duration;

use crate::domain::payment::Payment;
use crate::domain::provider::Provider;
use crate::domain::status::Status;
use crate::domain::time::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long after its creation, or its parking, something is first looked at.
const FIRST: Duration = MINUTE;
/// The least time between two looks.
const MIN_BACKOFF: Duration = Duration::from_secs(5 * 60);
/// The most time between two looks.
pub const LATEST: Duration = DAY;
/// How long a provider is asked about a payment.
const POLL_WINDOW: Duration = Duration::from_secs(8 * 24 * 60 * 60);
/// How long a provider is asked about money that is promised.
const AUTHORIZED_POLL_WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What is looked at together. Each has its own share of the reconciler's time, so that none starves another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// A provider's payments: to ask about, or to expire where it cannot be asked.
    Of(Provider),
    /// Payments that a person must look at.
    Review,
    /// Events that no payment is known for.
    Unmatched,
}

impl Queue {
    /// Every queue, in the order in which they are worked off: first what needs no provider, last what takes longest.
    pub fn all() -> impl Iterator<Item = Self> {
        let of = |supports_status_query| {
            let providers = Provider::ALL.into_iter();
            providers
                .filter(move |provider| provider.capabilities().supports_status_query == supports_status_query)
                .map(Self::Of)
        };
        [Self::Review]
            .into_iter()
            .chain(of(false))
            .chain([Self::Unmatched])
            .chain(of(true))
    }

    /// The name, as it is stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Of(provider) => provider.name(),
            Self::Review => "review",
            Self::Unmatched => "unmatched",
        }
    }

    /// Its share of the reconciler's time, beside those of the others.
    pub const fn share(self) -> u32 {
        match self {
            Self::Review => 1,
            Self::Of(provider) if provider.capabilities().supports_status_query => 5,
            Self::Of(_) | Self::Unmatched => 3,
        }
    }
}

/// What a change of a payment does to the timetable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Keep,
    /// It is looked at then.
    At(Queue, Timestamp),
    /// It is looked at then, unless it is looked at anyway.
    Resume(Queue, Timestamp),
    /// It is settled.
    Never,
}

impl Change {
    /// What reaching `rung` does, at `now`.
    pub fn on(provider: Provider, rung: Status, now: Timestamp) -> Self {
        match rung {
            Status::Creating | Status::Pending | Status::Expired | Status::Cancelled | Status::Failed => Self::Keep,
            // It may have been given up already.
            Status::Authorized => Self::At(Queue::Of(provider), now.plus(MIN_BACKOFF)),
            Status::Review => Self::At(Queue::Review, now),
            Status::Completed => Self::Never,
        }
    }

    /// What a change of a payment does, at `now`.
    pub fn between(before: &Payment, after: &Payment, now: Timestamp) -> Self {
        if before.status != after.status {
            Self::on(after.provider, after.status, now)
        } else if after.status == Status::Review && before.noted != after.noted {
            Self::Resume(Queue::Review, now)
        } else {
            Self::Keep
        }
    }
}

/// When a new payment is first looked at.
pub fn first_check(payment: &Payment) -> (Queue, Timestamp) {
    let at = if payment.provider.capabilities().supports_status_query {
        payment.created_at.plus(FIRST)
    } else {
        payment.expires_at()
    };
    (Queue::Of(payment.provider), at)
}

/// When a payment that was looked at is looked at again. `answered` tells whether its provider could be asked about it.
pub fn next_check(payment: &Payment, answered: bool, now: Timestamp) -> Option<Timestamp> {
    let age = now.since(payment.created_at);
    let expires_at = payment.expires_at();
    match (payment.status, payment.provider.capabilities().supports_status_query) {
        (Status::Completed, _) => None,
        (Status::Review, _) => Some(now.plus(LATEST)),
        (Status::Creating | Status::Pending, false) => Some(expires_at.max(now)),
        (Status::Expired | Status::Authorized | Status::Cancelled | Status::Failed, false) => None,
        (Status::Creating | Status::Pending, true) if now < expires_at => Some(by_age(age, now).min(expires_at)),
        (Status::Authorized, true) => (age < AUTHORIZED_POLL_WINDOW).then(|| by_age(age, now)),
        (Status::Failed, true) if payment.is_only_rejected() && answered => {
            (now < expires_at).then(|| by_age(age, now).min(expires_at))
        }
        (Status::Creating | Status::Pending | Status::Expired | Status::Cancelled | Status::Failed, true) => {
            (age < POLL_WINDOW).then(|| by_age(age, now))
        }
    }
}

/// When something is looked at again that its provider could not be asked about, or not about all of it: by the next run, after
/// what this one did not come to.
pub fn next_check_without_poll(now: Timestamp) -> Timestamp {
    now.plus(MINUTE)
}

/// When an event is first looked at after it was parked.
pub fn first_check_of_unmatched(now: Timestamp) -> Timestamp {
    now.plus(FIRST)
}

/// When a parked event that was looked at is looked at again.
pub fn next_check_of_unmatched(unmatched_since: Timestamp, now: Timestamp) -> Timestamp {
    by_age(now.since(unmatched_since), now)
}

/// Each wait is as long as everything before it.
fn by_age(age: Duration, now: Timestamp) -> Timestamp {
    now.plus(age.clamp(MIN_BACKOFF, LATEST))
}

#[cfg(test)]
mod tests;
