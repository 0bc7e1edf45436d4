//! A run over everything that is due. Three jobs run side by side, so that none waits for another:
//!
//! | job | what it does | calls to the provider |
//! |---|---|---|
//! | `expire` | expires payments whose time is over | none |
//! | `read_list` | reads the provider's list in bulk, and completes what was paid without a webhook | its lane of the list |
//! | `check_singly` | claims, payments in review, and those with evidence of money | its lane of single calls |
//!
//! Where the list cannot be read, `poll_newest` polls payments singly in its place, the newest first.

mod attention;
mod check_payment;
mod check_singly;
mod confirm_claim;
mod expire;
mod match_rows;
mod match_unmatched;
mod poll_newest;
mod poll_payment;
mod read_list;

use std::time::Duration;

use payment_functions::domain::list_reading::ReadMarks;
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::schedule::DELETE_UNPAID_AFTER;
use payment_functions::domain::time::Timestamp;
use payment_functions::store::{ListState, Store, StoreError};
use tokio::time::Instant;

use crate::poller::{POLLED_PROVIDER, StatusSource};
use crate::report::Report;

/// A run.
#[derive(Debug)]
pub struct Sweep<'a, S> {
    store: &'a Store,
    source: S,
    /// What decides where the provider names only an order.
    matching: OrderMatching,
    /// The time when the run began.
    now: Timestamp,
    /// How long after its expiry an unpaid payment is deleted. `None` if it stays.
    delete_unpaid_after: Option<Duration>,
    start: Instant,
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
            source,
            matching,
            now,
            delete_unpaid_after: Some(DELETE_UNPAID_AFTER),
            start: Instant::now(),
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

    /// The provider's API that is polled.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Does the three jobs. None of them begins anything new after `time`.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written, after the other jobs have ended. An item that fails is
    /// counted in the report, and is due again some minutes later.
    pub async fn run(&self, time: Duration) -> Result<Report, StoreError> {
        let until = Instant::now() + time;
        let list = self.store.list_state(POLLED_PROVIDER).await?;
        let is_list_read = is_up_to_date(&list, self.now);
        // Before any of them expires: then they are not found any more.
        let newest = if is_list_read {
            Vec::new()
        } else {
            self.newest_payments().await?
        };
        let list = self.begin_to_read(list, &newest).await?;
        let (expired, read, checked) = tokio::join!(
            self.expire(is_list_read, until),
            self.read_list_or_poll(list, newest, until),
            self.check_singly(until),
        );
        Ok(expired?.plus(read?).plus(checked?))
    }

    /// Notes that reading the list begins, if it has not begun. It begins with the first payment, because a shop that does
    /// not use the provider has no key for it.
    async fn begin_to_read(&self, list: ListState, newest: &[Payment]) -> Result<ListState, StoreError> {
        if list.marks.is_some() || newest.is_empty() {
            return Ok(list);
        }
        self.save_list_state(&list, &[], None).await
    }

    /// Reads the list. If it was not read as it should be before the run, and could not be read now, polls the `newest`
    /// payments singly.
    async fn read_list_or_poll(
        &self,
        list: ListState,
        newest: Vec<Payment>,
        until: Instant,
    ) -> Result<Report, StoreError> {
        if list.marks.is_none() {
            return Ok(Report::default());
        }
        let (list, report) = self.read_list(list, until).await?;
        if is_up_to_date(&list, self.now) {
            return Ok(report);
        }
        Ok(report.plus(self.poll_newest(&newest, until).await?))
    }

    /// The current time. `now` stays the time when the run began.
    fn time(&self) -> Timestamp {
        self.now.plus(self.start.elapsed())
    }
}

/// Whether the newest transactions were read as they should be.
fn is_up_to_date(list: &ListState, now: Timestamp) -> bool {
    ReadMarks::or_new(list.marks.clone(), now).is_up_to_date(now)
}
