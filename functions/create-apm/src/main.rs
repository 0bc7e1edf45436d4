//! `POST /apm-payments`: creates a payment at FinvyPay and returns the URL to redirect the buyer to.

use std::process::ExitCode;

fn main() -> ExitCode {
    payment_functions::lambda::run::<create_apm::handler::CreateApm>()
}
