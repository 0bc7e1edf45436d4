//! The HTTP client for provider calls, and the classification of responses.

use std::time::Duration;

use lambda_http::http::{HeaderMap, StatusCode};
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::domain::json::{Json, Object};
use crate::domain::time::Timestamp;
use crate::platform::clock;
use crate::platform::config::ConfigError;
use crate::platform::tls::Tls;
use crate::providers::gateway::{CALL_TIME_LIMIT, CallError};

/// Time limit of a status query. The caller can repeat it safely.
const STATUS_TIME_LIMIT: Duration = Duration::from_secs(5);

/// Maximum size of a response body in bytes, if it is about one payment.
const MAX_BODY: usize = 256 * 1024;

/// Maximum size of a page of a list in bytes: a hundred payments with ten kilobytes of metadata each, and as much again.
const MAX_PAGE: usize = 2 * 1024 * 1024;

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

/// A provider's HTTP response that [`check_status`] accepts.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body, if it is a JSON object.
    pub body: Option<Object>,
    /// What is left of our requests.
    pub quota: Quota,
}

/// What a provider says of the requests that it allows: `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Requests in the provider's period.
    pub limit: Option<u64>,
    /// How many of them are left.
    pub remaining: Option<u64>,
    /// The time until the next period begins.
    pub resets_in: Option<Duration>,
}

impl Quota {
    /// Reads the headers of a response that was received at `now`.
    pub fn read(headers: &HeaderMap, now: Timestamp) -> Self {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        let resets_in = number("x-ratelimit-reset").map(|reset| {
            // Seconds from now, or the time of the reset, in seconds or milliseconds since 1970.
            Timestamp::parse_lenient(&reset.to_string()).map_or_else(|| Duration::from_secs(reset), |at| at.since(now))
        });
        Self {
            limit: number("x-ratelimit-limit"),
            remaining: number("x-ratelimit-remaining"),
            resets_in,
        }
    }
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
    /// [`CallError`] for a timeout, a failed connection, throttling, a refused key or an oversized response. A response
    /// that [failed](Reply::failure) otherwise is returned, because its body may contain ids.
    pub async fn post(&self, url: &str, headers: HeaderMap, body: String) -> Result<Reply, CallError> {
        let request = self
            .0
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .headers(headers)
            .body(body);
        Self::send(request, MAX_BODY).await
    }

    /// Sends a GET request, once, with a time limit of five seconds.
    ///
    /// # Errors
    /// As for [`HttpClient::post`].
    pub async fn get(&self, url: Url, headers: HeaderMap) -> Result<Reply, CallError> {
        Self::send(self.0.get(url).headers(headers).timeout(STATUS_TIME_LIMIT), MAX_BODY).await
    }

    /// As [`HttpClient::get`], for a page of a list.
    ///
    /// # Errors
    /// As for [`HttpClient::post`].
    pub async fn get_page(&self, url: Url, headers: HeaderMap) -> Result<Reply, CallError> {
        Self::send(self.0.get(url).headers(headers), MAX_PAGE).await
    }

    async fn send(request: RequestBuilder, max_body: usize) -> Result<Reply, CallError> {
        let response = request.send().await.map_err(|error| failure(&error))?;
        let status = response.status();
        let quota = Quota::read(response.headers(), clock::now());
        check_status(status, response.headers(), quota)?;
        match read_body(response, max_body).await {
            Ok(body) => Ok(Reply {
                quota,
                ..Reply::new(status, &body)
            }),
            Err(error) => {
                // A failed response needs no body: its status decides.
                let reply = Reply {
                    status,
                    body: None,
                    quota,
                };
                if reply.failure().is_some() {
                    Ok(reply)
                } else {
                    Err(error)
                }
            }
        }
    }
}

async fn read_body(mut response: Response, max_body: usize) -> Result<Vec<u8>, CallError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > max_body {
            return Err(CallError::unusable("response too large"));
        }
    }
    Ok(bytes)
}

/// Checks that a response concerns the request, and not our use of the API.
///
/// # Errors
/// [`CallError`] for throttling or a refused key.
pub fn check_status(status: StatusCode, headers: &HeaderMap, quota: Quota) -> Result<(), CallError> {
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        return Err(CallError::KeyRefused);
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        let seconds = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        return Err(CallError::Throttled {
            retry_after: seconds.or(quota.resets_in.map(|time| time.as_secs().saturating_add(1))),
        });
    }
    Ok(())
}

fn failure(error: &reqwest::Error) -> CallError {
    if error.is_timeout() {
        CallError::TimedOut
    } else {
        CallError::outcome_unknown()
    }
}

impl Reply {
    /// A response with this status and body, read as liberally as [`Json::parse_liberal`]. A body that is not a JSON
    /// object is dropped.
    pub fn new(status: StatusCode, body: &[u8]) -> Self {
        let body = Json::parse_liberal(body).ok().and_then(|json| {
            if let Json::Object(object) = json {
                Some(object)
            } else {
                None
            }
        });
        Self {
            status,
            body,
            quota: Quota::default(),
        }
    }

    /// The error of a status that decides without the body: one after which the request may still be running, or
    /// another 5xx. `None` for any other status.
    pub fn failure(&self) -> Option<CallError> {
        if INDEFINITE.contains(&self.status) {
            Some(CallError::outcome_unknown())
        } else if self.status.is_server_error() {
            Some(CallError::unusable("server error"))
        } else {
            None
        }
    }

    /// The JSON object in the body of a successful response. `refusal` recognises the provider's error bodies.
    ///
    /// # Errors
    /// The error of a [failed](Reply::failure) status; [`CallError::Rejected`] for a 2xx or 4xx response with an error
    /// body, or for status 400 or 422 with any body; [`CallError::Unusable`] for any other response. None of them has
    /// ids: see [`CallError::with_references`].
    pub fn into_success(self, refusal: fn(&Object) -> Option<Rejection>) -> Result<Object, CallError> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
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

/// What a response to a create call says by its `success`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    /// There is none.
    Absent,
    /// `true`, also as a text in any case, or 1.
    True,
    /// `false`, also as a text in any case, or 0.
    False,
    /// Anything else.
    Unclear,
}

impl Success {
    /// Reads the `success` of a body.
    pub fn of(body: &Object) -> Self {
        let text = match body.get("success") {
            None => return Self::Absent,
            Some(Json::Bool(true)) => return Self::True,
            Some(Json::Bool(false)) => return Self::False,
            Some(Json::Number(text)) => text,
            Some(Json::String(text)) => text.trim(),
            Some(Json::Null | Json::Array(_) | Json::Object(_)) => return Self::Unclear,
        };
        if text == "1" || text.eq_ignore_ascii_case("true") {
            Self::True
        } else if text == "0" || text.eq_ignore_ascii_case("false") {
            Self::False
        } else {
            Self::Unclear
        }
    }
}

/// Whether the text is an absolute http or https URL, so that a browser may be redirected to it.
pub fn is_web_page(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
}

#[cfg(test)]
mod tests;
