//! Providers' responses to create calls: a line with the HTTP status; headers and a body.

use lambda_http::http::StatusCode;
use payment_functions::api::payment_view;
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::json::{Json, Object};
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::providers::gateway::{Accepted, CallError};
use payment_functions::providers::http_client::{self, Reply};
use payment_functions::providers::{apolopay, finvypay};

use super::headers::Message;
use super::json::compact;
use super::webhook::{distinct_ids, id_text, is_empty, word_of};
use super::{longhand, split};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ORDER_ID: &str = "ORD-APM-78901";

pub fn apolopay(bytes: &[u8]) -> bool {
    let payment = payment(Provider::ApoloPay, 2550);
    let ids = |body: &Object| {
        let result = body.get("result").and_then(Json::as_object);
        let places = [
            result.and_then(|result| result.str("id")),
            body.str("processId"),
            result.and_then(|result| result.str("processId")),
        ];
        let ids = places
            .into_iter()
            .flatten()
            .filter_map(|id| PaymentId::parse(id.trim()));
        ids.map(|id| id.to_string()).take(1).collect()
    };
    let read = read(bytes, &payment, |reply, _| apolopay::client::read_response(reply), ids);
    if let Some((accepted, body)) = &read {
        assert_eq!(
            ids(body),
            [accepted.checkout_session.reference.as_str()],
            "a UUID in lower case"
        );
        assert_eq!(
            (&accepted.checkout_session.redirect_url, accepted.references.len()),
            (&None, 0)
        );
        assert!(success(body).is_none_or(|success| success), "accepted without success");
        assert!(body.get("error").is_none_or(is_empty), "accepted with an error");
    }
    read.is_some()
}

pub fn finvypay(bytes: &[u8]) -> bool {
    let payment = payment(Provider::FinvyPay, 9999);
    let ids = |body: &Object| {
        let data = body.get("data").and_then(Json::as_object);
        let places: Vec<&Object> = data.into_iter().chain([body]).collect();
        let orders = ["orderId", "order_id"]
            .into_iter()
            .flat_map(|name| places.iter().filter_map(move |place| place.get(name)));
        let is_ours =
            |value: &Json| id_text(value).is_some_and(|id| id.is_empty() || id == ORDER_ID) || is_empty(value);
        let is_about_us = orders.clone().all(is_ours);
        let all = distinct_ids(&places, &["paymentId", "txn_id", "transactionId"]);
        if is_about_us { all } else { Vec::new() }
    };
    let read = read(bytes, &payment, finvypay::client::read_response, ids);
    if let Some((accepted, body)) = &read {
        let data = body.get("data").and_then(Json::as_object).unwrap();
        let given = |name: &str| data.get(name).filter(|value| **value != Json::Null);
        let amount = |value: &Json| match value {
            Json::Number(text) | Json::String(text) if longhand::is_number(text) => {
                longhand::minor(text, 2) == Some(9999)
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => false,
        };
        assert!(given("amount").is_none_or(amount), "another amount");
        let is_usd = |value: &Json| value.as_str().is_some_and(|code| code.eq_ignore_ascii_case("USD"));
        assert!(given("currency").is_none_or(is_usd), "another currency");
        for object in [body, data] {
            assert!(
                success(object).is_none_or(|success| success),
                "accepted without success"
            );
            assert!(
                ["error", "errors"]
                    .into_iter()
                    .filter_map(|name| object.get(name))
                    .all(is_empty),
                "accepted with an error"
            );
            assert!(!object.str("status").is_some_and(is_failure), "accepted a failure");
        }
        assert_eq!(
            accepted.references.iter().map(Reference::as_str).collect::<Vec<_>>(),
            ids(body),
            "also: about our order"
        );
        let first = distinct_ids(&[data], &["paymentId"])
            .into_iter()
            .chain(distinct_ids(&[data], &["txn_id", "transactionId"]))
            .next();
        assert_eq!(Some(accepted.checkout_session.reference.as_str()), first.as_deref());
        let redirect = accepted.checkout_session.redirect_url.as_deref();
        let url = given("redirectUrl")
            .and_then(Json::as_str)
            .filter(|url| !url.trim().is_empty());
        assert_eq!(redirect, url, "unchanged");
        let is_http = |url: &str| {
            let lower = url.trim().to_ascii_lowercase();
            lower.starts_with("https:") || lower.starts_with("http:")
        };
        assert!(redirect.is_none_or(is_http), "{redirect:?}");
        if let Some(expiry) = accepted.checkout_session.expires_at {
            assert_eq!(
                Timestamp::parse_rfc3339(&expiry.to_string()),
                Some(expiry),
                "round trip through its text"
            );
        }
    }
    read.is_some()
}

fn is_failure(status: &str) -> bool {
    let failures = [
        "FAILED",
        "DECLINED",
        "ERROR",
        "BLOCKED",
        "CANCELLED",
        "CANCELED",
        "ABANDONED",
    ];
    failures.contains(&word_of(status).to_ascii_uppercase().as_str())
}

/// What a body says by its `success`, if it has one. Anything unclear is no success.
fn success(body: &Object) -> Option<bool> {
    let text = serde_json::to_string(body.get("success")?).unwrap();
    let text: String = text
        .chars()
        .filter(|char| !char.is_whitespace() && *char != '"')
        .collect();
    Some(["true", "1"].contains(&text.to_ascii_lowercase().as_str()))
}

/// Whether FinvyPay or ApoloPay refuses clearly by this body.
fn refuses(body: &Object) -> bool {
    let is_success = success(body) == Some(true);
    let has_error = matches!(body.get("error"), Some(error @ (Json::Object(_) | Json::String(_))) if !is_empty(error));
    let data = body.get("data").and_then(Json::as_object);
    let statuses = [body.str("status"), data.and_then(|data| data.str("status"))];
    let text = body.get("success").map(compact).unwrap_or_default();
    !is_success && (has_error || body.get("message").is_some() || body.get("statusCode").is_some())
        || text.contains("alse")
        || text.contains("ALSE")
        || text.contains('0')
        || statuses.into_iter().flatten().any(is_failure)
}

fn payment(provider: Provider, minor: u64) -> Payment {
    Payment {
        order_id: OrderId::parse(ORDER_ID),
        payment_method: Some("apple_pay".to_owned()),
        ..Payment::new(
            PaymentId::parse("67e55044-10b1-426f-9247-bb680e5fe0c8").unwrap(),
            provider,
            Environment::Sandbox,
            Money::from_minor(minor, Currency::USD),
            NOW,
        )
    }
}

/// Reads a response as the client does. Returns the accepted payment and the body. `ids` finds the provider ids in a
/// body.
fn read(
    bytes: &[u8],
    payment: &Payment,
    read: fn(Reply, &Payment) -> Result<Accepted, CallError>,
    ids: impl Fn(&Object) -> Vec<String>,
) -> Option<(Accepted, Object)> {
    let (status, rest) = split(bytes, b"\n");
    let status = StatusCode::from_bytes(status).unwrap_or(StatusCode::OK);
    let message = Message::read(rest);
    let outcome = http_client::check_status(status, &message.headers, http_client::Quota::default())
        .and_then(|()| read(Reply::new(status, message.body), payment));
    let error = match outcome {
        Ok(accepted) => {
            assert!(status.is_success(), "{status}");
            let Ok(Json::Object(body)) = Json::parse_liberal(message.body) else {
                panic!("accepted, but no object")
            };
            let after = payment.accept(accepted.checkout_session.clone(), accepted.references.clone(), NOW);
            assert_eq!(after.status, Status::Pending, "no response makes a payment paid");
            let response = payment_view::created(&after);
            serde_json::from_str::<serde_json::Value>(&response.body).unwrap();
            return Some((accepted, body));
        }
        Err(error) => error,
    };
    let body = Json::parse_liberal(message.body).ok();
    let body = body.as_ref().and_then(Json::as_object);
    let assert_attached = |references: &[Reference]| {
        let attached: Vec<&str> = references.iter().map(Reference::as_str).collect();
        assert_eq!(attached, body.map(&ids).unwrap_or_default(), "the ids of the response");
    };
    let is_not_about_payment = [401, 403, 429].contains(&status.as_u16());
    match &error {
        CallError::Rejected { code, references } => {
            assert!(
                (status.is_success() || status.is_client_error()) && !is_not_about_payment,
                "{status}"
            );
            let is_code = |code: &str| {
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
                (1..=64).contains(&code.len()) && code.bytes().all(is_plain)
            };
            assert!(code.as_deref().is_none_or(is_code), "{code:?}");
            assert!(
                [400, 422].contains(&status.as_u16()) || body.is_some_and(refuses),
                "no clear refusal"
            );
            assert_attached(references);
            assert_eq!(payment.reject(references.clone(), NOW).status, Status::Failed);
        }
        CallError::Throttled { .. } => assert_eq!(status, 429),
        CallError::KeyRefused => assert!([401, 403].contains(&status.as_u16()), "{status}"),
        CallError::OutcomeUnknown { references } => {
            assert!([408, 409, 425, 502, 503, 504].contains(&status.as_u16()), "{status}");
            assert_attached(references);
        }
        CallError::Unusable { references, .. } => {
            assert!(!is_not_about_payment, "{status}");
            assert_attached(references);
            assert_eq!(payment.add_references(references.clone(), NOW).status, Status::Creating);
        }
        CallError::TimedOut => panic!("unexpected timeout"),
    }
    // Errors are logged, so they have only fixed texts.
    let text = error.to_string();
    assert!(
        text.len() < 100 && text.starts_with("the provider") || text.starts_with("the outcome of the provider call"),
        "{text}"
    );
    None
}
