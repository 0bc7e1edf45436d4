//! `POST /preorders`: creates a payment at ApoloPay and returns the id for its SmartPay button.
//!
//! A library beside the binary, so that tests and fuzz targets can use it.

pub mod handler;
pub mod request;
