//! What a developer gets wrong first: the caller gets the contract's answer, and the log one line that says what to do.

use std::time::Duration;

use payment_functions_tests::world::{Attached, Fault};
use reqwest::Method;

use crate::aws;
use crate::support::*;
use crate::webhooks::{SECRET, send_signed};

/// What a function logged as errors.
fn errors(function: &Attached) -> Vec<Value> {
    entries(&function.log())
        .filter(|line| line["level"] == "ERROR")
        .collect()
}

/// The one error that a function logged. Its line may come after its answer.
async fn the_error(function: &Attached) -> Value {
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
        panic!("not one error: {errors:?}");
    };
    error.clone()
}

async fn attach(function: &str, changes: &[(&str, Option<&str>)]) -> Attached {
    let attached = world().await.attach(function, 1, changes).await.expect("a function");
    attached.ready().await.expect("a start");
    attached
}

/// Makes a request that needs everything that the function has.
async fn ask(function: &Attached, name: &str) -> Answer {
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
async fn the_table_is_missing() {
    let table = unique("missing");
    let aws = world().await.aws_url();
    let what_to_do = format!(
        "there is no table {table} in us-east-1 at {aws}: create it, or set PAYMENTS_TABLE and AWS_REGION to where it is"
    );
    for name in ALL {
        let function = attach(name, &[("PAYMENTS_TABLE", Some(&table))]).await;
        let answer = ask(&function, name).await;
        assert_eq!(answer.problem(), (503, "UNAVAILABLE".to_owned()), "{name}");
        assert!(!answer.text.contains(&table), "{name}: {answer:?}");
        let error = the_error(&function).await;
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
async fn nothing_listens_where_the_table_is_looked_for() {
    let place = "in us-east-1 at http://127.0.0.1:9";
    let nowhere = ("AWS_ENDPOINT_URL_DYNAMODB", Some("http://127.0.0.1:9"));
    let function = attach("get-payment", &[nowhere]).await;
    assert_eq!(ask(&function, "get-payment").await.problem().0, 503);
    let error = the_error(&function).await["error"].as_str().expect("a text").to_owned();
    // Where the tries take longer than they may together.
    let reasons =
        ["no connection", "no answer in time"].map(|reason| format!("DynamoDB GetItem failed: {reason} {place}"));
    assert!(reasons.contains(&error), "{error}");
}

#[tokio::test]
async fn aws_refuses_the_function_its_rights_or_does_not_know_it() {
    for (code, what_to_do) in [
        (
            "AccessDeniedException",
            "give the function's role the rights that it has in template.yaml",
        ),
        (
            "UnrecognizedClientException",
            "the credentials are not good: give the function others",
        ),
        (
            "ExpiredTokenException",
            "the credentials are not good: give the function others",
        ),
    ] {
        let (proxy, function) = aws::behind_proxy("get-payment", &[]).await;
        proxy.fail("GetItem", Fault::Error(400, code));
        assert_eq!(ask(&function, "get-payment").await.problem().0, 503, "{code}");
        let place = format!("for the table payments in us-east-1 at {}", proxy.url());
        let expected = format!("DynamoDB GetItem failed: {code} {place}: {what_to_do}");
        assert_eq!(the_error(&function).await["error"], expected);

        let (proxy, function) = aws::without_secrets("create-preorder", &[]).await;
        proxy.fail("GetSecretValue", Fault::Error(400, code));
        assert_eq!(ask(&function, "create-preorder").await.problem().0, 503, "{code}");
        let error = the_error(&function).await;
        assert_eq!(error["secret"], "payment-functions/apolopay");
        assert_eq!(
            error["error"],
            format!("{code}: {what_to_do} (secretsmanager:GetSecretValue)")
        );
    }
}

#[tokio::test]
async fn a_secret_has_the_wrong_shape() {
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
            // Nothing to verify with is another matter.
            if name == "webhook-handler" && value.get("other").is_some() {
                continue;
            }
            let secret = aws::create_secret(&value).await;
            let function = attach(name, &[(variable, Some(&secret))]).await;
            let answer = if variable == "QUOTE_SECRET_ID" {
                let mut body = preorder(&unique("o"));
                body["quote"] = json!("e30.e30.AAAA");
                post_to(function.url(), "/preorders", body.to_string(), &[]).await
            } else {
                ask(&function, name).await
            };
            assert_eq!(answer.problem(), (503, "UNAVAILABLE".to_owned()), "{name} {value}");
            let error = the_error(&function).await;
            assert_eq!(
                (&error["message"], &error["secret"]),
                (&json!("secret not fetched"), &json!(secret))
            );
            let text = error["error"].as_str().expect("a text");
            let member = format!("it must be a JSON object with a text in {member}");
            assert!(text.starts_with(&member), "{name} {value}: {text}");
            assert!(
                text.ends_with(": store that with aws secretsmanager put-secret-value"),
                "{text}"
            );
            assert!(!function.log().contains(content) && !answer.text.contains(content));
        }
    }
}

#[tokio::test]
async fn a_secret_does_not_exist() {
    let missing = unique("no-secret");
    for (name, variable, status) in [
        ("create-preorder", "APOLOPAY_SECRET_ID", 503),
        ("create-apm", "FINVYPAY_SECRET_ID", 503),
        ("webhook-handler", "FINVYPAY_SECRET_ID", 401),
    ] {
        let function = attach(name, &[(variable, Some(&missing))]).await;
        assert_eq!(ask(&function, name).await.problem().0, status, "{name}");
        let error = the_error(&function).await;
        assert_eq!(error["secret"], json!(missing));
        let what_to_do =
            "it does not exist in this region, or has no value: create it, or give the function another id";
        assert_eq!(error["error"], what_to_do);
    }
}

#[tokio::test]
async fn a_secret_has_nothing_to_verify_webhooks_with() {
    for value in [
        json!({ "apiKey": "k", "webhooksecret": SECRET }),
        json!({ "apiKey": "k", "webhookSecret": "" }),
    ] {
        let secret = aws::create_secret(&value).await;
        let function = attach("webhook-handler", &[("FINVYPAY_SECRET_ID", Some(&secret))]).await;
        assert_eq!(ask(&function, "webhook-handler").await.problem().0, 401);
        let error = the_error(&function).await;
        let said = (&error["message"], &error["secret"], &error["member"]);
        let message = json!("no webhook verifies: the secret has nothing in this member");
        assert_eq!(said, (&message, &json!(secret), &json!("webhookSecret")));
    }
}

/// The alarm `UnusableWebhooks` sends whoever is woken up to this line.
#[tokio::test]
async fn a_provider_sends_webhooks_that_cannot_be_read() {
    let handler = attach("webhook-handler", &[]).await;
    let body = r#"{"event":"payment.completed","payer":"jane@example.com"}"#;
    let answer = send_signed(handler.url(), Provider::Finvypay, body, SECRET).await;
    assert_eq!(answer.problem(), (400, "WEBHOOK_UNUSABLE".to_owned()));
    let error = the_error(&handler).await;
    let shown = ["message", "provider", "reason"].map(|name| error[name].as_str().expect("a text"));
    assert_eq!(
        shown,
        [
            "a signed webhook cannot be read",
            "finvypay",
            "the body names no payment"
        ]
    );
    assert!(!handler.log().contains("jane@"), "never the body");
}
