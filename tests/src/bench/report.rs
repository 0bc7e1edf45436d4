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
        let median = |samples: &Samples| Figure::Time(samples.quantile(500));
        let mut figures = vec![
            named("start to first request for work", median(&self.full.ready)),
            named("start to first answer", median(&self.full.first_answer)),
        ];
        for (percent, under) in &self.at_percent {
            figures.extend([
                (
                    format!("{percent} %: start to first request for work"),
                    median(&under.start.ready),
                ),
                (
                    format!("{percent} %: start to first answer"),
                    median(&under.start.first_answer),
                ),
                (
                    format!("{percent} %: first invocation, started at 100 %"),
                    median(&under.after_init),
                ),
            ]);
        }
        figures.extend([
            named("warm, p50", median(&self.warm)),
            named("warm, p99", Figure::Time(self.warm.quantile(990))),
            named("warm, processor time", Figure::Time(self.processor_time())),
            named("peak memory", Figure::Bytes(self.peak_memory)),
            named("package, zipped", Figure::Bytes(self.package)),
            named("Amazon's emulator, cold", Figure::Time(self.reality.cold)),
            named("Amazon's emulator, warm", Figure::Time(self.reality.warm)),
        ]);
        figures
    }

    fn json(&self) -> Value {
        let start = |start: &Start| json!({ "ready": start.ready.json(), "firstAnswer": start.first_answer.json() });
        let at_percent = self.at_percent.iter().map(|(percent, under)| {
            let figures = json!({ "start": start(&under.start), "firstAfterInit": under.after_init.json() });
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
enum Figure {
    Time(Duration),
    Bytes(u64),
}

impl Figure {
    /// In thousandths of a millisecond or of a megabyte.
    fn value(self) -> u64 {
        match self {
            Self::Time(time) => micros(time),
            Self::Bytes(bytes) => bytes / 1000,
        }
    }
}

/// `1.84 ms`, `5.06 MB`.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self {
            Self::Time(_) => "ms",
            Self::Bytes(_) => "MB",
        };
        let value = self.value();
        if value < 100_000 {
            write!(f, "{}.{:02} {unit}", value / 1000, value % 1000 / 10)
        } else {
            write!(f, "{} {unit}", value / 1000)
        }
    }
}

/// How many times `of` another figure is, with one decimal; a dash where there is nothing to divide by.
fn times(figure: Figure, of: Figure) -> String {
    match figure.value().saturating_mul(10).checked_div(of.value()) {
        Some(tenths) => format!("{}.{}", tenths / 10, tenths % 10),
        None => "-".to_owned(),
    }
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

    /// Two tables a job: ours beside the others, and how many times theirs is ours; and many at once.
    fn tables(&self) -> String {
        let figures = |job, kind| self.row(job, kind).map(Row::figures).unwrap_or_default();
        let find = |figures: &[(String, Figure)], name: &str| {
            let found = figures.iter().find(|(other, _)| other == name);
            found.map(|(_, figure)| *figure)
        };
        let empty = figures(Job::Nothing, Kind::Floor);
        let mut text = String::new();
        for job in Job::REAL {
            let others = [Kind::Node, Kind::Python].map(|kind| figures(job, kind));
            text.push_str(&format!("\n## {}\n\n| | ours | empty | ours/empty |", job.function()));
            text.push_str(" Node | Node/ours | Python | Python/ours |\n|---|---:|---:|---:|---:|---:|---:|---:|\n");
            for (name, ours) in figures(job, Kind::Rust) {
                let mut cells = vec![ours.to_string()];
                let mut beside = |other: Option<Figure>, ratio: fn(Figure, Figure) -> String| match other {
                    Some(other) => cells.extend([other.to_string(), ratio(ours, other)]),
                    None => cells.extend(["-".to_owned(), "-".to_owned()]),
                };
                beside(find(&empty, &name), times);
                for other in &others {
                    beside(find(other, &name), |ours, other| times(other, ours));
                }
                text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
            }
        }
        text.push_str("\n## One write to DynamoDB by the SDK alone\n\n| | |\n|---|---:|\n");
        for (name, figure) in figures(Job::OneWrite, Kind::Floor) {
            text.push_str(&format!("| {name} | {figure} |\n"));
        }
        text.push_str(
            "\n## Many environments at once\n\n| | environments | a second | p50 | p99 |\n|---|---:|---:|---:|---:|\n",
        );
        for at_once in &self.at_once {
            let [median, slow] = [500, 990].map(|thousandths| Figure::Time(at_once.latency.quantile(thousandths)));
            let (job, environments, rate) = (at_once.job.function(), at_once.environments, at_once.rate);
            text.push_str(&format!("| {job} | {environments} | {rate} | {median} | {slow} |\n"));
        }
        text
    }

    fn json(&self) -> Value {
        let at_once = self.at_once.iter().map(|at_once| {
            json!({
                "function": at_once.job.function(), "environments": at_once.environments,
                "perSecond": at_once.rate, "latency": at_once.latency.json(),
            })
        });
        json!({
            "unit": "microseconds",
            "functions": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
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
