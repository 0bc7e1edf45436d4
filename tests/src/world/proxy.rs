//! A proxy before the local AWS, and before tables in memory, that counts what passes, and fails or holds it on demand or
//! at random.
//!
//! Every use gets a proxy of its own ([`AwsProxy::start`]), so that what one test counts is not another's. A request is
//! known by its action, the end of its `x-amz-target`: `TransactWriteItems`, `GetSecretValue`.

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
use super::faults::{Deed, Fault, Faults, Held, Moment, Try};
use payment_functions_local::{Error, background, http};

/// More than any request of ours, and than DynamoDB takes.
const LARGEST: usize = 17 * 1024 * 1024;
/// How long a hung request waits: longer than any client.
const FOREVER: Duration = Duration::from_secs(600);
/// How many requests are kept.
const KEPT: usize = 100_000;

/// A request that came to the proxy.
#[derive(Clone, Debug)]
pub struct AwsCall {
    /// Its action, such as `PutItem`.
    pub action: String,
    /// The operation that it is a try of.
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

/// What came. A soak would keep too much otherwise, so only the counts go on for ever.
#[derive(Debug, Default)]
struct Seen {
    latest: VecDeque<Call>,
    counts: BTreeMap<String, usize>,
}

/// An [`AwsCall`] before anybody looks at it.
#[derive(Debug)]
struct Call {
    action: String,
    operation: String,
    body: Bytes,
}

impl AwsProxy {
    /// Starts a proxy before `upstream`.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(upstream: &str) -> Result<Self, Error> {
        Self::start_with(upstream, Arc::default()).await
    }

    /// The same before tables in memory too.
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

    /// Its address, for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What came since the start or the last [`AwsProxy::reset`], in order: the latest 100,000 requests.
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

    /// How many requests for `action` came.
    #[must_use]
    pub fn count(&self, action: &str) -> usize {
        lock(&self.state.seen).counts.get(action).copied().unwrap_or_default()
    }

    /// How many operations for `action` (`*`: for any) are among [`AwsProxy::calls`]: all tries of one count once.
    #[must_use]
    pub fn operations(&self, action: &str) -> usize {
        let seen = lock(&self.state.seen);
        let wanted = seen.latest.iter().filter(|call| action == "*" || call.action == action);
        wanted.map(|call| call.operation.as_str()).collect::<HashSet<_>>().len()
    }

    /// How many requests met which [fault](Fault::name), by rule or by chance.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<String, usize> {
        lock(&self.state.faults).injected.clone()
    }

    /// Forgets what came, every count, and every fault. What is held stays held.
    pub fn reset(&self) {
        *lock(&self.state.seen) = Seen::default();
        *lock(&self.state.faults) = Faults::default();
    }

    /// Fails every request for `action` (`*`: for any) from now on.
    pub fn fail(&self, action: &str, fault: Fault) {
        self.fail_times(action, usize::MAX, fault);
    }

    /// Fails the next `times` requests for `action`. Rules given earlier come first.
    pub fn fail_times(&self, action: &str, times: usize, fault: Fault) {
        lock(&self.state.faults).for_requests(action, times, Deed::Fail(fault));
    }

    /// Fails every try of the `nth` operation for `action` (`*`: for any) from now on; the next is the first. What
    /// earlier rules fail or hold is counted too.
    pub fn fail_operation(&self, action: &str, nth: usize, fault: Fault) {
        lock(&self.state.faults).for_operation(action, nth, Deed::Fail(fault));
    }

    /// Fails the first try of the `nth` operation, counted as in [`AwsProxy::fail_operation`]; an SDK's retry of it passes.
    pub fn fail_first_try(&self, action: &str, nth: usize, fault: Fault) {
        lock(&self.state.faults).for_first_try(action, nth, Deed::Fail(fault));
    }

    /// Holds every request for `action` back from now on, before it is passed on.
    #[must_use]
    pub fn hold(&self, action: &str) -> Held {
        let (deed, held) = Faults::hold(Moment::Before);
        lock(&self.state.faults).for_requests(action, usize::MAX, deed);
        held
    }

    /// Holds every try of the `nth` operation, counted as in [`AwsProxy::fail_operation`], before it is passed on or
    /// when it is done: the moment to kill whoever waits for it.
    #[must_use]
    pub fn hold_operation(&self, action: &str, nth: usize, moment: Moment) -> Held {
        let (deed, held) = Faults::hold(moment);
        lock(&self.state.faults).for_operation(action, nth, deed);
        held
    }

    /// From now on, strikes `percent` of the operations for which there is no rule, each with one of `faults`: half of
    /// them in their first try only, which an SDK's retry mends, and half in every try. Chance is drawn from `seed`.
    pub fn chaos(&self, percent: u8, seed: u64, faults: &[Fault]) {
        lock(&self.state.faults).set_chaos(percent, seed, faults);
    }

    /// Ends [`AwsProxy::chaos`]; what it did stays counted.
    pub fn calm(&self) {
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
        if self.latest.len() == KEPT {
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

/// One connection. An error of the service closes it without an answer.
async fn connection(stream: TcpStream, state: Arc<State>) -> hyper::Result<()> {
    let service = service_fn(move |request| answer(Arc::clone(&state), request));
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(Body::new(body), LARGEST)
        .await
        .map_err(std::io::Error::other)?;
    let (action, operation) = (action(&parts.headers), operation(&parts.headers));
    let is_first = is_first_try(&parts.headers);
    lock(&state.seen).add(Call {
        action: action.clone(),
        operation: operation.clone(),
        body: body.clone(),
    });
    let deed = lock(&state.faults).decide(Try {
        action: &action,
        operation: &operation,
        is_first,
    });
    match deed {
        None => state.pass_on(parts, body).await,
        Some(Deed::Fail(Fault::Delayed(delay))) => {
            // Whoever closes the connection meanwhile does not call it back.
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                state.pass_on(parts, body).await
            });
            tokio::time::sleep(FOREVER).await;
            Err(closed())
        }
        Some(Deed::Fail(fault)) => state.fail(fault, parts, body).await,
        Some(Deed::Hold(Moment::Before, hold)) => {
            let goes_on = hold.wait().await;
            if goes_on {
                state.pass_on(parts, body).await
            } else {
                Err(closed())
            }
        }
        Some(Deed::Hold(Moment::After, hold)) => {
            let answer = state.pass_on(parts, body).await?;
            let goes_on = hold.wait().await;
            if goes_on { Ok(answer) } else { Err(closed()) }
        }
    }
}

impl State {
    async fn fail(&self, fault: Fault, parts: Parts, body: Bytes) -> Result<Response<Body>, std::io::Error> {
        match fault {
            Fault::Error(status, kind) => error(status, kind, &json!({})),
            Fault::ErrorAfter(status, kind) => {
                self.pass_on(parts, body).await?;
                error(status, kind, &json!({}))
            }
            Fault::Answer(answer) => reply(200, &answer),
            Fault::Cancelled(reasons) => error(
                400,
                "TransactionCanceledException",
                &json!({ "CancellationReasons": reasons }),
            ),
            Fault::Disconnect => Err(closed()),
            Fault::LoseAnswer => {
                self.pass_on(parts, body).await?;
                Err(closed())
            }
            Fault::Hang | Fault::Delayed(_) => {
                tokio::time::sleep(FOREVER).await;
                Err(closed())
            }
            Fault::HangAfter => {
                self.pass_on(parts, body).await?;
                tokio::time::sleep(FOREVER).await;
                Err(closed())
            }
            Fault::Late(delay) => {
                let answer = self.pass_on(parts, body).await?;
                tokio::time::sleep(delay).await;
                Ok(answer)
            }
        }
    }

    async fn pass_on(&self, parts: Parts, body: Bytes) -> Result<Response<Body>, std::io::Error> {
        let target = target(&parts.headers);
        if let Some(table) = self.tables.of(target, &body) {
            let (status, text) = table.answer(target, &body);
            return response(status, text);
        }
        let answer = self
            .http
            .request(parts.method, format!("{}{}", self.upstream, parts.uri))
            .headers(parts.headers)
            .body(body)
            .send()
            .await
            .map_err(std::io::Error::other)?;
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        headers.remove("transfer-encoding");
        headers.remove("connection");
        let mut response = Response::new(Body::from(answer.bytes().await.map_err(std::io::Error::other)?));
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

/// Whose try a request is. One without the SDK's mark is an operation by itself.
fn operation(headers: &HeaderMap) -> String {
    let id = headers.get("amz-sdk-invocation-id").and_then(|id| id.to_str().ok());
    id.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
}

/// `amz-sdk-request: attempt=1; max=3`
fn is_first_try(headers: &HeaderMap) -> bool {
    let request = headers.get("amz-sdk-request").and_then(|request| request.to_str().ok());
    let attempt = request.and_then(|request| request.split(';').find_map(|part| part.trim().strip_prefix("attempt=")));
    attempt.is_none_or(|attempt| attempt == "1")
}

/// Closes the connection without an answer.
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
