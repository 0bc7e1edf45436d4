//! Every payment method, every outcome, and every time at which the webhook may come.

use super::*;
use crate::webhooks::check_claim;

/// Pays; returns the page's text at the end.
async fn outcome(page: &Page, way: Way, action: &str, webhook: &str, status: &str) -> String {
    page.begin(way).await;
    page.act(way, action, webhook).await;
    let said = page.shows(status).await;
    assert_eq!(
        said.contains("Thank you"),
        status == "completed",
        "{way:?} {action} {webhook}: {said}"
    );
    assert_eq!(page.text("#badge").await == "Paid", status == "completed", "{said}");
    assert_eq!(status_of(&page.id().await).await, status);
    // The rank computed from the facts is the stored status.
    page.until(
        "its status",
        &format!("document.querySelector('.ranks .here')?.innerText.startsWith('{status}')"),
    )
    .await;
    assert!(
        page.text(".ranks .here")
            .await
            .ends_with(if action == "leave" { "stored" } else { "1 fact" })
    );
    said
}

async fn every_outcome(way: Way, outcomes: &[(&str, &str)]) {
    for (action, status) in outcomes {
        let Some(page) = Page::open().await else { return };
        outcome(&page, way, action, "atOnce", status).await;
        page.quiet().await;
    }
}

#[tokio::test]
async fn smartpay_payment_completes() {
    every_outcome(SmartPay, &[("pay", "completed"), ("payWrongAmount", "review")]).await;
}

/// ApoloPay reports only completions: other statuses are recorded but change nothing.
#[tokio::test]
async fn unrecognised_apolopay_statuses_change_nothing() {
    for action in ["fail", "cancel"] {
        let Some(page) = Page::open().await else { return };
        page.begin(SmartPay).await;
        page.act(SmartPay, action, "atOnce").await;
        page.until(
            "kept",
            "document.querySelector('[data-key^=fact-] .to')?.innerText === '→ no change'",
        )
        .await;
        assert!(page.shows("pending").await.contains("Not paid yet"));
        page.quiet().await;
    }
}

#[tokio::test]
async fn apple_pay_payment_completes() {
    let outcomes = [
        ("pay", "completed"),
        ("payWrongAmount", "review"),
        ("authorize", "authorized"),
        ("fail", "failed"),
        ("cancel", "cancelled"),
        ("leave", "pending"),
    ];
    every_outcome(ApplePay, &outcomes).await;
}

#[tokio::test]
async fn google_pay_payment_completes() {
    every_outcome(GooglePay, &[("pay", "completed"), ("payWrongAmount", "review")]).await;
}

/// The page shows that nothing is paid yet, and updates by itself.
#[tokio::test]
async fn late_webhook_completes_the_payment() {
    for way in [SmartPay, ApplePay] {
        let Some(page) = Page::open().await else { return };
        page.begin(way).await;
        page.act(way, "pay", "late").await;
        assert!(page.shows("pending").await.contains("Not paid yet"));
        page.shows("completed").await;
        page.quiet().await;
    }
}

#[tokio::test]
async fn duplicate_webhook_completes_once() {
    let Some(page) = Page::open().await else { return };
    outcome(&page, SmartPay, "pay", "twice", "completed").await;
    page.until(
        "both webhooks",
        "document.querySelectorAll('[data-key^=webhook-]').length === 2",
    )
    .await;
    page.quiet().await;
}

/// ApoloPay's webhook may do that: a payment completed before the response has no checkout session.
#[tokio::test]
async fn webhook_before_the_response_completes_the_payment() {
    for way in [SmartPay, ApplePay] {
        let Some(page) = Page::open().await else { return };
        page.choose("scenario", "webhookFirst").await;
        page.fill_in(way).await;
        page.click("#pay").await;
        page.shows("completed").await;
        let left = page
            .run("return document.querySelectorAll('apolopay-button').length")
            .await;
        assert_eq!(left, 0);
        page.quiet().await;
    }
}

/// The page stops polling at last, says so, and polls again on request.
#[tokio::test]
async fn page_stops_polling_without_a_webhook() {
    for way in [SmartPay, ApplePay] {
        let Some(page) = Page::open().await else { return };
        page.choose("pollSeconds", "2").await;
        page.begin(way).await;
        page.act(way, "pay", "never").await;
        page.until(
            "the end of polling",
            "document.getElementById('trouble').innerText.includes('You can close this page')",
        )
        .await;
        assert!(page.shows("pending").await.contains("Not paid yet"));
        let id = page.id().await;
        let spec = json!({ "provider": way.provider(), "payment": page.payments(way).await.0[0].id });
        assert_eq!(control().await.webhooks(spec).await.unwrap()[0].status, Some(200));
        assert_eq!(status_of(&id).await, "completed");
        assert!(
            page.text("#payment").await.contains("Not paid yet"),
            "polling has ended"
        );
        let again =
            "[...document.querySelectorAll('#actions > button')].find((button) => button.innerText === 'Check again')";
        page.run(&format!("{again}.click()")).await;
        page.shows("completed").await;
        page.quiet().await;
    }
}

#[tokio::test]
async fn every_webhook_shape_completes_a_payment() {
    for (way, shape) in [(SmartPay, "B"), (ApplePay, "W1"), (GooglePay, "W1wrapped")] {
        let Some(page) = Page::open().await else { return };
        page.begin(way).await;
        let field = if way == SmartPay { "smartpay-shape" } else { "shape" };
        page.choose(field, shape).await;
        page.act(way, "pay", "atOnce").await;
        if way != SmartPay {
            // The webhook names only the order, and nothing feeds the table's stream here.
            page.shows("pending").await;
            let payments = page.payments(way).await.0;
            check_claim(payments[0].transaction_id.as_ref().unwrap()).await;
        }
        page.shows("completed").await;
        page.quiet().await;
    }
}

/// Only the reconciler sets this status; a later completion still counts.
#[tokio::test]
async fn expired_payment_can_still_be_paid() {
    let Some(page) = Page::open().await else { return };
    page.begin(SmartPay).await;
    page.act(SmartPay, "leave", "atOnce").await;
    let id = page.id().await;
    let processes = page.payments(SmartPay).await.0;
    crate::aws::set_status(&id, "expired", 2).await;
    assert!(page.shows("expired").await.contains("it still counts"));
    let spec = json!({ "provider": "apolopay", "payment": processes[0].id });
    assert_eq!(control().await.webhooks(spec).await.unwrap()[0].status, Some(200));
    page.browser.navigate("refresh").await.unwrap();
    page.shows("completed").await;
    page.quiet().await;
}
