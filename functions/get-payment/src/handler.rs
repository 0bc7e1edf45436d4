//! One strongly consistent read.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, RequestExt, Response};
use payment_functions::api::payment_view::PaymentView;
use payment_functions::api::problem::Problem;
use payment_functions::api::response;
use payment_functions::domain::id::PaymentId;
use payment_functions::lambda::Function;
use payment_functions::platform::aws::Aws;
use payment_functions::platform::config::{ConfigError, Variables};
use payment_functions::platform::tls::Tls;
use payment_functions::store::Store;

/// The function's clients and settings.
pub struct GetPayment {
    store: Store,
}

impl Function for GetPayment {
    const NAME: &'static str = "get-payment";

    fn configure(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let aws = Aws::from_environment(variables, &Tls::from_environment(variables)?)?;
        Ok(Self {
            store: Store::open(&aws, variables.payments_table()?),
        })
    }

    async fn warm_up(&self) {
        self.store.connect().await;
    }

    async fn handle(&self, request: &Request) -> Response<Body> {
        self.get(request).await.unwrap_or_else(|problem| problem.to_response())
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
            tracing::error!(payment = %id, error = %error, "store out of reach");
            Problem::store_unavailable(None)
        })?;
        let payment = payment.ok_or_else(Problem::no_such_payment)?;
        Ok(response::respond(
            StatusCode::OK,
            response::JSON,
            response::to_json(&PaymentView::current(&payment)),
        ))
    }
}
