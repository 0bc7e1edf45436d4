//! Secrets: fetching, caching and reading them.

mod cache;
mod keys;
mod manager;

pub use cache::SecretCache;
pub use keys::{ApiKey, SecretValue, WebhookSecrets};
#[cfg(feature = "creation")]
pub(crate) use keys::{ROTATION, member_of};
pub use manager::{SecretError, SecretSource, SecretsManager, Versions};
