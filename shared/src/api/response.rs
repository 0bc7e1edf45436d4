//! Requests read and responses written, the same way by every function.

use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::domain::id::PaymentId;
use crate::domain::idempotency::StoredResponse;
use crate::platform::metrics;

/// The media type of answers.
pub const JSON: &str = "application/json";

/// The media type of problems (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";

/// A response as API Gateway and function URLs expect it. Ours are texts, and set no cookies.
pub fn answer_of(response: Response<Body>) -> ApiGatewayV2httpResponse {
    let (parts, body) = response.into_parts();
    let mut answer = ApiGatewayV2httpResponse::default();
    answer.status_code = parts.status.as_u16().into();
    answer.headers = parts.headers;
    answer.body = Some(body);
    answer
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
pub fn stored_response(answer: &StoredResponse, payment: PaymentId, replayed: bool) -> Response<Body> {
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
