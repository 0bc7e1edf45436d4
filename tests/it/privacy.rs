//! Secrets and personal data are never logged or stored.

use std::time::Duration;

use payment_functions_local::FUNCTIONS;
use tokio::time::sleep;

use super::aws;
use super::routes::*;
use super::support::*;

pub const SECRETS: [&str; 3] = ["sk_local_apolopay", "fp_local_finvypay", "whsec_test_secret"];
pub const PERSONAL: [&str; 6] = [
    "jane@example.com",
    "customer@example.com",
    "Jane",
    "Smith",
    "+1 555 0100",
    "@example.com",
];

/// Sends good and bad requests of every kind; returns the created payments.
async fn battery() -> Vec<String> {
    let mut ids = Vec::new();
    for provider in BOTH {
        let order = unique("ORD");
        let mut body = body(provider, &order);
        if provider == Provider::Finvypay {
            body["phoneNumber"] = json!("+1 555 0100");
        } else {
            body["metadata"] = json!({ "customerEmail": "jane@example.com" });
        }
        let key = unique("key");
        let replies = json!([
            { "error": "UNAUTHORIZED" }, { "error": "INTERNAL_ERROR" }, { "error": "HTML" }, { "drop": "midReply" }, {},
        ]);
        control()
            .await
            .replies(provider, &order, replies)
            .await
            .expect("a script");
        for _ in 0..6 {
            ids.push(keyed(provider, &body, &key).await.str("id"));
        }
        for wrong in [
            json!({ "email": "jane@example.com Jane" }),
            json!({ "customerEmail": "customer@example.com Smith" }),
            json!({ "firstName": "Jane\n", "metadata": { "customerEmail": 1, "x": "Jane Smith" } }),
        ] {
            let response = keyed(provider, &with(body.clone(), wrong), &key).await;
            assert_eq!(response.problem(), (422, "VALIDATION_FAILED".to_owned()));
            for personal in PERSONAL {
                assert!(!response.text.contains(personal), "{response:?}");
            }
        }
        let refused = create_with(
            provider,
            &unique("ORD"),
            json!([{ "status": 400, "body": "Jane Smith" }]),
        )
        .await;
        assert_eq!(refused.status, 422, "{refused:?}");

        let names = json!({ "firstName": "Jane", "lastName": "Smith", "email": "customer@example.com" });
        let shapes: &[&str] = if provider == Provider::Apolopay {
            &["A", "B"]
        } else {
            &["W1", "W1wrapped", "W2"]
        };
        for shape in shapes {
            webhooks(json!({ "provider": provider, "orderId": order, "shape": shape, "extra": names })).await;
        }
        let wrong = json!({ "provider": provider, "orderId": order, "signature": "wrong", "extra": names });
        let deliveries = control().await.webhooks(wrong).await.expect("deliveries");
        assert_eq!(deliveries[0].status, Some(401), "{deliveries:?}");
        assert_eq!(status_of(ids.last().expect("an id")).await, "completed");
    }
    ids
}

#[tokio::test]
async fn secrets_and_personal_data_are_not_logged_or_stored() {
    let world = world().await;
    let ids = battery().await;
    let logs = || {
        FUNCTIONS
            .each_ref()
            .map(|function| (function.name, world.log(function.name)))
    };
    // Log lines may come a little after the response.
    let complete = |logs: &[(&str, String)]| {
        let all: String = logs.iter().map(|(_, log)| log.as_str()).collect();
        ids.iter().all(|id| all.contains(id)) && all.contains("webhook refused")
    };
    let mut tries = 0;
    while !complete(&logs()) {
        tries += 1;
        assert!(tries < 500, "expected log lines are missing");
        sleep(Duration::from_millis(20)).await;
    }
    for (function, log) in logs() {
        for word in SECRETS.into_iter().chain(PERSONAL) {
            let line = log.lines().find(|line| line.contains(word));
            assert_eq!(line, None, "{function} logs {word}");
        }
    }

    let items = aws::all_items("payments").await;
    let all = items.iter().map(Value::to_string).collect::<String>();
    assert!(ids.iter().all(|id| all.contains(id)), "the table scan is incomplete");
    for item in items {
        for word in SECRETS.into_iter().chain(PERSONAL) {
            assert!(!item.to_string().contains(word), "{word} is stored: {item}");
        }
    }
}
