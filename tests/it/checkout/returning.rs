//! One basket, one payment, whatever the buyer clicks, closes or reloads.

use super::*;

/// Waits until the provider was called for the payment in this browser's storage.
async fn until_called(page: &Page, way: Way) {
    let order = page.run("return JSON.parse(localStorage.checkout).order").await;
    let order = order.as_str().unwrap().to_owned();
    let calls = control()
        .await
        .calls_where(way.provider(), &order, &[("atLeast", "1")])
        .await
        .unwrap();
    assert_eq!(calls.calls.len(), 1);
}

#[tokio::test]
async fn double_click_creates_one_payment() {
    for way in [SmartPay, ApplePay] {
        let Some(page) = Page::open().await else { return };
        page.fill_in(way).await;
        page.run(
            "const form = document.getElementById('checkout'), pay = document.getElementById('pay');
             pay.click(); pay.click(); form.requestSubmit(); pay.click();",
        )
        .await;
        page.until_payable(way).await;
        let (payments, calls) = page.payments(way).await;
        assert_eq!((payments.len(), calls), (1, 1), "{way:?}");
        page.quiet().await;
    }
}

/// Another tab started after this one was loaded.
#[tokio::test]
async fn two_tabs_create_one_payment() {
    let Some(page) = Page::open().await else { return };
    page.fill_in(SmartPay).await;
    // The state that the other tab leaves in their shared storage.
    page.run(
        "const kept = JSON.parse(localStorage.checkout ?? 'null') ?? { order: 'ORD-' + crypto.randomUUID() };
         kept.attempts = 1;
         kept.attempt = { orderId: kept.order, key: crypto.randomUUID(), method: 'smartpay', amount: '12.50', pollSeconds: 900,
             request: { amount: '12.50', orderId: kept.order, customerEmail: 'jane@example.com' } };
         localStorage.checkout = JSON.stringify(kept);",
    )
    .await;
    page.click("#pay").await;
    page.until_payable(SmartPay).await;
    assert!(page.text("#about").await.contains("$12.50"), "the other tab's payment");
    let (payments, calls) = page.payments(SmartPay).await;
    assert_eq!((payments.len(), calls), (1, 1));
    page.quiet().await;
}

/// Reloaded during the provider call: the same key gets the same payment.
#[tokio::test]
async fn reload_resumes_the_payment() {
    for way in [SmartPay, ApplePay] {
        let Some(page) = Page::open().await else { return };
        page.choose("scenario", "slow").await;
        page.fill_in(way).await;
        page.click("#pay").await;
        page.until("begun", "JSON.parse(localStorage.checkout).attempt").await;
        until_called(&page, way).await;
        page.browser.navigate("refresh").await.unwrap();
        page.until_payable(way).await;
        let (payments, calls) = page.payments(way).await;
        assert_eq!((payments.len(), calls), (1, 1), "{way:?}");
        page.act(way, "pay", "atOnce").await;
        page.shows("completed").await;
        page.quiet_but(&["409 (Conflict)"]).await;
    }
}

#[tokio::test]
async fn reopened_page_resumes_the_payment() {
    let Some(page) = Page::open().await else { return };
    page.begin(SmartPay).await;
    let id = page.id().await;
    page.browser.reopen().await.unwrap();
    page.go("").await;
    page.shows("pending").await;
    assert_eq!(page.id().await, id);

    // In another browser, by its address.
    page.run("localStorage.clear()").await;
    page.go(&format!("?payment={id}")).await;
    assert!(page.shows("pending").await.contains(&id));
    page.act(SmartPay, "pay", "atOnce").await;
    page.shows("completed").await;
    page.quiet().await;
}

#[tokio::test]
async fn cancelled_payment_can_still_be_paid() {
    let Some(page) = Page::open().await else { return };
    page.begin(ApplePay).await;
    page.act(ApplePay, "cancel", "never").await;
    assert!(
        page.shows("pending").await.contains("Not paid yet"),
        "returning alone completes nothing"
    );
    page.click("#actions .primary").await;
    page.until_payable(ApplePay).await;
    page.act(ApplePay, "pay", "atOnce").await;
    page.shows("completed").await;
    assert_eq!(page.payments(ApplePay).await.0.len(), 1);
    page.quiet().await;
}

#[tokio::test]
async fn back_button_resumes_the_payment() {
    let Some(page) = Page::open().await else { return };
    page.begin(GooglePay).await;
    page.browser.navigate("back").await.unwrap();
    page.shows("pending").await;
    let (payments, calls) = page.payments(GooglePay).await;
    assert_eq!((payments.len(), calls), (1, 1));
    page.quiet().await;
}

/// A new attempt is a new payment, with its own key and order id.
#[tokio::test]
async fn failed_payment_can_be_retried() {
    let Some(page) = Page::open().await else { return };
    page.begin(GooglePay).await;
    page.act(GooglePay, "fail", "atOnce").await;
    page.shows("failed").await;
    let first = page.id().await;
    page.click("#actions .primary").await;
    page.click("input[value=apple_pay]").await;
    page.click("#pay").await;
    page.until_payable(ApplePay).await;
    page.act(ApplePay, "pay", "atOnce").await;
    assert!(
        page.shows("completed").await.contains("-2"),
        "the order's second attempt"
    );
    assert_ne!(page.id().await, first);

    // The next order starts from scratch.
    page.click("#actions .primary").await;
    page.until("the shop", "!document.getElementById('shop').hidden").await;
    let kept = page.run("return JSON.parse(localStorage.checkout)").await;
    assert_eq!(
        (&kept["attempts"], &kept["attempt"], &kept["buyer"]["firstName"]),
        (&json!(0), &Value::Null, &json!("Jane"))
    );
    page.quiet().await;
}

/// Names and email are kept only as long as the request may be repeated, except in the form.
#[tokio::test]
async fn browser_drops_personal_data_after_the_request() {
    let Some(page) = Page::open().await else { return };
    page.begin(SmartPay).await;
    page.id().await;
    let kept = page.run("return JSON.parse(localStorage.checkout)").await;
    let members: Vec<_> = kept["attempt"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        members,
        ["amount", "key", "method", "orderId", "paymentId", "pollSeconds"]
    );
    page.quiet().await;
}
