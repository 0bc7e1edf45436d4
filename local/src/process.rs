//! A child process on a tether: it ends, with all processes that it started, when its handle is dropped or this process
//! ends.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep};

use super::build::Binaries;
use super::tether::ALONE;
use super::{Error, Log};

const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How many lines of a process's output are kept.
const LINES_KEPT: usize = 20_000;
/// How many of the last lines an error shows.
const LINES_SHOWN: usize = 30;

/// A running command and all processes that it started.
#[derive(Debug)]
pub struct Tethered {
    name: String,
    stdin: Mutex<Option<ChildStdin>>,
    log: Lines,
    status: watch::Receiver<Option<ExitStatus>>,
    waiting: Option<JoinHandle<()>>,
}

/// A command that will run under `tether`. The caller adds arguments and environment.
pub fn command(binaries: &Binaries, program: impl AsRef<OsStr>) -> Result<Command, Error> {
    let mut command = Command::new(binaries.path("tether")?);
    command.arg(program);
    Ok(command)
}

/// A command that starts no processes itself, such as a function. Ending it is cheaper.
///
/// # Errors
/// As [`command`].
pub fn lone_command(binaries: &Binaries, program: impl AsRef<OsStr>) -> Result<Command, Error> {
    let mut command = command(binaries, ALONE)?;
    command.arg(program);
    Ok(command)
}

/// Creates an empty folder, deleting an existing one.
pub fn empty_folder(folder: &Path) -> Result<(), Error> {
    // It may not exist.
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).map_err(|source| Error::Io {
        doing: format!("create {}", folder.display()),
        source,
    })
}

impl Tethered {
    /// Starts a command made by [`command`].
    pub fn start(name: &str, mut command: Command) -> Result<Self, Error> {
        use std::os::unix::process::CommandExt;

        // In its own process group, so that Ctrl-C reaches only this process, which ends its children in order.
        command.process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| Error::Io {
            doing: format!("start {name}"),
            source,
        })?;
        let stdin = Mutex::new(child.stdin.take());
        let log = Lines::default();
        let outputs = [
            child.stdout.take().map(|stdout| log.follow(name, stdout)),
            child.stderr.take().map(|stderr| log.follow(name, stderr)),
        ];
        let (ended, status) = watch::channel(None);
        let waiting = thread::spawn(move || {
            let status = child.wait().unwrap_or_default();
            // No writer outlives the tether, so these threads end too.
            for output in outputs.into_iter().flatten() {
                let _ = output.join();
            }
            ended.send_replace(Some(status));
        });
        Ok(Self {
            name: name.to_owned(),
            stdin,
            log,
            status,
            waiting: Some(waiting),
        })
    }

    /// Writes each further line of output to `log`.
    pub(super) fn show(&self, log: Log) {
        self.log.lock().shown = log;
    }

    /// Appends its whole output to a file, line by line, also what it has written before.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn append_to(&self, path: &Path) -> Result<(), Error> {
        let written = File::options()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| {
                let mut written = self.log.lock();
                for line in &written.lines {
                    file.write_all(format!("{line}\n").as_bytes())?;
                }
                written.file = Some(file);
                Ok(())
            });
        written.map_err(|source| Error::Io {
            doing: format!("write {}", path.display()),
            source,
        })
    }

    /// The output on stdout and stderr.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.last(LINES_KEPT)
    }

    /// The exit status if it has ended: the exit code, or 128 plus the number of the signal, like in a shell. The log
    /// is complete then.
    pub fn ended(&self) -> Option<ExitStatus> {
        *self.status.borrow()
    }

    /// Waits until it ends and returns the status of [`Tethered::ended`].
    pub async fn end(&self) -> ExitStatus {
        let mut status = self.status.clone();
        let status = status.wait_for(Option::is_some).await;
        status.ok().and_then(|status| *status).unwrap_or_default()
    }

    /// Waits until its output contains `text`.
    pub async fn logged(&self, text: &str, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        while !self.log().contains(text) {
            self.check()?;
            if Instant::now() > deadline {
                return Err(self.timed_out(&format!("its output does not contain {text}")));
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Fails with the end of the log if the process has ended.
    pub fn check(&self) -> Result<(), Error> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(Error::Ended {
                what: self.name.clone(),
                status,
                log: self.log.last(LINES_SHOWN),
            }),
        }
    }

    /// An error for something that was not ready in time, with the last observation.
    pub fn timed_out(&self, last: &str) -> Error {
        Error::TimedOut {
            what: self.name.clone(),
            last: last.to_owned(),
            log: self.log.last(LINES_SHOWN),
        }
    }

    /// Requests it to end, without waiting, so that several can end at once.
    pub fn request_end(&self) {
        *self.stdin() = None;
    }

    /// Kills the command with SIGKILL, without waiting.
    pub fn kill(&self) {
        if let Some(stdin) = &mut *self.stdin() {
            // An error means that it has ended already.
            let _ = stdin.write_all(b"k");
        }
    }

    fn stdin(&self) -> MutexGuard<'_, Option<ChildStdin>> {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tethered {
    fn drop(&mut self) {
        self.request_end();
        if let Some(waiting) = self.waiting.take() {
            let _ = waiting.join();
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    lines: VecDeque<String>,
    shown: Log,
    file: Option<File>,
}

impl Lines {
    fn follow(&self, name: &str, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let (log, name) = (self.clone(), name.to_owned());
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                let mut written = log.lock();
                written.shown.output(&name, &line);
                if let Some(file) = &mut written.file {
                    // One call for each line: several instances append to one file.
                    let _ = file.write_all(format!("{line}\n").as_bytes());
                }
                if written.lines.len() == LINES_KEPT {
                    written.lines.pop_front();
                }
                written.lines.push_back(line);
            }
        })
    }

    fn last(&self, count: usize) -> String {
        let written = self.lock();
        let skipped = written.lines.len().saturating_sub(count);
        written
            .lines
            .iter()
            .skip(skipped)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
