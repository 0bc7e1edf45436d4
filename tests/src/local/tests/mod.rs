//! The local world's own promises.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod functions;
mod lambda;
mod memory;
mod payload;
mod proxy;
mod runtime;
mod tether;
mod world;
