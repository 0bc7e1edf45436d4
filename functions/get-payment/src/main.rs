//! `GET /payments/{id}`: returns the current state of a payment.

mod handler;

use std::process::ExitCode;

fn main() -> ExitCode {
    payment_functions::lambda::run::<handler::GetPayment>()
}
