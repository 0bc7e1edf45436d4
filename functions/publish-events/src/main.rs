//! From the table's stream: publishes every change of a payment's status. CommitExtras what could not be published at first.

use std::process::ExitCode;

fn main() -> ExitCode {
    publish_events::handler::run()
}
