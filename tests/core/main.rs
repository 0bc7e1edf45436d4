//! Tests of the domain, the flows and the store in this process: random histories of payments, every interleaving of
//! concurrent flows, the reconciler's runs, and the load on the table. Each test has a table in memory and sets the
//! time.
#![allow(missing_docs)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "tests only; some print how many cases they covered"
)]

mod facts;
mod layers;
mod model;
mod orders;
mod recorded;
mod refusals;
mod scale;
mod simulation;
mod sweeps;
mod units;
mod wire;

use payment_functions::domain::id::PaymentId;
use payment_functions_tests::world::MemoryTable;
use serde_json::Value;

/// A unique id.
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
