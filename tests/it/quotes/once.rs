//! One quote begins one payment, with any idempotency key or none.

use std::collections::BTreeSet;

use payment_functions_local::sandbox::Call;
use payment_functions_tests::world::InvokeError;

use super::*;

fn refused(code: &str) -> (u16, String) {
    let status = if code == "IDEMPOTENCY_IN_PROGRESS" { 409 } else { 422 };
    (status, code.to_owned())
}

fn assert_replays(again: &Response, first: &Response, what: &str) {
    assert_eq!(again.header("idempotency-replayed"), Some("true"), "{what}: {again:?}");
    assert_eq!((again.status, &again.text), (first.status, &first.text), "{what}");
}

/// The body of a call to the provider.
fn sent(call: &Call) -> Value {
    serde_json::from_str(&call.body).expect("JSON")
}

#[tokio::test]
async fn twenty_simultaneous_requests_with_one_quote_create_one_payment() {
    let secret = secret().await;
    let changes = [("QUOTE_SECRET_ID", Some(secret.as_str()))];
    for provider in BOTH {
        let function = world().await.attach(function(provider), 5, &changes).await;
        let function = function.expect("a function");
        function.ready().await.expect("it is ready");
        let order = unique("ORD");
        let body = quoted(&body(provider, &order)).to_string();
        let post = async |key: Option<String>| {
            let headers: Vec<_> = key.iter().map(|key| ("idempotency-key", key.as_str())).collect();
            post_to(function.url(), route(provider), body.clone(), &headers).await
        };
        // A slow provider, so that the requests meet.
        let replies = json!([{ "delayMs": 300 }]);
        let script = control().await.replies(provider, &order, replies).await;
        script.expect("a script");
        // Without a key, with the same key, and each with its own.
        let keys = (0..20).map(|nth| match nth % 3 {
            0 => None,
            1 => Some(format!("{order}-same")),
            _ => Some(format!("{order}-{nth}")),
        });
        let answers = join_all(keys.clone().map(&post)).await;
        let (busy, answered): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 409);
        for answer in &busy {
            assert_eq!(answer.problem(), refused("IDEMPOTENCY_IN_PROGRESS"));
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
        }
        let bodies: BTreeSet<_> = answered.iter().map(|answer| (answer.status, &answer.text)).collect();
        assert_eq!(bodies.len(), 1, "{answered:?}");
        let is_first = |answer: &&Response| answer.header("idempotency-replayed").is_none();
        let firsts: Vec<_> = answered.iter().filter(is_first).collect();
        assert_eq!((firsts.len(), firsts[0].status), (1, 201), "{answered:?}");
        assert_eq!(calls(provider, &order).await.len(), 1);
        for key in keys {
            let what = format!("{key:?}");
            assert_replays(&post(key).await, firsts[0], &what);
        }
        assert_eq!(calls(provider, &order).await.len(), 1);
    }
}

#[tokio::test]
async fn used_quote_gets_the_answer_and_binds_a_new_key() {
    join_all(QuotedFunction::both().await.map(async |endpoint| {
        let (order, body) = endpoint.fresh();
        let used = quoted(&body);
        let (first, cost) = endpoint.round_trips(endpoint.post(&used, None)).await;
        assert_eq!(
            (first.status, cost),
            (201, vec![WRITE.to_owned(); 2]),
            "without a key: {first:?}"
        );
        let (again, cost) = endpoint.round_trips(endpoint.post(&used, None)).await;
        assert_replays(&again, &first, "without a key");
        assert_eq!(cost, [WRITE]);
        let key = unique("key");
        let (bound, cost) = endpoint.round_trips(endpoint.post(&used, Some(&key))).await;
        assert_replays(&bound, &first, "a new key");
        assert_eq!(cost, [WRITE, WRITE]);
        let (again, cost) = endpoint.round_trips(endpoint.post(&used, Some(&key))).await;
        assert_replays(&again, &first, "the bound key");
        assert_eq!(cost, [WRITE]);

        // The key's answer for a fresh quote, which stays unused.
        let fresh = quoted_with(&body, json!({ "jti": "fresh" }));
        let (known, cost) = endpoint.round_trips(endpoint.post(&fresh, Some(&key))).await;
        assert_replays(&known, &first, "a fresh quote");
        assert_eq!(cost, [WRITE, READ]);
        let other_key = unique("key");
        let second = endpoint.post(&fresh, Some(&other_key)).await;
        assert_eq!(
            (second.status, second.header("idempotency-replayed")),
            (201, None),
            "{second:?}"
        );
        assert_ne!(second.str("id"), first.str("id"));

        // The key of one payment with the quote of the other.
        for (quote, key) in [(&used, &other_key), (&fresh, &key)] {
            endpoint.proxy.reset();
            let crossed = endpoint.post(quote, Some(key)).await;
            assert_eq!(crossed.problem(), refused("IDEMPOTENCY_KEY_REUSED"));
            assert_eq!(endpoint.proxy.count(WRITE), 1, "a refused transaction writes nothing");
        }
        assert_eq!(calls(endpoint.provider, &order).await.len(), 2);
    }))
    .await;
}

#[tokio::test]
async fn rejection_uses_the_quote_up() {
    for endpoint in QuotedFunction::both().await {
        let (order, body) = endpoint.fresh();
        let used = quoted(&body);
        let replies = json!([{ "status": 400, "body": "{\"message\":\"no\"}" }]);
        let script = control().await.replies(endpoint.provider, &order, replies).await;
        script.expect("a script");
        let rejected = endpoint.post(&used, None).await;
        assert_eq!(rejected.problem(), refused("PROVIDER_REJECTED"));
        for key in [None, Some(unique("key"))] {
            assert_replays(&endpoint.post(&used, key.as_deref()).await, &rejected, "again");
        }
        assert_eq!(calls(endpoint.provider, &order).await.len(), 1);
        let another = endpoint
            .post(&quoted_with(&body, json!({ "jti": "another" })), None)
            .await;
        assert_eq!(another.status, 201, "{another:?}");
    }
}

#[tokio::test]
async fn used_quote_is_for_one_route() {
    let [preorders, apms] = QuotedFunction::both().await;
    let order = unique("ORD");
    let money = json!({ "amount": 12.5 });
    let bodies = [&preorders, &apms].map(|endpoint| with(endpoint.body(&order), money.clone()));
    let token = jwt(&claims(&bodies[0]), KEY);
    let [preorder, apm] = bodies.map(|body| with(body, json!({ "quote": token })));
    let first = preorders.post(&preorder, None).await;
    assert_eq!(first.status, 201, "{first:?}");
    let key = unique("key");
    for key in [None, Some(key.as_str())] {
        let elsewhere = apms.post(&apm, key).await;
        assert_eq!(elsewhere.problem(), mismatch());
        insta::allow_duplicates! { insta::assert_snapshot!(elsewhere.whole(), @r#"
        422
        cache-control: no-store
        content-type: application/problem+json

        {
          "code": "QUOTE_MISMATCH",
          "detail": "The quote has begun a payment at another provider. Get a new one from the shop.",
          "status": 422,
          "title": "The quote is for another payment",
          "type": "urn:payment-functions:problem:quote-mismatch"
        }
        "#) };
    }
    assert!(calls(Provider::Finvypay, &order).await.is_empty());
    assert_replays(&preorders.post(&preorder, None).await, &first, "its own route");
}

#[tokio::test]
async fn other_body_under_a_used_quote_gets_the_answer() {
    for endpoint in QuotedFunction::both().await {
        let (order, body) = endpoint.fresh();
        let used = quoted(&body);
        let first = endpoint.post(&used, None).await;
        assert_eq!(first.status, 201, "{first:?}");
        let other = with(used.clone(), json!({ "metadata": { "cart": "other" } }));
        for key in [None, Some(unique("key"))] {
            assert_replays(&endpoint.post(&other, key.as_deref()).await, &first, "another body");
        }
        // The quote fixes the order and the money.
        let dearer = with(used.clone(), json!({ "amount": 1 }));
        assert_eq!(endpoint.post(&dearer, None).await.problem(), mismatch());
        assert_eq!(calls(endpoint.provider, &order).await.len(), 1);
    }
}

/// A function whose process dies before it calls the provider.
async fn die_before_the_call(provider: Provider, secret: &str, body: &Value, key: Option<&str>) {
    let dies = [
        ("QUOTE_SECRET_ID", Some(secret)),
        ("FAILPOINTS", Some("before:create-at-provider=die")),
    ];
    let holder = world()
        .await
        .lambda(function(provider), &dies)
        .await
        .expect("a function");
    let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
    let headers = [&headers[..], &[("content-type", "application/json")]].concat();
    let text = body.to_string();
    let died = holder.http("POST", route(provider), &headers, text.as_bytes()).await;
    assert!(matches!(died, Err(InvokeError::Died { .. })), "{died:?}");
}

/// The new request's personal data goes to the provider, with what was stored.
#[tokio::test]
async fn dead_holders_quote_goes_on_with_the_stored_payment() {
    let secret = secret().await;
    let quotes = ("QUOTE_SECRET_ID", Some(secret.as_str()));
    let now = QuotedFunction::both_with(&[quotes]).await;
    // Beyond the lease and, for the second quote, its exp and the skew.
    let later = QuotedFunction::both_with(&[quotes, ("CLOCK_OFFSET_SECONDS", Some("200"))]).await;
    for (now, later) in now.iter().zip(&later) {
        for (lifetime, key) in [(300, None), (100, None), (100, Some(unique("key")))] {
            let order = unique("ORD");
            let plain = now.body(&order);
            let own = json!({ "cart": 7, "note": "first" });
            let quote = json!({ "quote": jwt(&with(claims(&plain), json!({ "exp": in_seconds(lifetime) })), KEY) });
            let stored = with(with(plain.clone(), quote.clone()), json!({ "metadata": own }));
            let other = match now.provider {
                Provider::Apolopay => json!({ "metadata": { "cart": 8 }, "customerEmail": "new@example.com" }),
                Provider::Finvypay => json!({
                    "metadata": { "cart": 8, "customerEmail": "new@example.com" },
                    "paymentMethod": "google_pay", "firstName": "New",
                }),
            };
            let other = with(with(plain, quote), other);
            die_before_the_call(now.provider, &secret, &stored, None).await;
            for key in [None, key.as_deref()] {
                let busy = now.post(&stored, key).await;
                assert_eq!(busy.problem(), refused("IDEMPOTENCY_IN_PROGRESS"), "{key:?}");
                assert!(busy.header("retry-after").is_some(), "{busy:?}");
            }
            let (taken, cost) = later.round_trips(later.post(&other, key.as_deref())).await;
            assert_eq!(taken.status, 201, "{lifetime}: {taken:?}");
            assert_eq!(cost, [WRITE, WRITE, READ, WRITE]);
            let calls = calls(now.provider, &order).await;
            assert_eq!(calls.len(), 1);
            let sent = sent(&calls[0]);
            let metadata = &sent["metadata"];
            assert_eq!(
                (&metadata["cart"], &metadata["note"]),
                (&json!(7), &json!("first")),
                "{sent}"
            );
            assert_eq!(metadata["customerEmail"], "new@example.com");
            assert_eq!(metadata["paymentFunctionsId"], taken.str("id"));
            assert_eq!(sent["amount"], stored["amount"]);
            match now.provider {
                Provider::Apolopay => assert_eq!(metadata["orderId"], order),
                Provider::Finvypay => {
                    assert_eq!((&sent["firstName"], &sent["orderId"]), (&json!("New"), &json!(order)));
                    assert_eq!(sent["paymentMethod"], stored["paymentMethod"]);
                    assert_eq!(taken.json()["paymentMethod"], stored["paymentMethod"]);
                }
            }
            assert_replays(&later.post(&stored, None).await, &taken, "again");
        }
    }
}

#[tokio::test]
async fn rotated_out_key_makes_a_used_quote_invalid() {
    let id = secret().await;
    let changes = [("QUOTE_SECRET_ID", Some(id.as_str()))];
    let before = QuotedFunction::both_with(&changes).await;
    let mut used = Vec::new();
    for endpoint in &before {
        let (order, body) = endpoint.fresh();
        let quote = quoted_with(&body, json!({ "exp": in_seconds(200_000) }));
        let first = endpoint.post(&quote, None).await;
        assert_eq!(first.status, 201, "{first:?}");
        used.push((order, quote, first));
    }
    aws::put_secret(&id, &json!({ "key": NEWER })).await;
    // For a day the previous key is good; then it is rotated out.
    let later = [changes[0], ("CLOCK_OFFSET_SECONDS", Some("86460"))];
    let (during, after) = tokio::join!(QuotedFunction::both_with(&changes), QuotedFunction::both_with(&later));
    for ((during, after), (order, quote, first)) in during.iter().zip(&after).zip(&used) {
        assert_replays(&during.post(quote, None).await, first, "during the rotation");
        for key in [None, Some(unique("key"))] {
            assert_eq!(after.post(quote, key.as_deref()).await.problem(), invalid());
        }
        assert_eq!(calls(during.provider, order).await.len(), 1);
    }
}

/// No token is stored, only its digest.
#[tokio::test]
async fn stored_quote_is_a_digest_with_an_end() {
    for endpoint in QuotedFunction::both().await {
        let (_, body) = endpoint.fresh();
        let exp = in_seconds(100 * 60 * 60);
        let quote = quoted_with(&body, json!({ "exp": exp }));
        let key = unique("key");
        assert_eq!(endpoint.post(&quote, Some(&key)).await.status, 201);
        let token = quote["quote"].as_str().expect("a token");
        let digest = digest(token);
        let records = aws::raw_items(&format!("QUOTE#{digest}")).await;
        assert_eq!(records.len(), 1);
        let ttl = (exp + 24 * 60 * 60).to_string();
        assert_eq!(records[0]["ttl"]["N"], ttl.as_str());
        let alias = aws::raw_key(function(endpoint.provider), &key).await.expect("the key");
        assert_eq!(alias["quote"]["S"], digest.as_str());
        assert!(
            alias.get("response").is_none() && alias.get("fence").is_none(),
            "{alias}"
        );
        assert!(!format!("{records:?}{alias}").contains("eyJ"));
    }
}
