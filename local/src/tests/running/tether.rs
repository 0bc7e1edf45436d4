//! No process outlives its tether: not in another session, not if it ignores SIGTERM, and not if the tether's holder is
//! killed.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sysinfo::{Pid, ProcessStatus, ProcessesToUpdate, Signal, System};

use crate::Binaries;

/// Starts a child in its own session that ignores SIGTERM, and prints the child's process id.
const FAMILY: &str = "import os, signal, time
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(write, b'1')
    time.sleep(600)
os.read(read, 1)
print(pid, flush=True)
time.sleep(600)
";

async fn tether() -> PathBuf {
    let binaries = Binaries::build().await.unwrap();
    binaries.path("tether").unwrap().to_path_buf()
}

fn family(mut command: Command) -> (Child, Pid) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, line.trim().parse().unwrap())
}

fn with_process<T>(pid: Pid, check: impl FnOnce(Option<&sysinfo::Process>) -> T) -> T {
    let mut system = System::new().unwrap();
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), true);
    check(
        system
            .process(pid)
            .filter(|process| process.status() != ProcessStatus::Zombie),
    )
}

fn assert_ends(pid: Pid) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while with_process(pid, |process| process.is_some()) {
        assert!(Instant::now() < deadline, "{pid} still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn tether_ends_all_processes_when_its_stdin_closes() {
    let mut command = Command::new(tether().await);
    command.args(["python3", "-c", FAMILY]);
    let (mut child, grandchild) = family(command);
    assert!(with_process(grandchild, |process| process.is_some()));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(
        with_process(grandchild, |process| process.is_none()),
        "the tether waits until no process is left"
    );
}

#[tokio::test]
async fn tether_ends_all_processes_when_interrupted() {
    let tether = tether().await;
    let families = [Signal::Interrupt, Signal::Term, Signal::Hangup].map(|signal| {
        let mut command = Command::new(&tether);
        command.args(["python3", "-c", FAMILY]);
        let (child, grandchild) = family(command);
        with_process(Pid::from_u32(child.id()), |process| process.unwrap().kill_with(signal));
        (signal, child, grandchild)
    });
    for (signal, mut child, grandchild) in families {
        assert!(child.wait().unwrap().success());
        assert!(with_process(grandchild, |process| process.is_none()), "{signal:?}");
    }
}

#[tokio::test]
async fn tether_ends_all_processes_when_its_holder_is_killed() {
    // The holder is a process between this test and the tether, whose stdin it holds open.
    let holder = "import subprocess, sys, time
subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True)
time.sleep(600)
";
    let mut command = Command::new("python3");
    command
        .args(["-c", holder])
        .arg(tether().await)
        .args(["python3", "-c", FAMILY]);
    let (mut child, grandchild) = family(command);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_ends(grandchild);
}

#[tokio::test]
async fn tether_returns_the_exit_status_of_the_command() {
    let code = |script: &'static str, tether: PathBuf| {
        let mut command = Command::new(tether);
        let mut child = command
            .args(["sh", "-c", script])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let _stdin = child.stdin.take();
        child.wait().unwrap().code()
    };
    assert_eq!(code("exit 3", tether().await), Some(3));
    assert_eq!(code("kill -KILL $$", tether().await), Some(137));
    let mut missing = Command::new(tether().await);
    assert_eq!(
        missing
            .arg("/no/such/program")
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .code(),
        Some(127)
    );
}
