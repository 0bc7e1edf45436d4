//! How much more gets done, and how much slower, as more environments work at once on this machine.

use std::time::{Duration, Instant};

use super::Failure;
use super::backends::Backends;
use super::contestants::{Contestant, Job, Kind};
use super::environment::Environment;
use super::report::{Progress, Samples};

/// So many environments at once.
const ENVIRONMENTS: [usize; 4] = [1, 2, 8, 32];

/// How often [`measure`] moves the progress on.
pub const STEPS: usize = Job::REAL.len() * ENVIRONMENTS.len();

/// What so many environments did together.
#[derive(Clone, Debug)]
pub struct AtOnce {
    /// What they did.
    pub job: Job,
    /// How many there were.
    pub environments: usize,
    /// Invocations a second, of all together.
    pub rate: usize,
    /// How long each took.
    pub latency: Samples,
}

/// Has our functions work for a while, one to thirty-two environments of each at once.
pub async fn measure(
    backends: &Backends,
    contestants: &[Contestant],
    long: Duration,
    progress: &mut Progress,
) -> Result<Vec<AtOnce>, Failure> {
    let mut measured = Vec::new();
    for contestant in contestants.iter().filter(|contestant| contestant.kind == Kind::Rust) {
        for environments in ENVIRONMENTS {
            measured.push(together(backends, contestant, environments, long).await?);
            progress.step(contestant);
        }
    }
    Ok(measured)
}

async fn together(
    backends: &Backends,
    contestant: &Contestant,
    environments: usize,
    long: Duration,
) -> Result<AtOnce, Failure> {
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
    Ok(AtOnce {
        job: contestant.job,
        environments,
        rate: latency.count().checked_div(seconds).unwrap_or_default(),
        latency,
    })
}
