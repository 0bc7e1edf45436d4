//! Retries after a concurrent write.

use super::error::StoreError;

/// Maximum attempts of [`retry_on_conflict`]. After each conflict, some other writer has made progress.
const MAX_CONFLICT_RETRIES: u32 = 32;

/// The result of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt<T, S> {
    /// The attempt ended with this result.
    Done(T),
    /// A concurrent write came first. Try again from this state.
    Conflict(S),
}

/// Runs `attempt` until it is done: first from `state`, then from the state that the last conflict returned.
///
/// # Errors
/// The first error of `attempt`, or [`StoreError::Contended`] if every attempt met a conflict.
pub async fn retry_on_conflict<T, S, E: From<StoreError>, F: Future<Output = Result<Attempt<T, S>, E>>>(
    mut state: S,
    mut attempt: impl FnMut(S) -> F,
) -> Result<T, E> {
    for _ in 0..MAX_CONFLICT_RETRIES {
        match attempt(state).await? {
            Attempt::Done(result) => return Ok(result),
            Attempt::Conflict(next) => state = next,
        }
    }
    Err(StoreError::Contended.into())
}
