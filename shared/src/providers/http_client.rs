//! The HTTP client that calls providers.

use std::time::Duration;

use lambda_http::http::{HeaderMap, StatusCode};
use reqwest::RequestBuilder;
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::domain::json::{Json, Object};
use crate::platform::config::ConfigError;
use crate::platform::tls::Tls;
use crate::providers::gateway::{CallError, TIME_LIMIT};

/// How long a provider has to tell a status; whoever asks can ask again.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// The most bytes of a reply that are read.
const MAX_REPLY: usize = 256 * 1024;

/// What is answered where the provider may still be at work: by gateways on the way, or by itself of a key that it is
/// busy with.
const NO_ANSWER: [StatusCode; 6] = [
    StatusCode::CONFLICT,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::TOO_EARLY,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// An HTTP answer with a 2xx status, or another one that may hold a refusal.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body, where it is a JSON object.
    pub body: Option<Object>,
}

/// The HTTP client for all calls to providers.
#[derive(Clone, Debug)]
pub struct HttpClient(reqwest::Client);

impl HttpClient {
    /// Sets the client up; connects to nothing.
    ///
    /// # Errors
    /// Where it cannot speak TLS like that.
    pub fn new(tls: &Tls) -> Result<Self, ConfigError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.config())
            .timeout(TIME_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            // A frozen environment wakes up with connections that the other side has long closed.
            .pool_idle_timeout(Duration::from_secs(5))
            .user_agent(concat!("payment-functions/", env!("CARGO_PKG_VERSION")))
            .build();
        client
            .map(Self)
            .map_err(|_| ConfigError::new("SSL_CERT_FILE", "is of no use for calling a provider"))
    }

    /// Opens a connection to a provider, so that the first call need not wait for it: a request for nothing, without a
    /// key. A failure is left to be met by that call.
    pub async fn connect(&self, base_url: &str) {
        let _ = self.0.head(base_url).timeout(ASK_LIMIT).send().await;
    }

    /// Posts a JSON body, once.
    ///
    /// # Errors
    /// [`CallError`] for everything that is the same with every provider: time, connection, throttling, a refused key,
    /// 5xx.
    pub async fn post(&self, url: &str, headers: HeaderMap, body: String) -> Result<Reply, CallError> {
        let request = self
            .0
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .headers(headers)
            .body(body);
        Self::send(request).await
    }

    /// Gets JSON, once, within five seconds.
    ///
    /// # Errors
    /// As [`HttpClient::post`].
    pub async fn get(&self, url: Url, headers: HeaderMap) -> Result<Reply, CallError> {
        Self::send(self.0.get(url).headers(headers).timeout(ASK_LIMIT)).await
    }

    async fn send(request: RequestBuilder) -> Result<Reply, CallError> {
        let mut response = request.send().await.map_err(|error| failure(&error))?;
        let status = response.status();
        check(status, response.headers())?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_REPLY {
                return Err(CallError::unusable("far too long"));
            }
        }
        Ok(Reply::new(status, &bytes))
    }
}

/// Makes sure that an answer is the provider's own and may be about the request.
///
/// # Errors
/// [`CallError`] for throttling, a refused key, 5xx and what something else answers in the provider's place.
pub fn check(status: StatusCode, headers: &HeaderMap) -> Result<(), CallError> {
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        return Err(CallError::KeyRefused);
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        let seconds = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        return Err(CallError::Throttled { retry_after: seconds });
    }
    if NO_ANSWER.contains(&status) {
        return Err(CallError::NoAnswer);
    }
    if status.is_server_error() {
        return Err(CallError::unusable("a server error"));
    }
    Ok(())
}

fn failure(error: &reqwest::Error) -> CallError {
    if error.is_timeout() {
        CallError::TimedOut
    } else {
        CallError::NoAnswer
    }
}

impl Reply {
    /// Takes an answer in, whatever its bytes are.
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

    /// The body of a 2xx answer that is a JSON object.
    ///
    /// # Errors
    /// [`CallError::Rejected`] for a refusal of the request that its body explains (`refusal` tells one), or whose
    /// status can mean nothing else; [`CallError::Unusable`] for the rest.
    pub fn accepted(self, refusal: fn(&Object) -> Option<Refusal>) -> Result<Object, CallError> {
        let refusal = self.body.as_ref().and_then(refusal);
        match (self.body, refusal) {
            (_, Some(Refusal(code))) if self.status.is_success() || self.status.is_client_error() => {
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
            _ => Err(CallError::unusable("not what is documented")),
        }
    }
}

/// A body says that the request was refused, with the provider's own code if it has one.
#[derive(Debug)]
pub struct Refusal(pub Option<String>);

/// A secret as a header that `Debug` does not show. `None` where it has characters that no header can carry.
pub fn secret_header(prefix: &str, secret: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{prefix}{}", secret.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A provider's code as it may be shown: short, and without anything but the characters of a code.
pub fn shown_code(code: &str) -> Option<String> {
    let is_code = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.');
    ((1..=64).contains(&code.len()) && code.chars().all(is_code)).then(|| code.to_owned())
}

/// Whether a browser may be sent there.
pub fn is_web_page(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
}

#[cfg(test)]
mod tests;
