//! The payments table in this process: no port, no other process, a table of one's own in a millisecond.
//!
//! The real SDK client, with all that it does to a request, hands it to a DynamoDB emulator (dynoxide, on SQLite in
//! memory) where it would otherwise open a connection. Calls are atomic and happen one after another; whoever shares a
//! thread takes turns at every call.
//!
//! The emulator keeps the token of every transaction for ten minutes and looks through all of them at each, so a table
//! gets slower with every one: take a new one for each history.

use std::fmt;
use std::sync::OnceLock;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use dynoxide::{Database, DynoxideError};
use payment_functions::store::Store;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::task::JoinHandle;

use super::{Error, background, template};

const TABLE: &str = "payments";

/// A payments table as template.yaml has it, in memory. Clones are the same table.
#[derive(Clone)]
pub struct MemoryTable {
    database: Database,
}

impl MemoryTable {
    /// An empty table.
    ///
    /// # Errors
    /// When template.yaml cannot be read, or the emulator refuses its table.
    pub fn new() -> Result<Self, Error> {
        let request = serde_json::from_value(request()?.clone()).map_err(unreadable)?;
        let database = Database::memory().map_err(refused)?;
        database.create_table(request).map_err(refused)?;
        Ok(Self { database })
    }

    /// The store of the crate under test on this table, with a client of its own.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(self.client(), TABLE.to_owned())
    }

    /// A client for anything else; the table is `payments`.
    #[must_use]
    pub fn client(&self) -> Client {
        let connector = SharedHttpConnector::new(self.clone());
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "local"))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build();
        Client::from_conf(config)
    }

    /// Serves the table on 127.0.0.1 too, for what runs in other processes.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn serve(&self) -> Result<ServedTable, Error> {
        let (listener, address) = background::listen("serve a table").await?;
        let url = format!("http://{address}");
        let table = self.clone();
        let answer = async move |headers: HeaderMap, body: Bytes| {
            let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
            let (status, text) = table.answer(target.unwrap_or_default(), &body);
            let status = axum::http::StatusCode::from_u16(status).unwrap_or_default();
            (status, [("content-type", "application/x-amz-json-1.0")], text)
        };
        let routes = Router::new().route("/", post(answer));
        let serving = background::handle()?.spawn(async move { axum::serve(listener, routes).await });
        Ok(ServedTable { url, serving })
    }

    /// Every item, in DynamoDB's JSON.
    ///
    /// # Errors
    /// When the emulator fails.
    pub fn items(&self) -> Result<Vec<Value>, Error> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let mut scan = Map::from_iter([("TableName".to_owned(), TABLE.into())]);
            scan.extend(start.map(|start| ("ExclusiveStartKey".to_owned(), start)));
            let page = self.act("Scan", Value::from(scan).to_string().as_bytes());
            let mut page: Page = serde_json::from_str(&page.map_err(refused)?).map_err(unreadable)?;
            items.append(&mut page.items);
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(items);
            }
        }
    }

    /// Does what a request asks for.
    fn act(&self, action: &str, body: &[u8]) -> Result<String, DynoxideError> {
        let database = &self.database;
        match action {
            "CreateTable" => call(body, |request| database.create_table(request)),
            "GetItem" => call(body, |request| database.get_item(request)),
            "PutItem" => call(body, |request| database.put_item(request)),
            "UpdateItem" => call(body, |request| database.update_item(request)),
            "DeleteItem" => call(body, |request| database.delete_item(request)),
            "Query" => call(body, |request| database.query(request)),
            "Scan" => call(body, |request| database.scan(request)),
            "BatchGetItem" => call(body, |request| database.batch_get_item(request)),
            "BatchWriteItem" => call(body, |request| database.batch_write_item(request)),
            "TransactGetItems" => call(body, |request| database.transact_get_items(request)),
            "TransactWriteItems" => call(body, |request| database.transact_write_items(request)),
            other => Err(invalid(format!("{other} is not for a table in memory"))),
        }
    }

    /// The HTTP status and the body of the answer to a request: its `x-amz-target`, and its body.
    fn answer(&self, target: &str, body: &[u8]) -> (u16, String) {
        let action = target.rsplit('.').next().unwrap_or_default();
        match self.act(action, body) {
            Ok(text) => (200, text),
            Err(error) => (error.status_code(), error.to_json()),
        }
    }
}

/// A [`MemoryTable`] on a port of its own, until this is dropped.
#[derive(Debug)]
pub struct ServedTable {
    url: String,
    serving: JoinHandle<std::io::Result<()>>,
}

impl ServedTable {
    /// For `AWS_ENDPOINT_URL_DYNAMODB`, or as the upstream of a proxy.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for ServedTable {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl HttpConnector for MemoryTable {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let table = self.clone();
        HttpConnectorFuture::new(async move {
            tokio::task::yield_now().await;
            let target = request.headers().get("x-amz-target").unwrap_or_default();
            let (status, text) = table.answer(target, request.body().bytes().unwrap_or_default());
            let status = StatusCode::try_from(status).map_err(|error| ConnectorError::other(error.into(), None))?;
            Ok(HttpResponse::new(status, SdkBody::from(text)))
        })
    }
}

impl fmt::Debug for MemoryTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTable").finish_non_exhaustive()
    }
}

/// Makes the table. The template is read once.
fn request() -> Result<&'static Value, Error> {
    static REQUEST: OnceLock<Value> = OnceLock::new();
    match REQUEST.get() {
        Some(request) => Ok(request),
        None => {
            let request = template::create_table(TABLE)?;
            Ok(REQUEST.get_or_init(|| request))
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    items: Vec<Value>,
    last_evaluated_key: Option<Value>,
}

fn call<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    action: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<String, DynoxideError> {
    let request = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
    serde_json::to_string(&action(request)?).map_err(|error| invalid(error.to_string()))
}

fn invalid(problem: String) -> DynoxideError {
    DynoxideError::ValidationException(problem)
}

fn refused(error: DynoxideError) -> Error {
    Error::Table(error.to_string())
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::Table(error.to_string())
}
