//! One execution environment under measurement: a process as Lambda starts it, with nothing between it and the clock.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::Failure;
use super::backends::Event;
use super::contestants::{Contestant, Job};
use super::quota::Quota;
use crate::world::runtime::{Answer, RuntimeApi};
use payment_functions_local::Variables;
use payment_functions_local::payload;

/// Nothing takes longer, on the slowest machine at the smallest quota.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running process. It is killed when this is dropped.
pub struct Environment<'a> {
    contestant: &'a Contestant,
    api: RuntimeApi,
    child: Child,
    started: Instant,
}

/// Gives a command the environment that Lambda gives a function's process, but for the address of the Runtime API, and
/// has nobody read what it writes.
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

/// Asks a process to end, and waits until it has.
pub async fn end(child: &mut Child) -> std::io::Result<()> {
    let pid = child.id().unwrap_or_default().to_string();
    Command::new("kill").arg(pid).status().await?;
    timeout(PATIENCE, child.wait()).await??;
    Ok(())
}

impl<'a> Environment<'a> {
    /// Starts a contestant, under a quota of processor time if there is one.
    pub async fn start(
        contestant: &'a Contestant,
        variables: &Variables,
        quota: Option<&Quota>,
    ) -> Result<Self, Failure> {
        let name = contestant.job.function();
        let api = RuntimeApi::start(format!("arn:aws:lambda:us-east-1:123456789012:function:{name}")).await?;
        let mut command = match quota {
            None => Command::new(&contestant.program),
            // The shell becomes the program once it is where the quota holds.
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

    /// From the start of the process until it first asks for work.
    pub async fn ready(&self) -> Result<Duration, Failure> {
        match timeout(PATIENCE, self.api.asked()).await {
            Ok(Some(asked)) => Ok(asked.saturating_duration_since(self.started)),
            Ok(None) | Err(_) => Err(Failure(format!("{}: it does not ask for work", self.contestant))),
        }
    }

    /// Has it work on an event, which it takes when it next asks for work; tells when the answer came, which must have
    /// the event's status.
    pub async fn invoke(&self, event: Event) -> Result<Instant, Failure> {
        let failed = |words: String| Failure(format!("{}: {words}", self.contestant));
        let progress = self.api.put(event.bytes, PATIENCE);
        let answer = match timeout(PATIENCE, progress.answer).await {
            Ok(Ok(Answer::Response(response))) => response,
            Ok(Ok(Answer::Error(words))) => return Err(failed(words.to_string())),
            Ok(Err(_)) | Err(_) => return Err(failed("no answer".to_owned())),
        };
        let at = Instant::now();
        let answer = payload::answer(&answer).ok_or_else(|| failed("not an HTTP answer".to_owned()))?;
        if answer.status == event.status {
            Ok(at)
        } else {
            Err(failed(format!("{} {}", answer.status, answer.text())))
        }
    }

    /// From the start of the process until `then`.
    pub fn since_start(&self, then: Instant) -> Duration {
        then.saturating_duration_since(self.started)
    }

    /// Asks the process to end, and waits until it has.
    pub async fn end(mut self) -> Result<(), Failure> {
        let ended = end(&mut self.child).await;
        ended.map_err(|error| Failure(format!("{}: {error}", self.contestant)))
    }

    /// What it does.
    pub fn job(&self) -> Job {
        self.contestant.job
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }
}
