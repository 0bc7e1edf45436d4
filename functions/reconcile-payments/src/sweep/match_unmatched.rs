//! Finds the payments of unmatched notifications. A group of them is stored under one lookup key: one of their ids, or
//! their order, or the payment that they name.

use std::time::Duration;

use payment_functions::domain::fact::Fact;
use payment_functions::domain::id::Reference;
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::schedule;
use payment_functions::flows::record_notification::payments_of_order;
use payment_functions::providers::Notification;
use payment_functions::store::{CommitExtras, CommitResult, Retry, StoreError, UnmatchedGroup, retry_on_conflict};

use super::Sweep;
use super::check_singly::CheckResult;
use super::confirm_claim::{Candidate, Confirmation, Findings, confirm, possibly_meant};
use crate::poller::{POLLED_PROVIDER, PollError, PollSession, StatusSource};
use crate::report::{Report, increment};

/// Maximum number of notifications of a group that are read, and deleted, at once.
const PAGE: u16 = 50;
/// The age from which unmatched notifications are logged. Most are matched long before.
const LOG_AFTER: Duration = Duration::from_secs(10 * 60);

impl<S: StatusSource> Sweep<'_, S> {
    pub(super) async fn check_unmatched(
        &self,
        provider: Provider,
        lookup_key: &str,
        session: &mut PollSession<'_, S>,
        counts: &mut Report,
    ) -> Result<CheckResult, StoreError> {
        let Some(group) = self.store.unmatched(provider, lookup_key, PAGE).await? else {
            return Ok(CheckResult::Done(None));
        };
        // If the group's id meanwhile belongs to a payment, there is no need to poll.
        let (mut left, mut keeps_some) = self.record_group(&group).await?;
        let (mut polled, mut findings) = (Ok(()), None);
        if !left.is_empty() && provider == POLLED_PROVIDER {
            findings = match self.poll_about(&group, &left, session, counts).await {
                Ok(findings) => Some(findings),
                Err(PollError::Store(error)) => return Err(error),
                Err(error) => {
                    polled = Err(error);
                    None
                }
            };
            let keeps_more;
            (left, keeps_more) = self.record(&group, left, findings.as_ref()).await?;
            keeps_some |= keeps_more;
        }
        if provider == POLLED_PROVIDER {
            self.update_attention_of_claims(&group, &left, findings.as_ref())
                .await?;
        }
        if left.is_empty() {
            if !keeps_some {
                self.store.delete_unmatched_group(&group).await?;
            }
            tracing::info!(%provider, lookup_key, "unmatched notifications recorded with their payments");
            increment(&mut counts.unmatched_resolved);
            return Ok(CheckResult::Done(None));
        }
        let since = group.unmatched_since.unwrap_or(self.now);
        let age = self.now.since(since);
        if matches!(polled, Err(PollError::NoSlot | PollError::ProviderRefusesAll)) {
            return Ok(CheckResult::RetryAfterOthers);
        }
        if age >= LOG_AFTER {
            tracing::warn!(%provider, lookup_key, "notifications match no payment");
        }
        Ok(CheckResult::Done(Some(schedule::next_unmatched_check_at(
            since, self.now,
        ))))
    }

    /// Polls the provider by the id that a group is stored under, and then, unless that says whose it is, by the order
    /// and by the ids of the order's payments. Recording the provider's reports attaches the ids of money that matches.
    /// The other ids of the notifications have groups of their own.
    async fn poll_about(
        &self,
        group: &UnmatchedGroup,
        left: &[Notification],
        session: &mut PollSession<'_, S>,
        counts: &mut Report,
    ) -> Result<Findings, PollError> {
        let mut references = left.iter().flat_map(|notification| notification.fact.references());
        let id = references.find(|reference| group.is_under(reference));
        let claims = left.iter().filter(|notification| notification.is_claim());
        let mut findings = Findings {
            proof: None,
            payments: Vec::new(),
            since: claims.map(|claim| claim.fact.received_at).min(),
        };
        if let Some(id) = id {
            // Whether the provider knows a transaction by this query is not certain. The list may have it.
            findings.proof = match session.status(id).await {
                Ok(report) => report,
                Err(PollError::Call(_)) => None,
                Err(error) => return Err(error),
            };
            if let Some(report) = &findings.proof {
                self.record_answer(report).await?;
            }
            if self.store.owner(group.provider, id).await?.is_some() {
                return Ok(findings);
            }
        }
        if findings.named_payment().is_none() {
            self.poll_about_order(id, left, &mut findings, session, counts).await?;
        }
        if let Some(named) = findings.named_payment() {
            let payment = self.store.payment(named).await?;
            let candidate = |payment| Candidate {
                payment,
                own_outcome: None,
            };
            findings.payments = payment.into_iter().map(candidate).collect();
        }
        Ok(findings)
    }

    /// Polls the provider by the order of notifications, and by the ids of the order's payments. `id`: what they are
    /// stored under.
    async fn poll_about_order(
        &self,
        id: Option<&Reference>,
        left: &[Notification],
        findings: &mut Findings,
        session: &mut PollSession<'_, S>,
        counts: &mut Report,
    ) -> Result<(), PollError> {
        // Webhooks about one transaction may name several orders. The provider says which is right.
        let reported = findings.proof.as_ref().and_then(|report| report.fact.order_id.as_ref());
        let named = || left.iter().filter(|notification| notification.fact.order_id.is_some());
        let is_right = |notification: &&Notification| notification.fact.order_id.as_ref() == reported;
        let named = named().find(is_right).or_else(|| named().next());
        let Some((fact, order_id)) = named.and_then(|it| Some((&it.fact, it.fact.order_id.as_ref()?))) else {
            return Ok(());
        };
        let payments = payments_of_order(self.store, self.matching, fact, order_id).await?;
        if payments.as_ref().is_none_or(|payments| !payments.is_empty()) {
            let rows = match session.transactions(order_id).await {
                Err(PollError::Call(_)) if findings.proof.is_some() => Vec::new(),
                rows => rows?,
            };
            for row in &rows {
                self.record_report(row, counts).await?;
            }
            if findings.proof.is_none() {
                let is_about_it = |row: &Notification| row.fact.references().any(|reference| Some(reference) == id);
                findings.proof = rows.into_iter().find(is_about_it);
            }
        }
        // With too many payments, none of them is polled.
        for payment in payments.unwrap_or_default() {
            // Completed ones too: the notification may report the same money under another id.
            let own = self.poll_checkout(&payment, session, counts).await?;
            if let Some(error) = own.failure {
                return Err(error.into());
            }
            findings.payments.push(Candidate {
                payment: self.store.payment(payment.id).await?.unwrap_or(payment),
                own_outcome: own.outcome,
            });
        }
        Ok(())
    }

    /// Raises attention for claims that the provider has neither confirmed nor denied for a day, and takes it away from
    /// all the payments that they may have meant once it has.
    async fn update_attention_of_claims(
        &self,
        group: &UnmatchedGroup,
        left: &[Notification],
        findings: Option<&Findings>,
    ) -> Result<(), StoreError> {
        let recorded = group.notifications.iter().filter(|claim| !left.contains(claim));
        for claim in recorded.chain(left).filter(|notification| notification.is_claim()) {
            let fact = &claim.fact;
            let is_old = self.now.since(fact.received_at) >= schedule::UNCONFIRMED_AFTER;
            let Some(order_id) = fact.order_id.as_ref().filter(|_| is_old) else {
                continue;
            };
            let decision = findings.map(|findings| confirm(fact, findings, self.matching, self.now));
            let is_open = left.contains(claim) && decision.is_none_or(|decision| decision == Confirmation::Open);
            let payments = payments_of_order(self.store, self.matching, fact, order_id).await?;
            for payment in possibly_meant(fact, &payments.unwrap_or_default(), |payment| payment, self.matching) {
                self.update_unconfirmed(payment, fact, is_open).await?;
            }
        }
        Ok(())
    }

    async fn update_unconfirmed(&self, payment: &Payment, claim: &Fact, is_open: bool) -> Result<(), StoreError> {
        retry_on_conflict(payment.clone(), |payment| async move {
            let after = payment.update_unconfirmed(claim, is_open, self.now);
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

    /// Records the notifications of a group whose payment is known now. Returns the others, as [`Self::record`].
    async fn record_group(&self, group: &UnmatchedGroup) -> Result<(Vec<Notification>, bool), StoreError> {
        let (mut left, mut keeps_some) = (Vec::new(), false);
        let mut page = Some(group.clone());
        while let Some(current) = page {
            let (left_of_page, keeps_more) = self.record(group, current.notifications.clone(), None).await?;
            left.extend(left_of_page);
            keeps_some |= keeps_more;
            page = self.store.more_unmatched(&current, PAGE).await?;
        }
        Ok((left, keeps_some))
    }

    /// Records those of a group's notifications whose payment is known now, or follows from what polling found, and
    /// deletes them from the group. Returns the others, and whether the group keeps some that are recorded by their order
    /// alone: their ids may be another payment's.
    async fn record(
        &self,
        group: &UnmatchedGroup,
        notifications: Vec<Notification>,
        findings: Option<&Findings>,
    ) -> Result<(Vec<Notification>, bool), StoreError> {
        let (mut recorded, mut left, mut keeps_some) = (Vec::new(), Vec::new(), false);
        for notification in notifications {
            let found = findings.and_then(|findings| self.found(&notification, findings));
            let matched = Notification {
                payment_id: notification.payment_id.or(found.map(|payment| payment.id)),
                fact: notification.fact.clone(),
            };
            let matching = OrderMatching {
                only_own_money_attaches_ids: notification.is_claim(),
                ..self.matching
            };
            let result = self.record_matched(&matched, matching).await?;
            if result.is_none() && !self.is_in_review(&notification, findings).await? {
                left.push(notification);
            } else if self.has_unconfirmed_ids(&notification).await? {
                keeps_some = true;
            } else {
                recorded.push(notification);
            }
        }
        for page in recorded.chunks(PAGE.into()) {
            self.store.delete_unmatched(group, page).await?;
        }
        Ok((left, keeps_some))
    }

    /// Whether a notification repeats a claim of other money that is recorded already. Its ids were not attached.
    async fn is_in_review(&self, notification: &Notification, findings: Option<&Findings>) -> Result<bool, StoreError> {
        let candidates = findings.into_iter().flat_map(|findings| &findings.payments);
        let fact = &notification.fact;
        for payment in candidates.map(|candidate| &candidate.payment) {
            let may_be = notification.is_claim() && fact.money() != Some(payment.money);
            if may_be && self.store.has_fact(payment.id, fact).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a notification that is no completion names only an order, and ids that are nobody's.
    async fn has_unconfirmed_ids(&self, notification: &Notification) -> Result<bool, StoreError> {
        let fact = &notification.fact;
        let is_event = notification.names_only_an_order() && !notification.is_claim();
        let has_ids = fact.references().next().is_some();
        Ok(is_event && has_ids && self.known_ids(fact).await?.is_empty())
    }

    /// The payment of a notification that names only an order. A claim must be confirmed. One without any id belongs to
    /// the only payment of the order that now has the status that it reports.
    fn found<'a>(&self, notification: &Notification, findings: &'a Findings) -> Option<&'a Payment> {
        let fact = &notification.fact;
        let mut payments = findings.payments.iter().map(|candidate| &candidate.payment);
        if fact.references().next().is_some() {
            return match confirm(fact, findings, self.matching, self.now) {
                Confirmation::Confirmed(id) if notification.is_claim() => payments.find(|payment| payment.id == id),
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
}
