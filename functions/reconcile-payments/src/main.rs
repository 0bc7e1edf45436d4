//! Reconciles payments on a schedule, and carries out an operator's commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    reconcile_payments::handler::run()
}
