//! Invalid control requests.

use super::*;

/// Route, body, and a part of the error.
const INVALID_REQUESTS: &[(&str, &str, &str)] = &[
    (
        "replies",
        r#"{"provider":"apolopay","orderId":"x","reply":[]}"#,
        "unknown field `reply`",
    ),
    (
        "replies",
        r#"{"provider":"other","orderId":"x"}"#,
        "unknown variant `other`",
    ),
    (
        "replies",
        r#"{"provider":"apolopay","orderId":"x","replies":[{"shap":"old"}]}"#,
        "unknown field `shap`",
    ),
    (
        "replies",
        r#"{"provider":"apolopay","orderId":"x","replies":[{"shape":"old"}]}"#,
        "other provider's",
    ),
    (
        "replies",
        r#"{"provider":"apolopay","orderId":"x","replies":[{"error":"NONE"}]}"#,
        "no error is called `NONE`",
    ),
    (
        "replies",
        r#"{"provider":"apolopay","orderId":"x","replies":[{"fields":{"paymentId":"x"}}]}"#,
        "no field `paymentId`",
    ),
    (
        "replies",
        r#"{"provider":"finvypay","orderId":"x","replies":[{"shape":"old","status":500}]}"#,
        "either shape",
    ),
    (
        "replies",
        r#"{"provider":"finvypay","orderId":"x","replies":[{"status":99}]}"#,
        "99 is not the status",
    ),
    (
        "replies",
        r#"{"provider":"finvypay","orderId":"x","replies":[{"hang":true,"drop":"midReply"}]}"#,
        "either hangs or drops",
    ),
    (
        "replies",
        r#"{"provider":"finvypay","orderId":"x","replies":[{"webhookBeforeReply":{"provider":"apolopay"}}]}"#,
        "by the provider that is called",
    ),
    ("replies", "not json", "expected"),
    ("webhooks", r#"{"orderId":"known"}"#, "provider must be given"),
    ("webhooks", r#"{"provider":"apolopay"}"#, "`id` must be given"),
    (
        "replies",
        r#"{"provider":"apolopay","orderId":"known","call":"list","replies":[{"error":"UNAVAILABLE"}]}"#,
        "no status call and no list",
    ),
    (
        "replies",
        r#"{"provider":"finvypay","orderId":"known","call":"list","replies":[{"fields":{"amount":1}}]}"#,
        "not for lists",
    ),
    (
        "replies",
        r#"{"provider":"finvypay","orderId":"known","call":"unknown","replies":[]}"#,
        "only create, status and list calls",
    ),
    (
        "webhooks",
        r#"{"provider":"finvypay","id":"pay_x"}"#,
        "`url` must be given",
    ),
    (
        "webhooks",
        r#"{"provider":"finvypay","payment":"pay_x"}"#,
        "no payment has the id `pay_x`",
    ),
    (
        "webhooks",
        r#"{"provider":"finvypay","orderId":"known","shape":"A"}"#,
        "other provider's",
    ),
    (
        "webhooks",
        r#"{"provider":"finvypay","orderId":"known","omit":["amonut"]}"#,
        "no field `amonut`",
    ),
    (
        "webhooks",
        r#"{"provider":"finvypay","orderId":"known","shape":"W1","metadata":{}}"#,
        "W1 carries no metadata",
    ),
    (
        "webhooks",
        r#"{"provider":"finvypay","orderId":"known","url":"http://192.0.2.1/"}"#,
        "this machine only",
    ),
    (
        "webhooks",
        r#"{"provider":"finvypay","orderId":"known","url":"https://shop.example/"}"#,
        "this machine only",
    ),
    (
        "webhooks",
        r#"[{"provider":"finvypay","orderId":"known"},{"provider":"finvypay","idd":"x"}]"#,
        "unknown field `idd`",
    ),
    ("chaos", r#"{"percent":101}"#, "at most 100, not 101"),
    ("chaos", r#"{"percent":1,"faults":[]}"#, "faults must not be empty"),
    ("chaos", r#"{"percent":1,"faults":["fire"]}"#, "unknown variant `fire`"),
    ("chaos", r#"{"seed":1}"#, "missing field `percent`"),
    (
        "payments",
        r#"{"provider":"finvypay","id":"pay_x","status":"FAILED"}"#,
        "no payment has the id `pay_x`",
    ),
    ("keys", r#"{"provider":"finvypay","key":"x"}"#, "unknown field `key`"),
    ("list", r#"{"modes":["slow"]}"#, "unknown variant `slow`"),
    ("list", r#"{"mode":[]}"#, "unknown field `mode`"),
    ("rate-limit", r#"{"requestsPerMinute":-1}"#, "expected u64"),
    ("rate-limit", r#"{"perMinute":1}"#, "unknown field `perMinute`"),
    ("seed", r#"{"environment":"staging"}"#, "sandbox or production"),
    ("seed", r#"{"count":1000001}"#, "at most 1000000"),
    ("seed", r#"{"count":2,"first":4294967294}"#, "must not exceed"),
    ("seed", r#"{"paidPercent":101}"#, "at most 100"),
    (
        "seed",
        r#"{"minAgeSeconds":2,"maxAgeSeconds":1}"#,
        "at most maxAgeSeconds",
    ),
    ("seed", r#"{"size":1}"#, "unknown field `size`"),
];

#[tokio::test]
async fn invalid_control_request_is_refused_with_the_reason() {
    let it = Fixture::new().await;
    send(it.apm("known")).await;
    for (route, body, problem) in INVALID_REQUESTS {
        let (status, response) = it.control_post(route, body).await;
        assert_eq!(status, 400, "{body}");
        let error = response["error"].as_str().unwrap();
        assert!(error.contains(problem), "{body}: {error}");
    }
    assert!(it.received().is_empty(), "nothing was sent");
    assert_eq!(it.control_post("nothing", "{}").await.0, 404);
    let foreign = it
        .http
        .post(format!("{}/_control/webhooks", it.sandbox.url()))
        .header("origin", "https://evil.example");
    assert_eq!(
        foreign
            .body(r#"{"provider":"finvypay","orderId":"known"}"#)
            .send()
            .await
            .unwrap()
            .status(),
        403
    );
    assert_eq!(it.http.get(it.sandbox.url()).send().await.unwrap().status(), 200);
}
