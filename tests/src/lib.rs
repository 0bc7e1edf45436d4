//! x
pub mod local;
pub mod sandbox;
