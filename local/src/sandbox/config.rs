//! The stand-ins' settings: keys, the webhook secret, ApoloPay's webhook URL.

use std::env;

use super::aws::LocalAws;
use super::checkout::SmartPay;

/// The stand-ins' settings. The default is for the local world.
#[derive(Clone, Debug)]
pub struct Config {
    /// ApoloPay's webhook URL, which a merchant sets in its dashboard. FinvyPay's URL comes with each payment.
    pub apolopay_webhook_url: String,
    /// The key that ApoloPay expects in `x-secret-key`.
    pub apolopay_secret_key: String,
    /// The key that FinvyPay expects as a bearer token.
    pub finvypay_api_key: String,
    /// The webhook secret of both providers.
    pub webhook_secret: String,
    /// The functions' base URL, which the checkout page calls through `/api`.
    pub functions_url: String,
    /// The local AWS for the live view of the checkout page. Without it the view shows no table and no events.
    pub aws: Option<LocalAws>,
    /// ApoloPay's real element for the checkout page; without it the stand-in is used.
    pub smart_pay: Option<SmartPay>,
    /// The merchant's payment methods at FinvyPay; others get `INVALID_PAYMENT_METHOD`.
    pub payment_methods: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            apolopay_webhook_url: "http://127.0.0.1:9000/webhooks/apolopay".to_owned(),
            apolopay_secret_key: "sk_local_apolopay".to_owned(),
            finvypay_api_key: "fp_local_finvypay".to_owned(),
            webhook_secret: "whsec_test_secret".to_owned(),
            functions_url: "http://127.0.0.1:9000".to_owned(),
            aws: None,
            smart_pay: None,
            payment_methods: vec!["apple_pay".to_owned(), "google_pay".to_owned()],
        }
    }
}

impl Config {
    /// The default with the variables of the environment. An empty variable counts as unset.
    #[must_use]
    pub fn from_env() -> Self {
        let default = Self::default();
        Self {
            apolopay_webhook_url: variable("APOLOPAY_WEBHOOK_URL").unwrap_or(default.apolopay_webhook_url),
            apolopay_secret_key: variable("APOLOPAY_SECRET_KEY").unwrap_or(default.apolopay_secret_key),
            finvypay_api_key: variable("FINVYPAY_API_KEY").unwrap_or(default.finvypay_api_key),
            webhook_secret: variable("WEBHOOK_SECRET").unwrap_or(default.webhook_secret),
            functions_url: variable("FUNCTIONS_URL").unwrap_or(default.functions_url),
            aws: LocalAws::from(variable),
            smart_pay: SmartPay::from(variable),
            payment_methods: default.payment_methods,
        }
    }
}

/// A variable is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `SANDBOX_PORT` is not a port number.
    #[error("SANDBOX_PORT is not a port number: {0}")]
    Port(String),
}

/// The port to listen on: `SANDBOX_PORT`, or 4010.
///
/// # Errors
/// If the variable is not a port number.
pub fn port_from_env() -> Result<u16, ConfigError> {
    match variable("SANDBOX_PORT") {
        None => Ok(4010),
        Some(text) => text.parse().map_err(|_| ConfigError::Port(text)),
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
