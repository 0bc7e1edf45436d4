//! `Idempotency-Key` on both create routes: the contract's table. `time_limits` covers leases that expire.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use payment_functions_local::sandbox::Call;

use super::aws;
use super::invoke::{invoke, post_event};
use super::routes::*;
use super::support::*;

fn assert_replays(response: &Response, first: &Response) {
    assert_eq!(response.header("idempotency-replayed"), Some("true"), "{response:?}");
    assert_eq!(first.header("idempotency-replayed"), None, "{first:?}");
    assert_eq!((response.status, &response.text), (first.status, &first.text));
    for name in ["content-type", "location", "cache-control"] {
        assert_eq!(response.header(name), first.header(name), "{name}");
    }
}

fn our_id(call: &Call) -> String {
    let body: Value = serde_json::from_str(&call.body).expect("JSON");
    body["metadata"]["paymentFunctionsId"]
        .as_str()
        .expect("our id")
        .to_owned()
}

#[tokio::test]
async fn first_response_is_replayed() {
    for provider in BOTH {
        let (order, key) = (unique("ORD"), unique("key"));
        let body = body(provider, &order);
        let first = keyed(provider, &body, &key).await;
        assert_eq!(first.status, 201, "{first:?}");
        let again = keyed(provider, &body, &key).await;
        assert_replays(&again, &first);
        // The first response is replayed even after the payment's status changed.
        webhooks(json!({ "provider": provider, "orderId": order })).await;
        assert_replays(&keyed(provider, &body, &key).await, &first);
        assert_eq!(calls(provider, &order).await.len(), 1);
        if provider == Provider::Apolopay {
            insta::assert_snapshot!(again.whole(), @r#"
            201
            cache-control: no-store
            content-type: application/json
            idempotency-replayed: true
            location: /payments/[uuid]

            {
              "amount": 25.5,
              "createdAt": "[time]",
              "currency": "USD",
              "environment": "production",
              "id": "[uuid]",
              "orderId": "[unique]",
              "processId": "[uuid]",
              "provider": "apolopay",
              "status": "pending"
            }
            "#);
        }
        let other = keyed(provider, &body, &unique("key")).await;
        assert_eq!(other.status, 201);
        assert_ne!(other.str("id"), first.str("id"), "another key creates another payment");
    }
}

#[tokio::test]
async fn equivalent_body_in_other_bytes_is_the_same_request() {
    let (order, key) = (unique("ORD"), unique("key"));
    let send = |text: String| post_key(Provider::Apolopay, text, key.clone());
    let first = send(format!(
        r#"{{"amount":25.50,"orderId":"{order}","metadata":{{"a":1.0,"b":[true,"é"]}}}}"#
    ))
    .await;
    assert_eq!(first.status, 201, "{first:?}");
    for same in [
        format!(r#"  {{ "metadata" : {{"b":[true,"\u00e9"],"a":1}}, "orderId":"{order}", "amount":25.5 }}  "#),
        format!(r#"{{"amount":2550e-2,"metadata":{{"orderId":"{order}","a":1e0,"b":[true,"é"]}}}}"#),
    ] {
        assert_replays(&send(same).await, &first);
    }

    let (order, key) = (unique("ORD"), unique("key"));
    let body = apm(&order).to_string();
    let send = |text: String| post_key(Provider::Finvypay, text, key.clone());
    let first = send(body.clone()).await;
    assert_eq!(first.status, 201, "{first:?}");
    let reversed = body
        .replace(r#""amount":99.99,"#, "")
        .replacen('{', r#"{ "amount" : 9999e-2 , "#, 1);
    assert_ne!(reversed, body);
    assert_replays(&send(reversed).await, &first);
}

async fn post_key(provider: Provider, text: String, key: String) -> Response {
    post_text(provider, text, &[("idempotency-key", &key)]).await
}

#[tokio::test]
async fn key_reused_for_another_request_is_refused() {
    for provider in BOTH {
        let (order, key) = (unique("ORD"), unique("key"));
        let body = body(provider, &order);
        let first = keyed(provider, &body, &key).await;
        assert_eq!(first.status, 201, "{first:?}");
        for other in [
            json!({ "amount": 25.51 }),
            json!({ "orderId": unique("ORD") }),
            json!({ "metadata": { "a": "1" } }),
        ] {
            let response = keyed(provider, &with(body.clone(), other.clone()), &key).await;
            assert_eq!(
                response.problem(),
                (422, "IDEMPOTENCY_KEY_REUSED".to_owned()),
                "{other}"
            );
            insta::allow_duplicates! { insta::assert_snapshot!(response.whole(), @r#"
            422
            cache-control: no-store
            content-type: application/problem+json

            {
              "code": "IDEMPOTENCY_KEY_REUSED",
              "detail": "The key belongs to another request, or to another payment than the quote. Use a new Idempotency-Key for a new payment.",
              "status": 422,
              "title": "The idempotency key was used for another request",
              "type": "urn:payment-functions:problem:idempotency-key-reused"
            }
            "#); }
        }
        assert_replays(&keyed(provider, &body, &key).await, &first);
        assert_eq!(calls(provider, &order).await.len(), 1);
    }
}

#[tokio::test]
async fn concurrent_request_gets_409() {
    join_all(BOTH.map(|provider| async move {
        let (order, key) = (unique("ORD"), unique("key"));
        let body = body(provider, &order);
        let script = control().await;
        script
            .replies(provider, &order, json!([{ "delayMs": 3000 }]))
            .await
            .expect("a script");
        let meanwhile = async {
            until_called(provider, &order, 1).await;
            let second = keyed(provider, &body, &key).await;
            let other = keyed(provider, &with(body.clone(), json!({ "amount": 1 })), &key).await;
            (second, other)
        };
        let (first, (second, other)) = tokio::join!(keyed(provider, &body, &key), meanwhile);
        assert_eq!(second.problem(), (409, "IDEMPOTENCY_IN_PROGRESS".to_owned()));
        assert_eq!(other.problem(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
        insta::allow_duplicates! { insta::assert_snapshot!(second.whole(), @r#"
        409
        cache-control: no-store
        content-type: application/problem+json
        retry-after: 5

        {
          "code": "IDEMPOTENCY_IN_PROGRESS",
          "detail": "Send the same request again after the number of seconds in Retry-After.",
          "status": 409,
          "title": "The first request with this idempotency key or quote is still running",
          "type": "urn:payment-functions:problem:idempotency-in-progress"
        }
        "#); }
        assert_eq!(first.status, 201, "{first:?}");
        assert_replays(&keyed(provider, &body, &key).await, &first);
        assert_eq!(calls(provider, &order).await.len(), 1);
    }))
    .await;
}

#[tokio::test]
async fn twenty_concurrent_requests_make_one_call() {
    for provider in BOTH {
        let (order, key) = (unique("ORD"), unique("key"));
        let body = body(provider, &order);
        let script = control().await;
        script
            .replies(provider, &order, json!([{ "delayMs": 500 }]))
            .await
            .expect("a script");
        let responses = join_all((0..20).map(|_| keyed(provider, &body, &key))).await;

        let firsts: Vec<_> = responses
            .iter()
            .filter(|response| response.status == 201 && response.header("idempotency-replayed").is_none())
            .collect();
        let [first] = firsts.as_slice() else {
            panic!("expected one first response: {firsts:?}")
        };
        for response in &responses {
            match response.status {
                201 if response == *first => {}
                201 => assert_replays(response, first),
                _ => {
                    assert_eq!(response.problem(), (409, "IDEMPOTENCY_IN_PROGRESS".to_owned()));
                    let seconds: u64 = response
                        .header("retry-after")
                        .expect("retry-after")
                        .parse()
                        .expect("seconds");
                    assert!((1..=60).contains(&seconds), "{response:?}");
                }
            }
        }
        let calls = control().await.calls(provider, &order).await.expect("the calls");
        assert_eq!((calls.calls.len(), calls.max_in_flight), (1, 1));
        assert_eq!(our_id(&calls.calls[0]), first.str("id"));
        for response in join_all((0..5).map(|_| keyed(provider, &body, &key))).await {
            assert_replays(&response, first);
        }
    }
}

#[tokio::test]
async fn provider_rejection_is_replayed() {
    for (provider, error) in [
        (Provider::Apolopay, "BAD_REQUEST"),
        (Provider::Finvypay, "INVALID_PAYMENT_METHOD"),
    ] {
        let (order, key) = (unique("ORD"), unique("key"));
        let body = body(provider, &order);
        let script = control().await;
        script
            .replies(provider, &order, json!([{ "error": error }]))
            .await
            .expect("a script");
        let first = keyed(provider, &body, &key).await;
        assert_eq!(first.problem(), (422, "PROVIDER_REJECTED".to_owned()));
        let again = keyed(provider, &body, &key).await;
        assert_replays(&again, &first);
        assert_eq!(calls(provider, &order).await.len(), 1);
        if provider == Provider::Finvypay {
            insta::assert_snapshot!(again.whole(), @r#"
            422
            cache-control: no-store
            content-type: application/problem+json
            idempotency-replayed: true

            {
              "code": "PROVIDER_REJECTED",
              "detail": "The payment provider refused the request as it is.",
              "providerCode": "INVALID_PAYMENT_METHOD",
              "status": 422,
              "title": "The payment provider refused the request",
              "type": "urn:payment-functions:problem:provider-rejected"
            }
            "#);
        }
    }
}

#[tokio::test]
async fn key_belongs_to_its_route() {
    let key = unique("key");
    let [one, other] = BOTH.map(|provider| (provider, body(provider, &unique("ORD"))));
    let (one, other) = (keyed(one.0, &one.1, &key).await, keyed(other.0, &other.1, &key).await);
    assert_eq!((one.status, other.status), (201, 201));
    assert_ne!(one.str("id"), other.str("id"));
}

#[tokio::test]
async fn failed_request_resumes_the_same_payment() {
    for provider in BOTH {
        let (order, key) = (unique("ORD"), unique("key"));
        let body = body(provider, &order);
        let replies = [
            (json!({ "drop": "beforeReply" }), 502),
            (json!({ "drop": "midReply", "error": "INTERNAL_ERROR" }), 502),
            (json!({ "error": "RATE_LIMITED" }), 503),
            (json!({ "error": "HTML_OK" }), 502),
            (json!({ "error": "UNAUTHORIZED" }), 502),
            (json!({ "shape": "documented" }), 201),
        ];
        let script: Vec<_> = replies.iter().map(|(reply, _)| reply).collect();
        control()
            .await
            .replies(provider, &order, script)
            .await
            .expect("a script");
        let mut ids = Vec::new();
        let mut last = None;
        for (reply, status) in &replies {
            let response = keyed(provider, &body, &key).await;
            assert_eq!(response.status, *status, "{reply}: {response:?}");
            assert_eq!(response.header("idempotency-replayed"), None, "{reply}");
            ids.push(response.str("id"));
            last = Some(response);
        }
        let id = &ids[0];
        assert!(ids.iter().all(|other| other == id), "{ids:?}");
        let calls = calls(provider, &order).await;
        assert!(calls.iter().all(|call| our_id(call) == *id));
        assert_eq!(calls.len(), replies.len());
        assert_replays(&keyed(provider, &body, &key).await, &last.expect("a response"));

        if provider == Provider::Finvypay {
            // A 500 with a truncated body is a definite response; a lost connection is none.
            let attempts: Vec<_> = calls
                .iter()
                .map(|call| call.headers["idempotency-key"].clone())
                .collect();
            assert_eq!(attempts, [1, 1, 2, 3, 4, 5].map(|attempt| format!("{id}-{attempt}")));
        }
    }
}

#[tokio::test]
async fn webhook_before_the_retry_shows_in_the_response() {
    for provider in BOTH {
        let (order, key) = (unique("ORD"), unique("key"));
        let body = body(provider, &order);
        let script = control().await;
        // The payment exists at the provider, but the response is lost.
        script
            .replies(provider, &order, json!([{ "drop": "beforeReply" }]))
            .await
            .expect("a script");
        let first = keyed(provider, &body, &key).await;
        assert_eq!(first.problem(), (502, "PROVIDER_ERROR".to_owned()));
        webhooks(json!({ "provider": provider, "orderId": order })).await;

        let second = keyed(provider, &body, &key).await;
        assert_eq!(second.status, 201, "{second:?}");
        assert_eq!(
            (second.str("id"), second.str("status")),
            (first.str("id"), "completed".to_owned())
        );
        for name in ["processId", "redirectUrl", "expiresAt"] {
            assert!(second.json().get(name).is_none(), "{name}: {second:?}");
        }
        assert_eq!(
            calls(provider, &order).await.len(),
            1,
            "the provider is not called again"
        );
        assert_replays(&keyed(provider, &body, &key).await, &second);
        if provider == Provider::Finvypay {
            insta::assert_snapshot!(second.whole(), @r#"
            201
            cache-control: no-store
            content-type: application/json
            location: /payments/[uuid]

            {
              "amount": 99.99,
              "createdAt": "[time]",
              "currency": "USD",
              "environment": "sandbox",
              "id": "[uuid]",
              "orderId": "[unique]",
              "paymentMethod": "apple_pay",
              "provider": "finvypay",
              "status": "completed"
            }
            "#);
        }
    }
}

#[tokio::test]
async fn webhook_before_the_reply_shows_in_the_response() {
    for provider in BOTH {
        let (order, key) = (unique("ORD"), unique("key"));
        let body = body(provider, &order);
        let replies = json!([{ "webhookBeforeReply": {} }]);
        control()
            .await
            .replies(provider, &order, replies)
            .await
            .expect("a script");
        let first = keyed(provider, &body, &key).await;
        assert_eq!(
            (first.status, first.str("status")),
            (201, "completed".to_owned()),
            "{first:?}"
        );
        assert!(
            !first.text.contains("processId") && !first.text.contains("redirectUrl"),
            "{first:?}"
        );
        assert_replays(&keyed(provider, &body, &key).await, &first);
    }
}

#[tokio::test]
async fn request_refused_early_does_not_use_the_key() {
    for provider in BOTH {
        let (order, key) = (unique("ORD"), unique("key"));
        let good = body(provider, &order);
        let headers = |media_type| [("idempotency-key", key.as_str()), ("content-type", media_type)];
        let json = "application/json";
        for (text, media_type, status) in [
            ("{".to_owned(), json, 400),
            (" ".repeat(65_537), json, 413),
            (good.to_string(), "text/plain", 415),
            (with(good.clone(), json!({ "amount": 0 })).to_string(), json, 422),
            (with(good.clone(), json!({ "quote": "x" })).to_string(), json, 422),
        ] {
            let response = post_text(provider, text, &headers(media_type)).await;
            assert_eq!(response.status, status, "{response:?}");
        }
        let response = keyed(provider, &good, &key).await;
        assert_eq!(response.status, 201, "{response:?}");
        assert_eq!(response.header("idempotency-replayed"), None);
        let refused = keyed(provider, &with(good, json!({ "amount": 0 })), &key).await;
        assert_eq!(
            refused.problem(),
            (422, "VALIDATION_FAILED".to_owned()),
            "the key's own errors come first"
        );
    }
}

#[tokio::test]
async fn malformed_key_is_refused() {
    for provider in BOTH {
        let order = unique("ORD");
        let good = body(provider, "ORD-form");
        let body = body(provider, &order).to_string();
        for form in [
            "",
            "a b",
            "a\tb",
            &"x".repeat(256),
            "\"\"",
            "\"a b\"",
            &format!("\"{}\"", "x".repeat(256)),
        ] {
            let response = post_text(provider, body.as_str(), &[("idempotency-key", form)]).await;
            assert_eq!(
                response.problem(),
                (400, "IDEMPOTENCY_KEY_INVALID".to_owned()),
                "{form:?}"
            );
            insta::allow_duplicates! { insta::assert_snapshot!(response.whole(), @r#"
            400
            cache-control: no-store
            content-type: application/problem+json

            {
              "code": "IDEMPOTENCY_KEY_INVALID",
              "detail": "Idempotency-Key must be 1 to 255 visible ASCII characters, not counting double quotes around them.",
              "status": 400,
              "title": "The idempotency key is not valid",
              "type": "urn:payment-functions:problem:idempotency-key-invalid"
            }
            "#); }
        }
        // The local gateway cannot pass these on.
        for form in ["é", "a\u{a0}b"] {
            let mut event = post_event(route(provider), &[("idempotency-key", form)]);
            event["body"] = json!(body);
            let response = invoke(world().await.functions_url(), function(provider), event.to_string()).await;
            assert_eq!(response.status, 400, "{form}: {response:?}");
            assert_eq!(response.json()["code"], "IDEMPOTENCY_KEY_INVALID", "{form}");
        }
        assert!(calls(provider, &order).await.is_empty());

        for form in [
            "!",
            "~",
            "\"unbalanced",
            "\"",
            &format!("\"{}\"", "z".repeat(255)),
            "a,b;c=d",
            &format!("{}{}", unique("key"), "y".repeat(255 - 36)),
        ] {
            // Short keys may belong to another test.
            let response = keyed(provider, &good, form).await;
            assert_eq!(response.status, 201, "{form}: {response:?}");
        }
    }
}

#[tokio::test]
async fn quoted_key_is_the_key_between_the_quotes() {
    for provider in BOTH {
        let (key, body) = (unique("key"), body(provider, &unique("ORD")));
        let first = keyed(provider, &body, &format!("\"{key}\"")).await;
        assert_eq!(first.status, 201, "{first:?}");
        for (form, is_same) in [(key.clone(), true), (format!("\"{key}"), false)] {
            let response = keyed(provider, &body, &form).await;
            assert_eq!(response.status, 201, "{form}: {response:?}");
            assert_eq!(response.str("id") == first.str("id"), is_same, "{form}");
        }
    }
}

#[tokio::test]
async fn key_is_kept_for_at_least_a_day() {
    for provider in BOTH {
        let key = unique("key");
        let response = keyed(provider, &body(provider, &unique("ORD")), &key).await;
        assert_eq!(response.status, 201, "{response:?}");
        let items = aws::all_items("payments").await;
        let is_it = |item: &&Value| {
            item["pk"]["S"]
                .as_str()
                .is_some_and(|pk| pk.starts_with("KEY#") && pk.ends_with(&key))
        };
        let item = items.iter().find(is_it).expect("the key");
        let number = |name: &str| -> u128 { item[name]["N"].as_str().expect(name).parse().expect("a number") };
        let tomorrow = SystemTime::now() + Duration::from_secs(24 * 60 * 60);
        let tomorrow = tomorrow.duration_since(UNIX_EPOCH).expect("after 1970");
        assert!(number("expiresAt") > tomorrow.as_millis(), "{item}");
        assert!(number("ttl") > u128::from(tomorrow.as_secs()), "{item}");
    }
}
