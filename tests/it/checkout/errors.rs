//! API refusals and transient errors.

use super::*;

#[tokio::test]
async fn missing_fields_are_shown() {
    let Some(page) = Page::open().await else { return };
    page.click("#pay").await;
    page.until("the message", "!document.getElementById('problem').hidden")
        .await;
    for field in ["firstName", "lastName", "email"] {
        assert!(
            page.text(&format!("#{field}-wrong")).await.starts_with("Please enter"),
            "{field}"
        );
    }
    assert_eq!(page.run("return document.activeElement.id").await, "firstName");
    let invalid = "return document.querySelectorAll('#checkout [aria-invalid=true]').length";
    assert_eq!(page.run(invalid).await, 3);

    // Corrected input leaves no error message.
    page.begin(SmartPay).await;
    page.click("#actions > button").await;
    page.until("the shop", "!document.getElementById('shop').hidden").await;
    assert_eq!(page.run(invalid).await, 0);
    assert_eq!(page.run("return document.getElementById('problem').hidden").await, true);
    page.quiet().await;
}

#[tokio::test]
async fn empty_basket_cannot_be_paid() {
    let Some(page) = Page::open().await else { return };
    for good in ["Enamel mug", "Garden tea"] {
        page.click(&format!("[aria-label='One {good} less']")).await;
    }
    page.fill_in(SmartPay).await;
    page.click("#pay").await;
    page.until(
        "the message",
        "document.getElementById('problem').innerText.includes('the basket is empty')",
    )
    .await;
    page.quiet().await;
}

/// The API's wrong fields appear next to their form fields.
#[tokio::test]
async fn api_refusal_is_shown() {
    let Some(page) = Page::open().await else { return };
    page.fill_in(ApplePay).await;
    // Only a script can enter this.
    page.run("document.getElementById('firstName').value = 'x'.repeat(101)")
        .await;
    page.click("#pay").await;
    page.until(
        "the message",
        "document.getElementById('firstName-wrong').innerText !== ''",
    )
    .await;
    assert_eq!(page.text("#lastName-wrong").await, "");
    assert_eq!(page.run("return document.activeElement.id").await, "firstName");
    page.choose("firstName", "Jane").await;
    page.click("#pay").await;
    page.until_payable(ApplePay).await;
    page.quiet_but(&["422 (Unprocessable Content)", "422 (Unprocessable Entity)"])
        .await;
}

#[tokio::test]
async fn provider_refusal_is_shown() {
    for way in [SmartPay, GooglePay] {
        let Some(page) = Page::open().await else { return };
        page.choose("scenario", "refuses").await;
        page.fill_in(way).await;
        page.click("#pay").await;
        page.until(
            "the message",
            "document.getElementById('problem').innerText.includes('did not accept this payment')",
        )
        .await;
        page.choose("scenario", "well").await;
        page.click("#pay").await;
        page.until_payable(way).await;
        page.quiet_but(&["422 (Unprocessable"]).await;
    }
}

/// The buyer waits, and one payment is created, even if the response to the first request was lost.
#[tokio::test]
async fn transient_errors_are_retried() {
    for (way, scenario, code) in [
        (SmartPay, "busy", "503 ("),
        (ApplePay, "broken", "502 ("),
        (GooglePay, "lost", "502 ("),
    ] {
        let Some(page) = Page::open().await else { return };
        page.choose("scenario", scenario).await;
        page.fill_in(way).await;
        page.click("#pay").await;
        page.until(
            "the message",
            "document.getElementById('trouble').innerText.includes('you pay only once') || document.body.className === 'provider'",
        )
        .await;
        page.until_payable(way).await;
        let (payments, calls) = page.payments(way).await;
        assert_eq!((payments.len(), calls), (1, 2), "{scenario}");
        page.act(way, "pay", "atOnce").await;
        page.shows("completed").await;
        page.quiet_but(&[code]).await;
    }
}

#[tokio::test]
async fn unknown_payment_is_shown() {
    let Some(page) = Page::open().await else { return };
    page.go("?payment=00000000-0000-4000-8000-000000000000").await;
    page.until(
        "the message",
        "document.getElementById('problem').innerText.includes('do not know this payment')",
    )
    .await;
    page.go("?order=ORD-of-somebody-else").await;
    page.until(
        "the message",
        "document.getElementById('problem').innerText.includes('does not know that order')",
    )
    .await;
    page.quiet_but(&["404 (Not Found)"]).await;
}
