//! The test environment.
//!
//! - [`World`]: the parts of `make dev`, with execution environments for every function, and with proxies that inject
//!   faults and count requests.
//! - [`Cloud`]: a local AWS that enforces IAM, for deploying the whole of template.yaml.
//! - Parts that are cheap enough for hundreds of instances: one function as Lambda runs it ([`Lambda`]), a proxy that
//!   injects faults ([`AwsProxy`]), and a table in memory ([`MemoryTable`]).
//! - [`Browser`]: a browser for the checkout page.
//!
//! Guarantees: no started process outlives this one, however it ends. Everything listens on 127.0.0.1 only. All state
//! is in memory.

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
pub use cloud::{AwsError, Cloud, Stack};
pub use environments::Attached;
pub use faults::{Fault, HeldRequests, HoldPoint};
pub use lambda::{InvokeError, Lambda};
pub use memory::{MemoryTable, MemoryTables, ServedTable};
pub use proxy::{AwsCall, AwsProxy};
pub use tls::Tls;
pub use whole::{PRODUCTION_TIMEOUTS, World};
