//! The types that secrets are read as.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::domain::json::{Json, Object};
use crate::domain::time::Timestamp;
use crate::domain::webhook_signature::{Verifier, WebhookSecret};
use crate::platform::secrets::manager::{SecretError, Versions};

/// How long the previous version of a verification secret stays valid after the current one was created.
pub(crate) const ROTATION: Duration = Duration::from_secs(24 * 60 * 60);

/// A key for calling a provider, from one member of a secret's JSON.
#[derive(Clone, Debug)]
pub struct ApiKey(pub SecretString);

/// Not in constant time: both keys are our own.
impl PartialEq for ApiKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

/// The secrets that verify webhooks, from one member of the current and previous version of a secret's JSON.
#[derive(Clone, Debug)]
pub struct WebhookSecrets {
    pub(super) current: Option<WebhookSecret>,
    previous: Option<WebhookSecret>,
    created_at: Timestamp,
}

impl WebhookSecrets {
    /// The verifier with the secrets valid at `now`. `None` if there is no current secret.
    pub fn verifier(&self, now: Timestamp) -> Option<Verifier> {
        let previous = self.previous.clone().filter(|_| now < self.created_at.plus(ROTATION));
        Some(Verifier::new(self.current.clone()?, previous))
    }
}

/// The value of a secret.
pub trait SecretValue: Sized {
    /// How long the previous version stays valid after a rotation; `None` if it is never used.
    const PREVIOUS_VALID_FOR: Option<Duration>;

    /// Reads the value from a member of the secret's JSON.
    ///
    /// # Errors
    /// [`SecretError::Malformed`] if the secret does not have the required format.
    fn from_versions(versions: &Versions, member: &'static str) -> Result<Self, SecretError>;
}

/// A string member of a secret's JSON; `None` if there is no such member.
///
/// # Errors
/// [`SecretError::Malformed`] if the secret is not a JSON object, or the member not a string.
pub(crate) fn member_of(secret: &SecretString, member: &'static str) -> Result<Option<String>, SecretError> {
    let malformed = || SecretError::Malformed(member);
    let json = Json::parse(secret.expose_secret().as_bytes()).map_err(|_| malformed())?;
    let object: &Object = json.as_object().ok_or_else(malformed)?;
    match object.get(member) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => Err(malformed()),
    }
}

impl SecretValue for ApiKey {
    const PREVIOUS_VALID_FOR: Option<Duration> = None;

    fn from_versions(versions: &Versions, member: &'static str) -> Result<Self, SecretError> {
        let key = member_of(&versions.current, member)?.filter(|key| !key.trim().is_empty());
        key.map(|key| Self(key.into())).ok_or(SecretError::Malformed(member))
    }
}

impl SecretValue for WebhookSecrets {
    const PREVIOUS_VALID_FOR: Option<Duration> = Some(ROTATION);

    /// A missing or blank secret is no error: no webhook verifies then.
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
