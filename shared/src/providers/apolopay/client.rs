//! Creating a preorder at ApoloPay.
//!
//! ApoloPay has neither idempotency keys nor a status query, so a preorder may exist although its response was lost. If
//! it is paid, its webhook names our payment, because the metadata contains our id.

use lambda_http::http::HeaderMap;
use secrecy::SecretString;
use serde::Serialize;

use crate::domain::id::Reference;
use crate::domain::json::{Json, Object};
use crate::domain::money::Amount;
use crate::domain::payment::{CheckoutSession, Payment};
use crate::domain::redacted::Redacted;
use crate::providers::gateway::{Accepted, CallError, Gateway};
use crate::providers::http_client::{HttpClient, Rejection, Reply, Success, secret_header};
use crate::providers::members::{Members, code_if_safe_to_show};

/// The base URL of the real provider.
pub const BASE_URL: &str = "https://pb-api.apolopay.app";

/// A call that creates a preorder.
#[derive(Debug)]
pub struct PreorderCall<'a> {
    /// The HTTP client.
    pub client: &'a HttpClient,
    /// The provider's base URL, without a trailing slash.
    pub base_url: &'a str,
    /// The API key.
    pub secret_key: SecretString,
    /// The metadata to send, including our payment id.
    pub metadata: Redacted<Object>,
}

#[derive(Serialize)]
struct Body<'a> {
    amount: Amount,
    metadata: &'a Object,
}

impl Gateway for PreorderCall<'_> {
    async fn create(&self, payment: &Payment, _attempt: u32) -> Result<Accepted, CallError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-secret-key",
            secret_header("", &self.secret_key).ok_or(CallError::KeyRefused)?,
        );
        let body = Body {
            amount: payment.money.amount(),
            metadata: self.metadata.expose(),
        };
        let body = serde_json::to_string(&body).map_err(|_| CallError::unusable("request could not be built"))?;
        let url = format!("{}/payment-button/process/preorder", self.base_url);
        read_response(self.client.post(&url, headers, body).await?)
    }
}

/// Reads ApoloPay's response to the creation of a preorder.
///
/// # Errors
/// [`CallError`] if the request was rejected, or the response has no process id or contradicts itself. It has the
/// process id in the response, if there is one.
pub fn read_response(reply: Reply) -> Result<Accepted, CallError> {
    let id = reply.body.as_ref().and_then(process_id);
    let references: Vec<Reference> = id.clone().into_iter().collect();
    // A successful response can have a `message` too, so it is never a refusal.
    let refusal = if reply.status.is_success() {
        |_: &Object| None
    } else {
        refusal
    };
    let body = reply
        .into_success(refusal)
        .map_err(|error| error.with_references(references.clone()))?;
    let reference = id.ok_or_else(|| CallError::unusable("no process id"))?;
    if is_contradictory(&body) {
        return Err(CallError::Unusable {
            reason: "a process id beside an error",
            references,
        });
    }
    Ok(Accepted {
        checkout_session: CheckoutSession {
            reference,
            redirect_url: None,
            expires_at: None,
        },
        references: Vec::new(),
    })
}

/// Whether a response has an error, or says that it is no success.
fn is_contradictory(body: &Object) -> bool {
    let is_success = matches!(Success::of(body), Success::Absent | Success::True);
    let is_failure = |word: &str| ["error", "fail", "failed"].contains(&word.to_ascii_lowercase().as_str());
    let members = Members::of([body]);
    !is_success || members.given(&["error"]).next().is_some() || members.status_words().into_iter().any(is_failure)
}

/// The process id: in `result.id`, which the official clients read, or in `processId`, which is documented.
fn process_id(body: &Object) -> Option<Reference> {
    let result = body.get("result").and_then(Json::as_object);
    let places = [
        result.and_then(|result| result.str("id")),
        body.str("processId"),
        result.and_then(|result| result.str("processId")),
    ];
    let mut ids = places.into_iter().flatten().map(str::trim);
    ids.find_map(Reference::parse_uuid)
}

/// Recognises NestJS's error format: `statusCode`, `error`, and `message` as a string or an array of strings.
fn refusal(body: &Object) -> Option<Rejection> {
    let is_error = body.get("statusCode").is_some() || body.get("message").is_some();
    is_error.then(|| {
        Rejection(
            body.str("code")
                .or_else(|| body.str("error"))
                .and_then(code_if_safe_to_show),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        Json::parse(text.as_bytes()).unwrap().as_object().unwrap().clone()
    }

    #[test]
    fn process_id_is_read_from_every_response_format() {
        let (a, b) = (
            "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
            "b1b2c3d4-e5f6-7890-abcd-ef1234567890",
        );
        for (body, id) in [
            (format!(r#"{{"processId":"{a}"}}"#), Some(a)),
            (
                format!(r#"{{"status":"success","message":"ok","result":{{"id":"{a}"}}}}"#),
                Some(a),
            ),
            (format!(r#"{{"result":{{"processId":"{a}"}}}}"#), Some(a)),
            (format!(r#"{{"processId":"{b}","result":{{"id":"{a}"}}}}"#), Some(a)),
            (format!(r#"{{"processId":"{b}","result":{{"id":""}}}}"#), Some(b)),
            (r#"{"processId":""}"#.to_owned(), None),
            (r#"{"processId":"42"}"#.to_owned(), None),
            (r#"{"processId":42}"#.to_owned(), None),
            (r#"{"status":"success","result":null}"#.to_owned(), None),
        ] {
            assert_eq!(process_id(&object(&body)).as_ref().map(Reference::as_str), id, "{body}");
        }
    }

    const ID: &str = "a1b2c3d4-e5f6-7890-abcd-ef1234567890";

    fn response(status: u16, text: &str) -> Result<Accepted, CallError> {
        let status = lambda_http::http::StatusCode::from_u16(status).unwrap();
        read_response(Reply::new(status, text.as_bytes()))
    }

    #[test]
    fn process_id_of_a_failed_response_is_attached() {
        let id = vec![Reference::parse(ID).unwrap()];
        let body = format!(r#"{{"statusCode":500,"message":"m","result":{{"id":" {ID}"}}}}"#);
        for (status, expected) in [
            (500, CallError::unusable("server error")),
            (503, CallError::outcome_unknown()),
            (409, CallError::outcome_unknown()),
            (302, CallError::unusable("undocumented response")),
            (
                400,
                CallError::Rejected {
                    code: None,
                    references: Vec::new(),
                },
            ),
        ] {
            assert_eq!(
                response(status, &body),
                Err(expected.with_references(id.clone())),
                "{status}"
            );
        }
        assert_eq!(response(500, "{}"), Err(CallError::unusable("server error")));
    }

    #[test]
    fn response_that_contradicts_itself_is_unusable_with_its_id() {
        for (beside, is_accepted) in [
            (r#""status":"success","message":"ok""#, true),
            (r#""success":"true","error":null"#, true),
            (r#""success":1"#, true),
            (r#""note":"\ud800""#, true),
            (r#""success":false"#, false),
            (r#""success":"no""#, false),
            (r#""error":"Bad Request""#, false),
            (r#""status":"error""#, false),
        ] {
            let result = response(201, &format!(r#"{{"processId":"{ID}",{beside}}}"#));
            let has_id = match &result {
                Ok(accepted) => accepted.checkout_session.reference.as_str() == ID,
                Err(CallError::Unusable { references, .. }) => references.len() == 1,
                Err(_) => false,
            };
            assert!(has_id && result.is_ok() == is_accepted, "{beside} {result:?}");
        }
        assert!(response(200, &format!("\u{feff}{{\"processId\":\"{ID}\"}}")).is_ok());
    }

    #[test]
    fn error_body_is_a_refusal_with_its_code() {
        let code = |text: &str| refusal(&object(text)).map(|Rejection(code)| code);
        assert_eq!(
            code(r#"{"statusCode":400,"message":["a","b"],"error":"Bad Request"}"#),
            Some(None)
        );
        assert_eq!(
            code(r#"{"message":"no","error":"INVALID_AMOUNT"}"#),
            Some(Some("INVALID_AMOUNT".into()))
        );
        assert_eq!(code(r#"{"status":"success"}"#), None);
    }
}
