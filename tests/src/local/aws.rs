//! The local AWS: MiniStack with the table, the secrets, the bus and the queue of template.yaml, in memory only.

use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

use super::build::{Binaries, tool, workspace};
use super::http::until_healthy;
use super::process::{Output, Tethered, command};
use super::settings::Variables;
use super::{Error, settings};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running MiniStack. It ends when this is dropped.
#[derive(Debug)]
pub struct LocalAws {
    /// The process, to see whether it still runs.
    pub process: Tethered,
    url: String,
    dead_letters: String,
}

/// The physical names of the template's resources, as the script prints them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Deployed {
    unpublished_events: String,
}

impl LocalAws {
    /// Starts it and creates the stack.
    ///
    /// # Errors
    /// When it does not start in time or the stack cannot be created.
    pub async fn start(binaries: &Binaries, port: u16, environment: &Variables) -> Result<Self, Error> {
        let (process, url) = ministack(binaries, port, &Variables::new()).await?;
        let deployed = deploy(&url, environment).await?;
        Ok(Self {
            process,
            url,
            dead_letters: deployed.unpublished_events,
        })
    }

    /// Its endpoint.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of the queue of what could not be published.
    #[must_use]
    pub fn dead_letters(&self) -> &str {
        &self.dead_letters
    }
}

/// Starts MiniStack with nothing in it, and with these variables for itself and for the functions that it runs. Gives its
/// endpoint too.
pub(super) async fn ministack(
    binaries: &Binaries,
    port: u16,
    variables: &Variables,
) -> Result<(Tethered, String), Error> {
    let url = format!("http://127.0.0.1:{port}");
    let mut ministack = command(binaries, tool("ministack")?)?;
    ministack
        .env("GATEWAY_PORT", port.to_string())
        .env("BIND_HOST", "127.0.0.1")
        // Both would listen on all interfaces, on fixed ports.
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        .env("PERSIST_STATE", "0")
        .env("S3_PERSIST", "0")
        .envs(variables);
    let process = Tethered::start("the local AWS (MiniStack)", ministack, Output::Kept)?;
    until_healthy(&process, &format!("{url}/_ministack/health"), PATIENCE).await?;
    Ok((process, url))
}

/// Creates what the functions find with `environment`: in its region, under its keys, with its table's name.
async fn deploy(url: &str, environment: &Variables) -> Result<Deployed, Error> {
    let mut own = settings::aws(url);
    for name in [
        "AWS_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "PAYMENTS_TABLE",
    ] {
        if let Some(value) = environment.get(name) {
            own.insert(name.to_owned(), value.clone());
        }
    }
    if let Some(region) = environment.get("AWS_REGION") {
        own.insert("AWS_DEFAULT_REGION".to_owned(), region.clone());
    }
    let deployed = Command::new(tool("python")?)
        .arg(workspace().join("tests/local/deploy.py"))
        .env_clear()
        .envs(own)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| Error::Io {
            doing: "run tests/local/deploy.py".to_owned(),
            source,
        })?;
    let names = serde_json::from_slice(&deployed.stdout);
    names
        .ok()
        .filter(|_| deployed.status.success())
        .ok_or_else(|| Error::Deploy {
            log: String::from_utf8_lossy(&deployed.stderr).into_owned(),
        })
}
