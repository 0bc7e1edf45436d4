//! POST /webhooks/{provider}: takes in what the providers report.

mod handler;

use std::process::ExitCode;

fn main() -> ExitCode {
    payment_functions::lambda::run::<handler::WebhookHandler>()
}
