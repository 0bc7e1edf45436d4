//! Tests of the local world.

mod gateway;
mod payload;
mod running;
