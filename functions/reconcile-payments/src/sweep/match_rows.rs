//! Finds the payments of the rows of the provider's list, and records what is news for them.
//!
//! Most rows are about payments that a webhook has completed long ago. They cost a share of two reads, no write.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{PaymentId, Reference};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::time::Timestamp;
use payment_functions::providers::Notification;
use payment_functions::providers::finvypay::list::ListRow;
use payment_functions::store::{Known, StoreError};
use tokio::time::Instant;

use super::Sweep;
use crate::poller::{POLLED_PROVIDER, PollError, StatusSource};
use crate::report::Report;

/// How many orders are looked up, and how many rows recorded, at once.
const CONCURRENCY: usize = 16;

/// Whose a row is, as far as the table says.
#[derive(Debug, PartialEq, Eq)]
enum Owner<'a> {
    /// This payment's.
    Payment(&'a Payment),
    /// The table must be asked again: its ids belong to several payments, or it names a payment that was not found.
    Unclear,
    /// It names neither a payment nor an id that we know.
    Nobody,
}

impl<S: StatusSource> Sweep<'_, S> {
    /// Records the rows that are news, and begins none after `until`.
    ///
    /// # Errors
    /// [`PollError::NoSlot`] if the time was not enough for all of them.
    pub(super) async fn record_rows(
        &self,
        rows: &[ListRow],
        until: Instant,
        report: &mut Report,
    ) -> Result<(), PollError> {
        let ids: BTreeSet<PaymentId> = rows.iter().filter_map(|row| row.notification.payment_id).collect();
        let references: BTreeSet<Reference> = rows.iter().flat_map(|row| row.fact().references().cloned()).collect();
        let known = self.store.known(POLLED_PROVIDER, &ids, &references).await?;
        let decisions: Vec<_> = rows.iter().map(|row| self.is_news(row, &known)).collect();
        let is_news: Vec<bool> = stream::iter(decisions).buffered(CONCURRENCY).try_collect().await?;
        let news = rows.iter().zip(is_news).filter(|(_, is_news)| *is_news);
        let recordings: Vec<_> = news.map(|(row, _)| self.record_row(row, until)).collect();
        let mut recordings = stream::iter(recordings).buffer_unordered(CONCURRENCY);
        while let Some(recorded) = recordings.next().await {
            *report = std::mem::take(report).plus(recorded?);
        }
        Ok(())
    }

    async fn record_row(&self, row: &ListRow, until: Instant) -> Result<Report, PollError> {
        if Instant::now() >= until {
            return Err(PollError::NoSlot);
        }
        let mut report = Report::default();
        self.record_report(&row.notification, &mut report).await?;
        Ok(report)
    }

    /// Whether a row is news for the payment that it belongs to.
    async fn is_news(&self, row: &ListRow, known: &Known) -> Result<bool, StoreError> {
        Ok(match owner(&row.notification, known) {
            Owner::Payment(payment) => changes_anything(row.fact(), payment, self.now),
            Owner::Unclear => row.fact().outcome.is_evidence_of_money(),
            Owner::Nobody => self.names_our_order(row.fact()).await?,
        })
    }

    /// Whether a row without an owner is about money of one of our orders. Everything else in the account is left alone.
    async fn names_our_order(&self, fact: &Fact) -> Result<bool, StoreError> {
        let is_money = matches!(fact.outcome, Outcome::Completed | Outcome::Reversed);
        let Some(order_id) = fact.order_id.as_ref().filter(|_| is_money) else {
            return Ok(false);
        };
        Ok(!self.store.order_entries(POLLED_PROVIDER, order_id).await?.is_empty())
    }
}

/// The payment that owns one of the row's ids, or else the one that its metadata names.
fn owner<'a>(notification: &Notification, known: &'a Known) -> Owner<'a> {
    let owners: BTreeSet<PaymentId> = notification
        .fact
        .references()
        .filter_map(|reference| known.owners.get(reference).copied())
        .collect();
    let mut named = owners
        .iter()
        .copied()
        .chain(notification.payment_id.filter(|_| owners.is_empty()));
    match (named.next(), named.next()) {
        (None, _) => Owner::Nobody,
        (Some(id), None) => known.payments.get(&id).map_or(Owner::Unclear, Owner::Payment),
        (Some(_), Some(_)) => Owner::Unclear,
    }
}

/// Whether a fact changes what anybody is told about a payment. A further id alone does not.
fn changes_anything(fact: &Fact, payment: &Payment, now: Timestamp) -> bool {
    let owned_by_other = false;
    let after = payment.apply(fact, owned_by_other, now);
    let told = |payment: &Payment| {
        (
            payment.status,
            payment.attention.clone(),
            payment.reversals.clone(),
            payment.mismatches,
            payment.has_evidence_of_money,
        )
    };
    told(&after) != told(payment)
}
