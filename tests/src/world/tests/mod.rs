//! Tests of the test environment itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod lambda;
mod memory;
mod proxy;
mod runtime;
mod world;
