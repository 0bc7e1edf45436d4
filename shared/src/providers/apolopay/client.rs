//! Creating a preorder at ApoloPay.
//!
//! ApoloPay knows no idempotency key and no status call: a preorder whose answer was lost may exist all the same.
//! Unpaid it holds no money; paid, its webhook names our payment, because our id travels in the metadata.

use lambda_http::http::HeaderMap;
use secrecy::SecretString;
use serde::Serialize;

use crate::domain::id::Reference;
use crate::domain::json::{Json, Object};
use crate::domain::money::Amount;
use crate::domain::payment::{CheckoutSession, Payment};
use crate::domain::redacted::Redacted;
use crate::providers::gateway::{Accepted, CallError, Gateway};
use crate::providers::http_client::{HttpClient, Refusal, Reply, secret_header, shown_code};

/// The provider's real host.
pub const BASE_URL: &str = "https://pb-api.apolopay.app";

/// A preorder about to be created.
#[derive(Debug)]
pub struct Preorder<'a> {
    /// The client to call with.
    pub client: &'a HttpClient,
    /// The provider's base URL, without a slash at its end.
    pub base_url: &'a str,
    /// The secret key.
    pub secret_key: SecretString,
    /// The metadata to send, our id in it.
    pub metadata: Redacted<Object>,
}

#[derive(Serialize)]
struct Body<'a> {
    amount: Amount,
    metadata: &'a Object,
}

impl Gateway for Preorder<'_> {
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
        let body = serde_json::to_string(&body).map_err(|_| CallError::unusable("our own request"))?;
        let url = format!("{}/payment-button/process/preorder", self.base_url);
        read(self.client.post(&url, headers, body).await?)
    }
}

/// Reads what ApoloPay answered.
///
/// # Errors
/// [`CallError`] where the answer is a refusal, or has no process id.
pub fn read(reply: Reply) -> Result<Accepted, CallError> {
    // Words like `message` stand in good replies too: what has no process id then is an error of the provider's, not a
    // refusal.
    let refusal = if reply.status.is_success() {
        |_: &Object| None
    } else {
        refusal
    };
    let reply = reply.accepted(refusal)?;
    let reference = process_id(&reply).ok_or_else(|| CallError::unusable("no process id"))?;
    Ok(Accepted {
        checkout_session: CheckoutSession {
            reference,
            redirect_url: None,
            expires_at: None,
        },
        references: Vec::new(),
    })
}

/// `result.id` is what every official client reads, `processId` what is documented.
fn process_id(reply: &Object) -> Option<Reference> {
    let result = reply.get("result").and_then(Json::as_object);
    let places = [
        result.and_then(|result| result.str("id")),
        reply.str("processId"),
        result.and_then(|result| result.str("processId")),
    ];
    places.into_iter().flatten().find_map(Reference::parse_uuid)
}

/// The NestJS shape of an error: `statusCode`, `error`, and `message` as a string or an array of them.
fn refusal(reply: &Object) -> Option<Refusal> {
    let is_error = reply.get("statusCode").is_some() || reply.get("message").is_some();
    is_error.then(|| Refusal(reply.str("code").or_else(|| reply.str("error")).and_then(shown_code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Object {
        Json::parse(text.as_bytes()).unwrap().as_object().unwrap().clone()
    }

    #[test]
    fn every_shape_of_reply_gives_its_process_id() {
        let (a, b) = (
            "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
            "b1b2c3d4-e5f6-7890-abcd-ef1234567890",
        );
        for (reply, id) in [
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
            assert_eq!(process_id(&read(&reply)).as_ref().map(Reference::as_str), id, "{reply}");
        }
    }

    #[test]
    fn refusals() {
        let code = |text: &str| refusal(&read(text)).map(|Refusal(code)| code);
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
