//! What every function is, and how it is run.
//!
//! Guarantees: a function with a missing or wrong variable stops at its start with one line that says so; whatever a
//! caller writes into a request, it reaches the function, and the function's answer is the caller's; when an invocation
//! ends, whichever way, its metrics are written. Whatever is out of reach at the start, the function starts.

use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::{Body, Request, Response};
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::api::{request, response};
use crate::platform::aws::timeout_scale;
use crate::platform::config::{ConfigError, ENVIRONMENT, Variables};
use crate::platform::logging;
use crate::platform::metrics::{self, Invocation};

/// How long to wait at the start for what only saves time later. It is part of the time in which the first request is
/// answered, so what takes longer goes on beside that request.
const WARM_UP_LIMIT: Duration = Duration::from_millis(150);

/// A Lambda function behind HTTP. Every error it meets is an answer.
pub trait Function: Sized + Send + Sync {
    /// The function's name, which is also the name of its binary.
    const NAME: &'static str;

    /// Reads the configuration and sets the clients up.
    ///
    /// # Errors
    /// Where a variable is missing or wrong.
    fn configure(variables: &Variables<'_>) -> Result<Self, ConfigError>;

    /// Opens the connections and fetches the secrets that requests will need, before there is one: at its start a
    /// function has a whole processor, and nobody waits yet. What fails is tried again when it is needed.
    fn warm_up(&self) -> impl Future<Output = ()> + Send;

    /// Answers a request.
    fn handle(&self, request: &Request) -> impl Future<Output = Response<Body>> + Send;
}

/// Runs a function until Lambda ends it.
pub fn run<F: Function>() -> ExitCode {
    serve(
        F::NAME,
        F::configure,
        F::warm_up,
        async |function: &F, event: ApiGatewayV2httpRequest| {
            let request = request::request_of(event);
            Ok::<_, Infallible>(response::answer_of(function.handle(&request).await))
        },
    )
}

/// Configures the function `name`, warms it up and has it handle what Lambda sends it, until Lambda ends it.
pub fn serve<F, A, R, E>(
    name: &'static str,
    configure: fn(&Variables<'_>) -> Result<F, ConfigError>,
    warm_up: impl AsyncFn(&F),
    handle: impl AsyncFn(&F, A) -> Result<R, E>,
) -> ExitCode
where
    A: DeserializeOwned,
    R: Serialize,
    E: Into<Diagnostic> + fmt::Debug,
{
    logging::init(&ENVIRONMENT, name);
    match ENVIRONMENT.metrics_namespace() {
        Ok(namespace) => metrics::init(namespace),
        Err(error) => return stop(name, &error),
    }
    let function = match configure(&ENVIRONMENT) {
        Ok(function) => function,
        Err(error) => return stop(name, &error),
    };
    // Lambda sends one request at a time, so one thread is all there is to use.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return stop(name, &error),
    };
    let (function, handle) = (&function, &handle);
    // Boxed, since the compiler gives up on a future with all of a function in it and the runtime's around that.
    let service = service_fn(move |event: LambdaEvent<A>| {
        Box::pin(async move {
            let _invocation = Invocation::begin(&event.context.request_id);
            handle(function, event.payload).await
        })
    });
    let run = async {
        let mut warm_up = pin!(warm_up(function));
        // Tests rather wait for a start than go on beside it.
        let limit = WARM_UP_LIMIT * timeout_scale(&ENVIRONMENT).pow(2);
        let is_warm = timeout(limit, &mut warm_up).await.is_ok();
        tracing::info!("ready");
        let run = lambda_runtime::run(service);
        if is_warm {
            return run.await;
        }
        let ((), ended) = tokio::join!(warm_up, run);
        ended
    };
    match runtime.block_on(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => stop(name, &error),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "whoever starts the function reads this, whatever becomes of logs"
)]
fn stop(name: &str, error: &dyn fmt::Display) -> ExitCode {
    eprintln!("{name}: {error}");
    ExitCode::FAILURE
}
