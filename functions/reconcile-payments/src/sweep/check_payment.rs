//! Checks one payment: polls its provider, expires it when its time is over, and reports it if a person must review it.

use payment_functions::domain::id::PaymentId;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::schedule;
use payment_functions::domain::status::Status;
use payment_functions::store::{CommitExtras, CommitResult, Retry, StoreError, retry_on_conflict};

use super::manual_review::{self, Findings};
use super::poll_payment::Heard;
use super::{CheckResult, Sweep};
use crate::poller::{POLLED_PROVIDER, PollError, StatusSource};
use crate::report::{ForAPerson, increment};

impl<S: StatusSource> Sweep<'_, S> {
    pub(super) async fn check_payment(&mut self, id: PaymentId) -> Result<CheckResult, StoreError> {
        let Some(payment) = self.store.payment(id).await? else {
            return Ok(CheckResult::Done(None));
        };
        let (payment, polled) = self.poll_if_open(payment).await?;
        let was_payable = payment.status.is_payable();
        let payment = self.expire(payment).await?;
        match polled {
            Err(PollError::OutOfTurns) if !self.poller.has_used_turns() => return Ok(CheckResult::Postponed),
            // Polling was cut short, or the provider refuses every call: the payment is due again in a minute, after
            // those that were not reached. A payment in review does not wait for that: it is reported now.
            Err(PollError::OutOfTurns | PollError::ProviderRefusesAll) if payment.status != Status::Review => {
                return Ok(CheckResult::RetryAfterOthers);
            }
            _ => {}
        }
        let heard = polled.ok();
        let next = schedule::next_check_at(&payment, heard.is_some(), self.now);
        let findings = Findings {
            provider: payment.provider,
            status: payment.status,
            was_payable,
            heard,
            next_in: next.map(|next| next.since(self.now)),
        };
        if let Some(matter) = manual_review::reason_for(&findings) {
            self.report.add_matter(ForAPerson::about(&payment, matter));
        }
        Ok(CheckResult::Done(next))
    }

    /// Polls the provider about a payment, unless it is completed, its provider has no status query, or it was made in
    /// another environment, whose payments our API key does not show. Returns the payment as it is afterwards, and the
    /// result of polling: [`Heard::Known`] if the provider was not polled for these reasons.
    async fn poll_if_open(&mut self, payment: Payment) -> Result<(Payment, Result<Heard, PollError>), StoreError> {
        let can_be_polled = payment.provider == POLLED_PROVIDER && payment.environment == self.poller.environment();
        if !can_be_polled || payment.status == Status::Completed {
            return Ok((payment, Ok(Heard::Known)));
        }
        let before = payment.status;
        let polled = match self.poll_payment(&payment).await {
            Err(PollError::Store(error)) => return Err(error),
            polled => polled,
        };
        let payment = self.store.payment(payment.id).await?.unwrap_or(payment);
        if payment.status != before {
            tracing::info!(payment = %payment.id, status = %payment.status, "payment status changed by polling");
            increment(&mut self.report.resolved);
        }
        Ok((payment, polled))
    }

    /// Expires a payment whose time to be paid is over, and sets when it is deleted. Returns it as it is afterwards.
    async fn expire(&mut self, payment: Payment) -> Result<Payment, StoreError> {
        let (store, now, delete_after) = (self.store, self.now, self.delete_unpaid_after);
        let (payment, has_expired) = retry_on_conflict(payment, |payment| async move {
            let after = payment.expire(now, delete_after);
            if after == payment {
                return Ok(Retry::Done((after, false)));
            }
            let extras = CommitExtras::default();
            Ok::<_, StoreError>(match store.commit(&payment, &after, &extras, now).await? {
                CommitResult::Done => {
                    let has_expired = after.status != payment.status;
                    Retry::Done((after, has_expired))
                }
                CommitResult::Conflict(conflict) => Retry::Again(conflict.current.ok_or(StoreError::Corrupt)?),
            })
        })
        .await?;
        if has_expired {
            tracing::info!(payment = %payment.id, "payment expired");
            increment(&mut self.report.expired);
        }
        Ok(payment)
    }
}
