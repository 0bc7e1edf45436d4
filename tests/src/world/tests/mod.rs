//! The local world's own promises.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod lambda;
mod memory;
mod proxy;
mod runtime;
mod world;
