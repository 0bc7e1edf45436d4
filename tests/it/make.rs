//! `make` without one of its prerequisites: one line with the fix, before anything starts.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use payment_functions_local::workspace;

use crate::support::unique;

/// A folder with the Makefile, and a PATH with only a test's own programs.
struct Machine(PathBuf);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Machine {
    /// A machine with all prerequisites, some of them faked.
    fn new() -> Self {
        let machine = Self(std::env::temp_dir().join(unique("make")));
        for folder in ["bin", "local", "tests", "functions/one"] {
            fs::create_dir_all(machine.0.join(folder)).unwrap();
        }
        for file in [
            "Makefile",
            "Cargo.toml",
            "local/requirements.txt",
            "tests/requirements.txt",
        ] {
            fs::copy(workspace().join(file), machine.0.join(file)).unwrap();
        }
        for tool in ["sed", "awk", "cat", "grep", "mkdir", "mv", "rm", "chmod", "touch"] {
            symlink(found(tool), machine.0.join("bin").join(tool)).unwrap();
        }
        machine.has("cargo", "echo 'cargo 1.95.0 (f2d3ce0bd 2026-03-21)'");
        machine.has("cc", "exit 0");
        machine.has("python3", "exit 0");
        machine
    }

    /// Adds a program with this shell script.
    fn has(&self, name: &str, does: &str) -> &Self {
        let path = self.0.join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{does}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn lacks(&self, name: &str) -> &Self {
        fs::remove_file(self.0.join("bin").join(name)).unwrap();
        self
    }

    fn make(&self, goal: &str) -> Output {
        Command::new(found("make"))
            .arg(goal)
            .current_dir(&self.0)
            .env_clear()
            .env("PATH", self.0.join("bin"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The error output of a `make` goal, without make's own line.
    fn error_output(&self, goal: &str) -> String {
        let output = self.make(goal);
        assert!(!output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        let own = |line: &&str| !line.starts_with("make: ***");
        text.lines().filter(own).collect::<Vec<_>>().join("\n")
    }
}

/// The path of a program on this machine.
fn found(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
    places
        .find(|place: &PathBuf| Path::is_file(place))
        .unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn missing_prerequisite_is_named_with_its_fix() {
    let machine = Machine::new;
    let is = |machine: &Machine, line: &str| assert_eq!(machine.error_output("dev"), line);
    is(
        machine().lacks("cargo"),
        "make: Rust is missing: install it from https://rustup.rs and run make again",
    );
    is(
        machine().lacks("cc"),
        "make: a C compiler is missing (cc): on Debian and Ubuntu apt install build-essential, \
         on macOS xcode-select --install",
    );
    is(
        machine().lacks("python3"),
        "make: Python 3.10 or newer is missing (python3): install it, or set PYTHON= to another one",
    );
    is(
        machine().has("python3", r#"case "$2" in *version_info*) exit 1;; esac"#),
        "make: Python 3.10 or newer is missing (python3): install it, or set PYTHON= to another one",
    );
    is(
        machine().has("python3", r#"case "$2" in *ensurepip*) exit 1;; esac"#),
        "make: Python's venv module is missing (python3): on Debian and Ubuntu apt install python3-venv",
    );
    for old in ["1.94.1", "1.70.0", "0.99.0"] {
        is(
            machine().has("cargo", &format!("echo 'cargo {old} (abc 2026-01-01)'")),
            &format!(
                "make: cargo {old} (abc 2026-01-01) is too old, Rust 1.95 or newer is needed: run 'rustup update', or \
                 install Rust from https://rustup.rs"
            ),
        );
    }
    is(
        machine().has("cargo", "echo 'error: toolchain is not installed' >&2; exit 1"),
        "error: toolchain is not installed\nmake: cargo does not run: with rustup, run 'rustup toolchain install', which \
         takes the version from rust-toolchain.toml",
    );
}

#[test]
fn newer_toolchain_is_accepted_and_unavailable_packages_are_reported() {
    let venv = r#"case "$2" in venv) mkdir -p .venv/bin; echo 'echo "no route to host" >&2; exit 1' > .venv/bin/pip; chmod +x .venv/bin/pip;; esac"#;
    let machine = Machine::new();
    machine.has("cargo", "echo 'cargo 2.0.1'").has("python3", venv);
    assert_eq!(
        machine.error_output("tools"),
        "no route to host\nmake: some packages could not be installed into .venv (see the output of pip above): check the \
         connection to PyPI and run make again"
    );
}

#[test]
fn deploy_without_credentials_builds_nothing() {
    let machine = Machine::new();
    let venv = machine.0.join(".venv/bin");
    fs::create_dir_all(&venv).unwrap();
    for installed in ["bin/pip", "local", "zig"] {
        fs::write(machine.0.join(".venv").join(installed), "").unwrap();
    }
    symlink(workspace().join(".venv/bin/python"), venv.join("python")).unwrap();
    assert_eq!(
        machine.error_output("deploy"),
        "make: there are no AWS credentials: run 'aws configure' or 'aws sso login', or name a profile with AWS_PROFILE \
         (docs/deploy.md)"
    );
}

/// A failed download leaves nothing behind, so the next `make` retries it.
#[test]
fn failed_download_is_retried_next_time() {
    let unpack = "for program in usr/bin/valgrind.bin usr/bin/chromedriver usr/lib/chromium/chromium; do
        mkdir -p ${program%/*}; echo '#!/bin/sh' > $program; chmod +x $program
    done";
    for (script, goal) in [
        ("tests/bench/valgrind", ".tools/valgrind"),
        ("tests/checkout/chromium", ".tools/chromium"),
    ] {
        let machine = Machine::new();
        let (name, folder) = (goal.rsplit('/').next().unwrap(), machine.0.join(goal));
        fs::create_dir_all(machine.0.join(script).parent().unwrap()).unwrap();
        fs::copy(workspace().join(script), machine.0.join(script)).unwrap();
        machine
            .has("dpkg-deb", unpack)
            .has("apt-get", "echo no route to host >&2; exit 100");
        for _ in 0..2 {
            let output = machine.make(goal);
            let output_text = String::from_utf8(output.stderr).unwrap();
            assert!(
                output.status.success() && output_text.starts_with(name) && output_text.contains("apt install"),
                "{output_text}"
            );
            assert!(!folder.exists());
        }
        machine.has(
            "apt-get",
            r#"case "$*" in *simulate*) echo 'Inst it (1)';; *) : > valgrind_1.deb;; esac"#,
        );
        let output = machine.make(goal);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let program = fs::read_to_string(folder.join(name)).unwrap();
        assert!(program.contains(&format!("{}/usr", folder.display())), "{program}");
        let folders: Vec<_> = fs::read_dir(machine.0.join(".tools"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(
            folders
                .iter()
                .all(|entry| entry == name || entry.to_str().unwrap().ends_with(".log")),
            "{folders:?}"
        );
    }
}
