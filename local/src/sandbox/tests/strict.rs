//! Requests that the providers refuse.

use super::*;

const KEY: Option<&str> = Some("sk_local_apolopay");
const JSON: Option<&str> = Some("application/json");

impl Fixture {
    /// A preorder with any key, content type and body.
    fn raw_preorder(&self, key: Option<&str>, content_type: Option<&str>, body: &str) -> RequestBuilder {
        let url = format!("{}/payment-button/process/preorder", self.sandbox.apolopay_url());
        let mut request = self.http.post(url).body(body.to_owned());
        if let Some(key) = key {
            request = request.header("x-secret-key", key);
        }
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        request
    }
}

#[tokio::test]
async fn apolopay_refuses_wrong_keys_and_content_types() {
    let it = Fixture::new().await;
    let (wrong_key, wrong_type) = ("Invalid secret key", "content-type must be application/json");
    for (key, content_type, status, message) in [
        (None, JSON, 401, wrong_key),
        (Some("sk_other"), JSON, 401, wrong_key),
        (KEY, None, 415, wrong_type),
        (KEY, Some("text/plain"), 415, wrong_type),
    ] {
        let (got, body) = send(it.raw_preorder(key, content_type, PREORDER)).await;
        assert_eq!(got, status, "{body}");
        assert_eq!(body["message"], message);
        assert_eq!(body["statusCode"], status);
        assert!(body["error"].is_string());
    }
    let url = format!("{}/payment-button/process/preorder", it.sandbox.apolopay_url());
    let (status, _) = send(it.http.get(&url)).await;
    assert_eq!(status, 404, "GET of a POST route");
    let payments = it.control.payments(Provider::Apolopay, "ORD-9821").await.unwrap();
    assert!(payments.is_empty());
    let calls = it.control.calls(Provider::Apolopay, "ORD-9821").await.unwrap();
    assert_eq!(
        calls.calls.iter().map(|call| call.status.unwrap()).collect::<Vec<_>>(),
        [401, 401, 415, 415]
    );
    assert!(calls.calls.iter().all(|call| call.ids.is_empty()));

    let (status, body) = send(it.raw_preorder(KEY, Some("Application/JSON; charset=utf-8"), PREORDER)).await;
    assert_eq!(status, 201, "{body}");
}

#[tokio::test]
async fn apolopay_refuses_invalid_bodies() {
    let it = Fixture::new().await;
    let too_big = format!(r#"{{"amount":1,"metadata":{{"k":"{}"}}}}"#, "x".repeat(10_240));
    for (body, messages) in [
        ("{}", &["amount must be a number"][..]),
        (r#"{"amount":"25.50"}"#, &["amount must be a number"]),
        (r#"{"amount":0}"#, &["amount must be a positive number"]),
        (r#"{"amount":1.005}"#, &["amount must have at most two decimals"]),
        (r#"{"amount":1,"metadata":[]}"#, &["metadata must be an object"]),
        (r#"{"amount":1,"metadata":null}"#, &["metadata must be an object"]),
        (&too_big, &["metadata must not be larger than 10 KB"]),
        (
            r#"{"amount":-1,"currency":"USD"}"#,
            &["property currency should not exist", "amount must be a positive number"],
        ),
    ] {
        let (status, body) = send(it.raw_preorder(KEY, JSON, body)).await;
        assert_eq!(status, 400, "{body}");
        assert_eq!(body["message"], json!(messages));
        assert_eq!(body["statusCode"], 400);
        assert!(body["error"].is_string());
    }
    for malformed in ["", "{", "[]", "25", r#"{"amount":1,"amount":2}"#, "{\"amount\":1}x"] {
        let (status, body) = send(it.raw_preorder(KEY, JSON, malformed)).await;
        assert_eq!(
            (status.as_u16(), body["message"].is_string()),
            (400, true),
            "{malformed}"
        );
    }
    let payments = it.control.all_payments(Provider::Apolopay).await.unwrap();
    assert!(payments.is_empty());
}

/// A create call at FinvyPay that passes its checks.
fn valid() -> Value {
    apm("strict", "https://shop.example/hook")
}

fn valid_but(name: &str, value: Value) -> Value {
    let mut body = valid();
    body[name] = value;
    body
}

#[tokio::test]
async fn finvypay_refuses_invalid_fields() {
    let it = Fixture::new().await;
    let (text, url) = (
        "must be a string that is not empty",
        "must be an absolute http or https URL",
    );
    for (name, value, problem) in [
        ("orderId", json!(5), text),
        ("amount", json!("99.99"), "must be a number"),
        ("amount", json!(0), "must be a positive number"),
        ("amount", json!(0.001), "must have at most two decimals"),
        ("currency", json!("usd"), "must be three upper-case letters"),
        ("currency", json!("US"), "must be three upper-case letters"),
        ("paymentMethod", json!(null), text),
        ("firstName", json!(""), text),
        ("lastName", json!([]), text),
        ("email", json!("nobody"), "must be an e-mail address"),
        ("returnUrl", json!("/success"), url),
        ("webhookUrl", json!("ftp://shop.example/hook"), url),
        ("cancelUrl", json!("shop.example"), url),
        ("description", json!(null), text),
        ("phoneNumber", json!(491_701_234), text),
        ("merchantProfileId", json!("7"), "must be a number"),
        ("metadata", json!("text"), "must be an object"),
        (
            "metadata",
            json!({"k": "x".repeat(10_240)}),
            "must not be larger than 10 KB",
        ),
        ("quote", json!("jwt"), "is not a known field"),
    ] {
        let (status, body) = send(it.create_apm(&valid_but(name, value))).await;
        assert_eq!(status, 400, "{name}: {body}");
        let details = json!({ name: problem });
        let error = json!({"code": "INVALID_REQUEST", "message": "Validation failed", "details": details});
        assert_eq!(body, json!({"success": false, "error": error}));
    }
    let (status, body) = send(it.create_apm(&valid_but("paymentMethod", json!("bank_slip")))).await;
    assert_eq!(
        (status.as_u16(), &body["error"]["code"]),
        (400, &json!("INVALID_PAYMENT_METHOD"))
    );
    let payments = it.control.payments(Provider::Finvypay, "strict").await.unwrap();
    assert!(payments.is_empty());
    assert_eq!(send(it.create_apm(&valid())).await.0, 200);
}

#[tokio::test]
async fn finvypay_names_all_missing_fields() {
    let it = Fixture::new().await;
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
}

#[tokio::test]
async fn finvypay_refuses_wrong_keys_bodies_paths_and_methods() {
    let it = Fixture::new().await;
    let valid = valid();
    let url = format!("{}/api/v1/sandbox/apm", it.sandbox.finvypay_url());
    let post = |key: &str| it.http.post(&url).header("authorization", key);
    for (request, status, code) in [
        (it.http.post(&url).json(&valid), 401, "UNAUTHORIZED"),
        (post("Bearer fp_other").json(&valid), 401, "UNAUTHORIZED"),
        (post("fp_local_finvypay").json(&valid), 401, "UNAUTHORIZED"),
        (
            post("Bearer fp_local_finvypay").body(valid.to_string()),
            400,
            "INVALID_REQUEST",
        ),
        (
            post("Bearer fp_local_finvypay").json(&valid).body("{\"orderId\":"),
            400,
            "INVALID_REQUEST",
        ),
        (it.http.post(url.replace("/v1", "")).json(&valid), 404, "NOT_FOUND"),
        (
            it.http.post(url.replace("sandbox/apm", "staging/apm")).json(&valid),
            404,
            "NOT_FOUND",
        ),
        (it.http.put(&url).json(&valid), 404, "NOT_FOUND"),
    ] {
        let (got, body) = send(request).await;
        assert_eq!((got.as_u16(), &body["error"]["code"]), (status, &json!(code)), "{body}");
    }
    let payments = it.control.payments(Provider::Finvypay, "strict").await.unwrap();
    assert!(payments.is_empty());
}
