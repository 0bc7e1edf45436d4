//! POST /apm-payments: creates a payment at FinvyPay and answers with where to send the buyer.

mod handler;
mod request;

use std::process::ExitCode;

fn main() -> ExitCode {
    payment_functions::function::run::<handler::CreateApm>()
}
