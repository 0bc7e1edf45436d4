//! FinvyPay APM: Apple Pay, Google Pay and others, in many currencies. One call creates a payment and usually returns a
//! redirect; webhooks report its status.

#[cfg(feature = "provider-client")]
pub mod client;
#[cfg(feature = "provider-client")]
pub mod list;
mod message;
mod raw_status;
#[cfg(feature = "provider-client")]
pub mod status;
pub mod webhook;
