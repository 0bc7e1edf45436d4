//! How much waits, after a run: written as metrics.
//!
//! Guarantee: it reads one page of each part of a queue at most, and a run does not fail because of it.

use std::time::Duration;

use payment_functions::domain::schedule::Queue;
use payment_functions::platform::{clock, metrics};
use payment_functions::store::{Store, StoreError};
use tokio::time::timeout;

/// How long reading may take: the function's own time has an end.
const LIMIT: Duration = Duration::from_secs(5);

/// Reads and writes them. What cannot be read is logged, and not written.
pub async fn write(store: &Store) {
    let read = timeout(LIMIT, read(store)).await;
    if let Err(error) = read.unwrap_or(Err(StoreError::TimedOut)) {
        tracing::error!(error = %error, "not known how much waits");
    }
}

async fn read(store: &Store) -> Result<(), StoreError> {
    metrics::payments_in_review(store.count(Queue::Review).await?);
    let oldest = store.oldest_unmatched().await?;
    metrics::oldest_unmatched(oldest.map_or(Duration::ZERO, |oldest| clock::now().since(oldest)));
    Ok(())
}
