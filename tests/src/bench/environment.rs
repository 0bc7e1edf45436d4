//! A measured execution environment: a process started as in Lambda, without a gateway.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::Failure;
use super::backends::Event;
use super::contestants::{Contestant, Job};
use super::quota::Quota;
use crate::world::runtime::{Outcome, RuntimeApi};
use payment_functions_local::Variables;
use payment_functions_local::payload;

/// Longer than anything takes, on the slowest machine with the smallest quota.
pub const WAIT_LIMIT: Duration = Duration::from_secs(120);

/// A running process. It is killed when this is dropped.
pub struct Environment<'a> {
    contestant: &'a Contestant,
    api: RuntimeApi,
    child: Child,
    started: Instant,
}

/// Sets a command's environment variables as in Lambda, except for the Runtime API's address, and discards its output.
pub fn prepare(command: &mut Command, contestant: &Contestant, variables: &Variables) {
    let name = contestant.job.function();
    command
        .current_dir(&contestant.folder)
        .env_clear()
        .envs(variables)
        .envs(contestant.variables.iter().map(|(name, value)| (name, value)))
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("AWS_LAMBDA_FUNCTION_NAME", name)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}"))
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "bench")
        .env("LAMBDA_TASK_ROOT", &contestant.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
}

/// Asks a process to exit, and waits until it has.
pub async fn terminate(child: &mut Child) -> std::io::Result<()> {
    let pid = child.id().unwrap_or_default().to_string();
    Command::new("kill").arg(pid).status().await?;
    timeout(WAIT_LIMIT, child.wait()).await??;
    Ok(())
}

impl<'a> Environment<'a> {
    /// Starts a contestant, with a CPU quota if there is one.
    pub async fn start(
        contestant: &'a Contestant,
        variables: &Variables,
        quota: Option<&Quota>,
    ) -> Result<Self, Failure> {
        let name = contestant.job.function();
        let api = RuntimeApi::start(format!("arn:aws:lambda:us-east-1:123456789012:function:{name}")).await?;
        let mut command = match quota {
            None => Command::new(&contestant.program),
            // The shell moves itself into the control group and then becomes the program.
            Some(quota) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
                shell.arg(quota.processes()).arg(&contestant.program);
                shell
            }
        };
        prepare(&mut command, contestant, variables);
        command
            .args(&contestant.arguments)
            .env("AWS_LAMBDA_RUNTIME_API", api.address());
        let started = Instant::now();
        let child = command
            .spawn()
            .map_err(|error| Failure(format!("{contestant}: {error}")))?;
        Ok(Self {
            contestant,
            api,
            child,
            started,
        })
    }

    /// The time from the start of the process until it first polls for an invocation.
    pub async fn ready(&self) -> Result<Duration, Failure> {
        match timeout(WAIT_LIMIT, self.api.first_poll()).await {
            Ok(Some(time)) => Ok(time.saturating_duration_since(self.started)),
            Ok(None) | Err(_) => Err(Failure(format!(
                "{}: it does not poll for invocations",
                self.contestant
            ))),
        }
    }

    /// Invokes it with an event, and returns when the response came.
    ///
    /// # Errors
    /// When there is no response, or its status is not the event's.
    pub async fn invoke(&self, event: Event) -> Result<Instant, Failure> {
        let failed = |problem: String| Failure(format!("{}: {problem}", self.contestant));
        let progress = self.api.put(event.bytes, WAIT_LIMIT);
        let response = match timeout(WAIT_LIMIT, progress.outcome).await {
            Ok(Ok(Outcome::Response(response))) => response,
            Ok(Ok(Outcome::Error(error))) => return Err(failed(error.to_string())),
            Ok(Err(_)) | Err(_) => return Err(failed("no response".to_owned())),
        };
        let at = Instant::now();
        let response = payload::parse_response(&response).ok_or_else(|| failed("not an HTTP response".to_owned()))?;
        if response.status == event.status {
            Ok(at)
        } else {
            Err(failed(format!("{} {}", response.status, response.text())))
        }
    }

    /// The time from the start of the process until `then`.
    pub fn since_start(&self, then: Instant) -> Duration {
        then.saturating_duration_since(self.started)
    }

    /// Asks the process to exit, and waits until it has.
    pub async fn end(mut self) -> Result<(), Failure> {
        let ended = terminate(&mut self.child).await;
        ended.map_err(|error| Failure(format!("{}: {error}", self.contestant)))
    }

    /// The contestant's job.
    pub fn job(&self) -> Job {
        self.contestant.job
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }
}
