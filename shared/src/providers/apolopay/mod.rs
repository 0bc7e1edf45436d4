//! ApoloPay SmartPay: US dollars paid in USDT, one call to create a preorder, and a webhook when it is paid.
//!
//! The published documentation and the provider's own clients disagree on the reply, on the signature's header and on
//! the webhook's body, so every shape of both is accepted.

#[cfg(feature = "provider-client")]
pub mod client;
pub mod webhook;
