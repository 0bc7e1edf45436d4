//! The whole, from outside: the real binaries behind a gateway, against a local AWS and the providers' stand-ins.
//!
//! The modules are laid out as the routes are. One world is shared by all tests, so each uses orders and keys of its
//! own.
#![allow(missing_docs)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "these are tests throughout, and some print how much they tried"
)]

mod adding_a_provider;
mod answered_in_time;
mod apm_payments;
mod aws;
mod checkout;
mod clock;
mod cost;
mod creating;
mod deployed;
mod dev;
mod docs;
mod events;
#[path = "../core/facts.rs"]
mod facts;
mod faults;
mod feeding;
mod holes;
mod idempotency;
mod invoke;
mod leases;
mod linking;
mod make;
mod metrics;
mod mishaps;
mod openapi;
mod panics;
mod payments;
mod preorders;
mod privacy;
mod publishing;
mod quotes;
mod reconcile;
mod rotation;
mod round_trips;
mod routes;
mod secrets;
mod startup;
mod store;
mod support;
mod tls;
#[path = "../core/units.rs"]
mod units;
mod webhooks;
