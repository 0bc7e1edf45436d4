//! Errors as callers see them: RFC 9457 problem details with a stable `code`.
//!
//! Every error response is a [`Problem`], made by the constructor for its meaning. Internal errors (`StoreError`,
//! `SecretError`, `CallError`) are logged and never shown to callers.

use std::borrow::Cow;
use std::fmt;

use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::api::response;
use crate::domain::id::PaymentId;
use crate::domain::idempotency::StoredResponse;

/// Maximum number of invalid fields in a response. A body of 64 KiB can have thousands.
pub const MAX_ERRORS: usize = 100;

/// The error code, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the title explains each")]
pub enum Code {
    MalformedJson,
    IdempotencyKeyInvalid,
    SignatureInvalid,
    NotFound,
    MethodNotAllowed,
    IdempotencyInProgress,
    PayloadTooLarge,
    UnsupportedMediaType,
    IdempotencyKeyReused,
    ValidationFailed,
    QuoteInvalid,
    QuoteMismatch,
    ProviderRejected,
    ProviderError,
    Unavailable,
    ProviderTimeout,
}

impl Code {
    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::MalformedJson | Self::IdempotencyKeyInvalid => StatusCode::BAD_REQUEST,
            Self::SignatureInvalid => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::IdempotencyInProgress => StatusCode::CONFLICT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::IdempotencyKeyReused
            | Self::ValidationFailed
            | Self::QuoteInvalid
            | Self::QuoteMismatch
            | Self::ProviderRejected => StatusCode::UNPROCESSABLE_ENTITY,
            Self::ProviderError => StatusCode::BAD_GATEWAY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::ProviderTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::MalformedJson => "The body is not JSON",
            Self::IdempotencyKeyInvalid => "The idempotency key is not valid",
            Self::SignatureInvalid => "The webhook's signature is not valid",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::IdempotencyInProgress => "The first request with this idempotency key or quote is still running",
            Self::PayloadTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body must be application/json",
            Self::IdempotencyKeyReused => "The idempotency key was used for another request",
            Self::ValidationFailed => "The request is not valid",
            Self::QuoteInvalid => "The quote is not valid",
            Self::QuoteMismatch => "The quote is for another payment",
            Self::ProviderRejected => "The payment provider refused the request",
            Self::ProviderError => "The payment provider failed",
            Self::Unavailable => "The service is not available for the moment",
            Self::ProviderTimeout => "The payment provider did not respond in time",
        }
    }

    /// The `type` member: a stable URN of the code.
    fn urn(self) -> String {
        let name = serde_json::to_value(self)
            .ok()
            .and_then(|code| code.as_str().map(str::to_ascii_lowercase));
        format!(
            "urn:payment-functions:problem:{}",
            name.unwrap_or_default().replace('_', "-")
        )
    }
}

/// An invalid field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// RFC 6901 JSON pointer; empty for the whole body.
    pub pointer: String,
    /// Why it is invalid.
    pub detail: Cow<'static, str>,
}

/// An error response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    payment: Option<PaymentId>,
    provider_code: Option<String>,
    retry_after: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: Code,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<PaymentId>,
}

impl Problem {
    fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            payment: None,
            provider_code: None,
            retry_after: None,
        }
    }

    /// 400: the body is not JSON.
    pub fn malformed_json() -> Self {
        Self::new(
            Code::MalformedJson,
            "The body must be one JSON value in UTF-8, without duplicate members.",
        )
    }

    /// 400: the idempotency key is not valid.
    pub fn idempotency_key_invalid() -> Self {
        Self::new(
            Code::IdempotencyKeyInvalid,
            "Idempotency-Key must be 1 to 255 visible ASCII characters, not counting double quotes around them.",
        )
    }

    /// 401: a webhook without a valid signature. The detail gives no hint about which part is invalid.
    pub fn signature_invalid() -> Self {
        Self::new(Code::SignatureInvalid, "The signature is missing, malformed or wrong.")
    }

    /// 404: no such payment.
    pub fn no_such_payment() -> Self {
        Self::new(Code::NotFound, "There is no payment with this id.")
    }

    /// 404: unknown path.
    pub fn no_such_path() -> Self {
        Self::new(Code::NotFound, "There is nothing at this path.")
    }

    /// 405: any method but POST.
    pub fn only_post() -> Self {
        Self::new(Code::MethodNotAllowed, "Only POST is allowed here.")
    }

    /// 409: the key's first request is still running. `retry_after` is in seconds.
    pub fn idempotency_in_progress(retry_after: u64) -> Self {
        let detail = "Send the same request again after the number of seconds in Retry-After.";
        Self {
            retry_after: Some(retry_after),
            ..Self::new(Code::IdempotencyInProgress, detail)
        }
    }

    /// 413: the body has more than `limit` bytes.
    pub fn payload_too_large(limit: usize) -> Self {
        Self::new(
            Code::PayloadTooLarge,
            format!("The body must be at most {limit} bytes."),
        )
    }

    /// 415: the content type is not JSON.
    pub fn unsupported_media_type() -> Self {
        Self::new(Code::UnsupportedMediaType, "The content type must be application/json.")
    }

    /// 422: the idempotency key was used for another request.
    pub fn idempotency_key_reused() -> Self {
        Self::new(
            Code::IdempotencyKeyReused,
            "The key belongs to another request, or to another payment than the quote. Use a new Idempotency-Key for a new payment.",
        )
    }

    /// 422: `errors` has all invalid fields. The response shows the first [`MAX_ERRORS`], and says if there are more.
    pub fn validation_failed(mut errors: Vec<FieldError>) -> Self {
        let detail = if errors.len() > MAX_ERRORS {
            format!("More than {MAX_ERRORS} fields are wrong; errors shows the first {MAX_ERRORS}.").into()
        } else {
            Cow::Borrowed("Some fields are wrong; see errors.")
        };
        errors.truncate(MAX_ERRORS);
        Self {
            errors,
            ..Self::new(Code::ValidationFailed, detail)
        }
    }

    /// 422: there is no valid quote. `reason` is a clause about "it", such as "it has expired".
    pub fn quote_invalid(reason: &dyn fmt::Display) -> Self {
        Self::new(
            Code::QuoteInvalid,
            format!("The quote is not valid: {reason}. Get a new one from the shop."),
        )
    }

    /// 422: the quote is valid, but for another payment. `claims` are the names of the claims that differ.
    pub fn quote_mismatch(claims: &[&str]) -> Self {
        Self::new(
            Code::QuoteMismatch,
            format!("The quote has another {} than the request.", claims.join(" and ")),
        )
    }

    /// 422: the quote has begun a payment at the other provider.
    pub fn quote_used_elsewhere() -> Self {
        Self::new(
            Code::QuoteMismatch,
            "The quote has begun a payment at another provider. Get a new one from the shop.",
        )
    }

    /// 422: the provider rejected the request.
    pub fn provider_rejected(provider_code: Option<String>) -> Self {
        Self {
            provider_code,
            ..Self::new(
                Code::ProviderRejected,
                "The payment provider refused the request as it is.",
            )
        }
    }

    /// 502: the provider failed, or refused our key.
    pub fn provider_error(payment: PaymentId) -> Self {
        let detail = "The payment provider gave no usable response. Try again with the same Idempotency-Key or quote.";
        Self {
            payment: Some(payment),
            ..Self::new(Code::ProviderError, detail)
        }
    }

    /// 503: the table or a secret is unavailable, or the provider throttles. The caller may retry after 5 s.
    pub fn unavailable() -> Self {
        let detail = "Try again in a moment, with the same Idempotency-Key or quote if there was one.";
        Self::new(Code::Unavailable, detail).retry_after(5)
    }

    /// Adds the id of the payment. Use it only once the intent is stored.
    #[must_use]
    pub fn for_payment(self, payment: PaymentId) -> Self {
        Self {
            payment: Some(payment),
            ..self
        }
    }

    /// Sets `Retry-After`, in seconds, limited to 1 to 300.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds.clamp(1, 300)),
            ..self
        }
    }

    /// 504: the provider did not respond in time. The call changes no status.
    pub fn provider_timeout(payment: PaymentId) -> Self {
        let detail = "The payment provider may or may not have accepted the payment. \
            Continue with the same Idempotency-Key or quote.";
        Self {
            payment: Some(payment),
            ..Self::new(Code::ProviderTimeout, detail)
        }
    }

    /// The code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The invalid fields of a request.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    fn body(&self) -> String {
        response::to_json(&Members {
            r#type: self.code.urn(),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            code: self.code,
            errors: &self.errors,
            provider_code: self.provider_code.as_deref(),
            id: self.payment,
        })
    }

    /// The problem as a response that is stored for replays.
    pub fn to_stored_response(&self) -> StoredResponse {
        StoredResponse {
            status: self.code.status().as_u16(),
            body: self.body(),
        }
    }

    /// The problem as an HTTP response.
    pub fn to_response(&self) -> Response<Body> {
        let mut response = response::response(self.code.status(), response::PROBLEM, self.body());
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == Code::MethodNotAllowed {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_has_rfc_9457_members_and_headers() {
        let problem = Problem::validation_failed(vec![FieldError {
            pointer: "/amount".into(),
            detail: "is required".into(),
        }]);
        let response = problem.to_response();
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(
            String::from_utf8_lossy(response.body()),
            r#"{"type":"urn:payment-functions:problem:validation-failed","title":"The request is not valid","status":422,"detail":"Some fields are wrong; see errors.","code":"VALIDATION_FAILED","errors":[{"pointer":"/amount","detail":"is required"}]}"#,
        );
        assert_eq!(Problem::unavailable().to_response().headers()["retry-after"], "5");
    }

    #[test]
    fn response_shows_100_errors_and_says_if_there_are_more() {
        for (count, detail) in [
            (100, "Some fields are wrong; see errors."),
            (101, "More than 100 fields are wrong; errors shows the first 100."),
        ] {
            let errors = (0..count).map(|index| FieldError {
                pointer: format!("/{index}"),
                detail: "is not a field of this request".into(),
            });
            let problem = Problem::validation_failed(errors.collect());
            let body: serde_json::Value = serde_json::from_str(&problem.body()).unwrap();
            assert_eq!(body["detail"], detail);
            assert_eq!(body["errors"].as_array().unwrap().len(), 100);
            assert_eq!(body["errors"][99]["pointer"], "/99");
        }
    }
}
