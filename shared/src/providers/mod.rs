//! The payment providers, each in a folder of its own: how it is called, what it replies, and how its webhooks are read.
//!
//! A new provider is a new folder with the same files (`webhook`, `client`), a
//! [`Provider`](crate::domain::provider::Provider) variant, and the arms that the compiler then asks for:
//! docs/adding-a-provider.md goes through it step by step.

pub mod apolopay;
pub mod finvypay;
#[cfg(feature = "provider-client")]
pub mod gateway;
#[cfg(feature = "provider-client")]
pub mod http_client;
mod notification;
#[cfg(test)]
pub(crate) mod test_vectors;

pub use notification::{Notification, OUR_ID, Unusable, Webhooks};

use crate::domain::provider::Provider;

/// How a provider's webhooks are recognised and read.
pub const fn webhooks(provider: Provider) -> &'static Webhooks {
    match provider {
        Provider::ApoloPay => &apolopay::webhook::WEBHOOKS,
        Provider::FinvyPay => &finvypay::webhook::WEBHOOKS,
    }
}
