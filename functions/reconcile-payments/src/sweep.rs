//! A run over everything that is due.
//!
//! Each item is reserved before it is checked and rescheduled afterwards. So concurrent runs share the work, and an
//! item of a run that died is checked again two minutes later.

mod attention;
mod check_payment;
mod confirm_claim;
mod match_unmatched;
mod poll_payment;

use std::time::Duration;

use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::schedule::{self, DELETE_UNPAID_AFTER, Queue};
use payment_functions::domain::time::Timestamp;
use payment_functions::store::{Due, Store, StoreError, Subject};
use tokio::time::Instant;

use crate::poller::{POLLED_PROVIDER, PollSession, StatusSource};
use crate::report::{Report, increment};

/// How many items are read at once of each shard of a queue.
pub const BATCH: u16 = 10;

/// A run.
#[derive(Debug)]
pub struct Sweep<'a, S> {
    store: &'a Store,
    poller: PollSession<S>,
    /// What decides where the provider names only an order.
    matching: OrderMatching,
    /// The time when the run began.
    now: Timestamp,
    /// How long after its expiry an unpaid payment is deleted. `None` if it stays.
    delete_unpaid_after: Option<Duration>,
    start: Instant,
    report: Report,
}

/// The result of checking an item.
enum CheckResult {
    /// The check is done. The next one is at this time, if there is one.
    Done(Option<Timestamp>),
    /// The provider could not be polled, or not about all of the item. It is due again a minute later, after the
    /// others.
    RetryAfterOthers,
    /// No turn (call slot) was left to begin polling. The item stays due at its old time, so the next run checks it
    /// before the younger ones of its shard.
    Postponed,
}

impl<'a, S: StatusSource> Sweep<'a, S> {
    /// A run over everything due at `now`, which polls `source`. Payments that expire in it are deleted after
    /// [`DELETE_UNPAID_AFTER`].
    pub fn new(store: &'a Store, source: S, now: Timestamp) -> Self {
        let matching = OrderMatching {
            environment: source.environment(),
            ..OrderMatching::default()
        };
        Self {
            store,
            poller: PollSession::new(source),
            matching,
            now,
            delete_unpaid_after: Some(DELETE_UNPAID_AFTER),
            start: Instant::now(),
            report: Report::default(),
        }
    }

    /// The run with another time from the expiry of an unpaid payment to its deletion. `None`: it stays.
    #[must_use]
    pub fn delete_unpaid_after(self, delete_unpaid_after: Option<Duration>) -> Self {
        Self {
            delete_unpaid_after,
            ..self
        }
    }

    /// The run with this rule for notifications that name only an order.
    #[must_use]
    pub fn matching_orders(self, matching: OrderMatching) -> Self {
        Self { matching, ..self }
    }

    /// Checks the due items of each queue. A queue has its [share](Queue::share) of `time`, and what the queues before
    /// it did not use.
    ///
    /// # Errors
    /// [`StoreError`] if the due index cannot be read. An item that fails is counted in the report and is due again
    /// some minutes later.
    pub async fn run(mut self, time: Duration) -> Result<(Report, S), StoreError> {
        let start = Instant::now();
        let total: u32 = Queue::all().map(Queue::share).sum();
        let mut shares = 0;
        for queue in Queue::all() {
            shares += queue.share();
            self.check_queue(queue, start + time * shares / total).await?;
        }
        Ok((self.report, self.poller.into_source()))
    }

    /// Checks these items only, as far as `time` allows. An item that fails is counted in the report; a later run checks
    /// it.
    pub async fn check(mut self, items: &[Due], time: Duration) -> (Report, S) {
        let until = Instant::now() + time;
        self.poller.begin_queue(until);
        for due in items {
            if Instant::now() >= until {
                self.report.unfinished = true;
                break;
            }
            self.check_and_report(due).await;
        }
        (self.report, self.poller.into_source())
    }

    async fn check_queue(&mut self, queue: Queue, until: Instant) -> Result<(), StoreError> {
        self.poller.begin_queue(until);
        loop {
            let mut done = 0_u32;
            let batch = self.store.due(queue, self.now, BATCH).await?;
            // Fewer from all shards together than the limit of one: none has more.
            let is_last_batch = batch.len() < usize::from(BATCH);
            for due in &batch {
                self.report.note_lag(self.now.since(due.at));
            }
            for due in batch {
                let needs_next_run = queue == Queue::Payments(POLLED_PROVIDER) && self.poller.is_out_of_turns();
                if Instant::now() >= until || needs_next_run {
                    self.report.unfinished = true;
                    return Ok(());
                }
                if self.check_and_report(&due).await {
                    increment(&mut done);
                }
            }
            // If nothing was done, reading again is useless: the items are left for the next run, or the index is stale
            // and still shows items that another run has reserved. If every item failed, the table is at fault, or the
            // items are; the next run checks the others.
            if is_last_batch || done == 0 {
                return Ok(());
            }
        }
    }

    /// Checks one item. Returns whether it is done for now. Logs and counts a failure.
    async fn check_and_report(&mut self, due: &Due) -> bool {
        self.check_due(due).await.unwrap_or_else(|error| {
            tracing::error!(subject = ?due.subject, error = %error, "due item could not be checked");
            increment(&mut self.report.failed);
            false
        })
    }

    /// Checks one item. Returns whether it is done for now: `false` if another run has it, or if it is left for the
    /// next run.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written. The item is checked again some minutes later.
    pub async fn check_due(&mut self, due: &Due) -> Result<bool, StoreError> {
        let Some(reserved) = self.store.reserve(due, self.now).await? else {
            return Ok(false);
        };
        increment(&mut self.report.checked);
        self.poller.begin_item();
        let result = match &due.subject {
            Subject::Payment(id) => self.check_payment(*id).await,
            Subject::Unmatched(provider, lookup_key) => self.check_unmatched(*provider, lookup_key).await,
        };
        let result = match result {
            Ok(result) => result,
            Err(error) => {
                self.store.note_failed_check(&reserved, self.now).await?;
                return Err(error);
            }
        };
        self.report.unfinished |= !matches!(result, CheckResult::Done(_));
        let (is_done, next) = match result {
            CheckResult::Done(next) => (true, next),
            CheckResult::RetryAfterOthers => (true, Some(schedule::retry_check_at(self.now))),
            CheckResult::Postponed => (false, Some(due.at)),
        };
        self.store.reschedule(&reserved, next).await?;
        Ok(is_done)
    }

    /// The current time. `now` stays the time when the run began.
    fn time(&self) -> Timestamp {
        self.now.plus(self.start.elapsed())
    }
}
