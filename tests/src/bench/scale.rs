//! Throughput and latency with several environments in parallel on this machine.

use std::time::{Duration, Instant};

use super::Failure;
use super::backends::Backends;
use super::contestants::{Contestant, Job, Kind};
use super::environment::Environment;
use super::report::{Progress, Samples};

/// Numbers of environments in parallel.
const ENVIRONMENTS: [usize; 4] = [1, 2, 8, 32];

/// The number of progress steps of [`measure`].
pub const STEPS: usize = Job::REAL.len() * ENVIRONMENTS.len();

/// The result for a number of environments.
#[derive(Clone, Debug)]
pub struct Throughput {
    /// Their job.
    pub job: Job,
    /// The number of environments.
    pub environments: usize,
    /// Invocations per second, of all environments together.
    pub rate: usize,
    /// The duration of each invocation.
    pub latency: Samples,
}

/// Invokes our functions for `long` each, with one to thirty-two environments in parallel.
pub async fn measure(
    backends: &Backends,
    contestants: &[Contestant],
    long: Duration,
    progress: &mut Progress,
) -> Result<Vec<Throughput>, Failure> {
    let mut measured = Vec::new();
    for contestant in contestants.iter().filter(|contestant| contestant.kind == Kind::Rust) {
        for environments in ENVIRONMENTS {
            measured.push(in_parallel(backends, contestant, environments, long).await?);
            progress.step(contestant);
        }
    }
    Ok(measured)
}

async fn in_parallel(
    backends: &Backends,
    contestant: &Contestant,
    environments: usize,
    long: Duration,
) -> Result<Throughput, Failure> {
    let table = backends.table().await?;
    let variables = backends.variables(contestant.job, &table);
    let mut running = Vec::new();
    for _ in 0..environments {
        let environment = Environment::start(contestant, &variables, None).await?;
        environment.invoke(table.event(contestant.job).await?).await?;
        running.push(environment);
    }
    let end = Instant::now() + long;
    let work = running.iter().map(async |environment| {
        let mut latencies = Vec::new();
        while Instant::now() < end {
            let event = table.event(contestant.job).await?;
            let start = Instant::now();
            latencies.push(environment.invoke(event).await?.saturating_duration_since(start));
        }
        Ok::<_, Failure>(latencies)
    });
    let latency: Samples = futures_util::future::try_join_all(work)
        .await?
        .into_iter()
        .flatten()
        .collect();
    let seconds = usize::try_from(long.as_secs()).unwrap_or(usize::MAX);
    Ok(Throughput {
        job: contestant.job,
        environments,
        rate: latency.count().checked_div(seconds).unwrap_or_default(),
        latency,
    })
}
