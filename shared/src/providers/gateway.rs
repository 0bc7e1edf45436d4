//! One call to a provider: what can come of it, and the HTTP client that makes it.
//!
//! Guarantees: one request is sent, never a second (no retry, no redirect); the answer comes within its time limit,
//! connecting included; a body larger than any provider sends is not read to its end; keys are never shown by `Debug`.

use std::time::Duration;

use lambda_http::http::{HeaderMap, StatusCode};
use reqwest::RequestBuilder;
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use url::Url;

use crate::config::ConfigError;
use crate::connector::Tls;
use crate::id::{Provider, Reference};
use crate::json::{Json, Object};
use crate::metrics::{self, Operation};
use crate::payment::{Handoff, Payment};

/// How long a provider has to answer.
pub const TIME_LIMIT: Duration = Duration::from_secs(15);

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

/// Creates a payment at its provider.
pub trait Gateway {
    /// Makes the one call of an attempt. `attempt` counts from 1 and grows only after a definite answer.
    fn create(&self, payment: &Payment, attempt: u32) -> impl Future<Output = Result<Accepted, CallError>> + Send;
}

/// The provider took the payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What the buyer goes on with.
    pub handoff: Handoff,
    /// Further ids of the payment.
    pub references: Vec<Reference>,
}

/// Why a call gave nothing to go on with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The provider refused the request for good.
    #[error("the provider refused the request")]
    Rejected {
        /// The provider's own code.
        code: Option<String>,
        /// Ids the provider gave all the same.
        references: Vec<Reference>,
    },
    /// Too many requests.
    #[error("the provider throttles")]
    Throttled {
        /// When to come again, in seconds, as the provider says.
        retry_after: Option<u64>,
    },
    /// The provider did not take our key.
    #[error("the provider refused our key")]
    KeyRefused,
    /// An answer that cannot be used: 5xx, nonsense, or other money than asked for.
    #[error("the provider's answer cannot be used: {reason}")]
    Unusable {
        /// What is wrong with it.
        reason: &'static str,
        /// Ids the provider gave all the same.
        references: Vec<Reference>,
    },
    /// The connection failed, or something between us and the provider answered for it; whether the request arrived is
    /// not known.
    #[error("no answer from the provider itself")]
    NoAnswer,
    /// No answer in time; whether the request arrived is not known.
    #[error("the provider did not answer in time")]
    TimedOut,
}

impl CallError {
    /// An answer that cannot be used and names nothing.
    pub fn unusable(reason: &'static str) -> Self {
        Self::Unusable {
            reason,
            references: Vec::new(),
        }
    }

    /// Whether the provider gave an answer, so that the next attempt is a new request to it and not the same again.
    pub fn is_definite(&self) -> bool {
        match self {
            Self::Rejected { .. } | Self::Throttled { .. } | Self::KeyRefused | Self::Unusable { .. } => true,
            Self::NoAnswer | Self::TimedOut => false,
        }
    }

    /// What the failure of a call is counted as. `None`: the provider did its part, and refused the payment.
    const fn failure(&self) -> Option<&'static str> {
        match self {
            Self::Rejected { .. } => None,
            Self::Throttled { .. } => Some("throttled"),
            Self::KeyRefused => Some("key_refused"),
            Self::Unusable { .. } => Some("unusable"),
            Self::NoAnswer => Some("no_answer"),
            Self::TimedOut => Some("timeout"),
        }
    }
}

/// Makes a call to a provider, and counts how long it took and what went wrong.
///
/// # Errors
/// The call's own.
pub async fn measured<T>(
    provider: Provider,
    operation: Operation,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let start = Instant::now();
    let answer = call.await;
    metrics::provider_called(provider, operation, start.elapsed());
    if let Err(error) = &answer {
        if let Some(failure) = error.failure() {
            metrics::provider_failed(provider, failure);
        }
        if *error == CallError::KeyRefused {
            metrics::provider_key_refused();
        }
    }
    answer
}

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
mod tests {
    use super::*;

    fn rejected(code: Option<&str>) -> CallError {
        CallError::Rejected {
            code: code.map(str::to_owned),
            references: Vec::new(),
        }
    }

    fn throttled(retry_after: Option<u64>) -> CallError {
        CallError::Throttled { retry_after }
    }

    #[test]
    fn what_an_answer_says_whoever_gives_it() {
        let useless = CallError::unusable("a server error");
        for (status, expected) in [
            (200, Ok(())),
            (201, Ok(())),
            // What may be about the request is for its body to say.
            (302, Ok(())),
            (400, Ok(())),
            (404, Ok(())),
            (422, Ok(())),
            (401, Err(CallError::KeyRefused)),
            (403, Err(CallError::KeyRefused)),
            (408, Err(CallError::NoAnswer)),
            (409, Err(CallError::NoAnswer)),
            (425, Err(CallError::NoAnswer)),
            (429, Err(throttled(None))),
            (500, Err(useless.clone())),
            (501, Err(useless.clone())),
            (502, Err(CallError::NoAnswer)),
            (503, Err(CallError::NoAnswer)),
            (504, Err(CallError::NoAnswer)),
            (599, Err(useless)),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(check(status, &HeaderMap::new()), expected, "{status}");
        }
        for (value, seconds) in [("7", Some(7)), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None)] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            let answer = check(StatusCode::TOO_MANY_REQUESTS, &headers);
            assert_eq!(answer, Err(throttled(seconds)), "{value}");
        }
    }

    #[test]
    fn the_same_request_goes_again_only_where_no_answer_came() {
        for (error, is_definite, counted_as) in [
            (rejected(None), true, None),
            (throttled(None), true, Some("throttled")),
            (CallError::KeyRefused, true, Some("key_refused")),
            (CallError::unusable("nonsense"), true, Some("unusable")),
            (CallError::NoAnswer, false, Some("no_answer")),
            (CallError::TimedOut, false, Some("timeout")),
        ] {
            assert_eq!(
                (error.is_definite(), error.failure()),
                (is_definite, counted_as),
                "{error}"
            );
        }
    }

    #[test]
    fn an_answer_is_what_its_status_and_its_body_say_together() {
        let refusal = |body: &Object| {
            let code = body.get("refused").and_then(Json::as_str);
            code.map(|code| Refusal(Some(code.to_owned())))
        };
        let useless = CallError::unusable("not what is documented");
        for (status, body, expected) in [
            (200, r#"{"id":"p"}"#, Ok(())),
            (201, r#"{"id":"p"}"#, Ok(())),
            (200, r#"{"refused":"NO"}"#, Err(rejected(Some("NO")))),
            (404, r#"{"refused":"NO"}"#, Err(rejected(Some("NO")))),
            (400, r#"{"refused":"NO"}"#, Err(rejected(Some("NO")))),
            // Of what is neither an answer nor a refusal, a body can say what it likes.
            (302, r#"{"refused":"NO"}"#, Err(useless.clone())),
            (302, r#"{"id":"p"}"#, Err(useless.clone())),
            (404, r#"{"id":"p"}"#, Err(useless.clone())),
            (400, r#"{"id":"p"}"#, Err(rejected(None))),
            (400, "", Err(rejected(None))),
            (422, "<html>", Err(rejected(None))),
            (404, "<html>", Err(useless.clone())),
            (200, "<html>", Err(useless.clone())),
            (200, "[]", Err(useless)),
        ] {
            let reply = Reply::new(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(reply.accepted(refusal).map(|_| ()), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_key_goes_into_a_header_and_is_not_shown() {
        let header = secret_header("Bearer ", &"sk_local".into()).unwrap();
        assert_eq!(header.to_str().unwrap(), "Bearer sk_local");
        assert!(header.is_sensitive());
        assert!(!format!("{header:?}").contains("sk_local"));
        assert_eq!(secret_header("", &"two\nlines".into()), None);
    }

    #[test]
    fn a_browser_is_sent_to_web_pages_only() {
        for (text, is_page) in [
            ("https://pay.example/1?a=b", true),
            ("http://127.0.0.1:9000/pay", true),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("ftp://pay.example/1", false),
            ("file:///etc/passwd", false),
            ("/pay", false),
            ("", false),
        ] {
            assert_eq!(is_web_page(text), is_page, "{text}");
        }
    }
}
