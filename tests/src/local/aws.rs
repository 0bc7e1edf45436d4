//! The local AWS: MiniStack with the table and the secrets of template.yaml, in memory only.

use std::time::Duration;

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
}

impl LocalAws {
    /// Starts it and creates the stack.
    ///
    /// # Errors
    /// When it does not start in time or the stack cannot be created.
    pub async fn start(binaries: &Binaries, port: u16, environment: &Variables) -> Result<Self, Error> {
        let aws = Self::empty(binaries, port, &Variables::new()).await?;
        aws.deploy(environment).await?;
        Ok(aws)
    }

    /// Starts it with nothing in it, and with these variables for itself and for the functions that it runs.
    ///
    /// # Errors
    /// When it does not start in time.
    pub async fn empty(binaries: &Binaries, port: u16, variables: &Variables) -> Result<Self, Error> {
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
        let aws = Self { process, url };
        until_healthy(&aws.process, &format!("{}/_ministack/health", aws.url), PATIENCE).await?;
        Ok(aws)
    }

    /// Its endpoint.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates what the functions find with `environment`: in its region, under its keys, with its table's name.
    async fn deploy(&self, environment: &Variables) -> Result<(), Error> {
        let mut own = settings::aws(&self.url);
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
        if deployed.status.success() {
            Ok(())
        } else {
            Err(Error::Deploy {
                log: String::from_utf8_lossy(&deployed.stderr).into_owned(),
            })
        }
    }
}
