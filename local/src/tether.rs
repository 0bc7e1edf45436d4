//! Runs a command, and ends it together with all processes that it started.
//!
//! Guarantee: tether ends every process that the command started when its stdin closes (its holder ended, even by
//! SIGKILL), when it gets SIGINT, SIGTERM or SIGHUP, or when the command ends by itself. Processes get SIGTERM first,
//! and SIGKILL after [`GRACE`]. They are found by an environment variable that all of them inherit, so processes in
//! other groups or sessions are ended too, such as the functions under `cargo lambda watch`.
//!
//! With `--alone` as the first argument, only the command itself is ended. This is for commands that start no
//! processes: searching all processes costs more than the whole start of a function.
//!
//! Any byte on stdin kills the command itself at once.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, Signal, System, UpdateKind};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// How long processes may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// How long SIGKILL may take, if a process is blocked in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The option for a command that starts no processes.
pub(super) const ALONE: &str = "--alone";

/// Runs the command. Returns its exit code, or success if it was ended on request.
pub async fn tether(command: impl IntoIterator<Item = OsString>) -> ExitCode {
    match run(command).await {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "tether: {error}");
            ExitCode::from(127)
        }
    }
}

async fn run(command: impl IntoIterator<Item = OsString>) -> std::io::Result<ExitCode> {
    let mut command = command.into_iter().peekable();
    let is_alone = command.next_if(|first| first == ALONE).is_some();
    let program = command
        .next()
        .ok_or_else(|| std::io::Error::other("give a command to run"))?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut holder = listen_to_holder();

    let mut system = System::new().map_err(std::io::Error::other)?;
    let mark = format!("TETHER_{}", uuid::Uuid::new_v4().simple());
    let mut child = Command::new(&program)
        .args(command)
        .env(&mark, "1")
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| std::io::Error::other(format!("cannot start {}: {error}", program.display())))?;

    let ended = loop {
        tokio::select! {
            status = child.wait() => break Some(status?),
            message = holder.recv() => match message {
                Some(Kill) => child.start_kill()?,
                None => break None,
            },
            _ = interrupt.recv() => break None,
            _ = terminate.recv() => break None,
            _ = hang_up.recv() => break None,
        }
    };
    if is_alone {
        end_one(&mut system, &mut child).await;
    } else {
        end_all(&mut system, &mark, &mut child).await;
    }
    Ok(ended.map_or(ExitCode::SUCCESS, exit_code))
}

/// The holder's request to kill the command.
struct Kill;

/// Receives the holder's requests until stdin closes.
fn listen_to_holder() -> mpsc::UnboundedReceiver<Kill> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while matches!(std::io::stdin().read(&mut buffer), Ok(read) if read > 0) {
            let _ = sender.send(Kill);
        }
    });
    receiver
}

/// Sends SIGTERM to the command, and SIGKILL if it does not end in time.
async fn end_one(system: &mut System, child: &mut Child) {
    if let (Some(pid), Ok(None)) = (child.id(), child.try_wait()) {
        signal_one(system, pid, Signal::Term);
        if timeout(GRACE, child.wait()).await.is_err() {
            // An error means that it has just ended.
            let _ = child.kill().await;
        }
    }
}

/// Sends SIGTERM to the command, so that it can end its children in order; then SIGTERM to the remaining processes;
/// then SIGKILL, until none is left.
async fn end_all(system: &mut System, mark: &str, child: &mut Child) {
    let started = Instant::now();
    if let Some(pid) = child.id() {
        signal_one(system, pid, Signal::Term);
    }
    while matches!(child.try_wait(), Ok(None)) && started.elapsed() < GRACE / 2 {
        sleep(POLL_INTERVAL).await;
    }
    let mut any_left = signal_marked(system, mark, Signal::Term);
    while any_left && started.elapsed() < GRACE + KILL_LIMIT {
        sleep(POLL_INTERVAL).await;
        // Reaped, since a zombie would still count as a process.
        let _ = child.try_wait();
        any_left = signal_marked(system, mark, (started.elapsed() > GRACE).then_some(Signal::Kill));
    }
}

fn signal_one(system: &mut System, pid: u32, signal: Signal) {
    let pid = Pid::from_u32(pid);
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), true);
    if let Some(process) = system.process(pid) {
        process.kill_with(signal);
    }
}

/// Sends a signal to every process whose environment has `mark`. Returns whether there was one.
fn signal_marked(system: &mut System, mark: &str, signal: impl Into<Option<Signal>>) -> bool {
    let signal = signal.into();
    let entry = format!("{mark}=1");
    system.refresh_processes_specifics(
        ProcessesToUpdate::All,
        true,
        ProcessRefreshKind::nothing()
            .with_environ(UpdateKind::Always)
            .without_tasks(),
    );
    let mut any = false;
    for process in system.processes().values() {
        if process.environ().iter().any(|variable| variable == entry.as_str()) {
            any = true;
            if let Some(signal) = signal {
                process.kill_with(signal);
            }
        }
    }
    any
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128_i32.saturating_add(signal)))
        .and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}
