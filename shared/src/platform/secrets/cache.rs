//! Secrets from Secrets Manager, cached.
//!
//! Guarantees: one fetch at a time however many ask; a secret that cannot be fetched anew is used on (stale on error);
//! at most one forced refresh a minute, whoever forces it, so that nobody's forgeries cost more; what is signed with a
//! webhook secret that was stored a minute before verifies, whatever is forged meanwhile; no secret is shown by `Debug`
//! or by an error.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::domain::time::Timestamp;
use crate::domain::webhook_signature::Signature;
use crate::platform::aws::timeout_scale;
use crate::platform::config::ENVIRONMENT;
use crate::platform::metrics;
use crate::platform::secrets::keys::{FromVersions, WebhookSecrets};
use crate::platform::secrets::manager::{SecretError, SecretSource, SecretsManager};

/// How many seconds a secret is good before it is fetched anew; drawn from a range, so that environments do not ask all
/// at once.
const TIME_TO_LIVE: RangeInclusive<u64> = 270..=330;

/// How long to wait for a secret anew where there is a stale one: less than whoever asks waits for both.
const RENEWAL_LIMIT: Duration = Duration::from_millis(1200);

/// How long to use a stale secret on before trying again.
const RETRY_AFTER_ERROR: Duration = Duration::from_secs(5);

/// How often a refresh may be forced.
const FORCED_REFRESH_EVERY: Duration = Duration::from_secs(60);

/// A cached secret, read as `T` from one member of its JSON.
#[derive(Debug)]
pub struct SecretCache<T, S = SecretsManager> {
    source: S,
    member: &'static str,
    state: Mutex<State<T>>,
    /// Held by whoever fetches.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State<T> {
    value: Option<Arc<T>>,
    good_until: Timestamp,
    /// When a refresh was last forced, and why it failed.
    forced: Option<(Timestamp, Option<SecretError>)>,
}

impl<T> State<T> {
    fn keep(&mut self, value: Arc<T>, now: Timestamp) {
        self.value = Some(value);
        self.good_until = now.plus(Duration::from_secs(fastrand::u64(TIME_TO_LIVE)));
    }
}

impl<T: FromVersions, S: SecretSource> SecretCache<T, S> {
    /// A cache of `member` of the secret that `source` fetches. Fetches nothing yet.
    pub fn new(source: S, member: &'static str) -> Self {
        let state = State {
            value: None,
            good_until: Timestamp::from_millis(0),
            forced: None,
        };
        Self {
            source,
            member,
            state: Mutex::new(state),
            fetching: tokio::sync::Mutex::new(()),
        }
    }

    /// The secret.
    ///
    /// # Errors
    /// Where it was never fetched and cannot be now.
    pub async fn get(&self, now: Timestamp) -> Result<Arc<T>, SecretError> {
        if let Some(value) = self.fresh(now) {
            return Ok(value);
        }
        let _fetching = self.fetching.lock().await;
        // Whoever held the lock before may have fetched it.
        if let Some(value) = self.fresh(now) {
            return Ok(value);
        }
        let Some(stale) = self.with_state(|state| state.value.clone()) else {
            return self.fetch(now).await;
        };
        let renewed = timeout(RENEWAL_LIMIT * timeout_scale(&ENVIRONMENT), self.read(now)).await;
        let renewed = renewed.unwrap_or_else(|_| Err(SecretError::Unavailable("no answer in time".to_owned())));
        Ok(self.note(renewed, now).unwrap_or(stale))
    }

    /// Fetches the secret anew although it is not old, because what was done with it failed; at most once a minute.
    ///
    /// `None` where it was fetched within the last minute: nothing newer is known then.
    ///
    /// # Errors
    /// Where it cannot be fetched, or could not be within the last minute: whether there is a newer one is not known
    /// then.
    pub async fn refresh(&self, now: Timestamp) -> Result<Option<Arc<T>>, SecretError> {
        let _fetching = self.fetching.lock().await;
        let last = self.with_state(|state| state.forced.clone());
        if let Some((_, failure)) = last.filter(|(at, _)| now.since(*at) < FORCED_REFRESH_EVERY) {
            return failure.map_or(Ok(None), Err);
        }
        // Noted before, since whoever asks may give up waiting: it was asked for all the same.
        let given_up = SecretError::Unavailable("given up".to_owned());
        self.with_state(|state| state.forced = Some((now, Some(given_up))));
        self.fetch(now).await.map(Some)
    }

    /// Fetches the secret before anybody asks for it. A failure harms nobody yet, so it is neither counted nor told.
    pub async fn warm_up(&self, now: Timestamp) {
        let _fetching = self.fetching.lock().await;
        if let Ok(value) = self.read(now).await {
            self.with_state(|state| state.keep(value, now));
        }
    }

    async fn read(&self, now: Timestamp) -> Result<Arc<T>, SecretError> {
        let previous_since = T::PREVIOUS_WITHIN.map(|within| now.minus(within));
        let versions = self.source.fetch(previous_since).await?;
        T::from_versions(&versions, self.member).map(Arc::new)
    }

    /// Fetches the secret and keeps it.
    async fn fetch(&self, now: Timestamp) -> Result<Arc<T>, SecretError> {
        let read = self.read(now).await;
        self.note(read, now)
    }

    /// Keeps what was read, or goes on with what there is for a while.
    fn note(&self, read: Result<Arc<T>, SecretError>, now: Timestamp) -> Result<Arc<T>, SecretError> {
        self.with_state(|state| {
            // Whatever fetches, a refresh asked for within its minute is answered by how the last fetch went.
            if let Some((_, failure)) = &mut state.forced {
                *failure = read.as_ref().err().cloned();
            }
            match &read {
                Ok(value) => state.keep(Arc::clone(value), now),
                Err(error) => {
                    tracing::error!(
                        secret = self.source.id(),
                        error = %error,
                        stale = state.value.is_some(),
                        "secret not fetched"
                    );
                    metrics::secret_unreadable();
                    state.good_until = now.plus(RETRY_AFTER_ERROR);
                }
            }
        });
        read
    }

    fn fresh(&self, now: Timestamp) -> Option<Arc<T>> {
        self.with_state(|state| state.value.clone().filter(|_| now < state.good_until))
    }

    /// No guarded code can panic, so a poisoned lock holds a good state.
    fn with_state<R>(&self, change: impl FnOnce(&mut State<T>) -> R) -> R {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: SecretSource> SecretCache<WebhookSecrets, S> {
    /// Whether there are `signatures`, and all of them are the body's under a secret that is good now. Where they are
    /// not, the secret may have been rotated since it was fetched, and is looked up once more.
    ///
    /// # Errors
    /// Where the secret cannot be fetched, so that nothing is known of the signatures.
    pub async fn verifies(&self, body: &[u8], signatures: &[Signature], now: Timestamp) -> Result<bool, SecretError> {
        if signatures.is_empty() {
            return Ok(false);
        }
        let are_good = |secrets: &WebhookSecrets| {
            secrets
                .verifier(now)
                .is_some_and(|verifier| signatures.iter().all(|signature| verifier.verifies(body, signature)))
        };
        let secrets = self.get(now).await?;
        if secrets.current.is_none() {
            let (secret, member) = (self.source.id(), self.member);
            tracing::error!(
                secret,
                member,
                "no webhook verifies: the secret has nothing in this member"
            );
        }
        if are_good(&secrets) {
            return Ok(true);
        }
        Ok(self.refresh(now).await?.is_some_and(|fresh| are_good(&fresh)))
    }
}

#[cfg(test)]
mod tests;
