//! Retries after a concurrent write.

use super::error::StoreError;

/// How often [`retry_on_conflict`] runs its operation at most. After each conflict, some other writer has made
/// progress.
const MAX_ATTEMPTS: u32 = 32;

/// Whether an operation must be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry<T, S> {
    /// No, it ended with this result.
    Done(T),
    /// Yes, from this state: a concurrent write came first.
    Again(S),
}

/// Runs `operation` until it returns [`Retry::Done`]: first from `state`, then from the state of the last
/// [`Retry::Again`].
///
/// # Errors
/// The first error of `operation`, or [`StoreError::Contended`] if it meets a conflict every time.
pub async fn retry_on_conflict<T, S, E: From<StoreError>, F: Future<Output = Result<Retry<T, S>, E>>>(
    mut state: S,
    mut operation: impl FnMut(S) -> F,
) -> Result<T, E> {
    for _ in 0..MAX_ATTEMPTS {
        match operation(state).await? {
            Retry::Done(result) => return Ok(result),
            Retry::Again(next) => state = next,
        }
    }
    Err(StoreError::Contended.into())
}
