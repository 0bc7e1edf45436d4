//! Finds the payments of unmatched notifications, which are stored under a lookup key: one of their ids, their order,
//! or the payment that they name.

use std::collections::BTreeSet;
use std::time::Duration;

use payment_functions::domain::id::{OrderId, Reference};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::schedule;
use payment_functions::providers::Notification;
use payment_functions::store::{StoreError, UnmatchedNotifications};

use super::{CheckResult, Sweep};
use crate::poller::{POLLED_PROVIDER, PollError, StatusSource};
use crate::report::{ForAPerson, increment};

/// Maximum number of payments of one order that are polled to match a notification.
const MAX_CANDIDATES: u16 = 10;
/// The age from which unmatched notifications are reported. Most are matched long before.
const REPORT_AFTER: Duration = Duration::from_secs(10 * 60);

impl<S: StatusSource> Sweep<'_, S> {
    pub(super) async fn check_unmatched(
        &mut self,
        provider: Provider,
        lookup_key: &str,
    ) -> Result<CheckResult, StoreError> {
        let Some(unmatched) = self.store.unmatched(provider, lookup_key).await? else {
            return Ok(CheckResult::Done(None));
        };
        let mut polled = Ok(());
        if provider == POLLED_PROVIDER {
            polled = match self.poll_candidates(lookup_key, &unmatched).await {
                Err(PollError::Store(error)) => return Err(error),
                polled => polled,
            };
        }
        let Some(unmatched) = self.store.unmatched(provider, lookup_key).await? else {
            increment(&mut self.report.unmatched_resolved);
            return Ok(CheckResult::Done(None));
        };
        if self.record_all(&unmatched, polled.is_ok()).await? {
            self.store.delete_unmatched(provider, lookup_key, &unmatched).await?;
            tracing::info!(%provider, lookup_key, "unmatched notifications recorded with their payments");
            increment(&mut self.report.unmatched_resolved);
            return Ok(CheckResult::Done(None));
        }
        let age = self.now.since(unmatched.unmatched_since);
        self.report.note_unmatched(age);
        match polled {
            Err(PollError::OutOfTurns) if !self.poller.has_used_turns() => return Ok(CheckResult::Postponed),
            Err(PollError::ProviderRefusesAll) => return Ok(CheckResult::RetryAfterOthers),
            // Includes an item that used some turns: at once, it would only use them up again. It goes on like after a
            // failed poll.
            _ => {}
        }
        if age >= REPORT_AFTER {
            let matter = ForAPerson::about_unmatched(provider, lookup_key, orders(&unmatched).next().cloned());
            self.report.add_matter(matter);
        }
        Ok(CheckResult::Done(Some(schedule::next_unmatched_check_at(
            unmatched.unmatched_since,
            self.now,
        ))))
    }

    /// Polls the provider by the ids of unmatched notifications, and about every payment of their order. Recording the
    /// provider's response attaches its ids to the payment. The same commit moves the notifications stored under those
    /// ids to that payment.
    async fn poll_candidates(&mut self, lookup_key: &str, unmatched: &UnmatchedNotifications) -> Result<(), PollError> {
        self.poller.check_may_poll()?;
        let ids: BTreeSet<&Reference> = unmatched
            .notifications
            .iter()
            .flat_map(|notification| notification.fact.references())
            .collect();
        for id in ids {
            match self.poller.status(id).await {
                Ok(Some(notification)) => {
                    self.record_matched(&notification).await?;
                }
                Ok(None) | Err(PollError::Call(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if self.store.unmatched(POLLED_PROVIDER, lookup_key).await?.is_none() {
            return Ok(());
        }
        let Some(order_id) = orders(unmatched).next() else {
            return Ok(());
        };
        let mut failure = None;
        for id in self
            .store
            .payments_of(POLLED_PROVIDER, order_id, MAX_CANDIDATES)
            .await?
        {
            // Completed payments too: the notification may report the same money under another id.
            if let Some(payment) = self.store.payment(id).await? {
                match self.poll_payment(&payment).await {
                    Ok(_) => {}
                    Err(PollError::Call(error)) => failure = Some(error),
                    Err(error) => return Err(error),
                }
            }
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Records the notifications whose payment is known now. Returns whether that is all of them.
    ///
    /// A notification that names only an order is matched only if polling the candidates did not fail (`polled_ok`).
    async fn record_all(&self, unmatched: &UnmatchedNotifications, polled_ok: bool) -> Result<bool, StoreError> {
        let mut all_recorded = true;
        for notification in &unmatched.notifications {
            let notification = if polled_ok {
                self.match_by_order(notification).await?
            } else {
                notification.clone()
            };
            all_recorded &= self.record_matched(&notification).await?.is_some();
        }
        Ok(all_recorded)
    }

    /// Names the payment of a notification that names only an order: the one payment of the order whose status, after
    /// polling, is the one that the notification implies. None if there are several, or more payments than were polled.
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
        let mut matches = Vec::new();
        for id in candidates {
            let payment = self.store.payment(id).await?;
            let owned_by_other = false; // The fact has no id.
            let has_same_status =
                |payment: &Payment| payment.implied_status(fact, owned_by_other) == Some(payment.status);
            if payment.as_ref().is_some_and(has_same_status) {
                matches.push(id);
            }
        }
        let payment_id = match matches.as_slice() {
            [id] => Some(*id),
            _ => None,
        };
        Ok(Notification {
            payment_id,
            fact: fact.clone(),
        })
    }
}

/// The orders that unmatched notifications name.
fn orders(unmatched: &UnmatchedNotifications) -> impl Iterator<Item = &OrderId> {
    let notifications = unmatched.notifications.iter();
    notifications.filter_map(|notification| notification.fact.order_id.as_ref())
}
