//! The HTTP client for provider calls, and the classification of responses.

use std::time::Duration;

use lambda_http::http::{HeaderMap, StatusCode};
use reqwest::RequestBuilder;
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::domain::json::{Json, Object};
use crate::platform::config::ConfigError;
use crate::platform::tls::Tls;
use crate::providers::gateway::{CALL_TIME_LIMIT, CallError};

/// Time limit of a status query. The caller can repeat it safely.
const STATUS_TIME_LIMIT: Duration = Duration::from_secs(5);

/// Maximum size of a response body in bytes.
const MAX_BODY: usize = 256 * 1024;

/// Statuses of responses after which the provider may still be processing the request. They come from intermediaries,
/// or from the provider while an earlier request with the same idempotency key is running.
const INDEFINITE: [StatusCode; 6] = [
    StatusCode::CONFLICT,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::TOO_EARLY,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// A provider's HTTP response with a status that [`check_status`] accepts.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body, if it is a JSON object.
    pub body: Option<Object>,
}

/// The HTTP client for all provider calls.
#[derive(Clone, Debug)]
pub struct HttpClient(reqwest::Client);

impl HttpClient {
    /// A client without open connections.
    ///
    /// # Errors
    /// [`ConfigError`] if the TLS configuration cannot be used.
    pub fn new(tls: &Tls) -> Result<Self, ConfigError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.config())
            .timeout(CALL_TIME_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            // After an instance was frozen, the provider has closed older connections.
            .pool_idle_timeout(Duration::from_secs(5))
            .user_agent(concat!("payment-functions/", env!("CARGO_PKG_VERSION")))
            .build();
        client
            .map(Self)
            .map_err(|_| ConfigError::new("SSL_CERT_FILE", "cannot be used for provider calls"))
    }

    /// Warms up the connection with a HEAD request without a key. Errors are ignored: the first call will report them.
    pub async fn connect(&self, base_url: &str) {
        let _ = self.0.head(base_url).timeout(STATUS_TIME_LIMIT).send().await;
    }

    /// Posts a JSON body, once.
    ///
    /// # Errors
    /// [`CallError`] for a timeout, a failed connection, a status after which the request may still be running,
    /// throttling, a refused key, another 5xx status or an oversized response.
    pub async fn post(&self, url: &str, headers: HeaderMap, body: String) -> Result<Reply, CallError> {
        let request = self
            .0
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .headers(headers)
            .body(body);
        Self::send(request).await
    }

    /// Sends a GET request, once, with a time limit of five seconds.
    ///
    /// # Errors
    /// As for [`HttpClient::post`].
    pub async fn get(&self, url: Url, headers: HeaderMap) -> Result<Reply, CallError> {
        Self::send(self.0.get(url).headers(headers).timeout(STATUS_TIME_LIMIT)).await
    }

    async fn send(request: RequestBuilder) -> Result<Reply, CallError> {
        let mut response = request.send().await.map_err(|error| failure(&error))?;
        let status = response.status();
        check_status(status, response.headers())?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_BODY {
                return Err(CallError::unusable("response too large"));
            }
        }
        Ok(Reply::new(status, &bytes))
    }
}

/// Checks that a response is the provider's own and concerns the request.
///
/// # Errors
/// [`CallError`] for throttling, a refused key, a status after which the request may still be running, or another 5xx
/// status.
pub fn check_status(status: StatusCode, headers: &HeaderMap) -> Result<(), CallError> {
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        return Err(CallError::KeyRefused);
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        let seconds = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        return Err(CallError::Throttled { retry_after: seconds });
    }
    if INDEFINITE.contains(&status) {
        return Err(CallError::OutcomeUnknown);
    }
    if status.is_server_error() {
        return Err(CallError::unusable("server error"));
    }
    Ok(())
}

fn failure(error: &reqwest::Error) -> CallError {
    if error.is_timeout() {
        CallError::TimedOut
    } else {
        CallError::OutcomeUnknown
    }
}

impl Reply {
    /// A response with this status and body. A body that is not a JSON object is dropped.
    pub fn new(status: StatusCode, body: &[u8]) -> Self {
        let body = Json::parse(body).ok().and_then(|json| {
            if let Json::Object(object) = json {
                Some(object)
            } else {
                None
            }
        });
        Self { status, body }
    }

    /// The JSON object in the body of a successful response. `refusal` recognises the provider's error bodies.
    ///
    /// # Errors
    /// [`CallError::Rejected`] for a 2xx or 4xx response with an error body, or for status 400 or 422 with any body;
    /// [`CallError::Unusable`] for any other response.
    pub fn into_success(self, refusal: fn(&Object) -> Option<Rejection>) -> Result<Object, CallError> {
        let refusal = self.body.as_ref().and_then(refusal);
        match (self.body, refusal) {
            (_, Some(Rejection(code))) if self.status.is_success() || self.status.is_client_error() => {
                Err(CallError::Rejected {
                    code,
                    references: Vec::new(),
                })
            }
            (Some(body), None) if self.status.is_success() => Ok(body),
            _ if [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY].contains(&self.status) => {
                Err(CallError::Rejected {
                    code: None,
                    references: Vec::new(),
                })
            }
            _ => Err(CallError::unusable("undocumented response")),
        }
    }
}

/// An error body, with the provider's code if there is one.
#[derive(Debug)]
pub struct Rejection(pub Option<String>);

/// A header value with a secret, which `Debug` does not show. `None` if the secret has characters that are invalid in a
/// header.
pub fn secret_header(prefix: &str, secret: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{prefix}{}", secret.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A provider's error code, if it is safe to show: at most 64 ASCII letters, digits, `_`, `-` and `.`.
pub fn code_if_safe_to_show(code: &str) -> Option<String> {
    let is_code = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.');
    ((1..=64).contains(&code.len()) && code.chars().all(is_code)).then(|| code.to_owned())
}

/// Whether the text is an absolute http or https URL, so that a browser may be redirected to it.
pub fn is_web_page(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
}

#[cfg(test)]
mod tests;
