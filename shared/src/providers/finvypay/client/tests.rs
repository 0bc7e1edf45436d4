use super::*;
use crate::domain::id::{OrderId, PaymentId};
use crate::domain::money::Money;
use crate::domain::provider::Provider;

fn payment() -> Payment {
    let money = Money::from_minor(9999, Currency::USD);
    Payment {
        order_id: OrderId::parse("ORD-1"),
        ..Payment::new(
            PaymentId::random(),
            Provider::FinvyPay,
            money,
            Timestamp::from_millis(0),
        )
    }
}

fn response(text: &str) -> Result<Accepted, CallError> {
    read_response(
        Reply::new(lambda_http::http::StatusCode::OK, text.as_bytes()),
        &payment(),
    )
}

#[test]
fn documented_and_older_format_are_read() {
    let documented = response(
        r#"{"success":true,"status":"REDIRECT","data":{"paymentId":"pay_apm_1","orderId":"ORD-1","amount":99.99,"currency":"USD",
            "redirectUrl":"https://pay.example/1","expiresAt":"2026-01-01T00:30:00.000Z"}}"#,
    )
    .unwrap();
    assert_eq!(documented.checkout_session.reference.as_str(), "pay_apm_1");
    assert_eq!(
        documented.checkout_session.redirect_url.as_deref(),
        Some("https://pay.example/1")
    );
    assert_eq!(
        documented.checkout_session.expires_at,
        Timestamp::parse_rfc3339("2026-01-01T00:30:00Z")
    );
    for members in [r#""success":true,"message":"made","#, r#""message":"made","#, ""] {
        let old = response(&format!(r#"{{{members}"data":{{"transactionId":"FP1"}}}}"#));
        assert_eq!(old.unwrap().checkout_session.reference.as_str(), "FP1", "{members}");
    }
    let old = response(r#"{"success":true,"data":{"transactionId":"FP1","status":"PENDING"}}"#).unwrap();
    assert_eq!(
        old.checkout_session,
        CheckoutSession {
            reference: Reference::parse("FP1").unwrap(),
            redirect_url: None,
            expires_at: None
        }
    );
}

#[test]
fn response_unlike_the_request_is_unusable_but_keeps_its_id() {
    for member in [
        r#""amount":9.99"#,
        r#""amount":"much""#,
        r#""currency":"EUR""#,
        r#""redirectUrl":"javascript:x""#,
    ] {
        let error = response(&format!(r#"{{"success":true,"data":{{"paymentId":"p",{member}}}}}"#)).unwrap_err();
        assert!(
            matches!(&error, CallError::Unusable { references, .. } if references.len() == 1),
            "{member}: {error:?}"
        );
    }
}

#[test]
fn ids_of_another_order_are_dropped() {
    let error = response(r#"{"success":true,"data":{"paymentId":"p","orderId":"ORD-2"}}"#).unwrap_err();
    assert!(
        matches!(&error, CallError::Unusable { references, .. } if references.is_empty()),
        "{error:?}"
    );
}

#[test]
fn error_body_or_failed_status_is_a_rejection() {
    for (text, expected) in [
        (
            r#"{"success":false,"error":{"code":"INVALID_PAYMENT_METHOD","message":"m"}}"#,
            Some("INVALID_PAYMENT_METHOD"),
        ),
        (r#"{"success":false,"error":{"code":"<script>"}}"#, None),
        (r#"{"message":"no"}"#, None),
        (
            r#"{"success":true,"status":"DECLINED","data":{"paymentId":"p"}}"#,
            Some("DECLINED"),
        ),
    ] {
        let Err(CallError::Rejected { code, .. }) = response(text) else {
            panic!("{text}")
        };
        assert_eq!(code.as_deref(), expected, "{text}");
    }
    assert!(matches!(
        response(r#"{"success":true}"#),
        Err(CallError::Unusable { .. })
    ));
    assert!(matches!(
        response(r#"{"success":true,"data":{"paymentId":""}}"#),
        Err(CallError::Unusable { .. })
    ));
}
