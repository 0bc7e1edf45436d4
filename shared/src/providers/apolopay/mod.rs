//! ApoloPay SmartPay: US dollars paid in USDT, one call to create a preorder, and a webhook when it is paid.
//!
//! The published documentation and the provider's own clients disagree on the reply, on the signature's header and on
//! the webhook's body, so every shape of both is accepted.

#[cfg(feature = "provider-client")]
pub mod client;
pub mod webhook;

use std::time::Duration;

use crate::money::Currency;
use crate::providers::{Profile, ShownId};

/// It names no currency and no moment until which can be paid, and can be asked nothing.
pub const PROFILE: Profile = Profile {
    only_currency: Some(Currency::USD),
    shown_id: ShownId::ProcessId,
    life: Duration::from_secs(24 * 60 * 60),
    grace: Duration::ZERO,
    can_be_asked: false,
    has_transactions: false,
    may_name_only_the_order: false,
    webhooks: webhook::WEBHOOKS,
};
