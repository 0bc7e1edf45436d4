//! Why the local world could not start or go on, in words that say what to do.

use std::process::ExitStatus;

/// What went wrong in the local world.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The workspace does not compile.
    #[error("the workspace does not compile\n{log}")]
    Build {
        /// The compiler's words.
        log: String,
    },
    /// A binary that is not in the workspace was asked for.
    #[error("the workspace has no binary named {name}")]
    NoBinary {
        /// Its name.
        name: String,
    },
    /// A program of the Python environment is missing.
    #[error("{name} is not installed in .venv: run `make tools` first")]
    Tool {
        /// Its name.
        name: &'static str,
    },
    /// Someone else listens on a port.
    #[error(
        "port {port} ({what}) is in use, perhaps by another `make dev`: stop what listens there, or set {variable} to another port"
    )]
    PortInUse {
        /// The port.
        port: u16,
        /// What it is needed for.
        what: &'static str,
        /// The variable that moves it.
        variable: &'static str,
    },
    /// A variable that should hold a port does not.
    #[error("{variable} is not a port number: {value}")]
    Port {
        /// The variable's name.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// A part of the world ended by itself.
    #[error("{what} ended ({status})\n{log}")]
    Ended {
        /// The part.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its output.
        log: String,
    },
    /// A part of the world did not answer in time.
    #[error("{what} is not ready: {last}\n{log}")]
    Late {
        /// The part.
        what: String,
        /// What was seen last.
        last: String,
        /// The end of its output.
        log: String,
    },
    /// A function does not answer as it should.
    #[error("the functions are not ready: {0}")]
    NotReady(String),
    /// The table and the secrets could not be created.
    #[error("the stack could not be created on the local AWS\n{log}")]
    Deploy {
        /// What the script said.
        log: String,
    },
    /// The table of template.yaml cannot be had in memory.
    #[error("no payments table in memory: {0}")]
    Table(String),
    /// template.yaml does not say what is needed of it.
    #[error("template.yaml: {0}")]
    Template(String),
    /// The local AWS refused a call, or does not answer.
    #[error("the local AWS: {call}: {answer}")]
    Aws {
        /// The call.
        call: String,
        /// What it said.
        answer: String,
    },
    /// The stand-ins for the providers ended.
    #[error("the providers' stand-ins ended")]
    Sandbox(#[source] std::io::Error),
    /// The HTTP client could not be made.
    #[error("no HTTP client")]
    Http(#[from] reqwest::Error),
    /// The operating system refused something.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: std::io::Error,
    },
}
