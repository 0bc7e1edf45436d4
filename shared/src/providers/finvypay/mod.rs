//! FinvyPay APM: Apple Pay, Google Pay and more in many currencies. One call to create a payment, usually a redirect,
//! and webhooks for what becomes of it.

#[cfg(feature = "provider-client")]
pub mod client;
#[cfg(feature = "provider-client")]
pub mod status;
pub mod webhook;

#[cfg(feature = "provider-client")]
use lambda_http::http::HeaderMap;
#[cfg(feature = "provider-client")]
use lambda_http::http::header::AUTHORIZATION;
#[cfg(feature = "provider-client")]
use secrecy::SecretString;

use crate::domain::fact::Outcome;
#[cfg(feature = "provider-client")]
use crate::providers::gateway::CallError;
#[cfg(feature = "provider-client")]
use crate::providers::http_client::secret_header;

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
