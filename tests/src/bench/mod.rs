//! `make bench`: our functions beside what a shop would pick instead, each as Lambda starts it, on one Runtime API and
//! against the same back ends over TLS.
//!
//! Every figure is of one contestant's own process; contestants take turns, so that what disturbs the machine disturbs
//! all of them.

mod backends;
mod contestants;
mod environment;
mod instructions;
mod quota;
mod reality;
mod report;
mod scale;
mod usage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use self::backends::{Backends, Table};
use self::contestants::Contestant;
pub use self::contestants::Job;
use self::environment::Environment;
pub use self::instructions::{Instructions, count, valgrind};
use self::quota::Quota;
use self::report::{Progress, Report, Row};
use payment_functions_local::workspace;

/// Shares of a processor: about what Lambda gives to 128 and 256 MB.
const QUOTAS: [u64; 2] = [7, 14];

/// Warm invocations come in so many turns.
const TURNS: usize = 10;

/// Under a quota, one warm invocation for so many without.
const FEWER_UNDER_QUOTA: usize = 10;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl From<payment_functions_local::Error> for Failure {
    fn from(error: payment_functions_local::Error) -> Self {
        Self(error.to_string())
    }
}

/// How often everything is measured.
struct Plan {
    /// Cold starts of each contestant.
    starts: usize,
    /// The same under each quota.
    starts_under_quota: usize,
    /// Warm invocations of each contestant that are counted.
    invocations: usize,
    /// For how long so many environments work at once.
    at_once: Duration,
}

impl Plan {
    /// From `STARTS` and `INVOCATIONS`.
    fn from_environment() -> Result<Self, Failure> {
        let number = |name: &str, default: usize| match std::env::var(name) {
            Err(_) => Ok(default),
            Ok(text) => text
                .parse()
                .map_err(|_| Failure(format!("{name} must be a number, not {text:?}"))),
        };
        let starts = number("STARTS", 21)?;
        Ok(Self {
            starts,
            starts_under_quota: starts.div_ceil(3),
            invocations: number("INVOCATIONS", 1000)?,
            at_once: Duration::from_secs(3),
        })
    }
}

/// Measures everything and tells it; with `profile FUNCTION BINARY`, counts the instructions of one function alone.
pub async fn bench() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => measure().await,
        ["profile", function, binary] => profile(function, Path::new(binary)).await,
        _ => Err(Failure("usage: bench [profile FUNCTION BINARY]".to_owned())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report::say(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

fn folder() -> Result<PathBuf, Failure> {
    let folder = workspace().join("target/bench");
    std::fs::create_dir_all(&folder).map_err(|error| Failure(format!("{}: {error}", folder.display())))?;
    Ok(folder)
}

async fn profile(function: &str, binary: &Path) -> Result<(), Failure> {
    let job = Job::ALL.into_iter().find(|job| job.function() == function);
    let job = job.ok_or_else(|| Failure(format!("{function} is not measured")))?;
    let folder = folder()?;
    let binary = binary
        .canonicalize()
        .map_err(|error| Failure(format!("{}: {error}", binary.display())))?;
    let Instructions { start, warm } = count(job, &binary, &folder).await?;
    let folder = folder.display();
    report::say(&format!(
        "{function}: {start} instructions to the first answer, {warm} for each further one; {folder}/callgrind.{function}.*"
    ));
    Ok(())
}

async fn measure() -> Result<(), Failure> {
    let plan = Plan::from_environment()?;
    let folder = folder()?;
    let contestants = contestants::all(&workspace().join(".tools/bench"), &folder).await?;
    let backends = Backends::start(&folder).await?;
    let mut rows = contestants.iter().map(Row::of).collect::<Result<Vec<_>, _>>()?;
    let quotas: Vec<Quota> = QUOTAS.into_iter().filter_map(Quota::percent).collect();
    if quotas.len() < QUOTAS.len() {
        report::say("control groups cannot be made here: nothing is measured under a quota");
    }

    let rounds = plan.starts + quotas.len() * (2 * plan.starts_under_quota + 1) + TURNS + 1;
    let mut progress = Progress::of(contestants.len() * rounds + scale::STEPS);
    let table = backends.table().await?;
    for _ in 0..plan.starts {
        for (contestant, row) in contestants.iter().zip(&mut rows) {
            let (ready, first_answer) = cold(&backends, &table, contestant, None).await?;
            row.full.ready.push(ready);
            row.full.first_answer.push(first_answer);
            progress.step(contestant);
        }
    }
    for quota in &quotas {
        let table = backends.table().await?;
        for _ in 0..plan.starts_under_quota {
            for (contestant, row) in contestants.iter().zip(&mut rows) {
                let (ready, first_answer) = cold(&backends, &table, contestant, Some(quota)).await?;
                let after_init = after_init(&backends, &table, contestant, quota).await?;
                let under = row.at_percent.entry(quota.percent).or_default();
                under.start.ready.push(ready);
                under.start.first_answer.push(first_answer);
                under.after_init.push(after_init);
                progress.step(contestant);
                progress.step(contestant);
            }
        }
    }
    warm(&backends, &contestants, &mut rows, &quotas, &plan, &mut progress).await?;
    for (contestant, row) in contestants.iter().zip(&mut rows) {
        row.reality = reality::check(&backends, contestant).await?;
        progress.step(contestant);
    }
    let at_once = scale::measure(&backends, &contestants, plan.at_once, &mut progress).await?;
    Report { rows, at_once }.tell(&workspace().join("target/bench.json"))
}

/// A cold start: until the process asks for work, and until it has answered the event that waited for it.
async fn cold(
    backends: &Backends,
    table: &Table,
    contestant: &Contestant,
    quota: Option<&Quota>,
) -> Result<(Duration, Duration), Failure> {
    let event = table.event(contestant.job).await?;
    let environment = Environment::start(contestant, &backends.variables(contestant.job, table), quota).await?;
    let answered_at = environment.invoke(event).await?;
    Ok((environment.ready().await?, environment.since_start(answered_at)))
}

/// The first invocation as Lambda gives it: under the quota, after a start without one.
async fn after_init(
    backends: &Backends,
    table: &Table,
    contestant: &Contestant,
    quota: &Quota,
) -> Result<Duration, Failure> {
    let event = table.event(contestant.job).await?;
    let environment = Environment::start(contestant, &backends.variables(contestant.job, table), None).await?;
    environment.ready().await?;
    hold(&environment, quota, contestant)?;
    let start = Instant::now();
    Ok(environment.invoke(event).await?.saturating_duration_since(start))
}

/// Many invocations of one process each, in turns; then fewer under each quota.
async fn warm(
    backends: &Backends,
    contestants: &[Contestant],
    rows: &mut [Row],
    quotas: &[Quota],
    plan: &Plan,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let turn = plan.invocations.div_ceil(TURNS);
    let mut running = Vec::new();
    for contestant in contestants {
        let table = backends.table().await?;
        let variables = backends.variables(contestant.job, &table);
        let environment = Environment::start(contestant, &variables, None).await?;
        // Until it has found its speed: just-in-time compilers need some.
        invoke(&environment, &table, turn).await?;
        let used = usage::processor_time(environment.pid())?;
        running.push((contestant, table, environment, used));
    }
    for _ in 0..TURNS {
        for ((contestant, table, environment, _), row) in running.iter().zip(&mut *rows) {
            row.warm.extend(invoke(environment, table, turn).await?);
            progress.step(contestant);
        }
    }
    for ((_, _, environment, used), row) in running.iter().zip(&mut *rows) {
        row.processor_time = usage::processor_time(environment.pid())?.saturating_sub(*used);
        row.peak_memory = usage::peak_memory(environment.pid())?;
    }
    for quota in quotas {
        for ((contestant, table, environment, _), row) in running.iter().zip(&mut *rows) {
            hold(environment, quota, contestant)?;
            let under = row.at_percent.entry(quota.percent).or_default();
            let invocations = plan.invocations.div_ceil(FEWER_UNDER_QUOTA);
            under.warm.extend(invoke(environment, table, invocations).await?);
            progress.step(contestant);
        }
    }
    Ok(())
}

/// So many invocations, one after the other, and how long each took.
async fn invoke(environment: &Environment<'_>, table: &Table, count: usize) -> Result<Vec<Duration>, Failure> {
    let mut events = Vec::new();
    for _ in 0..count {
        events.push(table.event(environment.job()).await?);
    }
    let mut took = Vec::new();
    for event in events {
        let start = Instant::now();
        took.push(environment.invoke(event).await?.saturating_duration_since(start));
    }
    Ok(took)
}

/// Has a running process keep to a quota from now on.
fn hold(environment: &Environment<'_>, quota: &Quota, contestant: &Contestant) -> Result<(), Failure> {
    let held = quota.hold(environment.pid());
    held.map_err(|error| Failure(format!("{contestant}: it cannot be held to a quota: {error}")))
}
