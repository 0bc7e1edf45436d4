//! A payments table in this process, without ports or other processes. Creating one takes a millisecond.
//!
//! The real SDK client passes its requests to a DynamoDB emulator (dynoxide, on SQLite in memory) instead of opening a
//! connection. Calls are atomic and sequential. Tasks on one thread alternate at every call.
//!
//! The emulator keeps the token of every transaction for ten minutes and searches all of them in each transaction, so a
//! table becomes slower with use. Use a new table for each history.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{OnceLock, PoisonError, RwLock};

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
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::task::JoinHandle;

use payment_functions_local::{Error, background, template};

const TABLE: &str = "payments";

/// A payments table in memory, as template.yaml defines it. Clones share the table.
#[derive(Clone)]
pub struct MemoryTable {
    database: Database,
    name: String,
}

impl MemoryTable {
    /// An empty table.
    ///
    /// # Errors
    /// When template.yaml cannot be read, or the emulator rejects its table.
    pub fn new() -> Result<Self, Error> {
        Self::named(TABLE)
    }

    /// An empty table with another name than `payments`.
    ///
    /// # Errors
    /// As [`MemoryTable::new`].
    pub fn named(name: &str) -> Result<Self, Error> {
        let mut request = create_table_request()?.clone();
        if let Some(request) = request.as_object_mut() {
            request.insert("TableName".to_owned(), name.into());
        }
        let request = serde_json::from_value(request).map_err(unreadable)?;
        let database = Database::memory().map_err(rejected)?;
        database.create_table(request).map_err(rejected)?;
        Ok(Self {
            database,
            name: name.to_owned(),
        })
    }

    /// The store of the crate under test on this table, with its own client.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(self.client(), self.name.clone())
    }

    /// An SDK client for this table.
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

    /// Serves the table on 127.0.0.1 too, for other processes.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn serve(&self) -> Result<ServedTable, Error> {
        let (listener, address) = background::listen("serve a table").await?;
        let url = format!("http://{address}");
        let table = self.clone();
        let handle = async move |headers: HeaderMap, body: Bytes| {
            let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
            let (status, text) = table.respond(target.unwrap_or_default(), &body);
            let status = axum::http::StatusCode::from_u16(status).unwrap_or_default();
            (status, [("content-type", "application/x-amz-json-1.0")], text)
        };
        let routes = Router::new().route("/", post(handle));
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
            let mut scan = Map::from_iter([("TableName".to_owned(), self.name.as_str().into())]);
            scan.extend(start.map(|start| ("ExclusiveStartKey".to_owned(), start)));
            let page = self.perform("Scan", Value::from(scan).to_string().as_bytes());
            let mut page: Page = serde_json::from_str(&page.map_err(rejected)?).map_err(unreadable)?;
            items.append(&mut page.items);
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(items);
            }
        }
    }

    /// Performs a request.
    fn perform(&self, action: &str, body: &[u8]) -> Result<String, DynoxideError> {
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
            other => Err(invalid(format!("{other} is not supported by a table in memory"))),
        }
    }

    /// The HTTP status and body of the response to a request, given by its `x-amz-target` and its body.
    pub(super) fn respond(&self, target: &str, body: &[u8]) -> (u16, String) {
        let action = target.rsplit('.').next().unwrap_or_default();
        match self.perform(action, body) {
            Ok(text) => (200, text),
            Err(error) => (error.status_code(), error.to_json()),
        }
    }
}

/// Tables in memory by name, for tests that would take minutes with the local AWS's tables.
#[derive(Debug, Default)]
pub struct MemoryTables(RwLock<BTreeMap<String, MemoryTable>>);

impl MemoryTables {
    /// Adds an empty table.
    ///
    /// # Errors
    /// As [`MemoryTable::new`].
    pub fn create(&self, name: &str) -> Result<(), Error> {
        let table = MemoryTable::named(name)?;
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.to_owned(), table);
        Ok(())
    }

    /// Deletes a table.
    pub fn delete(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Makes a call, as [`AwsCalls::call`](payment_functions_local::AwsCalls::call) does. `None` if its table is not
    /// one of these.
    ///
    /// # Errors
    /// When the emulator rejects it.
    pub fn call(&self, action: &str, body: &Value) -> Option<Result<Value, Error>> {
        let body = body.to_string();
        let table = self.table_of("DynamoDB_", body.as_bytes())?;
        let response = table.perform(action, body.as_bytes()).map_err(rejected);
        Some(response.and_then(|text| serde_json::from_str(&text).map_err(unreadable)))
    }

    /// The table of a request to DynamoDB, if it is one of these.
    pub(super) fn table_of(&self, target: &str, body: &[u8]) -> Option<MemoryTable> {
        if !target.starts_with("DynamoDB_") {
            return None;
        }
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return None;
        }
        let request: Request = serde_json::from_slice(body).ok()?;
        let in_transaction = request.transact_items.iter().flat_map(BTreeMap::values);
        let mut names = in_transaction.map(|step| &step.table_name).chain(&request.table_name);
        let batch = request.request_items.as_ref().and_then(|items| items.keys().next());
        all.get(names.next().or(batch)?).cloned()
    }
}

/// The members of a request to DynamoDB that name its table.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    table_name: Option<String>,
    #[serde(default)]
    transact_items: Vec<BTreeMap<String, Step>>,
    request_items: Option<BTreeMap<String, IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Step {
    table_name: String,
}

/// A [`MemoryTable`] on its own port, until this is dropped.
#[derive(Debug)]
pub struct ServedTable {
    url: String,
    serving: JoinHandle<std::io::Result<()>>,
}

impl ServedTable {
    /// The URL for `AWS_ENDPOINT_URL_DYNAMODB`, or for the upstream of a proxy.
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
            let (status, text) = table.respond(target, request.body().bytes().unwrap_or_default());
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

/// The request that creates the table. The template is read once.
fn create_table_request() -> Result<&'static Value, Error> {
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

fn call<Request: DeserializeOwned, Response: Serialize>(
    body: &[u8],
    action: impl FnOnce(Request) -> Result<Response, DynoxideError>,
) -> Result<String, DynoxideError> {
    let request = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
    serde_json::to_string(&action(request)?).map_err(|error| invalid(error.to_string()))
}

fn invalid(problem: String) -> DynoxideError {
    DynoxideError::ValidationException(problem)
}

fn rejected(error: DynoxideError) -> Error {
    Error::Table(error.to_string())
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::Table(error.to_string())
}
