//! Checks one payment: polls its provider, expires it when its time is over, and raises attention if a person must look.

use payment_functions::domain::id::PaymentId;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::schedule;
use payment_functions::domain::time::Timestamp;
use payment_functions::store::{CommitExtras, CommitResult, Retry, StoreError, retry_on_conflict};

use super::Sweep;
use super::attention::attention_after_check;
use super::check_singly::CheckResult;
use super::poll_payment::Heard;
use crate::poller::{POLLED_PROVIDER, PollError, PollSession, StatusSource};
use crate::report::{Report, increment};

impl<S: StatusSource> Sweep<'_, S> {
    pub(super) async fn check_payment(
        &self,
        id: PaymentId,
        session: &mut PollSession<'_, S>,
        report: &mut Report,
    ) -> Result<CheckResult, StoreError> {
        let Some(payment) = self.store.payment(id).await? else {
            return Ok(CheckResult::Done(None));
        };
        let (payment, polled) = self.poll(payment, session, report).await?;
        let next = self.update(payment, &polled, report).await?;
        Ok(match polled {
            Err(PollError::NoSlot | PollError::ProviderRefusesAll) => CheckResult::RetryAfterOthers,
            Ok(_) | Err(PollError::Call(_) | PollError::Store(_)) => CheckResult::Done(next),
        })
    }

    /// Polls the provider about a payment, unless its provider has no status query, or it was made in another
    /// environment, whose payments our API key does not show. Returns the payment as it is afterwards, and the
    /// result of polling: [`Heard::Known`] if the provider was not polled for these reasons.
    async fn poll(
        &self,
        payment: Payment,
        session: &mut PollSession<'_, S>,
        report: &mut Report,
    ) -> Result<(Payment, Result<Heard, PollError>), StoreError> {
        let can_be_polled = payment.provider == POLLED_PROVIDER && payment.environment == self.source.environment();
        if !can_be_polled {
            return Ok((payment, Ok(Heard::Known)));
        }
        let polled = match self.poll_payment(&payment, session, report).await {
            Err(PollError::Store(error)) => return Err(error),
            polled => polled,
        };
        let payment = self.store.payment(payment.id).await?.unwrap_or(payment);
        Ok((payment, polled))
    }

    /// Writes what follows from a check: expires a payment whose time to be paid is over, sets when it is deleted, and
    /// raises or resolves reasons for attention. Returns the time of the next check, if there is one.
    async fn update(
        &self,
        payment: Payment,
        polled: &Result<Heard, PollError>,
        report: &mut Report,
    ) -> Result<Option<Timestamp>, StoreError> {
        let (store, now, delete_after) = (self.store, self.now, self.delete_unpaid_after);
        let (expired, next) = retry_on_conflict(payment, |payment| async move {
            let after = payment.expire(now, delete_after);
            let next = schedule::next_poll_at(&after, polled.is_ok(), now);
            let attention = attention_after_check(&after, polled, next.is_none());
            let after = after.update_attention(&attention.raised, &attention.resolved, now);
            let expired = (after.status != payment.status).then_some(after.id);
            if after == payment {
                return Ok(Retry::Done((expired, next)));
            }
            let extras = CommitExtras::default();
            Ok::<_, StoreError>(match store.commit(&payment, &after, &extras, now).await? {
                CommitResult::Done => Retry::Done((expired, next)),
                CommitResult::Conflict(conflict) => Retry::Again(conflict.current.ok_or(StoreError::Corrupt)?),
            })
        })
        .await?;
        if let Some(payment) = expired {
            tracing::info!(%payment, "payment expired");
            increment(&mut report.expired);
        }
        Ok(next)
    }
}
