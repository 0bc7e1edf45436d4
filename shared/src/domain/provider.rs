//! The payment providers and their capabilities.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::money::Currency;

/// A payment provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// ApoloPay SmartPay (crypto, US dollars).
    ApoloPay,
    /// FinvyPay APM (Apple Pay, Google Pay).
    FinvyPay,
}

impl Provider {
    /// Every provider. One that is missing here receives no webhooks, and the reconciler ignores its payments.
    pub const ALL: [Self; 2] = [Self::ApoloPay, Self::FinvyPay];

    /// The name in API responses, paths and keys of the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApoloPay => "apolopay",
            Self::FinvyPay => "finvypay",
        }
    }

    /// Its capabilities.
    pub const fn capabilities(self) -> &'static Capabilities {
        match self {
            Self::ApoloPay => &APOLOPAY,
            Self::FinvyPay => &FINVYPAY,
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a provider differs from others, apart from its API.
#[derive(Debug)]
pub struct Capabilities {
    /// The currency of all its amounts, if its webhooks and responses name none.
    pub only_currency: Option<Currency>,
    /// How the API shows its payment id.
    pub shown_id: ShownId,
    /// How long a buyer can pay, if it names no expiry time.
    pub payment_ttl: Duration,
    /// How long after that a payment expires by our clock.
    pub expiry_grace: Duration,
    /// Whether it has a status query. Without one, payments that its webhooks do not resolve need manual review.
    pub supports_status_query: bool,
    /// Whether a payment's transaction has an id of its own.
    pub has_transactions: bool,
    /// Whether some of its webhooks identify the payment only by its order: they carry neither the provider's id of the
    /// payment nor ours.
    pub webhooks_may_omit_payment_id: bool,
}

/// How the API shows a provider's payment id to a browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownId {
    /// As `processId`, also in `GET` responses while the buyer can pay: the browser needs it to continue.
    ProcessId,
    /// As `paymentId`, only in the response that creates the payment: the buyer continues by a redirect.
    PaymentId,
}

/// ApoloPay names no currency and no expiry time, and has no status query.
const APOLOPAY: Capabilities = Capabilities {
    only_currency: Some(Currency::USD),
    shown_id: ShownId::ProcessId,
    payment_ttl: Duration::from_secs(24 * 60 * 60),
    expiry_grace: Duration::ZERO,
    supports_status_query: false,
    has_transactions: false,
    webhooks_may_omit_payment_id: false,
};

/// FinvyPay's response usually names an expiry time, and its general webhook names no payment id.
const FINVYPAY: Capabilities = Capabilities {
    only_currency: None,
    shown_id: ShownId::PaymentId,
    payment_ttl: Duration::from_secs(30 * 60),
    expiry_grace: Duration::from_secs(15 * 60),
    supports_status_query: true,
    has_transactions: true,
    webhooks_may_omit_payment_id: true,
};

/// The provider's system to use. The deployment chooses it, never the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// For tests, without real money.
    #[default]
    Sandbox,
    /// For real payments.
    Production,
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "sandbox",
            Self::Production => "production",
        })
    }
}
