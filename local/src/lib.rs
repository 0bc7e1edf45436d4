//! The local world of `make dev`: the functions behind a gateway, a local AWS with the resources of template.yaml, and
//! the providers' stand-ins with a checkout page. The integration tests build their own worlds from the same parts.
//!
//! | module | responsibility |
//! |---|---|
//! | [`dev`] | `make dev`: starts everything, reloads functions whose source changes, ends everything |
//! | `gateway` | API Gateway and the webhooks' function URL on one port: routes, CORS, payload format 2.0 ([`payload`]) |
//! | `cargo_lambda`, `functions` | the functions under `cargo lambda watch`, several instances of each |
//! | `invocations` | invoking a function like AWS's own services |
//! | `aws`, `template` | the local AWS (MiniStack), set up from template.yaml |
//! | `stream`, `schedule` | AWS's own invokers: the table's stream, the reconciler's schedule |
//! | [`sandbox`], `stand_ins` | the providers' stand-ins and the checkout page |
//! | [`process`], [`tether()`] | child processes that never outlive their parent |
//! | [`settings`], [`build`], [`http`], [`background`], `log`, `ports` | shared by all of these |
//!
//! Guarantees: no process that it starts outlives it, however it ends ([`tether()`]). It listens on 127.0.0.1 only. All
//! state is in memory.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)
)]

mod aws;
pub mod background;
pub mod build;
mod cargo_lambda;
mod dev;
mod error;
mod functions;
mod gateway;
pub mod http;
mod invocations;
mod log;
pub mod payload;
mod ports;
pub mod process;
pub mod sandbox;
mod schedule;
pub mod settings;
mod stand_ins;
mod stream;
pub mod template;
#[cfg(test)]
mod tests;
mod tether;

pub use aws::{AwsCalls, LocalAws, ministack};
pub use build::{Binaries, workspace};
pub use cargo_lambda::CargoLambda;
pub use dev::dev;
pub use error::Error;
pub use gateway::{Failure, Gateway, Invoke};
pub use invocations::Invocations;
pub use log::{Level, Log};
pub use payload::HttpResponse;
pub use ports::free_port;
pub use process::Tethered;
pub use schedule::Schedule;
pub use settings::{Addresses, Change, FUNCTIONS, Function, Variables};
pub use stand_ins::Sandbox;
pub use stream::{StreamFeed, TableStream};
pub use template::{Mapping, Rate};
pub use tether::tether;
