//! The whole of template.yaml, deployed to a local AWS that enforces IAM. It runs the release binaries behind the
//! template's API, function URL, schedule, stream and event bus. The functions call the provider sandbox.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use payment_functions_local::build::tool;
use payment_functions_local::payload::{self, HttpResponse};
use payment_functions_local::process::{Tethered, empty_folder};
use payment_functions_local::{
    Binaries, Error, FUNCTIONS, Function, Sandbox, Variables, background, free_port, ministack, settings, workspace,
};

/// A local AWS that enforces IAM. It ends, with everything deployed on it, when this is dropped or this process ends.
#[derive(Debug)]
pub struct Cloud {
    calls: Mutex<Calls>,
    programs: Value,
    sandbox: Sandbox,
    process: Tethered,
    url: String,
}

/// A deployed stack.
#[derive(Debug, Deserialize)]
pub struct Stack {
    resources: BTreeMap<String, String>,
    outputs: BTreeMap<String, String>,
    template: Value,
}

/// The process that makes calls to the local AWS with the deploying user's rights.
#[derive(Debug)]
struct Calls {
    requests: ChildStdin,
    responses: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

/// An error from AWS.
#[derive(Clone, Debug, Deserialize, thiserror::Error)]
#[error("{error}: {message}")]
pub struct AwsError {
    /// AWS's error code.
    pub error: String,
    /// AWS's message.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Reply {
    Response { response: Value },
    Error(AwsError),
}

impl Cloud {
    /// Builds the functions and starts a local AWS, which writes its files into `directory`; that is emptied first.
    ///
    /// # Errors
    /// When a part does not build or start.
    pub async fn start(directory: &Path) -> Result<Self, Error> {
        let shipped = Binaries::shipped().await?;
        let programs = FUNCTIONS
            .iter()
            .map(|function| Ok((function.name.to_owned(), json!(shipped.path(function.name)?))))
            .collect::<Result<_, Error>>()?;
        empty_folder(directory)?;
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}");
        // Tests set the URL of every webhook.
        let sandbox = Sandbox::start(0, &url).await?;
        let mut variables = settings::aws(&url);
        variables.extend(Variables::from([
            ("AUTH".to_owned(), "true".to_owned()),
            ("TMPDIR".to_owned(), directory.display().to_string()),
            // The template has no variables for the providers' URLs: in production they are the real ones.
            ("APOLOPAY_BASE_URL".to_owned(), format!("{}/apolopay", sandbox.url())),
            ("FINVYPAY_BASE_URL".to_owned(), format!("{}/finvypay", sandbox.url())),
        ]));
        let (process, url) = ministack(&Binaries::build().await?, port, &variables).await?;
        Ok(Self {
            calls: Mutex::new(Calls::start(&url)?),
            programs: Value::Object(programs),
            sandbox,
            process,
            url,
        })
    }

    /// Deploys the template with these parameters.
    ///
    /// # Errors
    /// When AWS rejects it.
    pub async fn deploy(&self, stack: &str, parameters: &Value) -> Result<Stack, AwsError> {
        let request = json!({
            "deploy": { "stack": stack, "parameters": parameters, "binaries": self.programs },
        });
        serde_json::from_value(self.send(&request).await?).map_err(|error| no_response(&error))
    }

    /// The template's resources with these parameters, after the SAM transform.
    ///
    /// # Errors
    /// When SAM rejects it.
    pub async fn expand(&self, parameters: &Value) -> Result<Value, AwsError> {
        let request = json!({ "expand": { "parameters": parameters, "binaries": self.programs } });
        self.send(&request).await
    }

    /// Makes a call to AWS with the deploying user's rights, by its name in boto3.
    ///
    /// # Errors
    /// When AWS returns an error.
    pub async fn call(&self, service: &str, operation: &str, arguments: Value) -> Result<Value, AwsError> {
        let request = json!({ "service": service, "operation": operation, "arguments": arguments });
        self.send(&request).await
    }

    /// Invokes a stack's function with an event, bypassing every route.
    ///
    /// # Errors
    /// When it returns an error, or cannot be invoked.
    pub async fn invoke(&self, stack: &Stack, function: &str, event: &Value) -> Result<Value, AwsError> {
        let arguments = json!({ "FunctionName": stack.function(function), "Payload": event.to_string() });
        let response = self.call("lambda", "invoke", arguments).await?;
        let text = response.get("Payload").and_then(Value::as_str).unwrap_or_default();
        match response.get("FunctionError") {
            None => serde_json::from_str(text).map_err(|error| no_response(&error)),
            Some(_) => Err(AwsError {
                error: "FunctionError".to_owned(),
                message: text.to_owned(),
            }),
        }
    }

    /// Makes an HTTP request to a stack's function, bypassing every route.
    ///
    /// # Errors
    /// As [`Cloud::invoke`].
    pub async fn http(
        &self,
        stack: &Stack,
        function: &Function,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<HttpResponse, AwsError> {
        let event = payload::event(function.route, method, path, headers, body);
        let response = self.invoke(stack, function.name, &event).await?;
        payload::parse_response(response.to_string().as_bytes()).ok_or_else(|| no_response(&"not an HTTP response"))
    }

    /// The URL of a path of a stack's API, or of its function URL for `/webhooks/…`.
    #[must_use]
    pub fn url(&self, stack: &Stack, path: &str) -> String {
        let (kind, output, stage) = if path.starts_with("/webhooks/") {
            ("lambda-url", "ApoloPayWebhookUrl", "")
        } else {
            ("execute-api", "ApiUrl", "/$default")
        };
        let host = stack.output(output).trim_start_matches("https://");
        let id = host.split('.').next().unwrap_or_default();
        format!("{}/_aws/{kind}/{id}{stage}{path}", self.url)
    }

    /// The base URL of the provider sandbox.
    #[must_use]
    pub fn sandbox_url(&self) -> &str {
        self.sandbox.url()
    }

    /// The log of the local AWS.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    async fn send(&self, request: &Value) -> Result<Value, AwsError> {
        match self.calls.lock().await.make(request).await {
            Ok(Reply::Response { response }) => Ok(response),
            Ok(Reply::Error(error)) => Err(error),
            Err(error) => Err(no_response(&error)),
        }
    }
}

impl Stack {
    /// The value of an output; empty if there is none.
    #[must_use]
    pub fn output(&self, name: &str) -> &str {
        self.outputs.get(name).map_or("", String::as_str)
    }

    /// The physical id of a resource; empty if there is none.
    #[must_use]
    pub fn resource(&self, name: &str) -> &str {
        self.resources.get(name).map_or("", String::as_str)
    }

    /// The name of a function, given the name of its binary.
    #[must_use]
    pub fn function(&self, name: &str) -> &str {
        self.resource(&format!("{}Function", logical(name)))
    }

    /// The role of a function.
    #[must_use]
    pub fn role(&self, function: &str) -> &str {
        self.resource(&format!("{}Role", logical(function)))
    }

    /// The template after the SAM transform.
    #[must_use]
    pub fn template(&self) -> &Value {
        &self.template
    }
}

/// `create-apm` is `CreateApm` in the template.
fn logical(function: &str) -> String {
    let words = function.split('-');
    let capital = |word: &str| {
        let mut chars = word.chars();
        chars
            .next()
            .map(|first| first.to_ascii_uppercase())
            .into_iter()
            .chain(chars)
            .collect::<String>()
    };
    words.map(capital).collect()
}

fn no_response(error: &dyn std::fmt::Display) -> AwsError {
    AwsError {
        error: "NoResponse".to_owned(),
        message: error.to_string(),
    }
}

impl Calls {
    fn start(url: &str) -> Result<Self, Error> {
        let io = |source| Error::Io {
            doing: "run tests/cloud.py".to_owned(),
            source,
        };
        // The pipes belong to a runtime that outlives the test that starts the process.
        let runtime = background::handle()?;
        let _inside = runtime.enter();
        let mut process = Command::new(tool("python")?)
            .arg(workspace().join("tests/cloud.py"))
            .env_clear()
            .envs(settings::aws(url))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(io)?;
        let (Some(requests), Some(responses)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io(std::io::ErrorKind::BrokenPipe.into()));
        };
        Ok(Self {
            requests,
            responses: BufReader::new(responses).lines(),
            _process: process,
        })
    }

    async fn make(&mut self, request: &Value) -> std::io::Result<Reply> {
        self.requests.write_all(format!("{request}\n").as_bytes()).await?;
        let line = self.responses.next_line().await?;
        let line = line.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        Ok(serde_json::from_str(&line)?)
    }
}
