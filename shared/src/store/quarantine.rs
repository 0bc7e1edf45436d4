//! Quarantine: signed webhooks that could not be read, without what is personal in them.
//!
//! One item for each provider and redacted content, so that a repeated webhook adds nothing.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::schema::{self, number};
use super::table::Store;
use super::transaction::set_if_absent;
use crate::domain::fact::Operator;
use crate::domain::provider::Provider;
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;

/// How long a webhook stays in quarantine after it was last received.
const RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// A webhook in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuarantinedWebhook {
    /// The provider whose signature it had.
    pub provider: Provider,
    /// The digest of the redacted content, in lower-case hex.
    pub digest: String,
    /// The redacted content, as JSON text.
    pub content: String,
    /// Whether the webhook was JSON. If not, the content describes it.
    pub is_json: bool,
    /// Whether values were left out of the content because it was too large.
    pub truncated: bool,
    /// Why the webhook could not be read.
    pub reason: String,
    /// Whether it was a test message of the provider.
    pub is_test: bool,
    /// When it was first received, in milliseconds since 1970.
    pub received_at: Timestamp,
    /// The last replay; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayMark>,
}

/// The mark that a replay leaves on a webhook in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayMark {
    /// When it was replayed, in milliseconds since 1970.
    pub at: Timestamp,
    /// Who replayed it, and why.
    pub operator: Operator,
    /// The result in one word.
    pub result: String,
}

impl Store {
    /// Puts a webhook into quarantine for 90 days. A repeated one keeps the first time of receipt and its replay mark.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn quarantine(&self, webhook: &QuarantinedWebhook, now: Timestamp) -> Result<(), StoreError> {
        let key = schema::quarantine_key(webhook.provider, &webhook.digest);
        let (update, assignments) = set_if_absent(self.update(key), schema::to_item(webhook)?);
        let update = update
            .update_expression(format!("SET {assignments}, #ttl = :ttl"))
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", number(now.plus(RETENTION).as_seconds()));
        self.update_alone(ExternalCall::Quarantine, update).await.map(|_| ())
    }

    /// A webhook in quarantine (strongly consistent read).
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn quarantined(
        &self,
        provider: Provider,
        digest: &str,
    ) -> Result<Option<QuarantinedWebhook>, StoreError> {
        let key = schema::quarantine_key(provider, digest);
        let item = self.get(ExternalCall::ReadQuarantine, key).await?;
        item.map(schema::from_item).transpose()
    }

    /// At most `limit` webhooks in a provider's quarantine, in the order of their digests, from the first one after the
    /// digest `after` (strongly consistent read).
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn quarantined_after(
        &self,
        provider: Provider,
        after: Option<&str>,
        limit: u16,
    ) -> Result<Vec<QuarantinedWebhook>, StoreError> {
        let pk = schema::quarantine_pk(provider);
        let after = after.map(|digest| schema::quarantine_key(provider, digest));
        let output = self.query(ExternalCall::ReadQuarantine, pk, limit, after).await?;
        output
            .items
            .unwrap_or_default()
            .into_iter()
            .map(schema::from_item)
            .collect()
    }

    /// Marks a webhook in quarantine as replayed. Does nothing if it is no longer there.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn mark_replayed(&self, webhook: &QuarantinedWebhook, mark: &ReplayMark) -> Result<(), StoreError> {
        let update = self
            .update(schema::quarantine_key(webhook.provider, &webhook.digest))
            .update_expression("SET #replay = :replay")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#replay", "replay")
            .expression_attribute_values(":replay", AttributeValue::M(schema::to_item(mark)?));
        self.update_alone(ExternalCall::MarkReplayed, update).await.map(|_| ())
    }
}
