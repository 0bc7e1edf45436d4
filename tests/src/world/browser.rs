//! A headless Chromium, driven over WebDriver.
//!
//! The few commands of the protocol that are needed are made here. Of the kept clients one turns on a feature of serde_json
//! that would change what the functions built beside it write (thirtyfour), and the other needs a second, old `http`
//! (fantoccini).

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

const PATIENCE: Duration = Duration::from_secs(60);
/// What WebDriver calls the member that holds an element's id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Headless, for the project's own pages only, and so without a sandbox, which root cannot have; it asks nobody for
/// anything.
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

/// A running browser with one session. It ends when this is dropped, and when this process ends.
#[derive(Debug)]
pub struct Browser {
    session: String,
    http: Client,
    _driver: Tethered,
}

/// The browser did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// The driver does not answer.
    #[error("the browser's driver does not answer")]
    Gone(#[from] reqwest::Error),
    /// It says why not.
    #[error("{command}: {message}")]
    Refused {
        /// What it was told.
        command: String,
        /// Its words.
        message: String,
    },
}

impl Browser {
    /// Starts one, with its files in `directory`; none where Chromium and its driver are neither on the path nor where
    /// `make` puts them.
    ///
    /// # Errors
    /// When it is there and does not start.
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
        until_healthy(&driver, &format!("{url}/status"), PATIENCE).await?;
        let http = client_without_connections()?;
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": chromium, "args": ARGUMENTS },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let started = ask(&http, Method::POST, &format!("{url}/session"), &wanted).await;
        let session = started.map_err(|error| driver.late(&error.to_string()))?;
        let id = session.get("sessionId").and_then(Value::as_str).unwrap_or_default();
        Ok(Some(Self {
            session: format!("{url}/session/{id}"),
            http,
            _driver: driver,
        }))
    }

    /// Opens an address, and waits until it is loaded.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn go(&self, url: &str) -> Result<(), BrowserError> {
        self.post("url", &json!({ "url": url })).await.map(drop)
    }

    /// Goes back, or loads the page anew: `back` or `refresh`.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn turn(&self, how: &str) -> Result<(), BrowserError> {
        self.post(how, &json!({})).await.map(drop)
    }

    /// Runs the body of a function in the page, and gives what it returns; a promise is waited for.
    ///
    /// # Errors
    /// What it throws.
    pub async fn run(&self, script: &str, arguments: &[Value]) -> Result<Value, BrowserError> {
        self.post("execute/sync", &json!({ "script": script, "args": arguments }))
            .await
    }

    /// Clicks an element as a person does: it must be there to be seen and hit.
    ///
    /// # Errors
    /// When it is not.
    pub async fn click(&self, selector: &str) -> Result<(), BrowserError> {
        let id = self.element(selector).await?;
        self.post(&format!("element/{id}/click"), &json!({})).await.map(drop)
    }

    /// Types into an element, after what stands there.
    ///
    /// # Errors
    /// When it cannot be typed into.
    pub async fn write(&self, selector: &str, text: &str) -> Result<(), BrowserError> {
        let id = self.element(selector).await?;
        self.post(&format!("element/{id}/value"), &json!({ "text": text }))
            .await
            .map(drop)
    }

    /// Presses keys one after the other, wherever the focus is. WebDriver has characters for those without one.
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

    /// Opens another window, goes on there and closes the one before.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn reopen(&self) -> Result<(), BrowserError> {
        let opened = self.post("window/new", &json!({ "type": "tab" })).await?;
        ask(
            &self.http,
            Method::DELETE,
            &format!("{}/window", self.session),
            &Value::Null,
        )
        .await?;
        let handle = opened.get("handle").cloned().unwrap_or_default();
        self.post("window", &json!({ "handle": handle })).await.map(drop)
    }

    /// A command of Chromium's own protocol.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Result<Value, BrowserError> {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
            .await
    }

    /// What has been written to the console since the last time, with what breaks the page's policy.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn console(&self) -> Result<Vec<String>, BrowserError> {
        let entries = self.post("se/log", &json!({ "type": "browser" })).await?;
        let entries = entries.as_array().into_iter().flatten();
        let texts = entries.filter_map(|entry| entry.get("message")?.as_str());
        Ok(texts.map(str::to_owned).collect())
    }

    /// The whole page as a PNG.
    ///
    /// # Errors
    /// When the browser cannot.
    pub async fn picture(&self) -> Result<Vec<u8>, BrowserError> {
        let whole = json!({ "format": "png", "captureBeyondViewport": true });
        let picture = self.devtools("Page.captureScreenshot", whole).await?;
        let data = picture.get("data").and_then(Value::as_str).unwrap_or_default();
        Ok(STANDARD.decode(data).unwrap_or_default())
    }

    async fn element(&self, selector: &str) -> Result<String, BrowserError> {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.post("element", &wanted).await?;
        let id = found.get(ELEMENT).and_then(Value::as_str);
        Ok(id.unwrap_or_default().to_owned())
    }

    async fn post(&self, command: &str, body: &Value) -> Result<Value, BrowserError> {
        ask(&self.http, Method::POST, &format!("{}/{command}", self.session), body).await
    }
}

async fn ask(http: &Client, method: Method, url: &str, body: &Value) -> Result<Value, BrowserError> {
    let request = http.request(method, url).timeout(PATIENCE);
    let request = if body.is_null() { request } else { request.json(body) };
    let answer = request.send().await?;
    let status = answer.status();
    let mut answer: Value = answer.json().await?;
    let value = answer.get_mut("value").map(Value::take).unwrap_or_default();
    if status.is_success() {
        return Ok(value);
    }
    let message = value.get("message").and_then(Value::as_str).unwrap_or_default();
    Err(BrowserError::Refused {
        command: format!("{} {body}", url.rsplit('/').next().unwrap_or_default()),
        message: message.lines().next().unwrap_or_default().to_owned(),
    })
}

/// Where a program is: where `make` puts it, or on the path.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(workspace().join(".tools/chromium"))
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
