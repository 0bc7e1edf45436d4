//! The entry point of every function.
//!
//! Guarantees: a function with a missing or invalid variable exits at its start, with one line that names the variable.
//! A function starts even if AWS or a provider cannot be reached. When an invocation ends, even by a panic, its metrics
//! are written.

use std::fmt;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::platform::aws::test_timeout_factor;
use crate::platform::config::{ConfigError, PROCESS_ENVIRONMENT, Variables};
use crate::platform::logging;
use crate::platform::metrics::{self, Invocation};

/// Maximum time that the first invocation waits for [`Function::warm_up`], which then continues beside it.
const WARM_UP_LIMIT: Duration = Duration::from_millis(150);

/// A Lambda function.
pub trait Function: Sized {
    /// The name of the function and of its binary.
    const NAME: &'static str;

    /// The event of an invocation.
    type Event: DeserializeOwned;
    /// The response to an invocation.
    type Response: Serialize;
    /// The error of a failed invocation.
    type Error: Into<Diagnostic> + fmt::Debug;

    /// Reads the configuration and sets up the clients.
    ///
    /// # Errors
    /// [`ConfigError`] if a variable is missing or invalid.
    fn configure(variables: &Variables<'_>) -> Result<Self, ConfigError>;

    /// Opens connections and fetches secrets before the first invocation needs them. Failures are ignored: the
    /// invocation tries again.
    fn warm_up(&self) -> impl Future<Output = ()> {
        async {}
    }

    /// Handles one invocation.
    ///
    /// # Errors
    /// An error that Lambda reports as the failure of the invocation.
    fn handle(&self, event: Self::Event) -> impl Future<Output = Result<Self::Response, Self::Error>>;
}

/// Runs a function until Lambda stops it.
pub fn run<F: Function>() -> ExitCode {
    match start::<F>() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report_failure(F::NAME, &error);
            ExitCode::FAILURE
        }
    }
}

fn start<F: Function>() -> Result<(), lambda_runtime::Error> {
    logging::init(&PROCESS_ENVIRONMENT, F::NAME);
    metrics::init(PROCESS_ENVIRONMENT.metrics_namespace()?);
    let function = F::configure(&PROCESS_ENVIRONMENT)?;
    // One thread, since Lambda sends one invocation at a time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(&function))
}

/// Warms the function up and has it handle invocations.
async fn serve<F: Function>(function: &F) -> Result<(), lambda_runtime::Error> {
    // Boxed, because the code does not compile otherwise: the type of the future is nested too deeply for the compiler
    // to compute its layout.
    let service = service_fn(move |event: LambdaEvent<F::Event>| {
        Box::pin(async move {
            let _invocation = Invocation::begin(&event.context.request_id);
            function.handle(event.payload).await
        })
    });
    let mut warm_up = pin!(function.warm_up());
    // The factor is 1, but 10 in tests on a slow machine. Squared, it gives the warm-up 15 seconds there, so that it
    // ends before the first invocation.
    let limit = WARM_UP_LIMIT * test_timeout_factor(&PROCESS_ENVIRONMENT).pow(2);
    let is_warm = timeout(limit, &mut warm_up).await.is_ok();
    tracing::info!("ready");
    let invocations = lambda_runtime::run(service);
    if is_warm {
        return invocations.await;
    }
    let ((), ended) = tokio::join!(warm_up, invocations);
    ended
}

#[expect(
    clippy::print_stderr,
    reason = "this line must not depend on the configuration of the logs"
)]
fn report_failure(name: &str, error: &dyn fmt::Display) {
    eprintln!("{name}: {error}");
}
