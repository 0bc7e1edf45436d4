//! Errors of the local world. Their messages tell the developer what to do.

use std::process::ExitStatus;

use crate::sandbox::ControlError;

/// An error of the local world.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The workspace does not compile.
    #[error("the workspace does not compile\n{log}")]
    Build {
        /// The compiler's output.
        log: String,
    },
    /// The workspace has no such binary.
    #[error("the workspace has no binary named {name}")]
    NoBinary {
        /// The binary's name.
        name: String,
    },
    /// A program of the Python environment is missing.
    #[error("{name} is not installed in .venv: run `make tools` first")]
    Tool {
        /// The program's name.
        name: &'static str,
    },
    /// The stand-ins refuse a setting.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Another process listens on a port.
    #[error(
        "port {port} ({what}) is in use, perhaps by another `make dev`: stop what listens there, or set {variable} to another port"
    )]
    PortInUse {
        /// The port.
        port: u16,
        /// The part that needs it.
        what: &'static str,
        /// The variable that moves it.
        variable: &'static str,
    },
    /// A variable does not hold a valid port.
    #[error("{variable} is not a port number: {value}")]
    Port {
        /// The variable's name.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// A process ended by itself.
    #[error("{what} ended ({status})\n{log}")]
    Ended {
        /// The process.
        what: String,
        /// Its exit status.
        status: ExitStatus,
        /// The end of its output.
        log: String,
    },
    /// A process was not ready in time.
    #[error("{what} is not ready: {last}\n{log}")]
    TimedOut {
        /// The process.
        what: String,
        /// The last observation.
        last: String,
        /// The end of its output.
        log: String,
    },
    /// A function does not respond as expected.
    #[error("the functions are not ready: {0}")]
    NotReady(String),
    /// The table and the secrets could not be created.
    #[error("the stack could not be created on the local AWS\n{log}")]
    Deploy {
        /// The script's output.
        log: String,
    },
    /// The table of template.yaml cannot be created in memory.
    #[error("cannot create the payments table in memory: {0}")]
    Table(String),
    /// template.yaml lacks something that the local world needs.
    #[error("template.yaml: {0}")]
    Template(String),
    /// The local AWS refused a call, or did not respond.
    #[error("the local AWS: {call}: {response}")]
    Aws {
        /// The call.
        call: String,
        /// The response.
        response: String,
    },
    /// The providers' stand-ins ended.
    #[error("the providers' stand-ins ended")]
    Sandbox(#[source] std::io::Error),
    /// The HTTP client could not be created.
    #[error("cannot create an HTTP client")]
    Http(#[from] reqwest::Error),
    /// An operation of the operating system failed.
    #[error("cannot {doing}: {source}")]
    Io {
        /// The operation.
        doing: String,
        /// The cause.
        source: std::io::Error,
    },
}
