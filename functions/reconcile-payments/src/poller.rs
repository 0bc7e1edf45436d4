//! Asking FinvyPay, no faster than it allows.

use std::time::Duration;

use payment_functions::domain::id::{OrderId, Reference};
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::time::Timestamp;
use payment_functions::platform::clock;
use payment_functions::platform::failpoint::{ExternalCall, wrap};
use payment_functions::platform::metrics::Operation;
use payment_functions::platform::secrets::{ApiKey, SecretCache};
use payment_functions::providers::Notification;
use payment_functions::providers::finvypay::status::StatusApi;
use payment_functions::providers::gateway::{CallError, measured};
use payment_functions::providers::http_client::HttpClient;
use payment_functions::store::{Store, StoreError};
use tokio::time::Instant;

/// The time between two calls: 80 a minute of the 100 that the provider allows a key, which creating payments needs
/// too.
pub const INTERVAL: Duration = Duration::from_millis(750);

/// How many refusals in a row mean that it is our key that is refused. Fewer may be about what was asked: one payment alone
/// is asked about under each of its ids and its order.
const REFUSALS: u32 = 6;

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// There is no turn left for now: the provider would answer.
    #[error("no more calls for now")]
    OutOfTurns,
    /// The provider answers nobody for now: it throttles us or refuses our key, or there is no key.
    #[error("the provider is not to be asked for now")]
    Closed,
    /// The provider gave no answer that could be used.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The store did not tell whose turn it is.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The provider that is asked. For a second one [`Ask`] would have to be told whom.
pub const POLLED_PROVIDER: Provider = Provider::FinvyPay;

/// Somebody who knows what became of payments.
pub trait Ask {
    /// Gives no more turns after `latest`.
    fn poll_until(&mut self, latest: Instant);

    /// What is known under an id. `None`: nothing.
    fn status(&mut self, id: &Reference) -> impl Future<Output = Result<Option<Notification>, PollError>> + Send;

    /// What is known under an order.
    fn transactions(&mut self, order_id: &OrderId)
    -> impl Future<Output = Result<Vec<Notification>, PollError>> + Send;
}

/// Where FinvyPay is, and with what key it is asked.
#[derive(Clone, Copy, Debug)]
pub struct FinvyPay<'a> {
    /// The client to call with.
    pub client: &'a HttpClient,
    /// Its base URL, without a slash at its end.
    pub base_url: &'a str,
    /// Which of its systems.
    pub environment: Environment,
    /// The API key, which is fetched when there is a question: a shop that does not use FinvyPay has none.
    pub keys: &'a SecretCache<ApiKey>,
}

/// FinvyPay, asked in turn with everybody else who asks it.
#[derive(Debug)]
pub struct RateLimitedPoller<'a> {
    store: &'a Store,
    finvypay: FinvyPay<'a>,
    api: Api<'a>,
    /// When the last turn may be.
    latest: Timestamp,
    /// How often in a row the provider has refused our key.
    refusals: u32,
}

#[derive(Debug)]
enum Api<'a> {
    NotUsedYet,
    Ready(StatusApi<'a>),
    /// Not in this run any more.
    Closed,
}

impl<'a> RateLimitedPoller<'a> {
    /// Asks in turn with whoever else uses `store`, once [`poll_until`](Ask::poll_until) has given it time.
    pub fn new(store: &'a Store, finvypay: FinvyPay<'a>) -> Self {
        Self {
            store,
            finvypay,
            api: Api::NotUsedYet,
            latest: clock::now(),
            refusals: 0,
        }
    }

    /// Whether the provider has refused our key, and taken it for nothing since.
    pub fn is_key_refused(&self) -> bool {
        self.refusals > 0
    }

    /// Waits for the next turn.
    async fn turn(&mut self) -> Result<&StatusApi<'a>, PollError> {
        if matches!(self.api, Api::NotUsedYet) {
            self.api = self.open().await;
        }
        let Api::Ready(api) = &self.api else {
            return Err(PollError::Closed);
        };
        let turn = self
            .store
            .next_turn(POLLED_PROVIDER, INTERVAL, clock::now(), self.latest);
        let turn = turn.await?.ok_or(PollError::OutOfTurns)?;
        tokio::time::sleep(turn.since(clock::now())).await;
        Ok(api)
    }

    async fn open(&self) -> Api<'a> {
        let FinvyPay {
            client,
            base_url,
            environment,
            keys,
        } = self.finvypay;
        match keys.get(clock::now()).await {
            Ok(key) => Api::Ready(StatusApi {
                client,
                base_url,
                environment,
                api_key: key.0.clone(),
            }),
            Err(_) => Api::Closed,
        }
    }

    /// Stops asking where that is pointless: throttled, or with a key that is not taken.
    fn note<T>(&mut self, answer: Result<T, CallError>) -> Result<T, PollError> {
        let error = match answer {
            Ok(answer) => {
                self.refusals = 0;
                return Ok(answer);
            }
            Err(error) => error,
        };
        tracing::warn!(error = %error, "provider not heard");
        match error {
            CallError::Throttled { .. } => {
                self.api = Api::Closed;
                Err(PollError::Closed)
            }
            CallError::KeyRefused => {
                self.refusals = self.refusals.saturating_add(1);
                if self.refusals >= REFUSALS {
                    self.api = Api::Closed;
                }
                Err(error.into())
            }
            CallError::Rejected { .. } | CallError::TimedOut | CallError::NoAnswer | CallError::Unusable { .. } => {
                Err(error.into())
            }
        }
    }
}

impl Ask for RateLimitedPoller<'_> {
    fn poll_until(&mut self, latest: Instant) {
        self.latest = clock::now().plus(latest.saturating_duration_since(Instant::now()));
    }

    async fn status(&mut self, id: &Reference) -> Result<Option<Notification>, PollError> {
        let api = self.turn().await?;
        let call = wrap(ExternalCall::QueryStatus, api.status(id));
        let answer = measured(POLLED_PROVIDER, Operation::Status, call).await;
        self.note(answer)
    }

    async fn transactions(&mut self, order_id: &OrderId) -> Result<Vec<Notification>, PollError> {
        let api = self.turn().await?;
        let call = wrap(ExternalCall::ListTransactions, api.transactions(order_id));
        let answer = measured(POLLED_PROVIDER, Operation::List, call).await;
        self.note(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_can_be_asked_is_asked() {
        let supports_status_query = |provider: &Provider| provider.capabilities().supports_status_query;
        assert_eq!(
            Provider::ALL
                .into_iter()
                .filter(supports_status_query)
                .collect::<Vec<_>>(),
            [POLLED_PROVIDER]
        );
    }
}
