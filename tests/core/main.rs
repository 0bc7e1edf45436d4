//! The core and the store in this process: whole lives of payments, every order of simultaneous steps, the reconciler's
//! runs, and the load on the table, over a table in memory and at whatever time a test says.
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

mod facts;
mod model;
mod recorded;
mod refusals;
mod scale;
mod sweeps;
mod units;
mod wire;

/// An id that no other has.
fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::new_v4().simple())
}
