//! The functions' runtime in `make dev`: `cargo lambda watch`, behind the gateway.
//!
//! It passes an invocation to an instance of the function, and waits for one if none runs. Its own routes are not used,
//! since it never responds to an unknown path.

use std::path::PathBuf;
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

/// How long the runtime may take to listen.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
/// How long a function may take to start, on a busy machine that builds meanwhile.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long an invocation may take: more than any function's time limit, since each caller has its own.
const INVOKE_LIMIT: Duration = Duration::from_secs(70);

/// A running `cargo lambda watch`. It ends when this is dropped.
#[derive(Debug)]
pub struct CargoLambda {
    process: Tethered,
    url: String,
    logs: Option<PathBuf>,
}

impl CargoLambda {
    /// Starts it without functions; [`CargoLambda::attach`] adds them.
    ///
    /// # Errors
    /// If it does not listen in time.
    pub async fn start(binaries: &Binaries, port: u16) -> Result<Self, Error> {
        let mut watch = command(binaries, tool("cargo-lambda")?)?;
        watch
            .args(["lambda", "watch", "--only-lambda-apis", "--invoke-address", "127.0.0.1"])
            .args(["--invoke-port", &port.to_string()])
            .current_dir(workspace());
        let process = Tethered::start("the functions' runtime (cargo lambda watch)", watch)?;
        until_listening(&process, port, LISTEN_LIMIT).await?;
        Ok(Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
            logs: None,
        })
    }

    /// Appends the output of each instance that is attached from now on to `<function>.log` in a folder, unchanged.
    #[must_use]
    pub(super) fn with_logs(self, folder: PathBuf) -> Self {
        Self {
            logs: Some(folder),
            ..self
        }
    }

    /// Invokes the attached functions.
    ///
    /// # Errors
    /// If no HTTP client can be created.
    pub fn functions(&self) -> Result<impl Invoke + use<>, Error> {
        Ok(Attached {
            http: http::client()?,
            url: self.url.clone(),
        })
    }

    /// Starts an instance of a function with only the variables of `environment`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn attach(&self, binaries: &Binaries, function: &Function, environment: &Variables) -> Result<Tethered, Error> {
        let mut instance = lone_command(binaries, binaries.path(function.name)?)?;
        instance
            .env_clear()
            .envs(environment)
            .env("AWS_LAMBDA_RUNTIME_API", format!("{}/.rt/{}", self.url, function.name))
            .env("AWS_LAMBDA_FUNCTION_NAME", function.name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256");
        let instance = Tethered::start(function.name, instance)?;
        if let Some(folder) = &self.logs {
            instance.append_to(&folder.join(format!("{}.log", function.name)))?;
        }
        Ok(instance)
    }

    /// Fails if it has ended.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.process.check()
    }
}

/// Waits until a function logs that it is ready.
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
        let request = request.timeout(INVOKE_LIMIT).body(event);
        async {
            let failed = |error: reqwest::Error| match error.is_timeout() {
                true => Failure::TimedOut,
                false => Failure::NoResponse(error.to_string()),
            };
            let response = request.send().await.map_err(failed)?;
            let is_success = response.status().is_success();
            let body = response.bytes().await.map_err(failed)?;
            if is_success {
                Ok(body)
            } else {
                Err(Failure::Reported(body))
            }
        }
        .boxed()
    }
}
