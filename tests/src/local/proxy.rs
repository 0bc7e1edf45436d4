//! A proxy before the local AWS that counts what passes, and fails or holds it on demand.
//!
//! Every use gets a proxy of its own ([`AwsProxy::start`]), so that what one test counts is not another's. A request is
//! known by its action, the end of its `x-amz-target`: `TransactWriteItems`, `GetSecretValue`.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::{Error, background, http};

/// More than any request of ours, and than DynamoDB takes.
const LARGEST: usize = 17 * 1024 * 1024;
/// How long a hung request waits: longer than any client.
const FOREVER: Duration = Duration::from_secs(600);

/// A request that came to the proxy.
#[derive(Clone, Debug)]
pub struct AwsCall {
    /// Its action, such as `PutItem`.
    pub action: String,
    /// Its body.
    pub body: Value,
}

/// What happens to a request instead of its being passed on.
#[derive(Clone, Debug)]
pub enum Fault {
    /// An error answer: an HTTP status and an AWS error type, such as 400 and `ThrottlingException`.
    Error(u16, &'static str),
    /// A transaction is cancelled for these reasons, one a step: `{"Code": …, "Item": …}`.
    Cancelled(Vec<Value>),
    /// The connection is closed without an answer; nothing is done.
    Disconnect,
    /// It is done, but the connection is closed instead of the answer.
    LoseAnswer,
    /// No answer, ever.
    Hang,
}

impl Fault {
    /// AWS has an internal error.
    pub const UNAVAILABLE: Self = Self::Error(503, "ServiceUnavailable");
    /// The table is throttled.
    pub const THROTTLED: Self = Self::Error(400, "ProvisionedThroughputExceededException");
}

/// A proxy on 127.0.0.1. It ends when this is dropped.
#[derive(Debug)]
pub struct AwsProxy {
    url: String,
    state: Arc<State>,
    serving: tokio::task::AbortHandle,
}

/// Requests held back by [`AwsProxy::hold`]. Dropping it lets them go.
#[derive(Debug)]
pub struct Held {
    waiting: watch::Receiver<usize>,
    gate: Arc<Semaphore>,
}

#[derive(Debug)]
struct State {
    upstream: String,
    http: reqwest::Client,
    calls: Mutex<Vec<AwsCall>>,
    rules: Mutex<Vec<Rule>>,
}

#[derive(Debug)]
struct Rule {
    action: String,
    /// How many more requests it is for.
    times: usize,
    deed: Deed,
}

#[derive(Clone, Debug)]
enum Deed {
    Fail(Fault),
    Hold(Arc<watch::Sender<usize>>, Arc<Semaphore>),
}

impl AwsProxy {
    /// Starts a proxy before `upstream`.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(upstream: &str) -> Result<Self, Error> {
        let io = |source| Error::Io {
            doing: "start a proxy".to_owned(),
            source,
        };
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        let url = format!("http://{}", listener.local_addr().map_err(io)?);
        let state = Arc::new(State {
            upstream: upstream.to_owned(),
            http: http::client()?,
            calls: Mutex::default(),
            rules: Mutex::default(),
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

    /// Everything that came since the start or the last [`AwsProxy::reset`], in order.
    #[must_use]
    pub fn calls(&self) -> Vec<AwsCall> {
        lock(&self.state.calls).clone()
    }

    /// How many requests for `action` came.
    #[must_use]
    pub fn count(&self, action: &str) -> usize {
        lock(&self.state.calls)
            .iter()
            .filter(|call| call.action == action)
            .count()
    }

    /// Forgets what came, and every fault. What is held stays held.
    pub fn reset(&self) {
        lock(&self.state.calls).clear();
        lock(&self.state.rules).clear();
    }

    /// Fails every request for `action` (`*`: for any) from now on.
    pub fn fail(&self, action: &str, fault: Fault) {
        self.fail_times(action, usize::MAX, fault);
    }

    /// Fails the next `times` requests for `action`. Rules given earlier come first.
    pub fn fail_times(&self, action: &str, times: usize, fault: Fault) {
        self.rule(action, times, Deed::Fail(fault));
    }

    /// Holds every request for `action` back from now on, before it is passed on.
    #[must_use]
    pub fn hold(&self, action: &str) -> Held {
        let (arrived, waiting) = watch::channel(0);
        let gate = Arc::new(Semaphore::new(0));
        self.rule(action, usize::MAX, Deed::Hold(Arc::new(arrived), Arc::clone(&gate)));
        Held { waiting, gate }
    }

    fn rule(&self, action: &str, times: usize, deed: Deed) {
        lock(&self.state.rules).push(Rule {
            action: action.to_owned(),
            times,
            deed,
        });
    }
}

impl Drop for AwsProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Held {
    /// Waits until `count` requests have come to be held.
    pub async fn arrived(&mut self, count: usize) {
        // An error says that the proxy is gone, and then nothing comes any more.
        let _ = self.waiting.wait_for(|waiting| *waiting >= count).await;
    }

    /// Lets all of them go, and those that come later.
    pub fn release(self) {}
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gate.close();
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
    let action = action(&parts.headers);
    lock(&state.calls).push(AwsCall {
        action: action.clone(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    });
    match state.deed(&action) {
        Some(Deed::Fail(Fault::Error(status, kind))) => error(status, kind, &json!({})),
        Some(Deed::Fail(Fault::Cancelled(reasons))) => error(
            400,
            "TransactionCanceledException",
            &json!({ "CancellationReasons": reasons }),
        ),
        Some(Deed::Fail(Fault::Disconnect)) => Err(std::io::Error::other("told to disconnect")),
        Some(Deed::Fail(Fault::LoseAnswer)) => {
            state.pass_on(parts, body).await?;
            Err(std::io::Error::other("told to lose the answer"))
        }
        Some(Deed::Fail(Fault::Hang)) => {
            tokio::time::sleep(FOREVER).await;
            Err(std::io::Error::other("told to hang"))
        }
        Some(Deed::Hold(arrived, gate)) => {
            arrived.send_modify(|waiting| *waiting = waiting.saturating_add(1));
            // The gate is closed to let everyone through.
            let _ = gate.acquire().await;
            state.pass_on(parts, body).await
        }
        None => state.pass_on(parts, body).await,
    }
}

impl State {
    /// What the first rule for `action` says, which is used up once more.
    fn deed(&self, action: &str) -> Option<Deed> {
        let mut rules = lock(&self.rules);
        let rule = rules
            .iter_mut()
            .find(|rule| rule.times > 0 && (rule.action == action || rule.action == "*"))?;
        rule.times = rule.times.saturating_sub(1);
        Some(rule.deed.clone())
    }

    async fn pass_on(&self, parts: axum::http::request::Parts, body: Bytes) -> Result<Response<Body>, std::io::Error> {
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

fn action(headers: &HeaderMap) -> String {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    target
        .and_then(|target| target.rsplit('.').next())
        .unwrap_or_default()
        .to_owned()
}

fn error(status: u16, kind: &str, more: &Value) -> Result<Response<Body>, std::io::Error> {
    let mut body = json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{kind}"), "message": "injected" });
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amzn-requestid", "injected")
        .body(Body::from(body.to_string()))
        .map_err(std::io::Error::other)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
