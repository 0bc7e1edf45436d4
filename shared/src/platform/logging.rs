//! Logs on standard output: one JSON object per line, with the request's id and X-Ray trace id. Between them are the
//! lines of the [metrics](crate::platform::metrics), with the request's id.
//!
//! Guarantee: only this project's log events and the runtime's spans are written, so no library can log a body or a
//! header. Our log events contain ids, statuses and codes; the types of secrets and personal data do not show their
//! values.

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::platform::config::Variables;

/// Starts logging for the function of this name, at the level `AWS_LAMBDA_LOG_LEVEL` (default INFO).
pub fn init(variables: &Variables<'_>, function: &'static str) {
    let given = variables.optional("AWS_LAMBDA_LOG_LEVEL");
    let level = match given.as_deref() {
        // Lambda's highest level, which `tracing` does not have.
        Some("FATAL") => Level::ERROR,
        given => given.and_then(|level| level.parse().ok()).unwrap_or(Level::INFO),
    };
    let targets = Targets::new()
        .with_target("payment_functions", level)
        .with_target(function.replace('-', "_"), level)
        // The runtime's span around each request, which carries its ids.
        .with_target("lambda_runtime::layers::trace", Level::INFO);
    let format = tracing_subscriber::fmt::layer()
        .json()
        .with_current_span(true)
        .with_span_list(false)
        .flatten_event(true);
    // Fails if logging has already started, which happens in tests.
    let _ = tracing_subscriber::registry().with(format).with(targets).try_init();
}
