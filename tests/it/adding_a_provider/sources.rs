//! A copy of the workspace's sources with the toy provider, built with the dependencies that are already compiled.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use payment_functions_local::{build, workspace};

const PATCH: &str = "tests/it/adding_a_provider/toypay.patch";

/// The functions that handle the toy's payments.
const FUNCTIONS: [&str; 3] = ["create-toypay", "webhook-handler", "get-payment"];

/// Everything that is built or checked.
const SOURCES: [&str; 14] = [
    ".cargo",
    "Cargo.lock",
    "Cargo.toml",
    "clippy.toml",
    "docs",
    "events",
    "functions",
    "local",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "shared",
    "template.yaml",
    "tests",
    "deny.toml",
];

/// The sources with the toy, and their binaries.
pub struct Copy {
    built: PathBuf,
}

impl Copy {
    /// Creates the copy. Unchanged files of an earlier copy stay, so they are not rebuilt.
    pub fn with_the_toy() -> Self {
        let target = target();
        let folder = target.join("adding-a-provider");
        let (fresh, sources, built) = (folder.join("fresh"), folder.join("sources"), folder.join("built"));
        let _ = fs::remove_dir_all(&fresh);
        for name in SOURCES {
            copy(&workspace().join(name), &fresh.join(name));
        }
        patch(&fresh);
        replace(&sources, &fresh);
        fs::remove_dir_all(&fresh).unwrap();

        let mut build = cargo(&sources, &["build", "--locked", "--workspace"]);
        for function in FUNCTIONS {
            build.args(["--bin", function]);
        }
        // Uses the workspace's compiled dependencies. A different profile keeps the workspace's own binaries intact.
        build
            .env("CARGO_BUILD_BUILD_DIR", &target)
            .env("CARGO_TARGET_DIR", &built)
            .env("CARGO_PROFILE_DEV_DEBUG", "line-directives-only");
        let words = done(&mut build, "the copy with the toy does not compile");
        assert!(!words.contains("warning"), "{words}");
        done(
            &mut cargo(&sources, &["fmt", "--all", "--check"]),
            "the toy is not formatted",
        );
        let lint = workspace().join(".venv/bin/cfn-lint");
        let template = sources.join("template.yaml");
        done(Command::new(lint).arg(template), "the toy's template is not valid");
        Self { built }
    }

    pub fn binary(&self, name: &str) -> PathBuf {
        self.built.join("debug").join(name)
    }
}

/// The target directory of this test.
fn target() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    this.ancestors().nth(3).expect("target/debug/deps").to_owned()
}

fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    let mut cargo = build::cargo(folder);
    cargo.args(arguments);
    cargo
}

/// Applies the patch.
fn patch(folder: &Path) {
    let mut apply = Command::new("git");
    apply.arg("apply").arg(workspace().join(PATCH)).current_dir(folder);
    // Keeps Git from treating the folder as part of the surrounding repository.
    apply.env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap());
    done(
        &mut apply,
        &format!("{PATCH} no longer fits the sources: docs/adding-a-provider.md, \"When the toy no longer fits\""),
    );
}

/// Runs a program, which must succeed; returns its output.
fn done(command: &mut Command, otherwise: &str) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(status.success(), "{otherwise}\n{stdout}{stderr}");
    stderr
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for name in names(from) {
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// Makes `old` equal to `new`; unchanged files stay untouched.
fn replace(old: &Path, new: &Path) {
    if new.is_dir() {
        fs::create_dir_all(old).unwrap();
        let names_now = names(new);
        for gone in names(old).difference(&names_now) {
            let gone = old.join(gone);
            if gone.is_dir() {
                fs::remove_dir_all(gone).unwrap();
            } else {
                fs::remove_file(gone).unwrap();
            }
        }
        for name in names_now {
            replace(&old.join(&name), &new.join(&name));
        }
    } else if fs::read(old).ok() != fs::read(new).ok() {
        fs::copy(new, old).unwrap();
    }
}

fn names(folder: &Path) -> BTreeSet<std::ffi::OsString> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}
