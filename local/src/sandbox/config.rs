//! What the stand-ins are set up with: keys, the webhook secret, ApoloPay's dashboard URL.

use std::env;

use super::aws::LocalAws;
use super::checkout::SmartPay;

/// The stand-ins' settings; the default is what the local world uses.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where ApoloPay sends webhooks, as set in its dashboard. FinvyPay's URL comes with each payment.
    pub apolopay_webhook_url: String,
    /// The key that ApoloPay expects in `x-secret-key`.
    pub apolopay_secret_key: String,
    /// The key that FinvyPay expects as a bearer token.
    pub finvypay_api_key: String,
    /// What both providers sign their webhooks with.
    pub webhook_secret: String,
    /// The functions, which the checkout page calls by way of `/api`.
    pub functions_url: String,
    /// The local AWS, for the live view of the checkout page to look into; without it the view says so.
    pub aws: Option<LocalAws>,
    /// ApoloPay's real element for the checkout page; the stand-in without it.
    pub smart_pay: Option<SmartPay>,
    /// The payment methods that the merchant has at FinvyPay; any other is `INVALID_PAYMENT_METHOD`.
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
    /// The default with what the environment sets; an empty variable counts as not set.
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

/// Why the environment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `SANDBOX_PORT` is not a port number.
    #[error("SANDBOX_PORT is not a port number: {0}")]
    Port(String),
}

/// The port to listen on: `SANDBOX_PORT`, or 4010.
///
/// # Errors
/// When the variable is set to something that is no port number.
pub fn port_from_env() -> Result<u16, ConfigError> {
    match variable("SANDBOX_PORT") {
        None => Ok(4010),
        Some(text) => text.parse().map_err(|_| ConfigError::Port(text)),
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
