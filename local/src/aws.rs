//! The local AWS: MiniStack with the table, secrets, bus and queues of template.yaml, in memory only.

use std::time::Duration;

use reqwest::Client;
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use super::build::{Binaries, tool, workspace};
use super::http::{self, until_healthy};
use super::process::{Tethered, command};
use super::settings::Variables;
use super::{Error, settings};

/// How long MiniStack may take to start.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(20);

/// A running MiniStack. It ends when this is dropped.
#[derive(Debug)]
pub struct LocalAws {
    /// The process, to check whether it still runs.
    pub process: Tethered,
    calls: AwsCalls,
    dead_letters: String,
}

/// Calls the local AWS directly, with the region and the access key that it was set up with. It checks no signature.
#[derive(Clone, Debug)]
pub struct AwsCalls {
    http: Client,
    url: String,
    credential: String,
}

/// The physical names of the template's resources, as deploy.py prints them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Deployed {
    unpublished_events: String,
}

impl LocalAws {
    /// Starts it and creates the stack.
    ///
    /// # Errors
    /// If it does not start in time or the stack cannot be created.
    pub async fn start(binaries: &Binaries, port: u16, environment: &Variables) -> Result<Self, Error> {
        let (process, url) = ministack(binaries, port, &Variables::new()).await?;
        let variables = client_variables(&url, environment);
        let deployed = deploy(&variables).await?;
        Ok(Self {
            process,
            calls: AwsCalls::new(url, &variables)?,
            dead_letters: deployed.unpublished_events,
        })
    }

    /// The endpoint.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.calls.url
    }

    /// The calls to it.
    #[must_use]
    pub fn calls(&self) -> &AwsCalls {
        &self.calls
    }

    /// The URL of the dead-letter queue for events.
    #[must_use]
    pub fn dead_letters(&self) -> &str {
        &self.dead_letters
    }
}

impl AwsCalls {
    fn new(url: String, variables: &Variables) -> Result<Self, Error> {
        let variable = |name| variables.get(name).map_or("", String::as_str);
        Ok(Self {
            http: http::client_without_connections()?,
            url,
            credential: format!("{}/20260101/{}", variable("AWS_ACCESS_KEY_ID"), variable("AWS_REGION")),
        })
    }

    /// Makes a call; `service` is `dynamodb`, `streams`, `events`, `sqs` or `secretsmanager`. An empty response is
    /// null.
    ///
    /// # Errors
    /// If it is refused, or there is no response.
    pub async fn call(&self, service: &str, action: &str, body: &Value) -> Result<Value, Error> {
        let (prefix, scope) = match service {
            "dynamodb" => ("DynamoDB_20120810", "dynamodb"),
            "streams" => ("DynamoDBStreams_20120810", "dynamodb"),
            "events" => ("AWSEvents", "events"),
            "sqs" => ("AmazonSQS", "sqs"),
            _ => ("secretsmanager", "secretsmanager"),
        };
        let failed = |response: String| Error::Aws {
            call: format!("{action} {body}"),
            response,
        };
        let no_response = |error: reqwest::Error| failed(error.to_string());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}/aws4_request, SignedHeaders=host, Signature=0",
            self.credential
        );
        let request = self.http.post(&self.url).timeout(CALL_LIMIT);
        let request = request
            .header("x-amz-target", format!("{prefix}.{action}"))
            .header("content-type", "application/x-amz-json-1.0")
            .header("authorization", authorization)
            .body(body.to_string());
        let response = request.send().await.map_err(no_response)?;
        let status = response.status();
        let text = response.text().await.map_err(no_response)?;
        if !status.is_success() {
            return Err(failed(text));
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|_| failed(text))
    }
}

/// Starts an empty MiniStack, with these variables for itself and for the functions that it runs. Returns its endpoint
/// too.
pub async fn ministack(binaries: &Binaries, port: u16, variables: &Variables) -> Result<(Tethered, String), Error> {
    let url = format!("http://127.0.0.1:{port}");
    let mut ministack = command(binaries, tool("ministack")?)?;
    ministack
        .env("GATEWAY_PORT", port.to_string())
        .env("BIND_HOST", "127.0.0.1")
        // Both would listen on fixed ports of all interfaces.
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        .env("PERSIST_STATE", "0")
        .env("S3_PERSIST", "0")
        .envs(variables);
    let process = Tethered::start("the local AWS (MiniStack)", ministack)?;
    until_healthy(&process, &format!("{url}/_ministack/health"), START_LIMIT).await?;
    Ok((process, url))
}

/// The variables for a client of the local AWS, with the region, the keys and the table's name of `environment`.
fn client_variables(url: &str, environment: &Variables) -> Variables {
    let mut variables = settings::aws(url);
    for name in [
        "AWS_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "PAYMENTS_TABLE",
    ] {
        if let Some(value) = environment.get(name) {
            variables.insert(name.to_owned(), value.clone());
        }
    }
    if let Some(region) = environment.get("AWS_REGION") {
        variables.insert("AWS_DEFAULT_REGION".to_owned(), region.clone());
    }
    variables
}

/// Creates the template's resources.
async fn deploy(variables: &Variables) -> Result<Deployed, Error> {
    let deployed = Command::new(tool("python")?)
        .arg(workspace().join("local/deploy.py"))
        .env_clear()
        .envs(variables)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| Error::Io {
            doing: "run local/deploy.py".to_owned(),
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
