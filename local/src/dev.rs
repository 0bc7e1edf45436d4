//! `make dev`: starts the local world, prints when it is ready, reloads functions whose source changes, and stops when
//! interrupted.
//!
//! Guarantee: no child process outlives it, even if it is killed, since each runs on a tether.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::build::{Binaries, set_by_cargo, workspace};
use super::functions::{Functions, Project, Sources};
use super::process::empty_folder;
use super::settings::{Addresses, Variables};
use super::template::{Mapping, Rate};
use super::{
    CargoLambda, Error, Gateway, Invocations, LocalAws, Log, Sandbox, Schedule, StreamFeed, http, ports, schedule,
    settings,
};

/// How long a function may take to respond for the first time.
const WAIT_LIMIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// One request for each route, which the function itself rejects without doing anything.
const PROBES: &[(Method, &str, StatusCode)] = &[
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
            print("stopped");
            ExitCode::SUCCESS
        }
    }
}

/// Starts everything and waits for a part to fail.
async fn run() -> Error {
    match start().await {
        Ok(mut world) => world.until_failure().await,
        Err(error) => error,
    }
}

async fn start() -> Result<Running, Error> {
    let started = Instant::now();
    let log = Log::shown();
    let functions_port = ports::fixed("FUNCTIONS_PORT", 9000, "the functions")?;
    let aws_port = ports::fixed("AWS_PORT", 4566, "the local AWS")?;
    let sandbox_port = ports::fixed("SANDBOX_PORT", 4010, "the providers' stand-ins")?;
    let mut environment = with_overrides(settings::all(&Addresses {
        functions: format!("http://127.0.0.1:{functions_port}"),
        aws: format!("http://127.0.0.1:{aws_port}"),
        dead_letters: String::new(),
        sandbox: format!("http://127.0.0.1:{sandbox_port}"),
    }));

    let project = Project {
        root: workspace().to_owned(),
        functions: &settings::FUNCTIONS,
    };
    let sources = Sources::read(&project.root);
    let binaries = Binaries::build().await?;
    print("starting the local AWS (MiniStack) and the providers' stand-ins");
    let aws = LocalAws::start(&binaries, aws_port, &environment).await?;
    let dead_letters = environment
        .entry(settings::DEAD_LETTER_QUEUE_URL.to_owned())
        .or_default();
    if dead_letters.is_empty() {
        aws.dead_letters().clone_into(dead_letters);
    }
    let functions_url = format!("http://127.0.0.1:{functions_port}");
    let sandbox = Sandbox::start_with_environment(sandbox_port, &functions_url, &environment).await?;
    print("starting the functions");
    // Each copy of `make dev` has a folder of its own.
    let logs = Path::new("target/dev").join(functions_port.to_string());
    empty_folder(&workspace().join(&logs))?;
    let runtime = CargoLambda::start(&binaries, ports::free_port()?).await?;
    let runtime = runtime.with_logs(workspace().join(&logs));
    let origins = environment.get("ALLOWED_RETURN_ORIGINS").map_or("", String::as_str);
    let gateway = Gateway::start(functions_port, runtime.functions()?, origins).await?;
    let functions = Functions::start(
        &runtime,
        project,
        binaries,
        with_inherited(environment.clone()),
        sources,
    )
    .await?;
    let http = http::client()?;
    let mut running = Running {
        schedule: None,
        feeds: Vec::new(),
        functions,
        runtime,
        gateway,
        sandbox,
        aws,
        http,
    };
    if let Err(error) = running.finish_start(&environment, log).await {
        running.functions.show_last_errors(log);
        return Err(error);
    }
    running.functions.show(log);
    print(&running.summary(&environment, &logs, started.elapsed()));
    Ok(running)
}

/// Fields are dropped in this order: the functions stop before the services that they call.
struct Running {
    schedule: Option<Schedule>,
    feeds: Vec<StreamFeed>,
    functions: Functions,
    runtime: CargoLambda,
    gateway: Gateway,
    sandbox: Sandbox,
    aws: LocalAws,
    http: Client,
}

impl Running {
    /// Waits until every function responds, then starts the schedule and the stream feed.
    async fn finish_start(&mut self, environment: &Variables, log: Log) -> Result<(), Error> {
        for (method, path, expected) in PROBES {
            self.until_responding(method, path, *expected).await?;
        }
        self.start_invokers(environment, log).await
    }

    /// Starts the local counterparts of AWS's own invokers: runs the reconciler, the first time now, and feeds the
    /// table's stream to publish-events and back to the reconciler.
    async fn start_invokers(&mut self, environment: &Variables, log: Log) -> Result<(), Error> {
        let invocations = Invocations::at(self.gateway.url())?;
        let rate = Rate::of_template()?;
        let report = schedule::sweep(&invocations, &rate.input).await;
        report.map_err(|error| Error::NotReady(format!("reconcile-payments: {error}")))?;
        self.schedule = Some(Schedule::start(invocations.clone(), rate, log)?);
        let variable = |name| environment.get(name).map_or("", String::as_str);
        if variable("AWS_ENDPOINT_URL") == self.aws.url() {
            let (table, dead_letters) = (variable("PAYMENTS_TABLE"), variable(settings::DEAD_LETTER_QUEUE_URL));
            for mapping in [Mapping::of_changes()?, Mapping::of_unmatched()?] {
                let (aws, invocations) = (self.aws.calls(), invocations.clone());
                let feed = StreamFeed::start(aws, table, invocations, dead_letters, mapping, log).await?;
                self.feeds.push(feed);
            }
        } else {
            print("AWS_ENDPOINT_URL is not the local AWS: no events are published from the table there");
        }
        Ok(())
    }

    fn summary(&self, environment: &Variables, logs: &Path, took: Duration) -> String {
        let variable = |name| environment.get(name).map_or("", String::as_str);
        let (functions, sandbox, aws) = (self.gateway.url(), self.sandbox.url(), self.aws.url());
        format!(
            "ready in {:.0} s, with {} instances of {} functions\n\n  \
             the checkout page  {sandbox}/\n  \
             the API            {functions}  POST /preorders, POST /apm-payments, GET /payments/{{id}}\n  \
             API description    {sandbox}/openapi\n  \
             webhooks           {functions}  POST /webhooks/apolopay, POST /webhooks/finvypay\n  \
             the providers      {sandbox}  /apolopay, /finvypay\n  \
             the local AWS      {aws}  table {}, event bus {}\n  \
             logs and metrics   {}/<function>.log\n\n  \
             A function is rebuilt and reloaded when its source changes. Ctrl-C stops everything.\n",
            took.as_secs_f32(),
            self.functions.count(),
            settings::FUNCTIONS.len(),
            variable("PAYMENTS_TABLE"),
            variable("EVENT_BUS"),
            logs.display(),
        )
    }

    /// Waits until the function behind a route responds, rather than the gateway.
    async fn until_responding(&mut self, method: &Method, path: &str, expected: StatusCode) -> Result<(), Error> {
        let url = format!("{}{path}", self.gateway.url());
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            let request = self.http.request(method.clone(), &url).timeout(Duration::from_secs(10));
            let last = match request.header("content-type", "application/json").send().await {
                Ok(response) => {
                    let status = response.status();
                    let problem: Value = response.json().await.unwrap_or_default();
                    if status == expected && problem.get("code").is_some_and(Value::is_string) {
                        return Ok(());
                    }
                    format!("{method} {path} returns {status} {problem}")
                }
                Err(_) => format!("{method} {path} does not respond"),
            };
            self.check()?;
            if Instant::now() > deadline {
                return Err(Error::NotReady(last));
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until a part fails. Restarts and reloads functions meanwhile.
    async fn until_failure(&mut self) -> Error {
        loop {
            let maintained = async {
                self.check()?;
                self.functions.restart_ended(&self.runtime)?;
                self.functions.reload(&self.runtime).await.map(drop)
            };
            if let Err(error) = maintained.await {
                return error;
            }
            tokio::select! {
                error = self.sandbox.ended() => return error,
                () = sleep(POLL_INTERVAL) => {}
            }
        }
    }

    fn check(&self) -> Result<(), Error> {
        self.runtime.check()?;
        self.aws.process.check()
    }
}

/// Variables of the environment override the local values.
fn with_overrides(mut local: Variables) -> Variables {
    let names: Vec<String> = local
        .keys()
        .cloned()
        .chain(settings::OPTIONAL.map(str::to_owned))
        .collect();
    for name in names {
        if let Ok(given) = std::env::var(&name) {
            local.insert(name, given);
        }
    }
    local
}

/// Adds the rest of the developer's environment.
fn with_inherited(environment: Variables) -> Variables {
    let as_text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let inherited = std::env::vars_os().filter_map(as_text);
    let mut variables: Variables = inherited.filter(|(name, _)| !set_by_cargo(name)).collect();
    variables.extend(environment);
    // A proxy must not be used for this machine.
    for name in ["NO_PROXY", "no_proxy"] {
        let hosts = variables.entry(name.to_owned()).or_default();
        if !hosts.is_empty() {
            hosts.push(',');
        }
        hosts.push_str("127.0.0.1,localhost");
    }
    variables
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

fn print(line: &str) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}
