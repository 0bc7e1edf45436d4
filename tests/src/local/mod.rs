//! The local world: a local AWS with what template.yaml describes, the functions behind their routes, and the
//! providers' stand-ins; for people ([`dev`]) and for tests ([`World`]).
//!
//! For what is deployed there is a local AWS with all of template.yaml in it, and rights enforced ([`Cloud`]).
//!
//! For tests there are also parts of it that are cheap enough to have by the hundred: one function as Lambda runs it
//! ([`Lambda`]), a proxy that fails and counts ([`AwsProxy`]), and the table in memory ([`MemoryTable`]); and a browser for
//! the checkout page ([`Browser`]).
//!
//! Guarantee: nothing that it starts outlives it, however it ends ([`tether`]); it listens on 127.0.0.1 only, and keeps
//! its state in memory.

mod aws;
pub(crate) mod background;
mod browser;
mod build;
mod cloud;
mod dev;
mod error;
mod faults;
mod front;
mod functions;
pub(crate) mod http;
mod lambda;
mod log;
mod memory;
pub(crate) mod payload;
mod ports;
mod process;
mod proxy;
pub(crate) mod runtime;
mod sandbox;
mod schedule;
pub(crate) mod settings;
mod stream;
mod template;
#[cfg(test)]
mod tests;
mod tether;
mod tls;
mod world;

pub use aws::{AwsCalls, LocalAws};
pub use browser::{Browser, BrowserError};
pub use build::{Binaries, workspace};
pub use cloud::{Cloud, Refusal, Stack};
pub use dev::dev;
pub use error::Error;
pub use faults::{Fault, Held, Moment};
pub use front::{Front, Invocations};
pub use lambda::{Lambda, NoAnswer};
pub use log::{Level, Log};
pub use memory::{MemoryTable, ServedTable};
pub use payload::HttpAnswer;
pub use ports::free_port;
pub use process::Tethered;
pub use proxy::{AwsCall, AwsProxy};
pub use sandbox::Sandbox;
pub use schedule::Schedule;
pub use settings::{Addresses, Change, FUNCTIONS, Function, Variables};
pub use stream::{StreamFeed, TableStream};
pub use template::{Mapping, Rate};
pub use tether::tether;
pub use tls::Tls;
pub use world::{Attached, USUAL_LIMITS, World};
