//! Stands in for API Gateway and the webhooks' function URL, on one port of 127.0.0.1.
//!
//! A request for a route of API Gateway goes to the route's function. Every path under `/webhooks` goes to
//! webhook-handler, with any method and extra slashes, like at the function URL. Any other request gets 404 at once, or
//! 204 if its method is OPTIONS (a preflight). CORS is that of template.yaml, and pages of this machine are allowed
//! too. `POST /2015-03-31/functions/{name}/invocations` invokes a function with an event, for `cargo lambda invoke`.
//!
//! An invocation continues after its caller disconnects, as on AWS.

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

/// Lambda's limit for a request body.
const MAX_BODY_BYTES: usize = 6 * 1024 * 1024;
const WEBHOOK_HANDLER: &str = "webhook-handler";
/// API Gateway's time limit for a function. A function URL has only the function's own limit, which is shorter.
const INTEGRATION_LIMIT: Duration = Duration::from_secs(30);

/// Runs the functions.
pub trait Invoke: Send + Sync + 'static {
    /// Invokes a function with an event, and waits for its response.
    fn invoke(&self, function: &str, event: Bytes) -> BoxFuture<'_, Result<Bytes, Failure>>;
}

/// Why an invocation has no response.
#[derive(Debug)]
pub enum Failure {
    /// The function reported an error: `{"errorType", "errorMessage", …}`.
    Reported(Bytes),
    /// The invocation timed out.
    TimedOut,
    /// The function does not exist, or died.
    NoResponse(String),
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
    /// The allowed origins, besides those of this machine.
    origins: Vec<String>,
}

impl Gateway {
    /// Serves `functions` on a port (0: any), for pages of this machine and of `origins`, separated by commas.
    ///
    /// # Errors
    /// If the port is taken, or template.yaml has no CORS configuration.
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
        // A runtime that outlives the test that starts the gateway.
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
            // On an error the connection is only slower.
            let _ = stream.set_nodelay(true);
        });
        let serving = runtime.spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self { url, serving })
    }

    /// The base URL.
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
    /// Invokes a function, and finishes even if the caller disconnects.
    async fn invoke(self: &Arc<Self>, function: &str, event: Bytes) -> Result<Bytes, Failure> {
        let (shared, function) = (Arc::clone(self), function.to_owned());
        let invoked = tokio::spawn(async move { shared.functions.invoke(&function, event).await });
        invoked
            .await
            .unwrap_or_else(|error| Err(Failure::NoResponse(error.to_string())))
    }

    /// The CORS headers of a response to `origin`; none if it is not allowed.
    fn cors_headers(&self, origin: Option<&HeaderValue>) -> Vec<(HeaderName, HeaderValue)> {
        let Some(origin) = origin.filter(|origin| origin.to_str().is_ok_and(|origin| self.is_allowed(origin))) else {
            return vec![];
        };
        let mut headers = vec![(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())];
        if let Ok(exposed) = HeaderValue::try_from(self.cors.expose_headers.join(",")) {
            headers.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed));
        }
        headers
    }

    fn is_allowed(&self, origin: &str) -> bool {
        let is_local = || {
            let host = Url::parse(origin)
                .ok()
                .and_then(|url| url.host_str().map(str::to_owned));
            host.is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str()))
        };
        self.origins.iter().any(|allowed| allowed == origin) || is_local()
    }
}

/// The target of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// A function, by its route of API Gateway.
    Route {
        function: &'static str,
        route: &'static str,
    },
    /// webhook-handler, by its function URL.
    FunctionUrl,
    NoRoute,
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
            .map_or(Self::NoRoute, |(function, route)| Self::Route { function, route })
    }
}

/// Handles a request of a browser, a shop or a provider.
async fn request(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let target = Target::of(&head.method, head.uri.path());
    let cors_headers = match target {
        // The function URL has no CORS.
        Target::FunctionUrl => vec![],
        Target::Route { .. } | Target::NoRoute => shared.cors_headers(head.headers.get(header::ORIGIN)),
    };
    if target == Target::NoRoute && head.method == Method::OPTIONS {
        return preflight(&shared.cors, cors_headers);
    }
    // Without a route the body is not awaited.
    let mut response = if target == Target::NoRoute {
        problem(StatusCode::NOT_FOUND, "Not Found")
    } else {
        match to_bytes(body, MAX_BODY_BYTES).await {
            Ok(body) => dispatch(&shared, target, &head, &body).await,
            Err(_) => problem(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"),
        }
    };
    response.headers_mut().extend(cors_headers);
    response
}

async fn dispatch(shared: &Arc<Shared>, target: Target, head: &request::Parts, body: &[u8]) -> Response<Body> {
    let (function, route) = match target {
        Target::Route { function, route } => (function, Some(route)),
        Target::FunctionUrl => (WEBHOOK_HANDLER, None),
        Target::NoRoute => return problem(StatusCode::NOT_FOUND, "Not Found"),
    };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let headers = texts(&head.headers);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_ref())).collect();
    let event = payload::event(route, head.method.as_str(), path, &headers, body);
    let failed = match route {
        Some(_) => StatusCode::INTERNAL_SERVER_ERROR,
        None => StatusCode::BAD_GATEWAY,
    };
    let invoked = timeout(INTEGRATION_LIMIT, shared.invoke(function, event.to_string().into())).await;
    match invoked.unwrap_or(Err(Failure::TimedOut)) {
        Ok(response) => payload::parse_response(&response)
            .and_then(response_of)
            .unwrap_or_else(|| problem(failed, "Internal Server Error")),
        Err(Failure::TimedOut) => problem(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
        Err(Failure::Reported(_) | Failure::NoResponse(_)) => problem(failed, "Internal Server Error"),
    }
}

/// `POST /2015-03-31/functions/{name}/invocations`
async fn invocation(State(shared): State<Arc<Shared>>, Path(name): Path<String>, event: Request) -> Response<Body> {
    if FUNCTIONS.iter().all(|function| function.name != name) {
        return problem(StatusCode::NOT_FOUND, &format!("there is no function {name}"));
    }
    let Ok(event) = to_bytes(event.into_body(), MAX_BODY_BYTES).await else {
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
        Err(Failure::TimedOut) => problem(StatusCode::GATEWAY_TIMEOUT, "the function timed out"),
        Err(Failure::NoResponse(reason)) => problem(StatusCode::BAD_GATEWAY, &reason),
    }
}

/// API Gateway's response to a preflight.
fn preflight(cors: &Cors, cors_headers: Vec<(HeaderName, HeaderValue)>) -> Response<Body> {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if cors_headers.is_empty() {
        return response;
    }
    let preflight_headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, cors.allow_methods.join(",")),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, cors.allow_headers.join(",")),
        (header::ACCESS_CONTROL_MAX_AGE, cors.max_age.to_string()),
    ];
    let preflight_headers = preflight_headers
        .into_iter()
        .filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)));
    response
        .headers_mut()
        .extend(cors_headers.into_iter().chain(preflight_headers));
    response
}

/// A response of the gateway itself, in API Gateway's format.
fn problem(status: StatusCode, message: &str) -> Response<Body> {
    (status, axum::Json(serde_json::json!({ "message": message }))).into_response()
}

fn response_of(response: payload::HttpResponse) -> Option<Response<Body>> {
    let mut builder = Response::builder().status(response.status);
    for (name, value) in &response.headers {
        builder = builder.header(name, value);
    }
    builder.body(Body::from(response.body)).ok()
}

/// Headers as text; invalid UTF-8 is replaced.
fn texts(headers: &HeaderMap) -> Vec<(&str, Cow<'_, str>)> {
    let texts = headers
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())));
    texts.collect()
}
