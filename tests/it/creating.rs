//! Refusals and provider failures of both create routes: the contract's error table.

use futures_util::future::join_all;
use payment_functions_tests::world::{Fault, PRODUCTION_TIMEOUTS};

use super::aws;
use super::invoke::{invoke, post_event};
use super::routes::*;
use super::support::*;

fn problem(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Asserts that nothing was stored. The provider is called only after the intent is stored, so it suffices to check its
/// calls.
async fn assert_not_called(provider: Provider, order_id: &str) {
    assert!(calls(provider, order_id).await.is_empty(), "{order_id}");
}

#[tokio::test]
async fn body_that_is_not_json_is_malformed() {
    for provider in BOTH {
        let order = unique("ORD");
        let good = body(provider, &order).to_string();
        for text in [
            String::new(),
            " ".to_owned(),
            "amount=25.50".to_owned(),
            "{".to_owned(),
            "{}{}".to_owned(),
            "{\"amount\":1,}".to_owned(),
            "{'amount':1}".to_owned(),
            "{\"amount\":NaN}".to_owned(),
            "{\"amount\":01}".to_owned(),
            "{\"amount\":\"\u{7}\"}".to_owned(),
            "\u{feff}{}".to_owned(),
            good.trim_end_matches('}').to_owned(),
            // Duplicate members at any depth, in any spelling.
            good.replacen('{', "{\"amount\":1,", 1),
            good.replacen('{', "{\"\\u0061mount\":1,", 1),
            good.replacen('{', "{\"x\":{\"y\":[{\"z\":1,\"z\":1}]},", 1),
        ] {
            let response = post_text(provider, text.clone(), &[]).await;
            assert_eq!(response.problem(), problem(400, "MALFORMED_JSON"), "{text}");
        }
        assert_not_called(provider, &order).await;
    }
    insta::assert_snapshot!(post_text(Provider::Apolopay, "{", &[]).await.whole(), @r#"
    400
    cache-control: no-store
    content-type: application/problem+json

    {
      "code": "MALFORMED_JSON",
      "detail": "The body must be one JSON value in UTF-8, without duplicate members.",
      "status": 400,
      "title": "The body is not JSON",
      "type": "urn:payment-functions:problem:malformed-json"
    }
    "#);
}

/// The local gateway refuses such a body with a 500, so this invokes the functions as API Gateway would.
#[tokio::test]
async fn body_that_is_not_utf8_is_malformed() {
    for provider in BOTH {
        let mut event = post_event(route(provider), &[]);
        event["isBase64Encoded"] = json!(true);
        for (body, status) in [
            // {"amount":1,"orderId":"\xff"}, and the same with an x.
            ("eyJhbW91bnQiOjEsIm9yZGVySWQiOiL/In0=", 400),
            (
                "eyJhbW91bnQiOjEsIm9yZGVySWQiOiJ4In0=",
                if provider == Provider::Apolopay { 201 } else { 422 },
            ),
        ] {
            event["body"] = json!(body);
            let response = invoke(world().await.functions_url(), function(provider), event.to_string()).await;
            assert_eq!(response.status, status, "{response:?}");
            if status == 400 {
                assert_eq!(response.json()["code"], "MALFORMED_JSON");
            }
        }
    }
}

#[tokio::test]
async fn only_json_media_type_is_supported() {
    for provider in BOTH {
        let order = unique("ORD");
        let good = body(provider, &order).to_string();
        for media_type in [
            "",
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "application/json+x",
            "application/problem+json",
            "application/jsonp; application/json",
        ] {
            let response = post_text(provider, good.clone(), &[("content-type", media_type)]).await;
            assert_eq!(
                response.problem(),
                problem(415, "UNSUPPORTED_MEDIA_TYPE"),
                "{media_type}"
            );
        }
        let url = format!("{}{}", world().await.functions_url(), route(provider));
        let none = send(request(reqwest::Method::POST, &url).body(good)).await;
        assert_eq!(none.problem(), problem(415, "UNSUPPORTED_MEDIA_TYPE"));
        assert_not_called(provider, &order).await;

        for media_type in [
            "application/json",
            "APPLICATION/JSON; charset=utf-8",
            "application/json;charset=\"utf-8\"",
            "Application/Json ; x=y",
        ] {
            let good = body(provider, &unique("ORD")).to_string();
            let response = post_text(provider, good, &[("content-type", media_type)]).await;
            assert_eq!(response.status, 201, "{media_type}: {response:?}");
        }
    }
    let response = post_text(Provider::Finvypay, "{}", &[("content-type", "text/plain")]).await;
    insta::assert_snapshot!(response.whole(), @r#"
    415
    cache-control: no-store
    content-type: application/problem+json

    {
      "code": "UNSUPPORTED_MEDIA_TYPE",
      "detail": "The content type must be application/json.",
      "status": 415,
      "title": "The body must be application/json",
      "type": "urn:payment-functions:problem:unsupported-media-type"
    }
    "#);
}

#[tokio::test]
async fn body_over_64_kib_is_refused() {
    for provider in BOTH {
        let padded = |length: usize| {
            let body = body(provider, &unique("ORD")).to_string();
            format!("{body}{}", " ".repeat(length - body.len()))
        };
        let response = post_text(provider, padded(65_536), &[]).await;
        assert_eq!(response.status, 201, "{response:?}");
        for text in [padded(65_537), "x".repeat(65_537), "é".repeat(40_000)] {
            let response = post_text(provider, text, &[]).await;
            assert_eq!(response.problem(), problem(413, "PAYLOAD_TOO_LARGE"));
        }
    }
    let response = post_text(Provider::Apolopay, " ".repeat(65_537), &[]).await;
    insta::assert_snapshot!(response.whole(), @r#"
    413
    cache-control: no-store
    content-type: application/problem+json

    {
      "code": "PAYLOAD_TOO_LARGE",
      "detail": "The body must be at most 65536 bytes.",
      "status": 413,
      "title": "The body is too large",
      "type": "urn:payment-functions:problem:payload-too-large"
    }
    "#);
}

#[tokio::test]
async fn body_that_is_no_object_is_refused() {
    for provider in BOTH {
        for text in ["[]", "null", "true", "25.50", "\"amount\"", "[{\"amount\":1}]"] {
            let response = post_text(provider, text, &[]).await;
            assert_eq!(response.problem(), problem(422, "VALIDATION_FAILED"), "{text}");
            assert_eq!(response.pointers(), [""], "{text}");
        }
    }
}

#[tokio::test]
async fn amount_is_compared_by_value_and_never_rounded() {
    for provider in BOTH {
        for wrong in [
            "0",
            "0.00",
            "-0",
            "-1",
            "0.001",
            "25.505",
            "25.500000000000001",
            "1e-3",
            "1000000000",
            "999999999.991",
            "1e9",
            "1e400",
            "1e-400",
            "1e99999999999999999999",
            "\"25.50\"",
            "null",
            "true",
            "[25.50]",
            "{}",
        ] {
            let good = body(provider, &unique("ORD"));
            let text = with(good, json!({ "amount": "AMOUNT" }))
                .to_string()
                .replace("\"AMOUNT\"", wrong);
            let response = post_text(provider, text, &[]).await;
            assert_eq!(response.problem(), problem(422, "VALIDATION_FAILED"), "{wrong}");
            assert_eq!(response.pointers(), ["/amount"], "{wrong}");
        }
        for (given, sent) in [
            ("25.50", "25.50"),
            ("25.5", "25.50"),
            ("2.500", "2.50"),
            ("1e2", "100.00"),
            ("1E+2", "100.00"),
            ("2550e-2", "25.50"),
            ("0.01", "0.01"),
            ("999999999.99", "999999999.99"),
            ("999999999.990000000000000000000000000", "999999999.99"),
        ] {
            let order = unique("ORD");
            let text = with(body(provider, &order), json!({ "amount": "AMOUNT" })).to_string();
            let response = post_text(provider, text.replace("\"AMOUNT\"", given), &[]).await;
            assert_eq!(response.status, 201, "{given}: {response:?}");
            let member = format!("\"amount\":{sent},");
            assert!(response.text.contains(&member), "{given}: {response:?}");
            let calls = calls(provider, &order).await;
            assert!(calls[0].body.contains(&member), "{given}: {}", calls[0].body);
            let shown = get_payment(&response.str("id")).await;
            assert!(shown.text.contains(&member), "{given}: {shown:?}");
        }
    }
}

#[tokio::test]
async fn provider_refusal_keeps_its_code() {
    let refused = |code: &str| json!({ "status": 400, "body": { "statusCode": 400, "message": "no", "code": code } });
    let cases = [
        (Provider::Apolopay, json!({ "error": "BAD_REQUEST" }), None),
        (Provider::Apolopay, json!({ "error": "BAD_REQUEST_TEXT" }), None),
        (Provider::Apolopay, json!({ "error": "NOT_FOUND" }), None),
        (Provider::Apolopay, refused("AMOUNT_TOO_LOW"), Some("AMOUNT_TOO_LOW")),
        (Provider::Apolopay, refused("<script>"), None),
        (Provider::Apolopay, json!({ "status": 400, "body": "no" }), None),
        (
            Provider::Finvypay,
            json!({ "error": "INVALID_PAYMENT_METHOD" }),
            Some("INVALID_PAYMENT_METHOD"),
        ),
        (
            Provider::Finvypay,
            json!({ "error": "INVALID_REQUEST" }),
            Some("INVALID_REQUEST"),
        ),
        (
            Provider::Finvypay,
            json!({ "error": "INVALID_CARD" }),
            Some("INVALID_CARD"),
        ),
        (Provider::Finvypay, json!({ "error": "NOT_FOUND" }), Some("NOT_FOUND")),
        (
            Provider::Finvypay,
            json!({ "error": "SUCCESS_FALSE" }),
            Some("INVALID_REQUEST"),
        ),
        (Provider::Finvypay, json!({ "error": "MESSAGE_ONLY" }), None),
        (
            Provider::Finvypay,
            json!({ "fields": { "status": "DECLINED" } }),
            Some("DECLINED"),
        ),
        (
            Provider::Finvypay,
            json!({ "shape": "old", "fields": { "status": "ERROR" } }),
            Some("ERROR"),
        ),
    ];
    for (provider, reply, code) in cases {
        let order = unique("ORD");
        let response = create_with(provider, &order, json!([reply])).await;
        assert_eq!(response.problem(), problem(422, "PROVIDER_REJECTED"), "{reply}");
        assert_eq!(
            response.json().get("providerCode").and_then(Value::as_str),
            code,
            "{reply}"
        );
        for private in ["script", "amount", "\"no\"", "Button", "not available"] {
            assert!(
                !response.text.contains(private),
                "the provider's own message: {response:?}"
            );
        }
        let id = &calls(provider, &order).await[0].body;
        let id = serde_json::from_str::<Value>(id).expect("JSON")["metadata"]["paymentFunctionsId"].clone();
        assert_eq!(status_of(id.as_str().expect("our id")).await, "failed", "{reply}");
        match code {
            Some("INVALID_CARD") => insta::assert_snapshot!(response.whole(), @r#"
            422
            cache-control: no-store
            content-type: application/problem+json

            {
              "code": "PROVIDER_REJECTED",
              "detail": "The payment provider refused the request as it is.",
              "providerCode": "INVALID_CARD",
              "status": 422,
              "title": "The payment provider refused the request",
              "type": "urn:payment-functions:problem:provider-rejected"
            }
            "#),
            None => insta::allow_duplicates! { insta::assert_snapshot!(response.whole(), @r#"
            422
            cache-control: no-store
            content-type: application/problem+json

            {
              "code": "PROVIDER_REJECTED",
              "detail": "The payment provider refused the request as it is.",
              "status": 422,
              "title": "The payment provider refused the request",
              "type": "urn:payment-functions:problem:provider-rejected"
            }
            "#) },
            Some(_) => {}
        }
    }
}

#[tokio::test]
async fn unusable_provider_response_is_a_provider_error() {
    let both = [
        json!({ "error": "INTERNAL_ERROR" }),
        json!({ "error": "UNAVAILABLE" }),
        json!({ "error": "HTML" }),
        json!({ "error": "HTML_OK" }),
        json!({ "error": "EMPTY_BODY" }),
        json!({ "error": "TRUNCATED_JSON" }),
        json!({ "error": "MISSING_ID" }),
        json!({ "error": "EMPTY_ID" }),
        json!({ "error": "NULL_ID" }),
        json!({ "error": "UNAUTHORIZED" }),
        json!({ "error": "FORBIDDEN" }),
        json!({ "drop": "beforeReply" }),
        json!({ "drop": "midReply" }),
        json!({ "status": 200, "body": "[]" }),
        json!({ "status": 200, "body": "null" }),
        json!({ "status": 200, "body": "{\"processId\":\"a\",\"processId\":\"b\"}" }),
        json!({ "status": 200, "body": "x".repeat(300 * 1024) }),
        json!({ "status": 302, "headers": { "location": "http://127.0.0.1:9/" } }),
        json!({ "status": 408, "body": "{\"message\":\"timeout\"}" }),
        json!({ "status": 409, "body": "{\"message\":\"conflict\"}" }),
        json!({ "status": 500, "body": "{\"success\":false,\"error\":{\"code\":\"INVALID_REQUEST\"}}" }),
    ];
    let own = [
        (Provider::Apolopay, json!({ "error": "NOT_A_UUID" })),
        (
            Provider::Apolopay,
            json!({ "status": 201, "body": { "statusCode": 201, "message": "Created" } }),
        ),
        (Provider::Finvypay, json!({ "fields": { "amount": 9.99 } })),
        (Provider::Finvypay, json!({ "fields": { "amount": 99.990001 } })),
        (Provider::Finvypay, json!({ "fields": { "currency": "EUR" } })),
        (Provider::Finvypay, json!({ "fields": { "orderId": "ORD-other" } })),
        (Provider::Finvypay, json!({ "shape": "old", "fields": { "amount": 1 } })),
        (
            Provider::Finvypay,
            json!({ "fields": { "redirectUrl": "javascript:alert(1)" } }),
        ),
        (
            Provider::Finvypay,
            json!({ "status": 200, "body": { "success": true } }),
        ),
    ];
    let both = BOTH
        .into_iter()
        .flat_map(|provider| both.clone().map(|reply| (provider, reply)));
    let cases: Vec<_> = both.chain(own).collect();
    let responses = join_all(cases.into_iter().map(|(provider, reply)| async move {
        let response = create_with(provider, &unique("ORD"), json!([reply])).await;
        assert_eq!(
            response.problem(),
            problem(502, "PROVIDER_ERROR"),
            "{provider:?} {reply}"
        );
        assert_eq!(status_of(&response.str("id")).await, "creating", "{provider:?} {reply}");
        response.whole()
    }))
    .await;
    for response in &responses {
        assert_eq!(*response, responses[0], "the same response for every provider error");
    }
    insta::assert_snapshot!(responses[0], @r#"
    502
    cache-control: no-store
    content-type: application/problem+json

    {
      "code": "PROVIDER_ERROR",
      "detail": "The payment provider gave no usable response. Try again with the same Idempotency-Key or quote.",
      "id": "[uuid]",
      "status": 502,
      "title": "The payment provider failed",
      "type": "urn:payment-functions:problem:provider-error"
    }
    "#);
}

#[tokio::test]
async fn id_of_another_payment_is_a_provider_error() {
    for (provider, field, member) in [
        (Provider::Apolopay, "processId", "processId"),
        (Provider::Finvypay, "paymentId", "paymentId"),
    ] {
        let first = create(provider, &unique("ORD")).await;
        let replies = json!([{ "fields": { field: first.str(member) } }]);
        let second = create_with(provider, &unique("ORD"), replies).await;
        assert_eq!(second.problem(), problem(502, "PROVIDER_ERROR"));
        assert_ne!(second.str("id"), first.str("id"));
        let shown = get_payment(&second.str("id")).await.json();
        assert_eq!(shown["status"], "creating");
        assert!(
            shown.get("processId").is_none() && shown.get("redirectUrl").is_none(),
            "{shown}"
        );
        assert_eq!(status_of(&first.str("id")).await, "pending");
    }
}

#[tokio::test]
async fn throttled_caller_gets_retry_after() {
    for provider in BOTH {
        for (reply, seconds) in [
            (json!({ "error": "RATE_LIMITED" }), "30"),
            (
                json!({ "status": 429, "body": "slow down", "headers": { "retry-after": "7" } }),
                "7",
            ),
            (json!({ "status": 429, "body": "slow down" }), "5"),
            // A date, or an invalid value.
            (
                json!({ "status": 429, "headers": { "retry-after": "Wed, 21 Oct 2026 07:28:00 GMT" } }),
                "5",
            ),
            (
                json!({ "status": 429, "headers": { "retry-after": "99999999999" } }),
                "300",
            ),
        ] {
            let response = create_with(provider, &unique("ORD"), json!([reply])).await;
            assert_eq!(response.problem(), problem(503, "UNAVAILABLE"), "{reply}");
            assert_eq!(response.header("retry-after"), Some(seconds), "{reply}");
            assert_eq!(status_of(&response.str("id")).await, "creating", "{reply}");
        }
    }
    let response = create_with(Provider::Apolopay, &unique("ORD"), json!([{ "error": "RATE_LIMITED" }])).await;
    insta::assert_snapshot!(response.whole(), @r#"
    503
    cache-control: no-store
    content-type: application/problem+json
    retry-after: 30

    {
      "code": "UNAVAILABLE",
      "detail": "Try again in a moment, with the same Idempotency-Key or quote if there was one.",
      "id": "[uuid]",
      "status": 503,
      "title": "The service is not available for the moment",
      "type": "urn:payment-functions:problem:unavailable"
    }
    "#);
}

#[tokio::test]
async fn missing_secret_stores_nothing() {
    join_all(BOTH.map(|provider| async move {
        let (proxy, alone) = aws::without_secrets(function(provider), &[]).await;
        let order = unique("ORD");
        for fault in [
            Fault::UNAVAILABLE,
            Fault::Disconnect,
            Fault::Error(400, "AccessDeniedException"),
        ] {
            proxy.fail("GetSecretValue", fault);
            let response = post_to(alone.url(), route(provider), body(provider, &order).to_string(), &[]).await;
            assert_eq!(response.problem(), problem(503, "UNAVAILABLE"));
            assert_eq!(response.header("retry-after"), Some("5"));
            assert!(response.json().get("id").is_none(), "{response:?}");
            assert!(proxy.count("GetSecretValue") > 0 && proxy.count("TransactWriteItems") == 0);
            proxy.reset();
        }
        assert_not_called(provider, &order).await;
        let response = post_to(alone.url(), route(provider), body(provider, &order).to_string(), &[]).await;
        assert_eq!(response.status, 201, "{response:?}");
    }))
    .await;
}

#[tokio::test]
async fn unavailable_store_returns_503_and_keeps_a_stored_id() {
    let wholes = join_all(BOTH.map(|provider| async move {
        let (proxy, alone) = aws::behind_proxy(function(provider), &[PRODUCTION_TIMEOUTS]).await;
        let order = unique("ORD");
        let text = body(provider, &order).to_string();
        let mut whole = None;
        for fault in [Fault::UNAVAILABLE, Fault::THROTTLED, Fault::Disconnect, Fault::Hang] {
            proxy.fail("TransactWriteItems", fault);
            let response = post_to(alone.url(), route(provider), text.as_str(), &[]).await;
            assert_eq!(response.problem(), problem(503, "UNAVAILABLE"));
            assert_eq!(response.header("retry-after"), Some("5"));
            assert!(response.json().get("id").is_none(), "{response:?}");
            whole = Some(response.whole());
            proxy.reset();
        }
        assert_not_called(provider, &order).await;

        // The store fails during the provider call.
        let script = control().await;
        script
            .replies(provider, &order, json!([{ "delayMs": 2500 }]))
            .await
            .expect("a script");
        let request = post_to(alone.url(), route(provider), text.as_str(), &[]);
        let fail = async {
            until_called(provider, &order, 1).await;
            proxy.fail("TransactWriteItems", Fault::UNAVAILABLE);
        };
        let (response, ()) = tokio::join!(request, fail);
        assert_eq!(response.problem(), problem(503, "UNAVAILABLE"));
        let id = response.str("id");
        assert_eq!(status_of(&id).await, "creating");

        // The webhook's metadata contains our payment id.
        webhooks(json!({ "provider": provider, "orderId": order })).await;
        assert_eq!(status_of(&id).await, "completed");
        whole.expect("a response")
    }))
    .await;
    insta::assert_snapshot!(wholes[0], @r#"
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

/// The write succeeded but its response was lost: the SDK retries, and nothing is done twice.
#[tokio::test]
async fn lost_store_response_creates_one_payment() {
    join_all(BOTH.map(|provider| async move {
        let (proxy, alone) = aws::behind_proxy(function(provider), &[]).await;
        let lose = || proxy.fail_times("TransactWriteItems", 1, Fault::LoseResponse);
        for is_intent in [true, false] {
            let (order, key) = (unique("ORD"), unique("key"));
            let script = control().await;
            let replies = json!([{ "delayMs": 1500 }]);
            script.replies(provider, &order, replies).await.expect("a script");
            if is_intent {
                lose();
            }
            let text = body(provider, &order).to_string();
            let headers = [("idempotency-key", key.as_str())];
            let outcome = async {
                until_called(provider, &order, 1).await;
                if !is_intent {
                    lose();
                }
            };
            let request = post_to(alone.url(), route(provider), text.as_str(), &headers);
            let (response, ()) = tokio::join!(request, outcome);
            assert_eq!(response.status, 201, "{response:?}");
            let again = keyed(provider, &body(provider, &order), &key).await;
            assert_eq!(again.header("idempotency-replayed"), Some("true"), "{again:?}");
            assert_eq!(again.text, response.text);
            assert_eq!(calls(provider, &order).await.len(), 1);
            assert_eq!(status_of(&response.str("id")).await, "pending");
        }
    }))
    .await;
}
