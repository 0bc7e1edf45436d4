//! One basket, one payment: whatever the buyer clicks, closes, loads again or goes back from.

use super::*;

/// Waits until the provider was asked for the payment in this browser's memory.
async fn asked(page: &Page, way: Way) {
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
async fn a_double_click() {
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

/// Another tab has begun, after this one was loaded.
#[tokio::test]
async fn two_tabs() {
    let Some(page) = Page::open().await else { return };
    page.fill_in(SmartPay).await;
    // What the other tab leaves in their common memory.
    page.run(
        "const kept = JSON.parse(localStorage.checkout ?? 'null') ?? { order: 'ORD-' + crypto.randomUUID() };
         kept.attempts = 1;
         kept.attempt = { orderId: kept.order, key: crypto.randomUUID(), method: 'smartpay', amount: '12.50', patience: 900,
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

/// Loaded again while the provider is being asked: the same key gets the same payment.
#[tokio::test]
async fn loaded_again_in_the_middle() {
    for way in [SmartPay, ApplePay] {
        let Some(page) = Page::open().await else { return };
        page.choose("scenario", "slow").await;
        page.fill_in(way).await;
        page.click("#pay").await;
        page.until("begun", "JSON.parse(localStorage.checkout).attempt").await;
        asked(&page, way).await;
        page.browser.turn("refresh").await.unwrap();
        page.until_payable(way).await;
        let (payments, calls) = page.payments(way).await;
        assert_eq!((payments.len(), calls), (1, 1), "{way:?}");
        page.act(way, "pay", "atOnce").await;
        page.shows("completed").await;
        page.quiet_but(&["409 (Conflict)"]).await;
    }
}

#[tokio::test]
async fn closed_and_opened_again() {
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
async fn cancelled_at_the_provider_and_paid_after_all() {
    let Some(page) = Page::open().await else { return };
    page.begin(ApplePay).await;
    page.act(ApplePay, "cancel", "never").await;
    assert!(
        page.shows("pending").await.contains("Not paid yet"),
        "to have come back says nothing"
    );
    page.click("#actions .primary").await;
    page.until_payable(ApplePay).await;
    page.act(ApplePay, "pay", "atOnce").await;
    page.shows("completed").await;
    assert_eq!(page.payments(ApplePay).await.0.len(), 1);
    page.quiet().await;
}

#[tokio::test]
async fn back_by_the_browsers_own_button() {
    let Some(page) = Page::open().await else { return };
    page.begin(GooglePay).await;
    page.browser.turn("back").await.unwrap();
    page.shows("pending").await;
    let (payments, calls) = page.payments(GooglePay).await;
    assert_eq!((payments.len(), calls), (1, 1));
    page.quiet().await;
}

/// A new attempt is a payment of its own, with a key and an order id of its own.
#[tokio::test]
async fn failed_and_tried_again() {
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

    // The next order begins anew.
    page.click("#actions .primary").await;
    page.until("the shop", "!document.getElementById('shop').hidden").await;
    let kept = page.run("return JSON.parse(localStorage.checkout)").await;
    assert_eq!(
        (&kept["attempts"], &kept["attempt"], &kept["buyer"]["firstName"]),
        (&json!(0), &Value::Null, &json!("Jane"))
    );
    page.quiet().await;
}

/// Names and e-mail are kept no longer than the request may have to be repeated, but for the form.
#[tokio::test]
async fn what_the_browser_remembers() {
    let Some(page) = Page::open().await else { return };
    page.begin(SmartPay).await;
    page.id().await;
    let kept = page.run("return JSON.parse(localStorage.checkout)").await;
    let members: Vec<_> = kept["attempt"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["amount", "key", "method", "orderId", "patience", "paymentId"]);
    page.quiet().await;
}
