//! Metrics, in CloudWatch's embedded metric format: what happened in an invocation, as lines in its log.
//!
//! Guarantees: a metric is written by its own function here and nowhere else, so that names, units and dimensions stand
//! in one place; an invocation in which nothing happened writes no line; nothing is lost, however often it happens. No
//! dimension is personal, and none has more than a handful of values: each of them is a metric of its own, and paid for.
//!
//! Every function runs in [`serve`](crate::lambda::serve), which writes the metrics of an invocation when it ends, so
//! that nobody has to think of it. Where nobody called [`init`], as in tests, nothing is counted.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{IntoF64, Label, counter, describe_counter, histogram};
use metrics_cloudwatch_embedded::{Builder, Collector};

pub use metrics::Unit;

use crate::domain::provider::Provider;
use crate::domain::status::Status;

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Of what it is a number.
    pub unit: Unit,
    /// What it is told apart by.
    pub dimensions: &'static [&'static str],
}

const PAYMENTS: Metric = Metric::new("Payments", Unit::Count, &["Provider", "Status"]);
const TIME_TO_COMPLETION: Metric = Metric::new("TimeToCompletion", Unit::Seconds, &["Provider"]);
const PROVIDER_LATENCY: Metric = Metric::new("ProviderLatency", Unit::Milliseconds, &["Provider", "Operation"]);
const PROVIDER_ERRORS: Metric = Metric::new("ProviderErrors", Unit::Count, &["Provider", "Error"]);
const PROVIDER_KEY_REFUSED: Metric = Metric::new("ProviderKeyRefused", Unit::Count, &[]);
const SECRETS_UNREADABLE: Metric = Metric::new("SecretsUnreadable", Unit::Count, &[]);
const SIGNATURE_FAILURES: Metric = Metric::new("SignatureFailures", Unit::Count, &[]);
const UNUSABLE_WEBHOOKS: Metric = Metric::new("UnusableWebhooks", Unit::Count, &[]);
const FACTS_PARKED: Metric = Metric::new("UnmatchedWebhooks", Unit::Count, &[]);
const STORE_ERRORS: Metric = Metric::new("StoreErrors", Unit::Count, &[]);
const REPLAYS: Metric = Metric::new("Replays", Unit::Count, &[]);
const OLDEST_PARKED_SECONDS: Metric = Metric::new("OldestUnmatchedSeconds", Unit::Seconds, &[]);
const PAYMENTS_IN_REVIEW: Metric = Metric::new("PaymentsInReview", Unit::Count, &[]);
const RECONCILER_LAG: Metric = Metric::new("ReconcilerLag", Unit::Seconds, &[]);

/// Every metric that there is.
pub const ALL: [Metric; 14] = [
    PAYMENTS,
    TIME_TO_COMPLETION,
    PROVIDER_LATENCY,
    PROVIDER_ERRORS,
    PROVIDER_KEY_REFUSED,
    SECRETS_UNREADABLE,
    SIGNATURE_FAILURES,
    UNUSABLE_WEBHOOKS,
    FACTS_PARKED,
    STORE_ERRORS,
    REPLAYS,
    OLDEST_PARKED_SECONDS,
    PAYMENTS_IN_REVIEW,
    RECONCILER_LAG,
];

/// What a provider is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// To create a payment.
    Create,
    /// To tell a payment's status.
    Status,
    /// To list the payments of an order.
    List,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Status => "status",
            Self::List => "list",
        }
    }
}

/// `Payments`, a count by `Provider` and `Status`: a payment's new status was published. `TimeToCompletion`, in seconds
/// by `Provider`, where that is `completed`: how long after its creation (`age`).
pub fn payment_published(provider: Provider, status: Status, age: Duration) {
    PAYMENTS.count(&[provider.name(), status.name()]);
    if status == Status::Completed {
        TIME_TO_COMPLETION.record(&[provider.name()], age);
    }
}

/// `ProviderLatency`, in milliseconds by `Provider` and `Operation`: how long a provider took to answer, or we to give
/// up on it.
pub fn provider_called(provider: Provider, operation: Operation, took: Duration) {
    let millis = took.div_duration_f64(Duration::from_millis(1));
    PROVIDER_LATENCY.record(&[provider.name(), operation.name()], millis);
}

/// `ProviderErrors`, a count by `Provider` and `Error`: a call to a provider failed. A refused payment is no error.
pub fn provider_failed(provider: Provider, error: &'static str) {
    PROVIDER_ERRORS.count(&[provider.name(), error]);
}

/// `ProviderKeyRefused`, a count: a provider refused our key.
pub fn provider_key_refused() {
    PROVIDER_KEY_REFUSED.count(&[]);
}

/// `SecretsUnreadable`, a count: a secret could not be fetched, or was not what it must be.
pub fn secret_unreadable() {
    SECRETS_UNREADABLE.count(&[]);
}

/// `SignatureFailures`, a count: a webhook was refused because nothing proved who sent it.
pub fn signature_failed() {
    SIGNATURE_FAILURES.count(&[]);
}

/// `UnusableWebhooks`, a count: a webhook that the provider signed was refused because it cannot be read.
pub fn webhook_unusable() {
    UNUSABLE_WEBHOOKS.count(&[]);
}

/// `UnmatchedWebhooks`, a count: a webhook was kept, and no payment is known for it.
pub fn unmatched_webhook() {
    FACTS_PARKED.count(&[]);
}

/// `StoreErrors`, a count: a request, a webhook or a run could not be served because of the table.
pub fn store_failed() {
    STORE_ERRORS.count(&[]);
}

/// `Replays`, a count: an answer was given again by its idempotency key.
pub fn replayed() {
    REPLAYS.count(&[]);
}

/// `OldestUnmatchedSeconds`, in seconds: the age of the oldest event that no payment is known for; zero where there is
/// none.
pub fn oldest_unmatched(age: Duration) {
    OLDEST_PARKED_SECONDS.record(&[], age);
}

/// `PaymentsInReview`, a count: how many payments wait for a person.
pub fn payments_in_review(count: u32) {
    PAYMENTS_IN_REVIEW.record(&[], count);
}

/// `ReconcilerLag`, in seconds: for how long the oldest thing that was due had been due when a run began; zero where
/// nothing was.
pub fn reconciler_lag(lag: Duration) {
    RECONCILER_LAG.record(&[], lag);
}

impl Metric {
    const fn new(name: &'static str, unit: Unit, dimensions: &'static [&'static str]) -> Self {
        Self { name, unit, dimensions }
    }

    /// One more, since the last line.
    fn count(&self, values: &[&'static str]) {
        counter!(self.name, self.labels(values)).increment(1);
    }

    /// A measurement. The format's gauges are not for us: the collector would repeat one in every later invocation.
    fn record(&self, values: &[&'static str], value: impl IntoF64) {
        histogram!(self.name, self.labels(values)).record(value);
        if RECORDED.fetch_add(1, Ordering::Relaxed) >= MOST.saturating_sub(1) {
            write();
        }
    }

    fn labels(&self, values: &[&'static str]) -> Vec<Label> {
        let pairs = self.dimensions.iter().zip(values);
        pairs
            .map(|(name, value)| Label::from_static_parts(name, value))
            .collect()
    }
}

/// The most measurements of a metric that one line may have. The collector drops more.
const MOST: usize = 100;

/// How many measurements there have been since the last line, of all metrics together.
static RECORDED: AtomicUsize = AtomicUsize::new(0);

static COLLECTOR: OnceLock<&Collector> = OnceLock::new();

/// Starts counting, in a namespace.
pub fn init(namespace: String) {
    // A second call in one process, as tests make it, changes nothing.
    let Ok(collector) = Builder::new().cloudwatch_namespace(namespace).init() else {
        return;
    };
    for metric in ALL {
        // Whatever it is: the collector keeps a unit for each name.
        describe_counter!(metric.name, metric.unit, "");
    }
    let _ = COLLECTOR.set(collector);
}

/// An invocation. When it ends, by an answer, an error or a panic, its metrics are written.
#[derive(Debug)]
pub struct Invocation(());

impl Invocation {
    /// The invocation with this id, which its lines will show.
    pub fn begin(request_id: &str) -> Self {
        if let Some(collector) = COLLECTOR.get() {
            collector.set_property("requestId", request_id);
        }
        Self(())
    }
}

impl Drop for Invocation {
    fn drop(&mut self) {
        write();
    }
}

/// Writes what there is to standard output, whole lines at once.
fn write() {
    let lines = take();
    if !lines.is_empty() {
        // There is nobody to tell where the log cannot be written.
        let _ = std::io::stdout().write_all(&lines);
    }
}

fn take() -> Vec<u8> {
    RECORDED.store(0, Ordering::Relaxed);
    let mut lines = Vec::new();
    if let Some(collector) = COLLECTOR.get() {
        let _ = collector.flush(&mut lines);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The lines about these metrics. Other tests of this process count others meanwhile.
    fn lines_of(names: &[&str]) -> Vec<Value> {
        let lines = String::from_utf8(take()).unwrap();
        let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.retain(|line| names.iter().any(|name| line.get(*name).is_some()));
        for line in &mut lines {
            assert!(line["_aws"]["Timestamp"].take().is_u64(), "{line}");
        }
        lines
    }

    /// The collector is the process's, so its tests are one.
    #[test]
    fn what_is_counted_is_written_once_by_its_dimensions_however_much_and_however_it_ends() {
        init("shop".to_owned());
        init("another".to_owned());

        drop(Invocation::begin("r-1"));
        payment_published(Provider::FinvyPay, Status::Expired, Duration::from_secs(1));
        payment_published(Provider::ApoloPay, Status::Completed, Duration::from_millis(2500));
        payment_published(Provider::ApoloPay, Status::Completed, Duration::ZERO);
        let head = |dimensions: Value, name: &str, unit: &str| {
            json!({ "Timestamp": null, "CloudWatchMetrics": [{
                "Namespace": "shop", "Dimensions": [dimensions], "Metrics": [{ "Name": name, "Unit": unit }],
            }] })
        };
        let payments = head(json!(["Provider", "Status"]), "Payments", "Count");
        assert_eq!(
            lines_of(&["Payments", "TimeToCompletion"]),
            [
                json!({
                    "_aws": head(json!(["Provider"]), "TimeToCompletion", "Seconds"), "requestId": "r-1",
                    "Provider": "apolopay", "TimeToCompletion": [2.5, 0.0],
                }),
                json!({
                    "_aws": payments, "requestId": "r-1", "Provider": "apolopay", "Status": "completed", "Payments": 2,
                }),
                json!({
                    "_aws": payments, "requestId": "r-1", "Provider": "finvypay", "Status": "expired", "Payments": 1,
                }),
            ]
        );
        assert_eq!(lines_of(&["Payments", "TimeToCompletion"]), [Value::Null; 0], "once");

        // The hundredth writes them, since the collector has no room for more.
        let lag = |_| reconciler_lag(Duration::from_secs(1));
        (0..MOST).for_each(lag);
        assert_eq!(lines_of(&["ReconcilerLag"]), [Value::Null; 0], "written already");
        (1..MOST).for_each(lag);
        let left = lines_of(&["ReconcilerLag"]);
        assert_eq!(left[0]["ReconcilerLag"].as_array().unwrap().len(), MOST - 1);

        let panicked = std::panic::catch_unwind(|| {
            let _invocation = Invocation::begin("r-2");
            replayed();
            panic!("as a handler might");
        });
        assert!(panicked.is_err());
        assert_eq!(lines_of(&["Replays"]), [Value::Null; 0], "written by its end");
    }

    #[test]
    fn names_are_used_once() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
