//! The local world: a local AWS with what template.yaml describes, the functions behind their routes, and the
//! providers' stand-ins; for people ([`dev`]) and for tests ([`World`]).
//!
//! Guarantee: nothing that it starts outlives it, however it ends ([`tether`]); it listens on 127.0.0.1 only, and keeps
//! its state in memory.

mod aws;
mod background;
mod build;
mod dev;
mod error;
mod faults;
mod front;
mod http;
mod lambda;
mod payload;
mod ports;
mod process;
mod proxy;
mod runtime;
mod sandbox;
mod settings;
#[cfg(test)]
mod tests;
mod tether;
mod world;

pub use aws::LocalAws;
pub use build::{Binaries, workspace};
pub use dev::dev;
pub use error::Error;
pub use faults::{Fault, Held, Moment};
pub use front::Front;
pub use lambda::{Lambda, NoAnswer};
pub use payload::HttpAnswer;
pub use process::{Output, Tethered};
pub use proxy::{AwsCall, AwsProxy};
pub use sandbox::Sandbox;
pub use settings::{Addresses, Change, FUNCTIONS, Function, Variables};
pub use tether::tether;
pub use world::{Attached, World};
