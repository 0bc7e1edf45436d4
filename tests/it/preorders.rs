//! `POST /preorders`: what is specific to it.

use super::routes::{calls, create_with, post_text, with};
use super::support::*;

const PROVIDER: Provider = Provider::Apolopay;

#[tokio::test]
async fn create_returns_whole_preorder() {
    let order = unique("ORD");
    let response = create(PROVIDER, &order).await;
    insta::assert_snapshot!(response.whole(), @r#"
    201
    cache-control: no-store
    content-type: application/json
    location: /payments/[uuid]

    {
      "amount": 25.5,
      "createdAt": "[time]",
      "currency": "USD",
      "environment": "production",
      "id": "[uuid]",
      "orderId": "[unique]",
      "processId": "[uuid]",
      "provider": "apolopay",
      "status": "pending"
    }
    "#);
    assert_eq!(
        response.header("location"),
        Some(format!("/payments/{}", response.str("id")).as_str())
    );
    let payments = control().await.payments(PROVIDER, &order).await.expect("the payments");
    assert_eq!(
        payments.iter().map(|payment| payment.id.as_str()).collect::<Vec<_>>(),
        [response.str("processId")]
    );
}

#[tokio::test]
async fn every_apolopay_reply_shape_gives_the_process_id() {
    let id = "0f9d6ba8-6a7f-4a4e-9c36-2f6f3f0b7c5d";
    for reply in [
        json!({ "shape": "documented" }),
        json!({ "shape": "observed" }),
        json!({ "shape": "mixed" }),
        json!({ "status": 200, "body": { "processId": id, "result": { "id": "" } } }),
        json!({ "status": 201, "body": { "statusCode": 201, "message": "ok", "result": { "id": "0F9D6BA8-6A7F-4A4E-9C36-2F6F3F0B7C5E" } } }),
    ] {
        let order = unique("ORD");
        let response = create_with(PROVIDER, &order, json!([reply])).await;
        assert_eq!(response.status, 201, "{reply}: {response:?}");
        let expected = match control()
            .await
            .payments(PROVIDER, &order)
            .await
            .expect("the payments")
            .first()
        {
            Some(payment) => payment.id.clone(),
            None if reply["status"] == 200 => id.to_owned(),
            None => "0f9d6ba8-6a7f-4a4e-9c36-2f6f3f0b7c5e".to_owned(),
        };
        assert_eq!(response.str("processId"), expected, "{reply}");
        assert_eq!(
            get_payment(&response.str("id")).await.str("processId"),
            expected,
            "{reply}"
        );
    }
}

#[tokio::test]
async fn apolopay_request_matches_its_documentation() {
    let order = unique("ORD");
    let text = format!(
        r#"{{"orderId":"{order}","amount":25.5,"customerEmail":"jane@example.com","metadata":{{"b":1.50,"a":12345678901234567890.10,"e":1e3,"n":null,"deep":{{"é\n":[true,"\u00e9"]}}}}}}"#
    );
    let response = post_text(PROVIDER, text, &[]).await;
    assert_eq!(response.status, 201, "{response:?}");
    let calls = calls(PROVIDER, &order).await;
    let [call] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!(
        (call.method.as_str(), call.path.as_str()),
        ("POST", "/payment-button/process/preorder")
    );
    assert_eq!(call.headers["content-type"], "application/json");
    assert_eq!(call.headers["x-secret-key"], "sk_local_apolopay");
    for name in ["authorization", "idempotency-key", "cookie", "referer"] {
        assert!(!call.headers.contains_key(name), "{name}");
    }
    let id = response.str("id");
    assert_eq!(
        call.body,
        format!(
            r#"{{"amount":25.50,"metadata":{{"b":1.50,"a":12345678901234567890.10,"e":1e3,"n":null,"deep":{{"é\n":[true,"é"]}},"orderId":"{order}","customerEmail":"jane@example.com","paymentFunctionsId":"{id}"}}}}"#
        )
    );
}

#[tokio::test]
async fn order_and_email_may_be_in_the_metadata() {
    let address = "jane@example.com";
    for members in [
        json!({ "orderId": "ORDER", "customerEmail": address }),
        json!({ "metadata": { "orderId": "ORDER", "customerEmail": address } }),
        json!({ "orderId": "ORDER", "customerEmail": address, "metadata": { "orderId": "ORDER", "customerEmail": address } }),
        json!({ "orderId": "ORDER", "metadata": { "customerEmail": address } }),
    ] {
        let order = unique("ORD");
        let body = with(json!({ "amount": 1 }), members)
            .to_string()
            .replace("ORDER", &order);
        let response = post_text(PROVIDER, body, &[]).await;
        assert_eq!(response.status, 201, "{response:?}");
        assert_eq!(response.str("orderId"), order);
        let calls = calls(PROVIDER, &order).await;
        let sent: Value = serde_json::from_str(&calls[0].body).expect("JSON");
        let expected = json!({ "orderId": order, "customerEmail": address, "paymentFunctionsId": response.str("id") });
        assert_eq!(sent["metadata"], expected);
    }
}

#[tokio::test]
async fn only_amount_is_required() {
    let response = post("/preorders", &json!({ "amount": 0.01 }), &[]).await;
    assert_eq!(response.status, 201, "{response:?}");
    assert!(response.json().get("orderId").is_none(), "{response:?}");
    let shown = get_payment(&response.str("id")).await;
    assert_eq!((shown.status, shown.json().get("orderId")), (200, None));
}

#[tokio::test]
async fn all_wrong_fields_are_named_at_once() {
    let long = |length: usize| "x".repeat(length);
    for (body, pointers) in [
        (json!({}), vec!["/amount"]),
        (json!({ "amount": null }), vec!["/amount"]),
        (json!({ "orderId": null }), vec!["/amount", "/orderId"]),
        (
            json!({ "amount": 0, "orderId": " ", "customerEmail": "nobody", "metadata": [], "quote": "x", "currency": "USD" }),
            vec![
                "/amount",
                "/metadata",
                "/orderId",
                "/customerEmail",
                "/quote",
                "/currency",
            ],
        ),
        (json!({ "amount": 1, "orderId": 9821 }), vec!["/orderId"]),
        (json!({ "amount": 1, "orderId": long(129) }), vec!["/orderId"]),
        (json!({ "amount": 1, "orderId": "a\u{0}b" }), vec!["/orderId"]),
        (json!({ "amount": 1, "orderId": "a\u{85}b" }), vec!["/orderId"]),
        (json!({ "amount": 1, "customerEmail": null }), vec!["/customerEmail"]),
        (
            json!({ "amount": 1, "customerEmail": "a b@example.com" }),
            vec!["/customerEmail"],
        ),
        (
            json!({ "amount": 1, "customerEmail": format!("{}@example.com", long(243)) }),
            vec!["/customerEmail"],
        ),
        (json!({ "amount": 1, "metadata": null }), vec!["/metadata"]),
        (json!({ "amount": 1, "metadata": "text" }), vec!["/metadata"]),
        (
            json!({ "amount": 1, "metadata": { "m": long(10_000) } }),
            vec!["/metadata"],
        ),
        (
            json!({ "amount": 1, "metadata": { "paymentFunctionsId": "x" } }),
            vec!["/metadata/paymentFunctionsId"],
        ),
        (
            json!({ "amount": 1, "metadata": { "paymentFunctionsId": null } }),
            vec!["/metadata/paymentFunctionsId"],
        ),
        (
            json!({ "amount": 1, "metadata": { "orderId": 1, "customerEmail": null } }),
            vec!["/metadata/orderId", "/metadata/customerEmail"],
        ),
        (
            json!({
                "amount": 1, "orderId": "a", "customerEmail": "a@example.com",
                "metadata": { "orderId": "b", "customerEmail": "b@example.com" },
            }),
            vec!["/metadata/orderId", "/metadata/customerEmail"],
        ),
        (
            json!({ "amount": 1, "webhookUrl": "https://shop.example/hook" }),
            vec!["/webhookUrl"],
        ),
        (json!({ "amount": 1, "a/b~c": 1, "": 1 }), vec!["/", "/a~1b~0c"]),
    ] {
        let response = post("/preorders", &body, &[]).await;
        assert_eq!(response.problem(), (422, "VALIDATION_FAILED".to_owned()), "{body}");
        assert_eq!(response.pointers(), pointers, "{body}");
    }
    let response = post(
        "/preorders",
        &json!({ "orderId": " o", "customerEmail": null, "quote": "x", "x": 1 }),
        &[],
    )
    .await;
    insta::assert_snapshot!(response.whole(), @r#"
    422
    cache-control: no-store
    content-type: application/problem+json

    {
      "code": "VALIDATION_FAILED",
      "detail": "Some fields are wrong; see errors.",
      "errors": [
        {
          "detail": "is required",
          "pointer": "/amount"
        },
        {
          "detail": "must not begin or end with a blank",
          "pointer": "/orderId"
        },
        {
          "detail": "must not be null; leave it out",
          "pointer": "/customerEmail"
        },
        {
          "detail": "must be left out, because quotes are not configured",
          "pointer": "/quote"
        },
        {
          "detail": "is not a field of this request",
          "pointer": "/x"
        }
      ],
      "status": 422,
      "title": "The request is not valid",
      "type": "urn:payment-functions:problem:validation-failed"
    }
    "#);
}

#[tokio::test]
async fn blank_fields_are_left_out() {
    let order = unique("ORD");
    let body = json!({
        "amount": 1, "orderId": "", "customerEmail": " jane@example.com ", "quote": "",
        "metadata": { "orderId": order, "customerEmail": "", "note": "" },
    });
    let response = post("/preorders", &body, &[]).await;
    assert_eq!(response.status, 201, "{response:?}");
    let sent: Value = serde_json::from_str(&calls(PROVIDER, &order).await[0].body).expect("JSON");
    let expected = json!({
        "orderId": order, "customerEmail": "jane@example.com", "note": "", "paymentFunctionsId": response.str("id"),
    });
    assert_eq!(sent["metadata"], expected);
}

#[tokio::test]
async fn unreadable_value_is_named() {
    for (text, pointer) in [
        (r#"{"amount":1,"metadata":{"a":[1e400]}}"#, "/metadata/a/0"),
        (r#"{"amount":1,"metadata":{"a":-1e400}}"#, "/metadata/a"),
        (r#"{"amount":1,"metadata":{"a":"\ud800"}}"#, "/metadata/a"),
        (r#"{"amount":1,"orderId":"a\udc00"}"#, "/orderId"),
        (r#"{"amount":1,"\ud800":1}"#, "/\u{fffd}"),
    ] {
        let response = post_text(PROVIDER, text, &[]).await;
        assert_eq!(response.problem(), (422, "VALIDATION_FAILED".to_owned()), "{text}");
        assert_eq!(response.pointers(), [pointer], "{text}");
    }
}

#[tokio::test]
async fn largest_values_are_accepted() {
    let order = format!("{}{}", unique("ORD"), "é".repeat(128 - 36));
    let body = json!({
        "amount": 999_999_999.99, "orderId": order, "customerEmail": format!("{}@example.com", "x".repeat(242)),
        "metadata": { "m": "x".repeat(9_400) },
    });
    let response = post("/preorders", &body, &[]).await;
    assert_eq!(response.status, 201, "{response:?}");
    assert_eq!(response.str("orderId").chars().count(), 128);
}
