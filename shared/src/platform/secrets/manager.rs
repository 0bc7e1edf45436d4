//! Fetching secrets from Secrets Manager.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use secrecy::SecretString;

use crate::domain::time::Timestamp;
use crate::platform::aws;
use crate::platform::failpoint::{ExternalCall, wrap};

/// A secret could not be read. The text says what to do, and contains nothing of the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager could not be reached, or refused the request.
    #[error("{0}")]
    Unavailable(String),
    /// The secret does not exist or has no value.
    #[error("the secret does not exist in this region, or has no value: create it, or configure another id")]
    NotFound,
    /// The secret does not have the required format.
    #[error("the secret must be a JSON object with a string in {0}: store it with aws secretsmanager put-secret-value")]
    Malformed(&'static str),
}

/// The versions of a secret that can be valid.
#[derive(Clone, Debug)]
pub struct Versions {
    /// `AWSCURRENT`.
    pub current: SecretString,
    /// When the current version was created.
    pub created_at: Timestamp,
    /// `AWSPREVIOUS`, if it was requested and exists.
    pub previous: Option<SecretString>,
}

/// A source of one secret.
pub trait SecretSource: Send + Sync {
    /// Fetches the secret's versions. The previous version is included only if the current one was created after
    /// `previous_since`.
    ///
    /// # Errors
    /// [`SecretError`] if the secret cannot be fetched.
    fn fetch(&self, previous_since: Option<Timestamp>) -> impl Future<Output = Result<Versions, SecretError>> + Send;

    /// The secret's id, for logs.
    fn id(&self) -> &str {
        "secret"
    }
}

/// A secret in Secrets Manager.
#[derive(Clone, Debug)]
pub struct SecretsManager {
    client: Client,
    id: String,
}

impl SecretsManager {
    /// The secret with this id: a name or an ARN.
    pub fn new(client: Client, id: String) -> Self {
        Self { client, id }
    }

    /// The secret's version at a stage, with its creation time; `None` if there is no version at that stage.
    async fn stage(&self, call: ExternalCall, stage: &str) -> Result<Option<(SecretString, Timestamp)>, SecretError> {
        let request = self.client.get_secret_value().secret_id(&self.id).version_stage(stage);
        let output = match wrap(call, request.send()).await {
            Ok(output) => output,
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_resource_not_found_exception()) =>
            {
                return Ok(None);
            }
            Err(error) => {
                let reason = match error.code() {
                    None => "no connection to Secrets Manager".to_owned(),
                    Some(code) => match aws::hint(code) {
                        Some(hint) => format!("{code}: {hint} (secretsmanager:GetSecretValue)"),
                        None => code.to_owned(),
                    },
                };
                return Err(SecretError::Unavailable(reason));
            }
        };
        let created_at = output
            .created_date()
            .and_then(|date| u64::try_from(date.to_millis().ok()?).ok());
        let text = output
            .secret_string
            .ok_or_else(|| SecretError::Unavailable("the secret is binary, not text".to_owned()))?;
        Ok(Some((text.into(), Timestamp::from_millis(created_at.unwrap_or(0)))))
    }
}

impl SecretSource for SecretsManager {
    async fn fetch(&self, previous_since: Option<Timestamp>) -> Result<Versions, SecretError> {
        let current = self.stage(ExternalCall::CurrentSecret, "AWSCURRENT").await?;
        let (current, created_at) = current.ok_or(SecretError::NotFound)?;
        let previous = match previous_since {
            Some(since) if created_at > since => self
                .stage(ExternalCall::PreviousSecret, "AWSPREVIOUS")
                .await?
                .map(|(text, _)| text),
            _ => None,
        };
        Ok(Versions {
            current,
            created_at,
            previous,
        })
    }

    fn id(&self) -> &str {
        &self.id
    }
}
