//! The functions of `make dev`: instances of each at the gateway, replaced when their source has changed.
//!
//! Guarantee: a change that does not compile, or with which a function does not start, replaces nothing: what ran before
//! answers on.
//!
//! `cargo lambda watch` would start and restart them itself, but watches every folder of the workspace once for each
//! instance, .venv and target among them, which is more than most machines allow; and compiles once for each.

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

/// Of a function that answers HTTP requests: with one, no race ever shows.
const INSTANCES: usize = 10;
/// How long to wait for new instances to say that they are ready, which their log level may keep them from.
const READY: Duration = Duration::from_secs(2);
/// A function that ends is started again after this.
const PAUSE: Duration = Duration::from_secs(1);

/// What the functions are made of.
const SOURCES: [&str; 4] = ["Cargo.toml", "Cargo.lock", "functions", "shared"];

const OURS: &str = "make dev";

/// The functions of a workspace, each with a binary of its name.
#[derive(Clone, Debug)]
pub(super) struct Project {
    pub(super) root: PathBuf,
    pub(super) functions: &'static [Function],
}

/// All functions. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Functions {
    project: Project,
    instances: BTreeMap<&'static str, Vec<Tethered>>,
    binaries: Binaries,
    environment: Variables,
    log: Log,
    /// What of the sources is in the binaries.
    built: Sources,
    /// The binaries that run.
    running: BTreeMap<&'static str, Option<Stamp>>,
    may_start: Instant,
}

impl Functions {
    /// Starts them with `environment`, as they were built of `built`. They say nothing until [`Functions::show`].
    ///
    /// # Errors
    /// When one of them ends instead.
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
            may_start: Instant::now(),
        };
        for function in functions.project.functions {
            let instances = functions.started(runtime, function)?;
            functions.instances.insert(function.name, instances);
        }
        for function in functions.project.functions {
            until_ready(functions.of(function)).await?;
            let stamp = functions.stamp(function);
            functions.running.insert(function.name, stamp);
        }
        Ok(functions)
    }

    /// From now on, shows what they log.
    pub(super) fn show(&mut self, log: Log) {
        self.log = log;
        self.instances
            .values()
            .flatten()
            .for_each(|instance| instance.show(log));
    }

    /// Shows the last error that each function logged: why it is not ready.
    pub(super) fn explain(&self, log: Log) {
        for (name, instances) in &self.instances {
            let written: Vec<_> = instances.iter().map(Tethered::log).collect();
            let mut lines = written.iter().flat_map(|text| text.lines().rev());
            if let Some(line) = lines.find(|line| line.contains(r#""level":"ERROR""#)) {
                log.output(name, line);
            }
        }
    }

    /// How many instances run.
    pub(super) fn count(&self) -> usize {
        self.instances.values().map(Vec::len).sum()
    }

    /// Starts another instance for each that has ended.
    pub(super) fn revive(&mut self, runtime: &CargoLambda) -> Result<(), Error> {
        if Instant::now() < self.may_start {
            return Ok(());
        }
        for function in self.project.functions {
            let instances = self.instances.get_mut(function.name).into_iter().flatten();
            for instance in instances {
                if let Some(status) = instance.ended() {
                    let said = format!("an instance ended ({status}); another takes its place");
                    self.log.line(function.name, Level::Error, &said);
                    *instance = runtime.attach(&self.binaries, function, &self.environment)?;
                    instance.show(self.log);
                    self.may_start = Instant::now() + PAUSE;
                }
            }
        }
        Ok(())
    }

    /// Where the sources have changed: builds them, and replaces the functions whose binaries are others then. Gives the
    /// names of those that it has replaced.
    ///
    /// # Errors
    /// When an instance cannot be started at all.
    pub(super) async fn reload(&mut self, runtime: &CargoLambda) -> Result<Vec<&'static str>, Error> {
        let sources = Sources::read(&self.project.root);
        let Some(changed) = sources.changed_since(&self.built) else {
            return Ok(vec![]);
        };
        let began = Instant::now();
        let changed = changed.strip_prefix(&self.project.root).unwrap_or(&changed).display();
        self.log
            .line(OURS, Level::Info, &format!("{changed} has changed: building"));
        // What changes while it is built is seen the next time.
        self.built = sources;
        match Binaries::functions(&self.project.root, self.project.functions).await {
            Ok(newer) => self.binaries.replace(newer),
            Err(error) => {
                if let Error::Build { log } = &error {
                    self.log.text(log);
                }
                let said = "it does not compile, as said above; what ran before answers on";
                self.log.line(OURS, Level::Error, said);
                return Ok(vec![]);
            }
        }
        let (mut replaced, mut failed) = (Vec::new(), false);
        for function in self.project.functions {
            let stamp = self.stamp(function);
            if self.running.get(function.name) == Some(&stamp) {
                continue;
            }
            let newer = self.started(runtime, function)?;
            if let Err(error) = until_ready(&newer).await {
                self.log.text(&error.to_string());
                let said = "it does not start, as said above; what ran before answers on";
                self.log.line(function.name, Level::Error, said);
                end(newer).await;
                failed = true;
                continue;
            }
            newer.iter().for_each(|instance| instance.show(self.log));
            if let Some(older) = self.instances.insert(function.name, newer) {
                end(older).await;
            }
            self.running.insert(function.name, stamp);
            replaced.push(function.name);
        }
        let took = began.elapsed().as_secs_f32();
        if !replaced.is_empty() {
            let said = format!("{} reloaded in {took:.1} s", replaced.join(", "));
            self.log.line(OURS, Level::Info, &said);
        } else if !failed {
            let said = format!("built in {took:.1} s: no function is another than before");
            self.log.line(OURS, Level::Info, &said);
        }
        Ok(replaced)
    }

    fn started(&self, runtime: &CargoLambda, function: &Function) -> Result<Vec<Tethered>, Error> {
        let count = if function.answers_http() { INSTANCES } else { 1 };
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
        // Asked all at once, waited for one by one.
        self.instances.values().flatten().for_each(Tethered::let_go);
    }
}

/// Waits until they ask for work.
async fn until_ready(instances: &[Tethered]) -> Result<(), Error> {
    let all = async {
        for instance in instances {
            ready(instance).await?;
        }
        Ok(())
    };
    match timeout(READY, all).await {
        Ok(are_ready) => are_ready,
        // What is not ready yet soon is, and requests wait for it.
        Err(_) => instances.iter().try_for_each(Tethered::check),
    }
}

/// Ends them all at once. What one of them is at is lost, as it is with any other way to restart a function.
async fn end(instances: Vec<Tethered>) {
    instances.iter().for_each(Tethered::let_go);
    for instance in &instances {
        instance.end().await;
    }
}

/// When a file was written, and how long it is.
type Stamp = (SystemTime, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// The sources as they are at a moment.
#[derive(Clone, Debug)]
pub(super) struct Sources(BTreeMap<PathBuf, Option<Stamp>>);

impl Sources {
    /// Those of the workspace at `root`.
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

    /// A file that is another than it was, or that is new, or gone.
    fn changed_since(&self, before: &Self) -> Option<PathBuf> {
        let paths: BTreeSet<_> = self.0.keys().chain(before.0.keys()).collect();
        let changed = paths
            .into_iter()
            .find(|path| self.0.get(*path) != before.0.get(*path))?;
        Some(changed.to_owned())
    }
}
