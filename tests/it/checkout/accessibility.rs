//! Accessibility and security: keyboard use, narrow screens, both colour schemes, and the content security policy.

use payment_functions_local::workspace;

use super::*;

/// WebDriver's key codes.
const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';
const ESCAPE: char = '\u{e00c}';
const DOWN: char = '\u{e015}';

#[tokio::test]
async fn checkout_works_by_keyboard_alone() {
    let Some(page) = Page::open().await else { return };
    page.run("document.getElementById('firstName').focus()").await;
    page.browser
        .press(&format!("Jane{TAB}Smith{TAB}jane@example.com{TAB}{DOWN}{ENTER}"))
        .await
        .unwrap();
    page.until_payable(ApplePay).await;
    page.browser.press(&format!("{TAB}{TAB}{TAB}{ENTER}")).await.unwrap();
    page.shows("completed").await;
    page.quiet().await;
}

#[tokio::test]
async fn dialog_takes_and_returns_the_focus() {
    let Some(page) = Page::open().await else { return };
    page.begin(SmartPay).await;
    page.run("document.querySelector('apolopay-button > button').focus()")
        .await;
    page.browser.press(&ENTER.to_string()).await.unwrap();
    page.until("in the dialog", "document.activeElement.closest('dialog')")
        .await;
    page.browser.press(&ESCAPE.to_string()).await.unwrap();
    page.until("back", "document.activeElement.matches('apolopay-button > button')")
        .await;
    page.quiet().await;
}

/// Status changes are announced, and the focus moves to the next control.
#[tokio::test]
async fn status_changes_are_announced() {
    let Some(page) = Page::open().await else { return };
    page.begin(SmartPay).await;
    assert_eq!(page.run("return document.activeElement.id").await, "payment-title");
    let live = page
        .run("return document.getElementById('explanation').closest('[role=status][aria-live=polite]') !== null")
        .await;
    assert_eq!(live, true);
    page.quiet().await;
}

/// Each view: no horizontal scrolling, names for all controls, contrast, headings in order.
#[tokio::test]
async fn every_view_fits_every_screen() {
    const AUDIT: &str = include_str!("accessibility.js");
    for (width, scheme) in [(360, "light"), (1280, "dark")] {
        let Some(page) = Page::open().await else { return };
        page.set_screen(width, scheme).await;
        let audit = async |view: &str| {
            let found = page.run(AUDIT).await;
            assert_eq!(found, json!([]), "{view}, {width}, {scheme}");
        };
        page.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
            .await;
        audit("shop").await;
        page.click("#pay").await;
        page.until("the message", "!document.getElementById('problem').hidden")
            .await;
        audit("refused").await;
        page.begin(ApplePay).await;
        audit("FinvyPay").await;
        page.act(ApplePay, "payWrongAmount", "atOnce").await;
        page.shows("review").await;
        page.until("a fact", "document.querySelector('[data-key^=fact-]')")
            .await;
        page.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
            .await;
        audit("review").await;
        page.click("#actions button").await;
        page.begin(SmartPay).await;
        audit("pending").await;
        page.click("apolopay-button > button").await;
        audit("dialog").await;
        page.click("dialog button[value=pay]").await;
        page.shows("completed").await;
        audit("completed").await;
        page.quiet().await;
    }
}

/// A violation fails a test.
#[tokio::test]
async fn csp_is_enforced_and_violations_are_noticed() {
    let Some(page) = Page::open().await else { return };
    page.run(
        "const style = document.createElement('style');
         style.textContent = 'body { color: red }';
         document.head.append(style);
         const image = document.createElement('img');
         image.src = 'http://127.0.0.2:9/x.png';
         document.body.append(image);",
    )
    .await;
    let refused = page
        .run("try { document.body.innerHTML = '<b>x</b>'; return false; } catch { return true; }")
        .await;
    assert_eq!(refused, true);
    let said = page.console().await.join("\n");
    for directive in ["style-src 'self'", "img-src 'self'", "TrustedHTML"] {
        assert!(said.contains(directive), "{directive}: {said}");
    }
}

#[tokio::test]
async fn every_file_has_security_headers() {
    let shop = world().await.sandbox_url();
    for path in [
        "/",
        "/checkout/shop.mjs",
        "/checkout/payments.mjs",
        "/checkout/style.css",
        "/checkout/mug.svg",
    ] {
        let response = send(request(reqwest::Method::GET, &format!("{shop}{path}"))).await;
        assert_eq!(response.status, 200, "{path}");
        let policy = response.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
    }
    for path in [
        "/checkout/..%2fCargo.toml",
        "/checkout/none.css",
        "/checkout/chromium",
        "/checkout/",
    ] {
        let response = send(request(reqwest::Method::GET, &format!("{shop}{path}"))).await;
        assert_eq!(response.status, 404, "{path}");
    }
}

/// The client that shops copy, under Node.
#[test]
fn frontend_client_passes_its_tests() {
    let node = workspace().join(".venv/bin/node");
    let tests = workspace().join("tests/checkout/payments.test.mjs");
    let ran = std::process::Command::new(node)
        .arg("--test")
        .arg(tests)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
}
