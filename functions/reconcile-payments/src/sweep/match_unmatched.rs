//! Finds the payments of unmatched notifications. A group of them is stored under one lookup key: one of their ids, or
//! their order, or the payment that they name.

use std::time::Duration;

use payment_functions::domain::attention::AttentionReason;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::schedule;
use payment_functions::flows::record_notification::{RecordResult, payments_of_order, record_with_payment};
use payment_functions::providers::Notification;
use payment_functions::store::{CommitExtras, CommitResult, Retry, StoreError, UnmatchedGroup, retry_on_conflict};

use super::confirm_claim::{Candidate, Confirmation, Findings, confirm, is_claim, possibly_meant};
use super::poll_payment::log_recorded;
use super::{CheckResult, Sweep};
use crate::poller::{POLLED_PROVIDER, PollError, StatusSource};
use crate::report::increment;

/// Maximum number of notifications of a group that are read, and deleted, at once.
const PAGE: u16 = 50;
/// The age from which unmatched notifications are logged. Most are matched long before.
const LOG_AFTER: Duration = Duration::from_secs(10 * 60);

impl<S: StatusSource> Sweep<'_, S> {
    pub(super) async fn check_unmatched(
        &mut self,
        provider: Provider,
        lookup_key: &str,
    ) -> Result<CheckResult, StoreError> {
        let Some(group) = self.store.unmatched(provider, lookup_key, PAGE).await? else {
            return Ok(CheckResult::Done(None));
        };
        // If the group's id meanwhile belongs to a payment, there is no need to poll.
        let mut left = self.record_group(&group).await?;
        let (mut polled, mut findings) = (Ok(()), None);
        if !left.is_empty() && provider == POLLED_PROVIDER {
            findings = match self.poll_about(&group, &left).await {
                Ok(findings) => Some(findings),
                Err(PollError::Store(error)) => return Err(error),
                Err(error) => {
                    polled = Err(error);
                    None
                }
            };
            left = self.record(&group, left, findings.as_ref()).await?;
        }
        let is_postponed = matches!(polled, Err(PollError::OutOfTurns)) && !self.poller.has_used_turns();
        if provider == POLLED_PROVIDER && !is_postponed {
            self.update_attention_of_claims(&group, &left, findings.as_ref())
                .await?;
        }
        if left.is_empty() {
            self.store.delete_unmatched_group(&group).await?;
            tracing::info!(%provider, lookup_key, "unmatched notifications recorded with their payments");
            increment(&mut self.report.unmatched_resolved);
            return Ok(CheckResult::Done(None));
        }
        let age = self.now.since(group.unmatched_since);
        // A group that has used some turns is checked later, as after a failed poll: at once, it would only use them up
        // again.
        if is_postponed {
            return Ok(CheckResult::Postponed);
        }
        if matches!(polled, Err(PollError::ProviderRefusesAll)) {
            return Ok(CheckResult::RetryAfterOthers);
        }
        if age >= LOG_AFTER {
            tracing::warn!(%provider, lookup_key, "notifications match no payment");
        }
        Ok(CheckResult::Done(Some(schedule::next_unmatched_check_at(
            group.unmatched_since,
            self.now,
        ))))
    }

    /// Polls the provider by the id that a group is stored under, by the order, and by the ids of the order's payments.
    /// Recording the provider's reports attaches the ids of those that name a payment. The other ids of the
    /// notifications have groups of their own.
    async fn poll_about(&mut self, group: &UnmatchedGroup, left: &[Notification]) -> Result<Findings, PollError> {
        self.poller.check_may_poll()?;
        let mut references = left.iter().flat_map(|notification| notification.fact.references());
        let id = references.find(|reference| group.is_under(reference));
        let mut proof = None;
        if let Some(id) = id {
            // Whether the provider knows a transaction by this query is not certain. The list may have it.
            proof = match self.poller.status(id).await {
                Ok(report) => report,
                Err(PollError::Call(_)) => None,
                Err(error) => return Err(error),
            };
            if let Some(report) = &proof {
                self.record_answer(report).await?;
            }
        }
        let is_id_known = match id {
            Some(id) => self.store.owner(group.provider, id).await?.is_some(),
            None => false,
        };
        let since = group.unmatched_since;
        // Webhooks about one transaction may name several orders. The provider says which is right.
        let reported = proof.as_ref().and_then(|report| report.fact.order_id.as_ref());
        let named = || left.iter().filter(|notification| notification.fact.order_id.is_some());
        let is_right = |notification: &&Notification| notification.fact.order_id.as_ref() == reported;
        let named = named()
            .find(is_right)
            .or_else(|| named().next())
            .filter(|_| !is_id_known);
        let Some((fact, order_id)) = named.and_then(|it| Some((&it.fact, it.fact.order_id.as_ref()?))) else {
            return Ok(Findings {
                proof,
                payments: Vec::new(),
                since,
            });
        };
        let payments = payments_of_order(self.store, self.matching, fact, order_id).await?;
        if payments.as_ref().is_none_or(|payments| !payments.is_empty()) {
            let rows = match self.poller.transactions(order_id).await {
                Err(PollError::Call(_)) if proof.is_some() => Vec::new(),
                rows => rows?,
            };
            for row in &rows {
                self.record_report(row).await?;
            }
            let is_about_it = |row: &Notification| row.fact.references().any(|reference| Some(reference) == id);
            proof = proof.or_else(|| rows.into_iter().find(is_about_it));
        }
        let mut candidates = Vec::new();
        // With too many payments, none of them is polled.
        for payment in payments.unwrap_or_default() {
            // Completed ones too: the notification may report the same money under another id.
            let own = self.poll_ids(&payment).await?;
            if let Some(error) = own.failure {
                return Err(error.into());
            }
            candidates.push(Candidate {
                payment: self.store.payment(payment.id).await?.unwrap_or(payment),
                own_outcome: own.outcome,
            });
        }
        Ok(Findings {
            proof,
            payments: candidates,
            since,
        })
    }

    /// Raises attention for claims that the provider has neither confirmed nor denied for a day, and takes it away from
    /// all the payments that they may have meant once it has.
    async fn update_attention_of_claims(
        &self,
        group: &UnmatchedGroup,
        left: &[Notification],
        findings: Option<&Findings>,
    ) -> Result<(), StoreError> {
        let reason = &[AttentionReason::UnconfirmedMatch];
        let recorded = group.notifications.iter().filter(|claim| !left.contains(claim));
        for claim in recorded.chain(left).filter(|notification| is_claim(notification)) {
            let fact = &claim.fact;
            let is_old = self.now.since(fact.received_at) >= schedule::UNCONFIRMED_AFTER;
            let Some(order_id) = fact.order_id.as_ref().filter(|_| is_old) else {
                continue;
            };
            let decision = findings.map(|findings| confirm(fact, findings, self.matching, self.now));
            let is_open = left.contains(claim) && decision.is_none_or(|decision| decision == Confirmation::Open);
            let payments = payments_of_order(self.store, self.matching, fact, order_id).await?;
            for payment in possibly_meant(fact, &payments.unwrap_or_default(), |payment| payment, self.matching) {
                if is_open {
                    self.update_attention(payment, reason, &[]).await?;
                } else {
                    self.update_attention(payment, &[], reason).await?;
                }
            }
        }
        Ok(())
    }

    async fn update_attention(
        &self,
        payment: &Payment,
        raised: &[AttentionReason],
        resolved: &[AttentionReason],
    ) -> Result<(), StoreError> {
        retry_on_conflict(payment.clone(), |payment| async move {
            let after = payment.update_attention(raised, resolved, self.now);
            let extras = CommitExtras::default();
            Ok(match self.store.commit(&payment, &after, &extras, self.now).await? {
                CommitResult::Done => Retry::Done(()),
                CommitResult::Conflict(conflict) => match conflict.current {
                    Some(current) => Retry::Again(current),
                    None => Retry::Done(()),
                },
            })
        })
        .await
    }

    /// Records the notifications of a group whose payment is known now, and deletes them from the group. Returns the
    /// others.
    async fn record_group(&self, group: &UnmatchedGroup) -> Result<Vec<Notification>, StoreError> {
        let mut left = Vec::new();
        let mut page = Some(group.clone());
        while let Some(current) = page {
            left.extend(self.record(group, current.notifications.clone(), None).await?);
            page = self.store.more_unmatched(&current, PAGE).await?;
        }
        Ok(left)
    }

    /// Records those of a group's notifications whose payment is known now, or follows from what polling found, and
    /// deletes them from the group. Returns the others.
    async fn record(
        &self,
        group: &UnmatchedGroup,
        notifications: Vec<Notification>,
        findings: Option<&Findings>,
    ) -> Result<Vec<Notification>, StoreError> {
        let (mut recorded, mut left) = (Vec::new(), Vec::new());
        let claimed: Vec<_> = notifications
            .iter()
            .filter(|it| is_claim(it))
            .map(|claim| claim.fact.money())
            .collect();
        for notification in notifications {
            let found = findings.and_then(|findings| self.found(&notification, findings));
            let result = match found.filter(|_| notification.payment_id.is_none()) {
                Some(payment)
                    if notification.fact.money() != Some(payment.money) && claimed.contains(&Some(payment.money)) =>
                {
                    self.record_for_review(&notification, payment).await?
                }
                found => {
                    let matched = Notification {
                        payment_id: notification.payment_id.or(found.map(|payment| payment.id)),
                        fact: notification.fact.clone(),
                    };
                    self.record_matched(&matched).await?
                }
            };
            if result.is_some() {
                recorded.push(notification);
            } else {
                left.push(notification);
            }
        }
        for page in recorded.chunks(PAGE.into()) {
            self.store.delete_unmatched(group, page).await?;
        }
        Ok(left)
    }

    /// The payment of a notification that names only an order. A claim must be confirmed. One without any id belongs to
    /// the only payment of the order that now has the status that it reports.
    fn found<'a>(&self, notification: &Notification, findings: &'a Findings) -> Option<&'a Payment> {
        let fact = &notification.fact;
        let mut payments = findings.payments.iter().map(|candidate| &candidate.payment);
        if fact.references().next().is_some() {
            return match confirm(fact, findings, self.matching, self.now) {
                Confirmation::Confirmed(id) if is_claim(notification) => payments.find(|payment| payment.id == id),
                Confirmation::Confirmed(_) | Confirmation::Denied | Confirmation::Open => None,
            };
        }
        let owned_by_other = false; // The fact has no id.
        let mut matches = payments.filter(|payment| {
            self.matching.existed_before(payment, fact)
                && payment.implied_status(fact, owned_by_other) == Some(payment.status)
        });
        matches.next().filter(|_| matches.next().is_none())
    }

    /// Records a confirmed notification of other money than its payment's. Its ids are not attached: the provider has
    /// denied another claim of the same transaction, which would then complete the payment. `None` if the payment
    /// was changed meanwhile; nothing is stored then.
    async fn record_for_review(
        &self,
        notification: &Notification,
        payment: &Payment,
    ) -> Result<Option<RecordResult>, StoreError> {
        let attaches_no_ids = true;
        let result = record_with_payment(self.store, notification, payment, attaches_no_ids, self.time()).await?;
        log_recorded(notification, result.as_ref());
        Ok(result)
    }
}
