//! What a run did, and what only a person can settle.

use std::time::Duration;

use payment_functions::domain::id::{OrderId, PaymentId};
use payment_functions::domain::money::{Amount, Currency};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use serde::Serialize;

/// The most matters that a report names; the rest is counted, and every one is logged.
const NAMED: usize = 100;

/// Why a person must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Matter {
    /// Money moved that does not match.
    Review,
    /// A payment expired without a word, and its provider cannot be asked, so that a lost webhook looks just like that.
    Unconfirmed,
    /// The provider did not say in all the time whether an authorized payment was paid.
    Unsettled,
    /// The provider knows nothing of a payment that expired, or was not heard at the last look at one that is not paid.
    PollError,
    /// The provider names the state of a payment that is not paid by a word that nobody documented, so that it may be paid.
    Unrecognised,
    /// An event, and no payment is known that it is about.
    Unmatched,
}

/// Something for a person.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForAPerson {
    /// Why.
    pub matter: Matter,
    /// Whose provider.
    pub provider: Provider,
    /// The payment, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<PaymentId>,
    /// Under what it is parked, where it is about an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmatched_under: Option<String>,
    /// The shop's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// The payment's amount, in major units of `currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// The payment's currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
}

impl ForAPerson {
    /// About a payment.
    pub fn about(payment: &Payment, matter: Matter) -> Self {
        Self {
            matter,
            provider: payment.provider,
            payment_id: Some(payment.id),
            unmatched_under: None,
            order_id: payment.order_id.clone(),
            amount: Some(payment.money.amount()),
            currency: Some(payment.money.currency()),
        }
    }

    /// About what is parked in a place.
    pub fn about_unmatched(provider: Provider, place: &str, order_id: Option<OrderId>) -> Self {
        Self {
            matter: Matter::Unmatched,
            provider,
            payment_id: None,
            unmatched_under: Some(place.to_owned()),
            order_id,
            amount: None,
            currency: None,
        }
    }
}

/// What a run did.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Payments and parked events that were looked at.
    pub checked: u32,
    /// Payments whose status changed by what the provider said.
    pub resolved: u32,
    /// Payments that expired.
    pub expired: u32,
    /// Places in which events were parked and are no more.
    pub collected: u32,
    /// What could not be looked at because of an error; it is tried again.
    pub failed: u32,
    /// For how long the oldest of what was due had been due when the run began, in seconds; zero where nothing was.
    pub lag_seconds: u64,
    /// Whether something that is due was left for the next run.
    pub unfinished: bool,
    /// The age of the oldest event that is still parked, of those looked at, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_unmatched_seconds: Option<u64>,
    /// How many matters there are for a person.
    pub for_a_person_count: u32,
    /// The first hundred of them.
    pub for_a_person: Vec<ForAPerson>,
}

/// One more.
pub fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}

impl Report {
    /// Leaves something to a person.
    pub fn leave(&mut self, matter: ForAPerson) {
        tracing::warn!(
            matter = ?matter.matter,
            provider = %matter.provider,
            payment = matter.payment_id.map(tracing::field::display),
            unmatched_under = matter.unmatched_under,
            "a person must look",
        );
        count(&mut self.for_a_person_count);
        if self.for_a_person.len() < NAMED {
            self.for_a_person.push(matter);
        }
    }

    /// Notes for how long something has been due.
    pub fn was_due_for(&mut self, time: Duration) {
        self.lag_seconds = self.lag_seconds.max(time.as_secs());
    }

    /// Notes how old a parked event is.
    pub fn still_unmatched(&mut self, age: Duration) {
        self.oldest_unmatched_seconds = self.oldest_unmatched_seconds.max(Some(age.as_secs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_that_of_the_oldest_in_whatever_order_it_comes() {
        for times in [[40, 10, 0], [0, 10, 40], [10, 40, 0]] {
            let mut report = Report::default();
            for seconds in times {
                report.was_due_for(Duration::from_secs(seconds));
            }
            assert_eq!(report.lag_seconds, 40, "{times:?}");
        }
    }
}
