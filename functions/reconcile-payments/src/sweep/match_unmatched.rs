//! Finds the payments of unmatched notifications. A group of them is stored under one lookup key: one of their ids, or
//! their order, or the payment that they name.

use std::time::Duration;

use payment_functions::domain::id::OrderId;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::schedule;
use payment_functions::providers::Notification;
use payment_functions::store::{StoreError, UnmatchedGroup};

use super::{CheckResult, Sweep};
use crate::poller::{POLLED_PROVIDER, PollError, StatusSource};
use crate::report::increment;

/// Maximum number of payments of one order that are polled to match a notification.
const MAX_CANDIDATES: u16 = 10;
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
        let mut polled = Ok(());
        if !left.is_empty() && provider == POLLED_PROVIDER {
            polled = match self.poll_candidates(&group, &left).await {
                Err(PollError::Store(error)) => return Err(error),
                polled => polled,
            };
            left = self.record(&group, left, polled.is_ok()).await?;
        }
        if left.is_empty() {
            self.store.delete_unmatched_group(&group).await?;
            tracing::info!(%provider, lookup_key, "unmatched notifications recorded with their payments");
            increment(&mut self.report.unmatched_resolved);
            return Ok(CheckResult::Done(None));
        }
        let age = self.now.since(group.unmatched_since);
        match polled {
            Err(PollError::OutOfTurns) if !self.poller.has_used_turns() => return Ok(CheckResult::Postponed),
            Err(PollError::ProviderRefusesAll) => return Ok(CheckResult::RetryAfterOthers),
            // A group that has used some turns is checked later, as after a failed poll: at once, it would only use
            // them up again.
            _ => {}
        }
        if age >= LOG_AFTER {
            tracing::warn!(%provider, lookup_key, "notifications match no payment");
        }
        Ok(CheckResult::Done(Some(schedule::next_unmatched_check_at(
            group.unmatched_since,
            self.now,
        ))))
    }

    /// Polls the provider by the id that a group is stored under, and about every payment of its order. Recording the
    /// provider's response attaches its ids to the payment. The other ids of the notifications have groups of their
    /// own.
    async fn poll_candidates(&mut self, group: &UnmatchedGroup, left: &[Notification]) -> Result<(), PollError> {
        self.poller.check_may_poll()?;
        let mut references = left.iter().flat_map(|notification| notification.fact.references());
        if let Some(id) = references.find(|reference| group.is_under(reference)) {
            match self.poller.status(id).await {
                Ok(Some(notification)) => {
                    self.record_matched(&notification).await?;
                    if self.store.owner(group.provider, id).await?.is_some() {
                        return Ok(());
                    }
                }
                Ok(None) | Err(PollError::Call(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let Some(order_id) = orders(left).next() else {
            return Ok(());
        };
        let mut failure = None;
        for payment in self
            .store
            .payments_of(POLLED_PROVIDER, order_id, MAX_CANDIDATES)
            .await?
        {
            // Completed payments too: the notification may report the same money under another id.
            if payment.environment != self.poller.environment() {
                continue;
            }
            match self.poll_payment(&payment).await {
                Ok(_) => {}
                Err(PollError::Call(error)) => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Records the notifications of a group whose payment is known now, and deletes them from the group. Returns the
    /// others.
    async fn record_group(&self, group: &UnmatchedGroup) -> Result<Vec<Notification>, StoreError> {
        let mut left = Vec::new();
        let mut page = Some(group.clone());
        while let Some(current) = page {
            left.extend(self.record(group, current.notifications.clone(), false).await?);
            page = self.store.more_unmatched(&current, PAGE).await?;
        }
        Ok(left)
    }

    /// Records those of a group's notifications whose payment is known now, and deletes them from the group. Returns
    /// the others.
    ///
    /// A notification that names only an order is matched by the status of the order's payments only if they were just
    /// polled (`candidates_polled`).
    async fn record(
        &self,
        group: &UnmatchedGroup,
        notifications: Vec<Notification>,
        candidates_polled: bool,
    ) -> Result<Vec<Notification>, StoreError> {
        let (mut recorded, mut left) = (Vec::new(), Vec::new());
        for notification in notifications {
            let matched = if candidates_polled {
                self.match_by_order(&notification).await?
            } else {
                notification.clone()
            };
            if self.record_matched(&matched).await?.is_some() {
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

    /// Adds the payment's id to a notification that names only an order, if exactly one payment of the order now has
    /// the status that the notification reports. Returns it unchanged otherwise, or if the order has more payments than
    /// were polled.
    async fn match_by_order(&self, notification: &Notification) -> Result<Notification, StoreError> {
        let fact = &notification.fact;
        let names_only_an_order = notification.payment_id.is_none() && fact.references().next().is_none();
        let (true, Some(order_id)) = (names_only_an_order, &fact.order_id) else {
            return Ok(notification.clone());
        };
        let candidates = self
            .store
            .payments_of(fact.provider, order_id, MAX_CANDIDATES + 1)
            .await?;
        if candidates.len() > usize::from(MAX_CANDIDATES) {
            return Ok(notification.clone());
        }
        let owned_by_other = false; // The fact has no id.
        let has_same_status = |payment: &&Payment| payment.implied_status(fact, owned_by_other) == Some(payment.status);
        let matches: Vec<&Payment> = candidates.iter().filter(has_same_status).collect();
        let payment_id = match matches.as_slice() {
            [payment] => Some(payment.id),
            _ => None,
        };
        Ok(Notification {
            payment_id,
            fact: fact.clone(),
        })
    }
}

/// The orders that notifications name.
fn orders(notifications: &[Notification]) -> impl Iterator<Item = &OrderId> {
    let notifications = notifications.iter();
    notifications.filter_map(|notification| notification.fact.order_id.as_ref())
}
