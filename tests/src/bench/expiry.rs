//! The processor time of expiring payments, for `make scale`.

use std::process::Stdio;
use std::time::Duration;

use axum::body::Bytes;
use payment_functions::domain::id::PaymentId;
use payment_functions::domain::idempotency::RequestNames;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::platform::clock;
use payment_functions_local::workspace;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::backends::{Backends, Table};
use super::environment::WAIT_LIMIT;
use super::usage::cpu_time;
use super::{Failure, folder};
use crate::world::runtime::{Outcome, RuntimeApi};

const FUNCTION: &str = "reconcile-payments";
/// How long ago the payments were created: longer than ApoloPay lets anybody pay.
const AGE: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// The CPU time that the release build of `reconcile-payments` needs to expire one of so many ApoloPay payments in a run,
/// over TLS.
///
/// # Errors
/// When the function is not built, or a run does not expire all of them.
pub async fn cpu_time_of_expiry(payments: u32) -> Result<Duration, Failure> {
    let backends = Backends::start(&folder()?).await?;
    let table = backends.table().await?;
    let api = RuntimeApi::start(format!("arn:aws:lambda:us-east-1:123456789012:function:{FUNCTION}")).await?;
    let program = workspace().join("target/release").join(FUNCTION);
    let child = Command::new(&program)
        .env_clear()
        .envs(backends.variables_of(FUNCTION, &table))
        // The first run reads eight days of the sandbox's list, without waiting.
        .env("FINVYPAY_REQUESTS_PER_MINUTE", "60000")
        .env("AWS_LAMBDA_FUNCTION_NAME", FUNCTION)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "expiry")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "expiry")
        .env("AWS_LAMBDA_RUNTIME_API", api.address())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Failure(format!("{}: {error}", program.display())))?;
    let pid = child.id().unwrap_or_default();
    let expired_first = expire(&api).await?;
    insert_expired(&table, payments).await?;
    let before = cpu_time(pid)?;
    let expired = expire(&api).await?;
    let used = cpu_time(pid)?.saturating_sub(before);
    if (expired_first, expired) != (0, u64::from(payments)) {
        return Err(Failure(format!("{expired} of {payments} payments expired")));
    }
    Ok(used / payments.max(1))
}

/// Runs the function once. Returns how many payments it has expired.
async fn expire(api: &RuntimeApi) -> Result<u64, Failure> {
    let progress = api.put(Bytes::from_static(br#"{"action":"sweep"}"#), WAIT_LIMIT);
    let response = match timeout(WAIT_LIMIT, progress.outcome).await {
        Ok(Ok(Outcome::Response(response))) => response,
        Ok(Ok(Outcome::Error(error))) => return Err(Failure(error.to_string())),
        Ok(Err(_)) | Err(_) => return Err(Failure("no response".to_owned())),
    };
    let report: Value = serde_json::from_slice(&response).map_err(|error| Failure(error.to_string()))?;
    let expired = report.get("expired").and_then(Value::as_u64);
    expired.ok_or_else(|| Failure("no report".to_owned()))
}

async fn insert_expired(table: &Table, payments: u32) -> Result<(), Failure> {
    let (store, created_at) = (table.store(), clock::now().minus(AGE));
    for _ in 0..payments {
        let payment = Payment::new(
            PaymentId::random(),
            Provider::ApoloPay,
            Environment::default(),
            Money::from_minor(2550, Currency::USD),
            created_at,
        );
        let inserted = store
            .insert_payment(&payment, RequestNames::default(), created_at)
            .await;
        inserted.map_err(|error| Failure(error.to_string()))?;
    }
    Ok(())
}
