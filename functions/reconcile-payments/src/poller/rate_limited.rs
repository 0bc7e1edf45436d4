//! FinvyPay's status API behind the rate limiter that all runs share.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use payment_functions::domain::id::{OrderId, Reference};
use payment_functions::domain::provider::Environment;
use payment_functions::domain::request_rate::{Lane, RequestRate};
use payment_functions::platform::clock;
use payment_functions::platform::failpoint::{ExternalCall, wrap};
use payment_functions::platform::metrics::Operation;
use payment_functions::platform::secrets::{ApiKey, SecretCache};
use payment_functions::providers::Notification;
use payment_functions::providers::finvypay::list::{ListPage, ListQuery};
use payment_functions::providers::finvypay::status::StatusApi;
use payment_functions::providers::gateway::{CallError, measured};
use payment_functions::providers::http_client::{HttpClient, Quota};
use payment_functions::store::{Store, StoreError};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::call_slots::CallSlots;
use super::{POLLED_PROVIDER, PollError, StatusSource};

/// After so many refusals in a row our API key counts as refused. Fewer may be about one payment, which takes several
/// calls.
const MAX_KEY_REFUSALS: u32 = 6;

/// The longest pause that the provider can ask for.
const MAX_PAUSE: Duration = Duration::from_secs(15 * 60);

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
    /// How many requests it allows.
    pub rate: RequestRate,
}

/// FinvyPay's status API, called at most as often as `rate` allows by all concurrent runs together.
#[derive(Debug)]
pub struct RateLimitedPoller<'a> {
    store: &'a Store,
    finvypay: FinvyPay<'a>,
    /// `None` if there is no API key.
    api: OnceCell<Option<StatusApi<'a>>>,
    /// Whether the provider refuses every call until the run ends.
    is_closed: AtomicBool,
    /// How often in a row the provider has refused our API key.
    key_refusals: AtomicU32,
    slots: CallSlots,
}

impl<'a> RateLimitedPoller<'a> {
    /// A poller whose slots are kept in `store`.
    pub fn new(store: &'a Store, finvypay: FinvyPay<'a>) -> Self {
        Self {
            store,
            finvypay,
            api: OnceCell::new(),
            is_closed: AtomicBool::new(false),
            key_refusals: AtomicU32::new(0),
            slots: CallSlots::new(store.clone(), finvypay.rate),
        }
    }

    /// Whether the provider refused our API key at the last call that it responded to.
    pub fn is_key_refused(&self) -> bool {
        self.key_refusals.load(Ordering::Relaxed) > 0
    }

    async fn api(&self) -> Result<&StatusApi<'a>, PollError> {
        let api = self.api.get_or_init(|| self.open()).await.as_ref();
        let is_closed = self.is_closed.load(Ordering::Relaxed);
        api.filter(|_| !is_closed).ok_or(PollError::ProviderRefusesAll)
    }

    async fn open(&self) -> Option<StatusApi<'a>> {
        let FinvyPay {
            client,
            base_url,
            environment,
            keys,
            ..
        } = self.finvypay;
        let key = keys.get(clock::now()).await.ok()?;
        Some(StatusApi {
            client,
            base_url,
            environment,
            api_key: key.0.clone(),
        })
    }

    /// Stops calling a provider that throttles us or refuses our API key, and slows down before it does.
    async fn note<T>(&self, result: Result<(T, Quota), CallError>) -> Result<T, PollError> {
        let error = match result {
            Ok((reply, quota)) => {
                self.key_refusals.store(0, Ordering::Relaxed);
                self.heed(quota).await?;
                return Ok(reply);
            }
            Err(error) => error,
        };
        tracing::warn!(error = %error, "provider status query failed");
        match error {
            CallError::Throttled { retry_after } => {
                self.is_closed.store(true, Ordering::Relaxed);
                if let Some(seconds) = retry_after {
                    self.pause(Duration::from_secs(seconds)).await?;
                }
                Err(PollError::ProviderRefusesAll)
            }
            CallError::KeyRefused => {
                let refusals = self.key_refusals.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                self.is_closed.store(refusals >= MAX_KEY_REFUSALS, Ordering::Relaxed);
                Err(error.into())
            }
            CallError::Rejected { .. }
            | CallError::TimedOut
            | CallError::OutcomeUnknown { .. }
            | CallError::Unusable { .. } => Err(error.into()),
        }
    }

    /// Leaves a fifth of the requests that the provider allows to creating payments.
    async fn heed(&self, quota: Quota) -> Result<(), StoreError> {
        let limit = quota.limit.unwrap_or(self.finvypay.rate.requests().into());
        let is_low = quota.remaining.is_some_and(|left| left.saturating_mul(5) <= limit);
        match quota.resets_in.filter(|_| is_low) {
            Some(time) => self.pause(time).await,
            None => Ok(()),
        }
    }

    async fn pause(&self, time: Duration) -> Result<(), StoreError> {
        let until = clock::now().plus(time.min(MAX_PAUSE));
        let rate = self.finvypay.rate;
        self.store
            .pause_calls(POLLED_PROVIDER, until, |lane| rate.limit(lane))
            .await
    }
}

impl StatusSource for RateLimitedPoller<'_> {
    fn environment(&self) -> Environment {
        self.finvypay.environment
    }

    async fn wait_for_slot(&self, lane: Lane, latest: Instant) -> Result<(), PollError> {
        self.api().await?;
        let now = clock::now();
        let latest = now.plus(latest.saturating_duration_since(Instant::now()));
        let slot = self.slots.next(lane, now, latest).await?.ok_or(PollError::NoSlot)?;
        tokio::time::sleep(slot.since(clock::now())).await;
        Ok(())
    }

    fn slots_before(&self, lane: Lane, latest: Instant) -> u64 {
        let time = latest.saturating_duration_since(Instant::now());
        let limit = self.finvypay.rate.limit(lane);
        let steady = time.as_nanos().checked_div(limit.interval.as_nanos()).unwrap_or(0);
        u64::try_from(steady)
            .unwrap_or(u64::MAX)
            .saturating_add(limit.burst.into())
    }

    async fn status(&self, id: &Reference) -> Result<Option<Notification>, PollError> {
        let api = self.api().await?;
        let call = wrap(ExternalCall::QueryStatus, api.status(id));
        let reply = measured(POLLED_PROVIDER, Operation::Status, call).await;
        self.note(reply).await
    }

    async fn transactions(&self, order_id: &OrderId) -> Result<Vec<Notification>, PollError> {
        let api = self.api().await?;
        let call = wrap(ExternalCall::ListTransactions, api.transactions(order_id));
        let reply = measured(POLLED_PROVIDER, Operation::List, call).await;
        self.note(reply).await
    }

    async fn list(&self, query: &ListQuery) -> Result<ListPage, PollError> {
        let api = self.api().await?;
        let call = wrap(ExternalCall::ReadListPage, api.list(query));
        let reply = measured(POLLED_PROVIDER, Operation::List, call).await;
        self.note(reply).await
    }
}
