//! Invoking functions through Lambda's own API, as AWS's services and `cargo lambda invoke` do.

use std::time::Duration;

use reqwest::Client;
use serde_json::Value;

use super::{Error, http};

/// Says that the body is what the function reported as its error.
pub(super) const FUNCTION_ERROR: &str = "x-amz-function-error";

/// The path of the API for a function.
pub(super) fn path(function: &str) -> String {
    format!("/2015-03-31/functions/{function}/invocations")
}

/// The functions behind a gateway.
#[derive(Clone, Debug)]
pub struct Invocations {
    http: Client,
    url: String,
}

impl Invocations {
    /// Those behind the gateway at `url`.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub fn at(url: &str) -> Result<Self, Error> {
        Ok(Self {
            http: http::client_without_connections()?,
            url: url.to_owned(),
        })
    }

    /// Invokes a function with an event and waits for its response.
    ///
    /// # Errors
    /// The function's error message, or why there is no response.
    pub async fn invoke(&self, function: &str, event: String, limit: Duration) -> Result<Value, String> {
        let url = format!("{}{}", self.url, path(function));
        let request = self.http.post(url).timeout(limit).body(event);
        let answer = request.send().await.map_err(|_| "it does not answer".to_owned())?;
        let (status, is_error) = (answer.status(), answer.headers().contains_key(FUNCTION_ERROR));
        let text = answer.text().await.unwrap_or_default();
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        match answer.get("errorMessage").and_then(Value::as_str) {
            Some(words) => Err(words.to_owned()),
            None if status.is_success() && !is_error => Ok(answer),
            None => Err(format!("{status} {text}")),
        }
    }
}
