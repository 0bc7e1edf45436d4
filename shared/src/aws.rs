//! Clients of AWS, configured from the standard environment variables alone.
//!
//! In Lambda the credentials, the region and any endpoint come as variables, so the general configuration loader (profiles, SSO,
//! instance metadata) would only cost start-up time and size. All clients share one HTTP connector on one TLS stack.

use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use crate::config::{ConfigError, Variables};
use crate::store::Store;

/// One operation, its retries included.
const OPERATION_LIMIT: Duration = Duration::from_millis(1500);
/// One try of an operation. A lost packet costs one of these, not the operation.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(700);

/// What all clients share.
#[derive(Clone, Debug)]
pub struct Aws {
    region: Region,
    credentials: Credentials,
    http: SharedHttpClient,
    endpoint: Option<String>,
    dynamodb_endpoint: Option<String>,
    #[cfg(feature = "secrets")]
    secrets_manager_endpoint: Option<String>,
    use_fips: bool,
    use_dual_stack: bool,
}

impl Aws {
    /// Reads `AWS_REGION` (or `AWS_DEFAULT_REGION`), `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_ENDPOINT_URL`
    /// and its forms for one service, `AWS_USE_FIPS_ENDPOINT` and `AWS_USE_DUALSTACK_ENDPOINT`.
    ///
    /// # Errors
    /// Where the region or the credentials are missing.
    pub fn from_environment(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let flag = |name: &str| {
            variables
                .optional(name)
                .is_some_and(|value| value.eq_ignore_ascii_case("true"))
        };
        let endpoint = |name: &str| {
            variables
                .optional(name)
                .filter(|_| !flag("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"))
        };
        let region = variables
            .optional("AWS_REGION")
            .map_or_else(|| variables.optional("AWS_DEFAULT_REGION"), Some);
        let region = region.map_or_else(|| variables.required("AWS_REGION"), Ok)?;
        let credentials = Credentials::new(
            variables.required("AWS_ACCESS_KEY_ID")?,
            variables.required("AWS_SECRET_ACCESS_KEY")?,
            variables.optional("AWS_SESSION_TOKEN"),
            None,
            "environment",
        );
        Ok(Self {
            region: Region::new(region),
            credentials,
            http: aws_smithy_http_client::Builder::new()
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .build_https(),
            endpoint: endpoint("AWS_ENDPOINT_URL"),
            dynamodb_endpoint: endpoint("AWS_ENDPOINT_URL_DYNAMODB"),
            #[cfg(feature = "secrets")]
            secrets_manager_endpoint: endpoint("AWS_ENDPOINT_URL_SECRETS_MANAGER"),
            use_fips: flag("AWS_USE_FIPS_ENDPOINT"),
            use_dual_stack: flag("AWS_USE_DUALSTACK_ENDPOINT"),
        })
    }

    /// The payments table.
    pub fn store(&self, table: String) -> Store {
        let mut config = aws_sdk_dynamodb::config::Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(self.http.clone())
            .retry_config(RetryConfig::standard())
            .timeout_config(timeouts());
        config.set_endpoint_url(self.dynamodb_endpoint.clone().or_else(|| self.endpoint.clone()));
        config
            .set_use_fips(Some(self.use_fips))
            .set_use_dual_stack(Some(self.use_dual_stack));
        Store::new(aws_sdk_dynamodb::Client::from_conf(config.build()), table)
    }

    /// Secrets Manager.
    #[cfg(feature = "secrets")]
    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        let mut config = aws_sdk_secretsmanager::config::Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(self.http.clone())
            .retry_config(RetryConfig::standard())
            .timeout_config(timeouts());
        config.set_endpoint_url(self.secrets_manager_endpoint.clone().or_else(|| self.endpoint.clone()));
        config
            .set_use_fips(Some(self.use_fips))
            .set_use_dual_stack(Some(self.use_dual_stack));
        aws_sdk_secretsmanager::Client::from_conf(config.build())
    }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_timeout(OPERATION_LIMIT)
        .operation_attempt_timeout(ATTEMPT_LIMIT)
        .build()
}
