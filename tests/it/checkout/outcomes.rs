//! Every way to pay, everything that can come of it, and every time at which the webhook can come.

use super::*;

/// Pays, and gives what the page says at the end.
async fn outcome(page: &Page, way: Way, deed: &str, webhook: &str, status: &str) -> String {
    page.begin(way).await;
    page.act(way, deed, webhook).await;
    let said = page.shows(status).await;
    assert_eq!(
        said.contains("Thank you"),
        status == "completed",
        "{way:?} {deed} {webhook}: {said}"
    );
    assert_eq!(page.text("#badge").await == "Paid", status == "completed", "{said}");
    assert_eq!(status_of(&page.id().await).await, status);
    // The join, drawn from the facts, is the status that is stored.
    page.until(
        "on its rung",
        &format!("document.querySelector('.ladder .here')?.innerText.startsWith('{status}')"),
    )
    .await;
    assert!(
        page.text(".ladder .here")
            .await
            .ends_with(if deed == "leave" { "stored" } else { "1 fact" })
    );
    said
}

async fn every_outcome(way: Way, outcomes: &[(&str, &str)]) {
    for (deed, status) in outcomes {
        let Some(page) = Page::open().await else { return };
        outcome(&page, way, deed, "atOnce", status).await;
        page.quiet().await;
    }
}

#[tokio::test]
async fn smartpay() {
    every_outcome(SmartPay, &[("pay", "completed"), ("payWrongAmount", "review")]).await;
}

/// ApoloPay is only known to tell of completions: its other words are kept, and change nothing.
#[tokio::test]
async fn words_that_are_not_known_of_apolopay() {
    for deed in ["fail", "cancel"] {
        let Some(page) = Page::open().await else { return };
        page.begin(SmartPay).await;
        page.act(SmartPay, deed, "atOnce").await;
        page.until(
            "kept",
            "document.querySelector('[data-key^=fact-] .to')?.innerText === '→ no rung'",
        )
        .await;
        assert!(page.shows("pending").await.contains("Not paid yet"));
        page.quiet().await;
    }
}

#[tokio::test]
async fn apple_pay() {
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
async fn google_pay() {
    every_outcome(GooglePay, &[("pay", "completed"), ("payWrongAmount", "review")]).await;
}

/// The page shows that nothing is paid yet, and changes by itself.
#[tokio::test]
async fn a_late_webhook() {
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
async fn a_webhook_that_comes_twice() {
    let Some(page) = Page::open().await else { return };
    outcome(&page, SmartPay, "pay", "twice", "completed").await;
    page.until(
        "both webhooks",
        "document.querySelectorAll('[data-key^=webhook-]').length === 2",
    )
    .await;
    page.quiet().await;
}

/// As ApoloPay's can: what is paid before the answer has nothing left to pay with.
#[tokio::test]
async fn a_webhook_before_the_answer() {
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

/// The page stops asking in the end, says so, and asks again when it is told to.
#[tokio::test]
async fn a_webhook_that_never_comes() {
    for way in [SmartPay, ApplePay] {
        let Some(page) = Page::open().await else { return };
        page.choose("patience", "2").await;
        page.begin(way).await;
        page.act(way, "pay", "never").await;
        page.until(
            "given up",
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
            "it has stopped asking"
        );
        let again =
            "[...document.querySelectorAll('#actions > button')].find((button) => button.innerText === 'Check again')";
        page.run(&format!("{again}.click()")).await;
        page.shows("completed").await;
        page.quiet().await;
    }
}

#[tokio::test]
async fn every_shape_of_the_webhook() {
    for (way, shape) in [(SmartPay, "B"), (ApplePay, "W1"), (GooglePay, "W1wrapped")] {
        let Some(page) = Page::open().await else { return };
        page.begin(way).await;
        let field = if way == SmartPay { "smartpay-shape" } else { "shape" };
        page.choose(field, shape).await;
        page.act(way, "pay", "atOnce").await;
        page.shows("completed").await;
        page.quiet().await;
    }
}

/// Which only the reconciler writes: money that still comes counts.
#[tokio::test]
async fn time_runs_out() {
    let Some(page) = Page::open().await else { return };
    page.begin(SmartPay).await;
    page.act(SmartPay, "leave", "atOnce").await;
    let id = page.id().await;
    let processes = page.payments(SmartPay).await.0;
    crate::aws::set_status(&id, "expired", 2).await;
    assert!(page.shows("expired").await.contains("it still counts"));
    let spec = json!({ "provider": "apolopay", "payment": processes[0].id });
    assert_eq!(control().await.webhooks(spec).await.unwrap()[0].status, Some(200));
    page.browser.turn("refresh").await.unwrap();
    page.shows("completed").await;
    page.quiet().await;
}
