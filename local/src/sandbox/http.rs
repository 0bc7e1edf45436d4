//! Received requests, prepared responses, and connections that are closed on purpose.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use futures_util::{StreamExt, stream};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::Serialize;

use super::json::Object;

/// More than any provider accepts.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A complete request.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) method: Method,
    /// Path and query on the provider's host.
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Bytes,
}

impl Received {
    pub(super) async fn read(request: Request) -> Self {
        let (head, body) = request.into_parts();
        Self {
            path: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
            method: head.method,
            headers: header_map(&head.headers),
            body: to_bytes(body, MAX_BODY_BYTES).await.unwrap_or_default(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Whether the content type is JSON.
    pub(super) fn is_json(&self) -> bool {
        let media_type = self.header("content-type").and_then(|value| value.split(';').next());
        media_type.is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"))
    }

    /// The body as a JSON object, whatever its content type.
    pub(super) fn object(&self) -> Result<Object, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

/// Header values by lower-case name; repeated headers are joined with commas.
pub(super) fn header_map(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut map = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        map.entry(name.to_string())
            .and_modify(|known| {
                known.push_str(", ");
                known.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    map
}

/// A response to send.
#[derive(Clone, Debug)]
pub(super) struct RawResponse {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl RawResponse {
    /// A JSON response.
    pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json; charset=utf-8".to_owned())];
        Self {
            status: status.as_u16(),
            headers,
            body: serde_json::to_string(body).unwrap_or_default(),
        }
    }

    /// The complete response.
    pub(super) fn whole(self) -> Response<Body> {
        let body = Body::from(self.body.clone());
        self.with_body(body)
    }

    /// Half of the body, with the content-length of all of it; then the connection is closed.
    pub(super) fn half(mut self) -> Response<Body> {
        let whole = Bytes::from(self.body.clone());
        let half = whole.slice(..whole.len() / 2);
        self.headers
            .push(("content-length".to_owned(), whole.len().to_string()));
        let cut = async {
            // The first half is sent while this yields.
            tokio::task::yield_now().await;
            Err(io::Error::from(io::ErrorKind::ConnectionAborted))
        };
        let parts = stream::iter([Ok(half)]).chain(stream::once(cut));
        self.with_body(Body::from_stream(parts))
    }

    fn with_body(self, body: Body) -> Response<Body> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        response
            .body(body)
            .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

/// Marks a response that is not sent: the server closes the connection instead.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("closed without a reply, as scripted")]
pub(super) struct NoReply;

impl NoReply {
    pub(super) fn response() -> Response<Body> {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(Self);
        response
    }
}

/// A short plain-text page.
pub(super) fn page(status: StatusCode, text: String) -> Response<Body> {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// An HTTP client that reaches this machine only: every host name resolves to 127.0.0.1.
pub(super) fn loopback_client() -> reqwest::Result<reqwest::Client> {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .dns_resolver(Loopback)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(30))
        .build()
}

struct Loopback;

impl Resolve for Loopback {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new([([127, 0, 0, 1], 0).into()].into_iter());
        Box::pin(async { Ok(addresses) })
    }
}

/// The problem of a target URL, if there is one: only hosts of this machine are allowed.
pub(super) fn loopback_problem(url: &str) -> Option<String> {
    let Ok(parsed) = reqwest::Url::parse(url) else {
        return Some(format!("`{url}` is not a URL"));
    };
    let host = parsed.host_str().unwrap_or_default();
    let loopback = host == "localhost" || host.ends_with(".localhost") || host == "[::1]" || is_loopback_v4(host);
    (!loopback).then(|| format!("the stand-ins send to this machine only, not to `{url}`"))
}

fn is_loopback_v4(host: &str) -> bool {
    host.parse::<std::net::Ipv4Addr>()
        .is_ok_and(|address| address.is_loopback())
}
