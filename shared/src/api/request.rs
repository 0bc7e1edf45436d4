//! Requests, read the same way by every function.

use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::http::header;
use lambda_http::{Body, Request, RequestExt};

use crate::api::problem::Problem;
use crate::api::response::JSON;
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::json::Json;

/// The most bytes of an API request's body.
pub const MAX_BODY: usize = 64 * 1024;

/// The request that API Gateway or a function URL hands on as an event.
///
/// No URI is made of it: a caller may write into the query, the host and the headers about them what is part of none, and
/// no function looks there.
pub fn request_of(event: ApiGatewayV2httpRequest) -> Request {
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

/// Reads a JSON body: its media type, then its size, then its text.
///
/// # Errors
/// 415, 413 or 400.
pub fn read_json(request: &Request) -> Result<Json, Problem> {
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
    Json::parse(body).map_err(|_| Problem::malformed_json())
}

/// Reads the `Idempotency-Key`, which belongs to `route`.
///
/// # Errors
/// 400 where it is outside the allowed form.
pub fn idempotency_key(request: &Request, route: &'static str) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = request.headers().get_all("idempotency-key").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => IdempotencyKey::parse(route, value.as_bytes())
            .map(Some)
            .map_err(|_| Problem::idempotency_key_invalid()),
        (Some(_), Some(_)) => Err(Problem::idempotency_key_invalid()),
    }
}
