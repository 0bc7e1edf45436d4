//! Holes that were found in the code of others: one test each, named after its hole.

use super::invoke::{invoke, post_event};
use super::support::*;

/// A request that a function's own code would refuse calmly must not bring it down before that.
#[tokio::test]
async fn malformed_header_giving_500() {
    let base = world().await.functions_url();
    let hostile = [
        ("idempotency-key", "\u{e9}\t\u{fffd}"),
        ("content-type", "\u{fffd}; =;;\t"),
        ("x-signature", "\u{e9}"),
        ("x-apolopay-signature", "\t"),
        ("fs-webhook-hash", "\u{fffd}\u{10ffff}"),
        ("cookie", "\u{e9}=\t;;"),
        ("host", "a b:99999"),
        ("host", ""),
        ("x-forwarded-proto", "!"),
        ("x-amzn-trace-id", "\u{e9}"),
        ("content-length", "-1"),
        ("transfer-encoding", "\u{e9}"),
        ("x-long", &"x".repeat(9000)),
    ];
    for (path, function, refused) in [
        ("/webhooks/apolopay", "webhook-handler", 401),
        ("/webhooks/finvypay", "webhook-handler", 401),
        ("/preorders", "create-preorder", 400),
        ("/apm-payments", "create-apm", 400),
        ("/payments/\u{e9}", "get-payment", 404),
    ] {
        for header in hostile {
            let mut event = post_event(path, &[header]);
            event["body"] = json!("{");
            let expected = if header.0 == "content-type" && refused == 400 {
                415
            } else {
                refused
            };
            let answer = invoke(base, function, event.to_string()).await;
            assert_eq!(answer.problem().0, expected, "{path} {header:?}");
        }
        for query in ["a=<b>", "\"", "a b", "\u{e9}", "#", "%", "?/\\^`{|}", "\u{0}"] {
            let mut event = post_event(path, &[]);
            event["body"] = json!("{");
            event["rawQueryString"] = json!(query);
            assert_eq!(
                invoke(base, function, event.to_string()).await.problem().0,
                refused,
                "{path}?{query}"
            );
        }
    }
}
