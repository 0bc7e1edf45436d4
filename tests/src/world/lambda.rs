//! One function in an execution environment as Lambda gives it: the real binary, and the Lambda Runtime API served from
//! inside this process, with no gateway between.
//!
//! Guarantees: the process gets one invocation at a time, and further ones wait for their turn; waiting for an answer
//! ends when the process does, and what it answered before it died counts; an invocation has its time limit, at whose
//! end the process is killed.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use axum::body::Bytes;
use payment_functions_local::payload::{self, HttpAnswer};
use payment_functions_local::process::{Tethered, lone_command};
use payment_functions_local::settings::change;
use payment_functions_local::{Binaries, Change, Error, Function, Variables};
use serde_json::Value;

use super::runtime::{Answer, Progress, RuntimeApi};

/// For a process to ask for its first invocation. Lambda allows ten seconds before it starts over; a busy machine that
/// builds meanwhile may need more.
const START_LIMIT: Duration = Duration::from_secs(60);

/// For what was written to be read.
const LOG_LIMIT: Duration = Duration::from_secs(30);

/// What template.yaml gives every function.
const MEMORY_MB: &str = "256";

/// A function in an execution environment of its own. Its process ends when this is dropped, which waits for it:
/// [`Lambda::kill`] first where that must not block a thread.
#[derive(Debug)]
pub struct Lambda {
    binaries: Binaries,
    program: PathBuf,
    function: &'static Function,
    variables: Variables,
    time_limit: Duration,
    environment: Environment,
    turn: tokio::sync::Mutex<()>,
}

/// A process with its Runtime API. Fields end in this order.
#[derive(Debug)]
struct Environment {
    process: Tethered,
    api: RuntimeApi,
}

/// Why there is no answer to an invocation.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The function reported an error, to its invocation or to its start: `{"errorType", "errorMessage", …}`.
    #[error("the function failed: {0}")]
    Failed(Value),
    /// The process has ended.
    #[error("the function died ({status})\n{log}")]
    Died {
        /// Its exit code, or 128 and the number of the signal that ended it: 134 after an abort, 137 after a kill.
        status: ExitStatus,
        /// Everything that it wrote.
        log: String,
    },
    /// There was no answer in the function's time limit, and the process was killed.
    #[error("the function did not answer in time\n{log}")]
    TimedOut {
        /// Everything that it wrote.
        log: String,
    },
    /// The answer is not one to an HTTP request.
    #[error("not an HTTP answer: {0}")]
    Unreadable(String),
}

impl Lambda {
    /// Starts a function from its binary `program`, with nothing but `variables` and what Lambda itself sets.
    ///
    /// Does not wait for the function to be ready: an invocation does.
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
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// The same with another limit for each invocation than the one that template.yaml gives the function.
    #[must_use]
    pub fn with_time_limit(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }

    /// Ends the process, if it has not ended, and starts another, with its variables changed: a value sets one, `None`
    /// takes it away.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn restart(&mut self, changes: &[Change<'_>]) -> Result<(), Error> {
        change(&mut self.variables, changes);
        self.environment = Environment::start(&self.binaries, &self.program, self.function, &self.variables).await?;
        Ok(())
    }

    /// Invokes the function with an event, when it is its turn, and waits for its response.
    ///
    /// # Errors
    /// [`NoAnswer`] says why there is none. After a death there is never one again until [`Lambda::restart`].
    pub async fn invoke(&self, event: impl Into<Bytes>) -> Result<Bytes, NoAnswer> {
        let _turn = self.turn.lock().await;
        match self.environment.answer(event.into(), self.time_limit).await? {
            Answer::Response(response) => Ok(response),
            Answer::Error(words) => Err(NoAnswer::Failed(words)),
        }
    }

    /// Makes an HTTP request to the function, as its route at API Gateway or its function URL does (payload 2.0).
    ///
    /// # Errors
    /// As [`Lambda::invoke`], and when the response is not an HTTP answer.
    pub async fn http(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<HttpAnswer, NoAnswer> {
        let event = payload::event(self.function.route, method, path, headers, body);
        let response = self.invoke(event.to_string()).await?;
        payload::answer(&response).ok_or_else(|| NoAnswer::Unreadable(String::from_utf8_lossy(&response).into_owned()))
    }

    /// Waits until the function has asked for its first invocation, or has ended.
    pub async fn ready(&self) {
        tokio::select! {
            _ = self.environment.api.asked() => {}
            _ = self.environment.process.end() => {}
        }
    }

    /// What the process wrote.
    #[must_use]
    pub fn log(&self) -> String {
        self.environment.process.log()
    }

    /// Waits until the process has written a line with these words, which is read some time later.
    ///
    /// # Errors
    /// When it has not, in half a minute.
    pub async fn logged(&self, words: &str) -> Result<(), Error> {
        self.environment.process.logged(words, LOG_LIMIT).await
    }

    /// Waits until the function has opened its connections and fetched its secrets, or has tried to.
    ///
    /// # Errors
    /// When it ends instead.
    pub async fn at_work(&self) -> Result<(), Error> {
        self.environment
            .process
            .logged(r#""message":"ready""#, START_LIMIT)
            .await
    }

    /// Asks the process to end without waiting for it, so that several can end at once.
    pub fn let_go(&self) {
        self.environment.process.let_go();
    }

    /// How the process ended, if it has: as in [`NoAnswer::Died`].
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        self.environment.process.ended()
    }

    /// Kills the process as SIGKILL does, and waits until it is dead. An invocation in progress ends with its death.
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

    async fn answer(&self, event: Bytes, time_limit: Duration) -> Result<Answer, NoAnswer> {
        if let Some(status) = self.process.ended() {
            return Err(self.died(status));
        }
        let Progress { taken, mut answer } = self.api.put(event, time_limit);
        let too_late = async {
            if tokio::time::timeout(START_LIMIT, taken).await.is_ok() {
                tokio::time::sleep(time_limit).await;
            }
        };
        tokio::select! {
            biased;
            Ok(answer) = &mut answer => Ok(answer),
            status = self.process.end() => {
                self.api.drain().await;
                answer.try_recv().map_err(|_| self.died(status))
            }
            () = too_late => {
                self.process.kill();
                self.process.end().await;
                Err(NoAnswer::TimedOut { log: self.process.log() })
            }
        }
    }

    fn died(&self, status: ExitStatus) -> NoAnswer {
        match self.api.failed_start() {
            Some(words) => NoAnswer::Failed(words),
            None => NoAnswer::Died {
                status,
                log: self.process.log(),
            },
        }
    }
}
