//! FinvyPay APM: Apple Pay, Google Pay and more in many currencies. One call to create a payment, usually a redirect,
//! and webhooks for what becomes of it.

#[cfg(feature = "provider-client")]
pub mod client;
#[cfg(feature = "provider-client")]
pub mod status;
pub mod webhook;

use std::fmt;

use crate::payment::Outcome;

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

/// What a status word means, of all words seen on any of the provider's pages, in any case.
pub fn outcome(word: &str) -> Option<Outcome> {
    match word.to_ascii_uppercase().as_str() {
        "PENDING" | "INIT" | "REDIRECT" | "REDIRECTED" => Some(Outcome::Pending),
        "AUTHORIZED" => Some(Outcome::Authorized),
        "SUCCESS" | "SUCCEEDED" | "COMPLETED" | "APPROVED" => Some(Outcome::Completed),
        "FAILED" | "DECLINED" | "ERROR" | "BLOCKED" => Some(Outcome::Failed),
        "CANCELLED" | "ABANDONED" => Some(Outcome::Cancelled),
        _ => None,
    }
}
