//! A developer's first mistakes: the caller gets the contract's response, and one log line says what to do.

use std::time::Duration;

use payment_functions_tests::world::{Attached, Fault};
use reqwest::Method;

use crate::aws;
use crate::support::*;
use crate::webhooks::{SECRET, send_signed};

/// The errors in a function's log.
fn errors(function: &Attached) -> Vec<Value> {
    entries(&function.log())
        .filter(|line| line["level"] == "ERROR")
        .collect()
}

/// The only error in a function's log. The line may come after the response.
async fn only_error(function: &Attached) -> Value {
    let logged = async {
        while errors(function).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        errors(function)
    };
    let errors = tokio::time::timeout(Duration::from_secs(20), logged)
        .await
        .expect("an error");
    let [error] = errors.as_slice() else {
        panic!("expected one error: {errors:?}");
    };
    error.clone()
}

async fn attach(function: &str, changes: &[(&str, Option<&str>)]) -> Attached {
    let attached = world().await.attach(function, 1, changes).await.expect("a function");
    attached.ready().await.expect("a start");
    attached
}

/// Sends a request that needs all of the function's dependencies.
async fn send_request(function: &Attached, name: &str) -> Response {
    match name {
        "create-preorder" => post_to(function.url(), "/preorders", preorder(&unique("o")).to_string(), &[]).await,
        "create-apm" => post_to(function.url(), "/apm-payments", apm(&unique("o")).to_string(), &[]).await,
        "get-payment" => {
            let url = format!("{}/payments/00000000-0000-4000-8000-000000000000", function.url());
            send(request(Method::GET, &url)).await
        }
        _ => {
            let body = json!({ "event": "payment.completed", "status": "COMPLETED", "orderId": unique("o"),
                "paymentId": unique("pay"), "amount": 1, "currency": "USD" });
            send_signed(function.url(), Provider::Finvypay, &body.to_string(), SECRET).await
        }
    }
}

const ALL: [&str; 4] = ["create-preorder", "create-apm", "get-payment", "webhook-handler"];

#[tokio::test]
async fn missing_table_is_reported() {
    let table = unique("missing");
    let aws = world().await.aws_url();
    let what_to_do = format!(
        "there is no table {table} in us-east-1 at {aws}: create it, or set PAYMENTS_TABLE and AWS_REGION to where it is"
    );
    for name in ALL {
        let function = attach(name, &[("PAYMENTS_TABLE", Some(&table))]).await;
        let response = send_request(&function, name).await;
        assert_eq!(response.problem(), (503, "UNAVAILABLE".to_owned()), "{name}");
        assert!(!response.text.contains(&table), "{name}: {response:?}");
        let error = only_error(&function).await;
        let text = error["error"].as_str().expect("a text");
        assert!(text.ends_with(&what_to_do), "{name}: {text}");
    }
    let reconciler = attach("reconcile-payments", &[("PAYMENTS_TABLE", Some(&table))]).await;
    let gateway = reconciler.invocations().expect("a client");
    let limit = Duration::from_secs(30);
    let words = gateway
        .invoke("reconcile-payments", r#"{"action":"sweep"}"#.to_owned(), limit)
        .await;
    assert!(
        words.as_ref().is_err_and(|words| words.ends_with(&what_to_do)),
        "{words:?}"
    );
}

#[tokio::test]
async fn unreachable_dynamodb_is_reported() {
    let place = "in us-east-1 at http://127.0.0.1:9";
    let nowhere = ("AWS_ENDPOINT_URL_DYNAMODB", Some("http://127.0.0.1:9"));
    let function = attach("get-payment", &[nowhere]).await;
    assert_eq!(send_request(&function, "get-payment").await.problem().0, 503);
    let error = only_error(&function).await["error"]
        .as_str()
        .expect("a text")
        .to_owned();
    // If the attempts exceed the operation timeout.
    let reasons = ["no connection", "timed out"].map(|reason| format!("DynamoDB GetItem failed: {reason} {place}"));
    assert!(reasons.contains(&error), "{error}");
}

#[tokio::test]
async fn aws_permission_errors_are_reported() {
    for (code, what_to_do) in [
        (
            "AccessDeniedException",
            "grant the function's role the permissions listed in template.yaml",
        ),
        (
            "UnrecognizedClientException",
            "the credentials are invalid: give the function new ones",
        ),
        (
            "ExpiredTokenException",
            "the credentials are invalid: give the function new ones",
        ),
    ] {
        let (proxy, function) = aws::behind_proxy("get-payment", &[]).await;
        proxy.fail("GetItem", Fault::Error(400, code));
        assert_eq!(send_request(&function, "get-payment").await.problem().0, 503, "{code}");
        let place = format!("for the table payments in us-east-1 at {}", proxy.url());
        let expected = format!("DynamoDB GetItem failed: {code} {place}: {what_to_do}");
        assert_eq!(only_error(&function).await["error"], expected);

        let (proxy, function) = aws::without_secrets("create-preorder", &[]).await;
        proxy.fail("GetSecretValue", Fault::Error(400, code));
        assert_eq!(
            send_request(&function, "create-preorder").await.problem().0,
            503,
            "{code}"
        );
        let error = only_error(&function).await;
        assert_eq!(error["secret"], "payment-functions/apolopay");
        assert_eq!(
            error["error"],
            format!("{code}: {what_to_do} (secretsmanager:GetSecretValue)")
        );
    }
}

#[tokio::test]
async fn malformed_secret_is_reported() {
    let content = "sk_that_nobody_may_read";
    for (name, variable, member) in [
        ("create-preorder", "APOLOPAY_SECRET_ID", "secretKey"),
        ("create-apm", "FINVYPAY_SECRET_ID", "apiKey"),
        ("webhook-handler", "FINVYPAY_SECRET_ID", "webhookSecret"),
        ("create-preorder", "QUOTE_SECRET_ID", "key"),
    ] {
        let wrong = [
            json!(content),
            json!([content]),
            json!({ member: [content] }),
            json!({ "other": content }),
        ];
        for value in wrong {
            // A missing webhook secret is a different case.
            if name == "webhook-handler" && value.get("other").is_some() {
                continue;
            }
            let secret = aws::create_secret(&value).await;
            let function = attach(name, &[(variable, Some(&secret))]).await;
            let response = if variable == "QUOTE_SECRET_ID" {
                let mut body = preorder(&unique("o"));
                body["quote"] = json!("e30.e30.AAAA");
                post_to(function.url(), "/preorders", body.to_string(), &[]).await
            } else {
                send_request(&function, name).await
            };
            assert_eq!(response.problem(), (503, "UNAVAILABLE".to_owned()), "{name} {value}");
            let error = only_error(&function).await;
            assert_eq!(
                (&error["message"], &error["secret"]),
                (&json!("failed to read secret"), &json!(secret))
            );
            let text = error["error"].as_str().expect("a text");
            let member = format!("the secret must be a JSON object with a string in {member}");
            assert!(text.starts_with(&member), "{name} {value}: {text}");
            assert!(
                text.ends_with(": store it with aws secretsmanager put-secret-value"),
                "{text}"
            );
            assert!(!function.log().contains(content) && !response.text.contains(content));
        }
    }
}

#[tokio::test]
async fn missing_secret_is_reported() {
    let missing = unique("no-secret");
    for (name, variable, status) in [
        ("create-preorder", "APOLOPAY_SECRET_ID", 503),
        ("create-apm", "FINVYPAY_SECRET_ID", 503),
        ("webhook-handler", "FINVYPAY_SECRET_ID", 401),
    ] {
        let function = attach(name, &[(variable, Some(&missing))]).await;
        assert_eq!(send_request(&function, name).await.problem().0, status, "{name}");
        let error = only_error(&function).await;
        assert_eq!(error["secret"], json!(missing));
        let what_to_do =
            "the secret does not exist in this region, or has no value: create it, or configure another id";
        assert_eq!(error["error"], what_to_do);
    }
}

#[tokio::test]
async fn secret_without_webhook_secret_is_reported() {
    for value in [
        json!({ "apiKey": "k", "webhooksecret": SECRET }),
        json!({ "apiKey": "k", "webhookSecret": "" }),
    ] {
        let secret = aws::create_secret(&value).await;
        let function = attach("webhook-handler", &[("FINVYPAY_SECRET_ID", Some(&secret))]).await;
        assert_eq!(send_request(&function, "webhook-handler").await.problem().0, 401);
        let error = only_error(&function).await;
        let said = (&error["message"], &error["secret"], &error["member"]);
        let message = json!("webhooks cannot be verified: the secret has no value in this member");
        assert_eq!(said, (&message, &json!(secret), &json!("webhookSecret")));
    }
}

/// The runbook's section on the alarm `QuarantinedWebhooks` refers to this line.
#[tokio::test]
async fn unreadable_webhook_is_reported() {
    let handler = attach("webhook-handler", &[]).await;
    let body = r#"{"event":"payment.completed","payer":"jane@example.com"}"#;
    let response = send_signed(handler.url(), Provider::Finvypay, body, SECRET).await;
    assert_eq!(response.status, 200);
    let error = only_error(&handler).await;
    let shown = ["message", "provider", "reason"].map(|name| error[name].as_str().expect("a text"));
    assert_eq!(
        shown,
        [
            "a signed webhook cannot be read: it is in quarantine",
            "finvypay",
            "the body names no payment"
        ]
    );
    assert!(!handler.log().contains("jane@"), "the body is not logged");
}
