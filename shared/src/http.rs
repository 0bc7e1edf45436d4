//! Requests read and responses written, the same way by every function.

use lambda_http::aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Request, RequestExt, Response};
use serde::Serialize;

use crate::id::PaymentId;
use crate::idempotency::{Answer, IdempotencyKey};
use crate::json::Json;
use crate::metrics;
use crate::problem::Problem;

/// The most bytes of an API request's body.
pub const MAX_BODY: usize = 64 * 1024;

/// The media type of answers.
pub const JSON: &str = "application/json";
/// The media type of problems (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";

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

/// A response as API Gateway and function URLs expect it. Ours are texts, and set no cookies.
pub fn answer_of(response: Response<Body>) -> ApiGatewayV2httpResponse {
    let (parts, body) = response.into_parts();
    let mut answer = ApiGatewayV2httpResponse::default();
    answer.status_code = parts.status.as_u16().into();
    answer.headers = parts.headers;
    answer.body = Some(body);
    answer
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

/// A response that no cache may keep.
pub fn respond(status: StatusCode, media_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::Text(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A creating function's answer about `payment`: the first time, or replayed, which is counted.
pub fn respond_with(answer: &Answer, payment: PaymentId, replayed: bool) -> Response<Body> {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = respond(
        status,
        if status.is_success() { JSON } else { PROBLEM },
        answer.body.clone(),
    );
    let location = HeaderValue::from_str(&format!("/payments/{payment}")).ok();
    if let Some(location) = location.filter(|_| status == StatusCode::CREATED) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if replayed {
        metrics::replayed();
        response
            .headers_mut()
            .insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    response
}

/// A value of ours as JSON text.
pub fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
