//! The gateway in front of the functions: cargo-lambda's server, with the routes of the root manifest.

use std::time::Duration;

use reqwest::Client;
use serde_json::Value;

use super::Error;
use super::build::{Binaries, tool, workspace};
use super::http::{self, until_listening};
use super::process::{Tethered, command};
use super::settings::{Function, Variables};

const PATIENCE: Duration = Duration::from_secs(30);
/// For a function to start: a busy machine that builds meanwhile needs long.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running gateway. It ends when this is dropped.
#[derive(Debug)]
pub struct Front {
    /// The process, to see whether it still runs.
    pub process: Tethered,
    url: String,
}

impl Front {
    /// Starts one, to which functions [attach](Front::attach).
    ///
    /// A request for a function of which no instance runs waits for one.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub async fn start(binaries: &Binaries, port: u16) -> Result<Self, Error> {
        let mut watch = command(binaries, tool("cargo-lambda")?)?;
        watch
            .args(["lambda", "watch", "--only-lambda-apis", "--invoke-address", "127.0.0.1"])
            .args(["--invoke-port", &port.to_string()])
            .current_dir(workspace());
        let process = Tethered::start("the functions' gateway (cargo lambda watch)", watch)?;
        let url = format!("http://127.0.0.1:{port}");
        let front = Self { process, url };
        until_listening(&front.process, port, PATIENCE).await?;
        Ok(front)
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Invoking functions there, past every route.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub fn invocations(&self) -> Result<Invocations, Error> {
        Ok(Invocations {
            http: http::client_without_connections()?,
            url: self.url.clone(),
        })
    }

    /// Starts an instance of a function with nothing but `environment`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn attach(&self, binaries: &Binaries, function: &Function, environment: &Variables) -> Result<Tethered, Error> {
        let mut instance = command(binaries, binaries.path(function.name)?)?;
        instance
            .env_clear()
            .envs(environment)
            .env("AWS_LAMBDA_RUNTIME_API", format!("{}/.rt/{}", self.url, function.name))
            .env("AWS_LAMBDA_FUNCTION_NAME", function.name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256");
        Tethered::start(function.name, instance)
    }
}

/// Waits for the line that a function writes when it goes to work.
pub(super) async fn ready(instance: &Tethered) -> Result<(), Error> {
    instance.logged(r#""message":"ready""#, START_LIMIT).await
}

/// Invoking functions at a gateway, as AWS's own services do.
#[derive(Clone, Debug)]
pub struct Invocations {
    http: Client,
    url: String,
}

impl Invocations {
    /// Invokes a function with an event and waits for its answer.
    ///
    /// # Errors
    /// In the function's words, or why it has none.
    pub async fn invoke(&self, function: &str, event: String, limit: Duration) -> Result<Value, String> {
        let url = format!("{}/2015-03-31/functions/{function}/invocations", self.url);
        let request = self.http.post(url).timeout(limit).body(event);
        let answer = request.send().await.map_err(|_| "it does not answer".to_owned())?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        match answer.get("errorMessage").and_then(Value::as_str) {
            Some(words) => Err(words.to_owned()),
            None if status.is_success() => Ok(answer),
            None => Err(format!("{status} {text}")),
        }
    }
}
