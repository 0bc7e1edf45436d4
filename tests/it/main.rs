//! The whole, from outside: the real binaries behind a gateway, against a local AWS and the providers' stand-ins.
//!
//! The modules are laid out as the routes are. One world is shared by all tests, so each uses orders and keys of its own.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "nothing in here is anything but a test"
)]

mod aws;
mod round_trips;
mod secrets;
mod store;
mod support;
mod webhooks;
