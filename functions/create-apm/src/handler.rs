//! Validate, store the intent, call FinvyPay, store the outcome, answer.

use lambda_http::{Body, Request, Response};
use payment_functions::aws::Aws;
use payment_functions::clock::Timestamp;
use payment_functions::config::{ConfigError, ReturnOrigins, Variables};
use payment_functions::connector::Tls;
use payment_functions::creation;
use payment_functions::function::Function;
use payment_functions::http;
use payment_functions::id::{PaymentId, Provider};
use payment_functions::metadata;
use payment_functions::problem::Problem;
use payment_functions::providers::finvypay::Environment;
use payment_functions::providers::finvypay::client::{ApmPayment, BASE_URL};
use payment_functions::providers::gateway::HttpClient;
use payment_functions::quote::Quotes;
use payment_functions::secrets::{ApiKey, SecretCache, SecretsManager};
use payment_functions::store::Store;

use crate::request::ApmRequest;

/// The function's clients and settings.
pub struct CreateApm {
    store: Store,
    keys: SecretCache<ApiKey>,
    /// Where the shop decides the price.
    quotes: Option<Quotes>,
    client: HttpClient,
    base_url: String,
    environment: Environment,
    webhook_url: String,
    return_origins: ReturnOrigins,
}

impl Function for CreateApm {
    const NAME: &'static str = "create-apm";

    fn configure(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let tls = Tls::from_environment(variables)?;
        let aws = Aws::from_environment(variables, &tls)?;
        let secret = |id| SecretsManager::new(aws.secrets_manager(), id);
        Ok(Self {
            store: aws.store(variables.payments_table()?),
            keys: SecretCache::new(secret(variables.required("FINVYPAY_SECRET_ID")?), "apiKey"),
            quotes: variables.quote_secret_id()?.map(secret).map(Quotes::new),
            client: HttpClient::new(&tls)?,
            base_url: variables.base_url("FINVYPAY_BASE_URL", BASE_URL)?,
            environment: variables.finvypay_environment()?,
            webhook_url: format!("{}/webhooks/{}", variables.webhook_base_url()?, Provider::FinvyPay),
            return_origins: variables.allowed_return_origins()?,
        })
    }

    async fn warm_up(&self) {
        let provider = self.client.connect(&self.base_url);
        creation::warm_up(&self.store, &self.keys, self.quotes.as_ref(), provider).await;
    }

    async fn handle(&self, request: &Request) -> Response<Body> {
        self.create(request)
            .await
            .unwrap_or_else(|problem| problem.to_response())
    }
}

impl CreateApm {
    async fn create(&self, request: &Request) -> Result<Response<Body>, Problem> {
        let body = http::read_json(request)?;
        let key = http::idempotency_key(request, Self::NAME)?;
        let apm = ApmRequest::read(&body, &self.return_origins, self.quotes.is_some())?;
        let intent = apm.intent(PaymentId::random(), Timestamp::now());
        let keyed = key.map(|key| creation::Keyed {
            key,
            fingerprint: apm.fingerprint(),
        });
        let quoted = self.quotes.as_ref().map(|quotes| creation::Quoted {
            quotes,
            token: apm.quote.as_ref(),
        });
        let gateway = |id, ApiKey(api_key)| ApmPayment {
            client: &self.client,
            base_url: &self.base_url,
            environment: self.environment,
            api_key,
            webhook_url: &self.webhook_url,
            details: &apm.details,
            metadata: metadata::to_send(&apm.own, id),
        };
        let creation = creation::create(&self.store, &self.keys, intent, keyed.as_ref(), quoted, gateway).await?;
        Ok(creation.to_response())
    }
}
