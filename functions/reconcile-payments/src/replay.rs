//! An operator's command *replay*: reads webhooks in quarantine again.

use std::collections::BTreeMap;

use payment_functions::domain::fact::Operator;
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::quarantine::{self, ReplayResult};
use payment_functions::flows::record_notification::RecordResult;
use payment_functions::store::{QuarantinedWebhook, Store};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::operator::{self, CommandError};
use crate::report::increment;

/// How many webhooks are read at once.
const PAGE: u16 = 50;

/// A command to replay one webhook in a provider's quarantine, or all of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplayCommand {
    /// The provider.
    pub provider: Provider,
    /// The digest of the one webhook. Without it, all are replayed.
    #[serde(default)]
    pub digest: Option<String>,
    /// Continues after the webhook with this digest: `next` of an unfinished replay.
    #[serde(default)]
    pub after: Option<String>,
    /// The operator: 1 to 200 characters.
    pub actor: String,
    /// The operator's reason: 1 to 1,000 characters.
    pub reason: String,
}

/// The results of a replay, each a number of webhooks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayReport {
    /// Recorded with a payment.
    pub recorded: u32,
    /// Recorded before.
    pub duplicate: u32,
    /// Readable now, and stored as unmatched, because their payment is not known.
    pub unmatched: u32,
    /// Still unreadable, or test messages.
    pub unreadable: u32,
    /// The unreadable ones by their reason, a sentence without a full stop.
    pub unreadable_reasons: BTreeMap<String, u32>,
    /// Not read, because a part was left out when they were stored.
    pub truncated: u32,
    /// If the time was over before the end: the digest of the last webhook that was replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Replays one webhook, or as many as can be read until `end`.
///
/// # Errors
/// [`CommandError`]. The command can be repeated: a webhook that was recorded counts as a duplicate then.
pub async fn replay(
    store: &Store,
    command: &ReplayCommand,
    matching: OrderMatching,
    now: Timestamp,
    end: Instant,
) -> Result<ReplayReport, CommandError> {
    operator::check_texts(&command.actor, &command.reason)?;
    let operator = &Operator {
        actor: command.actor.clone(),
        reason: command.reason.clone(),
    };
    let mut report = ReplayReport::default();
    if let Some(digest) = &command.digest {
        let webhook = store.quarantined(command.provider, digest).await?;
        let webhook = webhook.ok_or_else(|| CommandError::NotInQuarantine(digest.clone()))?;
        report.add(
            quarantine::replay(store, &webhook, operator, matching, now).await?,
            &webhook,
        );
        return Ok(report);
    }
    let mut after = command.after.clone();
    loop {
        let page = store
            .quarantined_after(command.provider, after.as_deref(), PAGE)
            .await?;
        let is_last = page.len() < PAGE.into();
        for webhook in page {
            if Instant::now() >= end {
                report.next = after;
                return Ok(report);
            }
            report.add(
                quarantine::replay(store, &webhook, operator, matching, now).await?,
                &webhook,
            );
            after = Some(webhook.digest);
        }
        if is_last {
            return Ok(report);
        }
    }
}

impl ReplayReport {
    fn add(&mut self, result: ReplayResult, webhook: &QuarantinedWebhook) {
        let (provider, digest) = (webhook.provider, webhook.digest.as_str());
        tracing::warn!(%provider, digest, result = result.name(), "webhook in quarantine replayed by an operator");
        if let ReplayResult::StillUnreadable(reason) = result {
            increment(self.unreadable_reasons.entry(reason.to_string()).or_default());
        }
        increment(match result {
            ReplayResult::Read(RecordResult::Recorded { .. }) => &mut self.recorded,
            ReplayResult::Read(RecordResult::Duplicate(_)) => &mut self.duplicate,
            ReplayResult::Read(RecordResult::Unmatched) => &mut self.unmatched,
            ReplayResult::StillUnreadable(_) => &mut self.unreadable,
            ReplayResult::Truncated => &mut self.truncated,
        });
    }
}
