//! The local world's own promises.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod proxy;
mod tether;
mod world;
