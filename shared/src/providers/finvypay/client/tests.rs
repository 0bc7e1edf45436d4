use super::*;
use crate::domain::id::{OrderId, PaymentId};
use crate::domain::money::Money;
use crate::domain::provider::{Environment, Provider};

fn payment() -> Payment {
    let money = Money::from_minor(9999, Currency::USD);
    Payment {
        order_id: OrderId::parse("ORD-1"),
        ..Payment::new(
            PaymentId::random(),
            Provider::FinvyPay,
            Environment::Sandbox,
            money,
            Timestamp::from_millis(0),
        )
    }
}

fn response(text: &str) -> Result<Accepted, CallError> {
    response_with(200, text)
}

fn response_with(status: u16, text: &str) -> Result<Accepted, CallError> {
    let status = lambda_http::http::StatusCode::from_u16(status).unwrap();
    read_response(Reply::new(status, text.as_bytes()), &payment())
}

fn ids(texts: &[&str]) -> Vec<Reference> {
    texts.iter().map(|text| Reference::parse(text).unwrap()).collect()
}

/// The ids of an error that has ids.
fn references_of(error: CallError) -> Vec<Reference> {
    match error {
        CallError::Rejected { references, .. }
        | CallError::Unusable { references, .. }
        | CallError::OutcomeUnknown { references } => references,
        CallError::Throttled { .. } | CallError::KeyRefused | CallError::TimedOut => panic!("{error:?}"),
    }
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
fn ids_of_every_failed_response_are_attached() {
    let body = r#"{"success":false,"error":{"code":"INTERNAL_ERROR"},"data":{"paymentId":"p","transactionId":7,"txn_id":"7"}}"#;
    for status in [200, 201, 400, 404, 422, 408, 409, 425, 500, 502, 503, 504] {
        let error = response_with(status, body).unwrap_err();
        assert_eq!(references_of(error), ids(&["p", "7"]), "{status}");
    }
    for (status, body, expected) in [
        (500, r#"{"paymentId":"p"}"#, &["p"][..]),
        (500, r#"{"data":{"paymentId":"p","orderId":"ORD-1"}}"#, &["p"]),
        (500, r#"{"data":{"paymentId":"p","orderId":"ORD-2"}}"#, &[]),
        (422, r#"{"order_id":"ORD-2","data":{"paymentId":"p"}}"#, &[]),
        (503, r#"{"data":{"paymentId":"p","orderId":1e3}}"#, &[]),
        (
            200,
            r#"{"success":false,"data":{"paymentId":"p","orderId":"ORD-2"}}"#,
            &[],
        ),
        (200, r#"{"success":true,"paymentId":"p"}"#, &["p"]),
        (502, "<html>", &[]),
        (500, "", &[]),
    ] {
        let error = response_with(status, body).unwrap_err();
        assert_eq!(references_of(error), ids(expected), "{status} {body}");
    }
}

#[test]
fn order_id_may_come_back_as_a_number_or_trimmed() {
    let echo = |ours: &str, echo: &str| {
        let payment = Payment {
            order_id: OrderId::parse(ours),
            ..payment()
        };
        let body = format!(r#"{{"success":true,"data":{{"paymentId":"p","orderId":{echo}}}}}"#);
        read_response(Reply::new(lambda_http::http::StatusCode::OK, body.as_bytes()), &payment).is_ok()
    };
    for (ours, text, is_ours) in [
        ("123", "123", true),
        ("123", r#""123""#, true),
        ("0", "0", true),
        ("12345678901234567890123", "12345678901234567890123", true),
        (" ORD-1 ", r#""ORD-1""#, true),
        ("ORD-1", r#"" ORD-1""#, true),
        ("ORD-1", "null", true),
        ("ORD-1", r#""""#, true),
        ("00123", "123", false),
        ("123", r#""00123""#, false),
        ("123", "1.23e2", false),
        ("123", "123.0", false),
        ("ORD-1", r#""ord-1""#, false),
        ("ORD-1", r#"["ORD-1"]"#, false),
    ] {
        assert_eq!(echo(ours, text), is_ours, "{ours} {text}");
    }
}

#[test]
fn response_without_a_page_or_with_another_notation_is_accepted() {
    for member in [
        r#""redirectUrl":"""#,
        r#""redirectUrl":"  ""#,
        r#""redirectUrl":null"#,
        r#""expiresAt":"""#,
        r#""expiresAt":null"#,
        r#""status":"Pending""#,
        r#""note":"\ud800""#,
    ] {
        let accepted = response(&format!(r#"{{"success":true,"data":{{"paymentId":"p",{member}}}}}"#)).unwrap();
        let session = accepted.checkout_session;
        assert_eq!((session.redirect_url, session.expires_at), (None, None), "{member}");
    }
    for success in ["true", r#""true""#, r#""TRUE""#, "1", r#""1""#] {
        let accepted = response(&format!(r#"{{"success":{success},"data":{{"paymentId":42}}}}"#)).unwrap();
        assert_eq!(accepted.checkout_session.reference.as_str(), "42", "{success}");
    }
    assert!(response("\u{feff}{\"success\":true,\"data\":{\"paymentId\":\"p\"}}").is_ok());
}

#[test]
fn unreadable_id_is_no_id() {
    for id in ["1e3", "1.0", "-1", "{}", "[1]", "true", "0", r#""\ud800""#] {
        let error = response(&format!(r#"{{"success":true,"data":{{"paymentId":{id}}}}}"#)).unwrap_err();
        assert_eq!(error, CallError::unusable("no payment id"), "{id}");
    }
}

#[test]
fn contradictory_response_is_unusable_with_its_ids() {
    for (envelope, data) in [
        (r#""success":true,"error":{"code":"X"}"#, ""),
        (r#""success":"true","error":"X""#, ""),
        (r#""success":null"#, ""),
        (r#""success":"yes""#, ""),
        (r#""success":{}"#, ""),
        (r#""error":["X"]"#, ""),
        (r#""success":true,"errors":["X"]"#, ""),
        (r#""success":true"#, r#","error":{"code":"X"}"#),
        (r#""success":true"#, r#","success":false"#),
        (r#""success":true,"status":"REDIRECT""#, r#","status":"FAILED""#),
        (r#""success":true,"status":"DECLINED""#, r#","status":"SUCCESS""#),
    ] {
        let error = response(&format!(r#"{{{envelope},"data":{{"paymentId":"p"{data}}}}}"#)).unwrap_err();
        let is_unusable = matches!(error, CallError::Unusable { .. });
        assert!(is_unusable && references_of(error) == ids(&["p"]), "{envelope} {data}");
    }
}

#[test]
fn clear_refusal_is_a_rejection() {
    for (status, text, code) in [
        (200, r#"{"success":false}"#, None),
        (200, r#"{"success":"false","data":{"paymentId":"p"}}"#, None),
        (200, r#"{"success":0}"#, None),
        (200, r#"{"success":false,"error":"INVALID_CARD"}"#, Some("INVALID_CARD")),
        (200, r#"{"error":"INVALID_CARD"}"#, Some("INVALID_CARD")),
        (200, r#"{"error":{"message":"no"}}"#, None),
        (200, r#"{"success":null,"error":{"code":"X"}}"#, Some("X")),
        (
            404,
            r#"{"success":false,"error":{"code":"NOT_FOUND"}}"#,
            Some("NOT_FOUND"),
        ),
        (404, r#"{"message":"no"}"#, None),
        (400, r#"{"success":true,"data":{"paymentId":"p"}}"#, None),
        (422, "", None),
    ] {
        let Err(CallError::Rejected { code: shown, .. }) = response_with(status, text) else {
            panic!("{status} {text}")
        };
        assert_eq!(shown.as_deref(), code, "{status} {text}");
    }
    for (status, text) in [
        (404, r#"{"success":true,"error":{"code":"X"}}"#),
        (404, r#"{"success":null}"#),
        (200, r#"{"error":null,"data":{}}"#),
        (200, r#"{"error":["X"]}"#),
        (302, r#"{"success":false}"#),
    ] {
        let error = response_with(status, text).unwrap_err();
        assert!(matches!(error, CallError::Unusable { .. }), "{status} {text} {error:?}");
    }
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
