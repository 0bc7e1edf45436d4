//! Default and scripted replies.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn default_reply_of_apolopay_is_the_documented_one() {
    let it = Fixture::new().await;
    let (status, body) = send(it.preorder(PREORDER)).await;
    assert_eq!(status, 201);
    assert_eq!(body.as_object().unwrap().len(), 1);
    uuid::Uuid::parse_str(body["processId"].as_str().unwrap()).unwrap();

    let call = it
        .control
        .calls(Provider::Apolopay, "ORD-9821")
        .await
        .unwrap()
        .calls
        .remove(0);
    assert_eq!(
        (call.method.as_str(), call.path.as_str()),
        ("POST", "/payment-button/process/preorder")
    );
    assert_eq!(call.headers["x-secret-key"], "sk_local_apolopay");
    assert_eq!((call.body.as_str(), call.outcome), (PREORDER, Outcome::Responded));
    assert!(call.received_ms > 0 && call.ended_ms.unwrap() >= call.received_ms);
}

#[tokio::test]
async fn default_reply_of_finvypay_is_the_documented_one() {
    let it = Fixture::new().await;
    let text = it.apm("ORD-APM-78901").send().await.unwrap().text().await.unwrap();
    let body: Object = serde_json::from_str(&text).unwrap();
    let data = body.object("data").unwrap();
    let names = |object: &Object| object.members().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&body), ["success", "status", "data"]);
    assert_eq!(
        names(&data),
        [
            "paymentId",
            "orderId",
            "amount",
            "currency",
            "paymentMethod",
            "redirectUrl",
            "returnUrl",
            "cancelUrl",
            "createdAt",
            "expiresAt"
        ]
    );
    let id = data.text("paymentId").unwrap();
    assert_eq!(id.len(), "pay_apm_".len() + 16);
    assert!(
        id.strip_prefix("pay_apm_")
            .unwrap()
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric())
    );
    assert_eq!(data.get("amount").unwrap().get(), "99.99");
    let redirect_url = data.text("redirectUrl").unwrap();
    assert_eq!(redirect_url, format!("{}/finvypay/pay/{id}", it.sandbox.url()));
    assert_eq!(it.http.get(redirect_url).send().await.unwrap().status(), 200);

    let payment = it.payment(Provider::Finvypay, "ORD-APM-78901").await;
    assert_eq!(payment.id, id);
    assert!(
        payment
            .transaction_id
            .unwrap()
            .strip_prefix("FP")
            .unwrap()
            .chars()
            .all(|digit| digit.is_ascii_digit())
    );
}

#[tokio::test]
async fn scripted_replies_come_in_order_then_the_default() {
    let it = Fixture::new().await;
    let replies = json!([
        {"shape": "observed"},
        {"shape": "mixed", "fields": {"processId": "not-a-uuid"}},
        {"error": "RATE_LIMITED"},
        {"status": 418, "body": "short", "headers": {"X-Odd": "1"}},
        {"status": 200, "body": {"processId": 5}},
        {"omit": ["processId"]},
    ]);
    it.control
        .replies(Provider::Apolopay, "scripted", replies)
        .await
        .unwrap();
    let next = async || it.preorder(preorder_of("scripted")).send().await.unwrap();

    let observed = json_of(next().await).await.1;
    assert_eq!(
        (&observed["status"], &observed["message"]),
        (&json!("success"), &json!("ok"))
    );
    assert!(observed["result"]["id"].is_string() && observed["result"].as_object().unwrap().len() == 1);
    assert_eq!(
        json_of(next().await).await.1["result"],
        json!({"processId": "not-a-uuid"})
    );

    let limited = next().await;
    assert_eq!(limited.status(), 429);
    assert_eq!(limited.headers()["retry-after"], "30");
    assert_eq!(limited.headers()["x-ratelimit-remaining"], "0");

    let odd = next().await;
    assert_eq!(odd.status(), 418);
    assert_eq!(odd.headers()["x-odd"], "1");
    assert_eq!(odd.text().await.unwrap(), "short");
    assert_eq!(
        next().await.text().await.unwrap(),
        r#"{"processId": 5}"#.replace(' ', "")
    );
    assert_eq!(json_of(next().await).await.1, json!({}));
    assert!(
        json_of(next().await).await.1["processId"].is_string(),
        "the default after the script"
    );
    assert!(
        send(it.preorder(preorder_of("another"))).await.1["processId"].is_string(),
        "other orders get the default"
    );

    let calls: Vec<_> = it.control.calls(Provider::Apolopay, "scripted").await.unwrap().calls;
    let created: Vec<_> = calls.iter().map(|call| call.ids.len()).collect();
    assert_eq!(
        created,
        [1, 1, 0, 0, 0, 1, 1],
        "errors and raw responses create no payment unless scripted"
    );
}

#[tokio::test]
async fn finvypay_replies_in_each_shape() {
    let it = Fixture::new().await;
    let replies = json!([
        {"shape": "old"},
        {"shape": "noRedirect"},
        {"fields": {"amount": 99.98, "currency": "EUR", "paymentId": "pay_apm_0000000000000000"}},
        {"fields": {"paymentId": "pay_apm_0000000000000000"}},
        {"error": "INTERNAL_ERROR", "create": true},
    ]);
    it.control.replies(Provider::Finvypay, "shapes", replies).await.unwrap();
    let next = async || send(it.apm("shapes")).await;

    let (_, old) = next().await;
    assert!(old.get("status").is_none() && old["data"].get("paymentId").is_none());
    assert_eq!(old["data"]["status"], "REDIRECT");
    let (_, no_redirect) = next().await;
    assert_eq!(no_redirect["status"], "PENDING");
    assert!(no_redirect["data"].get("redirectUrl").is_none() && no_redirect["data"].get("expiresAt").is_none());
    let (_, other) = next().await;
    assert_eq!(
        (&other["data"]["amount"], &other["data"]["currency"]),
        (&json!(99.98), &json!("EUR"))
    );
    let (_, same) = next().await;
    assert_eq!(same["data"]["paymentId"], other["data"]["paymentId"]);
    assert_eq!(next().await.0, 500);

    let payments = it.control.payments(Provider::Finvypay, "shapes").await.unwrap();
    assert_eq!(payments.len(), 5);
    assert_eq!(old["data"]["transactionId"], json!(payments[0].transaction_id));
    assert_eq!(
        payments[2].id, "pay_apm_0000000000000000",
        "a payment gets the id in its reply"
    );
    assert_ne!(payments[3].id, payments[2].id, "but not another payment's id");
    assert_eq!(
        payments[2].request.get("amount").unwrap().get(),
        "99.99",
        "only the reply has the other amount"
    );
}

#[tokio::test]
async fn every_named_error_can_be_scripted() {
    let it = Fixture::new().await;
    for (provider, order_id) in [(Provider::Apolopay, "canned-a"), (Provider::Finvypay, "canned-f")] {
        for name in canned::names(provider) {
            it.control
                .replies(provider, order_id, json!([{ "error": name }]))
                .await
                .unwrap();
            let request = match provider {
                Provider::Apolopay => it.preorder(preorder_of(order_id)),
                Provider::Finvypay => it.apm(order_id),
            };
            let expected = canned::response(provider, name).unwrap();
            let response = request.send().await.unwrap();
            assert_eq!(response.status().as_u16(), expected.status, "{name}");
            assert_eq!(response.text().await.unwrap(), expected.body, "{name}");
        }
        assert!(it.control.payments(provider, order_id).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn dropped_connection_still_creates_the_payment() {
    let it = Fixture::new().await;
    let replies = json!([{"drop": "beforeReply"}, {"drop": "midReply"}, {"drop": "beforeReply", "create": false}]);
    it.control
        .replies(Provider::Finvypay, "dropped", replies)
        .await
        .unwrap();

    it.apm("dropped").send().await.unwrap_err();
    let mut half = it.apm("dropped").send().await.unwrap();
    assert_eq!(half.status(), 200);
    let length: usize = half.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let chunk = half.chunk().await.unwrap().unwrap();
    assert_eq!(chunk.len(), length / 2);
    half.chunk().await.unwrap_err();
    it.apm("dropped").send().await.unwrap_err();

    let calls = it.control.calls(Provider::Finvypay, "dropped").await.unwrap().calls;
    let outcomes: Vec<_> = calls.iter().map(|call| call.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::DroppedBeforeReply,
            Outcome::DroppedMidReply,
            Outcome::DroppedBeforeReply
        ]
    );
    assert!(
        calls[1]
            .response
            .as_ref()
            .unwrap()
            .starts_with(std::str::from_utf8(&chunk).unwrap())
    );
    assert_eq!(
        it.control.payments(Provider::Finvypay, "dropped").await.unwrap().len(),
        2
    );
}

#[tokio::test]
async fn call_counts_as_in_progress_until_the_caller_disconnects() {
    let it = Fixture::new().await;
    let hang = json!([{"hang": true}, {"hang": true}, {"hang": true}]);
    it.control.replies(Provider::Apolopay, "hung", hang).await.unwrap();
    let hung: Vec<_> = (0..3)
        .map(|_| tokio::spawn(it.preorder(preorder_of("hung")).send()))
        .collect();
    let calls = it
        .control
        .calls_where(Provider::Apolopay, "hung", &[("atLeast", "3")])
        .await
        .unwrap();
    assert_eq!(calls.max_in_flight, 3);
    assert!(
        calls
            .calls
            .iter()
            .all(|call| call.outcome == Outcome::InProgress && call.ended_ms.is_none())
    );

    for call in &hung {
        call.abort();
    }
    let ended = [("atLeast", "3"), ("ended", "true")];
    let calls = it
        .control
        .calls_where(Provider::Apolopay, "hung", &ended)
        .await
        .unwrap();
    assert!(calls.calls.iter().all(|call| call.outcome == Outcome::ClientGone));
    send(it.preorder(preorder_of("hung"))).await;
    let calls = it.control.calls(Provider::Apolopay, "hung").await.unwrap();
    assert_eq!(
        (calls.calls.len(), calls.max_in_flight),
        (4, 3),
        "aborted calls are no longer in progress"
    );
    assert_eq!(it.control.payments(Provider::Apolopay, "hung").await.unwrap().len(), 4);

    for _ in 0..3 {
        send(it.preorder(preorder_of("sequential"))).await;
    }
    assert_eq!(
        it.control
            .calls(Provider::Apolopay, "sequential")
            .await
            .unwrap()
            .max_in_flight,
        1
    );
}

#[tokio::test]
async fn repeated_idempotency_key_gets_the_first_reply() {
    let it = Fixture::new().await;
    let with_key = |key: &str| it.apm("keyed").header("Idempotency-Key", key);
    let first = send(with_key("k1")).await;
    assert_eq!(send(with_key("k1")).await, first);
    assert_ne!(
        send(with_key("k2")).await.1["data"]["paymentId"],
        first.1["data"]["paymentId"]
    );
    assert_ne!(
        send(it.apm("keyed")).await.1["data"]["paymentId"],
        first.1["data"]["paymentId"]
    );
    let calls = it.control.calls(Provider::Finvypay, "keyed").await.unwrap().calls;
    assert_eq!(
        calls.iter().map(|call| call.replayed).collect::<Vec<_>>(),
        [false, true, false, false]
    );
    assert_eq!(it.control.payments(Provider::Finvypay, "keyed").await.unwrap().len(), 3);

    // The first reply is lost. The scripted error after it creates no payment.
    it.control
        .replies(
            Provider::Finvypay,
            "lost",
            json!([{"drop": "beforeReply"}, {"error": "INTERNAL_ERROR"}]),
        )
        .await
        .unwrap();
    let with_key = || it.apm("lost").header("idempotency-key", "k3");
    with_key().send().await.unwrap_err();
    assert_eq!(send(with_key()).await.0, 500);
    let (status, body) = send(with_key()).await;
    let payments = it.control.payments(Provider::Finvypay, "lost").await.unwrap();
    assert_eq!((status.as_u16(), payments.len()), (200, 1));
    assert_eq!(body["data"]["paymentId"], json!(payments[0].id));

    // A refused call does not use up its key.
    it.control
        .replies(Provider::Finvypay, "refused", json!([{"error": "INVALID_REQUEST"}]))
        .await
        .unwrap();
    let with_key = || it.apm("refused").header("idempotency-key", "k4");
    assert_eq!(send(with_key()).await.0, 400);
    assert_eq!(send(with_key()).await.0, 200);

    // If the provider ignores keys, a repeated one creates a second payment.
    let script = json!({"provider": "finvypay", "orderId": "ignores", "idempotency": false});
    it.control.script(&script).await.unwrap();
    let with_key = || it.apm("ignores").header("idempotency-key", "k5");
    assert_ne!(send(with_key()).await, send(with_key()).await);
}

#[tokio::test]
async fn concurrent_callers_share_one_server() {
    let it = Fixture::new().await;
    let responses = join_all((0..50).map(|n| send(it.preorder(preorder_of(&format!("shared-{n}")))))).await;
    assert!(responses.iter().all(|(status, _)| *status == 201));
    for (n, (_, response)) in responses.iter().enumerate() {
        let calls = it
            .control
            .calls(Provider::Apolopay, &format!("shared-{n}"))
            .await
            .unwrap();
        assert_eq!((calls.calls.len(), calls.max_in_flight), (1, 1));
        assert_eq!(json!(calls.calls[0].ids), json!([response["processId"]]));
    }
}

#[tokio::test]
async fn delayed_reply_is_late_but_creates_the_payment_at_once() {
    let it = Fixture::new().await;
    it.control
        .replies(Provider::Apolopay, "late", json!([{"delayMs": 200}]))
        .await
        .unwrap();
    let late = tokio::spawn(it.preorder(preorder_of("late")).send());
    it.control
        .calls_where(Provider::Apolopay, "late", &[("atLeast", "1")])
        .await
        .unwrap();
    late.await.unwrap().unwrap();
    let call = it
        .control
        .calls(Provider::Apolopay, "late")
        .await
        .unwrap()
        .calls
        .remove(0);
    assert!(call.ended_ms.unwrap() - call.received_ms >= 200);

    it.control
        .replies(Provider::Apolopay, "later", json!([{"delayMs": 600_000}]))
        .await
        .unwrap();
    let later = tokio::spawn(it.preorder(preorder_of("later")).send());
    let found = it
        .control
        .calls_where(Provider::Apolopay, "later", &[("atLeast", "1")])
        .await
        .unwrap();
    assert_eq!(found.calls[0].outcome, Outcome::InProgress);
    later.abort();
    it.control
        .calls_where(Provider::Apolopay, "later", &[("atLeast", "1"), ("ended", "true")])
        .await
        .unwrap();
    assert_eq!(it.control.payments(Provider::Apolopay, "later").await.unwrap().len(), 1);
}

#[tokio::test]
async fn webhooks_before_the_reply_are_sent_and_recorded_although_the_caller_has_gone() {
    let it = Fixture::new().await;
    let replies = json!([{"webhookBeforeReply": [{"delayMs": 200}, {}]}]);
    it.control.replies(Provider::Apolopay, "gone", replies).await.unwrap();
    let caller = tokio::spawn(it.preorder(preorder_of("gone")).send());
    let begun = it.control.calls_where(Provider::Apolopay, "gone", &[("atLeast", "1")]);
    begun.await.unwrap();
    caller.abort();
    let recorded = async {
        while it.control.calls(Provider::Apolopay, "gone").await.unwrap().calls[0]
            .webhooks
            .len()
            < 2
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), recorded)
        .await
        .expect("two webhooks");
    assert_eq!(it.received().len(), 2);
}
