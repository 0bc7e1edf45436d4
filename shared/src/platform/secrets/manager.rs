//! Secrets Manager.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use secrecy::SecretString;

use crate::domain::time::Timestamp;
use crate::platform::aws;
use crate::platform::failpoint::{ExternalCall, wrap};

/// A secret could not be had. The text says what to do, and holds nothing of the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager cannot be reached or refused.
    #[error("{0}")]
    Unavailable(String),
    /// There is no such secret, or it was never given a value.
    #[error("it does not exist in this region, or has no value: create it, or give the function another id")]
    NotFound,
    /// The secret is not what the function needs.
    #[error("it must be a JSON object with a text in {0}: store that with aws secretsmanager put-secret-value")]
    Malformed(&'static str),
}

/// The versions of a secret that can be good.
#[derive(Clone, Debug)]
pub struct Versions {
    /// `AWSCURRENT`.
    pub current: SecretString,
    /// When the current version was made.
    pub created_at: Timestamp,
    /// `AWSPREVIOUS`, where there is one and it is asked for.
    pub previous: Option<SecretString>,
}

/// Where secrets come from.
pub trait SecretSource: Send + Sync {
    /// Fetches a secret's versions; the previous one only where `created_at` lies after `previous_since`.
    fn fetch(&self, previous_since: Option<Timestamp>) -> impl Future<Output = Result<Versions, SecretError>> + Send;

    /// What whoever looks after it knows it by.
    fn id(&self) -> &str {
        "secret"
    }
}

/// One secret in Secrets Manager.
#[derive(Clone, Debug)]
pub struct SecretsManager {
    client: Client,
    id: String,
}

impl SecretsManager {
    /// The secret `id`, a name or an ARN.
    pub fn new(client: Client, id: String) -> Self {
        Self { client, id }
    }

    /// A stage of the secret; `None` where there is no version at that stage.
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
                let why = match error.code() {
                    None => "no connection to Secrets Manager".to_owned(),
                    Some(code) => match aws::hint(code) {
                        Some(hint) => format!("{code}: {hint} (secretsmanager:GetSecretValue)"),
                        None => code.to_owned(),
                    },
                };
                return Err(SecretError::Unavailable(why));
            }
        };
        let created_at = output
            .created_date()
            .and_then(|date| u64::try_from(date.to_millis().ok()?).ok());
        let text = output
            .secret_string
            .ok_or_else(|| SecretError::Unavailable("it is binary".to_owned()))?;
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
