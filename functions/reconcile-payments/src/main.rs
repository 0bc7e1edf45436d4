//! On a schedule: finds out what became of payments that no webhook settled. CommitExtras an operator's word.

use std::process::ExitCode;

fn main() -> ExitCode {
    reconcile_payments::handler::run()
}
