//! The Lambda Runtime API for one execution environment, as the runtime of a function polls it.
//!
//! As at Lambda: one invocation at a time; an answer to anything but that invocation is refused; an answer of more than
//! 6 MB too.

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

/// The largest payload of an answer.
const LARGEST: usize = 6 * 1024 * 1024 + 100;

/// What a function answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A response.
    Response(Bytes),
    /// An error, of this invocation or of the start, as the runtime worded it.
    Error(Value),
}

/// An invocation that waits for the function to ask for it.
#[derive(Debug)]
struct Invocation {
    id: Uuid,
    event: Bytes,
    time_limit: Duration,
    taken: oneshot::Sender<()>,
    answer: oneshot::Sender<Answer>,
}

/// An invocation as it goes on.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Resolves when the function has taken it.
    pub(crate) taken: oneshot::Receiver<()>,
    /// Resolves when the function has answered.
    pub(crate) answer: oneshot::Receiver<Answer>,
}

/// A running stand-in. It ends when this is dropped.
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
    /// The invocation that the function works on.
    current: Mutex<Option<(Uuid, oneshot::Sender<Answer>)>>,
    /// Why the function could not start, in its own words.
    failed_start: Mutex<Option<Value>>,
    /// When it first asked for work: it has started.
    asked: watch::Sender<Option<Instant>>,
}

impl RuntimeApi {
    /// Serves the environment of a function with this ARN on a port of its own.
    pub(crate) async fn start(arn: String) -> Result<Self, Error> {
        let (listener, address) = background::listen("serve the Lambda Runtime API").await?;
        let (waiting, queue) = mpsc::unbounded_channel();
        let state = Arc::new(Shared {
            arn,
            waiting: tokio::sync::Mutex::new(queue),
            current: Mutex::default(),
            failed_start: Mutex::default(),
            asked: watch::Sender::default(),
        });
        let routes = Router::new()
            .route("/invocation/next", get(next))
            .route("/invocation/{id}/response", post(response))
            .route("/invocation/{id}/error", post(error))
            .route("/init/error", post(init_error));
        let routes = Router::new()
            .nest("/2018-06-01/runtime", routes)
            .layer(DefaultBodyLimit::max(LARGEST))
            .with_state(Arc::clone(&state));
        let listener = listener.tap_io(|stream| {
            // An error costs only time.
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

    /// Has the function work on an event, when it next asks for one.
    pub(crate) fn put(&self, event: Bytes, time_limit: Duration) -> Progress {
        let (taken, is_taken) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        // Its receiver lives as long as this does.
        let _ = self.waiting.send(Invocation {
            id: Uuid::new_v4(),
            event,
            time_limit,
            taken,
            answer,
        });
        Progress {
            taken: is_taken,
            answer: answered,
        }
    }

    /// For a function that has died: waits until everything that it sent has been read.
    pub(super) async fn drain(&self) {
        drop(lock(&self.stop).take());
        let mut serving = self.serving.lock().await;
        if !serving.is_finished() {
            let _ = (&mut *serving).await;
        }
    }

    /// When the function first asked for work. Waits until it has.
    pub(crate) async fn asked(&self) -> Option<Instant> {
        let mut asked = self.state.asked.subscribe();
        asked.wait_for(Option::is_some).await.ok().and_then(|asked| *asked)
    }

    /// Why the function could not start, where it said so.
    pub(super) fn failed_start(&self) -> Option<Value> {
        lock(&self.state.failed_start).clone()
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.serving.get_mut().abort();
    }
}

/// `GET /runtime/invocation/next`
async fn next(State(state): State<Arc<Shared>>) -> Response<Body> {
    state.asked.send_if_modified(|asked| {
        let is_first = asked.is_none();
        asked.get_or_insert_with(Instant::now);
        is_first
    });
    if lock(&state.current).is_some() {
        return refuse(StatusCode::FORBIDDEN, "InvalidStateTransition");
    }
    let Some(invocation) = state.waiting.lock().await.recv().await else {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "ContainerError");
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let deadline = now.saturating_add(invocation.time_limit).as_millis().to_string();
    let (seconds, random) = (now.as_secs(), Uuid::new_v4().simple().to_string());
    let (root, parent) = random.split_at(24.min(random.len()));
    let trace = format!("Root=1-{seconds:08x}-{root};Parent={parent}{parent};Sampled=0");
    *lock(&state.current) = Some((invocation.id, invocation.answer));
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
    finish(&state, &id, Answer::Response(body))
}

/// `POST /runtime/invocation/{id}/error`
async fn error(State(state): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> Response<Body> {
    finish(&state, &id, Answer::Error(words(&body)))
}

/// `POST /runtime/init/error`
async fn init_error(State(state): State<Arc<Shared>>, body: Bytes) -> Response<Body> {
    *lock(&state.failed_start) = Some(words(&body));
    accept()
}

fn finish(state: &Shared, id: &str, answer: Answer) -> Response<Body> {
    let mut current = lock(&state.current);
    match current.take_if(|(known, _)| known.to_string() == id) {
        Some((_, waiting)) => {
            // Whoever gave up waiting does not need it.
            let _ = waiting.send(answer);
            accept()
        }
        None => refuse(StatusCode::BAD_REQUEST, "InvalidRequestID"),
    }
}

/// The error that a runtime reports, whether or not it is JSON.
fn words(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into())
}

fn accept() -> Response<Body> {
    (StatusCode::ACCEPTED, Json(json!({ "status": "OK" }))).into_response()
}

fn refuse(status: StatusCode, kind: &str) -> Response<Body> {
    let words = json!({ "errorMessage": "Refused by the Runtime API", "errorType": kind });
    (status, Json(words)).into_response()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
