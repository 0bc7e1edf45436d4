//! Polls the provider about one payment. Records each report about a known payment as if a webhook had brought it. Of
//! reports about unknown payments, only money is stored.

use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::Reference;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::status::Status;
use payment_functions::flows::record_notification::{RecordResult, record_if_matched, record_notification};
use payment_functions::providers::Notification;
use payment_functions::store::StoreError;

use super::Sweep;
use crate::poller::{PollError, StatusSource};

/// What the provider reported about a payment. The highest of several reports counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Heard {
    /// Nothing about this payment.
    Nothing,
    /// A contradiction, which may mean that it was paid.
    Contradictory,
    /// A status. If nobody documented it, its fact raises attention.
    Known,
}

impl Heard {
    fn of(fact: &Fact) -> Self {
        match fact.outcome {
            Outcome::Contradictory => Self::Contradictory,
            Outcome::Unrecognised
            | Outcome::Pending
            | Outcome::Authorized
            | Outcome::Cancelled
            | Outcome::Failed
            | Outcome::Completed
            | Outcome::Reversed => Self::Known,
        }
    }
}

impl<S: StatusSource> Sweep<'_, S> {
    /// Polls the provider by each id of a payment and, unless money has come by then, by its order.
    pub(super) async fn poll_payment(&mut self, payment: &Payment) -> Result<Heard, PollError> {
        self.poller.check_may_poll()?;
        let mut heard = Heard::Nothing;
        let mut failure = None;
        for id in ids_to_poll(payment) {
            match self.poller.status(id).await {
                Ok(Some(notification)) if is_of_order(&notification, payment) => {
                    heard = heard.max(self.record_report(&notification, payment).await?);
                }
                Ok(Some(_)) => tracing::error!(payment = %payment.id, "provider reported another order's status"),
                Ok(None) => {}
                // One failed call does not end the polling. Having no turn left does, and so does a provider that
                // refuses every call, or a table that cannot be read.
                Err(PollError::Call(error)) => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        // The buyer may have given up under one id and paid under another, which only the order's list shows.
        let current = self.store.payment(payment.id).await?;
        let has_money_come = current.is_some_and(|payment| payment.status >= Status::Review);
        if let (false, Some(order_id)) = (has_money_come, &payment.order_id) {
            match self.poller.transactions(order_id).await {
                Ok(notifications) => {
                    for notification in notifications {
                        heard = heard.max(self.record_report(&notification, payment).await?);
                    }
                }
                Err(PollError::Call(error)) => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        match failure {
            Some(error) if heard == Heard::Nothing => Err(error.into()),
            _ => Ok(heard),
        }
    }

    /// Records a report of the provider. Returns what it says about `payment`.
    async fn record_report(&self, notification: &Notification, payment: &Payment) -> Result<Heard, StoreError> {
        match self.record_matched(notification).await? {
            Some(RecordResult::Recorded { payment: id, .. } | RecordResult::Duplicate(id)) if id == payment.id => {
                Ok(Heard::of(&notification.fact))
            }
            Some(_) => Ok(Heard::Nothing),
            None => {
                // Store money of an unknown payment as unmatched, as for a webhook. Drop any other report: the next
                // poll returns it again.
                if notification.fact.outcome == Outcome::Completed {
                    let result = record_notification(self.store, notification, self.time()).await?;
                    if result == RecordResult::Unmatched {
                        tracing::warn!(order = ?payment.order_id, "provider lists money of an unknown payment");
                    }
                }
                Ok(Heard::Nothing)
            }
        }
    }

    /// Records a notification with its payment. `None` if no payment is known for it; nothing is stored then.
    pub(super) async fn record_matched(&self, notification: &Notification) -> Result<Option<RecordResult>, StoreError> {
        let result = record_if_matched(self.store, notification, self.time()).await?;
        if let Some(RecordResult::Recorded {
            payment: id,
            new_status,
        }) = &result
        {
            let raised_to = new_status.map(tracing::field::display);
            let raw_status = notification.fact.raw_status.as_str();
            tracing::info!(payment = %id, raw_status, raised_to, "notification recorded");
        }
        Ok(result)
    }
}

/// The ids of a payment, those from webhooks first. The status query may know only a transaction's id, which only
/// webhooks bring, and the turns may run out before the last id.
fn ids_to_poll(payment: &Payment) -> impl Iterator<Item = &Reference> {
    let given = payment.checkout_session.as_ref().map(|session| &session.reference);
    let learnt = payment.references.iter().filter(move |id| Some(*id) != given);
    learnt.chain(payment.references.iter().filter(move |id| Some(*id) == given))
}

fn is_of_order(notification: &Notification, payment: &Payment) -> bool {
    notification.fact.order_id.is_none() || notification.fact.order_id == payment.order_id
}
