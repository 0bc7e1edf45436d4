//! The number of instructions that a function executes, counted by valgrind's callgrind. It does not depend on the
//! machine's load, so tests can bound it.

use std::path::{Path, PathBuf};

use super::Failure;
use super::backends::Backends;
use super::contestants::{Contestant, Job, Kind};
use super::environment::Environment;
use payment_functions_local::workspace;

/// Instructions of a function's process in user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instructions {
    /// From the start of the process until its first response.
    pub start: u64,
    /// Per further invocation.
    pub warm: u64,
}

/// The path of valgrind, if it is on the path or installed by `make`.
#[must_use]
pub fn valgrind() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = workspace().join(".tools/valgrind");
    let places = std::env::split_paths(&path).chain([own]);
    places
        .map(|folder| folder.join("valgrind"))
        .find(|program| program.is_file())
}

/// Counts the instructions of a function with the binary `program`. Leaves callgrind's output in `folder`.
///
/// # Errors
/// When valgrind is missing, or the function fails under it.
pub async fn count(job: Job, program: &Path, folder: &Path) -> Result<Instructions, Failure> {
    let backends = Backends::start(folder).await?;
    let start = total(&backends, job, program, folder, 1).await?;
    let many = total(&backends, job, program, folder, 1 + INVOCATIONS).await?;
    Ok(Instructions {
        start,
        warm: many.saturating_sub(start).checked_div(INVOCATIONS).unwrap_or_default(),
    })
}

/// The number of warm invocations: enough to average occasional work.
const INVOCATIONS: u64 = 200;

async fn total(backends: &Backends, job: Job, program: &Path, folder: &Path, invocations: u64) -> Result<u64, Failure> {
    let valgrind = valgrind().ok_or_else(|| Failure("valgrind is missing: apt install valgrind".to_owned()))?;
    let output = folder.join(format!("callgrind.{}.{invocations}", job.function()));
    let contestant = Contestant {
        job,
        kind: Kind::Rust,
        program: valgrind,
        arguments: vec![
            "--tool=callgrind".to_owned(),
            format!("--callgrind-out-file={}", output.display()),
            program.display().to_string(),
        ],
        folder: folder.to_owned(),
        variables: Vec::new(),
        package: program.to_owned(),
    };
    let table = backends.table().await?;
    let environment = Environment::start(&contestant, &backends.variables(job, &table), None).await?;
    for _ in 0..invocations {
        environment.invoke(table.event(job).await?).await?;
    }
    environment.end().await?;
    let unreadable = || Failure(format!("{} has no total", output.display()));
    let text = std::fs::read_to_string(&output).map_err(|_| unreadable())?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    total.and_then(|total| total.trim().parse().ok()).ok_or_else(unreadable)
}
