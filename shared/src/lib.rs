//! The common crate of the payment functions. Each module imports only from those below it:
//!
//! | module | holds |
//! |---|---|
//! | [`lambda`], [`flows`] | how a function runs; creating a payment, recording what a provider reports |
//! | [`api`], [`store`] | requests and responses; the payments table |
//! | [`providers`] | what the providers are sent, and what they report |
//! | [`platform`] | configuration, clock, connections to AWS, secrets, logs, metrics, failpoints |
//! | [`domain`] | payments, statuses, money and the schedule: no AWS, no network, no clock |

pub mod api;
pub mod domain;
pub mod flows;
pub mod lambda;
pub mod platform;
pub mod providers;
pub mod store;
