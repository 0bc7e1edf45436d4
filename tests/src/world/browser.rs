//! A headless Chromium, controlled over WebDriver.
//!
//! This module implements the few commands that are needed. Of the maintained client crates, thirtyfour enables a
//! feature of serde_json that would change the output of functions built in the same workspace, and fantoccini needs an
//! old version of `http`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use payment_functions_local::http::{client_without_connections, until_healthy};
use payment_functions_local::process::{Tethered, command, empty_folder};
use payment_functions_local::{Error, free_port, workspace};

use super::World;

/// For a command of the driver.
const WAIT_LIMIT: Duration = Duration::from_secs(60);
/// WebDriver's member name for an element's id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Headless and without network calls of its own. It loads only the project's pages, so it needs no sandbox, which root
/// could not use.
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
];

/// A running browser with one session. It ends when this is dropped or this process ends.
#[derive(Debug)]
pub struct Browser {
    session: String,
    http: Client,
    _driver: Tethered,
}

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// The driver does not respond.
    #[error("the browser's driver does not respond")]
    Gone(#[from] reqwest::Error),
    /// The driver rejected the command.
    #[error("{command}: {message}")]
    Refused {
        /// The command and its parameters.
        command: String,
        /// The driver's error message.
        message: String,
    },
}

impl Browser {
    /// Starts a browser with its files in `directory`. `None` if Chromium and its driver are neither on the path nor
    /// installed by `make`.
    ///
    /// # Errors
    /// When they are installed but do not start.
    pub async fn start(world: &World, directory: &Path) -> Result<Option<Self>, Error> {
        let (Some(chromium), Some(chromedriver)) = (program("chromium"), program("chromedriver")) else {
            return Ok(None);
        };
        empty_folder(directory)?;
        let port = free_port()?;
        let mut driver = command(world.binaries(), chromedriver)?;
        driver.arg(format!("--port={port}")).env("TMPDIR", directory);
        let driver = Tethered::start("the browser's driver", driver)?;
        let url = format!("http://127.0.0.1:{port}");
        until_healthy(&driver, &format!("{url}/status"), WAIT_LIMIT).await?;
        let http = client_without_connections()?;
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": chromium, "args": ARGUMENTS },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let started = send(&http, Method::POST, &format!("{url}/session"), &wanted).await;
        let session = started.map_err(|error| driver.timed_out(&error.to_string()))?;
        let id = session.get("sessionId").and_then(Value::as_str).unwrap_or_default();
        Ok(Some(Self {
            session: format!("{url}/session/{id}"),
            http,
            _driver: driver,
        }))
    }

    /// Opens a URL and waits until the page has loaded.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn go(&self, url: &str) -> Result<(), BrowserError> {
        self.post("url", &json!({ "url": url })).await.map(drop)
    }

    /// Goes back or reloads the page: `back` or `refresh`.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn navigate(&self, command: &str) -> Result<(), BrowserError> {
        self.post(command, &json!({})).await.map(drop)
    }

    /// Runs a function body in the page and returns its result; a promise is awaited.
    ///
    /// # Errors
    /// When it throws.
    pub async fn run(&self, script: &str, arguments: &[Value]) -> Result<Value, BrowserError> {
        self.post("execute/sync", &json!({ "script": script, "args": arguments }))
            .await
    }

    /// Clicks an element as a person does.
    ///
    /// # Errors
    /// When it is not visible or not clickable.
    pub async fn click(&self, selector: &str) -> Result<(), BrowserError> {
        let id = self.element(selector).await?;
        self.post(&format!("element/{id}/click"), &json!({})).await.map(drop)
    }

    /// Types into an element, after its current text.
    ///
    /// # Errors
    /// When it cannot be typed into.
    pub async fn write(&self, selector: &str, text: &str) -> Result<(), BrowserError> {
        let id = self.element(selector).await?;
        self.post(&format!("element/{id}/value"), &json!({ "text": text }))
            .await
            .map(drop)
    }

    /// Presses keys one after the other in the focused element. WebDriver defines characters for special keys.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn press(&self, keys: &str) -> Result<(), BrowserError> {
        let strokes: Vec<_> = keys
            .chars()
            .flat_map(|key| {
                [
                    json!({ "type": "keyDown", "value": key }),
                    json!({ "type": "keyUp", "value": key }),
                ]
            })
            .collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] });
        self.post("actions", &actions).await.map(drop)
    }

    /// Opens another tab, closes the current one, and continues in the new one.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn reopen(&self) -> Result<(), BrowserError> {
        let opened = self.post("window/new", &json!({ "type": "tab" })).await?;
        send(
            &self.http,
            Method::DELETE,
            &format!("{}/window", self.session),
            &Value::Null,
        )
        .await?;
        let handle = opened.get("handle").cloned().unwrap_or_default();
        self.post("window", &json!({ "handle": handle })).await.map(drop)
    }

    /// Sends a command of the Chrome DevTools Protocol.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Result<Value, BrowserError> {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
            .await
    }

    /// The console messages since the last call, including violations of the content security policy.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn console(&self) -> Result<Vec<String>, BrowserError> {
        let entries = self.post("se/log", &json!({ "type": "browser" })).await?;
        let entries = entries.as_array().into_iter().flatten();
        let texts = entries.filter_map(|entry| entry.get("message")?.as_str());
        Ok(texts.map(str::to_owned).collect())
    }

    /// A screenshot of the whole page, as a PNG.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn screenshot(&self) -> Result<Vec<u8>, BrowserError> {
        let whole = json!({ "format": "png", "captureBeyondViewport": true });
        let screenshot = self.devtools("Page.captureScreenshot", whole).await?;
        let data = screenshot.get("data").and_then(Value::as_str).unwrap_or_default();
        Ok(STANDARD.decode(data).unwrap_or_default())
    }

    async fn element(&self, selector: &str) -> Result<String, BrowserError> {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.post("element", &wanted).await?;
        let id = found.get(ELEMENT).and_then(Value::as_str);
        Ok(id.unwrap_or_default().to_owned())
    }

    async fn post(&self, command: &str, body: &Value) -> Result<Value, BrowserError> {
        send(&self.http, Method::POST, &format!("{}/{command}", self.session), body).await
    }
}

async fn send(http: &Client, method: Method, url: &str, parameters: &Value) -> Result<Value, BrowserError> {
    let request = http.request(method, url).timeout(WAIT_LIMIT);
    let request = if parameters.is_null() {
        request
    } else {
        request.json(parameters)
    };
    let response = request.send().await?;
    let status = response.status();
    let mut body: Value = response.json().await?;
    let value = body.get_mut("value").map(Value::take).unwrap_or_default();
    if status.is_success() {
        return Ok(value);
    }
    let message = value.get("message").and_then(Value::as_str).unwrap_or_default();
    Err(BrowserError::Refused {
        command: format!("{} {parameters}", url.rsplit('/').next().unwrap_or_default()),
        message: message.lines().next().unwrap_or_default().to_owned(),
    })
}

/// The path of a program, as installed by `make` or found on the path.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(workspace().join(".tools/chromium"))
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
