//! Matching a notification that names only an order: neither a known provider id nor our payment id.
//!
//! Guarantees: an order alone is no proof of money. A completion that is matched by its order is believed at once only
//! if the shop vouched for the order with a quote, or trusts such webhooks. Otherwise it is a *claim*: it stays
//! unmatched until the provider confirms it. A payment that was created after the notification was received is never
//! matched, nor one of another environment. An id is attached to a payment only with a completion that is believed.

use std::time::Duration;

use crate::domain::fact::{Fact, Outcome};
use crate::domain::payment::Payment;
use crate::domain::provider::Environment;
use crate::domain::status::Status;
use crate::domain::time::Timestamp;

/// How far the provider's clock may be ahead of ours.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// What decides where a notification names only an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderMatching {
    /// The stack's environment at FinvyPay.
    pub environment: Environment,
    /// Whether a completion is believed without a quote: `ORDER_ONLY_WEBHOOKS=trust`.
    pub trusts_orders: bool,
    /// The money is older than this, whenever the notification was received.
    pub not_after: Option<Timestamp>,
    /// Whether a completion of other money than its payment's attaches no ids. So it is with what the provider reports
    /// when it is asked: it denies other claims of the same transaction, one of which would then complete the payment.
    pub only_own_money_attaches_ids: bool,
}

/// The payment that a notification belongs to by its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderMatch<'a> {
    /// The payment.
    pub payment: &'a Payment,
    /// Whether the ids of the notification become the payment's.
    pub attaches_ids: bool,
}

impl OrderMatching {
    /// The rule for what the provider reports when it is asked. Unlike a webhook, that can be money of long ago.
    #[must_use]
    pub fn of_report(self, report: &Fact) -> Self {
        let occurred_at = report.occurred_at.as_deref().and_then(Timestamp::parse_lenient);
        let latest = occurred_at.map(|at| at.plus(MAX_CLOCK_SKEW));
        Self {
            not_after: self.not_after.into_iter().chain(latest).min(),
            only_own_money_attaches_ids: true,
            ..self
        }
    }

    /// When the money of a notification was there at the latest.
    /// A transaction that the provider created before a payment is not the payment's, whenever it was paid.
    pub fn latest(&self, fact: &Fact) -> Timestamp {
        let created_at = fact.created_at.map(|at| at.plus(MAX_CLOCK_SKEW));
        let limits = self.not_after.into_iter().chain(created_at);
        limits.fold(fact.received_at, Timestamp::min)
    }

    /// Whether a payment was there before a notification about its order.
    pub fn existed_before(&self, payment: &Payment, fact: &Fact) -> bool {
        payment.created_at <= self.latest(fact)
    }

    /// Chooses the payment that a notification belongs to, among those of its order.
    ///
    /// | notification | payment |
    /// |---|---|
    /// | money went back | the only completed one, whatever the amount |
    /// | completion | the only one with that money, if it was made with a quote or orders are trusted |
    /// | anything else | the only one with that money; without readable money, the only one |
    pub fn choose<'a>(&self, fact: &Fact, payments: &'a [Payment]) -> Option<OrderMatch<'a>> {
        let only = |is_meant: &dyn Fn(&Payment) -> bool| {
            let mut meant = payments
                .iter()
                .filter(|payment| self.existed_before(payment, fact) && is_meant(payment));
            meant.next().filter(|_| meant.next().is_none())
        };
        let has_money = |payment: &Payment| fact.money() == Some(payment.money);
        let payment = match fact.outcome {
            Outcome::Reversed => only(&|payment| payment.status == Status::Completed),
            Outcome::Completed => {
                only(&has_money).filter(|payment| self.trusts_orders || payment.quote_kept_until.is_some())
            }
            Outcome::Pending
            | Outcome::Authorized
            | Outcome::Cancelled
            | Outcome::Failed
            | Outcome::Unrecognised
            | Outcome::Contradictory => only(&|payment| fact.money().is_none() || has_money(payment)),
        };
        payment.map(|payment| OrderMatch {
            payment,
            attaches_ids: fact.outcome == Outcome::Completed,
        })
    }
}

#[cfg(test)]
mod tests;
