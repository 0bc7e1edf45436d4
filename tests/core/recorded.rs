//! A table in memory that keeps what was asked of it, and can be told to answer something else.

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

/// Longer than any answer of the table takes.
const TIME_LIMIT: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct Recorded {
    pub table: MemoryTable,
    requests: Arc<Mutex<Vec<(String, Value)>>>,
    instead: Arc<Mutex<VecDeque<Instead>>>,
}

/// What a request meets instead of the table.
#[derive(Clone, Debug)]
pub enum Instead {
    /// An answer: the HTTP status and the body.
    Answer(u16, String),
    NoConnection,
    /// An answer that never comes.
    Silence,
}

impl Recorded {
    pub fn new() -> Self {
        Self {
            table: MemoryTable::new().unwrap(),
            requests: Arc::default(),
            instead: Arc::default(),
        }
    }

    /// The store, whose SDK tries nothing again by itself.
    pub fn store(&self) -> Store {
        let connector = SharedHttpConnector::new(self.clone());
        let config = self.table.client().config().to_builder();
        let config = config
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(TIME_LIMIT).build());
        Store::new(Client::from_conf(config.build()), "payments".to_owned())
    }

    /// What the next requests meet, one each.
    pub fn next(&self, instead: impl IntoIterator<Item = Instead>) {
        self.instead.lock().unwrap().extend(instead);
    }

    /// What was asked since the last time.
    pub fn take(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

impl HttpConnector for Recorded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let action = request.headers().get("x-amz-target").unwrap().rsplit('.').next();
        let body = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        self.requests.lock().unwrap().push((action.unwrap().to_owned(), body));
        match self.instead.lock().unwrap().pop_front() {
            None => self.table.call(request),
            Some(Instead::Answer(status, body)) => {
                let answer = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
                HttpConnectorFuture::ready(Ok(answer))
            }
            Some(Instead::NoConnection) => HttpConnectorFuture::ready(Err(ConnectorError::io("refused".into()))),
            Some(Instead::Silence) => HttpConnectorFuture::new(std::future::pending()),
        }
    }
}
