//! Clients of AWS, configured from the standard environment variables alone.
//!
//! In Lambda the credentials, the region and any endpoint come as variables, so the general configuration loader
//! (profiles, SSO, instance metadata) would only cost start-up time and size. All clients share their connections.

use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_types::SdkConfig;

use crate::platform::config::{ConfigError, Variables};
use crate::platform::tls::Tls;

/// One operation, its retries included.
const OPERATION_LIMIT: Duration = Duration::from_millis(1500);
/// One try of an operation. A lost packet costs one of these, not the operation.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(700);

/// How many times as long as usual to wait for AWS: a machine that runs the whole test suite at once is slower than any
/// network. No release build reads `SLOW_MACHINE`.
pub(crate) fn timeout_scale(variables: &Variables<'_>) -> u32 {
    if cfg!(debug_assertions) && variables.optional("SLOW_MACHINE").is_some() {
        10
    } else {
        1
    }
}

/// What to do about a refusal of AWS's that only a person can settle. `None` for any other.
pub(crate) fn hint(code: &str) -> Option<&'static str> {
    match code {
        "AccessDeniedException" => Some("give the function's role the rights that it has in template.yaml"),
        "UnrecognizedClientException" | "InvalidSignatureException" | "ExpiredTokenException" => {
            Some("the credentials are not good: give the function others")
        }
        _ => None,
    }
}

/// What all clients share.
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
    /// `AWS_ENDPOINT_URL` and its forms for one service, `AWS_USE_FIPS_ENDPOINT` and `AWS_USE_DUALSTACK_ENDPOINT`.
    ///
    /// # Errors
    /// Where the region or the credentials are missing.
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
        let timeout_scale = timeout_scale(variables);
        let timeouts = TimeoutConfig::builder()
            .operation_timeout(OPERATION_LIMIT.saturating_mul(timeout_scale))
            .operation_attempt_timeout(ATTEMPT_LIMIT.saturating_mul(timeout_scale))
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

    /// DynamoDB.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let mut config = aws_sdk_dynamodb::config::Builder::from(&self.config);
        config.set_endpoint_url(self.dynamodb_endpoint.clone());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// Where DynamoDB is looked for, where that is not AWS's own endpoint.
    pub fn dynamodb_endpoint(&self) -> Option<String> {
        self.dynamodb_endpoint.clone()
    }

    /// EventBridge.
    #[cfg(feature = "events")]
    pub fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        let mut config = aws_sdk_eventbridge::config::Builder::from(&self.config);
        config.set_endpoint_url(self.eventbridge_endpoint.clone());
        aws_sdk_eventbridge::Client::from_conf(config.build())
    }

    /// SQS.
    #[cfg(feature = "events")]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        let mut config = aws_sdk_sqs::config::Builder::from(&self.config);
        config.set_endpoint_url(self.sqs_endpoint.clone());
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// Secrets Manager.
    #[cfg(feature = "secrets")]
    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        let mut config = aws_sdk_secretsmanager::config::Builder::from(&self.config);
        config.set_endpoint_url(self.secrets_manager_endpoint.clone());
        aws_sdk_secretsmanager::Client::from_conf(config.build())
    }
}
