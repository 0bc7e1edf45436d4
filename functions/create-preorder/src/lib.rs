//! POST /preorders: creates a payment at ApoloPay and answers with the id for its SmartPay button.
//!
//! A library beside its binary, so that what reads a caller's bytes can be fuzzed.

pub mod handler;
pub mod request;
