//! The gateway in front of the functions: cargo-lambda's server, with the routes of the root manifest.

use std::process::Command;
use std::time::Duration;

use reqwest::Client;
use serde_json::Value;

use super::Error;
use super::build::{Binaries, set_by_cargo, tool, workspace};
use super::http::{self, until_listening};
use super::process::{Output, Tethered, command};
use super::settings::{Function, Variables};

const PATIENCE: Duration = Duration::from_secs(30);
/// How many instances of a function `make dev` runs at most: with one, no race ever shows.
const CONCURRENCY: &str = "10";

/// A running gateway. It ends when this is dropped.
#[derive(Debug)]
pub struct Front {
    /// The process, to see whether it still runs.
    pub process: Tethered,
    url: String,
}

impl Front {
    /// A gateway that starts the functions itself, on their first request, and again when their source changes.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub async fn watching(binaries: &Binaries, port: u16, environment: &Variables) -> Result<Self, Error> {
        let mut watch = watch(binaries, port)?;
        watch.args(["--concurrency", CONCURRENCY, "--quiet"]).envs(environment);
        if std::env::var_os("RUST_LOG").is_none() {
            // The gateway's own words for every instance that it starts; the functions do not read this.
            watch.env("RUST_LOG", "error");
        }
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(set_by_cargo) {
                watch.env_remove(name);
            }
        }
        Self::start(watch, port, Output::Shown).await
    }

    /// A gateway that waits for functions to [attach](Front::attach).
    ///
    /// A request for a function of which no instance runs waits for one.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub async fn waiting(binaries: &Binaries, port: u16) -> Result<Self, Error> {
        let mut watch = watch(binaries, port)?;
        watch.arg("--only-lambda-apis");
        Self::start(watch, port, Output::Kept).await
    }

    async fn start(watch: Command, port: u16, output: Output) -> Result<Self, Error> {
        let process = Tethered::start("the functions' gateway (cargo lambda watch)", watch, output)?;
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
        Tethered::start(function.name, instance, Output::Kept)
    }
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

fn watch(binaries: &Binaries, port: u16) -> Result<Command, Error> {
    let mut watch = command(binaries, tool("cargo-lambda")?)?;
    watch
        .args([
            "lambda",
            "watch",
            "--invoke-address",
            "127.0.0.1",
            "--invoke-port",
            &port.to_string(),
        ])
        .current_dir(workspace());
    Ok(watch)
}
