//! All of template.yaml, deployed: a local AWS that enforces rights runs the functions as they ship, behind the template's
//! API, function URL, schedule, stream and bus; they call the providers' stand-ins.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use payment_functions_local::build::tool;
use payment_functions_local::payload::{self, HttpAnswer};
use payment_functions_local::process::{Tethered, empty_folder};
use payment_functions_local::{
    Binaries, Error, FUNCTIONS, Function, Sandbox, Variables, background, free_port, ministack, settings, workspace,
};

/// A local AWS that enforces rights. It ends, with all that is deployed on it, when this is dropped, and when this process
/// ends.
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

/// Calls to the local AWS, as whoever deploys: one process for all of them.
#[derive(Debug)]
struct Calls {
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

/// What AWS said instead of an answer.
#[derive(Clone, Debug, Deserialize, thiserror::Error)]
#[error("{error}: {message}")]
pub struct Refusal {
    /// AWS's code for it.
    pub error: String,
    /// Its words.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Answer { answer: Value },
    Refusal(Refusal),
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
        // Every webhook is sent where a test says.
        let sandbox = Sandbox::start(0, &url).await?;
        let mut variables = settings::aws(&url);
        variables.extend(Variables::from([
            ("AUTH".to_owned(), "true".to_owned()),
            ("TMPDIR".to_owned(), directory.display().to_string()),
            // The template has no variables for the providers' addresses: there they are the real ones.
            ("APOLOPAY_BASE_URL".to_owned(), format!("{}/apolopay", sandbox.url())),
            ("FINVYPAY_BASE_URL".to_owned(), format!("{}/finvypay", sandbox.url())),
        ]));
        let (process, url) = ministack(&Binaries::build().await?, port, &variables).await?;
        Ok(Self {
            calls: Mutex::new(Calls::begin(&url)?),
            programs: Value::Object(programs),
            sandbox,
            process,
            url,
        })
    }

    /// Deploys the template with these parameters.
    ///
    /// # Errors
    /// What AWS says against it.
    pub async fn deploy(&self, stack: &str, parameters: &Value) -> Result<Stack, Refusal> {
        let request = json!({
            "deploy": { "stack": stack, "parameters": parameters, "binaries": self.programs },
        });
        serde_json::from_value(self.ask(&request).await?).map_err(|error| no_answer(&error))
    }

    /// The template's resources as CloudFormation gets them with these parameters, after the SAM transform.
    ///
    /// # Errors
    /// What SAM says against it.
    pub async fn expand(&self, parameters: &Value) -> Result<Value, Refusal> {
        let request = json!({ "expand": { "parameters": parameters, "binaries": self.programs } });
        self.ask(&request).await
    }

    /// Makes a call to AWS as whoever deploys, by its name in boto3.
    ///
    /// # Errors
    /// What AWS says instead of an answer.
    pub async fn call(&self, service: &str, operation: &str, arguments: Value) -> Result<Value, Refusal> {
        let request = json!({ "service": service, "operation": operation, "arguments": arguments });
        self.ask(&request).await
    }

    /// Invokes a stack's function with an event, past every route.
    ///
    /// # Errors
    /// Where it answers with an error, or cannot be invoked.
    pub async fn invoke(&self, stack: &Stack, function: &str, event: &Value) -> Result<Value, Refusal> {
        let arguments = json!({ "FunctionName": stack.function(function), "Payload": event.to_string() });
        let answer = self.call("lambda", "invoke", arguments).await?;
        let text = answer.get("Payload").and_then(Value::as_str).unwrap_or_default();
        match answer.get("FunctionError") {
            None => serde_json::from_str(text).map_err(|error| no_answer(&error)),
            Some(_) => Err(Refusal {
                error: "FunctionError".to_owned(),
                message: text.to_owned(),
            }),
        }
    }

    /// Makes an HTTP request to a stack's function, past every route.
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
    ) -> Result<HttpAnswer, Refusal> {
        let event = payload::event(function.route, method, path, headers, body);
        let answer = self.invoke(stack, function.name, &event).await?;
        payload::answer(answer.to_string().as_bytes()).ok_or_else(|| no_answer(&"not an HTTP answer"))
    }

    /// Where a path of a stack's API is, or of its function URL for `/webhooks/…`.
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

    /// Where the providers' stand-ins answer.
    #[must_use]
    pub fn sandbox_url(&self) -> &str {
        self.sandbox.url()
    }

    /// What the local AWS wrote.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    async fn ask(&self, request: &Value) -> Result<Value, Refusal> {
        match self.calls.lock().await.make(request).await {
            Ok(Said::Answer { answer }) => Ok(answer),
            Ok(Said::Refusal(refusal)) => Err(refusal),
            Err(error) => Err(no_answer(&error)),
        }
    }
}

impl Stack {
    /// An output.
    #[must_use]
    pub fn output(&self, name: &str) -> &str {
        self.outputs.get(name).map_or("", String::as_str)
    }

    /// The physical id of a resource.
    #[must_use]
    pub fn resource(&self, name: &str) -> &str {
        self.resources.get(name).map_or("", String::as_str)
    }

    /// The name of a function, known by its binary's name.
    #[must_use]
    pub fn function(&self, name: &str) -> &str {
        self.resource(&format!("{}Function", logical(name)))
    }

    /// The role of a function.
    #[must_use]
    pub fn role(&self, function: &str) -> &str {
        self.resource(&format!("{}Role", logical(function)))
    }

    /// The template as CloudFormation got it.
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

fn no_answer(error: &dyn std::fmt::Display) -> Refusal {
    Refusal {
        error: "NoAnswer".to_owned(),
        message: error.to_string(),
    }
}

impl Calls {
    fn begin(url: &str) -> Result<Self, Error> {
        let io = |source| Error::Io {
            doing: "run tests/cloud.py".to_owned(),
            source,
        };
        // Its pipes belong to a runtime that outlives the test that starts it.
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
        let (Some(requests), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io(std::io::ErrorKind::BrokenPipe.into()));
        };
        Ok(Self {
            requests,
            answers: BufReader::new(answers).lines(),
            _process: process,
        })
    }

    async fn make(&mut self, request: &Value) -> std::io::Result<Said> {
        self.requests.write_all(format!("{request}\n").as_bytes()).await?;
        let line = self.answers.next_line().await?;
        let line = line.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        Ok(serde_json::from_str(&line)?)
    }
}
