//! The payment providers. Each has a folder with its calls, its responses and its webhooks.
//!
//! A new provider needs a folder with the same files (`webhook`, `client`), a
//! [`Provider`] variant, and the match arms that the compiler then requires.
//! docs/adding-a-provider.md is a step-by-step guide.

pub mod apolopay;
pub mod finvypay;
#[cfg(feature = "provider-client")]
pub mod gateway;
#[cfg(feature = "provider-client")]
pub mod http_client;
mod members;
mod notification;
mod reversals;
#[cfg(test)]
mod test_vectors;

pub use notification::{Notification, PAYMENT_ID_MEMBER, UnreadableWebhook, Webhooks};

use crate::domain::provider::Provider;

/// The webhook reader of a provider.
pub const fn webhooks(provider: Provider) -> &'static Webhooks {
    match provider {
        Provider::ApoloPay => &apolopay::webhook::WEBHOOKS,
        Provider::FinvyPay => &finvypay::webhook::WEBHOOKS,
    }
}
