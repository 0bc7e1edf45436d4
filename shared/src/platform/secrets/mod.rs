//! Secrets: fetched, cached, and read as what they are.

mod cache;
mod keys;
mod manager;

pub use cache::SecretCache;
pub use keys::{ApiKey, FromVersions, WebhookSecrets};
pub(crate) use keys::{ROTATION, member_of};
pub use manager::{SecretError, SecretSource, SecretsManager, Versions};
