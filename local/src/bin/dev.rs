//! `make dev`: runs the local world until interrupted.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    payment_functions_local::dev().await
}
