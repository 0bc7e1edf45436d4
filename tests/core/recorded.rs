//! A table in memory that records its requests and can return other responses.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use payment_functions::store::Store;
use payment_functions_tests::world::MemoryTable;
use serde_json::Value;

/// Longer than any response of the table takes.
const TIME_LIMIT: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct Recorded {
    pub table: MemoryTable,
    requests: Arc<Mutex<Vec<(String, Value)>>>,
    overrides: Arc<Mutex<VecDeque<Override>>>,
}

/// The result of a request instead of the table's response.
#[derive(Clone, Debug)]
pub enum Override {
    /// An HTTP status and a body.
    Response(u16, String),
    NoConnection,
    /// A response that never comes.
    NoResponse,
}

impl Recorded {
    pub fn new() -> Self {
        Self {
            table: MemoryTable::new().unwrap(),
            requests: Arc::default(),
            overrides: Arc::default(),
        }
    }

    /// A store whose SDK does not retry.
    pub fn store(&self) -> Store {
        let connector = SharedHttpConnector::new(self.clone());
        let config = self.table.client().config().to_builder();
        let config = config
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(TIME_LIMIT).build());
        Store::new(Client::from_conf(config.build()), "payments".to_owned())
    }

    /// Overrides the results of the next requests, one each.
    pub fn override_next(&self, overrides: impl IntoIterator<Item = Override>) {
        self.overrides.lock().unwrap().extend(overrides);
    }

    /// The requests since the last call: action and body.
    pub fn take(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

impl HttpConnector for Recorded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let action = request.headers().get("x-amz-target").unwrap().rsplit('.').next();
        let body = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        self.requests.lock().unwrap().push((action.unwrap().to_owned(), body));
        match self.overrides.lock().unwrap().pop_front() {
            None => self.table.call(request),
            Some(Override::Response(status, body)) => {
                let response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
                HttpConnectorFuture::ready(Ok(response))
            }
            Some(Override::NoConnection) => HttpConnectorFuture::ready(Err(ConnectorError::io("refused".into()))),
            Some(Override::NoResponse) => HttpConnectorFuture::new(std::future::pending()),
        }
    }
}
