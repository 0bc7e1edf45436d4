//! Verify, read, store, answer: in this order, and nothing before the signature.

use std::time::Duration;

use lambda_http::http::{HeaderMap, Method, StatusCode};
use lambda_http::{Body, Request, RequestExt, Response};
use payment_functions::api::problem::{Code, Problem};
use payment_functions::api::response;
use payment_functions::domain::fact::Outcome;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::record_notification::{self, RecordResult};
use payment_functions::lambda::Function;
use payment_functions::platform::aws::Aws;
use payment_functions::platform::config::{ConfigError, Variables};
use payment_functions::platform::secrets::{SecretCache, SecretError, SecretsManager, WebhookSecrets};
use payment_functions::platform::tls::Tls;
use payment_functions::platform::{clock, metrics};
use payment_functions::providers::webhooks;
use payment_functions::store::Store;
use tokio::time::timeout;

/// The most bytes of a webhook's body.
const MAX_BODY: usize = 256 * 1024;

/// How long storing may take, all the tries of the unusual ways together.
const STORE_LIMIT: Duration = Duration::from_secs(10);

/// The function's clients and settings.
pub struct WebhookHandler {
    store: Store,
    apolopay: SecretCache<WebhookSecrets>,
    finvypay: SecretCache<WebhookSecrets>,
}

impl Function for WebhookHandler {
    const NAME: &'static str = "webhook-handler";

    fn configure(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let aws = Aws::from_environment(variables, &Tls::from_environment(variables)?)?;
        let secrets = |name| {
            let secret = SecretsManager::new(aws.secrets_manager(), variables.required(name)?);
            Ok(SecretCache::new(secret, "webhookSecret"))
        };
        Ok(Self {
            store: Store::open(&aws, variables.payments_table()?),
            apolopay: secrets("APOLOPAY_SECRET_ID")?,
            finvypay: secrets("FINVYPAY_SECRET_ID")?,
        })
    }

    async fn warm_up(&self) {
        let now = clock::now();
        tokio::join!(
            self.store.connect(),
            self.apolopay.warm_up(now),
            self.finvypay.warm_up(now)
        );
    }

    async fn handle(&self, request: &Request) -> Response<Body> {
        match self.receive(request).await {
            Ok(()) => response::respond(StatusCode::OK, response::JSON, r#"{"received":true}"#.to_owned()),
            Err(problem) => {
                tracing::warn!(code = ?problem.code(), "webhook refused");
                if problem.code() == Code::SignatureInvalid {
                    metrics::signature_failed();
                }
                problem.to_response()
            }
        }
    }
}

impl WebhookHandler {
    async fn receive(&self, request: &Request) -> Result<(), Problem> {
        let provider = provider_at(request.raw_http_path()).ok_or_else(Problem::no_such_path)?;
        if request.method() != Method::POST {
            return Err(Problem::only_post());
        }
        let body: &[u8] = request.body();
        if body.len() > MAX_BODY {
            return Err(Problem::payload_too_large(MAX_BODY));
        }
        let now = clock::now();
        self.verify(provider, request.headers(), body, now).await?;
        let event = webhooks(provider).read(body).map_err(|unusable| {
            tracing::error!(%provider, reason = unusable.0, "a signed webhook cannot be read");
            metrics::webhook_unusable();
            Problem::webhook_unusable(unusable.0)
        })?;
        let delivery = timeout(
            STORE_LIMIT,
            record_notification::record_notification(&self.store, &event, now),
        )
        .await;
        let delivery = match delivery {
            Ok(Ok(delivery)) => delivery,
            Ok(Err(error)) => return Err(not_stored(&error)),
            Err(elapsed) => return Err(not_stored(&elapsed)),
        };
        let words = event.fact.raw_status.as_str();
        if event.fact.outcome == Outcome::Unrecognised {
            tracing::warn!(%provider, words, "nobody documented these words: they move nothing");
        }
        match delivery {
            RecordResult::Recorded(id, raised) => {
                let raised_to = raised.map(tracing::field::display);
                tracing::info!(%provider, payment = %id, words, raised_to, "webhook recorded");
            }
            RecordResult::Duplicate(id) => tracing::info!(%provider, payment = %id, words, "webhook known already"),
            RecordResult::Unmatched => {
                tracing::warn!(%provider, words, "webhook parked: no payment is known for it");
                metrics::unmatched_webhook();
            }
        }
        Ok(())
    }

    /// Makes sure that the provider signed these bytes: every signature header that is there must verify, and one must
    /// be there.
    async fn verify(
        &self,
        provider: Provider,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), Problem> {
        let signatures = webhooks(provider)
            .signatures(headers)
            .ok_or_else(Problem::signature_invalid)?;
        let verifies = self.secrets(provider).verifies(body, &signatures, now).await;
        if verifies.map_err(out_of_reach)? {
            Ok(())
        } else {
            Err(Problem::signature_invalid())
        }
    }

    fn secrets(&self, provider: Provider) -> &SecretCache<WebhookSecrets> {
        match provider {
            Provider::ApoloPay => &self.apolopay,
            Provider::FinvyPay => &self.finvypay,
        }
    }
}

fn provider_at(path: &str) -> Option<Provider> {
    let name = path.strip_prefix("/webhooks/")?;
    Provider::ALL.into_iter().find(|provider| provider.name() == name)
}

fn out_of_reach(error: SecretError) -> Problem {
    match error {
        // There is nothing to verify with, and asking again will not change that.
        SecretError::NotFound => Problem::signature_invalid(),
        SecretError::Unavailable(_) | SecretError::Malformed(_) => Problem::unavailable(None, None),
    }
}

fn not_stored(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%error, "webhook not stored");
    Problem::store_unavailable(None)
}
