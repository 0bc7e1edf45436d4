//! The world of the tests ([`World`]): the parts of `make dev`, with every function in execution environments of this
//! process's own, and with proxies that fail and count.
//!
//! For what is deployed there is a local AWS with all of template.yaml in it, and rights enforced ([`Cloud`]).
//!
//! There are also parts of it that are cheap enough to have by the hundred: one function as Lambda runs it ([`Lambda`]), a
//! proxy that fails and counts ([`AwsProxy`]), and the table in memory ([`MemoryTable`]); and a browser for the checkout
//! page ([`Browser`]).
//!
//! Guarantee: nothing that it starts outlives it, however it ends; it listens on 127.0.0.1 only, and keeps its state in
//! memory.

mod browser;
mod cloud;
mod environments;
mod faults;
mod lambda;
mod memory;
mod proxy;
pub(crate) mod runtime;
#[cfg(test)]
mod tests;
mod tls;
mod whole;

pub use browser::{Browser, BrowserError};
pub use cloud::{Cloud, Refusal, Stack};
pub use environments::Attached;
pub use faults::{Fault, Held, Moment};
pub use lambda::{Lambda, NoAnswer};
pub use memory::{MemoryTable, MemoryTables, ServedTable};
pub use proxy::{AwsCall, AwsProxy};
pub use tls::Tls;
pub use whole::{USUAL_LIMITS, World};
