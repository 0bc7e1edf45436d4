//! `POST /apm-payments`: creates a payment at FinvyPay and returns the URL to redirect the buyer to.
//!
//! A library beside the binary, so that tests and fuzz targets can use it.

pub mod handler;
pub mod request;
