//! `POST /webhooks/{provider}`: verifies and records the webhooks of the providers.

mod handler;

use std::process::ExitCode;

fn main() -> ExitCode {
    payment_functions::lambda::run::<handler::WebhookHandler>()
}
