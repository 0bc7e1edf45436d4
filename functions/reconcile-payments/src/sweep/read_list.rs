//! Reads the provider's list of transactions in bulk, window by window, as
//! [`list_reading`](payment_functions::domain::list_reading) says.
//!
//! Where the list can be filtered by status, only what was paid is read. Whether the filter works is found out: it must
//! show everything that the whole list shows as paid. The last reading is always of the whole list, so that a status
//! that nobody documented is seen too.
//!
//! How far the list was read is stored at the end of a run. A run that dies, or another one beside it, only repeats
//! reads: a row is recorded like a webhook.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use payment_functions::domain::fact::Outcome;
use payment_functions::domain::id::Reference;
use payment_functions::domain::list_reading::{ReadMarks, Window, is_last_reading};
use payment_functions::domain::request_rate::Lane;
use payment_functions::platform::metrics;
use payment_functions::providers::finvypay::list::{ListPage, ListQuery, ListRow, PAGE_ROWS};
use payment_functions::providers::gateway::CallError;
use payment_functions::store::{ListState, PaidFilter, Retry, StoreError, retry_on_conflict};
use tokio::time::Instant;

use super::Sweep;
use crate::poller::{POLLED_PROVIDER, PollError, StatusSource};
use crate::report::Report;

/// The most rows that are read as one window. A window with more is cut, and read again the next time.
const MAX_ROWS: u64 = 1_000;
/// How many pages of a window are read at once.
const CONCURRENCY: usize = 4;
/// How often the filter by status is verified.
const VERIFY_AFTER: Duration = Duration::from_secs(60 * 60);
const HOUR: u64 = 60 * 60;

/// What was read.
struct Reading {
    /// The window, cut to what was read.
    window: Window,
    /// The number of rows in it.
    total: u64,
    /// The paid rows.
    paid: Vec<ListRow>,
    /// Whether every row is paid.
    is_all_paid: bool,
}

impl Reading {
    fn new(window: Window, total: u64) -> Self {
        Self {
            window,
            total,
            paid: Vec::new(),
            is_all_paid: true,
        }
    }
}

/// The list as it was read in this run.
struct ListReader {
    marks: ReadMarks,
    filter: Option<PaidFilter>,
    /// How many rows an hour the last window had. `None` before that is known.
    rows_per_hour: Option<u64>,
    /// Whether nothing was read yet in this run.
    is_at_start: bool,
}

impl ListReader {
    /// The status to filter by.
    fn status(&self) -> Option<String> {
        self.filter.as_ref()?.status.clone()
    }
}

impl<S: StatusSource> Sweep<'_, S> {
    /// Reads what is due of the list. Returns the list's state afterwards.
    pub(super) async fn read_list(&self, before: ListState, until: Instant) -> Result<(ListState, Report), StoreError> {
        let mut report = Report::default();
        let mut reader = ListReader {
            marks: ReadMarks::or_new(before.marks.clone(), self.now),
            filter: before.paid_filter.clone(),
            rows_per_hour: None,
            is_at_start: true,
        };
        let mut read = Vec::new();
        let ended = loop {
            let Some(window) = reader.marks.next_window(self.now) else {
                break Ok(());
            };
            match self.read_next(window, &mut reader, until, &mut report).await {
                Ok(window) => read.push(window),
                Err(error) => break Err(error),
            }
        };
        let after = self.save_list_state(&before, &read, reader.filter).await?;
        report.unfinished |= matches!(ended, Err(PollError::NoSlot | PollError::ProviderRefusesAll));
        match ended {
            // There is no key, or the provider throttles us: both have a metric of their own.
            Ok(()) | Err(PollError::NoSlot | PollError::ProviderRefusesAll) => {}
            Err(PollError::Call(error)) => {
                tracing::warn!(error = %error, "transaction list could not be read");
                if matches!(error, CallError::Unusable { .. } | CallError::Rejected { .. }) {
                    metrics::transaction_list_unusable();
                }
            }
            Err(PollError::Store(error)) => return Err(error),
        }
        let marks = ReadMarks::or_new(after.marks.clone(), self.now);
        metrics::transaction_list_lag_measured(marks.lag(self.now));
        Ok((after, report))
    }

    /// Reads a window, and verifies the filter if that is due. Returns the window as it was read.
    async fn read_next(
        &self,
        window: Window,
        reader: &mut ListReader,
        until: Instant,
        report: &mut Report,
    ) -> Result<Window, PollError> {
        if let Some(read) = self.read_extended(window, reader, until, report).await? {
            return Ok(read);
        }
        let window = match reader.rows_per_hour {
            Some(rows) => at_most(
                window,
                rows.saturating_mul(window.length().as_secs()) / HOUR,
                self.max_rows(until),
            ),
            None => window,
        };
        let is_filter_old = reader
            .filter
            .as_ref()
            .is_none_or(|filter| self.now.since(filter.verified_at) >= VERIFY_AFTER);
        let verifies = reader.is_at_start && is_filter_old;
        reader.is_at_start = false;
        let whole = verifies || is_last_reading(window, self.now);
        let filter = reader.status().filter(|_| !whole);
        let reading = self.read_window(window, filter, until, report).await?;
        if verifies && let Some(paid) = reading.paid.first() {
            let status = paid.status.clone();
            reader.filter = Some(self.verify(status, &reading, until, report).await?);
        }
        let seconds = reading.window.length().as_secs().max(1);
        reader.rows_per_hour = reading.total.saturating_mul(HOUR).checked_div(seconds);
        reader.marks = reader.marks.after(reading.window, self.now);
        Ok(reading.window)
    }

    /// Reads a window and the older ones that fit in the same page, if they probably do. `None` if they do not.
    async fn read_extended(
        &self,
        window: Window,
        reader: &mut ListReader,
        until: Instant,
        report: &mut Report,
    ) -> Result<Option<Window>, PollError> {
        let extended = reader
            .rows_per_hour
            .and_then(|rows| reader.marks.extended(window, rows, PAGE_ROWS / 2, self.now));
        let Some(window) = extended else { return Ok(None) };
        let query = ListQuery {
            window,
            status: reader.status(),
            page: 1,
        };
        let page = self.read_page(query, until).await?;
        self.record_page(&page, &mut Reading::new(window, 0), until, report)
            .await?;
        let is_whole = page.length == 0 || page.total == Some(page.length);
        if !is_whole {
            // It has, or may have, more rows than expected.
            reader.rows_per_hour = None;
            return Ok(None);
        }
        reader.marks = reader.marks.after(window, self.now);
        Ok(Some(window))
    }

    /// The filter by `status`, if the list that is filtered by it has everything of `whole` that was paid, and nothing
    /// else.
    async fn verify(
        &self,
        status: Option<String>,
        whole: &Reading,
        until: Instant,
        report: &mut Report,
    ) -> Result<PaidFilter, PollError> {
        let filtered = self.read_window(whole.window, status.clone(), until, report).await?;
        let ids = |reading: &Reading| -> BTreeSet<Reference> {
            let facts = reading.paid.iter().map(ListRow::fact);
            facts.flat_map(|fact| fact.references().cloned()).collect()
        };
        let works = filtered.is_all_paid && filtered.window == whole.window && ids(whole).is_subset(&ids(&filtered));
        if !works {
            tracing::warn!(
                status,
                "transaction list cannot be filtered by status; reading all of it"
            );
        }
        Ok(PaidFilter {
            status: status.filter(|_| works),
            verified_at: self.now,
        })
    }

    /// Reads all pages of a window, and records what is new in them. A window with too many rows is cut.
    async fn read_window(
        &self,
        mut window: Window,
        status: Option<String>,
        until: Instant,
        report: &mut Report,
    ) -> Result<Reading, PollError> {
        loop {
            let query = ListQuery {
                window,
                status: status.clone(),
                page: 1,
            };
            let first = self.read_page(query.clone(), until).await?;
            let rows = first.total.unwrap_or(first.length);
            let whole = at_most(window, rows, self.max_rows(until));
            if whole == window {
                let mut reading = Reading::new(window, rows);
                let is_read = match first.total {
                    Some(total) => {
                        self.read_counted(first, total, &query, &mut reading, until, report)
                            .await?
                    }
                    None => self.read_to_the_end(first, query, &mut reading, until, report).await?,
                };
                if is_read {
                    return Ok(reading);
                }
            }
            let cut = if whole == window {
                window.older_part(1, 2)
            } else {
                Some(whole)
            };
            window = cut.ok_or_else(|| CallError::unusable("list does not keep to the dates that were asked for"))?;
        }
    }

    /// Reads the pages of a list that says how many rows there are, several at once. Returns whether there was an end.
    async fn read_counted(
        &self,
        first: ListPage,
        total: u64,
        query: &ListQuery,
        reading: &mut Reading,
        until: Instant,
        report: &mut Report,
    ) -> Result<bool, PollError> {
        let pages = total.div_ceil(first.length.max(1));
        if first.length == 0 && total > 0 || pages > MAX_ROWS {
            return Ok(false);
        }
        let more: Vec<_> = (2..=pages)
            .map(|page| self.read_page(ListQuery { page, ..query.clone() }, until))
            .collect();
        let more: Vec<ListPage> = stream::iter(more).buffer_unordered(CONCURRENCY).try_collect().await?;
        for page in std::iter::once(&first).chain(&more) {
            self.record_page(page, reading, until, report).await?;
        }
        // A row that was taken away has moved others to pages that were read before.
        if more.iter().any(|page| page.total.is_some_and(|now| now < total)) {
            return Err(CallError::unusable("list has changed while it was read").into());
        }
        Ok(true)
    }

    /// Reads the pages of a list that does not say how many rows there are. Returns whether there was an end.
    async fn read_to_the_end(
        &self,
        mut page: ListPage,
        mut query: ListQuery,
        reading: &mut Reading,
        until: Instant,
        report: &mut Report,
    ) -> Result<bool, PollError> {
        // The list may have shorter pages than it was asked for.
        let page_length = page.length;
        reading.total = 0;
        loop {
            self.record_page(&page, reading, until, report).await?;
            reading.total = reading.total.saturating_add(page.length);
            if page.length < page_length || page.length == 0 {
                return Ok(true);
            }
            if reading.total >= MAX_ROWS {
                return Ok(false);
            }
            query.page = query.page.saturating_add(1);
            page = self.read_page(query.clone(), until).await?;
        }
    }

    /// The most rows that are read as one window: no more than there are calls for in this run.
    fn max_rows(&self, until: Instant) -> u64 {
        let slots = self.source.slots_before(Lane::List, until).max(1);
        MAX_ROWS.min(slots.saturating_mul(PAGE_ROWS))
    }

    async fn read_page(&self, query: ListQuery, until: Instant) -> Result<ListPage, PollError> {
        self.source.wait_for_slot(Lane::List, until).await?;
        self.source.list(&query).await
    }

    /// Records what is new in a page.
    async fn record_page(
        &self,
        page: &ListPage,
        reading: &mut Reading,
        until: Instant,
        report: &mut Report,
    ) -> Result<(), PollError> {
        for row in &page.rows {
            match row.fact().outcome {
                Outcome::Completed => reading.paid.push(row.clone()),
                // The filter's status may stand beside a date of a refund.
                Outcome::Reversed => {}
                Outcome::Pending
                | Outcome::Authorized
                | Outcome::Cancelled
                | Outcome::Failed
                | Outcome::Unrecognised
                | Outcome::Contradictory => reading.is_all_paid = false,
            }
        }
        self.record_rows(&page.rows, until, report).await
    }

    /// Stores how far the list was read. What another run has read meanwhile counts too.
    pub(super) async fn save_list_state(
        &self,
        before: &ListState,
        read: &[Window],
        paid_filter: Option<PaidFilter>,
    ) -> Result<ListState, StoreError> {
        retry_on_conflict(before.clone(), |current| {
            let paid_filter = paid_filter.clone();
            async move {
                let marks = ReadMarks::or_new(current.marks.clone(), self.now);
                let marks = read.iter().fold(marks, |marks, window| marks.after(*window, self.now));
                let mut after = current.clone();
                after.marks = Some(marks);
                after.paid_filter = paid_filter;
                if after == current {
                    return Ok(Retry::Done(after));
                }
                let stored = self.store.save_list_state(POLLED_PROVIDER, &current, &after).await?;
                Ok(stored.map_or(Retry::Done(after), Retry::Again))
            }
        })
        .await
    }
}

/// The older part of a window with so many rows, if these are more than `most`.
fn at_most(window: Window, rows: u64, most: u64) -> Window {
    if rows <= most {
        return window;
    }
    window.older_part(most.saturating_mul(4) / 5, rows).unwrap_or(window)
}
