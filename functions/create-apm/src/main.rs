//! POST /apm-payments: creates a payment at FinvyPay and answers with where to send the buyer.

use std::process::ExitCode;

fn main() -> ExitCode {
    payment_functions::lambda::run::<create_apm::handler::CreateApm>()
}
