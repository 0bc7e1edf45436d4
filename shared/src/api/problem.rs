//! Errors as callers see them: RFC 9457 problem details with a stable `code`.
//!
//! Which error belongs where: a function answers every error as a [`Problem`], made by the constructor that names its
//! meaning. What went wrong inside (`StoreError`, `SecretError`, `CallError`) is logged by its own text and never
//! shown.

use std::borrow::Cow;
use std::fmt;

use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::api::response;
use crate::domain::id::PaymentId;
use crate::domain::idempotency::StoredResponse;
use crate::platform::metrics;

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "each is explained by its title")]
pub enum Code {
    MalformedJson,
    IdempotencyKeyInvalid,
    SignatureInvalid,
    WebhookUnusable,
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
            Self::MalformedJson | Self::IdempotencyKeyInvalid | Self::WebhookUnusable => StatusCode::BAD_REQUEST,
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
            Self::WebhookUnusable => "The webhook says nothing that can be used",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::IdempotencyInProgress => "The first request with this idempotency key is still running",
            Self::PayloadTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body must be application/json",
            Self::IdempotencyKeyReused => "The idempotency key was used for another request",
            Self::ValidationFailed => "The request is not valid",
            Self::QuoteInvalid => "The quote is not valid",
            Self::QuoteMismatch => "The quote is for another payment",
            Self::ProviderRejected => "The payment provider refused the request",
            Self::ProviderError => "The payment provider failed",
            Self::Unavailable => "The service is not available for the moment",
            Self::ProviderTimeout => "The payment provider did not answer in time",
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

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// RFC 6901 JSON pointer to it; empty for the whole body.
    pub pointer: String,
    /// What is wrong.
    pub detail: Cow<'static, str>,
}

/// An error answer.
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

    /// 400: the idempotency key is outside the allowed form.
    pub fn idempotency_key_invalid() -> Self {
        Self::new(
            Code::IdempotencyKeyInvalid,
            "Idempotency-Key must be 1 to 255 visible ASCII characters.",
        )
    }

    /// 400: a signed webhook that cannot be used.
    pub fn webhook_unusable(what: &'static str) -> Self {
        Self::new(Code::WebhookUnusable, what)
    }

    /// 401: a webhook without a good signature. Says no more.
    pub fn signature_invalid() -> Self {
        Self::new(Code::SignatureInvalid, "The signature is missing, malformed or wrong.")
    }

    /// 404: no such payment.
    pub fn no_such_payment() -> Self {
        Self::new(Code::NotFound, "There is no payment with this id.")
    }

    /// 404: no such path.
    pub fn no_such_path() -> Self {
        Self::new(Code::NotFound, "There is nothing at this path.")
    }

    /// 405: anything but POST.
    pub fn only_post() -> Self {
        Self::new(Code::MethodNotAllowed, "Only POST is allowed here.")
    }

    /// 409: the key's first request is still running.
    pub fn idempotency_in_progress(retry_after: u64) -> Self {
        let detail = "The first request with this Idempotency-Key has no answer yet. Send the same request again.";
        Self {
            retry_after: Some(retry_after),
            ..Self::new(Code::IdempotencyInProgress, detail)
        }
    }

    /// 413: more than `limit` bytes.
    pub fn payload_too_large(limit: usize) -> Self {
        Self::new(
            Code::PayloadTooLarge,
            format!("The body must be at most {limit} bytes."),
        )
    }

    /// 415: not JSON by its content type.
    pub fn unsupported_media_type() -> Self {
        Self::new(Code::UnsupportedMediaType, "The content type must be application/json.")
    }

    /// 422: the key was used for another request.
    pub fn idempotency_key_reused() -> Self {
        Self::new(
            Code::IdempotencyKeyReused,
            "This Idempotency-Key came with another request before. Use a new key for a new payment.",
        )
    }

    /// 422: wrong fields, all of them.
    pub fn validation_failed(errors: Vec<FieldError>) -> Self {
        Self {
            errors,
            ..Self::new(Code::ValidationFailed, "Some fields are wrong; see errors.")
        }
    }

    /// 422: there is no good quote. `why` is a clause about "it", such as "it has expired".
    pub fn quote_invalid(why: &dyn fmt::Display) -> Self {
        Self::new(
            Code::QuoteInvalid,
            format!("The quote is not valid: {why}. Get a new one from the shop."),
        )
    }

    /// 422: the quote is good, but says something else. `which` are the names of its claims that differ.
    pub fn quote_mismatch(which: &[&str]) -> Self {
        Self::new(
            Code::QuoteMismatch,
            format!("The quote has another {} than the request.", which.join(" and ")),
        )
    }

    /// 422: the provider refused the request.
    pub fn provider_rejected(provider_code: Option<String>) -> Self {
        Self {
            provider_code,
            ..Self::new(
                Code::ProviderRejected,
                "The payment provider refused the request as it is.",
            )
        }
    }

    /// 502: the provider failed, for reasons of its own or of our account with it.
    pub fn provider_error(payment: PaymentId) -> Self {
        let detail =
            "The payment provider gave no usable answer. The payment may be tried again with the same Idempotency-Key.";
        Self {
            payment: Some(payment),
            ..Self::new(Code::ProviderError, detail)
        }
    }

    /// 503: our secrets are out of reach, or the provider throttles. `payment` once its intent is stored.
    pub fn unavailable(payment: Option<PaymentId>, retry_after: Option<u64>) -> Self {
        let detail = "Try again in a moment, with the same Idempotency-Key if there was one.";
        let retry_after = Some(retry_after.unwrap_or(5).clamp(1, 300));
        Self {
            payment,
            retry_after,
            ..Self::new(Code::Unavailable, detail)
        }
    }

    /// 503: the table cannot be read or written, which is counted. `payment` once its intent is stored.
    pub fn store_unavailable(payment: Option<PaymentId>) -> Self {
        metrics::store_failed();
        Self::unavailable(payment, None)
    }

    /// 504: the provider did not answer in time; the payment stays `creating`.
    pub fn provider_timeout(payment: PaymentId) -> Self {
        let detail =
            "The payment provider may or may not have taken the payment. The same Idempotency-Key goes on with it.";
        Self {
            payment: Some(payment),
            ..Self::new(Code::ProviderTimeout, detail)
        }
    }

    /// The code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The wrong fields, where the request is not valid.
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

    /// The problem as an answer that is kept to be given again.
    pub fn to_answer(&self) -> StoredResponse {
        StoredResponse {
            status: self.code.status().as_u16(),
            body: self.body(),
        }
    }

    /// The problem as an HTTP response.
    pub fn to_response(&self) -> Response<Body> {
        let mut response = response::respond(self.code.status(), response::PROBLEM, self.body());
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
    fn members_and_headers() {
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
        assert_eq!(
            Problem::unavailable(None, None).to_response().headers()["retry-after"],
            "5"
        );
    }
}
