//! The local world's own promises.

mod gateway;
mod payload;
mod running;
