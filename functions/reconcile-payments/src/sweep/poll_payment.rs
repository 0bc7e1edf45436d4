//! Polls the provider about one payment. Records each report about a known payment as if a webhook had brought it. Of
//! reports about unknown payments, only money is stored.

use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{PaymentId, Reference};
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::status::Status;
use payment_functions::flows::record_notification::{RecordResult, payments_of_order, record_if_matched};
use payment_functions::providers::Notification;
use payment_functions::providers::gateway::CallError;
use payment_functions::store::{StoreError, StoreUnmatchedResult};

use super::Sweep;
use crate::poller::{PollError, PollSession, StatusSource};
use crate::report::{Report, increment};

/// What the provider reported about a payment. The highest of several reports counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Heard {
    /// Nothing about this payment.
    #[default]
    Nothing,
    /// A contradiction, which may mean that it was paid.
    Contradictory,
    /// A status. If nobody documented it, its fact raises attention.
    Known,
}

/// What the provider reported under an id of a payment.
#[derive(Debug, Default)]
pub(super) struct OwnReport {
    /// The report about the payment.
    pub heard: Heard,
    /// The call failed.
    pub failure: Option<CallError>,
    /// The outcome under the id, if the provider knows it.
    pub outcome: Option<Outcome>,
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
    /// Polls the provider about a payment in at most two calls: by the id that was learnt last and, unless money has come
    /// by then, by the order.
    pub(super) async fn poll_payment(
        &self,
        payment: &Payment,
        session: &mut PollSession<'_, S>,
        counts: &mut Report,
    ) -> Result<Heard, PollError> {
        let mut own = OwnReport::default();
        if let Some(id) = newest_id(payment) {
            own = self.poll_id(payment, id, session, counts).await?;
        }
        // The buyer may have given up under one id and paid under another, which only the order's list shows.
        let current = self.store.payment(payment.id).await?;
        let has_money = current.is_some_and(|payment| payment.status >= Status::Review);
        let is_told = has_money && own.heard > Heard::Nothing;
        if let (false, Some(order_id)) = (is_told, &payment.order_id) {
            match session.transactions(order_id).await {
                Ok(notifications) => {
                    for notification in notifications {
                        if self.record_report(&notification, counts).await? == Some(payment.id) {
                            own.heard = own.heard.max(Heard::of(&notification.fact));
                        }
                    }
                }
                Err(PollError::Call(error)) => own.failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        match own.failure {
            Some(error) if own.heard == Heard::Nothing => Err(error.into()),
            _ => Ok(own.heard),
        }
    }

    /// Polls the provider by the id that it gave when the payment was created, if it did.
    pub(super) async fn poll_checkout(
        &self,
        payment: &Payment,
        session: &mut PollSession<'_, S>,
        counts: &mut Report,
    ) -> Result<OwnReport, PollError> {
        match &payment.checkout_session {
            Some(checkout) => self.poll_id(payment, &checkout.reference, session, counts).await,
            None => Ok(OwnReport::default()),
        }
    }

    /// Polls the provider by an id of a payment. A failed call is part of the result.
    async fn poll_id(
        &self,
        payment: &Payment,
        id: &Reference,
        session: &mut PollSession<'_, S>,
        counts: &mut Report,
    ) -> Result<OwnReport, PollError> {
        let mut own = OwnReport::default();
        match session.status(id).await {
            Ok(Some(notification)) if is_of_order(&notification, payment) => {
                if self.record_report(&notification, counts).await? == Some(payment.id) {
                    own.heard = Heard::of(&notification.fact);
                }
                own.outcome = Some(notification.fact.outcome);
            }
            Ok(Some(_)) => tracing::error!(payment = %payment.id, "provider reported another order's status"),
            Ok(None) => {}
            Err(PollError::Call(error)) => own.failure = Some(error),
            Err(error) => return Err(error),
        }
        Ok(own)
    }

    /// Records a report of the provider. Returns the payment that it is about.
    pub(super) async fn record_report(
        &self,
        report: &Notification,
        counts: &mut Report,
    ) -> Result<Option<PaymentId>, StoreError> {
        let result = self.record_answer(report).await?;
        if let Some(RecordResult::Recorded {
            new_status: Some(_), ..
        }) = result
        {
            increment(&mut counts.resolved);
        }
        match result {
            Some(RecordResult::Recorded { payment, .. } | RecordResult::Duplicate(payment)) => Ok(Some(payment)),
            Some(RecordResult::Unmatched) => Ok(None),
            None => {
                // Store money of an unknown payment as unmatched, as for a webhook. Drop any other report: the next
                // poll returns it again.
                if report.fact.outcome == Outcome::Completed && !self.is_older_than_its_order(report).await? {
                    let matching = self.matching.of_report(&report.fact);
                    // Only the time of receipt is stored, and so decides later which payments there were.
                    let claim = Notification {
                        fact: Fact {
                            received_at: matching.latest(&report.fact),
                            ..report.fact.clone()
                        },
                        ..report.clone()
                    };
                    let result = self.store.store_unmatched(&claim, self.time()).await?;
                    if result == StoreUnmatchedResult::Stored {
                        tracing::warn!(order = ?report.fact.order_id, "provider lists money of an unknown payment");
                    }
                }
                Ok(None)
            }
        }
    }

    /// The ids of a fact that belong to a payment.
    pub(super) async fn known_ids(&self, fact: &Fact) -> Result<Vec<Reference>, StoreError> {
        let mut known = Vec::new();
        for id in fact.references() {
            if self.store.owner(fact.provider, id).await?.is_some() {
                known.push(id.clone());
            }
        }
        Ok(known)
    }

    /// Whether a report names only an order, whose payments all were created later: its money is not theirs.
    async fn is_older_than_its_order(&self, report: &Notification) -> Result<bool, StoreError> {
        let (Some(order_id), None) = (&report.fact.order_id, report.payment_id) else {
            return Ok(false);
        };
        let matching = self.matching.of_report(&report.fact);
        let payments = payments_of_order(self.store, matching, &report.fact, order_id).await?;
        let existed = |payment: &Payment| matching.existed_before(payment, &report.fact);
        Ok(payments.is_some_and(|payments| !payments.iter().any(existed)))
    }

    /// Records a report of the provider with its payment. `None` if no payment is known for it; nothing is stored then.
    ///
    /// Only a completion with the payment's money attaches ids that nobody had. With them come the webhooks that are
    /// unmatched under them, and the provider has not confirmed a claim if it reports anything else of the transaction.
    /// A completion that names only an order is a claim itself.
    pub(super) async fn record_answer(&self, report: &Notification) -> Result<Option<RecordResult>, StoreError> {
        let known = self.known_ids(&report.fact).await?;
        let names_a_payment = report.payment_id.is_some() || !known.is_empty();
        let mut report = report.clone();
        if report.fact.outcome != Outcome::Completed && names_a_payment {
            let is_known = |id: &Reference| known.contains(id);
            report.fact.payment = report.fact.payment.take().filter(is_known);
            report.fact.transaction = report.fact.transaction.take().filter(is_known);
        } else if report.fact.outcome == Outcome::Completed && !names_a_payment {
            return Ok(None);
        }
        self.record_matched(&report, self.matching.of_report(&report.fact))
            .await
    }

    /// Records a notification with its payment. `None` if no payment is known for it; nothing is stored then.
    pub(super) async fn record_matched(
        &self,
        notification: &Notification,
        matching: OrderMatching,
    ) -> Result<Option<RecordResult>, StoreError> {
        let result = record_if_matched(self.store, notification, matching, self.time()).await?;
        log_recorded(notification, result.as_ref());
        Ok(result)
    }
}

/// Logs that a report was recorded with a payment for the first time.
fn log_recorded(report: &Notification, result: Option<&RecordResult>) {
    if let Some(RecordResult::Recorded { payment, new_status }) = result {
        let raised_to = new_status.map(tracing::field::display);
        let raw_status = report.fact.raw_status.as_str();
        tracing::info!(%payment, raw_status, raised_to, "notification recorded");
    }
}

/// The id of a payment to ask by. The status query may know only a transaction's id, which only webhooks bring, so one of
/// these comes before the id that was given at creation. FinvyPay's ids of transactions begin with their date.
fn newest_id(payment: &Payment) -> Option<&Reference> {
    let learnt = payment.references.iter().filter(|id| !is_checkout_id(payment, id));
    learnt.max().or_else(|| payment.references.iter().next())
}

/// Whether an id is the one that the provider gave when the payment was created.
fn is_checkout_id(payment: &Payment, id: &Reference) -> bool {
    let session = payment.checkout_session.as_ref();
    session.is_some_and(|session| session.reference == *id)
}

fn is_of_order(notification: &Notification, payment: &Payment) -> bool {
    notification.fact.order_id.is_none() || notification.fact.order_id == payment.order_id
}
