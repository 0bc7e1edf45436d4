//! `make bench`: compares our functions with Node and Python implementations. All run as in Lambda, on one Runtime API,
//! and call the same back ends over TLS.
//!
//! Every figure is of one contestant's own process. Contestants alternate, so that disturbances affect all of them.

mod backends;
mod contestants;
mod emulator;
mod environment;
mod expiry;
mod instructions;
mod quota;
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
pub use self::expiry::cpu_time_of_expiry;
pub use self::instructions::{Instructions, count, valgrind};
use self::quota::Quota;
use self::report::{Progress, Report, Row};
use payment_functions_local::workspace;

/// CPU quotas in percent: about those of Lambda for 128 and 256 MB.
const QUOTAS: [u64; 2] = [7, 14];

/// The number of rounds that the warm invocations are split into.
const WARM_ROUNDS: usize = 10;

/// How many times fewer warm invocations there are with a quota.
const QUOTA_DIVISOR: usize = 10;

/// The reason why there is no result.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl From<payment_functions_local::Error> for Failure {
    fn from(error: payment_functions_local::Error) -> Self {
        Self(error.to_string())
    }
}

/// The number of measurements.
struct Plan {
    /// Cold starts of each contestant.
    starts: usize,
    /// Cold starts of each contestant with each quota.
    starts_under_quota: usize,
    /// Measured warm invocations of each contestant.
    invocations: usize,
    /// How long environments are invoked in parallel.
    parallel: Duration,
}

impl Plan {
    /// Reads `STARTS` and `INVOCATIONS`.
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
            parallel: Duration::from_secs(3),
        })
    }
}

/// Measures everything and prints the result. With the arguments `profile FUNCTION BINARY`, counts the instructions of
/// one function only.
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
            report::print_message(&failure.to_string());
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
    report::print_message(&format!(
        "{function}: {start} instructions to the first response, {warm} per further invocation; {folder}/callgrind.{function}.*"
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
        report::print_message("cannot create control groups: nothing is measured with a quota");
    }

    let rounds = plan.starts + quotas.len() * (2 * plan.starts_under_quota + 1) + WARM_ROUNDS + 1;
    let mut progress = Progress::of(contestants.len() * rounds + scale::STEPS);
    let table = backends.table().await?;
    for _ in 0..plan.starts {
        for (contestant, row) in contestants.iter().zip(&mut rows) {
            let (ready, first_response) = cold(&backends, &table, contestant, None).await?;
            row.full.ready.push(ready);
            row.full.first_response.push(first_response);
            progress.step(contestant);
        }
    }
    for quota in &quotas {
        let table = backends.table().await?;
        for _ in 0..plan.starts_under_quota {
            for (contestant, row) in contestants.iter().zip(&mut rows) {
                let (ready, first_response) = cold(&backends, &table, contestant, Some(quota)).await?;
                let after_init = after_init(&backends, &table, contestant, quota).await?;
                let under = row.at_percent.entry(quota.percent).or_default();
                under.start.ready.push(ready);
                under.start.first_response.push(first_response);
                under.after_init.push(after_init);
                progress.step(contestant);
                progress.step(contestant);
            }
        }
    }
    warm(&backends, &contestants, &mut rows, &quotas, &plan, &mut progress).await?;
    for (contestant, row) in contestants.iter().zip(&mut rows) {
        row.emulator = emulator::check(&backends, contestant).await?;
        progress.step(contestant);
    }
    let throughput = scale::measure(&backends, &contestants, plan.parallel, &mut progress).await?;
    Report { rows, throughput }.publish(&workspace().join("target/bench.json"))
}

/// Measures a cold start: until the process polls for an invocation, and until its response to the waiting event.
async fn cold(
    backends: &Backends,
    table: &Table,
    contestant: &Contestant,
    quota: Option<&Quota>,
) -> Result<(Duration, Duration), Failure> {
    let event = table.event(contestant.job).await?;
    let environment = Environment::start(contestant, &backends.variables(contestant.job, table), quota).await?;
    let responded_at = environment.invoke(event).await?;
    Ok((environment.ready().await?, environment.since_start(responded_at)))
}

/// Measures the first invocation as in Lambda: with a quota, after a start without one.
async fn after_init(
    backends: &Backends,
    table: &Table,
    contestant: &Contestant,
    quota: &Quota,
) -> Result<Duration, Failure> {
    let event = table.event(contestant.job).await?;
    let environment = Environment::start(contestant, &backends.variables(contestant.job, table), None).await?;
    environment.ready().await?;
    limit(&environment, quota, contestant)?;
    let start = Instant::now();
    Ok(environment.invoke(event).await?.saturating_duration_since(start))
}

/// Measures many invocations of one process per contestant, alternating; then fewer with each quota.
async fn warm(
    backends: &Backends,
    contestants: &[Contestant],
    rows: &mut [Row],
    quotas: &[Quota],
    plan: &Plan,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let round = plan.invocations.div_ceil(WARM_ROUNDS);
    let mut running = Vec::new();
    for contestant in contestants {
        let table = backends.table().await?;
        let variables = backends.variables(contestant.job, &table);
        let environment = Environment::start(contestant, &variables, None).await?;
        // Warms up just-in-time compilers.
        invoke(&environment, &table, round).await?;
        let used = usage::cpu_time(environment.pid())?;
        running.push((contestant, table, environment, used));
    }
    for _ in 0..WARM_ROUNDS {
        for ((contestant, table, environment, _), row) in running.iter().zip(&mut *rows) {
            row.warm.extend(invoke(environment, table, round).await?);
            progress.step(contestant);
        }
    }
    for ((_, _, environment, used), row) in running.iter().zip(&mut *rows) {
        row.cpu_time = usage::cpu_time(environment.pid())?.saturating_sub(*used);
        row.peak_memory = usage::peak_memory(environment.pid())?;
    }
    for quota in quotas {
        for ((contestant, table, environment, _), row) in running.iter().zip(&mut *rows) {
            limit(environment, quota, contestant)?;
            let under = row.at_percent.entry(quota.percent).or_default();
            let invocations = plan.invocations.div_ceil(QUOTA_DIVISOR);
            under.warm.extend(invoke(environment, table, invocations).await?);
            progress.step(contestant);
        }
    }
    Ok(())
}

/// Makes `count` invocations one after the other, and returns the duration of each.
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

/// Applies a quota to a running process from now on.
fn limit(environment: &Environment<'_>, quota: &Quota, contestant: &Contestant) -> Result<(), Failure> {
    let limited = quota.limit(environment.pid());
    limited.map_err(|error| Failure(format!("{contestant}: cannot apply a quota: {error}")))
}
