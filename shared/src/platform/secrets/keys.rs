//! What secrets are read as.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::domain::json::{Json, Object};
use crate::domain::time::Timestamp;
use crate::domain::webhook_signature::{Verifier, WebhookSecret};
use crate::platform::secrets::manager::{SecretError, Versions};

/// How long the previous version of a secret to verify with is good after the current one was made.
pub(crate) const ROTATION: Duration = Duration::from_secs(24 * 60 * 60);

/// A key for calling a provider: one member of a secret's JSON.
#[derive(Clone, Debug)]
pub struct ApiKey(pub SecretString);

/// Not in constant time: both are ours.
impl PartialEq for ApiKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

/// The secrets that webhooks are signed with: one member of a secret's JSON, now and before.
#[derive(Clone, Debug)]
pub struct WebhookSecrets {
    pub(super) current: Option<WebhookSecret>,
    previous: Option<WebhookSecret>,
    created_at: Timestamp,
}

impl WebhookSecrets {
    /// The verifier for this moment. `None` where there is no secret to verify with.
    pub fn verifier(&self, now: Timestamp) -> Option<Verifier> {
        let previous = self.previous.clone().filter(|_| now < self.created_at.plus(ROTATION));
        Some(Verifier::new(self.current.clone()?, previous))
    }
}

/// What a secret is read as.
pub trait FromVersions: Sized {
    /// How far back a rotation must lie for the previous version not to matter; `None` where it never does.
    const PREVIOUS_WITHIN: Option<Duration>;

    /// Reads it.
    ///
    /// # Errors
    /// Where it has the wrong shape.
    fn from_versions(versions: &Versions, member: &'static str) -> Result<Self, SecretError>;
}

/// A member of a secret's JSON; `None` where there is none of that name.
pub(crate) fn member_of(secret: &SecretString, member: &'static str) -> Result<Option<String>, SecretError> {
    let wrong = || SecretError::Malformed(member);
    let json = Json::parse(secret.expose_secret().as_bytes()).map_err(|_| wrong())?;
    let object: &Object = json.as_object().ok_or_else(wrong)?;
    match object.get(member) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => Err(wrong()),
    }
}

impl FromVersions for ApiKey {
    const PREVIOUS_WITHIN: Option<Duration> = None;

    fn from_versions(versions: &Versions, member: &'static str) -> Result<Self, SecretError> {
        let key = member_of(&versions.current, member)?.filter(|key| !key.trim().is_empty());
        key.map(|key| Self(key.into())).ok_or(SecretError::Malformed(member))
    }
}

impl FromVersions for WebhookSecrets {
    const PREVIOUS_WITHIN: Option<Duration> = Some(ROTATION);

    /// An absent or empty secret is no error: nothing verifies then.
    fn from_versions(versions: &Versions, member: &'static str) -> Result<Self, SecretError> {
        let secret = |text: Option<String>| text.as_deref().and_then(WebhookSecret::new);
        let previous = versions
            .previous
            .as_ref()
            .and_then(|previous| member_of(previous, member).ok().flatten());
        Ok(Self {
            current: secret(member_of(&versions.current, member)?),
            previous: secret(previous),
            created_at: versions.created_at,
        })
    }
}
