//! Expires payments whose time to be paid is over. Calls no provider.
//!
//! Needs no reservation: each payment is expired by one write, under the condition that nothing else has changed it. So
//! concurrent runs repeat reads only.

use futures_util::{StreamExt, stream};
use payment_functions::domain::attention::AttentionReason;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::schedule::{self, Queue, ScheduleChange};
use payment_functions::store::{CommitExtras, CommitResult, Due, Shard, StoreError};
use tokio::time::Instant;

use super::Sweep;
use crate::poller::StatusSource;
use crate::report::{Report, increment};

/// How many payments are read at once.
const BATCH: u16 = 100;
/// How many are written at once.
const CONCURRENCY: usize = 32;

impl<S: StatusSource> Sweep<'_, S> {
    /// Expires what is due. `is_list_read`: the provider's list was read as it should be, so that a payment which is
    /// paid late is found there.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read, or a failure cannot be noted. A payment that cannot be expired is
    /// counted in the report.
    pub async fn expire(&self, is_list_read: bool, until: Instant) -> Result<Report, StoreError> {
        let mut report = Report::default();
        for shard in Shard::of(Queue::Expiry) {
            let mut last: Option<Due> = None;
            loop {
                let due = self.store.due(shard, self.now, BATCH, last.as_ref()).await?;
                if let Some(oldest) = due.first() {
                    report.note_lag(self.now.since(oldest.at));
                }
                if due.is_empty() {
                    break;
                }
                if Instant::now() >= until {
                    report.unfinished = true;
                    break;
                }
                report = report.plus(self.expire_batch(&due, is_list_read).await?);
                last = due.last().cloned().filter(|_| due.len() >= usize::from(BATCH));
                if last.is_none() {
                    break;
                }
            }
        }
        Ok(report)
    }

    async fn expire_batch(&self, due: &[Due], is_list_read: bool) -> Result<Report, StoreError> {
        let payments = self.store.due_payments(due).await?;
        let expiries: Vec<_> = payments
            .into_iter()
            .map(|(due, payment)| self.expire_or_note_failure(due, payment, is_list_read))
            .collect();
        let reports: Vec<_> = stream::iter(expiries).buffer_unordered(CONCURRENCY).collect().await;
        reports
            .into_iter()
            .try_fold(Report::default(), |sum, report| Ok(sum.plus(report?)))
    }

    async fn expire_or_note_failure(
        &self,
        due: Due,
        payment: Result<Payment, StoreError>,
        is_list_read: bool,
    ) -> Result<Report, StoreError> {
        let mut report = Report::default();
        increment(&mut report.checked);
        let result = match payment {
            Ok(payment) => self.expire_payment(&due, &payment, is_list_read, &mut report).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::error!(subject = ?due.subject, error = %error, "due item could not be checked");
            increment(&mut report.failed);
            self.store.note_failed_check(&due, self.now).await?;
        }
        Ok(report)
    }

    /// Expires a payment. If it then waits for nothing, also sets when it is deleted, and takes it out of the schedule.
    /// Does nothing if it was changed since it was read: it is due again in the next run, or has another next check.
    async fn expire_payment(
        &self,
        due: &Due,
        payment: &Payment,
        is_list_read: bool,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        // The key of this environment does not show another one's payments.
        let waits_for_nothing = is_list_read || payment.environment != self.source.environment();
        let next = schedule::next_expiry_check_at(payment, waits_for_nothing, self.now);
        let delete_after = self.delete_unpaid_after.filter(|_| next.is_none());
        let after =
            payment
                .expire(self.now, delete_after)
                .update_attention(&[], &[AttentionReason::Unprocessable], self.now);
        let extras = CommitExtras {
            schedule: Some(next.map_or(ScheduleChange::Remove, |at| ScheduleChange::At(Queue::Expiry, at))),
            if_due_at: Some(due.at),
            ..CommitExtras::default()
        };
        let result = self.store.commit(payment, &after, &extras, self.now).await?;
        if matches!(result, CommitResult::Done) && after.status != payment.status {
            tracing::info!(payment = %payment.id, "payment expired");
            increment(&mut report.expired);
        }
        Ok(())
    }
}
