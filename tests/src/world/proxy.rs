//! A proxy in front of the local AWS and of tables in memory. It counts requests, injects faults on demand or at
//! random, and holds requests back.
//!
//! Each test starts its own proxy ([`AwsProxy::start`]), so that tests do not count each other's requests. A request is
//! identified by its action, the end of its `x-amz-target`: `TransactWriteItems`, `GetSecretValue`.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::MemoryTables;
use super::faults::{Attempt, Effect, Fault, Faults, HeldRequests, HoldPoint};
use payment_functions_local::{Error, background, http};

/// Maximum size of a request, in bytes. More than DynamoDB accepts.
const MAX_BODY: usize = 17 * 1024 * 1024;
/// How long a hung request waits: longer than any client does.
const FOREVER: Duration = Duration::from_secs(600);
/// How many requests are kept.
const MAX_KEPT: usize = 100_000;

/// A request that the proxy received.
#[derive(Clone, Debug)]
pub struct AwsCall {
    /// Its action, such as `PutItem`.
    pub action: String,
    /// The SDK operation that it is an attempt of.
    pub operation: String,
    /// Its body.
    pub body: Value,
}

/// A proxy on 127.0.0.1. It ends when this is dropped.
#[derive(Debug)]
pub struct AwsProxy {
    url: String,
    state: Arc<State>,
    serving: tokio::task::AbortHandle,
}

#[derive(Debug)]
struct State {
    upstream: String,
    /// Tables that are not the upstream's.
    tables: Arc<MemoryTables>,
    http: reqwest::Client,
    seen: Mutex<Seen>,
    faults: Mutex<Faults>,
}

/// The requests received. Only the latest are kept, and the counts of all, so that a soak does not use up the memory.
#[derive(Debug, Default)]
struct Seen {
    latest: VecDeque<Call>,
    counts: BTreeMap<String, usize>,
}

/// An [`AwsCall`] whose body is not parsed yet.
#[derive(Debug)]
struct Call {
    action: String,
    operation: String,
    body: Bytes,
}

impl AwsProxy {
    /// Starts a proxy in front of `upstream`.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(upstream: &str) -> Result<Self, Error> {
        Self::start_with(upstream, Arc::default()).await
    }

    /// Starts a proxy in front of `upstream` and of tables in memory.
    ///
    /// # Errors
    /// As [`AwsProxy::start`].
    pub async fn start_with(upstream: &str, tables: Arc<MemoryTables>) -> Result<Self, Error> {
        let io = |source| Error::Io {
            doing: "start a proxy".to_owned(),
            source,
        };
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        let url = format!("http://{}", listener.local_addr().map_err(io)?);
        let state = Arc::new(State {
            upstream: upstream.to_owned(),
            tables,
            http: http::client()?,
            seen: Mutex::default(),
            faults: Mutex::default(),
        });
        let serving = background::handle()?
            .spawn(serve(listener, Arc::clone(&state)))
            .abort_handle();
        Ok(Self { url, state, serving })
    }

    /// The URL for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The latest 100,000 requests since the start or the last [`AwsProxy::reset`], in order.
    #[must_use]
    pub fn calls(&self) -> Vec<AwsCall> {
        let seen = lock(&self.state.seen);
        let calls = seen.latest.iter().map(|call| AwsCall {
            action: call.action.clone(),
            operation: call.operation.clone(),
            body: serde_json::from_slice(&call.body).unwrap_or_default(),
        });
        calls.collect()
    }

    /// How many requests for `action` were received.
    #[must_use]
    pub fn count(&self, action: &str) -> usize {
        lock(&self.state.seen).counts.get(action).copied().unwrap_or_default()
    }

    /// How many operations for `action` (`*`: any) are among [`AwsProxy::calls`]. All attempts of one operation count
    /// once.
    #[must_use]
    pub fn operations(&self, action: &str) -> usize {
        let seen = lock(&self.state.seen);
        let wanted = seen.latest.iter().filter(|call| action == "*" || call.action == action);
        wanted.map(|call| call.operation.as_str()).collect::<HashSet<_>>().len()
    }

    /// How often each [fault](Fault::name) was injected, by rule or at random.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<String, usize> {
        lock(&self.state.faults).injected.clone()
    }

    /// Clears all requests, counts and faults. Held requests stay held.
    pub fn reset(&self) {
        *lock(&self.state.seen) = Seen::default();
        *lock(&self.state.faults) = Faults::default();
    }

    /// Injects a fault into every request for `action` (`*`: any) from now on.
    pub fn fail(&self, action: &str, fault: Fault) {
        self.fail_times(action, usize::MAX, fault);
    }

    /// Injects a fault into the next `times` requests for `action`. Earlier rules take precedence.
    pub fn fail_times(&self, action: &str, times: usize, fault: Fault) {
        lock(&self.state.faults).for_requests(action, times, Effect::Fail(fault));
    }

    /// Injects a fault into every attempt of the `nth` operation for `action` (`*`: any), counted from 1 and from now
    /// on. Operations that earlier rules apply to are counted too.
    pub fn fail_operation(&self, action: &str, nth: usize, fault: Fault) {
        lock(&self.state.faults).for_operation(action, nth, Effect::Fail(fault));
    }

    /// Injects a fault into the first attempt that arrives of the `nth` operation, counted as in
    /// [`AwsProxy::fail_operation`]. The SDK's later attempts pass.
    pub fn fail_first_attempt(&self, action: &str, nth: usize, fault: Fault) {
        lock(&self.state.faults).for_first_attempt(action, nth, Effect::Fail(fault));
    }

    /// Holds every request for `action` from now on, before it is forwarded.
    #[must_use]
    pub fn hold(&self, action: &str) -> HeldRequests {
        let (effect, held) = Faults::hold(HoldPoint::BeforeRequest);
        lock(&self.state.faults).for_requests(action, usize::MAX, effect);
        held
    }

    /// Holds every attempt of the `nth` operation, counted as in [`AwsProxy::fail_operation`], before it is forwarded
    /// or before its response is returned, so that a test can kill the client meanwhile.
    #[must_use]
    pub fn hold_operation(&self, action: &str, nth: usize, at: HoldPoint) -> HeldRequests {
        let (effect, held) = Faults::hold(at);
        lock(&self.state.faults).for_operation(action, nth, effect);
        held
    }

    /// From now on, injects one of `faults` into `percent` of the operations that no rule applies to: into half of them
    /// in the first attempt only, so that the SDK's retry succeeds, and into the others in every attempt. `seed` makes
    /// the choices reproducible.
    pub fn chaos(&self, percent: u8, seed: u64, faults: &[Fault]) {
        lock(&self.state.faults).set_chaos(percent, seed, faults);
    }

    /// Ends [`AwsProxy::chaos`]. The counts of injected faults stay.
    pub fn end_chaos(&self) {
        lock(&self.state.faults).end_chaos();
    }
}

impl Drop for AwsProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Seen {
    fn add(&mut self, call: Call) {
        let count = self.counts.entry(call.action.clone()).or_default();
        *count = count.saturating_add(1);
        if self.latest.len() == MAX_KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(call);
    }
}

async fn serve(listener: std::net::TcpListener, state: Arc<State>) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                connections.spawn(connection(stream, Arc::clone(&state)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection. An error of the service closes it without a response.
async fn connection(stream: TcpStream, state: Arc<State>) -> hyper::Result<()> {
    let service = service_fn(move |request| respond(Arc::clone(&state), request));
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn respond(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(Body::new(body), MAX_BODY)
        .await
        .map_err(std::io::Error::other)?;
    let (action, operation) = (action(&parts.headers), operation(&parts.headers));
    let is_first = is_first_attempt(&parts.headers);
    lock(&state.seen).add(Call {
        action: action.clone(),
        operation: operation.clone(),
        body: body.clone(),
    });
    let effect = lock(&state.faults).decide(Attempt {
        action: &action,
        operation: &operation,
        is_first,
    });
    match effect {
        None => state.forward(parts, body).await,
        Some(Effect::Fail(Fault::Delayed(delay))) => {
            // Continues even if the client closes the connection.
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                state.forward(parts, body).await
            });
            tokio::time::sleep(FOREVER).await;
            Err(closed())
        }
        Some(Effect::Fail(fault)) => state.fail(fault, parts, body).await,
        Some(Effect::Hold(HoldPoint::BeforeRequest, hold)) => {
            let is_released = hold.wait().await;
            if is_released {
                state.forward(parts, body).await
            } else {
                Err(closed())
            }
        }
        Some(Effect::Hold(HoldPoint::BeforeResponse, hold)) => {
            let response = state.forward(parts, body).await?;
            let is_released = hold.wait().await;
            if is_released { Ok(response) } else { Err(closed()) }
        }
    }
}

impl State {
    async fn fail(&self, fault: Fault, parts: Parts, body: Bytes) -> Result<Response<Body>, std::io::Error> {
        match fault {
            Fault::Error(status, kind) => error(status, kind, &json!({})),
            Fault::ErrorAfter(status, kind) => {
                self.forward(parts, body).await?;
                error(status, kind, &json!({}))
            }
            Fault::Response(body) => reply(200, &body),
            Fault::Cancelled(reasons) => error(
                400,
                "TransactionCanceledException",
                &json!({ "CancellationReasons": reasons }),
            ),
            Fault::Disconnect => Err(closed()),
            Fault::LoseResponse => {
                self.forward(parts, body).await?;
                Err(closed())
            }
            Fault::Hang | Fault::Delayed(_) => {
                tokio::time::sleep(FOREVER).await;
                Err(closed())
            }
            Fault::HangAfter => {
                self.forward(parts, body).await?;
                tokio::time::sleep(FOREVER).await;
                Err(closed())
            }
            Fault::Late(delay) => {
                let response = self.forward(parts, body).await?;
                tokio::time::sleep(delay).await;
                Ok(response)
            }
        }
    }

    async fn forward(&self, parts: Parts, body: Bytes) -> Result<Response<Body>, std::io::Error> {
        let target = target(&parts.headers);
        if let Some(table) = self.tables.table_of(target, &body) {
            let (status, text) = table.respond(target, &body);
            return response(status, text);
        }
        let upstream = self
            .http
            .request(parts.method, format!("{}{}", self.upstream, parts.uri))
            .headers(parts.headers)
            .body(body)
            .send()
            .await
            .map_err(std::io::Error::other)?;
        let (status, mut headers) = (upstream.status(), upstream.headers().clone());
        headers.remove("transfer-encoding");
        headers.remove("connection");
        let mut response = Response::new(Body::from(upstream.bytes().await.map_err(std::io::Error::other)?));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

fn target(headers: &HeaderMap) -> &str {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    target.unwrap_or_default()
}

fn action(headers: &HeaderMap) -> String {
    target(headers).rsplit('.').next().unwrap_or_default().to_owned()
}

/// The operation that a request is an attempt of. A request without the SDK's header is an operation of its own.
fn operation(headers: &HeaderMap) -> String {
    let id = headers.get("amz-sdk-invocation-id").and_then(|id| id.to_str().ok());
    id.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
}

/// `amz-sdk-request: attempt=1; max=3`
fn is_first_attempt(headers: &HeaderMap) -> bool {
    let request = headers.get("amz-sdk-request").and_then(|request| request.to_str().ok());
    let attempt = request.and_then(|request| request.split(';').find_map(|part| part.trim().strip_prefix("attempt=")));
    attempt.is_none_or(|attempt| attempt == "1")
}

/// Closes the connection without a response.
fn closed() -> std::io::Error {
    std::io::Error::other("told to close the connection")
}

fn error(status: u16, kind: &str, more: &Value) -> Result<Response<Body>, std::io::Error> {
    let mut body = json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{kind}"), "message": "injected" });
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    reply(status, &body)
}

fn reply(status: u16, body: &Value) -> Result<Response<Body>, std::io::Error> {
    response(status, body.to_string())
}

fn response(status: u16, body: String) -> Result<Response<Body>, std::io::Error> {
    Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amzn-requestid", "local")
        .body(Body::from(body))
        .map_err(std::io::Error::other)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
