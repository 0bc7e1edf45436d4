//! HTTP requests: the body and the idempotency key.

use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::http::header;
use lambda_http::{Body, Request, RequestExt};

use crate::api::problem::Problem;
use crate::api::response::JSON;
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::json::{Json, Malformed};
use crate::domain::redacted::Redacted;

/// Maximum size of a request's body, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// A JSON body.
#[derive(Clone, Debug)]
pub struct RequestBody {
    /// The body, with each lone surrogate replaced by U+FFFD.
    pub json: Json,
    /// JSON pointers of the texts and members with a lone surrogate. They make the request invalid.
    pub lone_surrogates: Redacted<Vec<String>>,
}

impl RequestBody {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Malformed`] if it is not JSON, or has a byte order mark or a duplicate member.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let (json, lone_surrogates) = Json::parse_request(bytes)?;
        Ok(Self {
            json,
            lone_surrogates: Redacted::new(lone_surrogates),
        })
    }
}

/// Reads the request in an event of API Gateway or a function URL.
///
/// Never fails. The request's URI stays empty: no function uses it, and a caller can send a host or query that is not
/// valid in a URI.
pub fn from_api_gateway(event: ApiGatewayV2httpRequest) -> Request {
    let body = event.body.as_deref();
    let body = body.map_or(Body::Empty, |text| {
        Body::from_maybe_encoded(event.is_base64_encoded, text)
    });
    let mut request = Request::new(body)
        .with_raw_http_path(event.raw_path.unwrap_or_default())
        .with_path_parameters(event.path_parameters);
    *request.method_mut() = event.request_context.http.method;
    *request.headers_mut() = event.headers;
    request
}

/// Reads a JSON body.
///
/// # Errors
/// 415 for another media type, 413 for more than [`MAX_BODY`] bytes, 400 for a body that is not JSON.
pub fn read_json(request: &Request) -> Result<RequestBody, Problem> {
    let media_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(JSON) {
        return Err(Problem::unsupported_media_type());
    }
    let body: &[u8] = request.body();
    if body.len() > MAX_BODY {
        return Err(Problem::payload_too_large(MAX_BODY));
    }
    RequestBody::parse(body).map_err(|_| Problem::malformed_json())
}

/// Reads the `Idempotency-Key` header. The same key for another `function` is a different key.
///
/// # Errors
/// 400 if it is not a valid key, or there is more than one.
pub fn idempotency_key(request: &Request, function: &'static str) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = request.headers().get_all("idempotency-key").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => IdempotencyKey::parse(function, value.as_bytes())
            .map(Some)
            .map_err(|_| Problem::idempotency_key_invalid()),
        (Some(_), Some(_)) => Err(Problem::idempotency_key_invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Result<RequestBody, Problem> {
        let mut request = Request::new(Body::from(body));
        let media_type = header::HeaderValue::from_static("application/json; charset=utf-8");
        request.headers_mut().insert(header::CONTENT_TYPE, media_type);
        read_json(&request)
    }

    #[test]
    fn body_with_a_lone_surrogate_is_read_and_one_with_a_byte_order_mark_is_not() {
        let body = read(br#"{"a":["\ud800"]}"#).unwrap();
        assert_eq!(body.lone_surrogates.expose(), &["/a/0"]);
        assert_eq!(Json::parse("{\"a\":[\"\u{fffd}\"]}".as_bytes()), Ok(body.json));
        assert!(read(b"{}").unwrap().lone_surrogates.expose().is_empty());
        for malformed in [&b"\xef\xbb\xbf{}"[..], br#"{"a":1,"a":1}"#, b"", b"{"] {
            assert_eq!(read(malformed).err(), Some(Problem::malformed_json()), "{malformed:?}");
        }
    }
}
