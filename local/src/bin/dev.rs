//! `make dev`: the whole local world, until it is interrupted.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    payment_functions_local::dev().await
}
