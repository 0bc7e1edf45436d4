//! `POST /apm-payments`: what is specific to it.

use super::routes::{calls, create_with, post_text, with};
use super::support::*;

const PROVIDER: Provider = Provider::Finvypay;

#[tokio::test]
async fn create_returns_whole_apm_payment() {
    let order = unique("ORD");
    let response = create(PROVIDER, &order).await;
    insta::assert_snapshot!(response.whole(), @r#"
    201
    cache-control: no-store
    content-type: application/json
    location: /payments/[uuid]

    {
      "amount": 99.99,
      "createdAt": "[time]",
      "currency": "USD",
      "environment": "sandbox",
      "expiresAt": "[time]",
      "id": "[uuid]",
      "orderId": "[unique]",
      "paymentId": "[paymentId]",
      "paymentMethod": "apple_pay",
      "provider": "finvypay",
      "redirectUrl": "http://127.0.0.1:[port]/finvypay/pay/[paymentId]",
      "status": "pending"
    }
    "#);
    assert_eq!(
        response.header("location"),
        Some(format!("/payments/{}", response.str("id")).as_str())
    );
    let payments = control().await.payments(PROVIDER, &order).await.expect("the payments");
    let [payment] = payments.as_slice() else {
        panic!("{payments:?}")
    };
    assert_eq!(response.str("paymentId"), payment.id);
    assert_eq!(response.str("expiresAt"), payment.expires_at);
}

#[tokio::test]
async fn every_finvypay_reply_shape_creates_a_payment() {
    for (reply, redirects) in [
        (json!({ "shape": "documented" }), true),
        (json!({ "shape": "old" }), true),
        (json!({ "shape": "noRedirect" }), false),
        (
            json!({ "omit": ["amount", "currency", "orderId", "paymentMethod", "status", "success"] }),
            true,
        ),
        (json!({ "omit": ["redirectUrl", "expiresAt"] }), false),
        (json!({ "fields": { "amount": "99.990" } }), true),
    ] {
        let order = unique("ORD");
        let response = create_with(PROVIDER, &order, json!([reply])).await;
        assert_eq!(response.status, 201, "{reply}: {response:?}");
        let payments = control().await.payments(PROVIDER, &order).await.expect("the payments");
        let id = match reply["shape"].as_str() {
            Some("old") => payments[0].transaction_id.clone().expect("a transaction id"),
            _ => payments[0].id.clone(),
        };
        assert_eq!(response.str("paymentId"), id, "{reply}");
        for shown in [response.json(), get_payment(&response.str("id")).await.json()] {
            assert_eq!(shown["status"], "pending", "{reply}");
            assert_eq!(shown.get("redirectUrl").is_some(), redirects, "{reply}: {shown}");
            assert_eq!(shown.get("expiresAt").is_some(), redirects, "{reply}: {shown}");
        }
    }
}

#[tokio::test]
async fn finvypay_request_matches_its_documentation() {
    let order = unique("ORD");
    let text = format!(
        r#"{{"orderId":"{order}","amount":99.99,"currency":"USD","paymentMethod":"apple_pay","firstName":"Jane","lastName":"Smith","email":"customer@example.com","returnUrl":"https://your-domain.com/success?order=1#top","cancelUrl":"http://localhost:3000/cancel","description":"Shoes","phoneNumber":"+1 555 1234","merchantProfileId":7,"metadata":{{"b":1.50,"a":12345678901234567890.10}}}}"#
    );
    let response = post_text(PROVIDER, text, &[]).await;
    assert_eq!(response.status, 201, "{response:?}");
    let calls = calls(PROVIDER, &order).await;
    let [call] = calls.as_slice() else { panic!("{calls:?}") };
    let id = response.str("id");
    assert_eq!(
        (call.method.as_str(), call.path.as_str()),
        ("POST", "/api/v1/sandbox/apm")
    );
    assert_eq!(call.headers["content-type"], "application/json");
    assert_eq!(call.headers["authorization"], "Bearer fp_local_finvypay");
    assert_eq!(call.headers["idempotency-key"], format!("{id}-1"));
    let base = world().await.functions_url();
    assert_eq!(
        call.body,
        format!(
            r#"{{"orderId":"{order}","amount":99.99,"currency":"USD","paymentMethod":"apple_pay","firstName":"Jane","lastName":"Smith","email":"customer@example.com","returnUrl":"https://your-domain.com/success?order=1#top","webhookUrl":"{base}/webhooks/finvypay","description":"Shoes","phoneNumber":"+1 555 1234","cancelUrl":"http://localhost:3000/cancel","merchantProfileId":7,"metadata":{{"b":1.50,"a":12345678901234567890.10,"paymentFunctionsId":"{id}"}}}}"#
        )
    );
}

#[tokio::test]
async fn deployment_sets_environment_and_webhook_url() {
    let changes = [
        ("FINVYPAY_ENVIRONMENT", Some("production")),
        ("WEBHOOK_BASE_URL", Some("https://hooks.example/")),
        ("ALLOWED_RETURN_ORIGINS", Some("https://shop.example")),
    ];
    let alone = world()
        .await
        .attach("create-apm", 1, &changes)
        .await
        .expect("a function");
    let order = unique("ORD");
    let body = with(apm(&order), json!({ "returnUrl": "https://shop.example/thanks" }));
    let response = post_to(alone.url(), "/apm-payments", body.to_string(), &[]).await;
    assert_eq!(response.status, 201, "{response:?}");
    let calls = calls(PROVIDER, &order).await;
    assert_eq!(calls[0].path, "/api/v1/production/apm");
    let sent: Value = serde_json::from_str(&calls[0].body).expect("JSON");
    assert_eq!(sent["webhookUrl"], "https://hooks.example/webhooks/finvypay");
    let response = post_to(alone.url(), "/apm-payments", apm(&order).to_string(), &[]).await;
    assert_eq!(
        response.pointers(),
        ["/returnUrl"],
        "an origin that is allowed elsewhere"
    );
}

#[tokio::test]
async fn amount_uses_the_currencys_decimals() {
    for (currency, amount, sent) in [
        ("JPY", "500", "500"),
        ("JPY", "500.00", "500"),
        ("JPY", "5e2", "500"),
        ("BHD", "1.25", "1.250"),
        ("EUR", "1", "1.00"),
    ] {
        let order = unique("ORD");
        let body = with(apm(&order), json!({ "currency": currency, "amount": "AMOUNT" })).to_string();
        let response = post_text(PROVIDER, body.replace("\"AMOUNT\"", amount), &[]).await;
        assert_eq!(response.status, 201, "{currency} {amount}: {response:?}");
        assert_eq!(response.str("currency"), currency);
        let member = format!("\"amount\":{sent},");
        assert!(response.text.contains(&member), "{response:?}");
        assert!(
            calls(PROVIDER, &order).await[0].body.contains(&member),
            "{currency} {amount}"
        );
    }
    for (currency, amount) in [("JPY", "500.5"), ("JPY", "99.99"), ("BHD", "1.255"), ("USD", "1.255")] {
        let body = with(apm(&unique("ORD")), json!({ "currency": currency, "amount": "AMOUNT" })).to_string();
        let response = post_text(PROVIDER, body.replace("\"AMOUNT\"", amount), &[]).await;
        assert_eq!(response.pointers(), ["/amount"], "{currency} {amount}");
    }
}

#[tokio::test]
async fn all_wrong_fields_are_named_at_once() {
    let required = [
        "/orderId",
        "/currency",
        "/amount",
        "/paymentMethod",
        "/firstName",
        "/lastName",
        "/email",
        "/returnUrl",
    ];
    let all = |value: Value| {
        let names = required.map(|pointer| pointer.trim_start_matches('/').to_owned());
        let optional = [
            "cancelUrl",
            "description",
            "phoneNumber",
            "merchantProfileId",
            "metadata",
        ]
        .map(str::to_owned);
        Value::Object(
            names
                .into_iter()
                .chain(optional)
                .map(|name| (name, value.clone()))
                .collect(),
        )
    };
    let optional = [
        "/cancelUrl",
        "/description",
        "/phoneNumber",
        "/merchantProfileId",
        "/metadata",
    ];
    let every = required.into_iter().chain(optional).collect::<Vec<_>>();
    for (body, pointers) in [
        (json!({}), required.to_vec()),
        (all(Value::Null), every.clone()),
        (all(json!([])), every),
        (
            json!({ "webhookUrl": "https://x.example", "environment": "production", "quote": "x" }),
            {
                let mut pointers = required.to_vec();
                pointers.extend(["/webhookUrl", "/environment", "/quote"]);
                pointers
            },
        ),
    ] {
        let response = post("/apm-payments", &body, &[]).await;
        assert_eq!(response.problem(), (422, "VALIDATION_FAILED".to_owned()), "{body}");
        let (mut found, mut expected) = (response.pointers(), pointers);
        found.sort();
        expected.sort_unstable();
        assert_eq!(found, expected, "{body}");
    }
    let response = post(
        "/apm-payments",
        &with(apm("o"), json!({ "webhookUrl": "https://x.example", "email": "x" })),
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
          "detail": "must be an e-mail address",
          "pointer": "/email"
        },
        {
          "detail": "is set by the server",
          "pointer": "/webhookUrl"
        }
      ],
      "status": 422,
      "title": "The request is not valid",
      "type": "urn:payment-functions:problem:validation-failed"
    }
    "#);
}

#[tokio::test]
async fn each_wrong_value_is_refused() {
    let long = |length: usize| "x".repeat(length);
    let mut cases = vec![
        (
            json!({ "metadata": { "paymentFunctionsId": "x" } }),
            "/metadata/paymentFunctionsId",
        ),
        (json!({ "metadata": { "m": long(10_000) } }), "/metadata"),
        (
            json!({ "metadata": (0..33).fold(json!(1), |inner, _| json!({ "m": inner })) }),
            "/metadata",
        ),
        (json!({ "webhookUrl": null }), "/webhookUrl"),
        (json!({ "currency": "usd" }), "/currency"),
        (json!({ "currency": "XYZ" }), "/currency"),
        (json!({ "currency": 840 }), "/currency"),
        (json!({ "currency": "ANG" }), "/currency"),
        (json!({ "currency": "HRK" }), "/currency"),
        (json!({ "orderId": long(129) }), "/orderId"),
        (json!({ "orderId": "" }), "/orderId"),
        (json!({ "orderId": " " }), "/orderId"),
        (json!({ "firstName": "Jane " }), "/firstName"),
        (json!({ "paymentMethod": "" }), "/paymentMethod"),
        (json!({ "firstName": long(101) }), "/firstName"),
        (json!({ "lastName": "Smith\n" }), "/lastName"),
        (json!({ "email": format!("{}@example.com", long(243)) }), "/email"),
        (json!({ "merchantProfileId": "7" }), "/merchantProfileId"),
        (json!({ "merchantProfileId": 7.5 }), "/merchantProfileId"),
        (json!({ "merchantProfileId": -7 }), "/merchantProfileId"),
        (json!({ "description": "a\u{1b}[0m" }), "/description"),
    ];
    let urls = [
        "/success".to_owned(),
        "//your-domain.com/success".to_owned(),
        "http://your-domain.com/success".to_owned(),
        "https://your-domain.com:444/success".to_owned(),
        "https://sub.your-domain.com/".to_owned(),
        "https://your-domain.com.evil.example/".to_owned(),
        "https://evil.example/?https://your-domain.com/".to_owned(),
        "https://your-domain.com@evil.example/".to_owned(),
        "https://user:word@your-domain.com/".to_owned(),
        "https://evil.example\\@your-domain.com/".to_owned(),
        "https://your-domain.com\\.evil.example/".to_owned(),
        "https://your-domain.com/ x".to_owned(),
        " https://your-domain.com/".to_owned(),
        "https://your-domain.com/\t".to_owned(),
        "https://your-domain.com/\u{7f}".to_owned(),
        "javascript:alert(1)//https://your-domain.com".to_owned(),
        "ftp://your-domain.com/".to_owned(),
        "http://localhost:1/".to_owned(),
        format!("https://your-domain.com/{}", long(2025)),
    ];
    cases.push((json!({ "returnUrl": "" }), "/returnUrl"));
    for url in &urls {
        cases.push((json!({ "returnUrl": url }), "/returnUrl"));
        cases.push((json!({ "cancelUrl": url }), "/cancelUrl"));
    }
    let order = unique("ORD");
    for (members, pointer) in cases {
        let response = post("/apm-payments", &with(apm(&order), members.clone()), &[]).await;
        assert_eq!(response.problem(), (422, "VALIDATION_FAILED".to_owned()), "{members}");
        assert_eq!(response.pointers(), [pointer], "{members}");
    }
    assert!(calls(PROVIDER, &order).await.is_empty());
}

#[tokio::test]
async fn blank_fields_are_left_out() {
    let order = unique("ORD");
    let blank = json!({
        "email": "  customer@example.com ", "cancelUrl": "", "description": "", "phoneNumber": "", "quote": "",
    });
    let response = post("/apm-payments", &with(apm(&order), blank), &[]).await;
    assert_eq!(response.status, 201, "{response:?}");
    let sent: Value = serde_json::from_str(&calls(PROVIDER, &order).await[0].body).expect("JSON");
    assert_eq!(sent["email"], "customer@example.com");
    for name in ["cancelUrl", "description", "phoneNumber", "quote"] {
        assert_eq!(sent.get(name), None, "{name}");
    }
}

#[tokio::test]
async fn many_wrong_fields_make_a_small_response() {
    let members: serde_json::Map<_, _> = (0..5_000).map(|index| (format!("{index}"), json!(1))).collect();
    let response = post("/apm-payments", &Value::Object(members), &[]).await;
    assert_eq!(response.problem(), (422, "VALIDATION_FAILED".to_owned()));
    assert_eq!(response.pointers().len(), 100);
    assert_eq!(
        response.str("detail"),
        "More than 100 fields are wrong; errors shows the first 100."
    );
    assert!(response.text.len() < 20_000, "{}", response.text.len());
}

#[tokio::test]
async fn return_url_is_forwarded_as_validated() {
    for url in [
        "https://your-domain.com",
        "https://your-domain.com:443/success",
        "HTTPS://Your-Domain.com/success",
        "http://localhost:3000/?next=https://evil.example/@x#y",
        &format!("https://your-domain.com/{}", "x".repeat(2024)),
    ] {
        let order = unique("ORD");
        let response = post(
            "/apm-payments",
            &with(apm(&order), json!({ "returnUrl": url, "cancelUrl": url })),
            &[],
        )
        .await;
        assert_eq!(response.status, 201, "{url}: {response:?}");
        let calls = calls(PROVIDER, &order).await;
        let sent: Value = serde_json::from_str(&calls[0].body).expect("JSON");
        assert_eq!((&sent["returnUrl"], &sent["cancelUrl"]), (&json!(url), &json!(url)));
    }
}
