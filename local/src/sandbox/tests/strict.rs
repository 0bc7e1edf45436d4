//! What the providers refuse.

use super::*;

#[tokio::test]
async fn apolopay_refuses_what_the_real_one_refuses() {
    let it = Fixture::new().await;
    let url = format!("{}/payment-button/process/preorder", it.sandbox.apolopay_url());
    let post = |key: Option<&str>, media_type: Option<&str>, body: &str| {
        let mut request = it.http.post(&url).body(body.to_owned());
        if let Some(key) = key {
            request = request.header("x-secret-key", key);
        }
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        request
    };
    let good = Some("sk_local_apolopay");
    let json_type = Some("application/json");
    let too_big = format!(r#"{{"amount":1,"metadata":{{"k":"{}"}}}}"#, "x".repeat(10_240));
    for (request, status, message) in [
        (post(None, json_type, PREORDER), 401, json!("Invalid secret key")),
        (
            post(Some("sk_other"), json_type, PREORDER),
            401,
            json!("Invalid secret key"),
        ),
        (
            post(good, None, PREORDER),
            415,
            json!("content-type must be application/json"),
        ),
        (
            post(good, Some("text/plain"), PREORDER),
            415,
            json!("content-type must be application/json"),
        ),
        (post(good, json_type, "{}"), 400, json!(["amount must be a number"])),
        (
            post(good, json_type, r#"{"amount":"25.50"}"#),
            400,
            json!(["amount must be a number"]),
        ),
        (
            post(good, json_type, r#"{"amount":0}"#),
            400,
            json!(["amount must be a positive number"]),
        ),
        (
            post(good, json_type, r#"{"amount":1.005}"#),
            400,
            json!(["amount must have at most two decimals"]),
        ),
        (
            post(good, json_type, r#"{"amount":1,"metadata":[]}"#),
            400,
            json!(["metadata must be an object"]),
        ),
        (
            post(good, json_type, r#"{"amount":1,"metadata":null}"#),
            400,
            json!(["metadata must be an object"]),
        ),
        (
            post(good, json_type, &too_big),
            400,
            json!(["metadata must not be larger than 10 KB"]),
        ),
        (
            post(good, json_type, r#"{"amount":-1,"currency":"USD"}"#),
            400,
            json!(["property currency should not exist", "amount must be a positive number"]),
        ),
    ] {
        let (got, body) = send(request).await;
        assert_eq!(got, status, "{body}");
        assert_eq!(body["message"], message);
        assert_eq!(body["statusCode"], status);
        assert!(body["error"].is_string());
    }
    for malformed in ["", "{", "[]", "25", r#"{"amount":1,"amount":2}"#, "{\"amount\":1}x"] {
        let (got, body) = send(post(good, json_type, malformed)).await;
        assert_eq!((got.as_u16(), body["message"].is_string()), (400, true), "{malformed}");
    }
    let (status, _) = send(it.http.get(&url)).await;
    assert_eq!(status, 404, "GET of a POST route");
    assert!(
        it.control
            .payments(Provider::Apolopay, "ORD-9821")
            .await
            .unwrap()
            .is_empty()
    );
    let calls = it.control.calls(Provider::Apolopay, "ORD-9821").await.unwrap();
    assert_eq!(
        calls.calls.iter().map(|call| call.status.unwrap()).collect::<Vec<_>>(),
        [401, 401, 415, 415]
    );
    assert!(calls.calls.iter().all(|call| call.ids.is_empty()));

    let (status, body) = send(post(good, Some("Application/JSON; charset=utf-8"), PREORDER)).await;
    assert_eq!(status, 201, "{body}");
}

#[tokio::test]
async fn finvypay_refuses_what_the_real_one_refuses() {
    let it = Fixture::new().await;
    let good = apm("strict", "https://shop.example/hook");
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    for (name, value, problem) in [
        ("orderId", json!(5), "must be a string that is not empty"),
        ("amount", json!("99.99"), "must be a number"),
        ("amount", json!(0), "must be a positive number"),
        ("amount", json!(0.001), "must have at most two decimals"),
        ("currency", json!("usd"), "must be three upper-case letters"),
        ("currency", json!("US"), "must be three upper-case letters"),
        ("paymentMethod", json!(null), "must be a string that is not empty"),
        ("firstName", json!(""), "must be a string that is not empty"),
        ("lastName", json!([]), "must be a string that is not empty"),
        ("email", json!("nobody"), "must be an e-mail address"),
        ("returnUrl", json!("/success"), "must be an absolute http or https URL"),
        (
            "webhookUrl",
            json!("ftp://shop.example/hook"),
            "must be an absolute http or https URL",
        ),
        (
            "cancelUrl",
            json!("shop.example"),
            "must be an absolute http or https URL",
        ),
        ("description", json!(null), "must be a string that is not empty"),
        ("phoneNumber", json!(491_701_234), "must be a string that is not empty"),
        ("merchantProfileId", json!("7"), "must be a number"),
        ("metadata", json!("text"), "must be an object"),
        (
            "metadata",
            json!({"k": "x".repeat(10_240)}),
            "must not be larger than 10 KB",
        ),
        ("quote", json!("jwt"), "is not a known field"),
    ] {
        let (status, body) = send(it.create_apm(&with(name, value))).await;
        assert_eq!(status, 400, "{name}: {body}");
        let details = json!({ name: problem });
        let error = json!({"code": "INVALID_REQUEST", "message": "Validation failed", "details": details});
        assert_eq!(body, json!({"success": false, "error": error}));
    }
    let required = [
        "orderId",
        "amount",
        "currency",
        "paymentMethod",
        "firstName",
        "lastName",
        "email",
        "returnUrl",
        "webhookUrl",
    ];
    let (status, body) = send(it.create_apm(&json!({}))).await;
    assert_eq!(status, 400);
    let details = body["error"]["details"].as_object().unwrap();
    assert_eq!(details.len(), required.len(), "{details:?}");
    assert!(required.iter().all(|name| details[*name] == "is required"));

    let (status, body) = send(it.create_apm(&with("paymentMethod", json!("bank_slip")))).await;
    assert_eq!(
        (status.as_u16(), &body["error"]["code"]),
        (400, &json!("INVALID_PAYMENT_METHOD"))
    );

    let url = format!("{}/api/v1/sandbox/apm", it.sandbox.finvypay_url());
    let post = |key: &str| it.http.post(&url).header("authorization", key);
    for (request, status, code) in [
        (it.http.post(&url).json(&good), 401, "UNAUTHORIZED"),
        (post("Bearer fp_other").json(&good), 401, "UNAUTHORIZED"),
        (post("fp_local_finvypay").json(&good), 401, "UNAUTHORIZED"),
        (
            post("Bearer fp_local_finvypay").body(good.to_string()),
            400,
            "INVALID_REQUEST",
        ),
        (
            post("Bearer fp_local_finvypay").json(&good).body("{\"orderId\":"),
            400,
            "INVALID_REQUEST",
        ),
        (it.http.post(url.replace("/v1", "")).json(&good), 404, "NOT_FOUND"),
        (
            it.http.post(url.replace("sandbox/apm", "staging/apm")).json(&good),
            404,
            "NOT_FOUND",
        ),
        (it.http.put(&url).json(&good), 404, "NOT_FOUND"),
    ] {
        let (got, body) = send(request).await;
        assert_eq!((got.as_u16(), &body["error"]["code"]), (status, &json!(code)), "{body}");
    }
    assert!(
        it.control
            .payments(Provider::Finvypay, "strict")
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(send(it.create_apm(&good)).await.0, 200);
}
