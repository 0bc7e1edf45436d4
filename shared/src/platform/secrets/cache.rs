//! A cache for secrets.
//!
//! Guarantees: only one fetch runs at a time. If a secret cannot be renewed, the stale one stays in use. At most one
//! refresh per minute is forced, so forged webhooks cannot cause more calls. A webhook signed with a secret that was
//! stored at least a minute ago verifies, even if others were forged since. Neither `Debug` nor errors show a secret.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::domain::time::Timestamp;
use crate::domain::webhook_signature::Signature;
use crate::platform::aws::test_timeout_factor;
use crate::platform::config::PROCESS_ENVIRONMENT;
use crate::platform::metrics;
use crate::platform::secrets::keys::{SecretValue, WebhookSecrets};
use crate::platform::secrets::manager::{SecretError, SecretSource, SecretsManager};

/// How many seconds a secret is cached. Drawn at random, so that the instances do not all renew it at once.
const TIME_TO_LIVE: RangeInclusive<u64> = 270..=330;

/// How long a renewal may take before the stale secret is used. Shorter than the callers' own time limits.
const RENEWAL_LIMIT: Duration = Duration::from_millis(1200);

/// How long a stale secret stays in use before the next attempt to renew it.
const RETRY_AFTER_ERROR: Duration = Duration::from_secs(5);

/// Minimum time between two forced refreshes.
const FORCED_REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// A cached secret, read as `T` from one member of the secret's JSON.
#[derive(Debug)]
pub struct SecretCache<T, S = SecretsManager> {
    source: S,
    member: &'static str,
    state: Mutex<State<T>>,
    /// Held during a fetch.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State<T> {
    value: Option<Arc<T>>,
    fresh_until: Timestamp,
    /// When a refresh was last forced, and the error if it failed.
    last_forced: Option<(Timestamp, Option<SecretError>)>,
}

impl<T> State<T> {
    /// Caches `value` as fresh.
    fn set_fresh(&mut self, value: Arc<T>, now: Timestamp) {
        self.value = Some(value);
        self.fresh_until = now.plus(Duration::from_secs(fastrand::u64(TIME_TO_LIVE)));
    }
}

impl<T: SecretValue, S: SecretSource> SecretCache<T, S> {
    /// An empty cache for `member` of the secret from `source`.
    pub fn new(source: S, member: &'static str) -> Self {
        let state = State {
            value: None,
            fresh_until: Timestamp::from_millis(0),
            last_forced: None,
        };
        Self {
            source,
            member,
            state: Mutex::new(state),
            fetching: tokio::sync::Mutex::new(()),
        }
    }

    /// The secret, fetched if it is not cached or its time is over.
    ///
    /// # Errors
    /// [`SecretError`] if it cannot be fetched and none is cached.
    pub async fn get(&self, now: Timestamp) -> Result<Arc<T>, SecretError> {
        if let Some(value) = self.fresh(now) {
            return Ok(value);
        }
        let _fetching = self.fetching.lock().await;
        // The previous holder of the lock may have fetched it.
        if let Some(value) = self.fresh(now) {
            return Ok(value);
        }
        let Some(stale) = self.with_state(|state| state.value.clone()) else {
            return self.fetch_and_cache(now).await;
        };
        let renewed = timeout(
            RENEWAL_LIMIT * test_timeout_factor(&PROCESS_ENVIRONMENT),
            self.fetch(now),
        )
        .await;
        let renewed = renewed.unwrap_or_else(|_| {
            Err(SecretError::Unavailable(
                "Secrets Manager did not respond in time".to_owned(),
            ))
        });
        Ok(self.cache_result(renewed, now).unwrap_or(stale))
    }

    /// Fetches the secret before its time is over, because its use failed. At most once a minute.
    ///
    /// `None` if a refresh was forced within the last minute.
    ///
    /// # Errors
    /// [`SecretError`] if the fetch fails, or the last one within the same minute failed. Whether there is a newer
    /// secret is unknown then.
    pub async fn force_refresh(&self, now: Timestamp) -> Result<Option<Arc<T>>, SecretError> {
        let _fetching = self.fetching.lock().await;
        let last = self.with_state(|state| state.last_forced.clone());
        if let Some((_, failure)) = last.filter(|(at, _)| now.since(*at) < FORCED_REFRESH_INTERVAL) {
            return failure.map_or(Ok(None), Err);
        }
        // Recorded before the fetch, so that it counts even if the caller stops waiting for it.
        let abandoned = SecretError::Unavailable("the refresh was abandoned".to_owned());
        self.with_state(|state| state.last_forced = Some((now, Some(abandoned))));
        self.fetch_and_cache(now).await.map(Some)
    }

    /// Fetches the secret in advance. Errors are ignored: the first request will report them.
    pub async fn warm_up(&self, now: Timestamp) {
        let _fetching = self.fetching.lock().await;
        if let Ok(value) = self.fetch(now).await {
            self.with_state(|state| state.set_fresh(value, now));
        }
    }

    async fn fetch(&self, now: Timestamp) -> Result<Arc<T>, SecretError> {
        // The previous version is fetched only if the current one was created after this time.
        let previous_since = T::PREVIOUS_VALID_FOR.map(|valid_for| now.minus(valid_for));
        let versions = self.source.fetch(previous_since).await?;
        T::from_versions(&versions, self.member).map(Arc::new)
    }

    /// Fetches the secret and caches it.
    async fn fetch_and_cache(&self, now: Timestamp) -> Result<Arc<T>, SecretError> {
        let result = self.fetch(now).await;
        self.cache_result(result, now)
    }

    /// Caches the result of a fetch. If it failed, logs it and keeps the stale secret for a while.
    fn cache_result(&self, result: Result<Arc<T>, SecretError>, now: Timestamp) -> Result<Arc<T>, SecretError> {
        self.with_state(|state| {
            // Until the next refresh may be forced, `force_refresh` reports the result of the last fetch, forced or
            // not.
            if let Some((_, failure)) = &mut state.last_forced {
                *failure = result.as_ref().err().cloned();
            }
            match &result {
                Ok(value) => state.set_fresh(Arc::clone(value), now),
                Err(error) => {
                    tracing::error!(
                        secret = self.source.id(),
                        error = %error,
                        stale = state.value.is_some(),
                        "failed to read secret"
                    );
                    metrics::secret_found_unreadable();
                    state.fresh_until = now.plus(RETRY_AFTER_ERROR);
                }
            }
        });
        result
    }

    fn fresh(&self, now: Timestamp) -> Option<Arc<T>> {
        self.with_state(|state| state.value.clone().filter(|_| now < state.fresh_until))
    }

    /// Poisoning is ignored: no code under the lock leaves the state half-changed.
    fn with_state<R>(&self, change: impl FnOnce(&mut State<T>) -> R) -> R {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: SecretSource> SecretCache<WebhookSecrets, S> {
    /// Whether there is at least one signature and all of them verify with the secrets valid at `now`. If one does not,
    /// the secret is refreshed once, because it may have been rotated.
    ///
    /// # Errors
    /// [`SecretError`] if the secret cannot be fetched: nothing is known about the signatures then.
    pub async fn verifies(&self, body: &[u8], signatures: &[Signature], now: Timestamp) -> Result<bool, SecretError> {
        if signatures.is_empty() {
            return Ok(false);
        }
        let are_valid = |secrets: &WebhookSecrets| {
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
                "webhooks cannot be verified: the secret has no value in this member"
            );
        }
        if are_valid(&secrets) {
            return Ok(true);
        }
        Ok(self.force_refresh(now).await?.is_some_and(|fresh| are_valid(&fresh)))
    }
}

#[cfg(test)]
mod tests;
