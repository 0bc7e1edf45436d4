//! What every function runs on: configuration, the clock, connections, secrets, logs and metrics.

pub mod aws;
pub mod clock;
pub mod config;
pub mod failpoint;
pub mod logging;
pub mod metrics;
#[cfg(feature = "secrets")]
pub mod secrets;
pub mod tls;
