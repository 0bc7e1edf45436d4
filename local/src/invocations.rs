//! Invokes functions through Lambda's API, like AWS's services and `cargo lambda invoke`.

use std::time::Duration;

use reqwest::Client;
use serde_json::Value;

use super::{Error, http};

/// This header marks the body as the function's error.
pub(super) const FUNCTION_ERROR: &str = "x-amz-function-error";

/// The API path that invokes a function.
pub(super) fn path(function: &str) -> String {
    format!("/2015-03-31/functions/{function}/invocations")
}

/// Invokes the functions behind a gateway.
#[derive(Clone, Debug)]
pub struct Invocations {
    http: Client,
    url: String,
}

impl Invocations {
    /// For the gateway at `url`.
    ///
    /// # Errors
    /// If no HTTP client can be created.
    pub fn at(url: &str) -> Result<Self, Error> {
        Ok(Self {
            http: http::client_without_connections()?,
            url: url.to_owned(),
        })
    }

    /// Invokes a function with an event and waits for its response.
    ///
    /// # Errors
    /// The function's error message, or the reason why there is no response.
    pub async fn invoke(&self, function: &str, event: String, limit: Duration) -> Result<Value, String> {
        let url = format!("{}{}", self.url, path(function));
        let request = self.http.post(url).timeout(limit).body(event);
        let response = request.send().await.map_err(|_| "no response".to_owned())?;
        let (status, is_error) = (response.status(), response.headers().contains_key(FUNCTION_ERROR));
        let text = response.text().await.unwrap_or_default();
        let response: Value = serde_json::from_str(&text).unwrap_or_default();
        match response.get("errorMessage").and_then(Value::as_str) {
            Some(message) => Err(message.to_owned()),
            None if status.is_success() && !is_error => Ok(response),
            None => Err(format!("{status} {text}")),
        }
    }
}
