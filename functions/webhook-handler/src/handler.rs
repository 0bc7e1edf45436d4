//! Verify the signature, read the notification, record it, respond. Nothing in the body is read before its signature
//! has verified. What cannot be read is put into quarantine.

use std::convert::Infallible;
use std::time::Duration;

use lambda_http::aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_http::http::header::CONTENT_TYPE;
use lambda_http::http::{HeaderMap, Method, StatusCode};
use lambda_http::{Body, Request, RequestExt, Response};
use payment_functions::api::problem::{Code, Problem};
use payment_functions::api::{request, response};
use payment_functions::domain::fact::Outcome;
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::quarantine::quarantine;
use payment_functions::flows::record_notification::{RecordResult, record_notification};
use payment_functions::lambda::Function;
use payment_functions::platform::aws::Aws;
use payment_functions::platform::config::{ConfigError, Variables};
use payment_functions::platform::secrets::{SecretCache, SecretError, SecretsManager, WebhookSecrets};
use payment_functions::platform::tls::Tls;
use payment_functions::platform::{clock, metrics};
use payment_functions::providers::{Notification, UnreadableWebhook, webhooks};
use payment_functions::store::{Store, StoreError};
use tokio::time::timeout;

/// Maximum size of a webhook's body, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// Time limit of recording a webhook, including all retries of the slow path.
const RECORD_TIME_LIMIT: Duration = Duration::from_secs(10);

/// The function's clients and settings.
pub struct WebhookHandler {
    store: Store,
    matching: OrderMatching,
    apolopay: SecretCache<WebhookSecrets>,
    finvypay: SecretCache<WebhookSecrets>,
}

impl Function for WebhookHandler {
    const NAME: &'static str = "webhook-handler";
    type Event = ApiGatewayV2httpRequest;
    type Response = ApiGatewayV2httpResponse;
    type Error = Infallible;

    fn configure(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let aws = Aws::from_environment(variables, &Tls::from_environment(variables)?)?;
        let secrets = |name| {
            let secret = SecretsManager::new(aws.secrets_manager(), variables.required(name)?);
            Ok(SecretCache::new(secret, "webhookSecret"))
        };
        Ok(Self {
            store: Store::open(&aws, variables.payments_table()?),
            matching: variables.order_matching()?,
            apolopay: secrets("APOLOPAY_SECRET_ID")?,
            finvypay: secrets("FINVYPAY_SECRET_ID")?,
        })
    }

    async fn warm_up(&self) {
        let now = clock::now();
        tokio::join!(
            self.store.warm_up(),
            self.apolopay.warm_up(now),
            self.finvypay.warm_up(now)
        );
    }

    async fn handle(&self, event: Self::Event) -> Result<Self::Response, Infallible> {
        let request = request::from_api_gateway(event);
        let response = self.receive(&request).await.unwrap_or_else(|problem| {
            tracing::warn!(code = ?problem.code(), "webhook refused");
            if problem.code() == Code::SignatureInvalid {
                metrics::signature_failed();
            }
            problem.to_response()
        });
        Ok(response::to_api_gateway(response))
    }
}

impl WebhookHandler {
    async fn receive(&self, request: &Request) -> Result<Response<Body>, Problem> {
        let now = clock::now();
        let body: &[u8] = request.body();
        let Some(provider) = provider_at(request.raw_http_path()) else {
            self.report_if_misrouted(request, &Provider::ALL, now).await;
            return Err(Problem::no_such_path());
        };
        if request.method() != Method::POST {
            return Err(Problem::only_post());
        }
        if body.len() > MAX_BODY {
            tracing::error!(%provider, bytes = body.len(), "webhook is too large to be read");
            metrics::oversized_webhook_refused();
            return Err(Problem::payload_too_large(MAX_BODY));
        }
        if let Err(problem) = self.verify(provider, request.headers(), body, now).await {
            if problem.code() == Code::SignatureInvalid {
                let others: Vec<Provider> = Provider::ALL.into_iter().filter(|other| *other != provider).collect();
                self.report_if_misrouted(request, &others, now).await;
            }
            return Err(problem);
        }
        let stored = timeout(RECORD_TIME_LIMIT, self.store(provider, request, now)).await;
        match stored {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(not_stored(&error)),
            Err(elapsed) => return Err(not_stored(&elapsed)),
        }
        let body = r#"{"received":true}"#.to_owned();
        Ok(response::response(StatusCode::OK, response::JSON, body))
    }

    /// Records a webhook whose signature has been verified, or puts it into quarantine if it cannot be read.
    async fn store(&self, provider: Provider, request: &Request, now: Timestamp) -> Result<(), StoreError> {
        match webhooks(provider).read(request.body(), now) {
            Ok(notification) => {
                let result = record_notification(&self.store, &notification, self.matching, now).await?;
                report(&notification, result);
            }
            Err(reason) => {
                let content_type = request
                    .headers()
                    .get(CONTENT_TYPE)
                    .and_then(|value| value.to_str().ok());
                quarantine(&self.store, provider, request.body(), content_type, reason, now).await?;
                report_quarantined(provider, reason);
            }
        }
        Ok(())
    }

    /// Logs and counts a webhook that was sent to a path where there is nothing, or to another provider's: a POST with
    /// a valid signature of one of `senders`.
    async fn report_if_misrouted(&self, request: &Request, senders: &[Provider], now: Timestamp) {
        if request.method() != Method::POST || request.body().len() > MAX_BODY {
            return;
        }
        for &provider in senders {
            if self
                .verify(provider, request.headers(), request.body(), now)
                .await
                .is_ok()
            {
                tracing::error!(%provider, "a signed webhook was sent to another path");
                metrics::misrouted_webhook_refused();
                return;
            }
        }
    }

    /// Verifies the provider's signature of a body: at least one signature header must exist, and all of them must
    /// verify.
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
        if verifies.map_err(cannot_verify)? {
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

/// The provider whose webhooks are sent to a path. Repeated slashes, and slashes at the end, do not matter: the
/// function URL ends in a slash, to which some append another.
fn provider_at(path: &str) -> Option<Provider> {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let (Some("webhooks"), Some(name), None) = (segments.next(), segments.next(), segments.next()) else {
        return None;
    };
    Provider::ALL.into_iter().find(|provider| provider.name() == name)
}

fn cannot_verify(error: SecretError) -> Problem {
    match error {
        // Without the secret no signature is valid, and sending the webhook again would not help.
        SecretError::NotFound => Problem::signature_invalid(),
        SecretError::Unavailable(_) | SecretError::Malformed(_) => Problem::unavailable(),
    }
}

fn not_stored(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%error, "webhook not stored");
    metrics::store_failed();
    Problem::unavailable()
}

/// Logs and counts the result of a webhook.
fn report(notification: &Notification, result: RecordResult) {
    let provider = notification.fact.provider;
    let raw_status = notification.fact.raw_status.as_str();
    let payment = match result {
        RecordResult::Recorded { payment, .. } | RecordResult::Duplicate(payment) => Some(payment),
        RecordResult::Unmatched => None,
    };
    let payment = payment.map(tracing::field::display);
    match notification.fact.outcome {
        Outcome::Unrecognised => tracing::warn!(%provider, payment, raw_status, "unrecognised provider status ignored"),
        Outcome::Contradictory => {
            tracing::warn!(%provider, payment, raw_status, "contradictory webhook changes no status");
        }
        Outcome::Pending
        | Outcome::Authorized
        | Outcome::Cancelled
        | Outcome::Failed
        | Outcome::Completed
        | Outcome::Reversed => {}
    }
    for reversal in &notification.fact.reversals {
        let (kind, undone) = (reversal.kind.name(), reversal.undone);
        tracing::warn!(%provider, payment, kind, undone, raw_status, "the provider reports that money went back");
    }
    match result {
        RecordResult::Recorded {
            payment: id,
            new_status,
        } => {
            let raised_to = new_status.map(tracing::field::display);
            tracing::info!(%provider, payment = %id, raw_status, raised_to, "webhook recorded");
        }
        RecordResult::Duplicate(id) => {
            tracing::info!(%provider, payment = %id, raw_status, "webhook was already recorded");
        }
        RecordResult::Unmatched => {
            tracing::warn!(%provider, raw_status, "webhook stored as unmatched: its payment is not known");
            metrics::unmatched_webhook_stored();
        }
    }
}

/// Logs and counts a webhook that was put into quarantine. A test message is only logged.
fn report_quarantined(provider: Provider, reason: UnreadableWebhook) {
    if reason == UnreadableWebhook::TestMessage {
        tracing::info!(%provider, "the provider's test message was stored");
    } else {
        tracing::error!(%provider, %reason, "a signed webhook cannot be read: it is in quarantine");
        metrics::webhook_quarantined();
    }
}
