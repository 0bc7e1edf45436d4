//! Polls a provider: single payments, and its list of transactions. Only this module knows whether the provider may be
//! called.
//!
//! Each call needs a *slot*, reserved with the rate limiter. The provider may refuse every call: then polling stops for
//! this run, and the run goes on without it.

mod call_slots;
mod rate_limited;

use std::time::Duration;

use payment_functions::domain::id::{OrderId, Reference};
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::request_rate::Lane;
use payment_functions::providers::Notification;
use payment_functions::providers::finvypay::list::{ListPage, ListQuery};
use payment_functions::providers::gateway::CallError;
use payment_functions::store::StoreError;
use tokio::time::Instant;

pub use call_slots::CallSlots;
pub use rate_limited::{FinvyPay, RateLimitedPoller};

/// The provider that is polled. For a second one [`StatusSource`] needs to know which is meant.
pub const POLLED_PROVIDER: Provider = Provider::FinvyPay;

/// How long an item that has begun waits for the slot of a further call.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Why polling returned nothing.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// No call slot, or no time, is left in this run. The provider itself would respond.
    #[error("no slot or no time left to call the provider")]
    NoSlot,
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

/// A provider's API for payment statuses. Every call needs a slot.
pub trait StatusSource: Sync {
    /// The provider's system that is polled. It does not know the payments of another one.
    fn environment(&self) -> Environment;

    /// Reserves a slot of a lane and waits for it.
    ///
    /// # Errors
    /// [`PollError::NoSlot`] if there is none before `latest`, [`PollError::ProviderRefusesAll`] if a call is pointless.
    fn wait_for_slot(&self, lane: Lane, latest: Instant) -> impl Future<Output = Result<(), PollError>> + Send;

    /// How many slots of a lane there are before `latest` at most.
    fn slots_before(&self, lane: Lane, latest: Instant) -> u64;

    /// The status under a payment's or a transaction's id. `None` if the provider does not know the id.
    ///
    /// # Errors
    /// [`PollError`] if there is no usable response.
    fn status(&self, id: &Reference) -> impl Future<Output = Result<Option<Notification>, PollError>> + Send;

    /// The transactions of an order.
    ///
    /// # Errors
    /// [`PollError`] if there is no usable response.
    fn transactions(&self, order_id: &OrderId) -> impl Future<Output = Result<Vec<Notification>, PollError>> + Send;

    /// A page of the list of all transactions.
    ///
    /// # Errors
    /// [`PollError`] if there is no usable response.
    fn list(&self, query: &ListQuery) -> impl Future<Output = Result<ListPage, PollError>> + Send;
}

/// Polls about one item after another. The slot of an item's first call is reserved before the item is begun.
#[derive(Debug)]
pub struct PollSession<'a, S> {
    source: &'a S,
    lane: Lane,
    /// Whether a slot is reserved and not used yet.
    has_slot: bool,
}

impl<'a, S: StatusSource> PollSession<'a, S> {
    /// A session that polls `source` in a lane.
    pub fn new(source: &'a S, lane: Lane) -> Self {
        Self {
            source,
            lane,
            has_slot: false,
        }
    }

    /// Whether an item may be begun that needs polling: `false` if there is no slot before `latest`. If the provider
    /// refuses every call it is begun all the same: what follows from that is for the item to decide.
    ///
    /// # Errors
    /// [`StoreError`] if the slot could not be reserved.
    pub async fn may_begin(&mut self, latest: Instant) -> Result<bool, StoreError> {
        if self.has_slot {
            return Ok(true);
        }
        match self.source.wait_for_slot(self.lane, latest).await {
            Ok(()) => self.has_slot = true,
            Err(PollError::NoSlot) => return Ok(false),
            Err(PollError::ProviderRefusesAll | PollError::Call(_)) => {}
            Err(PollError::Store(error)) => return Err(error),
        }
        Ok(true)
    }

    /// See [`StatusSource::status`].
    ///
    /// # Errors
    /// [`PollError`] if there is no usable response.
    pub async fn status(&mut self, id: &Reference) -> Result<Option<Notification>, PollError> {
        self.use_slot().await?;
        self.source.status(id).await
    }

    /// See [`StatusSource::transactions`].
    ///
    /// # Errors
    /// [`PollError`] if there is no usable response.
    pub async fn transactions(&mut self, order_id: &OrderId) -> Result<Vec<Notification>, PollError> {
        self.use_slot().await?;
        self.source.transactions(order_id).await
    }

    /// Uses the reserved slot, or another one.
    async fn use_slot(&mut self) -> Result<(), PollError> {
        if std::mem::take(&mut self.has_slot) {
            return Ok(());
        }
        self.source.wait_for_slot(self.lane, Instant::now() + MAX_WAIT).await
    }
}

#[cfg(test)]
mod tests;
