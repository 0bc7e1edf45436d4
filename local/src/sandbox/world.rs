//! What all requests to the stand-ins share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::aws::Events;
use super::calls::{CallLog, Kind, Outcome};
use super::chaos::Chance;
use super::config::Config;
use super::http::{Answer, Received};
use super::journal::Journal;
use super::payments::{Payments, Provider};
use super::script::Scripts;

/// The running stand-ins.
pub(super) struct World {
    pub(super) config: Config,
    /// `http://127.0.0.1:PORT`
    pub(super) base_url: String,
    /// Sends the webhooks, and carries what the checkout page asks the functions.
    pub(super) http: reqwest::Client,
    memory: Mutex<Memory>,
    changed: watch::Sender<()>,
}

/// What the providers remember.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) payments: Payments,
    pub(super) calls: CallLog,
    pub(super) scripts: Scripts,
    pub(super) chance: Chance,
    pub(super) journal: Journal,
    pub(super) events: Events,
    /// The keys that a provider takes instead of the configured one.
    pub(super) good_keys: HashMap<Provider, Vec<String>>,
    /// What each of FinvyPay's idempotency keys made.
    pub(super) first_answers: HashMap<String, FirstAnswer>,
}

/// The payment that an idempotency key made, and the reply that goes with it.
#[derive(Clone)]
pub(super) struct FirstAnswer {
    pub(super) payment_id: String,
    pub(super) answer: Answer,
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

    /// Whether a provider takes a key, which may not have come at all.
    pub(super) fn takes_key(&self, provider: Provider, key: Option<&str>) -> bool {
        let configured = match provider {
            Provider::Apolopay => &self.config.apolopay_secret_key,
            Provider::Finvypay => &self.config.finvypay_api_key,
        };
        match self.memory().good_keys.get(&provider) {
            None => key == Some(configured),
            Some(good) => good.iter().any(|good| key == Some(good)),
        }
    }

    /// The memory, locked. Never held across an await.
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of every call that begins or ends.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// A call in progress. It ends when it is dropped, which happens too when the caller goes away.
pub(super) struct OpenCall {
    pub(super) world: Arc<World>,
    pub(super) provider: Provider,
    pub(super) index: usize,
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
        let index = world.memory().calls.begin(provider, kind, order_id, received);
        world.changed.send_replace(());
        Self {
            world: Arc::clone(world),
            provider,
            index,
            outcome: Outcome::ClientGone,
        }
    }

    /// Ends the call; without this it counts as given up by the caller.
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
