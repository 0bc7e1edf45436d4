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

use payment_functions::domain::id::PaymentId;
use payment_functions_tests::world::MemoryTable;
use serde_json::Value;

/// An id that no other has.
fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::new_v4().simple())
}

/// The facts in a payment's ledger, in DynamoDB's JSON.
fn ledger(table: &MemoryTable, id: PaymentId) -> Vec<Value> {
    let is_fact = is_in_ledger(id);
    table
        .items()
        .unwrap()
        .into_iter()
        .filter(|item| is_fact(item))
        .collect()
}

/// Whether an item is a fact in a payment's ledger.
fn is_in_ledger(id: PaymentId) -> impl Fn(&Value) -> bool {
    let pk = format!("PAYMENT#{id}");
    move |item| item["pk"]["S"] == *pk && item["sk"]["S"].as_str().is_some_and(|sk| sk.starts_with("FACT#"))
}
