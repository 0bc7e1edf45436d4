//! The call to the provider.

use tokio::time::{Instant, timeout_at};

use crate::domain::payment::Payment;
use crate::platform::clock;
use crate::platform::failpoint::{ExternalCall, wrap};
use crate::platform::metrics::Operation;
use crate::platform::secrets::{ApiKey, SecretCache, SecretSource};
use crate::providers::gateway::{Accepted, CALL_TIME_LIMIT, CallError, Gateway, measured};

/// Calls the provider. If it refuses our API key and there is a newer one, calls it again with that one.
///
/// Both calls are one attempt, since the provider did not process the first request. Together with fetching the newer
/// key, they have [`CALL_TIME_LIMIT`].
pub(super) async fn call_provider<G: Gateway, S: SecretSource>(
    keys: &SecretCache<ApiKey, S>,
    key: &ApiKey,
    make_gateway: impl Fn(&Payment, ApiKey) -> G,
    payment: &Payment,
    attempt: u32,
) -> Result<Accepted, CallError> {
    let deadline = Instant::now() + CALL_TIME_LIMIT;
    let call_with = |key: &ApiKey| {
        let gateway = make_gateway(payment, key.clone());
        measured(payment.provider, Operation::Create, async move {
            let call = wrap(ExternalCall::CreateAtProvider, gateway.create(payment, attempt));
            timeout_at(deadline, call).await.unwrap_or(Err(CallError::TimedOut))
        })
    };
    let result = call_with(key).await;
    if !matches!(result, Err(CallError::KeyRefused)) {
        return result;
    }
    let refreshed = timeout_at(deadline, keys.force_refresh(clock::now())).await;
    let newer = refreshed
        .ok()
        .and_then(|refreshed| refreshed.ok().flatten())
        .filter(|fresh| **fresh != *key);
    tracing::warn!(payment = %payment.id, rotated = newer.is_some(), "provider refused our API key");
    match newer {
        Some(newer) => call_with(&newer).await,
        None => result,
    }
}
