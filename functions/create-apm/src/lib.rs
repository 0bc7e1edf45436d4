//! POST /apm-payments: creates a payment at FinvyPay and answers with where to send the buyer.
//!
//! A library beside its binary, so that what reads a caller's bytes can be fuzzed.

pub mod handler;
pub mod request;
