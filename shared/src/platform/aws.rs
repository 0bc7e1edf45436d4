//! AWS clients, configured only from the standard environment variables.
//!
//! Lambda provides credentials, region and endpoints as variables, so the SDK's configuration loader (profiles, SSO,
//! instance metadata) would only add start-up time and size. All clients share their connections.

use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_types::SdkConfig;

use crate::platform::config::{ConfigError, Variables};
use crate::platform::tls::Tls;

/// Time limit of one operation including its retries.
const OPERATION_LIMIT: Duration = Duration::from_millis(1500);
/// Time limit of one attempt, so that a lost packet does not fail the whole operation.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(700);

/// Factor for time limits: 1, or more in tests, which set `SLOW_MACHINE` when the whole suite runs at once. Always 1 in
/// release builds.
pub(crate) fn test_timeout_factor(variables: &Variables<'_>) -> u32 {
    if cfg!(debug_assertions) && variables.optional("SLOW_MACHINE").is_some() {
        10
    } else {
        1
    }
}

/// Advice for an AWS error that needs manual action. `None` for any other error.
pub(crate) fn hint(code: &str) -> Option<&'static str> {
    match code {
        "AccessDeniedException" => Some("grant the function's role the permissions listed in template.yaml"),
        "UnrecognizedClientException" | "InvalidSignatureException" | "ExpiredTokenException" => {
            Some("the credentials are invalid: give the function new ones")
        }
        _ => None,
    }
}

/// Configuration shared by all AWS clients.
#[derive(Clone, Debug)]
pub struct Aws {
    config: SdkConfig,
    dynamodb_endpoint: Option<String>,
    #[cfg(feature = "events")]
    eventbridge_endpoint: Option<String>,
    #[cfg(feature = "events")]
    sqs_endpoint: Option<String>,
    #[cfg(feature = "secrets")]
    secrets_manager_endpoint: Option<String>,
}

impl Aws {
    /// Reads `AWS_REGION` (or `AWS_DEFAULT_REGION`), `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
    /// `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>`, `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`,
    /// `AWS_USE_FIPS_ENDPOINT` and `AWS_USE_DUALSTACK_ENDPOINT`.
    ///
    /// # Errors
    /// [`ConfigError`] if the region or the credentials are missing.
    pub fn from_environment(variables: &Variables<'_>, tls: &Tls) -> Result<Self, ConfigError> {
        let flag = |name: &str| {
            variables
                .optional(name)
                .is_some_and(|value| value.eq_ignore_ascii_case("true"))
        };
        let endpoint = |service: &str| {
            let own = variables.optional(&format!("AWS_ENDPOINT_URL_{service}"));
            let any = own.or_else(|| variables.optional("AWS_ENDPOINT_URL"));
            any.filter(|_| !flag("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"))
        };
        let region = variables
            .optional("AWS_REGION")
            .or_else(|| variables.optional("AWS_DEFAULT_REGION"));
        let region = region.map_or_else(|| variables.required("AWS_REGION"), Ok)?;
        let credentials = Credentials::new(
            variables.required("AWS_ACCESS_KEY_ID")?,
            variables.required("AWS_SECRET_ACCESS_KEY")?,
            variables.optional("AWS_SESSION_TOKEN"),
            None,
            "environment",
        );
        let factor = test_timeout_factor(variables);
        let timeouts = TimeoutConfig::builder()
            .operation_timeout(OPERATION_LIMIT.saturating_mul(factor))
            .operation_attempt_timeout(ATTEMPT_LIMIT.saturating_mul(factor))
            .build();
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(tls.aws_client())
            .retry_config(RetryConfig::standard())
            .timeout_config(timeouts)
            .use_fips(flag("AWS_USE_FIPS_ENDPOINT"))
            .use_dual_stack(flag("AWS_USE_DUALSTACK_ENDPOINT"))
            .build();
        Ok(Self {
            config,
            dynamodb_endpoint: endpoint("DYNAMODB"),
            #[cfg(feature = "events")]
            eventbridge_endpoint: endpoint("EVENTBRIDGE"),
            #[cfg(feature = "events")]
            sqs_endpoint: endpoint("SQS"),
            #[cfg(feature = "secrets")]
            secrets_manager_endpoint: endpoint("SECRETS_MANAGER"),
        })
    }

    /// A DynamoDB client.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let mut config = aws_sdk_dynamodb::config::Builder::from(&self.config);
        config.set_endpoint_url(self.dynamodb_endpoint.clone());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// The configured endpoint of DynamoDB; `None` for AWS's own.
    pub fn dynamodb_endpoint(&self) -> Option<String> {
        self.dynamodb_endpoint.clone()
    }

    /// An EventBridge client.
    #[cfg(feature = "events")]
    pub fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        let mut config = aws_sdk_eventbridge::config::Builder::from(&self.config);
        config.set_endpoint_url(self.eventbridge_endpoint.clone());
        aws_sdk_eventbridge::Client::from_conf(config.build())
    }

    /// An SQS client.
    #[cfg(feature = "events")]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        let mut config = aws_sdk_sqs::config::Builder::from(&self.config);
        config.set_endpoint_url(self.sqs_endpoint.clone());
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// A Secrets Manager client.
    #[cfg(feature = "secrets")]
    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        let mut config = aws_sdk_secretsmanager::config::Builder::from(&self.config);
        config.set_endpoint_url(self.secrets_manager_endpoint.clone());
        aws_sdk_secretsmanager::Client::from_conf(config.build())
    }
}
