//! The functions' runtime of `make dev`: `cargo lambda watch`, behind the gateway.
//!
//! It hands an invocation to an instance of the function, and waits for one where none runs. Its own routes are not
//! used: it never answers a path that it does not know.

use std::time::Duration;

use axum::body::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::Client;

use super::Error;
use super::build::{Binaries, tool, workspace};
use super::gateway::{Failure, Invoke};
use super::http::{self, until_listening};
use super::invocations;
use super::process::{Tethered, command, lone_command};
use super::settings::{Function, Variables};

const PATIENCE: Duration = Duration::from_secs(30);
/// For a function to start: a busy machine that builds meanwhile needs long.
const START_LIMIT: Duration = Duration::from_secs(60);
/// More than any function has on AWS: whoever invokes one has a limit of its own.
const LIMIT: Duration = Duration::from_secs(70);

/// A running `cargo lambda watch`. It ends when this is dropped.
#[derive(Debug)]
pub struct CargoLambda {
    process: Tethered,
    url: String,
}

impl CargoLambda {
    /// Starts one, to which functions [attach](CargoLambda::attach).
    ///
    /// # Errors
    /// When it does not listen in time.
    pub async fn start(binaries: &Binaries, port: u16) -> Result<Self, Error> {
        let mut watch = command(binaries, tool("cargo-lambda")?)?;
        watch
            .args(["lambda", "watch", "--only-lambda-apis", "--invoke-address", "127.0.0.1"])
            .args(["--invoke-port", &port.to_string()])
            .current_dir(workspace());
        let process = Tethered::start("the functions' runtime (cargo lambda watch)", watch)?;
        until_listening(&process, port, PATIENCE).await?;
        Ok(Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
        })
    }

    /// What invokes the functions that are attached.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub fn functions(&self) -> Result<impl Invoke + use<>, Error> {
        Ok(Attached {
            http: http::client()?,
            url: self.url.clone(),
        })
    }

    /// Starts an instance of a function with nothing but `environment`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn attach(&self, binaries: &Binaries, function: &Function, environment: &Variables) -> Result<Tethered, Error> {
        let mut instance = lone_command(binaries, binaries.path(function.name)?)?;
        instance
            .env_clear()
            .envs(environment)
            .env("AWS_LAMBDA_RUNTIME_API", format!("{}/.rt/{}", self.url, function.name))
            .env("AWS_LAMBDA_FUNCTION_NAME", function.name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256");
        Tethered::start(function.name, instance)
    }

    /// An error if it has ended.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.process.check()
    }
}

/// Waits for the line that a function writes when it goes to work.
pub(super) async fn ready(instance: &Tethered) -> Result<(), Error> {
    instance.logged(r#""message":"ready""#, START_LIMIT).await
}

#[derive(Debug)]
struct Attached {
    http: Client,
    url: String,
}

impl Invoke for Attached {
    fn invoke(&self, function: &str, event: Bytes) -> BoxFuture<'_, Result<Bytes, Failure>> {
        let request = self.http.post(format!("{}{}", self.url, invocations::path(function)));
        let request = request.timeout(LIMIT).body(event);
        async {
            let failed = |error: reqwest::Error| match error.is_timeout() {
                true => Failure::TimedOut,
                false => Failure::NoAnswer(error.to_string()),
            };
            let answer = request.send().await.map_err(failed)?;
            let is_response = answer.status().is_success();
            let body = answer.bytes().await.map_err(failed)?;
            if is_response {
                Ok(body)
            } else {
                Err(Failure::Reported(body))
            }
        }
        .boxed()
    }
}
