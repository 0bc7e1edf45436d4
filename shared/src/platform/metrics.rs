//! Metrics in CloudWatch's embedded metric format: log lines that CloudWatch turns into metrics.
//!
//! Guarantees: each metric is recorded by one function in this module, so names, units and dimensions are defined in
//! one place. Every occurrence is counted, and an invocation without any writes no line. Dimensions contain no personal
//! data and have few values, because AWS charges for each value as a metric of its own.
//!
//! [`run`](crate::lambda::run) writes the metrics at the end of each invocation. Without [`init`], as in most
//! tests, nothing is counted.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{IntoF64, Label, counter, describe_counter, histogram};
use metrics_cloudwatch_embedded::{Builder, Collector};

pub use metrics::Unit;

use crate::domain::attention::AttentionReason;
use crate::domain::provider::Provider;
use crate::domain::status::Status;

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// The name.
    pub name: &'static str,
    /// The unit.
    pub unit: Unit,
    /// The names of its dimensions.
    pub dimensions: &'static [&'static str],
}

const PAYMENTS: Metric = Metric::new("Payments", Unit::Count, &["Provider", "Status"]);
const ATTENTION: Metric = Metric::new("Attention", Unit::Count, &["Reason"]);
const TIME_TO_COMPLETION: Metric = Metric::new("TimeToCompletion", Unit::Seconds, &["Provider"]);
const PROVIDER_LATENCY: Metric = Metric::new("ProviderLatency", Unit::Milliseconds, &["Provider", "Operation"]);
const PROVIDER_ERRORS: Metric = Metric::new("ProviderErrors", Unit::Count, &["Provider", "Error"]);
const PROVIDER_KEY_REFUSED: Metric = Metric::new("ProviderKeyRefused", Unit::Count, &[]);
const SECRETS_UNREADABLE: Metric = Metric::new("SecretsUnreadable", Unit::Count, &[]);
const SIGNATURE_FAILURES: Metric = Metric::new("SignatureFailures", Unit::Count, &[]);
const QUARANTINED_WEBHOOKS: Metric = Metric::new("QuarantinedWebhooks", Unit::Count, &[]);
const MISROUTED_WEBHOOKS: Metric = Metric::new("MisroutedWebhooks", Unit::Count, &[]);
const OVERSIZED_WEBHOOKS: Metric = Metric::new("OversizedWebhooks", Unit::Count, &[]);
const UNMATCHED_WEBHOOKS: Metric = Metric::new("UnmatchedWebhooks", Unit::Count, &[]);
const STORE_ERRORS: Metric = Metric::new("StoreErrors", Unit::Count, &[]);
const REPLAYS: Metric = Metric::new("Replays", Unit::Count, &[]);
const OLDEST_UNMATCHED_SECONDS: Metric = Metric::new("OldestUnmatchedSeconds", Unit::Seconds, &[]);
const PAYMENTS_IN_REVIEW: Metric = Metric::new("PaymentsInReview", Unit::Count, &[]);
const TRANSACTION_LIST_LAG: Metric = Metric::new("TransactionListLag", Unit::Seconds, &[]);
const TRANSACTION_LIST_UNUSABLE: Metric = Metric::new("TransactionListUnusable", Unit::Count, &[]);
const RECONCILER_LAG: Metric = Metric::new("ReconcilerLag", Unit::Seconds, &[]);

/// Every metric.
pub const ALL: [Metric; 19] = [
    PAYMENTS,
    ATTENTION,
    TIME_TO_COMPLETION,
    PROVIDER_LATENCY,
    PROVIDER_ERRORS,
    PROVIDER_KEY_REFUSED,
    SECRETS_UNREADABLE,
    SIGNATURE_FAILURES,
    QUARANTINED_WEBHOOKS,
    MISROUTED_WEBHOOKS,
    OVERSIZED_WEBHOOKS,
    UNMATCHED_WEBHOOKS,
    STORE_ERRORS,
    REPLAYS,
    OLDEST_UNMATCHED_SECONDS,
    PAYMENTS_IN_REVIEW,
    RECONCILER_LAG,
    TRANSACTION_LIST_LAG,
    TRANSACTION_LIST_UNUSABLE,
];

/// The purpose of a provider call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Creates a payment.
    Create,
    /// Queries a payment's status.
    Status,
    /// Lists the transactions of an order.
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

/// `Payments`, a count by `Provider` and `Status`: a new status of a payment was published. If it is `completed`, also
/// `TimeToCompletion`, in seconds by `Provider`: the payment's `age`.
pub fn payment_published(provider: Provider, status: Status, age: Duration) {
    PAYMENTS.count(&[provider.name(), status.name()]);
    if status == Status::Completed {
        TIME_TO_COMPLETION.record(&[provider.name()], age);
    }
}

/// `Attention`, a count by `Reason`: a new fact gave a payment a reason for a person's attention.
pub fn attention_raised(reason: AttentionReason) {
    ATTENTION.count(&[reason.name()]);
}

/// `ProviderLatency`, in milliseconds by `Provider` and `Operation`: how long a call took until its response or
/// failure.
pub fn provider_latency_measured(provider: Provider, operation: Operation, took: Duration) {
    let millis = took.div_duration_f64(Duration::from_millis(1));
    PROVIDER_LATENCY.record(&[provider.name(), operation.name()], millis);
}

/// `ProviderErrors`, a count by `Provider` and `Error`: a call to a provider failed. A rejected payment is no error.
pub fn provider_call_failed(provider: Provider, error: &'static str) {
    PROVIDER_ERRORS.count(&[provider.name(), error]);
}

/// `ProviderKeyRefused`, a count: a provider refused our key.
pub fn provider_key_refused() {
    PROVIDER_KEY_REFUSED.count(&[]);
}

/// `SecretsUnreadable`, a count: a secret could not be fetched or was malformed.
pub fn secret_found_unreadable() {
    SECRETS_UNREADABLE.count(&[]);
}

/// `SignatureFailures`, a count: a webhook was refused because its signature did not verify.
pub fn signature_failed() {
    SIGNATURE_FAILURES.count(&[]);
}

/// `QuarantinedWebhooks`, a count: a correctly signed webhook could not be read and was put into quarantine. The
/// providers' test messages do not count.
pub fn webhook_quarantined() {
    QUARANTINED_WEBHOOKS.count(&[]);
}

/// `MisroutedWebhooks`, a count: a correctly signed webhook was sent to a path where there is nothing, or to another
/// provider's.
pub fn misrouted_webhook_refused() {
    MISROUTED_WEBHOOKS.count(&[]);
}

/// `OversizedWebhooks`, a count: a webhook was refused because of its size, before its signature was verified.
pub fn oversized_webhook_refused() {
    OVERSIZED_WEBHOOKS.count(&[]);
}

/// `UnmatchedWebhooks`, a count: a webhook without a known payment was stored as unmatched.
pub fn unmatched_webhook_stored() {
    UNMATCHED_WEBHOOKS.count(&[]);
}

/// `StoreErrors`, a count: a request, a webhook or a run failed because of the table.
pub fn store_failed() {
    STORE_ERRORS.count(&[]);
}

/// `Replays`, a count: a stored response was replayed for its idempotency key.
pub fn response_replayed() {
    REPLAYS.count(&[]);
}

/// `OldestUnmatchedSeconds`, in seconds: the age of the oldest unmatched notification; zero if there is none.
pub fn oldest_unmatched_measured(age: Duration) {
    OLDEST_UNMATCHED_SECONDS.record(&[], age);
}

/// `PaymentsInReview`, a count: the number of payments that need manual review.
pub fn payments_in_review_counted(count: u32) {
    PAYMENTS_IN_REVIEW.record(&[], count);
}

/// `ReconcilerLag`, in seconds: how overdue the oldest due item was when a run began; zero if none was due.
pub fn reconciler_lag_measured(lag: Duration) {
    RECONCILER_LAG.record(&[], lag);
}

/// `TransactionListLag`, in seconds: for how long the newest transactions of the provider's list have been due to be
/// read.
pub fn transaction_list_lag_measured(lag: Duration) {
    TRANSACTION_LIST_LAG.record(&[], lag);
}

/// `TransactionListUnusable`, a count: the provider's list of transactions cannot be used. Once a run.
pub fn transaction_list_unusable() {
    TRANSACTION_LIST_UNUSABLE.count(&[]);
}

impl Metric {
    const fn new(name: &'static str, unit: Unit, dimensions: &'static [&'static str]) -> Self {
        Self { name, unit, dimensions }
    }

    /// Counts one occurrence.
    fn count(&self, values: &[&'static str]) {
        counter!(self.name, self.labels(values)).increment(1);
    }

    /// Records a measurement. A gauge would not do: the collector would repeat it in every later invocation.
    fn record(&self, values: &[&'static str], value: impl IntoF64) {
        histogram!(self.name, self.labels(values)).record(value);
        if RECORDED.fetch_add(1, Ordering::Relaxed) >= MAX_MEASUREMENTS.saturating_sub(1) {
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

/// Maximum measurements of a metric in one line. The collector drops further ones.
const MAX_MEASUREMENTS: usize = 100;

/// The number of measurements of all metrics since the last write.
static RECORDED: AtomicUsize = AtomicUsize::new(0);

static COLLECTOR: OnceLock<&Collector> = OnceLock::new();

/// Starts counting in this CloudWatch namespace.
pub fn init(namespace: String) {
    // Fails if it was called before, which happens in tests.
    let Ok(collector) = Builder::new().cloudwatch_namespace(namespace).init() else {
        return;
    };
    for metric in ALL {
        // Describes histograms too: the collector stores a unit for each name.
        describe_counter!(metric.name, metric.unit, "");
    }
    let _ = COLLECTOR.set(collector);
}

/// An invocation. Its metrics are written when it ends, even by an error or a panic.
#[derive(Debug)]
pub struct Invocation(());

impl Invocation {
    /// Begins the invocation with this request id, which its metric lines contain.
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

/// Writes the collected metrics to standard output, in whole lines.
fn write() {
    let lines = take();
    if !lines.is_empty() {
        // If the log cannot be written, the error cannot be reported either.
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

    /// The lines with these metrics. Other tests in this process may record other metrics at the same time.
    fn lines_of(names: &[&str]) -> Vec<Value> {
        let lines = String::from_utf8(take()).unwrap();
        let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.retain(|line| names.iter().any(|name| line.get(*name).is_some()));
        for line in &mut lines {
            assert!(line["_aws"]["Timestamp"].take().is_u64(), "{line}");
        }
        lines
    }

    /// One test, because the process has only one collector.
    #[test]
    fn metrics_are_written_once_by_dimension_even_after_a_panic() {
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

        // The hundredth measurement triggers a write, because the collector would drop further ones.
        let lag = |_| reconciler_lag_measured(Duration::from_secs(1));
        (0..MAX_MEASUREMENTS).for_each(lag);
        assert_eq!(lines_of(&["ReconcilerLag"]), [Value::Null; 0], "already written");
        (1..MAX_MEASUREMENTS).for_each(lag);
        let left = lines_of(&["ReconcilerLag"]);
        assert_eq!(left[0]["ReconcilerLag"].as_array().unwrap().len(), MAX_MEASUREMENTS - 1);

        let panicked = std::panic::catch_unwind(|| {
            let _invocation = Invocation::begin("r-2");
            response_replayed();
            panic!("a handler panics");
        });
        assert!(panicked.is_err());
        assert_eq!(lines_of(&["Replays"]), [Value::Null; 0], "written at its end");
    }

    #[test]
    fn metric_names_are_unique() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
