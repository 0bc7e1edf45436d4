//! Quotes on both routes: no payment but at the shop's price, and what an expired one is still good for.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use payment_functions_local::workspace;
use payment_functions_tests::world::{Attached, AwsProxy, Fault, USUAL_LIMITS};
use sha2::{Sha256, Sha512};
use tokio::process::Command;
use tokio::time::sleep;

use super::aws;
use super::routes::*;
use super::support::*;
use super::webhooks::dynamodb_calls;

const KEY: &str = "quote_test_key_that_is_no_secret_1";
const NEWER: &str = "quote_test_key_that_is_no_secret_2";
const STRANGE: &str = "quote_test_key_of_somebody_else_1";
/// What the local world has under `payment-functions/quote`.
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

/// What the shop would say about a body: its order and its money, good for five minutes.
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

/// A body with the quote that is right for it but for some claims.
fn quoted_with(body: &Value, other: Value) -> Value {
    with(body.clone(), json!({ "quote": jwt(&with(claims(body), other), KEY) }))
}

fn quoted(body: &Value) -> Value {
    quoted_with(body, json!({}))
}

/// With a quote whose time, and its skew, are over.
pub fn expired(body: &Value) -> Value {
    quoted_with(body, json!({ "exp": in_seconds(-70) }))
}

/// A secret with the key of this module's quotes.
pub async fn secret() -> String {
    aws::create_secret(&json!({ "key": KEY })).await
}

/// One creating function that asks for quotes, behind a proxy of its own.
struct Shop {
    provider: Provider,
    proxy: AwsProxy,
    function: Attached,
}

impl Shop {
    /// Both, with a secret of their own.
    async fn both() -> [Self; 2] {
        let secret = secret().await;
        Self::both_with(&[("QUOTE_SECRET_ID", Some(secret.as_str()))]).await
    }

    async fn both_with(changes: &[(&str, Option<&str>)]) -> [Self; 2] {
        Self::each(async |provider| aws::behind_proxy(function(provider), changes).await).await
    }

    /// Both, with a secret of their own that was out of reach when they started.
    async fn both_without_secrets() -> [Self; 2] {
        let secret = secret().await;
        let changes = [("QUOTE_SECRET_ID", Some(secret.as_str())), USUAL_LIMITS];
        Self::each(async |provider| aws::without_secrets(function(provider), &changes).await).await
    }

    async fn each(start: impl AsyncFn(Provider) -> (AwsProxy, Attached)) -> [Self; 2] {
        let shop = async |provider| {
            let (proxy, function) = start(provider).await;
            Self {
                provider,
                proxy,
                function,
            }
        };
        let (apolopay, finvypay) = tokio::join!(shop(BOTH[0]), shop(BOTH[1]));
        [apolopay, finvypay]
    }

    async fn post(&self, body: &Value, key: Option<&str>) -> Answer {
        let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        post_to(self.function.url(), route(self.provider), body.to_string(), &headers).await
    }

    fn body(&self, order_id: &str) -> Value {
        body(self.provider, order_id)
    }

    /// A body for an order that no other test uses, with the order.
    fn fresh(&self) -> (String, Value) {
        let order = unique("ORD");
        let body = self.body(&order);
        (order, body)
    }

    /// What a request asked of DynamoDB.
    async fn round_trips(&self, request: impl Future<Output = Answer>) -> (Answer, Vec<String>) {
        self.proxy.reset();
        let answer = request.await;
        assert_eq!(self.proxy.count("GetSecretValue"), 0, "secrets are warm");
        (answer, dynamodb_calls(&self.proxy))
    }

    /// Asserts that nothing has been stored since the proxy's last reset, and that the provider heard nothing.
    async fn assert_nothing_began(&self, order_id: &str, what: &str) {
        assert_eq!(self.proxy.count(WRITE), 0, "{what}");
        assert!(calls(self.provider, order_id).await.is_empty(), "{what}");
    }

    /// Waits until the function has logged so many refused quotes; what it wrote arrives a little after its answer.
    async fn until_refused(&self, count: usize) -> String {
        for _ in 0..500 {
            let log = self.function.log();
            if log.matches("quote refused").count() >= count {
                return log;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("it does not log what it refuses");
    }
}

#[tokio::test]
async fn a_payment_at_the_shops_price() {
    for shop in Shop::both().await {
        let (order, body) = shop.fresh();
        let quote = quoted(&body);
        let answer = shop.post(&quote, None).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let calls = calls(shop.provider, &order).await;
        assert_eq!(calls.len(), 1);
        assert!(!calls[0].body.contains("quote") && !calls[0].body.contains("eyJ"));
        assert!(!get_payment(&answer.str("id")).await.text.contains("quote"));

        // By value, and wherever a preorder names its order.
        let amount = body["amount"].to_string();
        let (whole, decimals) = amount.split_once('.').expect("decimals");
        for other in [
            format!("{amount}000"),
            format!("{amount}E0"),
            format!("{whole}{decimals}e-{}", decimals.len()),
        ] {
            let (_, body) = shop.fresh();
            let answer = shop.post(&quoted_with(&body, json!({ "amount": other })), None).await;
            assert_eq!(answer.status, 201, "{other}: {answer:?}");
        }
        if shop.provider == Provider::Apolopay {
            let body = json!({ "amount": 7, "metadata": { "orderId": unique("ORD") } });
            let answer = shop.post(&quoted(&body), None).await;
            assert_eq!(answer.status, 201, "{answer:?}");
        }
        let items = aws::raw_items(&format!("PAYMENT#{}", answer.str("id"))).await;
        let stored = format!("{items:?}");
        assert!(
            stored.contains(&order) && !stored.contains("eyJ") && !stored.contains("quote"),
            "{stored}"
        );
    }
}

#[tokio::test]
async fn every_other_quote_is_refused_and_uses_nothing_up() {
    join_all(Shop::both().await.map(async |shop| {
        let (order, body) = shop.fresh();
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
            ("somebody else's", jwt(&good, STRANGE), invalid()),
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
                "a hair more",
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
        shop.proxy.reset();
        let begin = Instant::now();
        for (what, quote, expected) in &cases {
            for key in [None, Some(key.as_str())] {
                let answer = shop.post(&with(body.clone(), json!({ "quote": quote })), key).await;
                assert_eq!(answer.problem(), *expected, "{what}");
                assert!(!answer.text.contains("eyJ") && !answer.text.contains(KEY), "{answer:?}");
            }
        }
        assert_eq!(shop.post(&body, Some(&key)).await.problem(), invalid(), "missing");
        shop.assert_nothing_began(&order, "refused").await;
        // The provider's key, the quotes' in its two versions, and these once more for what does not verify.
        let minutes = usize::try_from(begin.elapsed().as_secs() / 60).expect("a test's time");
        assert!(shop.proxy.count("GetSecretValue") <= 5 + 2 * minutes);

        let log = shop.until_refused(2 * cases.len() + 1).await;
        assert!(
            !log.contains("eyJ") && !log.contains(KEY) && !log.contains(signature),
            "{log}"
        );

        // The request may be right where its quote is for another: what the body says is what counts.
        let other = with(body.clone(), json!({ "amount": 0.01 }));
        let answer = shop.post(&with(other, json!({ "quote": genuine })), Some(&key)).await;
        assert_eq!(answer.problem(), mismatch());

        let answer = shop.post(&quoted(&body), Some(&key)).await;
        assert_eq!(
            (answer.status, answer.header("idempotency-replayed")),
            (201, None),
            "{answer:?}"
        );
        assert_eq!(calls(shop.provider, &order).await.len(), 1);
    }))
    .await;
}

#[tokio::test]
async fn what_a_refusal_looks_like() {
    let [shop, _] = Shop::both().await;
    let (_, body) = shop.fresh();
    insta::assert_snapshot!(shop.post(&expired(&body), None).await.whole(), @r#"
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
    insta::assert_snapshot!(shop.post(&other, None).await.whole(), @r#"
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
async fn a_minute_of_skew() {
    join_all(Shop::both().await.map(async |shop| {
        for (seconds, status) in [(-45, 201), (-59 - 15, 422), (0, 201)] {
            let (_, body) = shop.fresh();
            let answer = shop
                .post(&quoted_with(&body, json!({ "exp": in_seconds(seconds) })), None)
                .await;
            assert_eq!(answer.status, status, "{seconds}: {answer:?}");
        }
        let (_, body) = shop.fresh();
        let answer = shop
            .post(&quoted_with(&body, json!({ "nbf": in_seconds(45) })), None)
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }))
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_the_body_comes_first() {
    for shop in Shop::both().await {
        let (order, body) = shop.fresh();
        for quote in [json!("forged"), json!(jwt(&claims(&body), KEY))] {
            let wrong = with(body.clone(), json!({ "quote": quote, "amount": 0, "x": 1 }));
            let answer = shop.post(&wrong, None).await;
            assert_eq!(answer.problem(), (422, "VALIDATION_FAILED".to_owned()));
            assert_eq!(answer.pointers(), ["/amount", "/x"], "{answer:?}");
        }
        for quote in [json!(null), json!(7), json!({}), json!(["x"]), json!(true)] {
            let answer = shop.post(&with(body.clone(), json!({ "quote": quote })), None).await;
            assert_eq!(answer.problem(), (422, "VALIDATION_FAILED".to_owned()), "{quote}");
            assert_eq!(answer.pointers(), ["/quote"], "{quote}");
        }
        // An order is what the quote is for.
        let mut anonymous = body.clone();
        anonymous.as_object_mut().expect("a body").remove("orderId");
        let answer = shop.post(&with(anonymous, json!({ "quote": "x" })), None).await;
        assert_eq!(answer.problem(), (422, "VALIDATION_FAILED".to_owned()));
        assert_eq!(answer.pointers(), ["/orderId"], "{answer:?}");
        shop.assert_nothing_began(&order, "wrong bodies").await;
    }
}

#[tokio::test]
async fn a_key_is_replayed_with_any_good_quote_and_an_expired_one() {
    join_all(Shop::both().await.map(async |shop| {
        let (order, body) = shop.fresh();
        let key = unique("key");
        // Secrets are fetched with this one.
        let (unkeyed, _) = shop.fresh();
        assert_eq!(
            shop.post(&expired(&shop.body(&unkeyed)), None).await.problem(),
            invalid()
        );

        let (answer, cost) = shop.round_trips(shop.post(&expired(&body), Some(&key))).await;
        assert_eq!(
            (answer.problem(), cost.as_slice()),
            (invalid(), [READ.to_owned()].as_slice())
        );
        let (answer, cost) = shop.round_trips(shop.post(&expired(&body), None)).await;
        assert_eq!((answer.problem(), cost), (invalid(), vec![]));
        shop.assert_nothing_began(&order, "expired").await;

        let (first, cost) = shop.round_trips(shop.post(&quoted(&body), Some(&key))).await;
        assert_eq!(
            (first.status, cost.as_slice()),
            (201, [WRITE, WRITE].map(str::to_owned).as_slice())
        );
        for (quote, expected) in [
            (quoted(&body), vec![WRITE]),
            (
                quoted_with(&body, json!({ "exp": in_seconds(3600), "jti": "another" })),
                vec![WRITE],
            ),
            (expired(&body), vec![READ]),
            (quoted_with(&body, json!({ "exp": 1 })), vec![READ]),
        ] {
            let (again, cost) = shop.round_trips(shop.post(&quote, Some(&key))).await;
            assert_eq!(again.header("idempotency-replayed"), Some("true"), "{again:?}");
            assert_eq!((again.status, &again.text), (201, &first.text));
            assert_eq!(cost, expected);
        }
        // What was never the shop's, or is for something else, is none of the key's either.
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
            assert_eq!(shop.post(&quote, Some(&key)).await.problem(), expected, "{quote}");
        }
        let other = with(body.clone(), json!({ "amount": 1 }));
        for quote in [quoted(&other), expired(&other)] {
            let answer = shop.post(&quote, Some(&key)).await;
            assert_eq!(answer.problem(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
        }
        // A key belongs to its route, and to nobody without it.
        assert_eq!(
            shop.post(&expired(&body), Some(&unique("key"))).await.problem(),
            invalid()
        );
        assert_eq!(shop.post(&expired(&body), None).await.problem(), invalid());
        assert_eq!(calls(shop.provider, &order).await.len(), 1);
    }))
    .await;
}

#[tokio::test]
async fn what_has_begun_goes_on_with_an_expired_quote() {
    join_all(Shop::both().await.map(async |shop| {
        let script = control().await;
        // While the first request runs.
        let (order, body) = shop.fresh();
        let key = unique("key");
        let replies = json!([{ "delayMs": 2500 }]);
        script.replies(shop.provider, &order, replies).await.expect("a script");
        let second = world()
            .await
            .attach(
                function(shop.provider),
                1,
                &[("QUOTE_SECRET_ID", Some("payment-functions/quote"))],
            )
            .await
            .expect("a second instance");
        let meanwhile = async {
            until_called(shop.provider, &order, 1).await;
            let claims = with(claims(&body), json!({ "exp": in_seconds(-70) }));
            let body = with(body.clone(), json!({ "quote": jwt(&claims, LOCAL) }));
            let headers = [("idempotency-key", key.as_str())];
            post_to(second.url(), route(shop.provider), body.to_string(), &headers).await
        };
        let good = quoted(&body);
        let (first, meanwhile) = tokio::join!(shop.post(&good, Some(&key)), meanwhile);
        assert_eq!(first.status, 201, "{first:?}");
        assert_eq!(meanwhile.problem(), (409, "IDEMPOTENCY_IN_PROGRESS".to_owned()));

        // After its answer was lost: the same payment, and the provider is asked again.
        let (order, body) = shop.fresh();
        let key = unique("key");
        let replies = json!([{ "drop": "beforeReply" }]);
        script.replies(shop.provider, &order, replies).await.expect("a script");
        let lost = shop.post(&quoted(&body), Some(&key)).await;
        assert_eq!(lost.problem(), (502, "PROVIDER_ERROR".to_owned()));
        let resumed = shop.post(&expired(&body), Some(&key)).await;
        assert_eq!(
            (resumed.status, resumed.str("id")),
            (201, lost.str("id")),
            "{resumed:?}"
        );
        assert_eq!(calls(shop.provider, &order).await.len(), 2);

        // The provider's refusal is an answer too.
        let (order, body) = shop.fresh();
        let key = unique("key");
        let replies = json!([{ "status": 400, "body": "{\"message\":\"no\"}" }]);
        script.replies(shop.provider, &order, replies).await.expect("a script");
        let refused = shop.post(&quoted(&body), Some(&key)).await;
        assert_eq!(refused.problem(), (422, "PROVIDER_REJECTED".to_owned()));
        let again = shop.post(&expired(&body), Some(&key)).await;
        assert_eq!(
            (again.header("idempotency-replayed"), &again.text),
            (Some("true"), &refused.text)
        );
        assert_eq!(calls(shop.provider, &order).await.len(), 1);
    }))
    .await;
}

/// Two days later a key is free, though its item may still be there: nothing begins with an expired quote.
#[tokio::test]
async fn a_key_that_is_past_its_time_replays_nothing() {
    let secret = aws::create_secret(&json!({ "key": KEY })).await;
    let quotes = ("QUOTE_SECRET_ID", Some(secret.as_str()));
    let now = Shop::both_with(&[quotes]).await;
    let retention = 48 * 60 * 60;
    let (before, after) = ((retention - 60).to_string(), (retention + 60).to_string());
    let shortly_before = Shop::both_with(&[quotes, ("CLOCK_OFFSET_SECONDS", Some(&before))]).await;
    let after = Shop::both_with(&[quotes, ("CLOCK_OFFSET_SECONDS", Some(&after))]).await;
    for ((shop, before), after) in now.iter().zip(&shortly_before).zip(&after) {
        let (order, body) = shop.fresh();
        let key = unique("key");
        let first = shop.post(&quoted(&body), Some(&key)).await;
        assert_eq!(first.status, 201, "{first:?}");
        let again = before.post(&quoted(&body), Some(&key)).await;
        assert_eq!(
            (again.header("idempotency-replayed"), &again.text),
            (Some("true"), &first.text)
        );
        let late = after.post(&quoted(&body), Some(&key)).await;
        assert_eq!(late.problem(), invalid());
        assert_eq!(after.proxy.count(WRITE), 0);
        assert_eq!(calls(shop.provider, &order).await.len(), 1);
    }
}

#[tokio::test]
async fn without_the_key_nothing_begins() {
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
        Shop::both_with(&[("QUOTE_SECRET_ID", Some(missing.as_str()))])
            .await
            .map(async |shop| {
                let (order, body) = shop.fresh();
                let answer = shop.post(&quoted(&body), None).await;
                assert_eq!(answer.problem(), (503, "UNAVAILABLE".to_owned()));
                assert_eq!(answer.header("retry-after"), Some("5"));
                assert!(
                    answer.json().get("id").is_none() && !answer.text.contains(&missing),
                    "{answer:?}"
                );
                shop.assert_nothing_began(&order, "no such secret").await;
            }),
    )
    .await;
    for (what, value) in unusable {
        let secret = aws::create_secret(&value).await;
        for shop in Shop::both_with(&[("QUOTE_SECRET_ID", Some(secret.as_str()))]).await {
            let (order, body) = shop.fresh();
            for _ in 0..2 {
                assert_eq!(shop.post(&quoted(&body), None).await.problem(), unavailable, "{what}");
            }
            shop.assert_nothing_began(&order, what).await;
            assert!(!shop.function.log().contains("quote_test_key"), "{what}");
        }
    }
    join_all(Shop::both_without_secrets().await.map(async |shop| {
        let (order, body) = shop.fresh();
        for fault in [
            Fault::UNAVAILABLE,
            Fault::Disconnect,
            Fault::Error(400, "AccessDeniedException"),
            Fault::Hang,
        ] {
            shop.proxy.reset();
            shop.proxy.fail("GetSecretValue", fault.clone());
            let begin = Instant::now();
            assert_eq!(
                shop.post(&quoted(&body), None).await.problem(),
                (503, "UNAVAILABLE".to_owned()),
                "{fault:?}"
            );
            assert!(
                begin.elapsed() < Duration::from_secs(4),
                "{fault:?}: {:?}",
                begin.elapsed()
            );
            shop.assert_nothing_began(&order, "out of reach").await;
        }
        shop.proxy.reset();
        assert_eq!(shop.post(&quoted(&body), None).await.status, 201);

        // Once it was had, it is used on; but whether there is a newer one is not known then.
        shop.proxy.fail("GetSecretValue", Fault::Hang);
        let (_, body) = shop.fresh();
        assert_eq!(shop.post(&quoted(&body), None).await.status, 201);
        let (order, body) = shop.fresh();
        let by_unknown = with(body.clone(), json!({ "quote": jwt(&claims(&body), NEWER) }));
        for _ in 0..3 {
            let begin = Instant::now();
            assert_eq!(
                shop.post(&by_unknown, None).await.problem(),
                (503, "UNAVAILABLE".to_owned())
            );
            assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        }
        assert!(calls(shop.provider, &order).await.is_empty());
        assert_eq!(shop.post(&quoted(&body), None).await.status, 201);
    }))
    .await;
}

/// Asking again will not help where the quote is the trouble.
#[tokio::test]
async fn what_is_wrong_with_the_quote_comes_before_what_is_wrong_with_us() {
    let secret = aws::create_secret(&json!({ "key": KEY })).await;
    let missing = unique("no-such-secret");
    let changes = [
        ("QUOTE_SECRET_ID", Some(secret.as_str())),
        ("APOLOPAY_SECRET_ID", Some(&missing)),
        ("FINVYPAY_SECRET_ID", Some(&missing)),
    ];
    for shop in Shop::both_with(&changes).await {
        let (_, body) = shop.fresh();
        let unavailable = (503, "UNAVAILABLE".to_owned());
        let other = quoted_with(&body, json!({ "amount": "1" }));
        for (body, expected) in [(&body, invalid()), (&other, mismatch()), (&quoted(&body), unavailable)] {
            assert_eq!(shop.post(body, None).await.problem(), expected, "{body}");
        }
    }
}

#[tokio::test]
async fn without_the_store_an_expired_quote_is_not_decided() {
    for shop in Shop::both().await {
        let (order, body) = shop.fresh();
        let key = unique("key");
        shop.proxy.fail(READ, Fault::UNAVAILABLE);
        let answer = shop.post(&expired(&body), Some(&key)).await;
        assert_eq!(answer.problem(), (503, "UNAVAILABLE".to_owned()));
        assert!(answer.json().get("id").is_none(), "{answer:?}");
        shop.assert_nothing_began(&order, "the store is out of reach").await;
    }
}

#[tokio::test]
async fn while_the_key_is_rotated_both_are_good() {
    let secret = aws::create_secret(&json!({ "key": KEY })).await;
    let changes = [("QUOTE_SECRET_ID", Some(secret.as_str()))];
    let before = Shop::both_with(&changes).await;
    let status_of = async |shop: &Shop, key: &str| {
        let (_, body) = shop.fresh();
        let body = with(body.clone(), json!({ "quote": jwt(&claims(&body), key) }));
        shop.post(&body, None).await.status
    };
    for shop in &before {
        assert_eq!(status_of(shop, KEY).await, 201);
    }
    aws::put_secret(&secret, &json!({ "key": NEWER })).await;
    let during = Shop::both_with(&changes).await;
    for shop in &before {
        shop.proxy.reset();
        assert_eq!(status_of(shop, KEY).await, 201, "nothing noticed yet");
        assert_eq!(shop.proxy.count("GetSecretValue"), 0);
        assert_eq!(status_of(shop, NEWER).await, 201, "fetched because it did not verify");
        assert_eq!(
            shop.proxy.count("GetSecretValue"),
            2,
            "the current version and the one before"
        );
    }
    for shop in before.iter().chain(&during) {
        for (key, status) in [(KEY, 201), (NEWER, 201), (STRANGE, 422), (STRANGE, 422), (KEY, 201)] {
            assert_eq!(status_of(shop, key).await, status, "{key}");
        }
        assert!(
            shop.proxy.count("GetSecretValue") <= 5,
            "a flood of forged ones fetches nothing"
        );
    }
    // A day and a minute later only the new one is.
    let later = [changes[0], ("CLOCK_OFFSET_SECONDS", Some("86460"))];
    for shop in Shop::both_with(&later).await {
        for (key, status) in [(KEY, 422), (NEWER, 201)] {
            let (_, body) = shop.fresh();
            let claims = with(claims(&body), json!({ "exp": in_seconds(86_760) }));
            let body = with(body, json!({ "quote": jwt(&claims, key) }));
            assert_eq!(shop.post(&body, None).await.status, status, "{key}");
        }
    }
}

/// Runs one of the examples in docs/quotes, as a reader would.
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
async fn the_examples_sign_quotes_that_pay() {
    let shops = Shop::both_with(&[("QUOTE_SECRET_ID", Some("payment-functions/quote"))]).await;
    for (program, file) in [("node", "sign.mjs"), ("python", "sign.py")] {
        for shop in &shops {
            // A name that JSON has to escape, and that is no ASCII.
            let order = format!("{} \"é\" \\ 😀", unique("ORD"));
            let body = shop.body(&order);
            let amount = body["amount"].to_string();
            let sign = async |more: &[&str]| {
                let arguments = ["--order-id", &order, "--amount", &amount, "--currency", "USD"];
                let output = example(program, file, Some(LOCAL), &[&arguments[..], more].concat()).await;
                assert!(output.status.success(), "{file}: {output:?}");
                let token = String::from_utf8(output.stdout).expect("text").trim_end().to_owned();
                with(body.clone(), json!({ "quote": token }))
            };
            let key = unique("key");
            let answer = shop.post(&sign(&["--expires-in=-70"]).await, Some(&key)).await;
            assert_eq!(answer.problem(), invalid(), "{file}");
            let answer = shop.post(&sign(&[]).await, Some(&key)).await;
            assert_eq!(
                (answer.status, answer.str("orderId")),
                (201, order.clone()),
                "{file}: {answer:?}"
            );
            let again = shop.post(&sign(&["--expires-in", "60"]).await, Some(&key)).await;
            assert_eq!(again.text, answer.text, "{file}");
            let other = with(sign(&[]).await, json!({ "amount": 1 }));
            assert_eq!(shop.post(&other, None).await.problem(), mismatch(), "{file}");
        }
        let arguments = ["--order-id", "o", "--amount", "1", "--currency", "USD"];
        for key in [None, Some(""), Some("short")] {
            let output = example(program, file, key, &arguments).await;
            assert!(
                !output.status.success() && output.stdout.is_empty(),
                "{file} signs with {key:?}"
            );
        }
        let output = example(program, file, Some(LOCAL), &arguments[..4]).await;
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{file} signs without a currency"
        );
    }
}

/// What is decided between two calls, with the flow in this process.
mod in_process {
    use std::pin::Pin;

    use payment_functions::api::problem::{Code, Problem};
    use payment_functions::domain::id::{OrderId, PaymentId, Reference};
    use payment_functions::domain::idempotency::{Fingerprint, IdempotencyKey};
    use payment_functions::domain::json::Json;
    use payment_functions::domain::money::{Currency, Money};
    use payment_functions::domain::payment::{CheckoutSession, Payment};
    use payment_functions::flows::create_payment::{self, Creation, IdempotentRequest, QuoteCheck};
    use payment_functions::flows::quote::{Quotes, Token};
    use payment_functions::platform::clock;
    use payment_functions::platform::failpoint::{ExternalCall, Hook, Point, Side, scope};
    use payment_functions::platform::secrets::{ApiKey, SecretCache, SecretsManager};
    use payment_functions::providers::gateway::{Accepted, CallError, Gateway};
    use payment_functions::store::Store;

    use super::*;

    /// Takes every payment at once.
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

    /// A customer whose two requests meet: one with a quote that is just still good, one with the same a moment later.
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
            let token = Token::read(&Json::String(jwt(&claims, LOCAL))).expect("a token");
            let quoted = QuoteCheck {
                quotes: &self.quotes,
                token: Some(&token),
            };
            let money = Money::from_minor(100, Currency::USD);
            let provider = payment_functions::domain::provider::Provider::ApoloPay;
            let intent = Payment {
                order_id: OrderId::parse(&self.order_id),
                ..Payment::new(PaymentId::random(), provider, money, clock::now())
            };
            let gateway = |_, _| Provider(unique("process"));
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

    /// Lets the other request run through when this one is at a point.
    struct Meanwhile {
        customer: Arc<Customer>,
        at: Point,
    }

    impl Hook for Meanwhile {
        fn reach(&self, point: Point) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(async move {
                if point == self.at {
                    // A task of its own, which no hook looks into.
                    let customer = Arc::clone(&self.customer);
                    let other = tokio::spawn(async move { customer.pay(in_seconds(300)).await });
                    let paid = other.await.expect("it ends").expect("it pays");
                    assert!(!paid.replayed);
                }
            })
        }
    }

    /// Nothing comes back from Secrets Manager, and nothing gives up on it.
    struct Silence;

    impl Hook for Silence {
        fn reach(&self, point: Point) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(async move {
                if point.call == ExternalCall::CurrentSecret {
                    std::future::pending().await
                }
            })
        }
    }

    #[tokio::test]
    async fn secrets_that_never_come_are_not_waited_for() {
        let customer = Customer::new().await;
        let begin = Instant::now();
        let refused = scope(Arc::new(Silence), customer.pay(in_seconds(300)))
            .await
            .expect_err("refused");
        assert_eq!(refused.code(), Code::Unavailable);
        // The rest of the 20 s is the provider's and the store's.
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    }

    async fn late_request(customer: &Arc<Customer>, side: Side) -> Result<Creation, Problem> {
        let call = ExternalCall::ReadKey;
        let hook = Meanwhile {
            customer: Arc::clone(customer),
            at: Point { call, side },
        };
        scope(Arc::new(hook), customer.pay(in_seconds(-70))).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_expired_quote_and_a_good_one_with_the_same_key_meet() {
        // Stored before this one looks: it gets the other's answer.
        let customer = Customer::new().await;
        let seen = late_request(&customer, Side::Before).await.expect("a replay");
        assert!(seen.replayed);

        // Stored after it has looked: it came first, and is refused without a trace. Repeated, it gets the answer.
        let customer = Customer::new().await;
        let refused = late_request(&customer, Side::After).await.expect_err("refused");
        assert_eq!(refused.code(), Code::QuoteInvalid);
        let again = customer.pay(in_seconds(-70)).await.expect("a replay");
        let other = customer.pay(in_seconds(300)).await.expect("a replay");
        assert!(again.replayed && other.replayed);
        assert_eq!((again.payment, again.answer), (other.payment, other.answer));
    }
}
