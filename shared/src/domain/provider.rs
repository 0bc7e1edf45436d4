//! The payment providers, and what is particular to each.

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
    /// Every provider: one that is missing here gets no webhooks and is never looked at by the reconciler.
    pub const ALL: [Self; 2] = [Self::ApoloPay, Self::FinvyPay];

    /// The name used in answers, paths and keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApoloPay => "apolopay",
            Self::FinvyPay => "finvypay",
        }
    }

    /// What is particular to it.
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

/// What is particular to a provider, beside how it is called.
#[derive(Debug)]
pub struct Capabilities {
    /// The one currency of its amounts, where its messages name none.
    pub only_currency: Option<Currency>,
    /// How its id of a payment is shown.
    pub shown_id: ShownId,
    /// For how long a buyer may pay, where it names no moment itself.
    pub life: Duration,
    /// How much longer a payment is waited for before it counts as expired.
    pub grace: Duration,
    /// Whether it tells what became of a payment when it is asked. One that does not has nothing but its webhooks, and
    /// what they do not settle only a person can.
    pub supports_status_query: bool,
    /// Whether the transaction that a payment became has an id of its own.
    pub has_transactions: bool,
    /// Whether some of its webhooks name nothing of ours but the order.
    pub webhooks_may_omit_payment_id: bool,
}

/// How a provider's id of a payment is shown to a browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownId {
    /// As `processId`, also by `GET` while the buyer can pay: without it the browser cannot go on.
    ProcessId,
    /// As `paymentId`, when the payment is created: the buyer goes on by a redirect.
    PaymentId,
}

/// ApoloPay names no currency and no expiry time, and has no status query.
const APOLOPAY: Capabilities = Capabilities {
    only_currency: Some(Currency::USD),
    shown_id: ShownId::ProcessId,
    life: Duration::from_secs(24 * 60 * 60),
    grace: Duration::ZERO,
    supports_status_query: false,
    has_transactions: false,
    webhooks_may_omit_payment_id: false,
};

/// FinvyPay's reply usually names an expiry time, and its general webhook names only the order.
const FINVYPAY: Capabilities = Capabilities {
    only_currency: None,
    shown_id: ShownId::PaymentId,
    life: Duration::from_secs(30 * 60),
    grace: Duration::from_secs(15 * 60),
    supports_status_query: true,
    has_transactions: true,
    webhooks_may_omit_payment_id: true,
};

/// Which of the provider's two systems is used. The deployment's choice, never the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// No real money.
    #[default]
    Sandbox,
    /// Real money.
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
