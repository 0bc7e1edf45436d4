//! The state that all requests to the stand-ins share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::aws::Events;
use super::calls::{CallLog, Kind, Outcome};
use super::chaos::FaultInjector;
use super::clock;
use super::config::Config;
use super::finvypay_list::List;
use super::http::{RawResponse, Received};
use super::journal::Journal;
use super::payments::{Payments, Provider};
use super::rate_limit::{Quota, RateLimiter};
use super::script::Scripts;

/// The running stand-ins.
pub(super) struct World {
    pub(super) config: Config,
    /// `http://127.0.0.1:PORT`
    pub(super) base_url: String,
    /// Sends the webhooks, and forwards the checkout page's calls to the functions.
    pub(super) http: reqwest::Client,
    memory: Mutex<Memory>,
    changed: watch::Sender<()>,
}

/// The providers' state.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) payments: Payments,
    pub(super) calls: CallLog,
    pub(super) scripts: Scripts,
    pub(super) fault_injector: FaultInjector,
    pub(super) list: List,
    pub(super) rate_limiter: RateLimiter,
    pub(super) journal: Journal,
    pub(super) events: Events,
    /// The keys that a provider accepts instead of the configured one.
    pub(super) accepted_keys: HashMap<Provider, Vec<String>>,
    /// The first response of each of FinvyPay's idempotency keys.
    pub(super) first_responses: HashMap<String, FirstResponse>,
}

/// The payment that an idempotency key created, and its reply.
#[derive(Clone)]
pub(super) struct FirstResponse {
    pub(super) payment_id: String,
    pub(super) response: RawResponse,
}

impl World {
    pub(super) fn new(config: Config, base_url: String, http: reqwest::Client) -> Self {
        Self {
            config,
            base_url,
            http,
            memory: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// Whether a provider accepts a key. `None` is a request without one.
    pub(super) fn accepts_key(&self, provider: Provider, key: Option<&str>) -> bool {
        let configured = match provider {
            Provider::Apolopay => &self.config.apolopay_secret_key,
            Provider::Finvypay => &self.config.finvypay_api_key,
        };
        match self.memory().accepted_keys.get(&provider) {
            None => key == Some(configured),
            Some(accepted) => accepted.iter().any(|accepted| key == Some(accepted)),
        }
    }

    /// The locked state. Must not be held across an await.
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signals every call that begins or ends.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// A call in progress. It ends when this is dropped, also if the caller disconnects.
pub(super) struct OpenCall {
    pub(super) world: Arc<World>,
    pub(super) provider: Provider,
    pub(super) index: usize,
    /// FinvyPay's rate limit, if there is one.
    pub(super) quota: Option<Quota>,
    outcome: Outcome,
}

impl OpenCall {
    pub(super) fn begin(
        world: &Arc<World>,
        provider: Provider,
        kind: Kind,
        order_id: Option<String>,
        received: &Received,
    ) -> Self {
        let (index, quota) = {
            let mut memory = world.memory();
            let quota = match provider {
                Provider::Apolopay => None,
                Provider::Finvypay => memory.rate_limiter.count(kind, clock::now_ms()),
            };
            (memory.calls.begin(provider, kind, order_id, received), quota)
        };
        world.changed.send_replace(());
        Self {
            world: Arc::clone(world),
            provider,
            index,
            quota,
            outcome: Outcome::ClientGone,
        }
    }

    /// A response with the headers that every response of the provider has.
    pub(super) fn with_headers(&self, mut response: RawResponse) -> RawResponse {
        if let Some(quota) = self.quota {
            quota.add_headers(&mut response);
        }
        response
    }

    /// Ends the call. Without this it counts as aborted by the caller.
    pub(super) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.world.memory().calls.end(self.index, self.outcome);
        self.world.changed.send_replace(());
    }
}
