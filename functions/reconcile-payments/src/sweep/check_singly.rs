//! Checks single items: claims and other unmatched notifications, payments in review, and payments with evidence of
//! money.
//!
//! Each item is reserved before it is checked and rescheduled afterwards. So concurrent runs share the work, and an item
//! of a run that died is checked again two minutes later. The longest due comes first.

use payment_functions::domain::request_rate::Lane;
use payment_functions::domain::schedule::{self, Queue};
use payment_functions::domain::time::Timestamp;
use payment_functions::store::{Due, Shard, StoreError, Subject};
use tokio::time::{Duration, Instant};

use super::Sweep;
use crate::poller::{POLLED_PROVIDER, PollSession, StatusSource};
use crate::report::{Report, increment};

/// The queues of these items.
const QUEUES: [Queue; 3] = [Queue::Poll, Queue::Review, Queue::Unmatched];

/// How many items are read at once of each shard of a queue.
const BATCH: u16 = 25;

/// The result of checking an item.
pub(super) enum CheckResult {
    /// The check is done. The next one is at this time, if there is one.
    Done(Option<Timestamp>),
    /// The provider could not be polled, or not about all of the item. It is due again a minute later, after the
    /// others.
    RetryAfterOthers,
}

impl<S: StatusSource> Sweep<'_, S> {
    /// Checks what is due, as far as there are call slots.
    ///
    /// # Errors
    /// [`StoreError`] if the index cannot be read, or no slot could be reserved.
    pub async fn check_singly(&self, until: Instant) -> Result<Report, StoreError> {
        let mut report = Report::default();
        let mut session = PollSession::new(&self.source, Lane::Single);
        loop {
            let mut items = Vec::new();
            for shard in QUEUES.into_iter().flat_map(Shard::of) {
                items.extend(self.store.due(shard, self.now, BATCH, None).await?);
            }
            items.sort_by_key(|due| due.at);
            for due in &items {
                report.note_lag(self.now.since(due.at));
            }
            // If nothing was done, reading again is useless: the index is stale and still shows items that another run
            // has reserved, or every item failed.
            if self.check_items(&items, &mut session, until, &mut report).await? == 0 || report.unfinished {
                return Ok(report);
            }
        }
    }

    /// Checks these items only, as far as `time` allows. An item that fails is counted in the report; a later run checks
    /// it.
    ///
    /// # Errors
    /// [`StoreError`] if no call slot could be reserved.
    pub async fn check(&self, items: &[Due], time: Duration) -> Result<Report, StoreError> {
        let mut report = Report::default();
        let mut session = PollSession::new(&self.source, Lane::Single);
        let until = Instant::now() + time;
        self.check_items(items, &mut session, until, &mut report).await?;
        Ok(report)
    }

    /// Checks items, as far as there are call slots. Returns how many were checked.
    async fn check_items(
        &self,
        items: &[Due],
        session: &mut PollSession<'_, S>,
        until: Instant,
        report: &mut Report,
    ) -> Result<u32, StoreError> {
        let mut done = 0;
        for due in items {
            let is_polled = match &due.subject {
                Subject::Payment(_) => true,
                Subject::Unmatched(provider, _) => *provider == POLLED_PROVIDER,
            };
            let may_begin = Instant::now() < until && (!is_polled || session.may_begin(until).await?);
            if !may_begin {
                report.unfinished = true;
                break;
            }
            match self.check_due(due, session, report).await {
                Ok(true) => increment(&mut done),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(subject = ?due.subject, error = %error, "due item could not be checked");
                    increment(&mut report.failed);
                }
            }
        }
        Ok(done)
    }

    /// Checks one item. Returns `false` if another run has it.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written. The item is checked again some minutes later.
    async fn check_due(
        &self,
        due: &Due,
        session: &mut PollSession<'_, S>,
        report: &mut Report,
    ) -> Result<bool, StoreError> {
        let Some(reserved) = self.store.reserve(due, self.now).await? else {
            return Ok(false);
        };
        increment(&mut report.checked);
        let result = match &due.subject {
            Subject::Payment(id) => self.check_payment(*id, session, report).await,
            Subject::Unmatched(provider, lookup_key) => {
                self.check_unmatched(*provider, lookup_key, session, report).await
            }
        };
        let next = match result {
            Ok(CheckResult::Done(next)) => next,
            Ok(CheckResult::RetryAfterOthers) => {
                report.unfinished = true;
                Some(schedule::retry_check_at(self.now))
            }
            Err(error) => {
                self.store.note_failed_check(&reserved, self.now).await?;
                return Err(error);
            }
        };
        self.store.reschedule(&reserved, next).await?;
        Ok(true)
    }
}
