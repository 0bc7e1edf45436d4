//! The real reconciler with its clock moved on. `core/sweeps.rs` tests a run's reaction to each response of a provider.

mod operator;
mod unpaid;
pub mod whole;
