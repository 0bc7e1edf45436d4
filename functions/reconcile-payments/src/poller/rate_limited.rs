//! FinvyPay's status API behind the rate limiter that all runs share.

use std::time::Duration;

use payment_functions::domain::id::{OrderId, Reference};
use payment_functions::domain::provider::Environment;
use payment_functions::domain::time::Timestamp;
use payment_functions::platform::clock;
use payment_functions::platform::failpoint::{ExternalCall, wrap};
use payment_functions::platform::metrics::Operation;
use payment_functions::platform::secrets::{ApiKey, SecretCache};
use payment_functions::providers::Notification;
use payment_functions::providers::finvypay::status::StatusApi;
use payment_functions::providers::gateway::{CallError, measured};
use payment_functions::providers::http_client::HttpClient;
use payment_functions::store::Store;
use tokio::time::Instant;

use super::{POLLED_PROVIDER, PollError, StatusSource};

/// Minimum time between two calls: 80 calls a minute of the 100 that the provider allows a key. Creating payments needs
/// the rest.
pub const INTERVAL: Duration = Duration::from_millis(750);

/// After so many refusals in a row our API key counts as refused. Fewer may be about one payment, which takes several
/// calls: one for each of its ids and one for its order.
const MAX_KEY_REFUSALS: u32 = 6;

/// The connection to FinvyPay.
#[derive(Clone, Copy, Debug)]
pub struct FinvyPay<'a> {
    /// The HTTP client.
    pub client: &'a HttpClient,
    /// The base URL, without a slash at its end.
    pub base_url: &'a str,
    /// FinvyPay's sandbox or production.
    pub environment: Environment,
    /// The API key, fetched at the first call: a shop that does not use FinvyPay has none.
    pub keys: &'a SecretCache<ApiKey>,
}

/// FinvyPay's status API, called at most once per [`INTERVAL`] by all concurrent runs together.
#[derive(Debug)]
pub struct RateLimitedPoller<'a> {
    store: &'a Store,
    finvypay: FinvyPay<'a>,
    api: Api<'a>,
    /// The time of the last possible turn.
    latest: Timestamp,
    /// How often in a row the provider has refused our API key.
    key_refusals: u32,
}

#[derive(Debug)]
enum Api<'a> {
    NotUsedYet,
    Ready(StatusApi<'a>),
    /// Closed until the run ends.
    Closed,
}

impl<'a> RateLimitedPoller<'a> {
    /// A poller whose turns are kept in `store`. It has none before [`poll_until`](StatusSource::poll_until) is called.
    pub fn new(store: &'a Store, finvypay: FinvyPay<'a>) -> Self {
        Self {
            store,
            finvypay,
            api: Api::NotUsedYet,
            latest: clock::now(),
            key_refusals: 0,
        }
    }

    /// Whether the provider refused our API key at the last call that it responded to.
    pub fn is_key_refused(&self) -> bool {
        self.key_refusals > 0
    }

    /// Reserves the next turn and waits for it.
    async fn turn(&mut self) -> Result<&StatusApi<'a>, PollError> {
        if matches!(self.api, Api::NotUsedYet) {
            self.api = self.open().await;
        }
        let Api::Ready(api) = &self.api else {
            return Err(PollError::ProviderRefusesAll);
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

    /// Stops calling a provider that throttles us or refuses our API key.
    fn note<T>(&mut self, result: Result<T, CallError>) -> Result<T, PollError> {
        let error = match result {
            Ok(reply) => {
                self.key_refusals = 0;
                return Ok(reply);
            }
            Err(error) => error,
        };
        tracing::warn!(error = %error, "provider status query failed");
        match error {
            CallError::Throttled { .. } => {
                self.api = Api::Closed;
                Err(PollError::ProviderRefusesAll)
            }
            CallError::KeyRefused => {
                self.key_refusals = self.key_refusals.saturating_add(1);
                if self.key_refusals >= MAX_KEY_REFUSALS {
                    self.api = Api::Closed;
                }
                Err(error.into())
            }
            CallError::Rejected { .. }
            | CallError::TimedOut
            | CallError::OutcomeUnknown { .. }
            | CallError::Unusable { .. } => Err(error.into()),
        }
    }
}

impl StatusSource for RateLimitedPoller<'_> {
    fn environment(&self) -> Environment {
        self.finvypay.environment
    }

    fn poll_until(&mut self, latest: Instant) {
        self.latest = clock::now().plus(latest.saturating_duration_since(Instant::now()));
    }

    async fn status(&mut self, id: &Reference) -> Result<Option<Notification>, PollError> {
        let api = self.turn().await?;
        let call = wrap(ExternalCall::QueryStatus, api.status(id));
        let reply = measured(POLLED_PROVIDER, Operation::Status, call).await;
        self.note(reply)
    }

    async fn transactions(&mut self, order_id: &OrderId) -> Result<Vec<Notification>, PollError> {
        let api = self.turn().await?;
        let call = wrap(ExternalCall::ListTransactions, api.transactions(order_id));
        let reply = measured(POLLED_PROVIDER, Operation::List, call).await;
        self.note(reply)
    }
}
