//! One strongly consistent read.

use std::convert::Infallible;

use lambda_http::aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, RequestExt, Response};
use payment_functions::api::payment_view::PaymentView;
use payment_functions::api::problem::Problem;
use payment_functions::api::{request, response};
use payment_functions::domain::id::PaymentId;
use payment_functions::lambda::Function;
use payment_functions::platform::aws::Aws;
use payment_functions::platform::config::{ConfigError, Variables};
use payment_functions::platform::metrics;
use payment_functions::platform::tls::Tls;
use payment_functions::store::Store;

/// The function's clients and settings.
pub struct GetPayment {
    store: Store,
}

impl Function for GetPayment {
    const NAME: &'static str = "get-payment";
    type Event = ApiGatewayV2httpRequest;
    type Response = ApiGatewayV2httpResponse;
    type Error = Infallible;

    fn configure(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let aws = Aws::from_environment(variables, &Tls::from_environment(variables)?)?;
        Ok(Self {
            store: Store::open(&aws, variables.payments_table()?),
        })
    }

    async fn warm_up(&self) {
        self.store.warm_up().await;
    }

    async fn handle(&self, event: Self::Event) -> Result<Self::Response, Infallible> {
        let request = request::from_api_gateway(event);
        let response = self.get(&request).await.unwrap_or_else(|problem| problem.to_response());
        Ok(response::to_api_gateway(response))
    }
}

impl GetPayment {
    async fn get(&self, request: &Request) -> Result<Response<Body>, Problem> {
        let parameters = request.path_parameters();
        let id = parameters
            .first("id")
            .and_then(PaymentId::parse)
            .ok_or_else(Problem::no_such_payment)?;
        let payment = self.store.payment(id).await.map_err(|error| {
            tracing::error!(payment = %id, error = %error, "DynamoDB unavailable");
            metrics::store_failed();
            Problem::unavailable()
        })?;
        let payment = payment.ok_or_else(Problem::no_such_payment)?;
        let body = response::to_json(&PaymentView::for_get(&payment));
        Ok(response::response(StatusCode::OK, response::JSON, body))
    }
}
