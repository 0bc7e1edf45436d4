//! End-to-end tests: the real binaries behind a gateway, with a local AWS and stand-ins of the providers.
//!
//! Modules follow the routes. All tests share one world, so each uses its own orders and keys.
#![allow(missing_docs)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "tests only; some print statistics"
)]

mod adding_a_provider;
mod apm_payments;
mod aws;
mod checkout;
mod claims;
mod clock;
mod consumers;
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
mod idempotency;
mod invoke;
mod leases;
mod linking;
mod log_lines;
mod make;
mod metrics;
mod misconfiguration;
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
mod time_limits;
mod tls;
#[path = "../core/units.rs"]
mod units;
mod vulnerabilities;
mod webhooks;
