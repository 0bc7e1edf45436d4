//! FinvyPay's checks, and its error responses.

use axum::http::StatusCode;
use reqwest::Url;
use serde_json::value::RawValue;

use super::check::{amount_problem, metadata_problem};
use super::http::{RawResponse, Received};
use super::json::Object;
use super::payments::Provider;
use super::rate_limit::Quota;
use super::world::OpenCall;

/// Checks a create call and returns its body, or the response that refuses it.
pub(super) fn check(call: &OpenCall, received: &Received) -> Result<Object, RawResponse> {
    admit(call, received)?;
    let invalid = |message: &str, details| error(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message, details);
    if !received.is_json() {
        return Err(invalid("Content-Type must be application/json", None));
    }
    let body = received
        .object()
        .map_err(|problem| invalid(&problem.to_string(), None))?;
    let problems = problems(&body);
    if problems.members().next().is_some() {
        return Err(invalid("Validation failed", Some(problems)));
    }
    let method = body.text("paymentMethod").unwrap_or_default();
    if !call.world.config.payment_methods.contains(&method) {
        let details = Object::default().with("paymentMethod", &method);
        let message = "Payment method is not available";
        return Err(error(
            StatusCode::BAD_REQUEST,
            "INVALID_PAYMENT_METHOD",
            message,
            Some(details),
        ));
    }
    Ok(body)
}

/// Checks the rate limit and the API key. The error is the response that refuses the call.
pub(super) fn admit(call: &OpenCall, received: &Received) -> Result<(), RawResponse> {
    if let Some(refusal) = call.quota.and_then(Quota::refusal) {
        return Err(refusal);
    }
    let key = received
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    if call.world.accepts_key(Provider::Finvypay, key) {
        Ok(())
    } else {
        Err(error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "Invalid API key", None))
    }
}

/// A field of the create call: its name, whether it is required, and its check.
type Field = (&'static str, bool, fn(&RawValue) -> Option<&'static str>);

const FIELDS: &[Field] = &[
    ("orderId", true, text_problem),
    ("amount", true, amount_problem),
    ("currency", true, currency_problem),
    ("paymentMethod", true, text_problem),
    ("firstName", true, text_problem),
    ("lastName", true, text_problem),
    ("email", true, email_problem),
    ("returnUrl", true, url_problem),
    ("webhookUrl", true, url_problem),
    ("description", false, text_problem),
    ("phoneNumber", false, text_problem),
    ("cancelUrl", false, url_problem),
    ("merchantProfileId", false, number_problem),
    ("metadata", false, metadata_problem),
];

/// All problems of a create call, by field.
fn problems(body: &Object) -> Object {
    let mut problems = Object::default();
    for (name, required, problem) in FIELDS {
        let found = match body.get(name) {
            Some(value) => problem(value),
            None => required.then_some("is required"),
        };
        problems = problems.with_some(name, found);
    }
    for (name, _) in body
        .members()
        .filter(|(name, _)| FIELDS.iter().all(|(known, ..)| known != name))
    {
        problems.set(name, "is not a known field");
    }
    problems
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

fn text_problem(value: &RawValue) -> Option<&'static str> {
    text(value)
        .is_none_or(|text| text.is_empty())
        .then_some("must be a string that is not empty")
}

fn currency_problem(value: &RawValue) -> Option<&'static str> {
    let good =
        text(value).is_some_and(|text| text.len() == 3 && text.chars().all(|letter| letter.is_ascii_uppercase()));
    (!good).then_some("must be three upper-case letters")
}

fn email_problem(value: &RawValue) -> Option<&'static str> {
    let good = text(value).is_some_and(|text| {
        text.split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
    });
    (!good).then_some("must be an e-mail address")
}

fn url_problem(value: &RawValue) -> Option<&'static str> {
    let good = text(value).is_some_and(|text| {
        Url::parse(&text).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
    });
    (!good).then_some("must be an absolute http or https URL")
}

fn number_problem(value: &RawValue) -> Option<&'static str> {
    serde_json::from_str::<serde_json::Number>(value.get())
        .is_err()
        .then_some("must be a number")
}

/// An error in FinvyPay's shape.
pub(super) fn error(status: StatusCode, code: &str, message: &str, details: Option<Object>) -> RawResponse {
    let error = Object::default()
        .with("code", code)
        .with("message", message)
        .with_some("details", details);
    RawResponse::json(status, &Object::default().with("success", false).with("error", error))
}
