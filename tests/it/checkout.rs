//! The checkout page in a real browser, against the real functions.
//!
//! Tests reuse browsers, each with empty storage. An unexpected console message, such as a CSP violation, fails a test.

mod accessibility;
mod errors;
mod live_view;
mod outcomes;
mod returning;

use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use payment_functions_local::sandbox::Payment;
use payment_functions_tests::world::Browser;

use crate::support::*;

/// The time limit for a change of the page on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(30);

/// Browsers that no test is using.
static IDLE: Mutex<Vec<Browser>> = Mutex::new(Vec::new());
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// A browser, returned at the end of a test.
struct BorrowedBrowser(Option<Browser>);

impl Deref for BorrowedBrowser {
    type Target = Browser;

    fn deref(&self) -> &Browser {
        self.0.as_ref().expect("a browser")
    }
}

impl Drop for BorrowedBrowser {
    fn drop(&mut self) {
        IDLE.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(self.0.take());
    }
}

/// An idle or a new browser. `None` if none is installed, which CI does not allow.
async fn borrow() -> Option<BorrowedBrowser> {
    let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    if idle.is_some() {
        return Some(BorrowedBrowser(idle));
    }
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-{number}"));
    let started = Browser::start(world().await, &directory).await;
    let browser = started.unwrap_or_else(|error| panic!("{error}"));
    if browser.is_none() {
        assert!(std::env::var_os("CI").is_none(), "chromium or chromedriver is missing");
        println!("chromium or chromedriver is missing: the checkout page is not tested");
    }
    browser.map(|browser| BorrowedBrowser(Some(browser)))
}

/// The page as one buyer uses it.
struct Page {
    browser: BorrowedBrowser,
    shop: String,
}

/// A payment method.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::enum_variant_names, reason = "unexpected name of chromium or chromedriver")]
enum Way {
    SmartPay,
    ApplePay,
    GooglePay,
}

use Way::{ApplePay, GooglePay, SmartPay};

impl Way {
    fn value(self) -> &'static str {
        match self {
            SmartPay => "smartpay",
            ApplePay => "apple_pay",
            GooglePay => "google_pay",
        }
    }

    fn provider(self) -> Provider {
        match self {
            SmartPay => Provider::Apolopay,
            ApplePay | GooglePay => Provider::Finvypay,
        }
    }
}

impl Page {
    /// Opens the shop with empty storage; `None` without a browser.
    async fn open() -> Option<Self> {
        let page = Self {
            browser: borrow().await?,
            shop: format!("{}/", world().await.sandbox_url()),
        };
        page.set_screen(1280, "light").await;
        // No script runs on this page.
        page.go("checkout/style.css").await;
        page.run("localStorage.clear()").await;
        page.go("").await;
        page.until("the shop", "!document.getElementById('shop').hidden").await;
        page.console().await;
        Some(page)
    }

    /// Sets the screen width and the colour scheme.
    async fn set_screen(&self, width: u32, scheme: &str) {
        let screen = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.browser
            .devtools("Emulation.setDeviceMetricsOverride", screen)
            .await
            .unwrap();
        self.browser
            .devtools("Emulation.setEmulatedMedia", media)
            .await
            .unwrap();
    }

    /// Opens a path of the shop.
    async fn go(&self, path: &str) {
        self.browser.go(&format!("{}{path}", self.shop)).await.unwrap();
    }

    async fn run(&self, script: &str) -> Value {
        self.run_with(script, &[]).await
    }

    async fn run_with(&self, script: &str, arguments: &[Value]) -> Value {
        let response = self.browser.run(script, arguments).await;
        response.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until an expression is true, even while the page is loading.
    async fn until(&self, what: &str, expression: &str) {
        let script = format!("return Boolean({expression})");
        let deadline = Instant::now() + TIME_LIMIT;
        while !matches!(self.browser.run(&script, &[]).await, Ok(Value::Bool(true))) {
            if Instant::now() > deadline {
                let seen = self
                    .browser
                    .run("return location.href + '\\n' + document.body.innerText", &[])
                    .await;
                panic!(
                    "still not {what}: {}",
                    seen.unwrap_or_default().as_str().unwrap_or_default()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn click(&self, selector: &str) {
        self.browser.click(selector).await.unwrap();
    }

    async fn write(&self, selector: &str, text: &str) {
        self.browser.write(selector, text).await.unwrap();
    }

    async fn choose(&self, field: &str, value: &str) {
        self.run_with(
            "document.getElementById(arguments[0]).value = arguments[1]",
            &[json!(field), json!(value)],
        )
        .await;
    }

    async fn text(&self, selector: &str) -> String {
        let text = self
            .run_with(
                "return document.querySelector(arguments[0]).innerText",
                &[json!(selector)],
            )
            .await;
        text.as_str().unwrap().to_owned()
    }

    /// Fills in the form without submitting it.
    async fn fill_in(&self, way: Way) {
        for (field, text) in [
            ("firstName", "Jane"),
            ("lastName", "Smith"),
            ("email", "jane@example.com"),
        ] {
            self.choose(field, "").await;
            self.write(&format!("#{field}"), text).await;
        }
        self.click(&format!("input[value={}]", way.value())).await;
    }

    /// Continues until the buyer can pay.
    async fn begin(&self, way: Way) {
        self.fill_in(way).await;
        self.click("#pay").await;
        self.until_payable(way).await;
    }

    async fn until_payable(&self, way: Way) {
        match way {
            SmartPay => {
                self.until("payable", "document.querySelector('apolopay-button > button')")
                    .await
            }
            ApplePay | GooglePay => {
                self.until("at the provider", "document.body.className === 'provider'")
                    .await
            }
        }
    }

    /// Plays the buyer's part at the provider, which then sends its webhook.
    async fn act(&self, way: Way, outcome: &str, webhook: &str) {
        let prefix = if way == SmartPay { "smartpay-" } else { "" };
        if way == SmartPay {
            self.click("apolopay-button > button").await;
        }
        self.choose(&format!("{prefix}webhook"), webhook).await;
        self.click(&format!("button[value={outcome}]")).await;
    }

    /// Waits until the page shows a status; returns the page's text.
    async fn shows(&self, status: &str) -> String {
        self.until(
            status,
            &format!("document.querySelector('#payment[data-status={status}]:not([hidden])')"),
        )
        .await;
        self.text("#payment").await
    }

    /// The provider's payments of the order in this browser's storage, and the number of create calls.
    async fn payments(&self, way: Way) -> (Vec<Payment>, usize) {
        let order = self.run("return JSON.parse(localStorage.checkout).order").await;
        let order = order.as_str().unwrap();
        let control = control().await;
        let payments = control.payments(way.provider(), order).await.unwrap();
        (
            payments,
            control.calls(way.provider(), order).await.unwrap().calls.len(),
        )
    }

    /// Our payment id on the page.
    async fn id(&self) -> String {
        self.until("an id", "new URLSearchParams(location.search).get('payment')")
            .await;
        let id = self
            .run("return new URLSearchParams(location.search).get('payment')")
            .await;
        id.as_str().unwrap().to_owned()
    }

    async fn console(&self) -> Vec<String> {
        self.browser.console().await.unwrap()
    }

    /// Ends a test; the console may contain only these messages.
    async fn quiet_but(self, expected: &[&str]) {
        let said = self.console().await;
        let unexpected: Vec<_> = said
            .iter()
            .filter(|line| !expected.iter().any(|expected| line.contains(expected)))
            .collect();
        assert!(unexpected.is_empty(), "{unexpected:#?}");
    }

    async fn quiet(self) {
        self.quiet_but(&[]).await;
    }
}
