//! For everybody: with the keyboard alone, on a narrow screen, in both schemes of colours, and nothing that the policy
//! forbids.

use payment_functions_local::workspace;

use super::*;

/// WebDriver's characters for keys.
const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';
const ESCAPE: char = '\u{e00c}';
const DOWN: char = '\u{e015}';

#[tokio::test]
async fn the_keyboard_alone() {
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
async fn the_dialog_takes_and_gives_back_the_focus() {
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

/// What changes by itself is told, and the focus is where the next thing is.
#[tokio::test]
async fn what_is_said_aloud() {
    let Some(page) = Page::open().await else { return };
    page.begin(SmartPay).await;
    assert_eq!(page.run("return document.activeElement.id").await, "payment-title");
    let live = page
        .run("return document.getElementById('said').closest('[role=status][aria-live=polite]') !== null")
        .await;
    assert_eq!(live, true);
    page.quiet().await;
}

/// In each view: no scrolling sideways, names for all that can be used, contrast, headings in order.
#[tokio::test]
async fn every_view_on_every_screen() {
    const AUDIT: &str = include_str!("audit.js");
    for (width, scheme) in [(360, "light"), (1280, "dark")] {
        let Some(page) = Page::open().await else { return };
        page.looks(width, scheme).await;
        let audit = async |view: &str| {
            let found = page.run(AUDIT).await;
            assert_eq!(found, json!([]), "{view}, {width}, {scheme}");
        };
        page.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
            .await;
        audit("shop").await;
        page.click("#pay").await;
        page.until("told", "!document.getElementById('problem').hidden").await;
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

/// That a breach is heard of at all.
#[tokio::test]
async fn the_policy_is_enforced_and_breaches_are_noticed() {
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
async fn every_file_has_the_headers() {
    let shop = world().await.sandbox_url();
    for path in [
        "/",
        "/checkout/shop.mjs",
        "/checkout/payments.mjs",
        "/checkout/style.css",
        "/checkout/mug.svg",
    ] {
        let answer = send(request(reqwest::Method::GET, &format!("{shop}{path}"))).await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    }
    for path in [
        "/checkout/..%2fCargo.toml",
        "/checkout/none.css",
        "/checkout/chromium",
        "/checkout/",
    ] {
        let answer = send(request(reqwest::Method::GET, &format!("{shop}{path}"))).await;
        assert_eq!(answer.status, 404, "{path}");
    }
}

/// The client that shops copy, under Node.
#[test]
fn the_frontends_client() {
    let node = workspace().join(".venv/bin/node");
    let tests = workspace().join("tests/checkout/payments.test.mjs");
    let ran = std::process::Command::new(node)
        .arg("--test")
        .arg(tests)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
}
