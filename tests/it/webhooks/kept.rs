//! Whatever is rightly signed is kept: what cannot be read is put into quarantine.

use payment_functions::domain::provider::Provider as PaymentProvider;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::quarantine::redacted_webhook;
use payment_functions::providers::UnreadableWebhook;
use payment_functions_tests::world::Attached;

use super::*;

/// A handler with a table of its own.
async fn own_table() -> (String, Attached) {
    let table = unique("kept");
    aws::create_table(&table).await;
    let handler = attach("webhook-handler", &[("PAYMENTS_TABLE", Some(&table))]).await;
    (table, handler)
}

async fn attach(function: &str, changes: &[(&str, Option<&str>)]) -> Attached {
    let attached = world().await.attach(function, 1, changes).await.expect("a function");
    attached.ready().await.expect("a start");
    attached
}

#[tokio::test]
async fn unreadable_signed_webhook_is_quarantined_without_personal_text() {
    let (table, handler) = own_table().await;
    let personal = r#""firstName":"Jane","email":"jane@example.com","phone":4915112345678,"note":"call jane""#;
    let both = [
        String::new(),
        " ".to_owned(),
        "{".to_owned(),
        "nul".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "7".to_owned(),
        r#""jane text""#.to_owned(),
        "{}".to_owned(),
        r#"{"metadata":{}}"#.to_owned(),
        format!(r#"[{{"id":"p1","status":"completed",{personal}}}]"#),
        format!(r#"{{"result":{{"id":"p2","status":"completed","amount":25.5,{personal}}}}}"#),
        format!(r#"{{"type":"payment.completed","amount":25.5,"customer":{{{personal}}}}}"#),
        "jane=1&status=completed".to_owned(),
    ];
    let apolopay = [
        r#"{"status":"completed","amount":25.5}"#,
        r#"{"id":"","status":"completed","amount":25.5}"#,
        r#"{"id":"p","amount":25.5}"#,
        r#"{"id":"p","id":"q","status":"completed","amount":25.5}"#,
        r#"{"id":"p","status":"completed","amount":25.5}trailing"#,
        r#"{"status":"completed","metadata":{"paymentFunctionsId":"not-an-id"}}"#,
    ];
    let finvypay = [
        r#"{"paymentId":"p","amount":1,"currency":"USD"}"#,
        r#"{"event":"payment.completed","status":"COMPLETED","amount":1,"currency":"USD"}"#,
        r#"{"success":true,"status":"SUCCESS","data":{}}"#,
        r#"{"request":{"success":true,"data":{"order_id":"o"}}}"#,
        r#"{"request":[]}"#,
        r#"{"paymentId":"p","status":"COMPLETED","status":"FAILED"}"#,
    ];
    for (provider, own) in [(Provider::Apolopay, apolopay), (Provider::Finvypay, finvypay)] {
        let bodies: Vec<&str> = both.iter().map(String::as_str).chain(own).collect();
        for body in &bodies {
            // A repetition adds nothing.
            for _ in 0..2 {
                let response = send_signed(handler.url(), provider, body, SECRET).await;
                assert_eq!(
                    (response.status, response.json()),
                    (200, json!({ "received": true })),
                    "{body}"
                );
            }
            assert_eq!(
                send_with(handler.url(), provider, body, &[]).await.status,
                401,
                "{body}"
            );
        }
        let kept = aws::quarantined(&table, provider).await;
        assert_eq!(kept.len(), bodies.len(), "{kept:?}");
        for webhook in &kept {
            let text = webhook.to_string();
            for word in ["jane", "Jane", "4915112345678", "trailing"] {
                assert!(!text.contains(word), "{text}");
            }
        }
        let has = |part: &str| {
            kept.iter()
                .any(|webhook| webhook["content"].as_str().unwrap().contains(part))
        };
        assert!(has(r#""id":"p2","status":"completed","amount":25.5"#), "{kept:?}");
        // Not UTF-8, which the local gateway passes on only with this content type.
        let bytes: &[u8] = b"{\"id\":\"p\xff\",\"paymentId\":\"p\xff\",\"status\":\"completed\"}";
        let url = format!("{}/webhooks/{}", handler.url(), aws::name(provider));
        let signed = request(Method::POST, &url)
            .header("content-type", "application/octet-stream")
            .header(header(provider), sign(SECRET, bytes))
            .body(bytes);
        assert_eq!(send(signed).await.status, 200);
        assert_eq!(aws::quarantined(&table, provider).await.len(), bodies.len() + 1);
    }
    assert!(!handler.log().contains("ane"), "nothing of a body is logged");
}

#[tokio::test]
async fn provider_test_message_is_kept_and_is_no_error() {
    let (table, handler) = own_table().await;
    for (provider, body) in [
        (
            Provider::Apolopay,
            r#"{"id":"11111111-1111-4111-8111-111111110001","status":"test","amount":0,"metadata":{}}"#,
        ),
        (
            Provider::Apolopay,
            r#"{"event":"webhook.test","timestamp":"2026-11-29T00:00:00Z"}"#,
        ),
        (
            Provider::Finvypay,
            r#"{"event":"payment.test","paymentId":"pay_apm_test_1","orderId":"TEST-1","status":"COMPLETED","amount":1,"currency":"USD","metadata":{}}"#,
        ),
        (Provider::Finvypay, r#"{"type":"PING"}"#),
    ] {
        assert_eq!(
            send_signed(handler.url(), provider, body, SECRET).await.status,
            200,
            "{body}"
        );
    }
    for provider in PROVIDERS {
        let kept = aws::quarantined(&table, provider).await;
        assert_eq!(kept.len(), 2);
        assert!(kept.iter().all(|webhook| webhook["isTest"] == true), "{kept:?}");
    }
    assert_eq!(aws::all_items(&table).await.len(), 4, "nothing is unmatched");
    let log = handler.log();
    assert!(
        !log.contains("\"ERROR\"") && !log.contains("QuarantinedWebhooks"),
        "{log}"
    );
}

#[tokio::test]
async fn unquarantined_webhook_gets_503() {
    for fault in [Fault::Disconnect, Fault::UNAVAILABLE, Fault::LoseResponse, Fault::Hang] {
        let (proxy, handler) = aws::behind_proxy("webhook-handler", &[]).await;
        let body = json!({ "result": { "id": unique("unreadable"), "status": "completed" } }).to_string();
        proxy.fail("TransactWriteItems", fault.clone());
        let response = send_signed(handler.url(), Provider::Apolopay, &body, SECRET).await;
        assert_eq!(response.problem(), (503, "UNAVAILABLE".to_owned()), "{fault:?}");
        proxy.reset();
        let again = send_signed(handler.url(), Provider::Apolopay, &body, SECRET).await;
        assert_eq!(again.status, 200, "{fault:?}");
        let id = serde_json::from_str::<Value>(&body).unwrap()["result"]["id"].to_string();
        let kept = aws::quarantined("payments", Provider::Apolopay).await;
        let count = kept
            .iter()
            .filter(|webhook| webhook["content"].as_str().unwrap().contains(&id))
            .count();
        assert_eq!(count, 1, "{fault:?}");
    }
}

#[tokio::test]
async fn slashes_in_the_path_do_not_matter() {
    for path in [
        "//webhooks/apolopay",
        "/webhooks/apolopay/",
        "/webhooks//apolopay",
        "///webhooks///apolopay//",
    ] {
        let created = create(Provider::Apolopay, &unique("slashes")).await;
        let body = completion(&created, &json!({})).to_string();
        let headers = json!({ "x-signature": sign(SECRET, body.as_bytes()) });
        assert_eq!(invoke("POST", path, &headers, &body, false).await.status, 200, "{path}");
        assert_eq!(status_of(&created.str("id")).await, "completed", "{path}");
        assert_eq!(invoke("GET", path, &headers, &body, false).await.status, 405, "{path}");
        assert_eq!(
            invoke("POST", path, &json!({}), &body, false).await.status,
            401,
            "{path}"
        );
    }
}

#[tokio::test]
async fn quarantined_webhook_is_replayed_with_its_time_of_receipt() {
    let created = create(Provider::Finvypay, &unique("replay")).await;
    let id = created.str("id");
    let received_at = Timestamp::from_millis(1_790_000_000_000);
    // As if a former version could not read it.
    let readable = completion(&created, &json!({ "paymentFunctionsId": id }));
    let unreadable = json!({ "result": unique("unreadable") });
    let mut digests = Vec::new();
    for body in [&readable, &unreadable] {
        let body = body.to_string();
        let reason = UnreadableWebhook::NoPayment;
        let webhook = redacted_webhook(PaymentProvider::FinvyPay, body.as_bytes(), None, reason, received_at);
        aws::store_at(world().await.aws_url())
            .quarantine(&webhook, received_at)
            .await
            .unwrap();
        digests.push(webhook.digest);
    }
    let reconciler = world()
        .await
        .lambda("reconcile-payments", &[])
        .await
        .expect("a function");
    let replay = async |digest: &str| {
        let command = json!({
            "action": "replay", "provider": "finvypay", "digest": digest, "actor": "on call", "reason": "new version",
        });
        let response = reconciler.invoke(command.to_string()).await;
        response
            .map(|response| serde_json::from_slice::<Value>(&response).expect("JSON"))
            .map_err(|error| error.to_string())
    };
    let report = |recorded: u32, duplicate: u32, unreadable: u32| {
        json!({
            "recorded": recorded, "duplicate": duplicate, "unmatched": 0, "unreadable": unreadable, "truncated": 0,
            "unreadableReasons": if unreadable == 0 { json!({}) } else { json!({ "the body names no payment": unreadable }) },
        })
    };
    assert_eq!(replay(&digests[0]).await.unwrap(), report(1, 0, 0));
    assert_eq!(status_of(&id).await, "completed");
    let [fact] = aws::facts(&id).await.try_into().expect("one fact");
    assert_eq!(fact["receivedAt"], received_at.as_millis().to_string());
    assert_eq!(
        replay(&digests[0]).await.unwrap(),
        report(0, 1, 0),
        "a repetition changes nothing"
    );
    assert_eq!(replay(&digests[1]).await.unwrap(), report(0, 0, 1));
    let missing = replay("nothing").await.unwrap_err();
    assert!(missing.contains("REFUSED") && missing.contains("nothing"), "{missing}");
    let kept = aws::quarantined("payments", Provider::Finvypay).await;
    for (digest, result) in digests.iter().zip(["duplicate", "unreadable"]) {
        let webhook = kept
            .iter()
            .find(|webhook| webhook["digest"] == digest.as_str())
            .expect("it stays");
        let mark = &webhook["replay"];
        assert_eq!(
            (&mark["result"], &mark["operator"]["actor"], &webhook["receivedAt"]),
            (
                &json!(result),
                &json!("on call"),
                &json!(received_at.as_millis().to_string())
            ),
        );
    }
}

#[tokio::test]
async fn signed_webhook_on_another_path_is_counted() {
    let handler = world().await.lambda("webhook-handler", &[]).await.expect("a function");
    let body = json!({ "id": unique("lost"), "status": "completed" }).to_string();
    let send = async |method: &str, path: &str, name: &str, secret: &str| {
        let signature = sign(secret, body.as_bytes());
        let response = handler
            .http(method, path, &[(name, signature.as_str())], body.as_bytes())
            .await;
        let is_path_of_another = path == "/webhooks/finvypay";
        let status = match (is_path_of_another, method) {
            (true, "POST") => 401,
            (true, _) => 405,
            (false, _) => 404,
        };
        assert_eq!(response.expect("a response").status, status, "{method} {path}");
    };
    let signed = [
        ("/", "x-signature"),
        ("/webhooks/ApoloPay", "x-apolopay-signature"),
        ("/webhooks/apolopay/more", "x-signature"),
        ("/webhook/finvypay", "fs-webhook-hash"),
        ("/webhooks/finvypay", "x-signature"),
    ];
    for (path, name) in signed {
        send("POST", path, name, SECRET).await;
        send("POST", path, name, "whsec_of_someone_else").await;
        send("GET", path, name, SECRET).await;
    }
    handler.kill().await;
    let log = handler.log();
    let lines = || {
        log.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
    };
    let reported = lines().filter(|line| line["message"] == "a signed webhook was sent to another path");
    let providers: Vec<String> = reported
        .map(|line| line["provider"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(providers, ["apolopay", "apolopay", "apolopay", "finvypay", "apolopay"]);
    let counted = lines().filter(|line| line["MisroutedWebhooks"] == 1);
    assert_eq!(counted.count(), signed.len(), "{log}");
}
