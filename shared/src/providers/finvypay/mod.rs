//! FinvyPay APM: Apple Pay, Google Pay and more in many currencies. One call to create a payment, usually a redirect,
//! and webhooks for what becomes of it.

#[cfg(feature = "provider-client")]
pub mod client;
#[cfg(feature = "provider-client")]
pub mod status;
pub mod webhook;

use std::fmt;
use std::time::Duration;

#[cfg(feature = "provider-client")]
use lambda_http::http::{HeaderMap, header::AUTHORIZATION};
#[cfg(feature = "provider-client")]
use secrecy::SecretString;

use crate::payment::Outcome;
#[cfg(feature = "provider-client")]
use crate::providers::gateway::{CallError, secret_header};
use crate::providers::{Profile, ShownId};

/// Its reply usually names the moment until which can be paid, and its general webhook names only the order.
pub const PROFILE: Profile = Profile {
    only_currency: None,
    shown_id: ShownId::PaymentId,
    life: Duration::from_secs(30 * 60),
    grace: Duration::from_secs(15 * 60),
    can_be_asked: true,
    has_transactions: true,
    may_name_only_the_order: true,
    webhooks: webhook::WEBHOOKS,
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

/// The header that every call carries.
#[cfg(feature = "provider-client")]
fn authorization(api_key: &SecretString) -> Result<HeaderMap, CallError> {
    let value = secret_header("Bearer ", api_key).ok_or(CallError::KeyRefused)?;
    Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
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
