//! HTTP responses.

use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::domain::id::PaymentId;
use crate::domain::idempotency::StoredResponse;

/// The media type of responses.
pub const JSON: &str = "application/json";

/// The media type of problems (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";

/// Converts a response to the form that API Gateway and function URLs expect. Bodies must be text, without cookies.
pub fn to_api_gateway(response: Response<Body>) -> ApiGatewayV2httpResponse {
    let (parts, body) = response.into_parts();
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = parts.status.as_u16().into();
    response.headers = parts.headers;
    response.body = Some(body);
    response
}

/// A response that no cache may store.
pub fn response(status: StatusCode, media_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::Text(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The response of a creating function about `payment`. `replayed` marks the response of an earlier request.
pub fn stored_response(stored: &StoredResponse, payment: PaymentId, replayed: bool) -> Response<Body> {
    let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let media_type = if status.is_success() { JSON } else { PROBLEM };
    let mut response = response(status, media_type, stored.body.clone());
    let headers = response.headers_mut();
    let location = HeaderValue::from_str(&format!("/payments/{payment}")).ok();
    if let Some(location) = location.filter(|_| status == StatusCode::CREATED) {
        headers.insert(header::LOCATION, location);
    }
    if replayed {
        headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    response
}

/// Serializes one of our own types as compact JSON.
pub fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
