//! API Gateway and the webhooks' function URL, on one port of 127.0.0.1.
//!
//! A request to a route of API Gateway goes to its function, anything under `/webhooks` to webhook-handler, whatever its
//! method and its slashes, as at the function URL. Every other path or method is answered 404 at once, and every
//! preflight 204, with CORS as template.yaml has it; any page on this machine may call, beside the origins that are
//! allowed. `POST /2015-03-31/functions/{name}/invocations` invokes a function with an event, for `cargo lambda invoke`.
//!
//! An invocation goes on when its caller is gone, as on AWS.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::serve::ListenerExt;
use futures_util::future::BoxFuture;
use reqwest::Url;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::template::Cors;
use super::{Error, FUNCTIONS, background, invocations, payload};

/// The largest request body, as at Lambda.
const LARGEST: usize = 6 * 1024 * 1024;
const WEBHOOK_HANDLER: &str = "webhook-handler";
/// API Gateway's own limit for a function; that of a function URL is the function's, and shorter.
const LIMIT: Duration = Duration::from_secs(30);

/// What runs the functions.
pub trait Invoke: Send + Sync + 'static {
    /// Invokes a function with an event, and waits for its response.
    fn invoke(&self, function: &str, event: Bytes) -> BoxFuture<'_, Result<Bytes, Failure>>;
}

/// Why an invocation has no response.
#[derive(Debug)]
pub enum Failure {
    /// The function reported an error: `{"errorType", "errorMessage", …}`.
    Reported(Bytes),
    /// It took too long.
    TimedOut,
    /// There is no such function, or it died.
    NoAnswer(String),
}

/// A running gateway. It ends when this is dropped.
#[derive(Debug)]
pub struct Gateway {
    url: String,
    serving: JoinHandle<()>,
}

struct Shared {
    functions: Box<dyn Invoke>,
    cors: Cors,
    /// The origins that may call, beside those of this machine.
    origins: Vec<String>,
}

impl Gateway {
    /// Serves `functions` on a port (0: any), for pages of this machine and of `origins`, which are separated by commas.
    ///
    /// # Errors
    /// When the port is taken, or template.yaml has no CORS configuration.
    pub async fn start(port: u16, functions: impl Invoke, origins: &str) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            functions: Box::new(functions),
            cors: Cors::of_template()?,
            origins: origins.split(',').map(|origin| origin.trim().to_owned()).collect(),
        });
        let routes = Router::new()
            .route(&invocations::path("{name}"), post(invocation))
            .fallback(request)
            .method_not_allowed_fallback(request)
            .with_state(shared);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let runtime = background::handle()?;
        let bound = runtime.spawn(TcpListener::bind(address)).await;
        let bound = bound.map_err(std::io::Error::other).flatten();
        let failed = |source| Error::Io {
            doing: format!("listen on {address}"),
            source,
        };
        let listener = bound.map_err(failed)?;
        let url = format!("http://{}", listener.local_addr().map_err(failed)?);
        let listener = listener.tap_io(|stream| {
            // An error costs only time.
            let _ = stream.set_nodelay(true);
        });
        let serving = runtime.spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self { url, serving })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shared {
    /// Invokes a function, and goes on when whoever called is gone.
    async fn invoke(self: &Arc<Self>, function: &str, event: Bytes) -> Result<Bytes, Failure> {
        let (shared, function) = (Arc::clone(self), function.to_owned());
        let invoked = tokio::spawn(async move { shared.functions.invoke(&function, event).await });
        invoked
            .await
            .unwrap_or_else(|error| Err(Failure::NoAnswer(error.to_string())))
    }

    /// The CORS headers of an answer to `origin`; none where it may not call.
    fn cors_headers(&self, origin: Option<&HeaderValue>) -> Vec<(HeaderName, HeaderValue)> {
        let Some(origin) = origin.filter(|origin| origin.to_str().is_ok_and(|origin| self.may_call(origin))) else {
            return vec![];
        };
        let mut headers = vec![(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())];
        if let Ok(exposed) = HeaderValue::try_from(self.cors.expose_headers.join(",")) {
            headers.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed));
        }
        headers
    }

    fn may_call(&self, origin: &str) -> bool {
        let is_of_this_machine = || {
            let host = Url::parse(origin)
                .ok()
                .and_then(|url| url.host_str().map(str::to_owned));
            host.is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str()))
        };
        self.origins.iter().any(|allowed| allowed == origin) || is_of_this_machine()
    }
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// To a function, by the route that it has at API Gateway.
    Route {
        function: &'static str,
        route: &'static str,
    },
    /// To webhook-handler.
    FunctionUrl,
    Nowhere,
}

impl Target {
    fn of(method: &Method, path: &str) -> Self {
        if path.split('/').find(|segment| !segment.is_empty()) == Some("webhooks") {
            return Self::FunctionUrl;
        }
        let mut routes = FUNCTIONS
            .iter()
            .filter_map(|function| Some((function.name, function.route?)));
        routes
            .find(|(_, route)| payload::is_of_route(route, method.as_str(), path))
            .map_or(Self::Nowhere, |(function, route)| Self::Route { function, route })
    }
}

/// A request of a browser, a shop or a provider.
async fn request(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let target = Target::of(&head.method, head.uri.path());
    let of_caller = match target {
        // CORS is API Gateway's.
        Target::FunctionUrl => vec![],
        Target::Route { .. } | Target::Nowhere => shared.cors_headers(head.headers.get(header::ORIGIN)),
    };
    if target == Target::Nowhere && head.method == Method::OPTIONS {
        return preflight(&shared.cors, of_caller);
    }
    // Without a route, nobody waits for the body.
    let mut answer = if target == Target::Nowhere {
        problem(StatusCode::NOT_FOUND, "Not Found")
    } else {
        match to_bytes(body, LARGEST).await {
            Ok(body) => dispatch(&shared, target, &head, &body).await,
            Err(_) => problem(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"),
        }
    };
    answer.headers_mut().extend(of_caller);
    answer
}

async fn dispatch(shared: &Arc<Shared>, target: Target, head: &request::Parts, body: &[u8]) -> Response<Body> {
    let (function, route) = match target {
        Target::Route { function, route } => (function, Some(route)),
        Target::FunctionUrl => (WEBHOOK_HANDLER, None),
        Target::Nowhere => return problem(StatusCode::NOT_FOUND, "Not Found"),
    };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let headers = texts(&head.headers);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_ref())).collect();
    let event = payload::event(route, head.method.as_str(), path, &headers, body);
    let failed = match route {
        Some(_) => StatusCode::INTERNAL_SERVER_ERROR,
        None => StatusCode::BAD_GATEWAY,
    };
    let invoked = timeout(LIMIT, shared.invoke(function, event.to_string().into())).await;
    match invoked.unwrap_or(Err(Failure::TimedOut)) {
        Ok(response) => payload::answer(&response)
            .and_then(response_of)
            .unwrap_or_else(|| problem(failed, "Internal Server Error")),
        Err(Failure::TimedOut) => problem(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
        Err(Failure::Reported(_) | Failure::NoAnswer(_)) => problem(failed, "Internal Server Error"),
    }
}

/// `POST /2015-03-31/functions/{name}/invocations`
async fn invocation(State(shared): State<Arc<Shared>>, Path(name): Path<String>, event: Request) -> Response<Body> {
    if FUNCTIONS.iter().all(|function| function.name != name) {
        return problem(StatusCode::NOT_FOUND, &format!("there is no function {name}"));
    }
    let Ok(event) = to_bytes(event.into_body(), LARGEST).await else {
        return problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Request must be smaller than 6291456 bytes",
        );
    };
    let json = (header::CONTENT_TYPE, "application/json");
    match shared.invoke(&name, event).await {
        Ok(response) => ([json], response).into_response(),
        Err(Failure::Reported(error)) => {
            let failed = (HeaderName::from_static(invocations::FUNCTION_ERROR), "Unhandled");
            ([json, failed], error).into_response()
        }
        Err(Failure::TimedOut) => problem(StatusCode::GATEWAY_TIMEOUT, "the function did not answer in time"),
        Err(Failure::NoAnswer(why)) => problem(StatusCode::BAD_GATEWAY, &why),
    }
}

/// What API Gateway itself answers to a preflight.
fn preflight(cors: &Cors, of_caller: Vec<(HeaderName, HeaderValue)>) -> Response<Body> {
    let mut answer = StatusCode::NO_CONTENT.into_response();
    if of_caller.is_empty() {
        return answer;
    }
    let own = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, cors.allow_methods.join(",")),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, cors.allow_headers.join(",")),
        (header::ACCESS_CONTROL_MAX_AGE, cors.max_age.to_string()),
    ];
    let own = own
        .into_iter()
        .filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)));
    answer.headers_mut().extend(of_caller.into_iter().chain(own));
    answer
}

/// An answer of the gateway's own, in the form of API Gateway's.
fn problem(status: StatusCode, message: &str) -> Response<Body> {
    (status, axum::Json(serde_json::json!({ "message": message }))).into_response()
}

fn response_of(answer: payload::HttpAnswer) -> Option<Response<Body>> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).ok()
}

/// Headers as texts; what is no UTF-8 is replaced.
fn texts(headers: &HeaderMap) -> Vec<(&str, Cow<'_, str>)> {
    let texts = headers
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())));
    texts.collect()
}
