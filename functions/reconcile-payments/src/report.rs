//! The report of a run: its counts, and what needs manual review.

use std::time::Duration;

use payment_functions::domain::id::{OrderId, PaymentId};
use payment_functions::domain::money::{Amount, Currency};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use serde::Serialize;

/// Maximum number of matters in a report. The rest is only counted and logged.
const MAX_LISTED: usize = 100;

/// Why a person must review something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Matter {
    /// The buyer paid, but not this payment's amount in its currency, or under an id that belongs to another payment.
    Review,
    /// A payment expired whose provider cannot be polled. A lost webhook looks the same.
    Unconfirmed,
    /// An authorized payment was neither paid nor cancelled by its last check.
    Unsettled,
    /// At the last check of an unpaid payment the provider could not be reached, or it did not know an expired one.
    Unanswered,
    /// The provider reports an undocumented status of an unpaid payment, which may mean that it was paid.
    Unrecognised,
    /// Notifications for which no payment is known.
    Unmatched,
}

impl Matter {
    /// The name in reports and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::Unconfirmed => "unconfirmed",
            Self::Unsettled => "unsettled",
            Self::Unanswered => "unanswered",
            Self::Unrecognised => "unrecognised",
            Self::Unmatched => "unmatched",
        }
    }
}

/// A payment, or unmatched notifications, for manual review.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForAPerson {
    /// The reason.
    pub matter: Matter,
    /// The provider.
    pub provider: Provider,
    /// The payment. `None` for unmatched notifications.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<PaymentId>,
    /// The lookup key of unmatched notifications. `None` for a payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmatched_under: Option<String>,
    /// The shop's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// The payment's amount, in major units of `currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// The payment's currency, as its ISO 4217 code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
}

impl ForAPerson {
    /// A payment for manual review.
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

    /// Unmatched notifications for manual review.
    pub fn about_unmatched(provider: Provider, lookup_key: &str, order_id: Option<OrderId>) -> Self {
        Self {
            matter: Matter::Unmatched,
            provider,
            payment_id: None,
            unmatched_under: Some(lookup_key.to_owned()),
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
    /// Items checked: payments, and lookup keys with unmatched notifications.
    pub checked: u32,
    /// Payments whose status changed by polling, to any other status.
    pub resolved: u32,
    /// Payments that expired.
    pub expired: u32,
    /// Lookup keys whose unmatched notifications were all recorded with payments.
    pub unmatched_resolved: u32,
    /// Items that could not be checked because of an error. A later run retries them.
    pub failed: u32,
    /// How overdue the oldest due item was when the run began, in seconds. Zero if nothing was due.
    pub lag_seconds: u64,
    /// Whether due items are left for the next run.
    pub unfinished: bool,
    /// The age of the oldest unmatched notification that the run checked, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_unmatched_seconds: Option<u64>,
    /// The number of matters for manual review.
    pub for_a_person_count: u32,
    /// The first hundred of them.
    pub for_a_person: Vec<ForAPerson>,
}

/// Adds one to a counter.
pub fn increment(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}

impl Report {
    /// Adds a matter for manual review, and logs it.
    pub fn add_matter(&mut self, matter: ForAPerson) {
        tracing::warn!(
            matter = matter.matter.name(),
            provider = %matter.provider,
            payment = matter.payment_id.map(tracing::field::display),
            unmatched_under = matter.unmatched_under,
            "manual review required",
        );
        increment(&mut self.for_a_person_count);
        if self.for_a_person.len() < MAX_LISTED {
            self.for_a_person.push(matter);
        }
    }

    /// Notes how overdue an item is.
    pub fn note_lag(&mut self, overdue: Duration) {
        self.lag_seconds = self.lag_seconds.max(overdue.as_secs());
    }

    /// Notes the age of an unmatched notification.
    pub fn note_unmatched(&mut self, age: Duration) {
        self.oldest_unmatched_seconds = self.oldest_unmatched_seconds.max(Some(age.as_secs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_that_of_the_oldest_item_in_any_order() {
        for times in [[40, 10, 0], [0, 10, 40], [10, 40, 0]] {
            let mut report = Report::default();
            for seconds in times {
                report.note_lag(Duration::from_secs(seconds));
            }
            assert_eq!(report.lag_seconds, 40, "{times:?}");
        }
    }

    #[test]
    fn matter_is_serialized_by_its_name() {
        for matter in [
            Matter::Review,
            Matter::Unconfirmed,
            Matter::Unsettled,
            Matter::Unanswered,
            Matter::Unrecognised,
            Matter::Unmatched,
        ] {
            assert_eq!(serde_json::to_value(matter).unwrap(), matter.name());
        }
    }
}
