//! The common crate of the payment functions.
//!
//! | part | modules |
//! |---|---|
//! | the pure core: no AWS, no network, no clock | [`money`], [`json`], [`id`], [`status`], [`payment`], [`signature`], [`idempotency`], [`schedule`], [`event`] |
//! | the providers, each in a place of its own | [`providers`] |
//! | the store | [`store`] |
//! | the flows | [`creation`] and, where the shop decides the price, [`quote`]; [`delivery`]; [`fault`]: where tests break them |
//! | the edge | [`http`], [`function`], [`fields`], [`metadata`], [`personal`], [`view`], [`problem`], [`config`], [`connector`], [`aws`], [`secrets`], [`logging`], [`metrics`], [`clock`] |

pub mod aws;
pub mod clock;
pub mod config;
pub mod connector;
#[cfg(feature = "creation")]
pub mod creation;
pub mod delivery;
pub mod event;
pub mod fault;
pub mod fields;
pub mod function;
pub mod http;
pub mod id;
pub mod idempotency;
pub mod json;
pub mod logging;
pub mod metadata;
pub mod metrics;
pub mod money;
pub mod payment;
pub mod personal;
pub mod problem;
pub mod providers;
#[cfg(feature = "creation")]
pub mod quote;
pub mod schedule;
#[cfg(feature = "secrets")]
pub mod secrets;
pub mod signature;
pub mod status;
pub mod store;
pub mod view;
