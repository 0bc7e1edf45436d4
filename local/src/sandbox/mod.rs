//! Strict stand-ins for the two payment providers, ApoloPay and FinvyPay, driven over HTTP.
//!
//! They refuse what the real providers would refuse, answer in every documented and observed shape,
//! and send signed webhooks in every shape. What they do beyond the default is scripted under
//! `/_control`, keyed by the order id of the create call, so that tests running at the same time can
//! share one server. They know nothing of the crate they help to test, so that they cannot share its bugs.
//!
//! | file | what it does |
//! |---|---|
//! | `apolopay`, `finvypay`, `finvypay_check`, `check` | the providers' own endpoints: checks, replies, shapes |
//! | `script`, `canned` | what the next calls of an order get |
//! | `chaos` | what calls get by chance |
//! | `exchange` | plays a call: payment, reply, delay, dropped connection |
//! | `payments`, `calls` | what the stand-ins remember |
//! | `webhook`, `webhook_body`, `delivery`, `signature` | webhooks: what to send, its body, sending, signing |
//! | `control`, `client` | the scripting routes, and a typed client for them |
//! | `checkout`, `buyer` | the shop at `/`, and what its buyer does at a provider |
//! | `proxy`, `journal`, `aws` | the functions under `/api`, and what happened to a payment |
//! | `openapi` | the API's description, and the page made of it |

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
mod http;
mod index;
mod journal;
mod json;
mod openapi;
mod payments;
mod proxy;
mod script;
mod server;
mod signature;
#[cfg(test)]
mod tests;
mod webhook;
mod webhook_body;
mod world;

pub use aws::LocalAws;
pub use calls::{Call, Calls, InFlight, Kind, Outcome};
pub use chaos::{Chaos, ChaosReport, Mishap};
pub use checkout::SmartPay;
pub use client::{Control, ControlError};
pub use config::{Config, ConfigError, port_from_env};
pub use delivery::{Delivery, Sent};
pub use json::Object;
pub use payments::{Payment, Provider, StatusIds};
pub use server::{Sandbox, serve};
pub use signature::sign;
