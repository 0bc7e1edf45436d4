//! `make bench`: how fast the functions are beside what a shop would pick instead.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    payment_functions_tests::bench::bench().await
}
