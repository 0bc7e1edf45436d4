//! What tests the whole from outside, and what runs it on a laptop: the local world and the providers' stand-ins.

pub mod bench;
pub mod local;
pub mod sandbox;
