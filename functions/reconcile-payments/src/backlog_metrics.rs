//! Metrics of the backlog after a run: payments in review, and the oldest unmatched notification.
//!
//! Guarantee: it reads at most one page of each shard of a queue, and its failure does not fail the run.

use std::time::Duration;

use payment_functions::domain::schedule::Queue;
use payment_functions::platform::{clock, metrics};
use payment_functions::store::{Store, StoreError};
use tokio::time::timeout;

/// Maximum time for reading, so that the function ends in time.
const LIMIT: Duration = Duration::from_secs(5);

/// Reads the backlog and records its metrics. A failure is logged.
pub async fn record(store: &Store) {
    let read = timeout(LIMIT, read_and_record(store)).await;
    if let Err(error) = read.unwrap_or(Err(StoreError::TimedOut)) {
        tracing::error!(error = %error, "backlog metrics could not be read");
    }
}

async fn read_and_record(store: &Store) -> Result<(), StoreError> {
    metrics::payments_in_review_counted(store.count(Queue::Review).await?);
    let oldest = store.oldest_unmatched().await?;
    metrics::oldest_unmatched_measured(oldest.map_or(Duration::ZERO, |oldest| clock::now().since(oldest)));
    Ok(())
}
