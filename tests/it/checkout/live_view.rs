//! The live view of a payment, without secrets; and the screenshots for the README.

use super::*;

const SECRETS: [&str; 3] = ["sk_local_apolopay", "fp_local_finvypay", "whsec_test_secret"];

async fn journal(order: &str) -> Response {
    let url = format!("{}/_control/journal?orderId={order}", world().await.sandbox_url());
    send(request(reqwest::Method::GET, &url)).await
}

/// Each exchange of a payment in order, without secrets.
#[tokio::test]
async fn every_exchange_is_shown() {
    let Some(page) = Page::open().await else { return };
    page.begin(ApplePay).await;
    page.act(ApplePay, "pay", "twice").await;
    page.shows("completed").await;
    let order = page.run("return JSON.parse(localStorage.checkout).order").await;
    let response = journal(order.as_str().unwrap()).await;
    for secret in SECRETS {
        assert!(!response.text.contains(secret), "{secret}: {}", response.text);
    }
    let journal = response.json();
    let legs: Vec<_> = journal["exchanges"].as_array().unwrap().iter().collect();
    let of = |leg: &str| {
        legs.iter()
            .filter(|exchange| exchange["leg"] == leg)
            .collect::<Vec<_>>()
    };
    let (browser, provider, webhooks) = (of("browser"), of("provider"), of("webhook"));
    assert_eq!(
        (&browser[0]["method"], &browser[0]["path"], &browser[0]["status"]),
        (&json!("POST"), &json!("/apm-payments"), &json!(201))
    );
    assert!(browser[0]["request"]["headers"]["idempotency-key"].is_string());
    assert_eq!(provider.len(), 1);
    assert_eq!(provider[0]["request"]["headers"]["authorization"], "(not shown)");
    assert!(
        provider[0]["request"]["body"]
            .as_str()
            .unwrap()
            .contains("\"amount\":21.40"),
        "the digits as sent"
    );
    assert_eq!(webhooks.len(), 2);
    for webhook in webhooks {
        assert_eq!(
            (&webhook["status"], &webhook["path"]),
            (&json!(200), &json!("/webhooks/finvypay"))
        );
        assert_eq!(
            webhook["request"]["headers"]["fs-webhook-hash"]
                .as_str()
                .unwrap()
                .chars()
                .count(),
            9
        );
    }
    let shown = page
        .run("return document.querySelectorAll('#live .records details').length")
        .await;
    assert!(shown.as_u64() > Some(4), "{shown}");
    page.quiet().await;
}

/// The events that the bus delivers to a subscriber.
#[tokio::test]
async fn published_events_are_shown() {
    let Some(page) = Page::open().await else { return };
    page.begin(SmartPay).await;
    let id = page.id().await;
    for (version, status) in [(3, "completed"), (2, "pending")] {
        let detail = json!({ "eventId": format!("{id}:{status}"), "version": version, "id": id, "status": status });
        let entry = json!({
            "EventBusName": "payment-functions", "Source": "payment-functions",
            "DetailType": format!("payment.{status}"), "Detail": detail.to_string(),
        });
        crate::aws::call("events", "PutEvents", &json!({ "Entries": [entry] })).await;
    }
    page.until("both", "document.querySelectorAll('[data-key^=event-]').length >= 2")
        .await;
    let first = page.text("[data-key^=event-] summary").await;
    assert_eq!(first, "payment.pending version 2", "in version order");
    page.quiet().await;
}

/// Such as one by curl, as the README has it.
#[tokio::test]
async fn payment_of_another_caller_is_found_by_its_order() {
    for (provider, name) in [(Provider::Apolopay, "processId"), (Provider::Finvypay, "paymentId")] {
        let order = unique("ORD");
        let [first, second] = [create(provider, &order).await, create(provider, &order).await];
        let with_id = format!("{order}&payment={}", first.str("id"));
        for (query, created) in [(&order, second), (&with_id, first)] {
            let journal = journal(query).await.json();
            let references = &journal["ledger"]["state"]["references"];
            assert!(
                references.to_string().contains(&created.str(name)),
                "{query}: {journal}"
            );
        }
    }
}

/// Without a table the view says so; and pages of other origins cannot read anything.
#[tokio::test]
async fn stand_ins_run_without_functions() {
    use payment_functions_local::sandbox::{Config, Sandbox};
    let alone = Sandbox::start(Config::default()).await.unwrap();
    let at = |path: &str| format!("{}{path}", alone.url());
    let response = send(request(reqwest::Method::GET, &at("/_control/journal?orderId=ORD-1"))).await;
    assert!(response.json()["ledger"]["unavailable"].is_string(), "{response:?}");
    assert!(response.json()["events"]["unavailable"].is_string(), "{response:?}");

    // Secrets are hidden wherever they occur.
    let body = r#"{"amount":1,"metadata":{"orderId":"ORD-1","note":"whsec_test_secret"}}"#;
    let key = [("x-secret-key", "sk_local_apolopay")];
    post_to(&at("/apolopay"), "/payment-button/process/preorder", body, &key).await;
    let response = send(request(reqwest::Method::GET, &at("/_control/journal?orderId=ORD-1"))).await;
    let call = &response.json()["exchanges"][0];
    assert_eq!(call["request"]["headers"]["x-secret-key"], "(not shown)");
    assert!(
        call["request"]["body"]
            .as_str()
            .unwrap()
            .contains(r#""note":"(not shown)""#),
        "{call}"
    );

    for path in [
        "/api/preorders",
        "/_control/replies",
        "/finvypay/pay/pay_apm_1",
        "/apolopay/pay/x",
    ] {
        let foreign = post_to(&alone.url(), path, "{}", &[("origin", "https://example.com")]).await;
        assert_eq!(foreign.status, 403, "{path}");
        let own_form = [("origin", "null"), ("sec-fetch-site", "same-origin")];
        assert_ne!(post_to(&alone.url(), path, "{}", &own_form).await.status, 403, "{path}");
        let local = alone.url().replace("127.0.0.1", "localhost");
        assert_ne!(
            post_to(&alone.url(), path, "{}", &[("origin", &local)]).await.status,
            403,
            "{path}"
        );
    }
}

/// The provider's page shows the shop's input as text, and its form may lead back to the shop.
#[tokio::test]
async fn shop_texts_are_escaped() {
    let sandbox = world().await.sandbox_url();
    let order = format!("<b onclick=\"x()\">{}</b>", unique("ORD"));
    let mut body = apm(&order);
    body["webhookUrl"] = json!("http://127.0.0.1:9/webhooks/finvypay");
    let key = [("authorization", "Bearer fp_local_finvypay")];
    let made = post_to(
        &format!("{sandbox}/finvypay"),
        "/api/v1/sandbox/apm",
        body.to_string(),
        &key,
    )
    .await;
    let url = made.json()["data"]["redirectUrl"].as_str().unwrap().to_owned();
    let page = send(request(reqwest::Method::GET, &url)).await;
    assert!(
        page.text.contains("&lt;b onclick=&quot;x()&quot;&gt;ORD"),
        "{}",
        page.text
    );
    assert!(!page.text.contains("<b onclick"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains("form-action 'self' https://your-domain.com;"),
        "{policy}"
    );
}

/// The switch in docs/frontend.md: the element's hosts are allowed, and its module is served.
#[tokio::test]
async fn real_element_is_ready() {
    use payment_functions_local::sandbox::{Config, Sandbox, SmartPay};
    let bundle = Path::new(env!("CARGO_TARGET_TMPDIR")).join("smartpay-bundle.mjs");
    std::fs::write(&bundle, "export class ApoloPayClient {}").unwrap();
    let config = Config {
        smart_pay: Some(SmartPay {
            bundle,
            public_key: "pk_local".to_owned(),
        }),
        ..Config::default()
    };
    let switched = Sandbox::start(config).await.unwrap();
    let get = async |path: &str| send(request(reqwest::Method::GET, &format!("{}{path}", switched.url()))).await;
    assert_eq!(
        get("/checkout/settings.json").await.json(),
        json!({ "smartPay": { "bundle": "/checkout/smartpay-bundle.mjs", "publicKey": "pk_local" } })
    );
    assert_eq!(
        get("/checkout/smartpay-bundle.mjs").await.text,
        "export class ApoloPayClient {}"
    );
    let policy = get("/").await.header("content-security-policy").unwrap().to_owned();
    assert!(
        policy.contains("connect-src 'self' https://pb-api.apolopay.app https://pb-ws.apolopay.app;"),
        "{policy}"
    );

    let plain = send(request(reqwest::Method::GET, world().await.sandbox_url())).await;
    assert!(!plain.header("content-security-policy").unwrap().contains("apolopay"));
}

/// Writes screenshots only for `make screenshots`.
#[tokio::test]
async fn screenshots() {
    let Some(folder) = std::env::var_os("SCREENSHOTS") else {
        return;
    };
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder).unwrap();
    let _feed = world().await.feed().await.unwrap();
    for (name, way, action, status, width) in [
        ("completed", ApplePay, "pay", "completed", 1280),
        ("review", ApplePay, "payWrongAmount", "review", 1280),
        ("authorized", ApplePay, "authorize", "authorized", 1280),
        ("failed", ApplePay, "fail", "failed", 1280),
        ("cancelled", ApplePay, "cancel", "cancelled", 1280),
        ("pending", SmartPay, "", "pending", 1280),
        ("expired", SmartPay, "", "expired", 1280),
        ("narrow", SmartPay, "pay", "completed", 360),
    ] {
        let Some(page) = Page::open().await else { return };
        let take = async |name: &str| {
            let picture = page.browser.screenshot().await.unwrap();
            assert!(picture.len() <= 150_000, "{name}: {} bytes", picture.len());
            std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
        };
        page.set_screen(width, "light").await;
        if name == "completed" {
            page.fill_in(way).await;
            page.run("document.activeElement.blur()").await;
            take("shop").await;
        }
        page.begin(way).await;
        if !action.is_empty() {
            page.act(way, action, "atOnce").await;
        } else if status == "expired" {
            crate::aws::set_status(&page.id().await, "expired", 2).await;
        }
        page.shows(status).await;
        page.until(
            "its status",
            &format!("document.querySelector('.ranks .here')?.innerText.startsWith('{status}')"),
        )
        .await;
        page.until(
            "published",
            &format!("document.querySelector('[data-key$=\":{status}\"]') !== null"),
        )
        .await;
        take(name).await;
        page.quiet().await;
    }
}
