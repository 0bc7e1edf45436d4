//! One function in an execution environment as in Lambda: the real binary, and the Lambda Runtime API served by this
//! process, without a gateway.
//!
//! Guarantees: the process gets one invocation at a time; further ones wait. Waiting for a response ends when the
//! process exits, and a response sent before the exit counts. An invocation that exceeds its time limit kills the
//! process.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use axum::body::Bytes;
use payment_functions_local::payload::{self, HttpResponse};
use payment_functions_local::process::{Tethered, lone_command};
use payment_functions_local::settings::change;
use payment_functions_local::{Binaries, Change, Error, Function, Variables};
use serde_json::Value;

use super::runtime::{Outcome, Progress, RuntimeApi};

/// Until a process polls for its first invocation. Lambda allows ten seconds before it restarts the process; a machine
/// that is compiling may need more.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Until a written log line is read.
const LOG_LIMIT: Duration = Duration::from_secs(30);

/// As in template.yaml.
const MEMORY_MB: &str = "256";

/// A function in its own execution environment. Dropping it ends the process and blocks until it has exited; call
/// [`Lambda::kill`] first where a thread must not block.
#[derive(Debug)]
pub struct Lambda {
    binaries: Binaries,
    program: PathBuf,
    function: &'static Function,
    variables: Variables,
    time_limit: Duration,
    environment: Environment,
    invocation: tokio::sync::Mutex<()>,
}

/// A process with its Runtime API. Fields are dropped in this order.
#[derive(Debug)]
struct Environment {
    process: Tethered,
    api: RuntimeApi,
}

/// Why an invocation has no response.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The function reported an invocation or initialisation error: `{"errorType", "errorMessage", …}`.
    #[error("the function failed: {0}")]
    Failed(Value),
    /// The process exited.
    #[error("the function died ({status})\n{log}")]
    Died {
        /// Its exit code, or 128 plus the signal number: 134 after an abort, 137 after a kill.
        status: ExitStatus,
        /// Its whole log.
        log: String,
    },
    /// The invocation exceeded its time limit, and the process was killed.
    #[error("the function timed out\n{log}")]
    TimedOut {
        /// Its whole log.
        log: String,
    },
    /// The response is not an HTTP response.
    #[error("not an HTTP response: {0}")]
    Unreadable(String),
}

impl Lambda {
    /// Starts a function from its binary `program`, with only `variables` and those that Lambda itself sets.
    ///
    /// Does not wait until the function is ready: an invocation does.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(
        binaries: &Binaries,
        program: &Path,
        function: &'static Function,
        variables: Variables,
    ) -> Result<Self, Error> {
        Ok(Self {
            environment: Environment::start(binaries, program, function, &variables).await?,
            binaries: binaries.clone(),
            program: program.to_owned(),
            function,
            variables,
            time_limit: function.time_limit,
            invocation: tokio::sync::Mutex::default(),
        })
    }

    /// Replaces the time limit of an invocation, which is template.yaml's by default.
    #[must_use]
    pub fn with_time_limit(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }

    /// Ends the process, if it is running, and starts another one with changed variables: a value sets a variable,
    /// `None` removes it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn restart(&mut self, changes: &[Change<'_>]) -> Result<(), Error> {
        change(&mut self.variables, changes);
        self.environment = Environment::start(&self.binaries, &self.program, self.function, &self.variables).await?;
        Ok(())
    }

    /// Invokes the function with an event, after any invocation in progress, and waits for its response.
    ///
    /// # Errors
    /// [`InvokeError`] says why there is none. After the process has exited, every call fails until
    /// [`Lambda::restart`].
    pub async fn invoke(&self, event: impl Into<Bytes>) -> Result<Bytes, InvokeError> {
        let _invocation = self.invocation.lock().await;
        match self.environment.invoke(event.into(), self.time_limit).await? {
            Outcome::Response(response) => Ok(response),
            Outcome::Error(error) => Err(InvokeError::Failed(error)),
        }
    }

    /// Makes an HTTP request to the function, as API Gateway or its function URL does (payload 2.0).
    ///
    /// # Errors
    /// As [`Lambda::invoke`], and when the response is not an HTTP response.
    pub async fn http(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<HttpResponse, InvokeError> {
        let event = payload::event(self.function.route, method, path, headers, body);
        let response = self.invoke(event.to_string()).await?;
        payload::parse_response(&response)
            .ok_or_else(|| InvokeError::Unreadable(String::from_utf8_lossy(&response).into_owned()))
    }

    /// Waits until the function has polled for its first invocation, or has exited.
    pub async fn ready(&self) {
        tokio::select! {
            _ = self.environment.api.first_poll() => {}
            _ = self.environment.process.end() => {}
        }
    }

    /// The process's log.
    #[must_use]
    pub fn log(&self) -> String {
        self.environment.process.log()
    }

    /// Waits until the process has logged a line that contains `text`. Lines are read with a delay.
    ///
    /// # Errors
    /// When there is no such line within half a minute.
    pub async fn logged(&self, text: &str) -> Result<(), Error> {
        self.environment.process.logged(text, LOG_LIMIT).await
    }

    /// Waits until the function has tried to open its connections and to fetch its secrets.
    ///
    /// # Errors
    /// When it exits instead.
    pub async fn warmed_up(&self) -> Result<(), Error> {
        self.environment
            .process
            .logged(r#""message":"ready""#, START_LIMIT)
            .await
    }

    /// Signals the process to exit, without waiting, so that several can exit at once.
    pub fn let_go(&self) {
        self.environment.process.request_end();
    }

    /// The exit status, if the process has exited: as in [`InvokeError::Died`].
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        self.environment.process.ended()
    }

    /// Kills the process with SIGKILL and waits until it has exited, which ends an invocation in progress.
    pub async fn kill(&self) -> ExitStatus {
        self.environment.process.kill();
        self.environment.process.end().await
    }
}

impl Environment {
    async fn start(
        binaries: &Binaries,
        program: &Path,
        function: &Function,
        variables: &Variables,
    ) -> Result<Self, Error> {
        let name = function.name;
        let region = variables.get("AWS_REGION").map_or("us-east-1", String::as_str);
        let api = RuntimeApi::start(format!("arn:aws:lambda:{region}:123456789012:function:{name}")).await?;
        let mut process = lone_command(binaries, program)?;
        process
            .env_clear()
            .envs(variables)
            .env("AWS_LAMBDA_RUNTIME_API", api.address())
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", MEMORY_MB)
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}"))
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "local");
        Ok(Self {
            process: Tethered::start(name, process)?,
            api,
        })
    }

    async fn invoke(&self, event: Bytes, time_limit: Duration) -> Result<Outcome, InvokeError> {
        if let Some(status) = self.process.ended() {
            return Err(self.died(status));
        }
        let Progress { taken, mut outcome } = self.api.put(event, time_limit);
        let deadline = async {
            if tokio::time::timeout(START_LIMIT, taken).await.is_ok() {
                tokio::time::sleep(time_limit).await;
            }
        };
        tokio::select! {
            biased;
            Ok(outcome) = &mut outcome => Ok(outcome),
            status = self.process.end() => {
                self.api.finish_reading().await;
                outcome.try_recv().map_err(|_| self.died(status))
            }
            () = deadline => {
                self.process.kill();
                self.process.end().await;
                Err(InvokeError::TimedOut { log: self.process.log() })
            }
        }
    }

    fn died(&self, status: ExitStatus) -> InvokeError {
        match self.api.init_error() {
            Some(error) => InvokeError::Failed(error),
            None => InvokeError::Died {
                status,
                log: self.process.log(),
            },
        }
    }
}
