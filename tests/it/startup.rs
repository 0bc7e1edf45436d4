//! A function with a missing or wrong variable stops at its start with one clear line and a failing exit code.

use std::process::{Output, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use payment_functions_tests::world::PRODUCTION_TIMEOUTS;
use tokio::process::Command;
use tokio::time::timeout;

use super::aws;
use super::support::*;

const AWS: [&str; 3] = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// Runs a function with a changed local environment.
async fn run(function: &str, changes: &[(&str, Option<&str>)]) -> Output {
    let world = world().await;
    let mut environment = world.environment(function).expect("its environment");
    // The other name of the region.
    environment.remove("AWS_DEFAULT_REGION");
    for (name, value) in changes {
        match value {
            Some(value) => environment.insert((*name).to_owned(), (*value).to_owned()),
            None => environment.remove(*name),
        };
    }
    let mut command = Command::new(world.binary(function).expect("its binary"));
    command
        .env_clear()
        .envs(environment)
        // Nothing listens there, so a function that starts anyway does not run on.
        .env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9")
        .env("AWS_LAMBDA_FUNCTION_NAME", function)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(Duration::from_secs(30), command.output()).await;
    output
        .unwrap_or_else(|_| panic!("{function} starts with {changes:?}"))
        .expect("it runs")
}

async fn assert_stops(function: &str, variable: &str, value: Option<&str>, line: &str) {
    let output = run(function, &[(variable, value)]).await;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(text, format!("{function}: {variable} {line}\n"), "{value:?}");
    assert_eq!(output.status.code(), Some(1), "{function} {variable} {value:?}");
}

#[tokio::test]
async fn missing_variable_stops_the_start() {
    let own: [(&str, &[&str]); 6] = [
        ("create-preorder", &["PAYMENTS_TABLE", "APOLOPAY_SECRET_ID"]),
        (
            "create-apm",
            &[
                "PAYMENTS_TABLE",
                "FINVYPAY_SECRET_ID",
                "WEBHOOK_BASE_URL",
                "ALLOWED_RETURN_ORIGINS",
            ],
        ),
        (
            "webhook-handler",
            &["PAYMENTS_TABLE", "APOLOPAY_SECRET_ID", "FINVYPAY_SECRET_ID"],
        ),
        ("get-payment", &["PAYMENTS_TABLE"]),
        ("reconcile-payments", &["PAYMENTS_TABLE", "FINVYPAY_SECRET_ID"]),
        (
            "publish-events",
            &["PAYMENTS_TABLE", "EVENT_BUS", "DEAD_LETTER_QUEUE_URL"],
        ),
    ];
    for (function, variables) in own {
        let variables = variables.iter().chain(&AWS);
        join_all(variables.flat_map(|variable| {
            let line = "is not set: see docs/configuration.md";
            [None, Some(""), Some(" ")].map(|value| assert_stops(function, variable, value, line))
        }))
        .await;
    }
}

#[tokio::test]
async fn wrong_variable_stops_the_start() {
    let address = "must be an https URL, or http on a loopback host";
    let origins = "must be a comma-separated list of origins such as https://shop.example";
    let namespace =
        "must have at most 255 characters, only letters, digits and .-_/#: and must not start with : or AWS/";
    let orders = "must be confirm or trust";
    let days = "must be 0 (never) or 30 to 9999 days";
    let cases = [
        (
            "create-preorder",
            "APOLOPAY_BASE_URL",
            "http://pb-api.apolopay.app",
            address,
        ),
        ("create-preorder", "APOLOPAY_BASE_URL", "pb-api.apolopay.app", address),
        ("create-apm", "FINVYPAY_BASE_URL", "ftp://127.0.0.1", address),
        (
            "create-apm",
            "FINVYPAY_BASE_URL",
            "https://api.finvypay.com/?x",
            address,
        ),
        ("reconcile-payments", "FINVYPAY_BASE_URL", "api.finvypay.com", address),
        (
            "reconcile-payments",
            "FINVYPAY_ENVIRONMENT",
            "live",
            "must be sandbox or production",
        ),
        ("webhook-handler", "ORDER_ONLY_WEBHOOKS", "Trust", orders),
        ("reconcile-payments", "ORDER_ONLY_WEBHOOKS", "always", orders),
        (
            "reconcile-payments",
            "FINVYPAY_REQUESTS_PER_MINUTE",
            "0",
            "must be 1 to 100000",
        ),
        ("reconcile-payments", "DELETE_UNPAID_AFTER_DAYS", "29", days),
        ("reconcile-payments", "DELETE_UNPAID_AFTER_DAYS", "never", days),
        ("create-apm", "WEBHOOK_BASE_URL", "http://hooks.example", address),
        ("create-apm", "WEBHOOK_BASE_URL", "hooks.example", address),
        (
            "create-apm",
            "FINVYPAY_ENVIRONMENT",
            "live",
            "must be sandbox or production",
        ),
        (
            "create-apm",
            "FINVYPAY_ENVIRONMENT",
            "Production",
            "must be sandbox or production",
        ),
        ("get-payment", "METRICS_NAMESPACE", "AWS/Lambda", namespace),
        ("reconcile-payments", "METRICS_NAMESPACE", "my shop", namespace),
        ("create-apm", "ALLOWED_RETURN_ORIGINS", "*", origins),
        ("create-apm", "ALLOWED_RETURN_ORIGINS", ",", origins),
        (
            "create-apm",
            "ALLOWED_RETURN_ORIGINS",
            "https://shop.example/thanks",
            origins,
        ),
        (
            "create-apm",
            "ALLOWED_RETURN_ORIGINS",
            "https://shop.example,http://shop.example",
            origins,
        ),
    ];
    join_all(cases.map(|(function, variable, value, line)| assert_stops(function, variable, Some(value), line))).await;
}

/// An empty id is a deployment mistake. Accepting a browser's price instead would be worse than not starting.
#[tokio::test]
async fn required_quotes_without_secret_stop_the_start() {
    let refused = "is empty: set it to the secret's id, or unset it to turn quotes off";
    for function in ["create-preorder", "create-apm"] {
        for empty in ["", " "] {
            assert_stops(function, "QUOTE_SECRET_ID", Some(empty), refused).await;
        }
    }
}

#[tokio::test]
async fn default_region_and_default_values_apply() {
    let changes: &[(&str, Option<&str>)] = &[
        ("AWS_REGION", None),
        ("AWS_DEFAULT_REGION", Some("us-east-1")),
        ("FINVYPAY_ENVIRONMENT", None),
        ("FINVYPAY_BASE_URL", None),
        ("APOLOPAY_BASE_URL", None),
    ];
    for function in [
        "create-preorder",
        "create-apm",
        "webhook-handler",
        "get-payment",
        "reconcile-payments",
        "publish-events",
    ] {
        let output = run(function, changes).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_configuration = ["is not set", "must be"].iter().any(|words| text.contains(words));
        assert!(!is_configuration, "{function}: {text}");
    }
}

/// The start does not wait for a late secret, but does not give it up either: the first request has it.
#[tokio::test]
async fn late_secret_is_fetched_beside_the_first_request() {
    let proxy = aws::proxy().await;
    let mut held = proxy.hold("GetSecretValue");
    let changes = [
        ("AWS_ENDPOINT_URL", Some(proxy.url())),
        ("QUOTE_SECRET_ID", None),
        PRODUCTION_TIMEOUTS,
    ];
    let lambda = world()
        .await
        .lambda("create-preorder", &changes)
        .await
        .expect("a start");
    held.arrived(1).await;
    lambda.ready().await;
    held.release();
    let body = preorder(&unique("ORD")).to_string();
    let headers = [("content-type", "application/json")];
    let response = lambda.http("POST", "/preorders", &headers, body.as_bytes()).await;
    assert_eq!(response.expect("a response").status, 201);
    assert_eq!(proxy.operations("GetSecretValue"), 1);
}
