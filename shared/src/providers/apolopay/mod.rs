//! ApoloPay SmartPay: amounts in US dollars, paid in USDT. One call creates a preorder; a webhook reports the payment.
//!
//! The documentation and the provider's own clients disagree about the response, the signature header and the webhook
//! body, so all known formats are accepted.

#[cfg(feature = "provider-client")]
pub mod client;
pub mod webhook;
