//! `POST /preorders`: creates a payment at ApoloPay and returns the id for its SmartPay button.

use std::process::ExitCode;

fn main() -> ExitCode {
    payment_functions::lambda::run::<create_preorder::handler::CreatePreorder>()
}
