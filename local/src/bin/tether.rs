//! `tether <command…>`: runs a command and lets nothing that it started outlive whoever holds tether's stdin.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    payment_functions_local::tether(std::env::args_os().skip(1)).await
}
