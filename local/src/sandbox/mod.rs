//! Strict stand-ins for the two payment providers, ApoloPay and FinvyPay, driven over HTTP.
//!
//! They refuse the same requests as the real providers, reply in every documented and observed shape, and send signed
//! webhooks in every shape. Other behaviour is scripted under `/_control` by order id, so that concurrent tests can
//! share one server. They share no code with the crate under test, and so none of its bugs.
//!
//! | file | responsibility |
//! |---|---|
//! | `apolopay`, `finvypay`, `finvypay_check`, `check` | the providers' own endpoints: checks, replies, shapes |
//! | `finvypay_list`, `rate_limit`, `seed` | FinvyPay's list and its modes, its rate limit, payments in bulk |
//! | `script`, `canned` | scripted replies to the next calls of an order |
//! | `chaos` | random faults |
//! | `exchange` | handles a call: payment, reply, delay, dropped connection |
//! | `payments`, `calls` | the stand-ins' state |
//! | `webhook`, `webhook_body`, `delivery`, `signature` | webhooks: specification, body, sending, signing |
//! | `control`, `client` | the control routes, and a typed client for them |
//! | `checkout`, `buyer` | the shop at `/`, and its buyer at a provider |
//! | `proxy`, `journal`, `aws` | the functions under `/api`, and the history of a payment |
//! | `openapi` | the API description, and its page |

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)
)]

mod apolopay;
mod aws;
mod buyer;
mod calls;
mod canned;
mod chaos;
mod check;
mod checkout;
mod client;
mod clock;
mod config;
mod control;
mod delivery;
mod exchange;
mod finvypay;
mod finvypay_check;
mod finvypay_list;
mod http;
mod index;
mod journal;
mod json;
mod openapi;
mod payments;
mod proxy;
mod rate_limit;
mod script;
mod seed;
mod server;
mod signature;
#[cfg(test)]
mod tests;
mod webhook;
mod webhook_body;
mod world;

pub use aws::LocalAws;
pub use calls::{Call, Calls, InFlight, Kind, Outcome};
pub use chaos::{Chaos, ChaosReport, InjectedFault};
pub use checkout::SmartPay;
pub use client::{Control, ControlError};
pub use config::{Config, ConfigError, port_from_env};
pub use delivery::{Delivery, Sent};
pub use finvypay_list::ListMode;
pub use json::Object;
pub use payments::{Payment, Provider, StatusIds};
pub use rate_limit::{RateLimit, RateLimitReport};
pub use seed::Seed;
pub use server::{Sandbox, serve};
pub use signature::sign;
