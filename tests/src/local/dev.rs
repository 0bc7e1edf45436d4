//! `make dev`: starts the local world, says when it is ready, and ends it when interrupted.
//!
//! Nothing outlives it: its children are on tethers, which end them also when this process is killed.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::build::Binaries;
use super::process::Output;
use super::settings::{Addresses, Variables};
use super::{Error, Front, LocalAws, Sandbox, http, ports, settings};

/// How long a function has to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);
/// How often the reconciler runs, as in template.yaml.
const SCHEDULE: Duration = Duration::from_secs(60);
const SWEEP_LIMIT: Duration = Duration::from_secs(60);

/// A request for every route, to which the function itself answers with a problem of its own and does nothing.
const PROBES: [(Method, &str, StatusCode); 5] = [
    (Method::POST, "/preorders", StatusCode::BAD_REQUEST),
    (Method::POST, "/apm-payments", StatusCode::BAD_REQUEST),
    (
        Method::GET,
        "/payments/00000000-0000-0000-0000-000000000000",
        StatusCode::NOT_FOUND,
    ),
    (Method::GET, "/webhooks/apolopay", StatusCode::METHOD_NOT_ALLOWED),
    (Method::GET, "/webhooks/finvypay", StatusCode::METHOD_NOT_ALLOWED),
];

/// Runs the local world until SIGINT, SIGTERM or SIGHUP.
pub async fn dev() -> ExitCode {
    tokio::select! {
        error = run() => {
            let _ = writeln!(std::io::stderr(), "make dev: {error}");
            ExitCode::FAILURE
        }
        () = interrupted() => {
            say("stopped");
            ExitCode::SUCCESS
        }
    }
}

/// Starts everything and waits for a part to fail.
async fn run() -> Error {
    match start().await {
        Ok(mut world) => world.failed().await,
        Err(error) => error,
    }
}

async fn start() -> Result<Running, Error> {
    let functions_port = ports::fixed("FUNCTIONS_PORT", 9000, "the functions")?;
    let aws_port = ports::fixed("AWS_PORT", 4566, "the local AWS")?;
    let sandbox_port = ports::fixed("SANDBOX_PORT", 4010, "the providers' stand-ins")?;
    let mut environment = with_overrides(settings::all(&Addresses {
        functions: format!("http://127.0.0.1:{functions_port}"),
        aws: format!("http://127.0.0.1:{aws_port}"),
        dead_letters: String::new(),
        sandbox: format!("http://127.0.0.1:{sandbox_port}"),
    }));
    let table = environment.entry("PAYMENTS_TABLE".to_owned()).or_default().clone();

    say("building the functions");
    let binaries = Binaries::build(Output::Shown).await?;
    say("starting the local AWS and the providers' stand-ins");
    let aws = LocalAws::start(&binaries, aws_port, &environment).await?;
    let dead_letters = environment
        .entry(settings::DEAD_LETTER_QUEUE_URL.to_owned())
        .or_default();
    if dead_letters.is_empty() {
        aws.dead_letters().clone_into(dead_letters);
    }
    let functions_url = format!("http://127.0.0.1:{functions_port}");
    let sandbox = Sandbox::start_seeing(sandbox_port, &functions_url, &environment).await?;
    say("starting the functions");
    let front = Front::watching(&binaries, functions_port, &environment).await?;
    let http = http::client()?;
    let mut running = Running {
        front,
        sandbox,
        aws,
        http,
    };
    for (method, path, expected) in PROBES {
        running.until_answering(&method, path, expected).await?;
    }
    running.sweep().await?;
    say(&format!(
        "ready\n  functions       {}  (POST /preorders, POST /apm-payments, GET /payments/{{id}}, POST /webhooks/{{apolopay,finvypay}})\n  \
         providers       {}  (/apolopay, /finvypay; / is the checkout page)\n  \
         local AWS       {}  (table {table})\n  Ctrl-C stops everything.",
        running.front.url(),
        running.sandbox.url(),
        running.aws.url(),
    ));
    Ok(running)
}

/// Fields end in this order: the functions before what they call.
struct Running {
    front: Front,
    sandbox: Sandbox,
    aws: LocalAws,
    http: Client,
}

impl Running {
    /// Invokes the reconciler, as its schedule does.
    async fn sweep(&self) -> Result<(), Error> {
        let url = format!(
            "{}/2015-03-31/functions/reconcile-payments/invocations",
            self.front.url()
        );
        let request = self.http.post(url).timeout(SWEEP_LIMIT).body(r#"{"action":"sweep"}"#);
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        let report: Value = match answer {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        };
        if report.get("lookedAt").is_some() {
            return Ok(());
        }
        Err(self.front.process.late(&format!("reconcile-payments answers {report}")))
    }

    /// Waits until the function behind a route answers, and not the gateway for it.
    async fn until_answering(&mut self, method: &Method, path: &str, expected: StatusCode) -> Result<(), Error> {
        let url = format!("{}{path}", self.front.url());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = self.http.request(method.clone(), &url).timeout(Duration::from_secs(10));
            let seen = match request.header("content-type", "application/json").send().await {
                Ok(answer) => {
                    let status = answer.status();
                    let problem: Value = answer.json().await.unwrap_or_default();
                    if status == expected && problem.get("code").is_some_and(Value::is_string) {
                        return Ok(());
                    }
                    format!("{method} {path} answers {status} {problem}")
                }
                Err(_) => format!("{method} {path} does not answer; what the function says is above"),
            };
            self.check()?;
            if Instant::now() > deadline {
                return Err(self.front.process.late(&seen));
            }
            sleep(POLL).await;
        }
    }

    /// Waits until a part ends by itself; the schedule runs meanwhile.
    async fn failed(&mut self) -> Error {
        let mut next_sweep = Instant::now() + SCHEDULE;
        loop {
            if let Err(error) = self.check() {
                return error;
            }
            if Instant::now() >= next_sweep {
                next_sweep += SCHEDULE;
                // What it says stands in its log, and the next one comes in a minute.
                let _ = self.sweep().await;
            }
            tokio::select! {
                error = self.sandbox.ended() => return error,
                () = sleep(POLL) => {}
            }
        }
    }

    fn check(&mut self) -> Result<(), Error> {
        self.front.process.check()?;
        self.aws.process.check()
    }
}

/// What the environment sets wins over the local value.
fn with_overrides(mut local: Variables) -> Variables {
    let names: Vec<String> = local
        .keys()
        .cloned()
        .chain(settings::UNSET.map(str::to_owned))
        .collect();
    for name in names {
        if let Ok(given) = std::env::var(&name) {
            local.insert(name, given);
        }
    }
    local
}

async fn interrupted() {
    let signals = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hang_up)) = signals else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
}

fn say(line: &str) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}
