//! `tether <command…>`: runs a command and ends all its processes when tether's stdin closes.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    payment_functions_local::tether(std::env::args_os().skip(1)).await
}
