//! GET /payments/{id}: tells a browser what has become of a payment.

mod handler;

use std::process::ExitCode;

fn main() -> ExitCode {
    payment_functions::lambda::run::<handler::GetPayment>()
}
