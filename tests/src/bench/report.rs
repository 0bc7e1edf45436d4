//! The result: medians with their spread, as Markdown tables and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::Failure;
use super::contestants::{Contestant, Job, Kind};
use super::emulator::EmulatorTimes;
use super::scale::Throughput;

/// The measurements of one figure.
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

    /// The number of measurements.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The quantile in thousandths; zero if there are no samples.
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

    /// In microseconds: median, 10th, 90th and 99th percentile, and the number of measurements.
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
    /// From the start of the process until it polls for an invocation.
    pub ready: Samples,
    /// From the start of the process until its response to an event that was already waiting.
    pub first_response: Samples,
}

/// Measurements with a CPU quota.
#[derive(Clone, Debug, Default)]
pub struct UnderQuota {
    /// Cold starts with the quota.
    pub start: Start,
    /// The first invocation only, after a start without a quota, as in Lambda.
    pub after_init: Samples,
    /// Warm invocations.
    pub warm: Samples,
}

/// All measurements of one contestant.
#[derive(Clone, Debug)]
pub struct Row {
    job: Job,
    kind: Kind,
    /// The size of the package, in bytes.
    package: u64,
    /// Cold starts without a quota.
    pub full: Start,
    /// With quotas, by percentage of a CPU.
    pub at_percent: BTreeMap<u64, UnderQuota>,
    /// Warm invocations.
    pub warm: Samples,
    /// CPU time of all warm invocations.
    pub cpu_time: Duration,
    /// Peak memory, in bytes.
    pub peak_memory: u64,
    /// In Amazon's emulator.
    pub emulator: EmulatorTimes,
}

impl Row {
    /// A row with the size of the contestant's package and no measurements.
    ///
    /// # Errors
    /// When the package does not exist.
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
            cpu_time: Duration::ZERO,
            peak_memory: 0,
            emulator: EmulatorTimes::default(),
        })
    }

    /// CPU time per warm invocation.
    fn cpu_time(&self) -> Duration {
        let count = u32::try_from(self.warm.count()).unwrap_or(u32::MAX);
        self.cpu_time.checked_div(count).unwrap_or_default()
    }

    /// The figures with their names.
    fn figures(&self) -> Vec<(String, Figure)> {
        let named = |name: &str, figure| (name.to_owned(), figure);
        let mut figures = vec![
            named("start to first poll", Figure::median(&self.full.ready)),
            named("start to first response", Figure::median(&self.full.first_response)),
        ];
        for (percent, under) in &self.at_percent {
            let named = |name: &str, figure| (format!("{percent} %: {name}"), figure);
            figures.extend([
                named("start to first poll", Figure::median(&under.start.ready)),
                named("start to first response", Figure::median(&under.start.first_response)),
                named("first invocation, started at 100 %", Figure::median(&under.after_init)),
                named("warm, p50", Figure::median(&under.warm)),
                named("warm, p99", Figure::time(under.warm.quantile(990))),
            ]);
        }
        figures.extend([
            named("warm, p50", Figure::median(&self.warm)),
            named("warm, p99", Figure::time(self.warm.quantile(990))),
            named("warm, CPU time", Figure::time(self.cpu_time())),
            named("peak memory", Figure::bytes(self.peak_memory)),
            named("package, zipped", Figure::bytes(self.package)),
            named("Amazon's emulator, cold", Figure::time(self.emulator.cold)),
            named("Amazon's emulator, warm", Figure::time(self.emulator.warm)),
        ]);
        figures
    }

    fn figure(&self, name: &str) -> Option<Figure> {
        let found = self.figures().into_iter().find(|(other, _)| other == name);
        found.map(|(_, figure)| figure)
    }

    fn json(&self) -> Value {
        let start =
            |start: &Start| json!({ "ready": start.ready.json(), "firstResponse": start.first_response.json() });
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
            "cpuTime": micros(self.cpu_time()),
            "peakMemoryBytes": self.peak_memory,
            "amazonsEmulator": { "cold": micros(self.emulator.cold), "warm": micros(self.emulator.warm) },
        })
    }
}

/// A displayed figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figure {
    /// The value in thousandths of the unit.
    value: u64,
    /// The 10th and 90th percentiles of a median.
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

/// A figure divided by another one, with one decimal; a dash if that is zero.
fn ratio(figure: Figure, of: Figure) -> String {
    match tenths(figure, of) {
        Some(tenths) => format!("{}.{}", tenths / 10, tenths % 10),
        None => "-".to_owned(),
    }
}

fn tenths(figure: Figure, of: Figure) -> Option<u64> {
    figure.value.saturating_mul(10).checked_div(of.value)
}

/// One of our figures and the others'.
struct Compared {
    name: String,
    ours: Figure,
    empty: Option<Figure>,
    node: Option<Figure>,
    python: Option<Figure>,
}

/// The overhead of a warm webhook over its write.
struct Overhead {
    name: &'static str,
    webhook: Figure,
    write: Figure,
    /// The difference, in microseconds.
    micros: i128,
}

/// All measurements.
#[derive(Debug)]
pub struct Report {
    /// One row per contestant.
    pub rows: Vec<Row>,
    /// Several environments in parallel.
    pub throughput: Vec<Throughput>,
}

impl Report {
    fn row(&self, job: Job, kind: Kind) -> Option<&Row> {
        self.rows.iter().find(|row| row.job == job && row.kind == kind)
    }

    /// The tables: per job, our figures, the others' and their ratios; a webhook's overhead; environments in parallel.
    fn tables(&self) -> String {
        let mut text = String::new();
        for job in Job::REAL {
            text.push_str(&format!("\n## {}\n\n| | ours | empty | ours/empty |", job.function()));
            text.push_str(" Node | Node/ours | Python | Python/ours |\n|---|---:|---:|---:|---:|---:|---:|---:|\n");
            for compared in self.compared(job) {
                let cell = |other: Option<Figure>| other.map_or_else(|| "-".to_owned(), |other| other.to_string());
                let ratio_cell = |figure: Option<Figure>, of: Option<Figure>| match (figure, of) {
                    (Some(figure), Some(of)) => ratio(figure, of),
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
                    cell(empty),
                    ratio_cell(Some(ours), empty),
                    cell(node),
                    ratio_cell(node, Some(ours)),
                    cell(python),
                    ratio_cell(python, Some(ours)),
                ];
                text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
            }
        }
        text.push_str("\n## Overhead of a webhook over its one write\n\n| | webhook | the write with the SDK only | overhead |\n|---|---:|---:|---:|\n");
        for overhead in self.overheads() {
            let Overhead {
                name,
                webhook,
                write,
                micros,
            } = overhead;
            text.push_str(&format!("| {name} | {webhook} | {write} | {micros} µs |\n"));
        }
        text.push_str(
            "\n## Environments in parallel\n\n| | environments | per second | p50 | p99 |\n|---|---:|---:|---:|---:|\n",
        );
        for throughput in &self.throughput {
            let [median, slow] = [500, 990].map(|thousandths| Figure::time(throughput.latency.quantile(thousandths)));
            let (job, environments, rate) = (throughput.job.function(), throughput.environments, throughput.rate);
            text.push_str(&format!("| {job} | {environments} | {rate} | {median} | {slow} |\n"));
        }
        text
    }

    /// Our figures of a job with the others'.
    fn compared(&self, job: Job) -> Vec<Compared> {
        let ours = self.row(job, Kind::Rust).map(Row::figures).unwrap_or_default();
        let figure = |job, kind, name: &str| self.row(job, kind).and_then(|row| row.figure(name));
        let compared = ours.into_iter().map(|(name, ours)| Compared {
            empty: figure(Job::Nothing, Kind::Floor, &name),
            node: figure(job, Kind::Node, &name),
            python: figure(job, Kind::Python, &name),
            name,
            ours,
        });
        compared.collect()
    }

    /// A warm webhook compared with its one write.
    fn overheads(&self) -> Vec<Overhead> {
        let names = ["warm, p50", "warm, CPU time"];
        let figure = |job, kind, name| self.row(job, kind).and_then(|row| row.figure(name));
        let overheads = names.into_iter().filter_map(|name| {
            let webhook = figure(Job::Webhook, Kind::Rust, name)?;
            let write = figure(Job::OneWrite, Kind::Floor, name)?;
            let micros = i128::from(webhook.value) - i128::from(write.value);
            Some(Overhead {
                name,
                webhook,
                write,
                micros,
            })
        });
        overheads.collect()
    }

    fn json(&self) -> Value {
        let throughput = self.throughput.iter().map(|throughput| {
            json!({
                "function": throughput.job.function(), "environments": throughput.environments,
                "perSecond": throughput.rate, "latency": throughput.latency.json(),
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
        let overheads = self.overheads();
        json!({
            "unit": "microseconds",
            "functions": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "ratiosInTenths": ratios.collect::<serde_json::Map<_, _>>(),
            "webhookOverhead": overheads.iter().map(|overhead| (overhead.name, overhead.micros)).collect::<BTreeMap<_, _>>(),
            "parallel": throughput.collect::<Vec<_>>(),
        })
    }

    /// Prints the tables, and writes all figures to a file as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    #[expect(clippy::print_stdout, reason = "the program's output")]
    pub fn publish(&self, file: &Path) -> Result<(), Failure> {
        println!("{}\nAll figures: {}", self.tables(), file.display());
        let written = std::fs::write(file, format!("{:#}\n", self.json()));
        written.map_err(|error| Failure(format!("{}: {error}", file.display())))
    }
}

/// A progress bar, on terminals only.
pub struct Progress {
    total: usize,
    done: usize,
}

impl Progress {
    /// Progress with a number of steps.
    pub const fn of(total: usize) -> Self {
        Self { total, done: 0 }
    }

    /// Records that one step is done, with this contestant.
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
        let label = contestant.to_string();
        // An error means that the terminal is closed.
        let _ = write!(
            std::io::stderr(),
            "\r[{bar}] {}/{} {label:<30}{end}",
            self.done,
            self.total
        );
    }
}

/// Prints a message to stderr.
#[expect(clippy::print_stderr, reason = "messages for the user")]
pub fn print_message(text: &str) {
    eprintln!("bench: {text}");
}
