//! Validate the request, store the intent, call FinvyPay, store the outcome, respond.

use std::convert::Infallible;

use lambda_http::aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_http::{Body, Request, Response};
use payment_functions::api::problem::Problem;
use payment_functions::api::return_url::ReturnOrigins;
use payment_functions::api::{request, response};
use payment_functions::domain::id::PaymentId;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::flows::create_payment::{self, IdempotentRequest, QuoteCheck};
use payment_functions::flows::quote::Quotes;
use payment_functions::lambda::Function;
use payment_functions::platform::aws::Aws;
use payment_functions::platform::clock;
use payment_functions::platform::config::{ConfigError, Variables};
use payment_functions::platform::secrets::{ApiKey, SecretCache, SecretsManager};
use payment_functions::platform::tls::Tls;
use payment_functions::providers::finvypay::client::{ApmPaymentCall, BASE_URL};
use payment_functions::providers::http_client::HttpClient;
use payment_functions::store::Store;

use crate::request::ApmRequest;

/// The function's clients and settings.
pub struct CreateApm {
    store: Store,
    keys: SecretCache<ApiKey>,
    /// Set if the shop requires quotes.
    quotes: Option<Quotes>,
    client: HttpClient,
    base_url: String,
    environment: Environment,
    webhook_url: String,
    return_origins: ReturnOrigins,
}

impl Function for CreateApm {
    const NAME: &'static str = "create-apm";
    type Event = ApiGatewayV2httpRequest;
    type Response = ApiGatewayV2httpResponse;
    type Error = Infallible;

    fn configure(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let tls = Tls::from_environment(variables)?;
        let aws = Aws::from_environment(variables, &tls)?;
        let secret = |id| SecretsManager::new(aws.secrets_manager(), id);
        Ok(Self {
            store: Store::open(&aws, variables.payments_table()?),
            keys: SecretCache::new(secret(variables.required("FINVYPAY_SECRET_ID")?), "apiKey"),
            quotes: variables.quote_secret_id()?.map(secret).map(Quotes::new),
            client: HttpClient::new(&tls)?,
            base_url: variables.base_url("FINVYPAY_BASE_URL", BASE_URL)?,
            environment: variables.finvypay_environment()?,
            webhook_url: format!("{}/webhooks/{}", variables.webhook_base_url()?, Provider::FinvyPay),
            return_origins: ReturnOrigins::from_environment(variables)?,
        })
    }

    async fn warm_up(&self) {
        let provider = self.client.connect(&self.base_url);
        create_payment::warm_up(&self.store, &self.keys, self.quotes.as_ref(), provider).await;
    }

    async fn handle(&self, event: Self::Event) -> Result<Self::Response, Infallible> {
        let request = request::from_api_gateway(event);
        let response = self.create(&request).await;
        let response = response.unwrap_or_else(|problem| problem.to_response());
        Ok(response::to_api_gateway(response))
    }
}

impl CreateApm {
    async fn create(&self, request: &Request) -> Result<Response<Body>, Problem> {
        let body = request::read_json(request)?;
        let key = request::idempotency_key(request, Self::NAME)?;
        let apm = ApmRequest::read(body, &self.return_origins, self.quotes.is_some())?;
        let intent = apm.intent(PaymentId::random(), self.environment, clock::now());
        let idempotency = key.map(|key| IdempotentRequest {
            key,
            fingerprint: apm.fingerprint(),
        });
        let quote = self.quotes.as_ref().map(|quotes| QuoteCheck {
            quotes,
            token: apm.quote.as_ref(),
        });
        let gateway = |payment: &Payment, ApiKey(api_key)| ApmPaymentCall {
            client: &self.client,
            base_url: &self.base_url,
            environment: self.environment,
            api_key,
            webhook_url: &self.webhook_url,
            details: &apm.details,
            metadata: apm.metadata_of(payment),
        };
        let creation =
            create_payment::create(&self.store, &self.keys, intent, idempotency.as_ref(), quote, gateway).await?;
        Ok(creation.to_response())
    }
}
