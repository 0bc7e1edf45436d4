//! What becomes of events that the bus did not take: the pure part.
//!
//! Guarantee: nothing is passed over. An event is put, or it is for the dead-letter queue, or nothing after it counts.

use std::collections::HashSet;
use std::time::Duration;

use payment_functions::domain::id::PaymentId;

/// The most entries of one call to the bus.
const MOST: usize = 10;

/// For how long an event is tried. The stream keeps its records for 24 hours, so this leaves time for all behind one
/// that fails.
pub const PATIENCE: Duration = Duration::from_secs(6 * 60 * 60);

/// Why the bus did not take an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It never will.
    #[error("{0}")]
    Never(String),
    /// Not now: throttling, an error or a policy that can be mended, no answer.
    #[error("{0}")]
    NotNow(String),
}

impl Failure {
    /// By the code of an error. One that is not known may pass.
    pub fn of_code(code: &str) -> Self {
        match code {
            "MalformedDetail" | "InvalidArgument" | "ValidationException" | "RequestEntityTooLarge" => {
                Self::Never(code.to_owned())
            }
            _ => Self::NotNow(code.to_owned()),
        }
    }
}

/// What was tried, in the order of the stream.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What became of it.
    pub outcome: Result<(), Failure>,
    /// How old its record is.
    pub age: Duration,
}

/// What to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// These go to the dead-letter queue, and count as done once they are there.
    pub dead: Vec<(usize, Failure)>,
    /// This is the first that is not done: it and all after it come again.
    pub stop: Option<usize>,
}

/// Judges what was tried.
pub fn judge(tried: impl IntoIterator<Item = Tried>) -> Verdict {
    let mut verdict = Verdict::default();
    for (index, Tried { outcome, age }) in tried.into_iter().enumerate() {
        match outcome {
            Ok(()) => {}
            Err(Failure::NotNow(_)) if age <= PATIENCE => {
                verdict.stop = Some(index);
                break;
            }
            Err(failure) => verdict.dead.push((index, failure)),
        }
    }
    verdict
}

/// How many of these events, given by their payments, the next call may have: no payment twice, so that its events are
/// put one after another.
pub fn call_length(payments: impl IntoIterator<Item = PaymentId>) -> usize {
    let mut seen = HashSet::new();
    let apart = payments.into_iter().take_while(|payment| seen.insert(*payment));
    apart.take(MOST).count()
}

#[cfg(test)]
mod tests;
