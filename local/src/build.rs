//! Builds the functions and the local world's own binaries and says where they are, so that what runs is never stale.
//!
//! With the same features as in `cargo test --workspace`, and none of the variables that cargo gives to what it runs:
//! nothing is compiled twice.

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

/// A program of the Python environment that `make` sets up.
pub fn tool(name: &'static str) -> Result<PathBuf, Error> {
    let path = workspace().join(".venv/bin").join(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(Error::Tool { name })
    }
}

/// The workspace's binaries by name.
#[derive(Clone, Debug)]
pub struct Binaries(BTreeMap<String, PathBuf>);

impl Binaries {
    /// Builds them all.
    ///
    /// # Errors
    /// When they do not compile, in the compiler's words.
    pub async fn build() -> Result<Self, Error> {
        let mut arguments = vec!["--bins", "--package", env!("CARGO_PKG_NAME")];
        for function in &FUNCTIONS {
            arguments.extend(["--package", function.name]);
        }
        Self::built_by(workspace(), &arguments).await
    }

    /// Builds these functions alone of the workspace at `root`, with the features that they have among all of them.
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
        Self::built_by(root, &arguments).await
    }

    /// Builds the functions as `make build` does, but for this machine's processor: each by itself, since of functions
    /// that are built together each gets what any of them needs.
    ///
    /// # Errors
    /// As [`Binaries::build`].
    pub async fn shipped() -> Result<Self, Error> {
        let mut all = BTreeMap::new();
        for function in FUNCTIONS {
            let own = Self::built_by(workspace(), &["--release", "--bins", "--package", function.name]).await?;
            all.extend(own.0);
        }
        Ok(Self(all))
    }

    async fn built_by(root: &Path, arguments: &[&str]) -> Result<Self, Error> {
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

    /// Puts newer ones in the place of these.
    pub(super) fn replace(&mut self, newer: Self) {
        self.0.extend(newer.0);
    }

    /// Where a binary is.
    ///
    /// # Errors
    /// When the workspace has none of that name.
    pub fn path(&self, name: &str) -> Result<&Path, Error> {
        self.0
            .get(name)
            .map(PathBuf::as_path)
            .ok_or_else(|| Error::NoBinary { name: name.to_owned() })
    }
}

/// What cargo says of an error, without what it says while all is well.
fn without_routine(words: &str) -> String {
    let is_routine = |line: &&str| {
        let first = line.split_whitespace().next();
        line.starts_with(' ')
            && matches!(
                first,
                Some("Compiling" | "Finished" | "Blocking" | "Downloading" | "Downloaded" | "Locking" | "Updating")
            )
    };
    let lines: Vec<_> = words.lines().filter(|line| !is_routine(line)).collect();
    lines.join("\n")
}

/// Cargo in a workspace, as a shell would run it: build scripts look at some of the variables that cargo gives to what it
/// runs, and `tests/run.py` gives one to the tests.
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

/// Whether cargo, or what runs the tests, sets the variable for the programs that it runs.
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

/// The name and path of the binary that a line of cargo's messages tells of.
fn executable(line: &[u8]) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_slice(line).ok()?;
    let path = message.get("executable")?.as_str()?;
    let name = message.pointer("/target/name")?.as_str()?;
    Some((name.to_owned(), PathBuf::from(path)))
}
