//! Configuration from environment variables, read once at start-up.
//!
//! Each error is one line with the name of the variable and what to do.

use std::fmt;
use std::time::Duration;

use url::Url;

use crate::domain::order_matching::OrderMatching;
use crate::domain::provider::Environment;
use crate::domain::request_rate::RequestRate;
use crate::domain::schedule::DELETE_UNPAID_AFTER;

/// A variable is missing or invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem}")]
pub struct ConfigError {
    name: &'static str,
    problem: String,
}

impl ConfigError {
    pub(crate) fn new(name: &'static str, problem: impl Into<String>) -> Self {
        Self {
            name,
            problem: problem.into(),
        }
    }
}

/// A source of variables: the process environment, or a test's replacement.
pub struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl fmt::Debug for Variables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Variables")
    }
}

/// The process environment.
///
/// Invalid Unicode is replaced, so that the variable still counts as set.
pub const PROCESS_ENVIRONMENT: Variables<'static> =
    Variables(&|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()));

impl<'a> Variables<'a> {
    /// Variables from a lookup function.
    pub fn from(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self(lookup)
    }

    /// An optional variable; `None` if it is missing or blank.
    pub fn optional(&self, name: &str) -> Option<String> {
        (self.0)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    /// A required variable.
    ///
    /// # Errors
    /// [`ConfigError`] if it is missing or blank.
    pub fn required(&self, name: &'static str) -> Result<String, ConfigError> {
        let missing = || ConfigError::new(name, "is not set: see docs/configuration.md");
        self.optional(name).ok_or_else(missing)
    }

    /// `PAYMENTS_TABLE`.
    ///
    /// # Errors
    /// [`ConfigError`] if it is missing.
    pub fn payments_table(&self) -> Result<String, ConfigError> {
        self.required("PAYMENTS_TABLE")
    }

    /// A provider's base URL, without a trailing slash; `default` if the variable is missing.
    ///
    /// # Errors
    /// [`ConfigError`] if it is neither an https URL nor an http URL on a loopback host.
    pub fn base_url(&self, name: &'static str, default: &str) -> Result<String, ConfigError> {
        web_address(name, &self.optional(name).unwrap_or_else(|| default.to_owned()))
    }

    /// `WEBHOOK_BASE_URL`, without a trailing slash.
    ///
    /// # Errors
    /// [`ConfigError`] if it is missing, or neither an https URL nor an http URL on a loopback host.
    pub fn webhook_base_url(&self) -> Result<String, ConfigError> {
        let name = "WEBHOOK_BASE_URL";
        web_address(name, &self.required(name)?)
    }

    /// `FINVYPAY_ENVIRONMENT`: `sandbox` (default) or `production`.
    ///
    /// # Errors
    /// [`ConfigError`] for any other value.
    pub fn finvypay_environment(&self) -> Result<Environment, ConfigError> {
        let name = "FINVYPAY_ENVIRONMENT";
        match self.optional(name).as_deref() {
            None | Some("sandbox") => Ok(Environment::Sandbox),
            Some("production") => Ok(Environment::Production),
            Some(_) => Err(ConfigError::new(name, "must be sandbox or production")),
        }
    }

    /// `ORDER_ONLY_WEBHOOKS` (`confirm` by default, or `trust`) and [`Variables::finvypay_environment`]: what decides
    /// where a webhook names only an order.
    ///
    /// # Errors
    /// [`ConfigError`] for any other value.
    pub fn order_matching(&self) -> Result<OrderMatching, ConfigError> {
        let name = "ORDER_ONLY_WEBHOOKS";
        Ok(OrderMatching {
            environment: self.finvypay_environment()?,
            trusts_orders: match self.optional(name).as_deref() {
                None | Some("confirm") => false,
                Some("trust") => true,
                Some(_) => return Err(ConfigError::new(name, "must be confirm or trust")),
            },
            ..OrderMatching::default()
        })
    }

    /// `DELETE_UNPAID_AFTER_DAYS`: how long after its expiry an unpaid payment is deleted, 400 days by default. `None`
    /// for 0: never.
    ///
    /// # Errors
    /// [`ConfigError`] for anything but 0 and 30 to 9999 days. FinvyPay is polled for eight days, and an idempotency
    /// key is kept for two: a payment outlives both.
    pub fn delete_unpaid_after(&self) -> Result<Option<Duration>, ConfigError> {
        let name = "DELETE_UNPAID_AFTER_DAYS";
        let Some(text) = self.optional(name) else {
            return Ok(Some(DELETE_UNPAID_AFTER));
        };
        match text.parse::<u16>() {
            Ok(0) => Ok(None),
            Ok(days @ 30..=9999) => Ok(Some(Duration::from_hours(24) * u32::from(days))),
            Ok(_) | Err(_) => Err(ConfigError::new(name, "must be 0 (never) or 30 to 9999 days")),
        }
    }

    /// `FINVYPAY_REQUESTS_PER_MINUTE`: what FinvyPay allows a key, 100 by default.
    ///
    /// # Errors
    /// [`ConfigError`] for anything but 1 to 100000.
    pub fn finvypay_request_rate(&self) -> Result<RequestRate, ConfigError> {
        let name = "FINVYPAY_REQUESTS_PER_MINUTE";
        let Some(text) = self.optional(name) else {
            return Ok(RequestRate::DEFAULT);
        };
        let rate = text.parse().ok().filter(|requests| *requests <= 100_000);
        rate.and_then(RequestRate::per_minute)
            .ok_or_else(|| ConfigError::new(name, "must be 1 to 100000"))
    }

    /// `METRICS_NAMESPACE`, which separates the metrics of deployments in one account; default `payment-functions`.
    ///
    /// # Errors
    /// [`ConfigError`] if CloudWatch would refuse it.
    pub fn metrics_namespace(&self) -> Result<String, ConfigError> {
        let name = "METRICS_NAMESPACE";
        let namespace = self.optional(name).unwrap_or_else(|| "payment-functions".to_owned());
        let is_good = namespace.len() <= 255
            && namespace
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || ".-_/#:".contains(char))
            && !namespace.starts_with(':')
            && !namespace.starts_with("AWS/");
        if is_good {
            Ok(namespace)
        } else {
            Err(ConfigError::new(
                name,
                "must have at most 255 characters, only letters, digits and .-_/#: and must not start with : or AWS/",
            ))
        }
    }

    /// `QUOTE_SECRET_ID`; `None` if it is not set: quotes are turned off then.
    ///
    /// # Errors
    /// [`ConfigError`] if it is set but blank, so that a mistake does not turn quotes off.
    pub fn quote_secret_id(&self) -> Result<Option<String>, ConfigError> {
        let name = "QUOTE_SECRET_ID";
        let id = self.optional(name);
        if id.is_none() && (self.0)(name).is_some() {
            return Err(ConfigError::new(
                name,
                "is empty: set it to the secret's id, or unset it to turn quotes off",
            ));
        }
        Ok(id)
    }
}

fn web_address(name: &'static str, text: &str) -> Result<String, ConfigError> {
    let text = text.trim_end_matches('/');
    let url = Url::parse(text)
        .ok()
        .filter(|url| is_secure(url) && url.query().is_none() && url.fragment().is_none());
    url.map(|_| text.to_owned())
        .ok_or_else(|| ConfigError::new(name, "must be an https URL, or http on a loopback host"))
}

/// Whether the URL is https, or http on a loopback host.
pub(crate) fn is_secure(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(url::Host::Domain(domain)) => domain == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &'static str) -> impl Fn(&str) -> Option<String> {
        move |requested| (requested == name).then(|| value.to_owned())
    }

    #[test]
    fn error_names_the_variable() {
        let nothing = |_: &str| None;
        let variables = Variables::from(&nothing);
        assert_eq!(
            variables.payments_table().unwrap_err().to_string(),
            "PAYMENTS_TABLE is not set: see docs/configuration.md"
        );
        assert_eq!(variables.finvypay_environment(), Ok(Environment::Sandbox));
        assert_eq!(
            variables.base_url("APOLOPAY_BASE_URL", "https://a.example").as_deref(),
            Ok("https://a.example")
        );
        for (name, value) in [("FINVYPAY_ENVIRONMENT", "prod"), ("FINVYPAY_ENVIRONMENT", "Production")] {
            assert!(
                Variables::from(&with(name, value)).finvypay_environment().is_err(),
                "{value}"
            );
        }
        for value in ["", "shop", "http://shop.example", "ftp://localhost", "https://h/?q"] {
            assert!(
                Variables::from(&with("WEBHOOK_BASE_URL", value))
                    .webhook_base_url()
                    .is_err(),
                "{value}"
            );
        }
        let slash = with("WEBHOOK_BASE_URL", "https://h.example/");
        assert_eq!(
            Variables::from(&slash).webhook_base_url().as_deref(),
            Ok("https://h.example")
        );
        assert_eq!(variables.metrics_namespace().as_deref(), Ok("payment-functions"));
        let longest: &str = "n".repeat(255).leak();
        for value in ["shop", "Shop-2/pay.ments_#1:x", longest] {
            let given = with("METRICS_NAMESPACE", value);
            assert_eq!(Variables::from(&given).metrics_namespace().as_deref(), Ok(value));
        }
        for value in ["AWS/Lambda", ":shop", "my shop", "käse", "a\"b", "n".repeat(256).leak()] {
            let given = with("METRICS_NAMESPACE", value);
            assert!(Variables::from(&given).metrics_namespace().is_err(), "{value}");
        }
        let days = |days: u64| Ok(Some(Duration::from_secs(days * 24 * 60 * 60)));
        assert_eq!(variables.delete_unpaid_after(), days(400));
        for (value, expected) in [("0", Ok(None)), ("30", days(30)), (" 9999 ", days(9999))] {
            let given = with("DELETE_UNPAID_AFTER_DAYS", value);
            assert_eq!(Variables::from(&given).delete_unpaid_after(), expected, "{value}");
        }
        for value in ["1", "29", "10000", "-1", "30.5", "never", "99999999"] {
            let given = with("DELETE_UNPAID_AFTER_DAYS", value);
            let error = Variables::from(&given).delete_unpaid_after().unwrap_err();
            assert_eq!(
                error.to_string(),
                "DELETE_UNPAID_AFTER_DAYS must be 0 (never) or 30 to 9999 days"
            );
        }
        assert_eq!(variables.finvypay_request_rate(), Ok(RequestRate::DEFAULT));
        for (value, expected) in [("1", 1), (" 500 ", 500), ("100000", 100_000)] {
            let given = with("FINVYPAY_REQUESTS_PER_MINUTE", value);
            let rate = Variables::from(&given).finvypay_request_rate();
            assert_eq!(rate.map(RequestRate::requests), Ok(expected), "{value}");
        }
        for value in ["0", "-1", "1.5", "100001", "many"] {
            let given = with("FINVYPAY_REQUESTS_PER_MINUTE", value);
            assert!(Variables::from(&given).finvypay_request_rate().is_err(), "{value}");
        }
        assert_eq!(variables.quote_secret_id(), Ok(None));
        for value in ["", " "] {
            let quotes = with("QUOTE_SECRET_ID", value);
            assert!(Variables::from(&quotes).quote_secret_id().is_err(), "{value:?}");
        }
        let quotes = with("QUOTE_SECRET_ID", "quote ");
        assert_eq!(Variables::from(&quotes).quote_secret_id(), Ok(Some("quote".to_owned())));
    }
}
