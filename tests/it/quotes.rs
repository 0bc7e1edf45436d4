//! Quotes on both create routes: payments only at the shop's price, one for each quote, and the uses of an expired
//! quote.

mod once;

use payment_functions::domain::provider::Environment;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use payment_functions_local::workspace;
use payment_functions_tests::world::{Attached, AwsProxy, Fault, PRODUCTION_TIMEOUTS};
use sha2::{Digest, Sha256, Sha512};
use tokio::process::Command;
use tokio::time::sleep;

use super::aws;
use super::routes::*;
use super::support::*;
use super::webhooks::dynamodb_calls;

const KEY: &str = "quote_test_key_that_is_no_secret_1";
const NEWER: &str = "quote_test_key_that_is_no_secret_2";
const STRANGE: &str = "quote_test_key_of_somebody_else_1";
/// The local world's value of `payment-functions/quote`.
const LOCAL: &str = "quote_local_key_that_is_no_secret";

const READ: &str = "GetItem";
const WRITE: &str = "TransactWriteItems";

fn invalid() -> (u16, String) {
    (422, "QUOTE_INVALID".to_owned())
}

fn mismatch() -> (u16, String) {
    (422, "QUOTE_MISMATCH".to_owned())
}

fn encode(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

/// Signs a message with HS256.
fn sign(message: &str, key: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("a key");
    let signature = mac.chain_update(message).finalize().into_bytes();
    format!("{message}.{}", encode(signature))
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(header.to_string()), encode(claims.to_string()))
}

fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("a time") + seconds
}

/// The claims of a shop for a body: order and price, valid for five minutes.
fn claims(body: &Value) -> Value {
    let order_id = body.get("orderId").unwrap_or(&body["metadata"]["orderId"]);
    json!({
        "orderId": order_id,
        "amount": body["amount"].to_string(),
        "currency": body.get("currency").unwrap_or(&json!("USD")),
        "exp": in_seconds(300),
    })
}

fn jwt(claims: &Value, key: &str) -> String {
    sign(&message(&json!({ "alg": "HS256", "typ": "JWT" }), claims), key)
}

/// A body with its quote, except for some claims.
fn quoted_with(body: &Value, other: Value) -> Value {
    with(body.clone(), json!({ "quote": jwt(&with(claims(body), other), KEY) }))
}

fn quoted(body: &Value) -> Value {
    quoted_with(body, json!({}))
}

/// A body with a quote expired beyond the allowed skew.
pub fn expired(body: &Value) -> Value {
    quoted_with(body, json!({ "exp": in_seconds(-70) }))
}

/// A quote for a body that is valid for some seconds.
pub fn token(body: &Value, seconds: i64) -> String {
    jwt(&with(claims(body), json!({ "exp": in_seconds(seconds) })), KEY)
}

/// The digest by which a quote is stored.
pub fn digest(token: &str) -> String {
    let (message, _) = token.rsplit_once('.').expect("a signature");
    hex::encode(Sha256::digest(message))
}

/// A secret with this module's quote key.
pub async fn secret() -> String {
    aws::create_secret(&json!({ "key": KEY })).await
}

/// A create function that requires quotes, with its own proxy.
struct QuotedFunction {
    provider: Provider,
    proxy: AwsProxy,
    function: Attached,
}

impl QuotedFunction {
    /// Both create functions, with a secret of their own.
    async fn both() -> [Self; 2] {
        let secret = secret().await;
        Self::both_with(&[("QUOTE_SECRET_ID", Some(secret.as_str()))]).await
    }

    async fn both_with(changes: &[(&str, Option<&str>)]) -> [Self; 2] {
        Self::each(async |provider| aws::behind_proxy(function(provider), changes).await).await
    }

    /// The same, but secrets were unavailable during their start.
    async fn both_without_secrets() -> [Self; 2] {
        let secret = secret().await;
        let changes = [("QUOTE_SECRET_ID", Some(secret.as_str())), PRODUCTION_TIMEOUTS];
        Self::each(async |provider| aws::without_secrets(function(provider), &changes).await).await
    }

    async fn each(start: impl AsyncFn(Provider) -> (AwsProxy, Attached)) -> [Self; 2] {
        let endpoint = async |provider| {
            let (proxy, function) = start(provider).await;
            Self {
                provider,
                proxy,
                function,
            }
        };
        let (apolopay, finvypay) = tokio::join!(endpoint(BOTH[0]), endpoint(BOTH[1]));
        [apolopay, finvypay]
    }

    async fn post(&self, body: &Value, key: Option<&str>) -> Response {
        let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        post_to(self.function.url(), route(self.provider), body.to_string(), &headers).await
    }

    fn body(&self, order_id: &str) -> Value {
        body(self.provider, order_id)
    }

    /// A new order and its body.
    fn fresh(&self) -> (String, Value) {
        let order = unique("ORD");
        let body = self.body(&order);
        (order, body)
    }

    /// A request's response and its DynamoDB calls.
    async fn round_trips(&self, request: impl Future<Output = Response>) -> (Response, Vec<String>) {
        self.proxy.reset();
        let response = request.await;
        assert_eq!(self.proxy.count("GetSecretValue"), 0, "secrets are warm");
        (response, dynamodb_calls(&self.proxy))
    }

    /// Asserts that nothing was stored since the proxy's last reset and the provider was not called.
    async fn assert_nothing_stored(&self, order_id: &str, what: &str) {
        self.assert_only_looked_up(what);
        assert!(calls(self.provider, order_id).await.is_empty(), "{what}");
    }

    /// Asserts that every transaction since the proxy's last reset was a lookup, which only checks conditions.
    fn assert_only_looked_up(&self, what: &str) {
        for call in self.proxy.calls().iter().filter(|call| call.action == WRITE) {
            let steps = call.body["TransactItems"].as_array().expect("steps");
            let only_checks = steps.iter().all(|step| step["ConditionCheck"].is_object());
            assert!(only_checks, "{what}: {steps:?}");
        }
    }

    /// Waits until the function has logged this many refused quotes.
    async fn until_refused(&self, count: usize) -> String {
        for _ in 0..500 {
            let log = self.function.log();
            if log.matches("quote refused").count() >= count {
                return log;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("the refused quote is not logged");
    }
}

#[tokio::test]
async fn payment_with_a_quote_is_created() {
    for endpoint in QuotedFunction::both().await {
        let (order, body) = endpoint.fresh();
        let quote = quoted(&body);
        let response = endpoint.post(&quote, None).await;
        assert_eq!(response.status, 201, "{response:?}");
        let calls = calls(endpoint.provider, &order).await;
        assert_eq!(calls.len(), 1);
        assert!(!calls[0].body.contains("quote") && !calls[0].body.contains("eyJ"));
        assert!(!get_payment(&response.str("id")).await.text.contains("quote"));

        // Amounts are compared by value; a preorder may have its order in either place.
        let amount = body["amount"].to_string();
        let (whole, decimals) = amount.split_once('.').expect("decimals");
        for other in [
            format!("{amount}000"),
            format!("{amount}E0"),
            format!("{whole}{decimals}e-{}", decimals.len()),
        ] {
            let (_, body) = endpoint.fresh();
            let response = endpoint
                .post(&quoted_with(&body, json!({ "amount": other })), None)
                .await;
            assert_eq!(response.status, 201, "{other}: {response:?}");
        }
        if endpoint.provider == Provider::Apolopay {
            let body = json!({ "amount": 7, "metadata": { "orderId": unique("ORD") } });
            let response = endpoint.post(&quoted(&body), None).await;
            assert_eq!(response.status, 201, "{response:?}");
        }
        let items = aws::raw_items(&format!("PAYMENT#{}", response.str("id"))).await;
        let stored = format!("{items:?}");
        assert!(
            stored.contains(&order) && !stored.contains("eyJ") && !stored.contains("\"quote\""),
            "{stored}"
        );
    }
}

#[tokio::test]
async fn wrong_quote_is_refused_without_side_effects() {
    join_all(QuotedFunction::both().await.map(async |endpoint| {
        let (order, body) = endpoint.fresh();
        let key = unique("key");
        let good = claims(&body);
        let headed = |header: Value| sign(&message(&header, &good), KEY);
        let unsigned = message(&json!({ "alg": "none" }), &good);
        let hs512 = message(&json!({ "alg": "HS512" }), &good);
        let by_hs512 = Hmac::<Sha512>::new_from_slice(KEY.as_bytes()).expect("a key");
        let by_hs512 = encode(by_hs512.chain_update(&hs512).finalize().into_bytes());
        let cheaper = encode(with(good.clone(), json!({ "amount": "0.01" })).to_string());
        let genuine = jwt(&good, KEY);
        let (header, signature) = (
            genuine.split('.').next().expect("a header"),
            genuine.rsplit('.').next().expect("a signature"),
        );
        let claiming = |other: Value| jwt(&with(good.clone(), other), KEY);
        let without = |name: &str| {
            let mut claims = good.clone();
            claims.as_object_mut().expect("claims").remove(name);
            jwt(&claims, KEY)
        };
        let cases = [
            ("empty", String::new(), invalid()),
            ("no JWT", "quote".to_owned(), invalid()),
            ("dots", "...".to_owned(), invalid()),
            ("a dot too many", format!("{genuine}."), invalid()),
            ("too long", format!("{genuine}{}", "A".repeat(4096)), invalid()),
            ("another key", jwt(&good, STRANGE), invalid()),
            ("changed", format!("{header}.{cheaper}.{signature}"), invalid()),
            ("not signed", genuine.trim_end_matches(signature).to_owned(), invalid()),
            ("alg none", format!("{unsigned}."), invalid()),
            ("alg none, signed", sign(&unsigned, KEY), invalid()),
            ("HS512", format!("{hs512}.{by_hs512}"), invalid()),
            ("HS512 in name only", sign(&hs512, KEY), invalid()),
            ("RS256 in name only", headed(json!({ "alg": "RS256" })), invalid()),
            ("hs256", headed(json!({ "alg": "hs256" })), invalid()),
            ("no algorithm", headed(json!({ "typ": "JWT" })), invalid()),
            (
                "critical",
                headed(json!({ "alg": "HS256", "crit": ["b64"], "b64": true })),
                invalid(),
            ),
            ("expired", claiming(json!({ "exp": in_seconds(-70) })), invalid()),
            ("of 1970", claiming(json!({ "exp": 0 })), invalid()),
            ("not yet", claiming(json!({ "nbf": in_seconds(120) })), invalid()),
            (
                "exp as text",
                claiming(json!({ "exp": in_seconds(300).to_string() })),
                invalid(),
            ),
            (
                "exp in milliseconds",
                claiming(json!({ "exp": in_seconds(300) * 1000 })),
                invalid(),
            ),
            (
                "amount as number",
                claiming(json!({ "amount": body["amount"] })),
                invalid(),
            ),
            ("amount in words", claiming(json!({ "amount": "a lot" })), invalid()),
            ("no exp", without("exp"), invalid()),
            ("no order", without("orderId"), invalid()),
            ("no amount", without("amount"), invalid()),
            ("no currency", without("currency"), invalid()),
            (
                "another order",
                claiming(json!({ "orderId": unique("ORD") })),
                mismatch(),
            ),
            ("another amount", claiming(json!({ "amount": "0.01" })), mismatch()),
            (
                "a slightly higher amount",
                claiming(json!({ "amount": format!("{}0000001", body["amount"]) })),
                mismatch(),
            ),
            ("another currency", claiming(json!({ "currency": "EUR" })), mismatch()),
            (
                "a currency in lower case",
                claiming(json!({ "currency": "usd" })),
                mismatch(),
            ),
            (
                "another amount, expired",
                claiming(json!({ "amount": "0.01", "exp": 0 })),
                mismatch(),
            ),
        ];
        endpoint.proxy.reset();
        let begin = Instant::now();
        for (what, quote, expected) in &cases {
            for key in [None, Some(key.as_str())] {
                let response = endpoint.post(&with(body.clone(), json!({ "quote": quote })), key).await;
                assert_eq!(response.problem(), *expected, "{what}");
                assert!(
                    !response.text.contains("eyJ") && !response.text.contains(KEY),
                    "{response:?}"
                );
            }
        }
        assert_eq!(endpoint.post(&body, Some(&key)).await.problem(), invalid(), "missing");
        endpoint.assert_nothing_stored(&order, "refused").await;
        // The provider's key, both versions of the quote key, and these again for quotes that do not verify.
        let minutes = usize::try_from(begin.elapsed().as_secs() / 60).expect("a test's time");
        assert!(endpoint.proxy.count("GetSecretValue") <= 5 + 2 * minutes);

        let log = endpoint.until_refused(2 * cases.len() + 1).await;
        assert!(
            !log.contains("eyJ") && !log.contains(KEY) && !log.contains(signature),
            "{log}"
        );

        // A quote for another body does not count, even if that body would be right.
        let other = with(body.clone(), json!({ "amount": 0.01 }));
        let response = endpoint
            .post(&with(other, json!({ "quote": genuine })), Some(&key))
            .await;
        assert_eq!(response.problem(), mismatch());

        let response = endpoint.post(&quoted(&body), Some(&key)).await;
        assert_eq!(
            (response.status, response.header("idempotency-replayed")),
            (201, None),
            "{response:?}"
        );
        assert_eq!(calls(endpoint.provider, &order).await.len(), 1);
    }))
    .await;
}

#[tokio::test]
async fn quote_refusal_names_its_reason() {
    let [endpoint, _] = QuotedFunction::both().await;
    let (_, body) = endpoint.fresh();
    insta::assert_snapshot!(endpoint.post(&expired(&body), None).await.whole(), @r#"
    422
    cache-control: no-store
    content-type: application/problem+json

    {
      "code": "QUOTE_INVALID",
      "detail": "The quote is not valid: it has expired. Get a new one from the shop.",
      "status": 422,
      "title": "The quote is not valid",
      "type": "urn:payment-functions:problem:quote-invalid"
    }
    "#);
    let other = quoted_with(&body, json!({ "orderId": "another", "amount": "1" }));
    insta::assert_snapshot!(endpoint.post(&other, None).await.whole(), @r#"
    422
    cache-control: no-store
    content-type: application/problem+json

    {
      "code": "QUOTE_MISMATCH",
      "detail": "The quote has another orderId and amount than the request.",
      "status": 422,
      "title": "The quote is for another payment",
      "type": "urn:payment-functions:problem:quote-mismatch"
    }
    "#);
}

#[tokio::test]
async fn quote_allows_a_minute_of_clock_skew() {
    join_all(QuotedFunction::both().await.map(async |endpoint| {
        for (seconds, status) in [(-45, 201), (-59 - 15, 422), (0, 201)] {
            let (_, body) = endpoint.fresh();
            let response = endpoint
                .post(&quoted_with(&body, json!({ "exp": in_seconds(seconds) })), None)
                .await;
            assert_eq!(response.status, status, "{seconds}: {response:?}");
        }
        let (_, body) = endpoint.fresh();
        let response = endpoint
            .post(&quoted_with(&body, json!({ "nbf": in_seconds(45) })), None)
            .await;
        assert_eq!(response.status, 201, "{response:?}");
    }))
    .await;
}

#[tokio::test]
async fn body_errors_come_before_quote_errors() {
    for endpoint in QuotedFunction::both().await {
        let (order, body) = endpoint.fresh();
        for quote in [json!("forged"), json!(jwt(&claims(&body), KEY))] {
            let wrong = with(body.clone(), json!({ "quote": quote, "amount": 0, "x": 1 }));
            let response = endpoint.post(&wrong, None).await;
            assert_eq!(response.problem(), (422, "VALIDATION_FAILED".to_owned()));
            assert_eq!(response.pointers(), ["/amount", "/x"], "{response:?}");
        }
        for quote in [json!(null), json!(7), json!({}), json!(["x"]), json!(true)] {
            let response = endpoint
                .post(&with(body.clone(), json!({ "quote": quote })), None)
                .await;
            assert_eq!(response.problem(), (422, "VALIDATION_FAILED".to_owned()), "{quote}");
            assert_eq!(response.pointers(), ["/quote"], "{quote}");
        }
        // A quote is for an order.
        let mut anonymous = body.clone();
        anonymous.as_object_mut().expect("a body").remove("orderId");
        let response = endpoint.post(&with(anonymous, json!({ "quote": "x" })), None).await;
        assert_eq!(response.problem(), (422, "VALIDATION_FAILED".to_owned()));
        assert_eq!(response.pointers(), ["/orderId"], "{response:?}");
        endpoint.assert_nothing_stored(&order, "wrong bodies").await;
    }
}

#[tokio::test]
async fn key_is_replayed_with_a_valid_or_expired_quote() {
    join_all(QuotedFunction::both().await.map(async |endpoint| {
        let (order, body) = endpoint.fresh();
        let key = unique("key");
        // Makes the function fetch its secrets.
        let (unkeyed, _) = endpoint.fresh();
        assert_eq!(
            endpoint.post(&expired(&endpoint.body(&unkeyed)), None).await.problem(),
            invalid()
        );

        let (response, cost) = endpoint.round_trips(endpoint.post(&expired(&body), Some(&key))).await;
        assert_eq!(
            (response.problem(), cost.as_slice()),
            (invalid(), [WRITE.to_owned()].as_slice())
        );
        let (response, cost) = endpoint.round_trips(endpoint.post(&expired(&body), None)).await;
        assert_eq!((response.problem(), cost), (invalid(), vec![WRITE.to_owned()]));
        endpoint.assert_nothing_stored(&order, "expired").await;

        let used = quoted(&body);
        let (first, cost) = endpoint.round_trips(endpoint.post(&used, Some(&key))).await;
        assert_eq!(
            (first.status, cost.as_slice()),
            (201, [WRITE, WRITE].map(str::to_owned).as_slice())
        );
        for (quote, expected) in [
            (used.clone(), vec![WRITE]),
            // The key's own quote is read.
            (
                quoted_with(&body, json!({ "exp": in_seconds(3600), "jti": "another" })),
                vec![WRITE, READ],
            ),
            (expired(&body), vec![WRITE, READ]),
            (quoted_with(&body, json!({ "exp": 1 })), vec![WRITE, READ]),
        ] {
            let (again, cost) = endpoint.round_trips(endpoint.post(&quote, Some(&key))).await;
            assert_eq!(again.header("idempotency-replayed"), Some("true"), "{again:?}");
            assert_eq!((again.status, &again.text), (201, &first.text));
            assert_eq!(cost, expected);
        }
        // A forged quote, or one for something else, does not replay a key either.
        let forged = |claims: &Value| json!({ "quote": jwt(claims, STRANGE) });
        for (quote, expected) in [
            (body.clone(), invalid()),
            (with(body.clone(), json!({ "quote": "" })), invalid()),
            (with(body.clone(), forged(&claims(&body))), invalid()),
            (
                with(body.clone(), forged(&with(claims(&body), json!({ "exp": 1 })))),
                invalid(),
            ),
            (quoted_with(&body, json!({ "amount": "1" })), mismatch()),
            (quoted_with(&body, json!({ "amount": "1", "exp": 1 })), mismatch()),
        ] {
            assert_eq!(endpoint.post(&quote, Some(&key)).await.problem(), expected, "{quote}");
        }
        let other = with(body.clone(), json!({ "amount": 1 }));
        for quote in [quoted(&other), expired(&other)] {
            let response = endpoint.post(&quote, Some(&key)).await;
            assert_eq!(response.problem(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
        }
        // An expired quote that is not used begins nothing, with a new key or none.
        let new_key = unique("key");
        for key in [None, Some(new_key.as_str())] {
            assert_eq!(endpoint.post(&expired(&body), key).await.problem(), invalid());
        }
        assert_eq!(calls(endpoint.provider, &order).await.len(), 1);
    }))
    .await;
}

#[tokio::test]
async fn begun_payment_resumes_with_an_expired_quote() {
    join_all(QuotedFunction::both().await.map(async |endpoint| {
        let script = control().await;
        // During the first request.
        let (order, body) = endpoint.fresh();
        let key = unique("key");
        let replies = json!([{ "delayMs": 2500 }]);
        script
            .replies(endpoint.provider, &order, replies)
            .await
            .expect("a script");
        let second = world()
            .await
            .attach(
                function(endpoint.provider),
                1,
                &[("QUOTE_SECRET_ID", Some("payment-functions/quote"))],
            )
            .await
            .expect("a second instance");
        let meanwhile = async {
            until_called(endpoint.provider, &order, 1).await;
            let claims = with(claims(&body), json!({ "exp": in_seconds(-70) }));
            let body = with(body.clone(), json!({ "quote": jwt(&claims, LOCAL) }));
            let headers = [("idempotency-key", key.as_str())];
            post_to(second.url(), route(endpoint.provider), body.to_string(), &headers).await
        };
        let good = quoted(&body);
        let (first, meanwhile) = tokio::join!(endpoint.post(&good, Some(&key)), meanwhile);
        assert_eq!(first.status, 201, "{first:?}");
        assert_eq!(meanwhile.problem(), (409, "IDEMPOTENCY_IN_PROGRESS".to_owned()));

        // After a lost response: the same payment, and another provider call.
        let (order, body) = endpoint.fresh();
        let key = unique("key");
        let replies = json!([{ "drop": "beforeReply" }]);
        script
            .replies(endpoint.provider, &order, replies)
            .await
            .expect("a script");
        let lost = endpoint.post(&quoted(&body), Some(&key)).await;
        assert_eq!(lost.problem(), (502, "PROVIDER_ERROR".to_owned()));
        let resumed = endpoint.post(&expired(&body), Some(&key)).await;
        assert_eq!(
            (resumed.status, resumed.str("id")),
            (201, lost.str("id")),
            "{resumed:?}"
        );
        assert_eq!(calls(endpoint.provider, &order).await.len(), 2);

        // The provider's refusal is a response too.
        let (order, body) = endpoint.fresh();
        let key = unique("key");
        let replies = json!([{ "status": 400, "body": "{\"message\":\"no\"}" }]);
        script
            .replies(endpoint.provider, &order, replies)
            .await
            .expect("a script");
        let refused = endpoint.post(&quoted(&body), Some(&key)).await;
        assert_eq!(refused.problem(), (422, "PROVIDER_REJECTED".to_owned()));
        let again = endpoint.post(&expired(&body), Some(&key)).await;
        assert_eq!(
            (again.header("idempotency-replayed"), &again.text),
            (Some("true"), &refused.text)
        );
        assert_eq!(calls(endpoint.provider, &order).await.len(), 1);
    }))
    .await;
}

/// After two days a key is free, even if its item still exists: an expired quote starts nothing.
#[tokio::test]
async fn expired_key_is_not_replayed() {
    let secret = aws::create_secret(&json!({ "key": KEY })).await;
    let quotes = ("QUOTE_SECRET_ID", Some(secret.as_str()));
    let now = QuotedFunction::both_with(&[quotes]).await;
    let retention = 48 * 60 * 60;
    let (before, after) = ((retention - 60).to_string(), (retention + 60).to_string());
    let shortly_before = QuotedFunction::both_with(&[quotes, ("CLOCK_OFFSET_SECONDS", Some(&before))]).await;
    let after = QuotedFunction::both_with(&[quotes, ("CLOCK_OFFSET_SECONDS", Some(&after))]).await;
    for ((endpoint, before), after) in now.iter().zip(&shortly_before).zip(&after) {
        let (order, body) = endpoint.fresh();
        let key = unique("key");
        let first = endpoint.post(&quoted(&body), Some(&key)).await;
        assert_eq!(first.status, 201, "{first:?}");
        let again = before.post(&quoted(&body), Some(&key)).await;
        assert_eq!(
            (again.header("idempotency-replayed"), &again.text),
            (Some("true"), &first.text)
        );
        let late = after.post(&quoted(&body), Some(&key)).await;
        assert_eq!(late.problem(), invalid());
        after.assert_only_looked_up("expired");
        assert_eq!(calls(endpoint.provider, &order).await.len(), 1);
    }
}

#[tokio::test]
async fn missing_quote_secret_stores_nothing() {
    let unusable = [
        ("no JSON", json!("text")),
        ("another member", json!({ "secretKey": KEY })),
        ("empty", json!({ "key": "" })),
        ("short", json!({ "key": "quote_test_key_of_31_bytes_0001" })),
        ("no text", json!({ "key": [KEY] })),
    ];
    let unavailable = (503, "UNAVAILABLE".to_owned());
    let missing = unique("no-such-secret");
    join_all(
        QuotedFunction::both_with(&[("QUOTE_SECRET_ID", Some(missing.as_str()))])
            .await
            .map(async |endpoint| {
                let (order, body) = endpoint.fresh();
                let response = endpoint.post(&quoted(&body), None).await;
                assert_eq!(response.problem(), (503, "UNAVAILABLE".to_owned()));
                assert_eq!(response.header("retry-after"), Some("5"));
                assert!(
                    response.json().get("id").is_none() && !response.text.contains(&missing),
                    "{response:?}"
                );
                endpoint.assert_nothing_stored(&order, "no such secret").await;
            }),
    )
    .await;
    for (what, value) in unusable {
        let secret = aws::create_secret(&value).await;
        for endpoint in QuotedFunction::both_with(&[("QUOTE_SECRET_ID", Some(secret.as_str()))]).await {
            let (order, body) = endpoint.fresh();
            for _ in 0..2 {
                assert_eq!(
                    endpoint.post(&quoted(&body), None).await.problem(),
                    unavailable,
                    "{what}"
                );
            }
            endpoint.assert_nothing_stored(&order, what).await;
            assert!(!endpoint.function.log().contains("quote_test_key"), "{what}");
        }
    }
    join_all(QuotedFunction::both_without_secrets().await.map(async |endpoint| {
        let (order, body) = endpoint.fresh();
        for fault in [
            Fault::UNAVAILABLE,
            Fault::Disconnect,
            Fault::Error(400, "AccessDeniedException"),
            Fault::Hang,
        ] {
            endpoint.proxy.reset();
            endpoint.proxy.fail("GetSecretValue", fault.clone());
            let begin = Instant::now();
            assert_eq!(
                endpoint.post(&quoted(&body), None).await.problem(),
                (503, "UNAVAILABLE".to_owned()),
                "{fault:?}"
            );
            assert!(
                begin.elapsed() < Duration::from_secs(4),
                "{fault:?}: {:?}",
                begin.elapsed()
            );
            endpoint.assert_nothing_stored(&order, "unavailable").await;
        }
        endpoint.proxy.reset();
        assert_eq!(endpoint.post(&quoted(&body), None).await.status, 201);

        // A cached secret is used on, but a newer one may exist.
        endpoint.proxy.fail("GetSecretValue", Fault::Hang);
        let (_, body) = endpoint.fresh();
        assert_eq!(endpoint.post(&quoted(&body), None).await.status, 201);
        let (order, body) = endpoint.fresh();
        let by_unknown = with(body.clone(), json!({ "quote": jwt(&claims(&body), NEWER) }));
        for _ in 0..3 {
            let begin = Instant::now();
            assert_eq!(
                endpoint.post(&by_unknown, None).await.problem(),
                (503, "UNAVAILABLE".to_owned())
            );
            assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        }
        assert!(calls(endpoint.provider, &order).await.is_empty());
        assert_eq!(endpoint.post(&quoted(&body), None).await.status, 201);
    }))
    .await;
}

/// Retrying does not help if the quote is wrong.
#[tokio::test]
async fn quote_errors_come_before_our_own_errors() {
    let secret = aws::create_secret(&json!({ "key": KEY })).await;
    let missing = unique("no-such-secret");
    let changes = [
        ("QUOTE_SECRET_ID", Some(secret.as_str())),
        ("APOLOPAY_SECRET_ID", Some(&missing)),
        ("FINVYPAY_SECRET_ID", Some(&missing)),
    ];
    for endpoint in QuotedFunction::both_with(&changes).await {
        let (_, body) = endpoint.fresh();
        let unavailable = (503, "UNAVAILABLE".to_owned());
        let other = quoted_with(&body, json!({ "amount": "1" }));
        for (body, expected) in [(&body, invalid()), (&other, mismatch()), (&quoted(&body), unavailable)] {
            assert_eq!(endpoint.post(body, None).await.problem(), expected, "{body}");
        }
    }
}

#[tokio::test]
async fn unavailable_store_leaves_an_expired_quote_undecided() {
    for endpoint in QuotedFunction::both().await {
        let (order, body) = endpoint.fresh();
        let key = unique("key");
        endpoint.proxy.fail(WRITE, Fault::UNAVAILABLE);
        let response = endpoint.post(&expired(&body), Some(&key)).await;
        assert_eq!(response.problem(), (503, "UNAVAILABLE".to_owned()));
        assert!(response.json().get("id").is_none(), "{response:?}");
        endpoint.assert_nothing_stored(&order, "the store is unavailable").await;
    }
}

#[tokio::test]
async fn both_quote_secrets_verify_during_rotation() {
    let secret = aws::create_secret(&json!({ "key": KEY })).await;
    let changes = [("QUOTE_SECRET_ID", Some(secret.as_str()))];
    let before = QuotedFunction::both_with(&changes).await;
    let status_of = async |endpoint: &QuotedFunction, key: &str| {
        let (_, body) = endpoint.fresh();
        let body = with(body.clone(), json!({ "quote": jwt(&claims(&body), key) }));
        endpoint.post(&body, None).await.status
    };
    for endpoint in &before {
        assert_eq!(status_of(endpoint, KEY).await, 201);
    }
    aws::put_secret(&secret, &json!({ "key": NEWER })).await;
    let during = QuotedFunction::both_with(&changes).await;
    for endpoint in &before {
        endpoint.proxy.reset();
        assert_eq!(status_of(endpoint, KEY).await, 201, "the cached secret is used");
        assert_eq!(endpoint.proxy.count("GetSecretValue"), 0);
        assert_eq!(
            status_of(endpoint, NEWER).await,
            201,
            "refreshed after a failed verification"
        );
        assert_eq!(
            endpoint.proxy.count("GetSecretValue"),
            2,
            "the current and the previous version"
        );
    }
    for endpoint in before.iter().chain(&during) {
        for (key, status) in [(KEY, 201), (NEWER, 201), (STRANGE, 422), (STRANGE, 422), (KEY, 201)] {
            assert_eq!(status_of(endpoint, key).await, status, "{key}");
        }
        assert!(endpoint.proxy.count("GetSecretValue") <= 5, "forgeries fetch nothing");
    }
    // A day and a minute later only the new one verifies.
    let later = [changes[0], ("CLOCK_OFFSET_SECONDS", Some("86460"))];
    for endpoint in QuotedFunction::both_with(&later).await {
        for (key, status) in [(KEY, 422), (NEWER, 201)] {
            let (_, body) = endpoint.fresh();
            let claims = with(claims(&body), json!({ "exp": in_seconds(86_760) }));
            let body = with(body, json!({ "quote": jwt(&claims, key) }));
            assert_eq!(endpoint.post(&body, None).await.status, status, "{key}");
        }
    }
}

/// Runs an example of docs/quotes as a reader would.
async fn example(program: &str, file: &str, key: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = Command::new(workspace().join(".venv/bin").join(program));
    command
        .arg(workspace().join("docs/quotes").join(file))
        .args(arguments)
        .env_remove("QUOTE_KEY")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(key) = key {
        command.env("QUOTE_KEY", key);
    }
    let output = tokio::time::timeout(Duration::from_secs(30), command.output()).await;
    output.expect("in time").expect("it runs")
}

#[tokio::test]
async fn documented_examples_sign_valid_quotes() {
    let functions = QuotedFunction::both_with(&[("QUOTE_SECRET_ID", Some("payment-functions/quote"))]).await;
    for (program, file) in [("node", "sign.mjs"), ("python", "sign.py")] {
        for endpoint in &functions {
            // An order id with JSON escapes and non-ASCII characters.
            let order = format!("{} \"é\" \\ 😀", unique("ORD"));
            let body = endpoint.body(&order);
            let amount = body["amount"].to_string();
            let sign = async |more: &[&str]| {
                let arguments = ["--order-id", &order, "--amount", &amount, "--currency", "USD"];
                let output = example(program, file, Some(LOCAL), &[&arguments[..], more].concat()).await;
                assert!(output.status.success(), "{file}: {output:?}");
                let token = String::from_utf8(output.stdout).expect("text").trim_end().to_owned();
                with(body.clone(), json!({ "quote": token }))
            };
            let key = unique("key");
            let response = endpoint.post(&sign(&["--expires-in=-70"]).await, Some(&key)).await;
            assert_eq!(response.problem(), invalid(), "{file}");
            let response = endpoint.post(&sign(&[]).await, Some(&key)).await;
            assert_eq!(
                (response.status, response.str("orderId")),
                (201, order.clone()),
                "{file}: {response:?}"
            );
            let again = endpoint.post(&sign(&["--expires-in", "60"]).await, Some(&key)).await;
            assert_eq!(again.text, response.text, "{file}");
            let other = with(sign(&[]).await, json!({ "amount": 1 }));
            assert_eq!(endpoint.post(&other, None).await.problem(), mismatch(), "{file}");
        }
        let arguments = ["--order-id", "o", "--amount", "1", "--currency", "USD"];
        let refused = async |key, arguments: &[&str]| {
            let output = example(program, file, key, arguments).await;
            assert!(
                !output.status.success() && output.stdout.is_empty(),
                "{file} signs with {key:?} {arguments:?}"
            );
            String::from_utf8(output.stderr).expect("text")
        };
        for key in [None, Some("")] {
            let word = refused(key, &arguments).await;
            assert!(word.contains("the key is missing: set QUOTE_KEY"), "{file}: {word}");
        }
        let word = refused(Some("short"), &arguments).await;
        assert!(word.contains("the key must have 32 bytes or more"), "{file}: {word}");
        refused(Some(LOCAL), &arguments[..4]).await;
        for amount in [
            "", "abc", "0", "0.00", "-1", "1e3", ".5", "1.", "1,50", " 1", "1\n", "١", "NaN",
        ] {
            let amount = format!("--amount={amount}");
            let word = refused(Some(LOCAL), &["--order-id", "o", "--currency", "USD", &amount]).await;
            assert!(
                word.contains("amount must be a decimal number"),
                "{file}: {amount}: {word}"
            );
        }
        for (amount, currency, is_signed) in [
            ("25.505", "USD", false),
            ("1000000000", "USD", false),
            ("999999999.99", "USD", true),
            ("25.500", "USD", true),
            ("0.5", "JPY", false),
            ("100.00", "JPY", true),
            ("0.125", "BHD", false),
        ] {
            let arguments = ["--order-id", "o", "--amount", amount, "--currency", currency];
            let output = example(program, file, Some(LOCAL), &arguments).await;
            assert_eq!(
                output.status.success(),
                is_signed,
                "{file}: {amount} {currency}: {output:?}"
            );
        }
        // Two quotes of one second are two quotes.
        let mut tokens = Vec::new();
        for _ in 0..2 {
            tokens.push(example(program, file, Some(LOCAL), &arguments).await.stdout);
        }
        assert!(!tokens[0].is_empty() && tokens[0] != tokens[1], "{file}: {tokens:?}");
    }
}

#[test]
fn documented_examples_know_the_currencies_without_decimals() {
    let letters = || 'A'..='Z';
    let codes = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| format!("{a}{b}{c}"))));
    let has_none = |code: &String| {
        code.parse::<payment_functions::domain::money::Currency>()
            .is_ok_and(|currency| currency.decimals() == 0)
    };
    let codes: Vec<_> = codes.filter(has_none).collect();
    for file in ["sign.mjs", "sign.py"] {
        let source = std::fs::read_to_string(workspace().join("docs/quotes").join(file)).unwrap();
        assert!(source.contains(&format!("{:?}", codes.join(" "))), "{file}: {codes:?}");
    }
}

/// Interleavings of two requests, with the flow in this process.
mod in_process {
    use std::pin::Pin;

    use payment_functions::api::problem::{Code, Problem};
    use payment_functions::domain::id::{OrderId, PaymentId, Reference};
    use payment_functions::domain::idempotency::{Fingerprint, IdempotencyKey};
    use payment_functions::domain::json::Json;
    use payment_functions::domain::money::{Currency, Money};
    use payment_functions::domain::payment::{CheckoutSession, Payment};
    use payment_functions::flows::create_payment::{self, Creation, IdempotentRequest, QuoteCheck};
    use payment_functions::flows::quote::{QuoteToken, Quotes};
    use payment_functions::platform::clock;
    use payment_functions::platform::failpoint::{ExternalCall, Hook, Point, Side, scope};
    use payment_functions::platform::secrets::{ApiKey, SecretCache, SecretsManager};
    use payment_functions::providers::gateway::{Accepted, CallError, Gateway};
    use payment_functions::store::Store;

    use super::*;

    /// Accepts every payment at once.
    struct Provider(String);

    impl Gateway for Provider {
        async fn create(&self, _payment: &Payment, _attempt: u32) -> Result<Accepted, CallError> {
            Ok(Accepted {
                checkout_session: CheckoutSession {
                    reference: Reference::parse(&self.0).expect("an id"),
                    redirect_url: None,
                    expires_at: None,
                },
                references: vec![],
            })
        }
    }

    /// A customer with two concurrent requests: one quote is just still valid, the other has just expired.
    struct Customer {
        store: Store,
        keys: SecretCache<ApiKey>,
        quotes: Quotes,
        order_id: String,
        keyed: IdempotentRequest,
    }

    impl Customer {
        async fn new() -> Arc<Self> {
            let aws = aws::clients(world().await.aws_url());
            let secret = |id: &str| SecretsManager::new(aws.secrets_manager(), id.to_owned());
            Arc::new(Self {
                store: Store::open(&aws, "payments".to_owned()),
                keys: SecretCache::new(secret("payment-functions/apolopay"), "secretKey"),
                quotes: Quotes::new(secret("payment-functions/quote")),
                order_id: unique("ORD"),
                keyed: IdempotentRequest {
                    key: IdempotencyKey::parse("it", unique("key").as_bytes()).expect("a key"),
                    fingerprint: Fingerprint::of(&Json::Null),
                },
            })
        }

        async fn pay(&self, exp: i64) -> Result<Creation, Problem> {
            let claims = json!({ "orderId": self.order_id, "amount": "1", "currency": "USD", "exp": exp });
            let token = QuoteToken::read(&Json::String(jwt(&claims, LOCAL))).expect("a token");
            let quoted = QuoteCheck {
                quotes: &self.quotes,
                token: Some(&token),
            };
            let money = Money::from_minor(100, Currency::USD);
            let provider = payment_functions::domain::provider::Provider::ApoloPay;
            let intent = Payment {
                order_id: OrderId::parse(&self.order_id),
                ..Payment::new(PaymentId::random(), provider, Environment::Sandbox, money, clock::now())
            };
            let gateway = |_: &Payment, _| Provider(unique("process"));
            create_payment::create(
                &self.store,
                &self.keys,
                intent,
                Some(&self.keyed),
                Some(quoted),
                gateway,
            )
            .await
        }
    }

    /// Runs the other request to its end when this one reaches a point.
    struct OtherRequest {
        customer: Arc<Customer>,
        at: Point,
    }

    impl Hook for OtherRequest {
        fn reach(&self, point: Point) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(async move {
                if point == self.at {
                    // Runs as a separate task, so that no hook applies to it.
                    let customer = Arc::clone(&self.customer);
                    let other = tokio::spawn(async move { customer.pay(in_seconds(300)).await });
                    let paid = other.await.expect("it ends").expect("it pays");
                    assert!(!paid.replayed);
                }
            })
        }
    }

    /// Secrets Manager never responds, and calls do not time out.
    struct HungCalls;

    impl Hook for HungCalls {
        fn reach(&self, point: Point) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(async move {
                if point.call == ExternalCall::CurrentSecret {
                    std::future::pending().await
                }
            })
        }
    }

    #[tokio::test]
    async fn hung_secrets_time_out() {
        let customer = Customer::new().await;
        let begin = Instant::now();
        let refused = scope(Arc::new(HungCalls), customer.pay(in_seconds(300)))
            .await
            .expect_err("refused");
        assert_eq!(refused.code(), Code::Unavailable);
        // The rest of the 20 s is for the provider and the store.
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    }

    async fn late_request(customer: &Arc<Customer>, side: Side) -> Result<Creation, Problem> {
        let call = ExternalCall::FindRequest;
        let hook = OtherRequest {
            customer: Arc::clone(customer),
            at: Point { call, side },
        };
        scope(Arc::new(hook), customer.pay(in_seconds(-70))).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn concurrent_expired_and_valid_quote_create_one_payment() {
        // Stored before this request reads the key: it gets the other's response.
        let customer = Customer::new().await;
        let seen = late_request(&customer, Side::Before).await.expect("a replay");
        assert!(seen.replayed);

        // Stored after this request read the key: it is refused without a trace. Repeated, it gets the response.
        let customer = Customer::new().await;
        let refused = late_request(&customer, Side::After).await.expect_err("refused");
        assert_eq!(refused.code(), Code::QuoteInvalid);
        let again = customer.pay(in_seconds(-70)).await.expect("a replay");
        let other = customer.pay(in_seconds(300)).await.expect("a replay");
        assert!(again.replayed && other.replayed);
        assert_eq!((again.payment, again.response), (other.payment, other.response));
    }
}
