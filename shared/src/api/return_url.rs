//! Validation of the URLs that the provider sends the buyer back to.

use url::{Origin, Url};

use crate::platform::config::{ConfigError, Variables, is_secure};

/// The allowed origins of return URLs.
#[derive(Clone, Debug)]
pub struct ReturnOrigins(Vec<Origin>);

impl ReturnOrigins {
    /// Reads `ALLOWED_RETURN_ORIGINS`.
    ///
    /// # Errors
    /// [`ConfigError`] if it is missing or has anything but secure origins.
    pub fn from_environment(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let name = "ALLOWED_RETURN_ORIGINS";
        Self::parse(&variables.required(name)?).ok_or_else(|| {
            ConfigError::new(
                name,
                "must be a comma-separated list of origins such as https://shop.example",
            )
        })
    }

    fn parse(list: &str) -> Option<Self> {
        let origin = |text: &str| {
            let url = Url::parse(text.trim()).ok().filter(is_secure)?;
            let is_bare = url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none();
            is_bare.then(|| url.origin())
        };
        list.split(',')
            .filter(|part| !part.trim().is_empty())
            .map(origin)
            .collect::<Option<Vec<_>>>()
            .filter(|origins| !origins.is_empty())
            .map(Self)
    }

    /// Checks a return URL. Its host must be written in the normal form, since the provider gets the text as it is, and
    /// another program might read an unusual form differently.
    ///
    /// # Errors
    /// Why it is invalid: a predicate, such as "must be https".
    pub fn check(&self, text: &str) -> Result<(), &'static str> {
        if text
            .chars()
            .any(|char| char.is_whitespace() || char.is_control() || char == '\\')
        {
            return Err("must not have blanks, backslashes or control characters");
        }
        let url = Url::parse(text).map_err(|_| "must be an absolute URL")?;
        if !is_secure(&url) {
            return Err("must be https, or http on a loopback host");
        }
        let after_scheme = text.get(url.scheme().len()..).unwrap_or_default();
        let written = after_scheme.strip_prefix("://").unwrap_or_default();
        let authority = written.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err("must not have user information");
        }
        let host = url.host_str().unwrap_or_default();
        let with_port = url.port_or_known_default().map(|port| format!("{host}:{port}"));
        let mut plain = [Some(host), with_port.as_deref()].into_iter().flatten();
        if !plain.any(|plain| plain.eq_ignore_ascii_case(authority)) {
            return Err("must write its host in the normal form");
        }
        if self.0.contains(&url.origin()) {
            Ok(())
        } else {
            Err("must be on an allowed origin")
        }
    }
}

#[cfg(test)]
mod tests;
