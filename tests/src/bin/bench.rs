//! `make bench`: the functions' speed compared with Node and Python implementations.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    payment_functions_tests::bench::bench().await
}
