//! The runtime environment: configuration, clock, AWS clients, secrets, logs, metrics and failpoints.

pub mod aws;
pub mod clock;
pub mod config;
pub mod failpoint;
pub mod logging;
pub mod metrics;
#[cfg(feature = "secrets")]
pub mod secrets;
pub mod tls;
