//! Logs: one JSON object a line, to standard output, each with the request's id and X-Ray trace id; the lines of the
//! [metrics](crate::platform::metrics) among them have the request's id.
//!
//! Guarantees: only this project's own events are written, and the runtime's spans around them, so that no library can
//! log a body or a header. Our own events hold ids, statuses and codes; secrets and personal data are types that show
//! nothing of themselves.

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::platform::config::Variables;

/// Starts logging for the function whose crate is `function`, at `AWS_LAMBDA_LOG_LEVEL` (INFO if that is not set).
pub fn init(variables: &Variables<'_>, function: &'static str) {
    let given = variables.optional("AWS_LAMBDA_LOG_LEVEL");
    let level = match given.as_deref() {
        // Lambda's highest level, which has no name of its own here.
        Some("FATAL") => Level::ERROR,
        given => given.and_then(|level| level.parse().ok()).unwrap_or(Level::INFO),
    };
    let targets = Targets::new()
        .with_target("payment_functions", level)
        .with_target(function.replace('-', "_"), level)
        // The span around each request, with its ids.
        .with_target("lambda_runtime::layers::trace", Level::INFO);
    let format = tracing_subscriber::fmt::layer()
        .json()
        .with_current_span(true)
        .with_span_list(false)
        .flatten_event(true);
    // A second call in one process, as tests make it, changes nothing.
    let _ = tracing_subscriber::registry().with(format).with(targets).try_init();
}
