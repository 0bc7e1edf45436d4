//! Creating a payment: store the intent, call the provider, store the outcome.
//!
//! Guarantees:
//! - The intent is stored before the provider is called.
//! - At most one call to the provider is in flight for an idempotency key or a quote.
//! - One quote begins one payment, with any idempotency key or none.
//! - After a crash at any point, the same key or quote, a webhook or the reconciler continues the payment.
//! - Every provider id is attached to the payment before it is returned to the caller.
//! - A final response never changes. Every later request with the key or the quote gets it, and so does an earlier one
//!   that lost its lease.
//! - Rotating the provider's API key fails no request.
//! - If quotes are required, no payment begins without a valid quote for exactly this payment.

mod creation;
mod intent;
mod outcome;
mod provider_call;

pub use crate::domain::idempotency::IdempotentRequest;
pub use creation::Creation;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use self::creation::store_unavailable;
use self::intent::{NextStep, store_intent_or_resume};
use self::outcome::store_outcome;
use self::provider_call::call_provider;
use crate::api::problem::Problem;
use crate::domain::idempotency::{RequestNames, VerifiedQuote};
use crate::domain::payment::Payment;
use crate::flows::quote::{QuoteToken, QuoteValidity, Quotes};
use crate::platform::aws::test_timeout_factor;
use crate::platform::clock;
use crate::platform::config::PROCESS_ENVIRONMENT;
use crate::platform::metrics;
use crate::platform::secrets::{ApiKey, SecretCache, SecretSource, SecretsManager};
use crate::providers::gateway::{Accepted, CallError, Gateway};
use crate::store::{Store, StoreError};

/// Time limit of storing the intent, and of storing the outcome. Together with the limits of the secrets and of the
/// provider, every request gets its response within 20 s.
const STORE_LIMIT: Duration = Duration::from_millis(1600);

/// Time limit of fetching the provider's API key and, at the same time, the keys of the quotes.
const SECRETS_LIMIT: Duration = Duration::from_millis(1600);

/// The quote of a request, if quotes are required.
#[derive(Debug)]
pub struct QuoteCheck<'a, S = SecretsManager> {
    /// The shop's quotes.
    pub quotes: &'a Quotes<S>,
    /// The request's quote, if it has one.
    pub token: Option<&'a QuoteToken>,
}

/// Opens the connections and fetches the secrets that [`create`] needs. `provider` opens the provider's connection.
pub async fn warm_up<S: SecretSource>(
    store: &Store,
    keys: &SecretCache<ApiKey, S>,
    quotes: Option<&Quotes<S>>,
    provider: impl Future<Output = ()>,
) {
    let now = clock::now();
    let quotes = async {
        if let Some(quotes) = quotes {
            quotes.warm_up(now).await;
        }
    };
    tokio::join!(store.warm_up(), keys.warm_up(now), quotes, provider);
}

/// Creates the payment `intent` at its provider, or continues the payment that its idempotency key or its quote belongs
/// to. Returns the final response, which may be a rejection.
///
/// `make_gateway` is called with the payment that is really created: after a take-over that is the stored one, not
/// `intent`.
///
/// Nothing is stored without the provider's API key or, if quotes are required, without a quote for exactly this
/// payment. An expired quote cannot begin a payment, but it can continue one: then nothing is inserted, and the
/// request's names are looked up instead. If the lookup finds nothing, the request is refused, even if another request
/// stores an intent under one of them just afterwards.
///
/// # Errors
/// The [`Problem`] to respond with. A 502, 503 or 504 has the payment's id once the intent is known to be stored.
pub async fn create<G: Gateway, S: SecretSource>(
    store: &Store,
    keys: &SecretCache<ApiKey, S>,
    intent: Payment,
    idempotency: Option<&IdempotentRequest>,
    quote: Option<QuoteCheck<'_, S>>,
    make_gateway: impl Fn(&Payment, ApiKey) -> G,
) -> Result<Creation, Problem> {
    // Boxed: the compiler cannot lay out a future that is nested any deeper.
    let (key, quote) = Box::pin(check_preconditions(keys, quote, &intent)).await?;
    let store_limit = STORE_LIMIT * test_timeout_factor(&PROCESS_ENVIRONMENT);
    let deadline = Instant::now() + store_limit;
    let names = RequestNames {
        key: idempotency,
        quote: quote.as_ref().map(|(quote, _)| quote),
    };
    let validity = quote.as_ref().map_or(QuoteValidity::Valid, |(_, validity)| *validity);
    let step = store_intent_or_resume(store, intent, names, validity, deadline).await?;
    let store_in_time = async |payment: Payment, lease, result: Option<Result<Accepted, CallError>>| {
        let id = payment.id;
        let stored = timeout(store_limit, store_outcome(store, payment, lease, result.as_ref())).await;
        stored.unwrap_or_else(|_| Err(store_unavailable(Some(id), &StoreError::TimedOut)))
    };
    let creation = match step {
        NextStep::Replay(creation) => creation,
        // Only the request's response is missing.
        NextStep::RespondWithoutCall(payment, lease) => store_in_time(payment, Some(lease), None).await?,
        NextStep::CallProvider(payment, lease) => {
            let attempt = lease.as_ref().map_or(1, |lease| lease.attempt);
            let result = call_provider(keys, &key, make_gateway, &payment, attempt).await;
            store_in_time(payment, lease, Some(result)).await?
        }
    };
    if creation.replayed {
        metrics::response_replayed();
    }
    Ok(creation)
}

/// Fetches the provider's API key and, at the same time, checks the quote.
async fn check_preconditions<S: SecretSource>(
    keys: &SecretCache<ApiKey, S>,
    quote: Option<QuoteCheck<'_, S>>,
    intent: &Payment,
) -> Result<(Arc<ApiKey>, Option<(VerifiedQuote, QuoteValidity)>), Problem> {
    let checked = async {
        match quote {
            Some(QuoteCheck { quotes, token }) => quotes.check(token, intent).await.map(Some),
            None => Ok(None),
        }
    };
    let both = async { tokio::join!(keys.get(intent.created_at), checked) };
    let Ok((key, quote)) = timeout(SECRETS_LIMIT * test_timeout_factor(&PROCESS_ENVIRONMENT), both).await else {
        tracing::error!("timed out fetching secrets");
        metrics::secret_found_unreadable();
        return Err(Problem::unavailable());
    };
    // An invalid request is reported before an unavailable secret.
    let quote = quote?;
    Ok((key.map_err(|_| Problem::unavailable())?, quote))
}
