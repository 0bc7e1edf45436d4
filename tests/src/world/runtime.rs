//! The Lambda Runtime API for one execution environment.
//!
//! As in Lambda: one invocation at a time. Responses to any other invocation, and responses of more than 6 MB, are
//! rejected.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use payment_functions_local::{Error, background};

/// The maximum size of a response, in bytes.
const MAX_RESPONSE: usize = 6 * 1024 * 1024 + 100;

/// The outcome of an invocation.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A response.
    Response(Bytes),
    /// An invocation or initialisation error, as the runtime reported it.
    Error(Value),
}

/// An invocation that the function has not polled yet.
#[derive(Debug)]
struct Invocation {
    id: Uuid,
    event: Bytes,
    time_limit: Duration,
    taken: oneshot::Sender<()>,
    outcome: oneshot::Sender<Outcome>,
}

/// An invocation in progress.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Resolves when the function has taken it.
    pub(crate) taken: oneshot::Receiver<()>,
    /// Resolves when the function has responded.
    pub(crate) outcome: oneshot::Receiver<Outcome>,
}

/// A running Runtime API. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct RuntimeApi {
    address: SocketAddr,
    waiting: mpsc::UnboundedSender<Invocation>,
    state: Arc<Shared>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    serving: tokio::sync::Mutex<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    arn: String,
    waiting: tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>,
    /// The invocation in progress.
    current: Mutex<Option<(Uuid, oneshot::Sender<Outcome>)>>,
    /// The initialisation error that the function reported.
    init_error: Mutex<Option<Value>>,
    /// When the function first polled for an invocation.
    first_poll: watch::Sender<Option<Instant>>,
}

impl RuntimeApi {
    /// Serves the environment of the function with this ARN on its own port.
    pub(crate) async fn start(arn: String) -> Result<Self, Error> {
        let (listener, address) = background::listen("serve the Lambda Runtime API").await?;
        let (waiting, queue) = mpsc::unbounded_channel();
        let state = Arc::new(Shared {
            arn,
            waiting: tokio::sync::Mutex::new(queue),
            current: Mutex::default(),
            init_error: Mutex::default(),
            first_poll: watch::Sender::default(),
        });
        let routes = Router::new()
            .route("/invocation/next", get(next))
            .route("/invocation/{id}/response", post(response))
            .route("/invocation/{id}/error", post(error))
            .route("/init/error", post(init_error));
        let routes = Router::new()
            .nest("/2018-06-01/runtime", routes)
            .layer(DefaultBodyLimit::max(MAX_RESPONSE))
            .with_state(Arc::clone(&state));
        let listener = listener.tap_io(|stream| {
            // An error costs only latency.
            let _ = stream.set_nodelay(true);
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = background::handle()?.spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            let _ = axum::serve(listener, routes).with_graceful_shutdown(stopped).await;
        });
        Ok(Self {
            address,
            waiting,
            state,
            stop: Mutex::new(Some(stop)),
            serving: tokio::sync::Mutex::new(serving),
        })
    }

    /// For `AWS_LAMBDA_RUNTIME_API`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Queues an event for the function's next poll.
    pub(crate) fn put(&self, event: Bytes, time_limit: Duration) -> Progress {
        let (taken, is_taken) = oneshot::channel();
        let (sender, outcome) = oneshot::channel();
        // Cannot fail: the receiver lives as long as `self`.
        let _ = self.waiting.send(Invocation {
            id: Uuid::new_v4(),
            event,
            time_limit,
            taken,
            outcome: sender,
        });
        Progress {
            taken: is_taken,
            outcome,
        }
    }

    /// After the function has exited: waits until everything that it sent has been read.
    pub(super) async fn finish_reading(&self) {
        drop(lock(&self.stop).take());
        let mut serving = self.serving.lock().await;
        if !serving.is_finished() {
            let _ = (&mut *serving).await;
        }
    }

    /// Waits until the function first polls for an invocation, and returns that time.
    pub(crate) async fn first_poll(&self) -> Option<Instant> {
        let mut first_poll = self.state.first_poll.subscribe();
        first_poll.wait_for(Option::is_some).await.ok().and_then(|time| *time)
    }

    /// The initialisation error that the function reported, if any.
    pub(super) fn init_error(&self) -> Option<Value> {
        lock(&self.state.init_error).clone()
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.serving.get_mut().abort();
    }
}

/// `GET /runtime/invocation/next`
async fn next(State(state): State<Arc<Shared>>) -> Response<Body> {
    state.first_poll.send_if_modified(|first_poll| {
        let is_first = first_poll.is_none();
        first_poll.get_or_insert_with(Instant::now);
        is_first
    });
    if lock(&state.current).is_some() {
        return reject(StatusCode::FORBIDDEN, "InvalidStateTransition");
    }
    let Some(invocation) = state.waiting.lock().await.recv().await else {
        return reject(StatusCode::INTERNAL_SERVER_ERROR, "ContainerError");
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let deadline = now.saturating_add(invocation.time_limit).as_millis().to_string();
    let (seconds, random) = (now.as_secs(), Uuid::new_v4().simple().to_string());
    let (root, parent) = random.split_at(24.min(random.len()));
    let trace = format!("Root=1-{seconds:08x}-{root};Parent={parent}{parent};Sampled=0");
    *lock(&state.current) = Some((invocation.id, invocation.outcome));
    let _ = invocation.taken.send(());
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", invocation.id.to_string()),
        ("lambda-runtime-deadline-ms", deadline),
        ("lambda-runtime-invoked-function-arn", state.arn.clone()),
        ("lambda-runtime-trace-id", trace),
    ];
    (headers, invocation.event).into_response()
}

/// `POST /runtime/invocation/{id}/response`
async fn response(State(state): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> Response<Body> {
    finish(&state, &id, Outcome::Response(body))
}

/// `POST /runtime/invocation/{id}/error`
async fn error(State(state): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> Response<Body> {
    finish(&state, &id, Outcome::Error(reported(&body)))
}

/// `POST /runtime/init/error`
async fn init_error(State(state): State<Arc<Shared>>, body: Bytes) -> Response<Body> {
    *lock(&state.init_error) = Some(reported(&body));
    accept()
}

fn finish(state: &Shared, id: &str, outcome: Outcome) -> Response<Body> {
    let mut current = lock(&state.current);
    match current.take_if(|(known, _)| known.to_string() == id) {
        Some((_, waiting)) => {
            // An error means that the caller has stopped waiting.
            let _ = waiting.send(outcome);
            accept()
        }
        None => reject(StatusCode::BAD_REQUEST, "InvalidRequestID"),
    }
}

/// The error that a runtime reports; a string if it is not JSON.
fn reported(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into())
}

fn accept() -> Response<Body> {
    (StatusCode::ACCEPTED, Json(json!({ "status": "OK" }))).into_response()
}

fn reject(status: StatusCode, kind: &str) -> Response<Body> {
    let body = json!({ "errorMessage": "Refused by the Runtime API", "errorType": kind });
    (status, Json(body)).into_response()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
