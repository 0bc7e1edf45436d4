use super::*;
use crate::domain::fact::Outcome;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn reply(status: u16, text: &str) -> Reply {
    Reply::new(StatusCode::from_u16(status).unwrap(), text.as_bytes())
}

fn status_of(status: u16, text: &str, queried: &str) -> Result<Option<Notification>, CallError> {
    read_status(&reply(status, text), &id(queried), NOW)
}

fn id(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

const DATA: &str = r#"{"transactionId":"FP1","orderId":"o","status":"COMPLETED","amount":99.99,"currency":"usd","paymentMethod":"apple_pay",
    "createdAt":"2026-01-01T00:00:00.000Z","completedAt":"2026-01-01T00:01:00.000Z","metadata":{"paymentFunctionsId":"67e55044-10b1-426f-9247-bb680e5fe0c8"}}"#;

#[test]
fn status_is_a_fact_under_the_queried_id() {
    let text = format!(r#"{{"success":true,"data":{DATA}}}"#);
    for (queried, payment) in [("pay_apm_1", Some(id("pay_apm_1"))), ("FP1", None)] {
        let Notification { payment_id, fact } = status_of(200, &text, queried).unwrap().unwrap();
        assert_eq!(payment_id.unwrap().to_string(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
        assert_eq!((fact.payment, fact.transaction), (payment, Some(id("FP1"))));
        assert_eq!(fact.outcome, Outcome::Completed);
        assert_eq!(fact.currency.as_deref(), Some("USD"));
        assert_eq!(fact.amount.unwrap().to_string(), "99.99");
        assert_eq!(fact.occurred_at.as_deref(), Some("2026-01-01T00:01:00.000Z"));
        assert_eq!(fact.created_at, Timestamp::parse_rfc3339("2026-01-01T00:00:00Z"));
    }
}

#[test]
fn response_without_a_status_for_the_id_is_unusable() {
    let not_found = r#"{"success":false,"error":{"code":"NOT_FOUND","message":"Transaction not found"}}"#;
    assert_eq!(status_of(404, not_found, "x"), Ok(None));
    for (status, text) in [
        (404, "<html>"),
        (404, r#"{"message":"no such route"}"#),
        (200, not_found),
        (200, ""),
        (200, "[]"),
        (200, r#"{"success":true}"#),
        (200, r#"{"success":"true","data":{"status":"COMPLETED"}}"#),
        (200, r#"{"success":true,"data":{"transactionId":"FP1"}}"#),
        (200, r#"{"success":true,"data":{"paymentId":"y","status":"COMPLETED"}}"#),
        (200, r#"{"success":1,"data":{"status":"COMPLETED"}}"#),
        (200, r#"{"data":{"status":"COMPLETED"}}"#),
        (200, r#"{"success":true,"status":"COMPLETED","data":{"paymentId":"x"}}"#),
        (200, r#"{"success":true,"data":{"paymentId":1e3,"status":"COMPLETED"}}"#),
        (200, r#"{"success":true,"data":{"paymentId":7,"status":"COMPLETED"}}"#),
        (
            200,
            r#"{"success":true,"data":{"transactionId":{},"status":"COMPLETED","paymentId":"y"}}"#,
        ),
        (
            200,
            r#"{"success":true,"data":{"transactionId":{"id":1},"orderId":"p","status":"COMPLETED"}}"#,
        ),
        (400, &format!(r#"{{"success":true,"data":{DATA}}}"#)),
    ] {
        assert!(status_of(status, text, "x").is_err(), "{status} {text}");
    }
    let unknown = r#"{"success":true,"data":{"status":"SETTLED","amount":1,"currency":"USD"}}"#;
    let notification = status_of(200, unknown, "x").unwrap().unwrap();
    assert_eq!(notification.fact.outcome, Outcome::Unrecognised);
}

#[test]
fn list_contains_only_transactions_of_the_order() {
    let list = |transactions: &str| {
        let text = format!(r#"{{"success":true,"data":{{"transactions":[{transactions}]}}}}"#);
        read_transactions(&reply(200, &text), &OrderId::parse("o").unwrap(), NOW)
    };
    let others = r#"{"transactionId":"FP2","orderId":"p","status":"COMPLETED"}, {"orderId":"o","status":"COMPLETED"},
        {"transactionId":"FP3","orderId":"o"}, 7"#;
    let notifications = list(&format!("{others},{DATA}")).unwrap();
    assert_eq!(notifications.len(), 1);
    assert_eq!(notifications[0].fact.transaction, Some(id("FP1")));
    assert_eq!(list(""), Ok(Vec::new()));
    for text in [r#"{"success":true,"data":{}}"#, r#"{"success":true,"data":[]}"#] {
        assert!(read_transactions(&reply(200, text), &OrderId::parse("o").unwrap(), NOW).is_err());
    }
}

#[test]
fn contradiction_in_a_response_completes_nothing() {
    for (envelope, data) in [
        ("", r#","success":false"#),
        ("", r#","error":{"code":"X"}"#),
        (r#","error":"X""#, ""),
        (r#","status":"FAILED""#, ""),
        (r#","event":"payment.failed""#, ""),
    ] {
        let data =
            format!(r#"{{"paymentId":"p","orderId":"o","status":"COMPLETED","amount":1,"currency":"USD"{data}}}"#);
        let text = format!(r#"{{"success":true{envelope},"data":{data}}}"#);
        let fact = status_of(200, &text, "p").unwrap().unwrap().fact;
        assert_eq!(fact.outcome, Outcome::Contradictory, "{text}");
        let text = format!(r#"{{"success":true{envelope},"data":{{"transactions":[{data}]}}}}"#);
        let listed = read_transactions(&reply(200, &text), &OrderId::parse("o").unwrap(), NOW).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].fact.outcome, Outcome::Contradictory, "{text}");
    }
}

#[test]
fn transaction_whose_money_went_back_completes_nothing() {
    for (envelope, data) in [
        (
            "",
            r#","refundDate":"2026-01-02","refundReason":"x","chargebackDate":null"#,
        ),
        ("", r#","refund":{"status":true,"refund_date":"2026-01-02"}"#),
        ("", r#","type":"CHARGEBACK""#),
        (r#","refunded":true"#, ""),
    ] {
        let data = format!(r#"{{"paymentId":"p","orderId":"o","status":"SUCCESS","amount":1,"currency":"USD"{data}}}"#);
        let text = format!(r#"{{"success":true{envelope},"data":{data}}}"#);
        let fact = status_of(200, &text, "p").unwrap().unwrap().fact;
        assert_eq!((fact.outcome, fact.reversals.len()), (Outcome::Reversed, 1), "{text}");
        let text = format!(r#"{{"success":true{envelope},"data":{{"transactions":[{data}]}}}}"#);
        let listed = read_transactions(&reply(200, &text), &OrderId::parse("o").unwrap(), NOW).unwrap();
        let read: Vec<_> = listed.iter().map(|listed| &listed.fact.outcome).collect();
        assert_eq!(read, [&Outcome::Reversed], "{text}");
    }
}

#[test]
fn response_is_read_as_liberally_as_a_webhook() {
    let text = "\u{feff}{\"success\":true,\"data\":{\"paymentId\":\"p\",\"transactionId\":26030025,\"orderId\":123,\"status\":\"canceled\",\"note\":\"\\ud800\",\"metadata\":\"{\\\"paymentFunctionsId\\\":\\\"67e55044-10b1-426f-9247-bb680e5fe0c8\\\"}\"}}";
    for queried in ["p", "26030025"] {
        let Notification { payment_id, fact } = status_of(200, text, queried).unwrap().unwrap();
        assert_eq!(payment_id.unwrap().to_string(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
        assert_eq!(
            (fact.transaction, fact.order_id),
            (Some(id("26030025")), OrderId::parse("123"))
        );
        assert_eq!((fact.outcome, fact.received_at), (Outcome::Cancelled, NOW));
    }
    let not_found = r#"{"success":false,"error":{"code":"not_found"}}"#;
    assert_eq!(status_of(404, not_found, "p"), Ok(None));
}

#[test]
fn failed_response_is_an_error_whatever_its_body() {
    let text = format!(r#"{{"success":true,"data":{DATA}}}"#);
    for (status, expected) in [
        (500, CallError::unusable("server error")),
        (503, CallError::outcome_unknown()),
        (409, CallError::outcome_unknown()),
    ] {
        assert_eq!(status_of(status, &text, "FP1"), Err(expected.clone()), "{status}");
        let listed = read_transactions(&reply(status, &text), &OrderId::parse("o").unwrap(), NOW);
        assert_eq!(listed, Err(expected), "{status}");
    }
}

#[test]
fn list_in_the_dashboards_shape_is_read_and_no_number_is_money() {
    let text = r#"{"success":true,"data":{"data":[
        {"transactionId":1,"orderId":"o","status":1,"amount":1,"currency":"USD"},
        {"transactionId":2,"orderId":"o","status":"SUCCESS","amount":1,"currency":"USD"},
        {"transactionId":2e0,"orderId":"o","status":"SUCCESS","amount":1,"currency":"USD"},
        {"transactionId":3,"orderId":"o","status":0}],"meta":{"total":3}}}"#;
    let listed = read_transactions(&reply(200, text), &OrderId::parse("o").unwrap(), NOW).unwrap();
    let read: Vec<_> = listed
        .iter()
        .map(|listed| (listed.fact.transaction.clone(), listed.fact.outcome))
        .collect();
    let expected = [
        ("1", Outcome::Unrecognised),
        ("2", Outcome::Completed),
        ("3", Outcome::Unrecognised),
    ];
    assert_eq!(read, expected.map(|(text, outcome)| (Some(id(text)), outcome)));
}

/// The response has a time of its own, which is not the payment's.
#[test]
fn polls_of_a_refunded_payment_are_one_fact() {
    let poll = |answered_at: &str| {
        let data = DATA.replace(r#""amount""#, r#""refunded":true,"amount""#);
        let text = format!(r#"{{"success":true,"timestamp":"{answered_at}","data":{data}}}"#);
        let fact = status_of(200, &text, "FP1").unwrap().unwrap().fact;
        assert_eq!(fact.outcome, Outcome::Reversed);
        fact.digest()
    };
    assert_eq!(poll("2026-02-01T00:00:00Z"), poll("2026-02-01T00:01:00Z"));
}
