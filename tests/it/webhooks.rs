//! POST /webhooks/{provider}: the responses, in the order of the function's checks.

mod kept;
pub mod outcomes;
pub mod owners;
mod races;

use futures_util::future::join_all;
use payment_functions_local::sandbox::{Delivery, sign};
use payment_functions_tests::world::{AwsProxy, Fault, PRODUCTION_TIMEOUTS};
use reqwest::Method;

use crate::aws;
use crate::invoke;
use crate::support::{
    Provider, Response, Value, control, create, get_payment, json, post_to, request, send, status_of, unique, world,
};

/// The stand-ins' webhook secret.
pub const SECRET: &str = "whsec_test_secret";
const MAX_BODY: usize = 256 * 1024;
pub const PROVIDERS: [Provider; 2] = [Provider::Apolopay, Provider::Finvypay];

/// Sends one webhook from the stand-ins.
pub async fn send_webhook(spec: Value) -> Delivery {
    let mut deliveries = control()
        .await
        .webhooks(&spec)
        .await
        .unwrap_or_else(|error| panic!("{spec}: {error}"));
    deliveries.remove(0)
}

/// Sends one webhook from the stand-ins, which must be accepted.
pub async fn deliver(spec: Value) {
    let delivery = send_webhook(spec).await;
    assert_eq!(
        (delivery.status, delivery.body.as_str()),
        (Some(200), r#"{"received":true}"#),
        "{delivery:?}"
    );
}

/// The check of a FinvyPay transaction's unmatched webhooks, as the table's stream triggers it.
pub async fn check_claim(transaction: &str) {
    let items = aws::raw_items(&format!("UNMATCHED#finvypay#{transaction}")).await;
    let group = items.iter().find(|item| item["sk"]["S"] == "GROUP").expect("a group");
    let record = json!({ "eventName": "INSERT", "dynamodb": { "NewImage": group } });
    let reconciler = world()
        .await
        .lambda("reconcile-payments", &[])
        .await
        .expect("a function");
    let report = reconciler.invoke(json!({ "Records": [record] }).to_string()).await;
    let report: Value = serde_json::from_slice(&report.expect("a report")).expect("JSON");
    assert_eq!(report["failed"], 0, "{report}");
}

pub fn header(provider: Provider) -> &'static str {
    match provider {
        Provider::Apolopay => "x-signature",
        Provider::Finvypay => "fs-webhook-hash",
    }
}

/// The provider's own id of a payment, from the create response.
pub fn reference(created: &Response) -> String {
    match created.str("provider").as_str() {
        "apolopay" => created.str("processId"),
        _ => created.str("paymentId"),
    }
}

/// A body that completes the payment.
pub fn completion(created: &Response, metadata: &Value) -> Value {
    let (payment, order_id) = (created.json(), created.str("orderId"));
    match payment["provider"].as_str() {
        Some("apolopay") => json!({
            "id": payment["processId"], "status": "completed", "amount": payment["amount"], "metadata": metadata,
        }),
        _ => json!({
            "event": "payment.completed", "paymentId": payment["paymentId"], "orderId": order_id, "status": "COMPLETED",
            "amount": payment["amount"], "currency": payment["currency"], "metadata": metadata,
        }),
    }
}

/// Sends a signed body to the function at `base`.
pub async fn send_signed(base: &str, provider: Provider, body: &str, secret: &str) -> Response {
    let signature = sign(secret, body.as_bytes());
    send_with(base, provider, body, &[(header(provider), &signature)]).await
}

pub async fn send_with(base: &str, provider: Provider, body: &str, headers: &[(&str, &str)]) -> Response {
    post_to(base, &format!("/webhooks/{}", aws::name(provider)), body, headers).await
}

/// Invokes the function as Lambda does for its function URL, without the local gateway.
pub async fn invoke(method: &str, path: &str, headers: &Value, body: &str, base64: bool) -> Response {
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": headers,
        "requestContext": {
            "accountId": "anonymous", "apiId": "url", "domainName": "url.lambda-url.us-east-1.on.aws", "domainPrefix": "url",
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "it" },
            "requestId": "it", "routeKey": "$default", "stage": "$default",
            "time": "19/Mar/2026:12:00:00 +0000", "timeEpoch": 1_773_921_600_000_u64,
        },
        "body": body, "isBase64Encoded": base64,
    });
    invoke::invoke(world().await.functions_url(), "webhook-handler", event.to_string()).await
}

/// The DynamoDB calls.
pub fn dynamodb_calls(proxy: &AwsProxy) -> Vec<String> {
    let actions = proxy.calls().into_iter().map(|call| call.action);
    actions.filter(|action| action != "GetSecretValue").collect()
}

#[tokio::test]
async fn unknown_path_is_not_found() {
    let huge = "x".repeat(MAX_BODY + 1);
    for path in [
        "/",
        "/webhooks",
        "/webhooks/",
        "/webhooks/stripe",
        "/webhooks/ApoloPay",
        "/webhooks/apolopay/more",
        "/x/webhooks/apolopay",
        "/webhooks%2Fapolopay",
        "/apolopay",
    ] {
        for (method, body) in [("POST", "{}"), ("GET", ""), ("POST", huge.as_str())] {
            let response = invoke(method, path, &json!({}), body, false).await;
            assert_eq!(response.problem(), (404, "NOT_FOUND".to_owned()), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn only_post_is_allowed() {
    let huge = "x".repeat(MAX_BODY + 1);
    for provider in PROVIDERS {
        let path = format!("/webhooks/{}", aws::name(provider));
        for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let response = invoke(method, &path, &json!({}), &huge, false).await;
            assert_eq!(response.problem(), (405, "METHOD_NOT_ALLOWED".to_owned()), "{method}");
            assert_eq!(response.header("allow"), Some("POST"), "{method}");
        }
        let url = format!("{}{path}", world().await.functions_url());
        let response = send(request(Method::PUT, &url).body("{}")).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(response.whole(), @r#"
            405
            allow: POST
            cache-control: no-store
            content-type: application/problem+json

            {
              "code": "METHOD_NOT_ALLOWED",
              "detail": "Only POST is allowed here.",
              "status": 405,
              "title": "Method not allowed",
              "type": "urn:payment-functions:problem:method-not-allowed"
            }
            "#);
        }
    }
}

#[tokio::test]
async fn body_over_256_kib_is_refused() {
    let base = world().await.functions_url();
    let padded = |body: &Value, length: usize| {
        let body = body.to_string();
        let blanks = " ".repeat(length - body.len());
        body + &blanks
    };
    for provider in PROVIDERS {
        let created = create(provider, &unique("large")).await;
        let body = completion(&created, &json!({}));

        let over = padded(&body, MAX_BODY + 1);
        assert_eq!(over.len(), 262_145);
        for response in [
            send_with(base, provider, &over, &[]).await,
            send_signed(base, provider, &over, SECRET).await,
        ] {
            insta::allow_duplicates! {
                insta::assert_snapshot!(response.whole(), @r#"
                413
                cache-control: no-store
                content-type: application/problem+json

                {
                  "code": "PAYLOAD_TOO_LARGE",
                  "detail": "The body must be at most 262144 bytes.",
                  "status": 413,
                  "title": "The body is too large",
                  "type": "urn:payment-functions:problem:payload-too-large"
                }
                "#);
            }
        }
        // Base64 is a third longer; the limit counts the decoded bytes.
        let encoded = [("content-type", "application/octet-stream")];
        assert_eq!(send_with(base, provider, &over, &encoded).await.status, 413);
        assert_eq!(status_of(&created.str("id")).await, "pending");

        let just = padded(&body, MAX_BODY);
        assert_eq!(send_with(base, provider, &just, &[]).await.status, 401);
        let signature = sign(SECRET, just.as_bytes());
        let encoded = [encoded[0], (header(provider), signature.as_str())];
        assert_eq!(send_with(base, provider, &just, &encoded).await.status, 200);
        assert_eq!(status_of(&created.str("id")).await, "completed");
        assert_eq!(send_signed(base, provider, &just, SECRET).await.status, 200);
    }
}

/// Every kind of bad signature ([`vulnerabilities`](crate::vulnerabilities) has the missing one), for a body that would
/// complete a payment.
fn bad_signatures(provider: Provider, body: &str) -> Vec<Vec<(&'static str, String)>> {
    let right = sign(SECRET, body.as_bytes());
    let first_changed = format!("{}{}", if right.starts_with('0') { '1' } else { '0' }, &right[1..]);
    let last_changed = format!("{}{}", &right[..63], if right.ends_with('0') { '1' } else { '0' });
    let name = header(provider);
    let mut bad: Vec<Vec<(&'static str, String)>> = [
        String::new(),
        "not-a-signature".to_owned(),
        "0".repeat(64),
        first_changed,
        last_changed.clone(),
        right.to_uppercase(),
        format!("sha256={right}"),
        format!("0x{right}"),
        right[..62].to_owned(),
        format!("{right}00"),
        format!("{right},{right}"),
        // Lambda joins a header that occurs twice.
        format!("{right},{last_changed}"),
        format!("{right} {right}"),
        sign("whsec_of_someone_else", body.as_bytes()),
        sign("", body.as_bytes()),
        sign(SECRET, format!("{body}\n").as_bytes()),
        sign(SECRET, body.to_uppercase().as_bytes()),
        sign(SECRET, b""),
    ]
    .into_iter()
    .map(|signature| vec![(name, signature)])
    .collect();
    if provider == Provider::Apolopay {
        let documented = "x-apolopay-signature";
        for wrong in [last_changed, String::new(), "not-a-signature".to_owned()] {
            bad.push(vec![(documented, wrong)]);
        }
    }
    bad
}

#[tokio::test]
async fn bad_signature_gets_401_and_stores_nothing() {
    let (proxy, handler) = aws::behind_proxy("webhook-handler", &[]).await;
    for provider in PROVIDERS {
        let created = create(provider, &unique("forged")).await;
        let id = created.str("id");
        let good = completion(&created, &json!({ "paymentFunctionsId": id })).to_string();
        // Malformed JSON gets the same response: the signature comes before parsing.
        for body in [good.as_str(), "{no json"] {
            for headers in bad_signatures(provider, body) {
                let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let response = send_with(handler.url(), provider, body, &headers).await;
                assert_eq!(response.problem(), (401, "SIGNATURE_INVALID".to_owned()), "{headers:?}");
            }
        }
        assert_eq!(dynamodb_calls(&proxy), [""; 0]);
        assert_eq!(
            (status_of(&id).await.as_str(), aws::facts(&id).await.len()),
            ("pending", 0)
        );

        assert_eq!(send_signed(handler.url(), provider, &good, SECRET).await.status, 200);
        assert_eq!(status_of(&id).await, "completed", "only the signature was wrong");
        proxy.reset();
    }
    let response = send_with(handler.url(), Provider::Apolopay, "{}", &[]).await;
    assert_eq!(response.pointers(), [""; 0], "the reason is not revealed");
    insta::assert_snapshot!(response.whole(), @r#"
    401
    cache-control: no-store
    content-type: application/problem+json

    {
      "code": "SIGNATURE_INVALID",
      "detail": "The signature is missing, malformed or wrong.",
      "status": 401,
      "title": "The webhook's signature is not valid",
      "type": "urn:payment-functions:problem:signature-invalid"
    }
    "#);
}

#[tokio::test]
async fn every_usable_webhook_gets_200_and_is_stored() {
    let base = world().await.functions_url();
    for provider in PROVIDERS {
        let created = create(provider, &unique("taken")).await;
        let id = created.str("id");
        let body = completion(&created, &json!({ "paymentFunctionsId": id }));
        let applied = send_signed(base, provider, &body.to_string(), SECRET).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(applied.whole(), @r#"
            200
            cache-control: no-store
            content-type: application/json

            {
              "received": true
            }
            "#);
        }
        assert_eq!(
            (status_of(&id).await.as_str(), aws::facts(&id).await.len()),
            ("completed", 1)
        );
        let state = aws::state(&id).await;

        let duplicate = send_signed(base, provider, &body.to_string(), SECRET).await;
        assert_eq!(duplicate.whole(), applied.whole());
        assert_eq!(aws::facts(&id).await.len(), 1);

        let mut late = body.clone();
        late["event"] = json!("payment.pending");
        late["status"] = json!("PENDING");
        let no_effect = send_signed(base, provider, &late.to_string(), SECRET).await;
        assert_eq!(no_effect.whole(), applied.whole());
        assert_eq!(aws::facts(&id).await.len(), 2, "stored anyway");
        match provider {
            // No documented word of ApoloPay's says that a payment is pending.
            Provider::Apolopay => assert_eq!(aws::attention(&id).await, ["unrecognised_status"]),
            Provider::Finvypay => assert_eq!(aws::state(&id).await, state),
        }

        let mut unknown = body.clone();
        let reference = unique("nobody");
        for name in ["id", "paymentId", "orderId"] {
            if unknown.get(name).is_some() {
                unknown[name] = json!(reference);
            }
        }
        unknown["metadata"] = json!({});
        for _ in 0..2 {
            let unmatched = send_signed(base, provider, &unknown.to_string(), SECRET).await;
            assert_eq!(unmatched.whole(), applied.whole());
            assert_eq!(aws::unmatched(provider, &reference).await.len(), 1);
        }
    }
}

#[tokio::test]
async fn unstored_webhook_gets_503_and_its_retry_is_recorded_once() {
    let faults = [
        Fault::Disconnect,
        Fault::UNAVAILABLE,
        Fault::THROTTLED,
        // Stored, but the response is lost.
        Fault::LoseResponse,
        Fault::Hang,
    ];
    join_all(faults.into_iter().map(async |fault| {
        let (proxy, handler) = aws::behind_proxy("webhook-handler", &[PRODUCTION_TIMEOUTS]).await;
        for provider in PROVIDERS {
            for named in [true, false] {
                let created = create(provider, &unique("stored")).await;
                let id = created.str("id");
                let metadata = if named {
                    json!({ "paymentFunctionsId": id })
                } else {
                    json!({})
                };
                let body = completion(&created, &metadata).to_string();
                assert_eq!(
                    send_signed(handler.url(), provider, "{}", SECRET).await.status,
                    200,
                    "the secret is there"
                );
                proxy.fail("*", fault.clone());
                let response = send_signed(handler.url(), provider, &body, SECRET).await;
                insta::allow_duplicates! {
                    insta::assert_snapshot!(response.whole(), @r#"
                    503
                    cache-control: no-store
                    content-type: application/problem+json
                    retry-after: 5

                    {
                      "code": "UNAVAILABLE",
                      "detail": "Try again in a moment, with the same Idempotency-Key or quote if there was one.",
                      "status": 503,
                      "title": "The service is not available for the moment",
                      "type": "urn:payment-functions:problem:unavailable"
                    }
                    "#);
                }
                assert!(!dynamodb_calls(&proxy).is_empty());
                proxy.reset();
                assert_eq!(
                    send_signed(handler.url(), provider, &body, SECRET).await.status,
                    200,
                    "{fault:?}"
                );
                assert_eq!(status_of(&id).await, "completed", "{fault:?}");
                assert_eq!(aws::facts(&id).await.len(), 1, "{fault:?}");
            }
        }
    }))
    .await;
}

#[tokio::test]
async fn signature_covers_the_exact_bytes() {
    let base = world().await.functions_url();
    for provider in PROVIDERS {
        for metadata in [
            json!({ "note": "Zoë paid 25 € ✓ \u{1F4B6} مرحبا" }),
            json!({ "note": "tab\t quote\" back\\slash \u{0} \u{2028}" }),
        ] {
            let created = create(provider, &unique("exact")).await;
            let compact = completion(&created, &metadata).to_string();
            let pretty = format!(" \r\n{:#}\n\t", completion(&created, &metadata));
            // Equivalent JSON, but not the signed bytes.
            let signature = sign(SECRET, compact.as_bytes());
            let response = send_with(base, provider, &pretty, &[(header(provider), &signature)]).await;
            assert_eq!(response.status, 401);
            assert_eq!(send_signed(base, provider, &pretty, SECRET).await.status, 200);
            assert_eq!(status_of(&created.str("id")).await, "completed");
            assert_eq!(send_signed(base, provider, &compact, SECRET).await.status, 200);
            assert_eq!(aws::facts(&created.str("id")).await.len(), 1);
        }
    }
}

#[tokio::test]
async fn responses_and_logs_show_no_secret_or_body() {
    let (_proxy, handler) = aws::behind_proxy("webhook-handler", &[]).await;
    for provider in PROVIDERS {
        let created = create(provider, &unique("quiet")).await;
        let mut body = completion(&created, &json!({ "customerEmail": "jane@example.com" }));
        body["email"] = json!("jane@example.com");
        let signature = sign(SECRET, body.to_string().as_bytes());
        for body in [body.to_string(), r#"{"email":"jane@example.com"}"#.to_owned()] {
            for secret in [SECRET, "whsec_of_someone_else"] {
                let response = send_signed(handler.url(), provider, &body, secret).await;
                assert!(
                    !response.text.contains("jane@") && !response.text.contains(SECRET),
                    "{response:?}"
                );
            }
        }
        let log = handler.log();
        for hidden in [SECRET, "jane@example.com", signature.as_str()] {
            assert!(!log.contains(hidden), "{log}");
        }
        assert!(log.contains(&created.str("id")), "but the log names the payment: {log}");
    }
}

#[tokio::test]
async fn get_payment_shows_only_the_status_of_a_webhook() {
    let created = create(Provider::Finvypay, &unique("seen")).await;
    deliver(json!({ "provider": "finvypay", "orderId": created.str("orderId") })).await;
    let payment = get_payment(&created.str("id")).await.json();
    let names: Vec<&String> = payment.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "amount",
            "createdAt",
            "currency",
            "environment",
            "id",
            "orderId",
            "provider",
            "status",
            "updatedAt"
        ]
    );
}
