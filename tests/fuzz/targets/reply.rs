//! Providers' responses to create calls: a line with the HTTP status; headers and a body.

use lambda_http::http::StatusCode;
use payment_functions::api::payment_view;
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::json::{Json, Object};
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::providers::gateway::{Accepted, CallError};
use payment_functions::providers::http_client::{self, Reply};
use payment_functions::providers::{apolopay, finvypay};

use super::headers::Message;
use super::{longhand, split};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ORDER_ID: &str = "ORD-APM-78901";

pub fn apolopay(bytes: &[u8]) -> bool {
    let payment = payment(Provider::ApoloPay, 2550);
    let read = read(bytes, &payment, |reply, _| apolopay::client::read_response(reply));
    if let Some((accepted, body)) = &read {
        let id = accepted.checkout_session.reference.as_str();
        assert_eq!(
            PaymentId::parse(id).map(|id| id.to_string()).as_deref(),
            Some(id),
            "a UUID in lower case"
        );
        let result = body.get("result").and_then(Json::as_object);
        let places = [
            body.str("processId"),
            result.and_then(|result| result.str("id")),
            result.and_then(|result| result.str("processId")),
        ];
        assert!(places.into_iter().flatten().any(|place| place.eq_ignore_ascii_case(id)));
        assert_eq!(
            (&accepted.checkout_session.redirect_url, accepted.references.len()),
            (&None, 0)
        );
    }
    read.is_some()
}

pub fn finvypay(bytes: &[u8]) -> bool {
    let payment = payment(Provider::FinvyPay, 9999);
    let read = read(bytes, &payment, finvypay::client::read_response);
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
        assert!(
            given("orderId").is_none_or(|value| value.as_str() == Some(ORDER_ID)),
            "another order"
        );
        assert!(body.get("success").is_none_or(|success| *success == Json::Bool(true)));
        let failures = ["FAILED", "DECLINED", "ERROR", "BLOCKED", "CANCELLED", "ABANDONED"];
        let mut statuses = [body.str("status"), data.str("status")].into_iter().flatten();
        assert!(!statuses.any(|status| failures.contains(&status.to_ascii_uppercase().as_str())));

        let ids: Vec<Reference> = ["paymentId", "transactionId"]
            .iter()
            .filter_map(|name| data.str(name).and_then(Reference::parse))
            .collect();
        assert_eq!(
            (Some(&accepted.checkout_session.reference), &accepted.references),
            (ids.first(), &ids)
        );
        let redirect = accepted.checkout_session.redirect_url.as_deref();
        assert_eq!(redirect, given("redirectUrl").and_then(Json::as_str), "unchanged");
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

fn payment(provider: Provider, minor: u64) -> Payment {
    Payment {
        order_id: OrderId::parse(ORDER_ID),
        payment_method: Some("apple_pay".to_owned()),
        ..Payment::new(
            PaymentId::parse("67e55044-10b1-426f-9247-bb680e5fe0c8").unwrap(),
            provider,
            Money::from_minor(minor, Currency::USD),
            NOW,
        )
    }
}

/// Reads a response as the client does. Returns the accepted payment and the body.
fn read(
    bytes: &[u8],
    payment: &Payment,
    read: fn(Reply, &Payment) -> Result<Accepted, CallError>,
) -> Option<(Accepted, Object)> {
    let (status, rest) = split(bytes, b"\n");
    let status = StatusCode::from_bytes(status).unwrap_or(StatusCode::OK);
    let message = Message::read(rest);
    let outcome = http_client::check_status(status, &message.headers)
        .and_then(|()| read(Reply::new(status, message.body), payment));
    let error = match outcome {
        Ok(accepted) => {
            assert!(status.is_success(), "{status}");
            let Ok(Json::Object(body)) = Json::parse(message.body) else {
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
            assert_eq!(payment.reject(references.clone(), NOW).status, Status::Failed);
        }
        CallError::Throttled { .. } => assert_eq!(status, 429),
        CallError::KeyRefused => assert!([401, 403].contains(&status.as_u16()), "{status}"),
        CallError::OutcomeUnknown => assert!([408, 409, 425, 502, 503, 504].contains(&status.as_u16()), "{status}"),
        CallError::Unusable { references, .. } => {
            assert!(!is_not_about_payment, "{status}");
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
