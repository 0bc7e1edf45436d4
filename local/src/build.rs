//! Builds the functions and the local world's binaries, and locates them, so that no stale binary runs.
//!
//! Uses the same features as `cargo test --workspace`, and removes the variables that cargo sets for the programs it
//! runs. Otherwise crates would be compiled twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::Error;
use super::settings::{FUNCTIONS, Function};

/// The root of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    let local = Path::new(env!("CARGO_MANIFEST_DIR"));
    local.parent().unwrap_or(local)
}

/// The path of a program in the Python environment that `make tools` creates.
pub fn tool(name: &'static str) -> Result<PathBuf, Error> {
    let path = workspace().join(".venv/bin").join(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(Error::Tool { name })
    }
}

/// The paths of the workspace's binaries, by name.
#[derive(Clone, Debug)]
pub struct Binaries(BTreeMap<String, PathBuf>);

impl Binaries {
    /// Builds all of them.
    ///
    /// # Errors
    /// If they do not compile, with the compiler's output.
    pub async fn build() -> Result<Self, Error> {
        let mut arguments = vec!["--bins", "--package", env!("CARGO_PKG_NAME")];
        for function in &FUNCTIONS {
            arguments.extend(["--package", function.name]);
        }
        Self::run_cargo(workspace(), &arguments).await
    }

    /// Builds only these functions of the workspace at `root`, with the features of a build of all of them.
    ///
    /// # Errors
    /// As [`Binaries::build`].
    pub(super) async fn functions(root: &Path, functions: &[Function]) -> Result<Self, Error> {
        let mut arguments = Vec::new();
        if root == workspace() {
            arguments.extend(["--package", env!("CARGO_PKG_NAME")]);
        }
        for function in functions {
            arguments.extend(["--package", function.name, "--bin", function.name]);
        }
        Self::run_cargo(root, &arguments).await
    }

    /// Builds the functions like `make build`, but for this machine's processor. Each is built separately, since cargo
    /// unifies the features of packages that are built together.
    ///
    /// # Errors
    /// As [`Binaries::build`].
    pub async fn shipped() -> Result<Self, Error> {
        let mut all = BTreeMap::new();
        for function in FUNCTIONS {
            let built = Self::run_cargo(workspace(), &["--release", "--bins", "--package", function.name]).await?;
            all.extend(built.0);
        }
        Ok(Self(all))
    }

    async fn run_cargo(root: &Path, arguments: &[&str]) -> Result<Self, Error> {
        let mut cargo = Command::from(cargo(root));
        cargo
            .args(["build", "--locked"])
            .args(arguments)
            .arg("--message-format=json-render-diagnostics")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let built = cargo.output().await.map_err(|source| Error::Io {
            doing: "run cargo build".to_owned(),
            source,
        })?;
        if !built.status.success() {
            return Err(Error::Build {
                log: without_routine(&String::from_utf8_lossy(&built.stderr)),
            });
        }
        Ok(Self(
            built
                .stdout
                .split(|byte| *byte == b'\n')
                .filter_map(executable)
                .collect(),
        ))
    }

    /// Replaces binaries with newer ones.
    pub(super) fn replace(&mut self, newer: Self) {
        self.0.extend(newer.0);
    }

    /// The path of a binary.
    ///
    /// # Errors
    /// If the workspace has no binary of that name.
    pub fn path(&self, name: &str) -> Result<&Path, Error> {
        self.0
            .get(name)
            .map(PathBuf::as_path)
            .ok_or_else(|| Error::NoBinary { name: name.to_owned() })
    }
}

/// Cargo's output on an error, without its progress lines.
fn without_routine(output: &str) -> String {
    let is_routine = |line: &&str| {
        let first = line.split_whitespace().next();
        line.starts_with(' ')
            && matches!(
                first,
                Some("Compiling" | "Finished" | "Blocking" | "Downloading" | "Downloaded" | "Locking" | "Updating")
            )
    };
    let lines: Vec<_> = output.lines().filter(|line| !is_routine(line)).collect();
    lines.join("\n")
}

/// Cargo in a workspace, with the environment of a shell. Build scripts would react to some of the variables that cargo
/// and `tests/run.py` set for the programs they run.
#[must_use]
pub fn cargo(root: &Path) -> std::process::Command {
    let mut cargo = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(set_by_cargo) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Whether cargo or `tests/run.py` sets this variable for the programs it runs.
pub(super) fn set_by_cargo(name: &str) -> bool {
    [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_TARGET_TMPDIR",
        "CARGO_PRIMARY_PACKAGE",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
        || ["OUT_DIR", "RUSTC_BOOTSTRAP"].contains(&name)
}

/// The name and path of the binary in one of cargo's JSON messages, if it has one.
fn executable(line: &[u8]) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_slice(line).ok()?;
    let path = message.get("executable")?.as_str()?;
    let name = message.pointer("/target/name")?.as_str()?;
    Some((name.to_owned(), PathBuf::from(path)))
}
