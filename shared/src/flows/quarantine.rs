//! Quarantine: keeping a signed webhook that cannot be read, and reading it again later.
//!
//! Guarantees: once [`quarantine`] returns without an error, what [`redact`] keeps of the webhook is stored durably. A
//! [`replay`] reads only what is stored, and never deletes it.

use crate::domain::fact::Operator;
use crate::domain::order_matching::OrderMatching;
use crate::domain::provider::Provider;
use crate::domain::redaction::{self, redact};
use crate::domain::time::Timestamp;
use crate::flows::record_notification::{RecordResult, record_notification};
use crate::providers::{Notification, UnreadableWebhook, webhooks};
use crate::store::{QuarantinedWebhook, ReplayMark, Store, StoreError};

/// Why a webhook in quarantine still cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StillUnreadable {
    /// This version cannot read it either, or it was a test message.
    #[error(transparent)]
    Webhook(#[from] UnreadableWebhook),
    /// What decides how it is read was redacted, or was nested too deeply to be kept.
    #[error("the status, event or metadata was redacted, or the body is nested too deeply")]
    Redacted,
}

/// The result of replaying a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayResult {
    /// It can be read now, and this is the result of recording it.
    Read(RecordResult),
    /// It still cannot be read.
    StillUnreadable(StillUnreadable),
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

/// Keeps what [`redact`] leaves of a signed webhook that cannot be read for `reason`.
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
    let webhook = redacted_webhook(provider, body, content_type, reason, received_at);
    store.quarantine(&webhook, received_at).await
}

/// What is kept of a signed webhook that cannot be read for `reason`.
pub fn redacted_webhook(
    provider: Provider,
    body: &[u8],
    content_type: Option<&str>,
    reason: UnreadableWebhook,
    received_at: Timestamp,
) -> QuarantinedWebhook {
    let redacted = redact(body, content_type);
    QuarantinedWebhook {
        provider,
        digest: redacted.digest(),
        content: redacted.text,
        is_json: redacted.is_json,
        truncated: redacted.truncated,
        reason: reason.to_string(),
        is_test: reason == UnreadableWebhook::TestMessage,
        received_at,
        replay: None,
    }
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
    matching: OrderMatching,
    now: Timestamp,
) -> Result<ReplayResult, StoreError> {
    let result = match read(webhook) {
        _ if webhook.truncated => ReplayResult::Truncated,
        Err(reason) => ReplayResult::StillUnreadable(reason),
        Ok(notification) => ReplayResult::Read(record_notification(store, &notification, matching, now).await?),
    };
    let mark = ReplayMark {
        at: now,
        operator: operator.clone(),
        result: result.name().to_owned(),
    };
    store.mark_replayed(webhook, &mark).await?;
    Ok(result)
}

/// The notification in a webhook.
///
/// # Errors
/// [`StillUnreadable`], also if a reader could believe more of it than of the original.
fn read(webhook: &QuarantinedWebhook) -> Result<Notification, StillUnreadable> {
    if webhook.is_test {
        return Err(UnreadableWebhook::TestMessage.into());
    }
    if !webhook.is_json {
        return Err(UnreadableWebhook::NotJson.into());
    }
    let json = redaction::readable(&webhook.content).map_err(|_| UnreadableWebhook::NotJson)?;
    if !redaction::is_conclusive(&json) {
        return Err(StillUnreadable::Redacted);
    }
    Ok(webhooks(webhook.provider).read_json(&json, webhook.received_at)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fact::Outcome;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const REDACTED: StillUnreadable = StillUnreadable::Redacted;
    const TEST_MESSAGE: StillUnreadable = StillUnreadable::Webhook(UnreadableWebhook::TestMessage);
    const OTHER: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

    fn replayed(provider: Provider, body: &str) -> Result<Notification, StillUnreadable> {
        let reason = webhooks(provider).read(body.as_bytes(), NOW).unwrap_err();
        read(&redacted_webhook(provider, body.as_bytes(), None, reason, NOW))
    }

    /// The redaction removes what made these webhooks unreadable.
    #[test]
    fn replay_believes_no_more_than_the_original_said() {
        let general = |beside: &str| {
            format!(
                r#"{{"success":true,"status":"SUCCESS",{beside},"data":{{"amount":25.5,"currency":"USD","order_id":"o"}}}}"#
            )
        };
        let deep = format!("{}\"{OTHER}\"{}", "[".repeat(70), "]".repeat(70));
        for metadata in [
            format!(r#"{{\"paymentFunctionsId\":\"{OTHER}\",\"paymentFunctionsId\":\"{OTHER}\"}}"#),
            format!(r#"\"{{\\\"paymentFunctionsId\\\":\\\"{OTHER}\\\"}}\""#),
            format!("paymentFunctionsId={OTHER}"),
        ] {
            let body = general(&format!(r#""metadata":"{metadata}""#));
            assert_eq!(replayed(Provider::FinvyPay, &body), Err(REDACTED), "{body}");
        }
        let body = general(&format!(r#""metadata":{{"paymentFunctionsId":{deep}}}"#));
        assert_eq!(replayed(Provider::FinvyPay, &body), Err(REDACTED), "{body}");
        for word in [
            "Test ".to_owned(),
            "a test.test".to_owned(),
            format!("test.{}", "x".repeat(70)),
        ] {
            let body = general(&format!(r#""type":"{word}""#));
            assert_eq!(replayed(Provider::FinvyPay, &body), Err(TEST_MESSAGE), "{body}");
            let body = format!(r#"{{"id":"p","type":"{word}","status":"completed","amount":25.5}}"#);
            assert_eq!(replayed(Provider::ApoloPay, &body), Err(TEST_MESSAGE), "{body}");
        }
    }

    #[test]
    fn replay_of_a_webhook_that_speaks_of_money_going_back_is_no_completion() {
        for beside in [
            r#""type":"Refund for Jane""#,
            r#""refund":"to Jane""#,
            r#""refund":{"reason":"Jane"}"#,
            r#""refundReason":"Jane asked for it""#,
            r#""refundAmount":"25.50 USD""#,
            r#""chargebackDate":"last week""#,
        ] {
            let body = format!(r#"{{"event":"payment.completed","status":"COMPLETED","paymentId":"p",{beside}}}"#);
            let reason = UnreadableWebhook::NoPayment;
            let kept = redacted_webhook(Provider::FinvyPay, body.as_bytes(), None, reason, NOW);
            assert!(!kept.content.contains("Jane"));
            let notification = read(&kept).unwrap();
            assert_eq!(notification.fact.outcome, Outcome::Reversed, "{body}");
        }
    }

    #[test]
    fn status_that_was_redacted_is_not_recorded_as_another() {
        let body = r#"{"success":true,"status":"SUCCESS now","data":{"amount":25.5}}"#;
        assert_eq!(replayed(Provider::FinvyPay, body), Err(REDACTED));
        let kept = redacted_webhook(
            Provider::FinvyPay,
            br#"{"status":"SUCCESS now","paymentId":"p"}"#,
            None,
            UnreadableWebhook::NoPayment,
            NOW,
        );
        assert_eq!(read(&kept), Err(REDACTED));
    }

    #[test]
    fn webhook_that_is_still_unreadable_says_why() {
        for (body, reason) in [
            ("paid", UnreadableWebhook::NotJson),
            (r#"{"status":"PAID","status":"FAILED"}"#, UnreadableWebhook::NotJson),
            ("[]", UnreadableWebhook::NotAnObject),
            (r#"{"status":"PAID"}"#, UnreadableWebhook::NoPayment),
            (r#"{"paymentId":"p"}"#, UnreadableWebhook::NoStatus),
            (r#"{"event":"ping"}"#, UnreadableWebhook::TestMessage),
        ] {
            let expected = Err(StillUnreadable::Webhook(reason));
            assert_eq!(replayed(Provider::FinvyPay, body), expected, "{body}");
        }
    }

    #[test]
    fn webhook_that_a_later_version_can_read_is_read() {
        let body = r#"{"event":"payment.completed","status":"COMPLETED","paymentId":"p","orderId":"o","amount":25.5,
            "currency":"USD","firstName":"Jane","error":null,"metadata":{"type":"a gift","paymentFunctionsId":"67e55044-10b1-426f-9247-bb680e5fe0c8"}}"#;
        let original = webhooks(Provider::FinvyPay).read(body.as_bytes(), NOW).unwrap();
        let kept = redacted_webhook(
            Provider::FinvyPay,
            body.as_bytes(),
            None,
            UnreadableWebhook::NoPayment,
            NOW,
        );
        assert_eq!(read(&kept), Ok(original));
    }
}
