//! Publishes every change of a payment's status from the table's stream, and republishes what could not be published
//! at first.

use std::process::ExitCode;

fn main() -> ExitCode {
    publish_events::handler::run()
}
