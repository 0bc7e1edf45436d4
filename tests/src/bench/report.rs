//! The result: medians with their spread, as tables for a person and as JSON for a program.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::Failure;
use super::contestants::{Contestant, Job, Kind};
use super::reality::Reality;
use super::scale::AtOnce;

/// One figure, measured several times.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Duration>);

impl FromIterator<Duration> for Samples {
    fn from_iter<T: IntoIterator<Item = Duration>>(samples: T) -> Self {
        Self(samples.into_iter().collect())
    }
}

impl Samples {
    /// Adds a measurement.
    pub fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// Adds measurements.
    pub fn extend(&mut self, samples: Vec<Duration>) {
        self.0.extend(samples);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The value that so many thousandths of the samples do not exceed; zero where there are none.
    fn quantile(&self, thousandths: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = sorted
            .len()
            .saturating_sub(1)
            .saturating_mul(thousandths)
            .div_ceil(1000);
        sorted.get(at).copied().unwrap_or_default()
    }

    /// In microseconds: median, 10th, 90th and 99th percentile, and how many there are.
    fn json(&self) -> Value {
        let at = |thousandths| micros(self.quantile(thousandths));
        json!({ "count": self.count(), "p50": at(500), "p10": at(100), "p90": at(900), "p99": at(990) })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Cold starts.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// From the start of the process until it asks for work.
    pub ready: Samples,
    /// From the start of the process until its first answer, the event having waited for it.
    pub first_answer: Samples,
}

/// Under a share of a processor.
#[derive(Clone, Debug, Default)]
pub struct UnderQuota {
    /// From the start of the process on.
    pub start: Start,
    /// The first invocation alone, the process having started without a quota, as at Lambda.
    pub after_init: Samples,
    /// Warm invocations.
    pub warm: Samples,
}

/// Everything measured of one contestant.
#[derive(Clone, Debug)]
pub struct Row {
    job: Job,
    kind: Kind,
    /// The size of its package, in bytes.
    package: u64,
    /// Without a quota.
    pub full: Start,
    /// By the percentage of a processor.
    pub at_percent: BTreeMap<u64, UnderQuota>,
    /// Warm invocations.
    pub warm: Samples,
    /// Processor time of all warm invocations.
    pub processor_time: Duration,
    /// The most memory that it held, in bytes.
    pub peak_memory: u64,
    /// In Amazon's emulator.
    pub reality: Reality,
}

impl Row {
    /// An empty one for a contestant, with the size of its package.
    pub fn of(contestant: &Contestant) -> Result<Self, Failure> {
        let package = &contestant.package;
        let file = std::fs::metadata(package).map_err(|error| Failure(format!("{}: {error}", package.display())))?;
        Ok(Self {
            job: contestant.job,
            kind: contestant.kind,
            package: file.len(),
            full: Start::default(),
            at_percent: BTreeMap::new(),
            warm: Samples::default(),
            processor_time: Duration::ZERO,
            peak_memory: 0,
            reality: Reality::default(),
        })
    }

    /// Processor time of a warm invocation.
    fn processor_time(&self) -> Duration {
        let count = u32::try_from(self.warm.count()).unwrap_or(u32::MAX);
        self.processor_time.checked_div(count).unwrap_or_default()
    }

    /// The figures by their names, as they are compared.
    fn figures(&self) -> Vec<(String, Figure)> {
        let named = |name: &str, figure| (name.to_owned(), figure);
        let mut figures = vec![
            named("start to first request for work", Figure::median(&self.full.ready)),
            named("start to first answer", Figure::median(&self.full.first_answer)),
        ];
        for (percent, under) in &self.at_percent {
            let named = |name: &str, figure| (format!("{percent} %: {name}"), figure);
            figures.extend([
                named("start to first request for work", Figure::median(&under.start.ready)),
                named("start to first answer", Figure::median(&under.start.first_answer)),
                named("first invocation, started at 100 %", Figure::median(&under.after_init)),
                named("warm, p50", Figure::median(&under.warm)),
                named("warm, p99", Figure::time(under.warm.quantile(990))),
            ]);
        }
        figures.extend([
            named("warm, p50", Figure::median(&self.warm)),
            named("warm, p99", Figure::time(self.warm.quantile(990))),
            named("warm, processor time", Figure::time(self.processor_time())),
            named("peak memory", Figure::bytes(self.peak_memory)),
            named("package, zipped", Figure::bytes(self.package)),
            named("Amazon's emulator, cold", Figure::time(self.reality.cold)),
            named("Amazon's emulator, warm", Figure::time(self.reality.warm)),
        ]);
        figures
    }

    fn figure(&self, name: &str) -> Option<Figure> {
        let found = self.figures().into_iter().find(|(other, _)| other == name);
        found.map(|(_, figure)| figure)
    }

    fn json(&self) -> Value {
        let start = |start: &Start| json!({ "ready": start.ready.json(), "firstAnswer": start.first_answer.json() });
        let at_percent = self.at_percent.iter().map(|(percent, under)| {
            let figures = json!({ "start": start(&under.start), "firstAfterInit": under.after_init.json(), "warm": under.warm.json() });
            (percent.to_string(), figures)
        });
        json!({
            "function": self.job.function(),
            "kind": self.kind.to_string(),
            "packageBytes": self.package,
            "start": start(&self.full),
            "atPercent": at_percent.collect::<serde_json::Map<_, _>>(),
            "warm": self.warm.json(),
            "processorTime": micros(self.processor_time()),
            "peakMemoryBytes": self.peak_memory,
            "amazonsEmulator": { "cold": micros(self.reality.cold), "warm": micros(self.reality.warm) },
        })
    }
}

/// A figure as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figure {
    /// In thousandths of the unit.
    value: u64,
    /// The 10th and the 90th percentile, where it is a median.
    spread: Option<[u64; 2]>,
    unit: &'static str,
}

impl Figure {
    fn time(time: Duration) -> Self {
        Self {
            value: micros(time),
            spread: None,
            unit: "ms",
        }
    }

    fn median(samples: &Samples) -> Self {
        let spread = [100, 900].map(|thousandths| micros(samples.quantile(thousandths)));
        Self {
            spread: Some(spread),
            ..Self::time(samples.quantile(500))
        }
    }

    const fn bytes(bytes: u64) -> Self {
        Self {
            value: bytes / 1000,
            spread: None,
            unit: "MB",
        }
    }
}

/// `1.84 ms`, `5.06 MB`, with a spread `1.84 ms (1.71 to 2.03)`.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: u64| {
            if value < 100_000 {
                format!("{}.{:02}", value / 1000, value % 1000 / 10)
            } else {
                (value / 1000).to_string()
            }
        };
        write!(f, "{} {}", show(self.value), self.unit)?;
        match self.spread {
            Some([low, high]) => write!(f, " ({} to {})", show(low), show(high)),
            None => Ok(()),
        }
    }
}

/// How many times `of` another figure is, with one decimal; a dash where there is nothing to divide by.
fn times(figure: Figure, of: Figure) -> String {
    match tenths(figure, of) {
        Some(tenths) => format!("{}.{}", tenths / 10, tenths % 10),
        None => "-".to_owned(),
    }
}

fn tenths(figure: Figure, of: Figure) -> Option<u64> {
    figure.value.saturating_mul(10).checked_div(of.value)
}

/// One of our figures beside the others'.
struct Compared {
    name: String,
    ours: Figure,
    empty: Option<Figure>,
    node: Option<Figure>,
    python: Option<Figure>,
}

/// What of a warm webhook is ours.
struct Added {
    name: &'static str,
    webhook: Figure,
    write: Figure,
    /// The difference.
    micros: i128,
}

/// Everything that was measured.
#[derive(Debug)]
pub struct Report {
    /// A row a contestant.
    pub rows: Vec<Row>,
    /// Several environments at once.
    pub at_once: Vec<AtOnce>,
}

impl Report {
    fn row(&self, job: Job, kind: Kind) -> Option<&Row> {
        self.rows.iter().find(|row| row.job == job && row.kind == kind)
    }

    /// A table a job: ours beside the others, and how many times theirs is ours; what a webhook adds; and many at once.
    fn tables(&self) -> String {
        let mut text = String::new();
        for job in Job::REAL {
            text.push_str(&format!("\n## {}\n\n| | ours | empty | ours/empty |", job.function()));
            text.push_str(" Node | Node/ours | Python | Python/ours |\n|---|---:|---:|---:|---:|---:|---:|---:|\n");
            for compared in self.compared(job) {
                let beside = |other: Option<Figure>| other.map_or_else(|| "-".to_owned(), |other| other.to_string());
                let ratio = |figure: Option<Figure>, of: Option<Figure>| match (figure, of) {
                    (Some(figure), Some(of)) => times(figure, of),
                    (None, _) | (_, None) => "-".to_owned(),
                };
                let Compared {
                    name,
                    ours,
                    empty,
                    node,
                    python,
                } = compared;
                let cells = [
                    ours.to_string(),
                    beside(empty),
                    ratio(Some(ours), empty),
                    beside(node),
                    ratio(node, Some(ours)),
                    beside(python),
                    ratio(python, Some(ours)),
                ];
                text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
            }
        }
        text.push_str("\n## What a webhook adds to its one write\n\n| | webhook | the write by the SDK alone | added |\n|---|---:|---:|---:|\n");
        for added in self.added() {
            let Added {
                name,
                webhook,
                write,
                micros,
            } = added;
            text.push_str(&format!("| {name} | {webhook} | {write} | {micros} µs |\n"));
        }
        text.push_str(
            "\n## Many environments at once\n\n| | environments | a second | p50 | p99 |\n|---|---:|---:|---:|---:|\n",
        );
        for at_once in &self.at_once {
            let [median, slow] = [500, 990].map(|thousandths| Figure::time(at_once.latency.quantile(thousandths)));
            let (job, environments, rate) = (at_once.job.function(), at_once.environments, at_once.rate);
            text.push_str(&format!("| {job} | {environments} | {rate} | {median} | {slow} |\n"));
        }
        text
    }

    /// Each of our figures of a job beside the others'.
    fn compared(&self, job: Job) -> Vec<Compared> {
        let ours = self.row(job, Kind::Rust).map(Row::figures).unwrap_or_default();
        let beside = |job, kind, name: &str| self.row(job, kind).and_then(|row| row.figure(name));
        let compared = ours.into_iter().map(|(name, ours)| Compared {
            empty: beside(Job::Nothing, Kind::Floor, &name),
            node: beside(job, Kind::Node, &name),
            python: beside(job, Kind::Python, &name),
            name,
            ours,
        });
        compared.collect()
    }

    /// A warm webhook beside the one write that it cannot do without.
    fn added(&self) -> Vec<Added> {
        let names = ["warm, p50", "warm, processor time"];
        let figure = |job, kind, name| self.row(job, kind).and_then(|row| row.figure(name));
        let added = names.into_iter().filter_map(|name| {
            let webhook = figure(Job::Webhook, Kind::Rust, name)?;
            let write = figure(Job::OneWrite, Kind::Floor, name)?;
            let micros = i128::from(webhook.value) - i128::from(write.value);
            Some(Added {
                name,
                webhook,
                write,
                micros,
            })
        });
        added.collect()
    }

    fn json(&self) -> Value {
        let at_once = self.at_once.iter().map(|at_once| {
            json!({
                "function": at_once.job.function(), "environments": at_once.environments,
                "perSecond": at_once.rate, "latency": at_once.latency.json(),
            })
        });
        let ratio = |figure: Option<Figure>, of: Option<Figure>| tenths(figure?, of?);
        let ratios = Job::REAL.into_iter().map(|job| {
            let of_job = self.compared(job).into_iter().map(|compared| {
                let ours = Some(compared.ours);
                let ratios = json!({
                    "oursToEmpty": ratio(ours, compared.empty), "nodeToOurs": ratio(compared.node, ours),
                    "pythonToOurs": ratio(compared.python, ours),
                });
                (compared.name, ratios)
            });
            (job.function().to_owned(), Value::Object(of_job.collect()))
        });
        let added = self.added();
        json!({
            "unit": "microseconds",
            "functions": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "ratiosInTenths": ratios.collect::<serde_json::Map<_, _>>(),
            "addedToOneWrite": added.iter().map(|added| (added.name, added.micros)).collect::<BTreeMap<_, _>>(),
            "atOnce": at_once.collect::<Vec<_>>(),
        })
    }

    /// Prints the tables, and writes everything to a file as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    #[expect(clippy::print_stdout, reason = "it is what the program is for")]
    pub fn tell(&self, file: &Path) -> Result<(), Failure> {
        println!("{}\nAll of it: {}", self.tables(), file.display());
        let written = std::fs::write(file, format!("{:#}\n", self.json()));
        written.map_err(|error| Failure(format!("{}: {error}", file.display())))
    }
}

/// How far it has come: a bar on a terminal, and nothing elsewhere.
pub struct Progress {
    total: usize,
    done: usize,
}

impl Progress {
    /// So many steps.
    pub const fn of(total: usize) -> Self {
        Self { total, done: 0 }
    }

    /// One step is done, with this contestant.
    pub fn step(&mut self, contestant: &Contestant) {
        const WIDTH: usize = 30;
        self.done = self.done.saturating_add(1);
        if !std::io::stderr().is_terminal() {
            return;
        }
        let filled = WIDTH
            .saturating_mul(self.done)
            .checked_div(self.total)
            .unwrap_or_default()
            .min(WIDTH);
        let bar = format!("{}{}", "#".repeat(filled), ".".repeat(WIDTH.saturating_sub(filled)));
        let end = if self.done >= self.total { "\n" } else { "" };
        let what = contestant.to_string();
        // Whoever closed the terminal does not look at it.
        let _ = write!(
            std::io::stderr(),
            "\r[{bar}] {}/{} {what:<30}{end}",
            self.done,
            self.total
        );
    }
}

/// A word on the way, or why there is no result.
#[expect(clippy::print_stderr, reason = "it is what whoever started the program reads")]
pub fn say(words: &str) {
    eprintln!("bench: {words}");
}
