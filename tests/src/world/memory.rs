//! The payments table in this process: no port, no other process, a table of one's own in a millisecond.
//!
//! The real SDK client, with all that it does to a request, hands it to a DynamoDB emulator (dynoxide, on SQLite in
//! memory) where it would otherwise open a connection. Calls are atomic and happen one after another; whoever shares a
//! thread takes turns at every call.
//!
//! The emulator keeps the token of every transaction for ten minutes and looks through all of them at each, so a table
//! gets slower with every one: take a new one for each history.

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

/// A payments table as template.yaml has it, in memory. Clones are the same table.
#[derive(Clone)]
pub struct MemoryTable {
    database: Database,
    name: String,
}

impl MemoryTable {
    /// An empty table.
    ///
    /// # Errors
    /// When template.yaml cannot be read, or the emulator refuses its table.
    pub fn new() -> Result<Self, Error> {
        Self::named(TABLE)
    }

    /// The same under another name than `payments`.
    ///
    /// # Errors
    /// As [`MemoryTable::new`].
    pub fn named(name: &str) -> Result<Self, Error> {
        let mut request = request()?.clone();
        if let Some(request) = request.as_object_mut() {
            request.insert("TableName".to_owned(), name.into());
        }
        let request = serde_json::from_value(request).map_err(unreadable)?;
        let database = Database::memory().map_err(refused)?;
        database.create_table(request).map_err(refused)?;
        Ok(Self {
            database,
            name: name.to_owned(),
        })
    }

    /// The store of the crate under test on this table, with a client of its own.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(self.client(), self.name.clone())
    }

    /// A client for anything else.
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
            let mut scan = Map::from_iter([("TableName".to_owned(), self.name.as_str().into())]);
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
    pub(super) fn answer(&self, target: &str, body: &[u8]) -> (u16, String) {
        let action = target.rsplit('.').next().unwrap_or_default();
        match self.act(action, body) {
            Ok(text) => (200, text),
            Err(error) => (error.status_code(), error.to_json()),
        }
    }
}

/// Tables in memory by name, beside those of the local AWS: for what would keep the local AWS busy for minutes.
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

    /// Forgets a table.
    pub fn delete(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Makes a call, as [`AwsCalls::call`](payment_functions_local::AwsCalls::call) does; none where it is about no table of
    /// these.
    ///
    /// # Errors
    /// When it is refused.
    pub fn call(&self, action: &str, body: &Value) -> Option<Result<Value, Error>> {
        let body = body.to_string();
        let table = self.of("DynamoDB_", body.as_bytes())?;
        let answer = table.act(action, body.as_bytes()).map_err(refused);
        Some(answer.and_then(|text| serde_json::from_str(&text).map_err(unreadable)))
    }

    /// The table that a request to DynamoDB is about, if it is one of these.
    pub(super) fn of(&self, target: &str, body: &[u8]) -> Option<MemoryTable> {
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

/// Where a request to DynamoDB names its table.
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
