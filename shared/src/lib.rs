//! The code shared by the payment functions. Each module imports only from the modules below it:
//!
//! | module | contents |
//! |---|---|
//! | [`flows`], [`lambda`] | creating a payment and recording a notification; starting and running a function |
//! | [`api`], [`store`] | HTTP requests and responses; the payments table |
//! | [`providers`] | calls to the payment providers, and their webhooks |
//! | [`platform`] | configuration, clock, AWS clients, secrets, logs, metrics, failpoints |
//! | [`domain`] | payments, statuses, money, schedule: no AWS, no network, no clock |

pub mod api;
pub mod domain;
pub mod flows;
pub mod lambda;
pub mod platform;
pub mod providers;
pub mod store;
