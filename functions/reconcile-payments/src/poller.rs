//! Polls a provider for payment statuses. Only this module knows whether the provider may be polled, and how many calls
//! were made.
//!
//! Each call needs a *turn*: a call slot, reserved with the rate limiter. A run may use up its turns, or the provider
//! may refuse every call: then polling stops, and the run goes on without it.

mod rate_limited;

use payment_functions::domain::id::{OrderId, Reference};
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::providers::Notification;
use payment_functions::providers::gateway::CallError;
use payment_functions::store::StoreError;
use tokio::time::Instant;

pub use rate_limited::{FinvyPay, INTERVAL, RateLimitedPoller};

/// The provider that is polled. For a second one [`StatusSource`] needs to know which is meant.
pub const POLLED_PROVIDER: Provider = Provider::FinvyPay;

/// Why polling returned nothing.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// No turn (call slot) is left for now. The provider itself would respond.
    #[error("no turn left to call the provider")]
    OutOfTurns,
    /// The provider refuses every call for now: it throttles us or refuses our API key, or there is no key.
    #[error("the provider refuses every call for now")]
    ProviderRefusesAll,
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// DynamoDB failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A provider's API for payment statuses.
pub trait StatusSource {
    /// The provider's system that is polled. It does not know the payments of another one.
    fn environment(&self) -> Environment;

    /// Gives out no turn after `latest`.
    fn poll_until(&mut self, latest: Instant);

    /// The status under a payment's or a transaction's id. `None` if the provider does not know the id.
    ///
    /// # Errors
    /// [`PollError`] if there is no usable response.
    fn status(&mut self, id: &Reference) -> impl Future<Output = Result<Option<Notification>, PollError>> + Send;

    /// The transactions of an order.
    ///
    /// # Errors
    /// [`PollError`] if there is no usable response.
    fn transactions(&mut self, order_id: &OrderId)
    -> impl Future<Output = Result<Vec<Notification>, PollError>> + Send;
}

/// Why polling has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    /// The queue has used up its turns. Polling starts again with the next queue; unpolled items stay due.
    NoTurns,
    /// The provider refuses every call. Polling stops for this run, but payments still expire.
    Closed,
}

impl From<Silence> for PollError {
    fn from(silence: Silence) -> Self {
        match silence {
            Silence::NoTurns => Self::OutOfTurns,
            Silence::Closed => Self::ProviderRefusesAll,
        }
    }
}

/// A run's use of a [`StatusSource`]: stops polling once it is pointless, and counts the calls.
#[derive(Debug)]
pub struct PollSession<S> {
    source: S,
    /// Why polling has stopped, if it has.
    silence: Option<Silence>,
    /// The turns that the current item has used.
    turns: u32,
}

impl<S: StatusSource> PollSession<S> {
    /// A session that polls `source`.
    pub fn new(source: S) -> Self {
        Self {
            source,
            silence: None,
            turns: 0,
        }
    }

    /// The provider's system that is polled.
    pub fn environment(&self) -> Environment {
        self.source.environment()
    }

    /// Ends the session and returns its source.
    pub fn into_source(self) -> S {
        self.source
    }

    /// Gives the next queue its turns, until `latest`.
    pub fn begin_queue(&mut self, latest: Instant) {
        self.source.poll_until(latest);
        self.silence = self.silence.filter(|silence| *silence != Silence::NoTurns);
    }

    /// Begins with the next item: it has used no turns yet.
    pub fn begin_item(&mut self) {
        self.turns = 0;
    }

    /// Whether the current item has used any turns.
    pub fn has_used_turns(&self) -> bool {
        self.turns > 0
    }

    /// Whether the queue has used up its turns.
    pub fn is_out_of_turns(&self) -> bool {
        self.silence == Some(Silence::NoTurns)
    }

    /// Returns an error if polling has stopped.
    ///
    /// # Errors
    /// [`PollError::OutOfTurns`] or [`PollError::ProviderRefusesAll`] if it has.
    pub fn check_may_poll(&self) -> Result<(), PollError> {
        self.silence.map_or(Ok(()), |silence| Err(silence.into()))
    }

    /// See [`StatusSource::status`].
    ///
    /// # Errors
    /// [`PollError`] if there is no usable response.
    pub async fn status(&mut self, id: &Reference) -> Result<Option<Notification>, PollError> {
        let result = self.source.status(id).await;
        self.note(result)
    }

    /// See [`StatusSource::transactions`].
    ///
    /// # Errors
    /// [`PollError`] if there is no usable response.
    pub async fn transactions(&mut self, order_id: &OrderId) -> Result<Vec<Notification>, PollError> {
        let result = self.source.transactions(order_id).await;
        self.note(result)
    }

    /// Counts the turn, if there was one, and stops polling if more calls are pointless.
    fn note<T>(&mut self, result: Result<T, PollError>) -> Result<T, PollError> {
        match &result {
            Err(PollError::OutOfTurns) => {
                self.silence = Some(Silence::NoTurns);
                return result;
            }
            Err(PollError::ProviderRefusesAll) => self.silence = Some(Silence::Closed),
            Err(PollError::Call(_) | PollError::Store(_)) | Ok(_) => {}
        }
        self.turns = self.turns.saturating_add(1);
        result
    }
}

#[cfg(test)]
mod tests;
