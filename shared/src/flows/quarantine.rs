//! Quarantine: keeping a signed webhook that cannot be read, and reading it again later.
//!
//! Guarantees: once [`quarantine`] returns without an error, everything of the webhook that is not personal is stored
//! durably. A [`replay`] reads only what is stored, and never deletes it.

use crate::domain::fact::Operator;
use crate::domain::provider::Provider;
use crate::domain::redaction::{self, redact};
use crate::domain::time::Timestamp;
use crate::flows::record_notification::{RecordResult, record_notification};
use crate::providers::{Notification, UnreadableWebhook, webhooks};
use crate::store::{QuarantinedWebhook, ReplayMark, Store, StoreError};

/// The result of replaying a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayResult {
    /// It can be read now, and this is the result of recording it.
    Read(RecordResult),
    /// It still cannot be read.
    StillUnreadable(UnreadableWebhook),
    /// Something of it was left out because it was too large, so what is left cannot be believed.
    Truncated,
}

impl ReplayResult {
    /// The result in one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read(RecordResult::Recorded { .. }) => "recorded",
            Self::Read(RecordResult::Duplicate(_)) => "duplicate",
            Self::Read(RecordResult::Unmatched) => "unmatched",
            Self::StillUnreadable(_) => "unreadable",
            Self::Truncated => "truncated",
        }
    }
}

/// Keeps a signed webhook that cannot be read for `reason`: everything of it that is not personal.
///
/// # Errors
/// [`StoreError`] if the table cannot be written. The provider should then send the webhook again.
pub async fn quarantine(
    store: &Store,
    provider: Provider,
    body: &[u8],
    content_type: Option<&str>,
    reason: UnreadableWebhook,
    received_at: Timestamp,
) -> Result<(), StoreError> {
    let redacted = redact(body, content_type);
    let webhook = QuarantinedWebhook {
        provider,
        digest: redacted.digest(),
        content: redacted.text,
        is_json: redacted.is_json,
        truncated: redacted.truncated,
        reason: reason.to_string(),
        is_test: reason == UnreadableWebhook::TestMessage,
        received_at,
        replay: None,
    };
    store.quarantine(&webhook, received_at).await
}

/// Reads a webhook in quarantine again, with the readers of this version. If it can be read now, it is recorded like a
/// webhook that was received at the original time. Its item is marked and stays.
///
/// # Errors
/// [`StoreError`] if the table cannot be read or written. The replay can be repeated.
pub async fn replay(
    store: &Store,
    webhook: &QuarantinedWebhook,
    operator: &Operator,
    now: Timestamp,
) -> Result<ReplayResult, StoreError> {
    let result = match read(webhook) {
        _ if webhook.truncated => ReplayResult::Truncated,
        Err(reason) => ReplayResult::StillUnreadable(reason),
        Ok(notification) => ReplayResult::Read(record_notification(store, &notification, now).await?),
    };
    let mark = ReplayMark {
        at: now,
        operator: operator.clone(),
        result: result.name().to_owned(),
    };
    store.mark_replayed(webhook, &mark).await?;
    Ok(result)
}

fn read(webhook: &QuarantinedWebhook) -> Result<Notification, UnreadableWebhook> {
    if !webhook.is_json {
        return Err(UnreadableWebhook::NotJson);
    }
    let json = redaction::readable(&webhook.content).map_err(|_| UnreadableWebhook::NotJson)?;
    webhooks(webhook.provider).read_json(&json, webhook.received_at)
}
