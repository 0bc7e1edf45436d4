//! POST /preorders: creates a payment at ApoloPay and answers with the id for its SmartPay button.

mod handler;
mod request;

use std::process::ExitCode;

fn main() -> ExitCode {
    payment_functions::function::run::<handler::CreatePreorder>()
}
