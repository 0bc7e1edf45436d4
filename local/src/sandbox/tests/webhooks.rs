//! Webhooks in every shape, and their effect on the status call.

use super::*;

#[tokio::test]
async fn webhooks_have_the_providers_bodies_and_headers() {
    let it = Fixture::new().await;
    let body = r#"{ "amount": 25.50, "metadata": { "orderId": "hook-a", "paymentFunctionsId": "ours" } }"#;
    let id = send(it.preorder(body)).await.1["processId"]
        .as_str()
        .unwrap()
        .to_owned();
    send(it.apm("hook-f")).await;
    let apm = it.payment(Provider::Finvypay, "hook-f").await;
    let specs = json!([
        {"provider": "apolopay", "orderId": "hook-a", "at": "T"},
        {"provider": "apolopay", "id": id, "shape": "B", "at": "T"},
        {"provider": "finvypay", "orderId": "hook-f", "outcome": "authorized", "at": "T"},
        {"provider": "finvypay", "id": apm.id, "shape": "W1"},
        {"provider": "finvypay", "id": apm.transaction_id, "shape": "W1wrapped", "outcome": "failed"},
    ]);
    let deliveries = it.control.webhooks(specs).await.unwrap();
    let received = it.received();
    assert_eq!((deliveries.len(), received.len()), (5, 5));
    for (delivery, (headers, body)) in deliveries.iter().zip(&received) {
        assert_received(delivery, headers, body);
    }
    let metadata = r#"{"orderId":"hook-a","paymentFunctionsId":"ours"}"#;
    assert_eq!(
        received[0].1,
        format!(
            r#"{{"id":"{id}","status":"completed","amount":25.50,"network":"apolopay","asset":"USDT","wallet":null,"metadata":{metadata},"finalizedAt":"T"}}"#
        )
    );
    assert!(received[0].0.contains_key("x-timestamp") && !received[1].0.contains_key("x-timestamp"));
    assert_eq!(
        received[1].1,
        format!(
            r#"{{"event":"payment.completed","processId":"{id}","amount":25.50,"metadata":{metadata},"timestamp":"T"}}"#
        )
    );
    assert_eq!(
        received[2].1,
        format!(
            r#"{{"event":"payment.authorized","paymentId":"{}","orderId":"hook-f","status":"AUTHORIZED","amount":99.99,"currency":"USD","paymentMethod":"apple_pay","authorizedAt":"T","metadata":{{"internal_ref":"subscription_123"}}}}"#,
            apm.id
        )
    );
    let fp = apm.transaction_id.unwrap();
    let data = format!(
        r#""data":{{"amount":99.99,"currency":"USD","order_id":"hook-f","txn_id":"{fp}","firstName":"Jane","lastName":"Smith","email":"customer@example.com","webhookUrl":"{}"}}}}"#,
        it.webhook_url
    );
    assert_eq!(received[3].1, format!(r#"{{"success":true,"status":"SUCCESS",{data}"#));
    assert_eq!(
        received[4].1,
        format!(r#"{{"request":{{"success":true,"status":"FAILED",{data}}}"#)
    );
    assert_eq!(received[4].0["x-transaction-id"], fp.as_str());
    assert_eq!(received[4].0["x-webhook-attempt"], "1");
}

/// The receiver got exactly what the delivery reports, with one valid signature.
fn assert_received(delivery: &Delivery, headers: &HeaderMap, body: &str) {
    assert_eq!(
        (delivery.status, delivery.body.as_str(), &delivery.error),
        (Some(202), "received", &None)
    );
    assert_eq!(delivery.sent.body, body, "the exact bytes, in the order of the list");
    let headers = header_map(headers);
    let mut sent = delivery.sent.headers.iter();
    assert!(sent.all(|(name, value)| headers.get(name) == Some(value)));
    let names = ["x-signature", "x-apolopay-signature", "fs-webhook-hash"];
    assert_eq!(
        names.iter().filter_map(|name| headers.get(*name)).collect::<Vec<_>>(),
        [&sign("whsec_test_secret", body.as_bytes())]
    );
}

#[tokio::test]
async fn webhook_can_be_forged_and_then_does_not_change_the_status() {
    let it = Fixture::new().await;
    send(it.preorder(preorder_of("forged"))).await;
    let only = async |spec: Value| it.apolopay_webhook("forged", spec).await;
    for (signature, expected) in [
        (json!("missing"), None),
        (json!("empty"), Some("")),
        (json!("malformed"), Some("not-a-signature")),
        (json!({"verbatim": "sha256=x"}), Some("sha256=x")),
    ] {
        let sent = only(json!({ "signature": signature })).await;
        assert_eq!(sent.headers.get("x-signature").map(String::as_str), expected);
    }
    let sent = only(json!({"signature": "wrong"})).await;
    let (right, wrong) = (
        sign("whsec_test_secret", sent.body.as_bytes()),
        &sent.headers["x-signature"],
    );
    assert_eq!((wrong.len(), &wrong[1..]), (64, &right[1..]));
    assert_ne!(wrong, &right);
    assert!(wrong.chars().all(|digit| digit.is_ascii_hexdigit()));
    let sent = only(json!({"signature": "otherSecret"})).await;
    assert_ne!(
        sent.headers["x-signature"],
        sign("whsec_test_secret", sent.body.as_bytes())
    );
    let sent = only(json!({"signWith": "whsec_previous"})).await;
    assert_eq!(
        sent.headers["x-signature"],
        sign("whsec_previous", sent.body.as_bytes())
    );
    let sent = only(json!({"headers": "both", "signature": "oneWrong"})).await;
    let right = sign("whsec_test_secret", sent.body.as_bytes());
    assert_eq!(sent.headers["x-signature"], right);
    assert_ne!(sent.headers["x-apolopay-signature"], right);
    assert_eq!(it.payment(Provider::Apolopay, "forged").await.status, "PENDING");
}

#[tokio::test]
async fn webhook_can_be_changed_and_repeated() {
    let it = Fixture::new().await;
    send(it.preorder(preorder_of("changed"))).await;
    let payment = it.payment(Provider::Apolopay, "changed").await;
    let only = async |spec: Value| it.apolopay_webhook("changed", spec).await;
    let sent = only(
        json!({"shape": "B", "headers": "A", "amount": "25.51", "omit": ["metadata"], "extra": {"a": 1.10}, "at": "T"}),
    )
    .await;
    let expected = format!(
        r#"{{"event":"payment.completed","processId":"{}","amount":"25.51","timestamp":"T","a":1.1}}"#,
        payment.id
    );
    assert_eq!(sent.body, expected);
    assert!(sent.headers.contains_key("x-signature") && !sent.headers.contains_key("x-apolopay-signature"));

    let verbatim = only(json!({"body": "{\"no json"})).await;
    assert_eq!(verbatim.body, "{\"no json");
    assert_eq!(
        verbatim.headers["x-signature"],
        sign("whsec_test_secret", verbatim.body.as_bytes())
    );
    let pretty = only(json!({"pretty": true, "at": "T"})).await;
    let plain = only(json!({"at": "T"})).await;
    assert_ne!(pretty.body, plain.body);
    assert_eq!(json::compact(&pretty.body), plain.body);

    send(it.apm("repeated")).await;
    let spec = json!({"provider": "finvypay", "orderId": "repeated", "times": 3});
    let deliveries = it.control.webhooks(&spec).await.unwrap();
    let attempts: Vec<_> = deliveries
        .iter()
        .map(|delivery| delivery.sent.headers["x-webhook-attempt"].as_str())
        .collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    assert!(
        deliveries
            .iter()
            .all(|delivery| delivery.sent.body == deliveries[0].sent.body)
    );

    let unknown = json!({"provider": "apolopay", "id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890", "amount": 5, "at": "T"});
    let sent = it.control.webhooks(&unknown).await.unwrap().remove(0).sent;
    assert!(
        sent.body
            .starts_with(r#"{"id":"a1b2c3d4-e5f6-7890-abcd-ef1234567890","status":"completed","amount":5,"#)
    );
}

#[tokio::test]
async fn concurrent_webhooks_are_sent_at_the_same_time() {
    let it = Fixture::new().await;
    // Responds only after all four have arrived.
    let barrier = Arc::new(tokio::sync::Barrier::new(4));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let receiver = axum::Router::new().fallback(async move || {
        barrier.wait().await;
    });
    tokio::spawn(async move { axum::serve(listener, receiver).await });
    let spec = json!({"provider": "apolopay", "id": "x", "amount": 1, "url": url, "times": 4, "concurrent": true});
    let deliveries = it.control.webhooks(&spec).await.unwrap();
    assert_eq!(
        deliveries
            .iter()
            .filter(|delivery| delivery.status == Some(200))
            .count(),
        4
    );
}

#[tokio::test]
async fn webhook_can_be_sent_before_the_reply() {
    let it = Fixture::new().await;
    let replies = json!([{"webhookBeforeReply": {"shape": "B"}}]);
    it.control.replies(Provider::Apolopay, "early", replies).await.unwrap();
    let (_, body) = send(it.preorder(preorder_of("early"))).await;
    let call = it
        .control
        .calls(Provider::Apolopay, "early")
        .await
        .unwrap()
        .calls
        .remove(0);
    assert_eq!(call.webhooks[0].status, Some(202), "its response was awaited");
    assert_eq!(
        json!([serde_json::from_str::<Value>(&it.received()[0].1).unwrap()["processId"]]),
        json!([body["processId"]])
    );
    assert_eq!(
        it.control.payments(Provider::Apolopay, "early").await.unwrap()[0].status,
        "COMPLETED"
    );
}

#[tokio::test]
async fn status_call_reflects_the_webhooks() {
    let it = Fixture::new().await;
    send(it.apm("status")).await;
    let payment = it.payment(Provider::Finvypay, "status").await;
    let (id, fp) = (payment.id.clone(), payment.transaction_id.unwrap());
    assert_eq!(it.status(&id).await, (200, "PENDING".to_owned()));
    it.control
        .webhooks(json!([{"provider": "finvypay", "id": id, "outcome": "authorized"}]))
        .await
        .unwrap();
    assert_eq!(it.status(&fp).await, (200, "AUTHORIZED".to_owned()));
    it.control
        .webhooks(json!([{"provider": "finvypay", "id": id}, {"provider": "finvypay", "id": id, "outcome": "pending"}]))
        .await
        .unwrap();
    let (_, body) = it.finvypay_get(&format!("/api/sandbox/status/{fp}")).await;
    assert_eq!(body["success"], json!(true));
    assert_eq!(body["data"]["status"], "COMPLETED", "a late webhook does not undo it");
    assert!(body["data"]["completedAt"].is_string());
    assert_eq!(
        (
            &body["data"]["transactionId"],
            &body["data"]["metadata"]["internal_ref"]
        ),
        (&json!(fp), &json!("subscription_123"))
    );
    it.control
        .set_status(Provider::Finvypay, &id, "DECLINED")
        .await
        .unwrap();
    assert_eq!(it.status(&id).await, (200, "DECLINED".to_owned()));
}

#[tokio::test]
async fn status_and_list_calls_check_path_environment_key_and_kind_of_id() {
    let it = Fixture::new().await;
    send(it.apm("status")).await;
    let payment = it.payment(Provider::Finvypay, "status").await;
    let (id, fp) = (payment.id.clone(), payment.transaction_id.unwrap());
    let (code, body) = it.finvypay_get(&format!("/api/v1/sandbox/status/{id}")).await;
    assert_eq!(
        (code.as_u16(), &body["error"]["code"]),
        (404, &json!("NOT_FOUND")),
        "no /v1"
    );
    assert_eq!(it.finvypay_get(&format!("/api/production/status/{id}")).await.0, 404);
    assert_eq!(it.finvypay_get("/api/sandbox/status/pay_apm_nobody").await.0, 404);
    let keyless = it
        .http
        .get(format!("{}/api/sandbox/status/{id}", it.sandbox.finvypay_url()));
    assert_eq!(send(keyless).await.0, 401);
    let (_, body) = it.finvypay_get("/api/v1/sandbox-transactions?orderId=status").await;
    assert_eq!(body["data"]["transactions"].as_array().unwrap().len(), 1);
    let (_, body) = it.finvypay_get("/api/v1/production-transactions?orderId=status").await;
    assert_eq!(body["data"]["transactions"], json!([]));

    it.control_post(
        "payments",
        &format!(r#"{{"provider":"finvypay","id":"{id}","statusIds":"transactionId"}}"#),
    )
    .await;
    assert_eq!((it.status(&id).await.0, it.status(&fp).await.0), (404, 200));

    let refunded =
        json!({"provider": "finvypay", "id": id, "status": "SUCCESS", "extra": {"refundDate": "2026-01-02"}});
    it.control.set_payment(&refunded).await.unwrap();
    let (_, body) = it.finvypay_get(&format!("/api/sandbox/status/{fp}")).await;
    let (_, list) = it.finvypay_get("/api/v1/sandbox-transactions?orderId=status").await;
    for shown in [&body["data"], &list["data"]["transactions"][0]] {
        assert_eq!(
            (&shown["status"], &shown["refundDate"]),
            (&json!("SUCCESS"), &json!("2026-01-02"))
        );
    }
}

#[tokio::test]
async fn status_and_list_calls_can_be_scripted() {
    let it = Fixture::new().await;
    send(it.apm("status")).await;
    let fp = it.payment(Provider::Finvypay, "status").await.transaction_id.unwrap();
    let script = json!({"provider": "finvypay", "orderId": "status", "call": "status", "replies": [{"error": "UNAVAILABLE"}, {"fields": {"amount": 1}}]});
    it.control.script(&script).await.unwrap();
    assert_eq!(it.status(&fp).await.0, 503);
    let (_, body) = it.finvypay_get(&format!("/api/sandbox/status/{fp}")).await;
    assert_eq!(body["data"]["amount"], json!(1));
    let script =
        json!({"provider": "finvypay", "orderId": "status", "call": "list", "replies": [{"error": "RATE_LIMITED"}]});
    it.control.script(&script).await.unwrap();
    let list = "/api/v1/sandbox-transactions?orderId=status";
    assert_eq!(it.finvypay_get(list).await.0, 429);
    assert_eq!(it.finvypay_get(list).await.0, 200);
    let calls = it
        .control
        .calls_where(Provider::Finvypay, "status", &[("kind", "status")])
        .await
        .unwrap();
    assert!(
        calls
            .calls
            .iter()
            .any(|call| call.path == format!("/api/sandbox/status/{fp}"))
    );
    assert_eq!(
        it.control
            .calls(Provider::Finvypay, "status")
            .await
            .unwrap()
            .calls
            .len(),
        1,
        "create calls only"
    );
}
