//! The functions in `make dev`: several instances of each, reloaded when the source changes.
//!
//! Guarantee: a change that does not compile, or after which a function does not start, replaces nothing. The old
//! instances keep running.
//!
//! `cargo lambda watch` could start and restart functions itself. But for each instance it would compile once, and
//! watch every folder of the workspace including .venv and target, which is more than most machines allow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout};

use super::Error;
use super::build::Binaries;
use super::cargo_lambda::{CargoLambda, ready};
use super::log::{Level, Log};
use super::process::Tethered;
use super::settings::{Function, Variables};

/// The instances of a function behind HTTP. With one instance races would never show.
const INSTANCES: usize = 10;
/// How long to wait for new instances to log that they are ready, which their log level may suppress.
const READY_LIMIT: Duration = Duration::from_secs(2);
/// The least time between restarts of instances that ended.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// The sources of the functions.
const SOURCES: [&str; 4] = ["Cargo.toml", "Cargo.lock", "functions", "shared"];

/// The source of our own lines in the log.
const LOG_SOURCE: &str = "make dev";

/// A workspace and its functions. Each function has a binary of its name.
#[derive(Clone, Debug)]
pub(super) struct Project {
    pub(super) root: PathBuf,
    pub(super) functions: &'static [Function],
}

/// The running functions. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Functions {
    project: Project,
    instances: BTreeMap<&'static str, Vec<Tethered>>,
    binaries: Binaries,
    environment: Variables,
    log: Log,
    /// The sources that the binaries were built from.
    built: Sources,
    /// The binary that each function runs.
    running: BTreeMap<&'static str, Option<Stamp>>,
    next_restart: Instant,
}

impl Functions {
    /// Starts all functions with `environment`, from binaries built from `built`. Their output is hidden until
    /// [`Functions::show`].
    ///
    /// # Errors
    /// If an instance ends instead.
    pub(super) async fn start(
        runtime: &CargoLambda,
        project: Project,
        binaries: Binaries,
        environment: Variables,
        built: Sources,
    ) -> Result<Self, Error> {
        let mut functions = Self {
            project,
            instances: BTreeMap::new(),
            binaries,
            environment,
            log: Log::Silent,
            built,
            running: BTreeMap::new(),
            next_restart: Instant::now(),
        };
        for function in functions.project.functions {
            let instances = functions.start_instances(runtime, function)?;
            functions.instances.insert(function.name, instances);
        }
        for function in functions.project.functions {
            until_ready(functions.of(function)).await?;
            let stamp = functions.stamp(function);
            functions.running.insert(function.name, stamp);
        }
        Ok(functions)
    }

    /// Shows the functions' output from now on.
    pub(super) fn show(&mut self, log: Log) {
        self.log = log;
        self.instances
            .values()
            .flatten()
            .for_each(|instance| instance.show(log));
    }

    /// Shows the last error that each function logged, to explain why it is not ready.
    pub(super) fn show_last_errors(&self, log: Log) {
        for (name, instances) in &self.instances {
            let outputs: Vec<_> = instances.iter().map(Tethered::log).collect();
            let mut lines = outputs.iter().flat_map(|output| output.lines().rev());
            if let Some(line) = lines.find(|line| line.contains(r#""level":"ERROR""#)) {
                log.output(name, line);
            }
        }
    }

    /// The number of instances.
    pub(super) fn count(&self) -> usize {
        self.instances.values().map(Vec::len).sum()
    }

    /// Restarts instances that have ended.
    pub(super) fn restart_ended(&mut self, runtime: &CargoLambda) -> Result<(), Error> {
        if Instant::now() < self.next_restart {
            return Ok(());
        }
        for function in self.project.functions {
            let instances = self.instances.get_mut(function.name).into_iter().flatten();
            for instance in instances {
                if let Some(status) = instance.ended() {
                    let message = format!("an instance ended ({status}); starting another");
                    self.log.line(function.name, Level::Error, &message);
                    *instance = runtime.attach(&self.binaries, function, &self.environment)?;
                    instance.show(self.log);
                    self.next_restart = Instant::now() + RESTART_DELAY;
                }
            }
        }
        Ok(())
    }

    /// Rebuilds if the sources have changed, and replaces the functions whose binaries changed. Returns the names of
    /// the replaced functions.
    ///
    /// # Errors
    /// If the operating system cannot start an instance.
    pub(super) async fn reload(&mut self, runtime: &CargoLambda) -> Result<Vec<&'static str>, Error> {
        let sources = Sources::read(&self.project.root);
        let Some(changed) = sources.changed_since(&self.built) else {
            return Ok(vec![]);
        };
        let started = Instant::now();
        let changed = changed.strip_prefix(&self.project.root).unwrap_or(&changed).display();
        self.log
            .line(LOG_SOURCE, Level::Info, &format!("{changed} has changed: building"));
        // A change during the build is found by the next call.
        self.built = sources;
        match Binaries::functions(&self.project.root, self.project.functions).await {
            Ok(newer) => self.binaries.replace(newer),
            Err(error) => {
                if let Error::Build { log } = &error {
                    self.log.text(log);
                }
                let message = "the build failed (see above); the old functions keep running";
                self.log.line(LOG_SOURCE, Level::Error, message);
                return Ok(vec![]);
            }
        }
        let (mut replaced, mut failed) = (Vec::new(), false);
        for function in self.project.functions {
            let stamp = self.stamp(function);
            if self.running.get(function.name) == Some(&stamp) {
                continue;
            }
            let new = self.start_instances(runtime, function)?;
            if let Err(error) = until_ready(&new).await {
                self.log.text(&error.to_string());
                let message = "the new version does not start (see above); the old one keeps running";
                self.log.line(function.name, Level::Error, message);
                end(new).await;
                failed = true;
                continue;
            }
            new.iter().for_each(|instance| instance.show(self.log));
            if let Some(old) = self.instances.insert(function.name, new) {
                end(old).await;
            }
            self.running.insert(function.name, stamp);
            replaced.push(function.name);
        }
        let took = started.elapsed().as_secs_f32();
        if !replaced.is_empty() {
            let message = format!("{} reloaded in {took:.1} s", replaced.join(", "));
            self.log.line(LOG_SOURCE, Level::Info, &message);
        } else if !failed {
            let message = format!("built in {took:.1} s; no function changed");
            self.log.line(LOG_SOURCE, Level::Info, &message);
        }
        Ok(replaced)
    }

    fn start_instances(&self, runtime: &CargoLambda, function: &Function) -> Result<Vec<Tethered>, Error> {
        let count = if function.handles_http() { INSTANCES } else { 1 };
        let start = || runtime.attach(&self.binaries, function, &self.environment);
        std::iter::repeat_with(start).take(count).collect()
    }

    fn of(&self, function: &Function) -> &[Tethered] {
        self.instances.get(function.name).map_or(&[], Vec::as_slice)
    }

    fn stamp(&self, function: &Function) -> Option<Stamp> {
        stamp(self.binaries.path(function.name).ok()?)
    }
}

impl Drop for Functions {
    fn drop(&mut self) {
        // Requested of all first, so that they end at the same time.
        self.instances.values().flatten().for_each(Tethered::request_end);
    }
}

/// Waits until all instances are ready.
async fn until_ready(instances: &[Tethered]) -> Result<(), Error> {
    let all = async {
        for instance in instances {
            ready(instance).await?;
        }
        Ok(())
    };
    match timeout(READY_LIMIT, all).await {
        Ok(are_ready) => are_ready,
        // The others will be ready soon, and requests wait for them.
        Err(_) => instances.iter().try_for_each(Tethered::check),
    }
}

/// Ends all instances at once. Invocations in progress are lost, like in any restart of a function.
async fn end(instances: Vec<Tethered>) {
    instances.iter().for_each(Tethered::request_end);
    for instance in &instances {
        instance.end().await;
    }
}

/// A file's modification time and length.
type Stamp = (SystemTime, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// The state of all source files.
#[derive(Clone, Debug)]
pub(super) struct Sources(BTreeMap<PathBuf, Option<Stamp>>);

impl Sources {
    /// Reads the sources of the workspace at `root`.
    pub(super) fn read(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut paths: Vec<PathBuf> = SOURCES.iter().map(|path| root.join(path)).collect();
        while let Some(path) = paths.pop() {
            if path.is_dir() {
                let entries = std::fs::read_dir(&path).into_iter().flatten();
                paths.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
            } else if path
                .extension()
                .is_some_and(|kind| ["rs", "toml", "lock"].iter().any(|own| kind == *own))
            {
                files.insert(path.clone(), stamp(&path));
            }
        }
        Self(files)
    }

    /// A file that was changed, added or removed, if there is one.
    fn changed_since(&self, before: &Self) -> Option<PathBuf> {
        let paths: BTreeSet<_> = self.0.keys().chain(before.0.keys()).collect();
        let changed = paths
            .into_iter()
            .find(|path| self.0.get(*path) != before.0.get(*path))?;
        Some(changed.to_owned())
    }
}
