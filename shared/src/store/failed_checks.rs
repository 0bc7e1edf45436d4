//! Checks that fail: their number, and the payment that nobody could check.
//!
//! Guarantee: a payment whose checks all fail gets the attention `unprocessable` in the table, even if this program
//! cannot read the payment.

use serde::Deserialize;

use super::due_index::{Due, FAILED_CHECKS, Subject};
use super::error::StoreError;
use super::schema::{self, number};
use super::table::Store;
use crate::domain::attention::{Acknowledged, Attention, AttentionList, AttentionReason};
use crate::domain::schedule::{self, UNPROCESSABLE_AFTER};
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;

/// What is read of an item whose check has failed.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FailingItem {
    failed_checks: u64,
    attention: Vec<Attention>,
    attention_changes: u64,
    acknowledged: Vec<AttentionReason>,
    acknowledged_claims: Vec<String>,
}

impl Store {
    /// Ends a failed check of a reserved item: sets the time of the retry, which is later after each failure in a row.
    /// After [`UNPROCESSABLE_AFTER`] of them, raises [`AttentionReason::Unprocessable`] on a payment.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written. The item is then due again when the reservation ends.
    pub async fn note_failed_check(&self, reserved: &Due, now: Timestamp) -> Result<(), StoreError> {
        let item = self.get(ExternalCall::ReadPayment, reserved.subject.key()).await?;
        let item: FailingItem = schema::from_item(item.unwrap_or_default())?;
        let failures = item.failed_checks.saturating_add(1);
        let changes = item.attention_changes;
        let acknowledged = Acknowledged {
            reasons: item.acknowledged,
            claims: item.acknowledged_claims,
        };
        let mut attention = AttentionList::new(item.attention, changes, acknowledged);
        if failures >= UNPROCESSABLE_AFTER && matches!(reserved.subject, Subject::Payment(_)) {
            attention.raise_by_clock(Attention::new(AttentionReason::Unprocessable, now));
        }
        let retry_at = schedule::retry_failed_check_at(failures, now);
        let mut update = self
            .if_still(reserved)
            .condition_expression("#at = :seen AND (attribute_not_exists(#changes) OR #changes = :changes)")
            .expression_attribute_names("#changes", "attentionChanges")
            .expression_attribute_values(":changes", number(changes))
            .expression_attribute_names("#failed", FAILED_CHECKS)
            .expression_attribute_values(":retryAt", number(retry_at.as_millis()))
            .expression_attribute_values(":failures", number(failures));
        let mut expression = "SET #at = :retryAt, #failed = :failures".to_owned();
        if attention.changes() != changes {
            for (name, value) in schema::attention_attributes(&attention)? {
                expression.push_str(&format!(", #{name} = :{name}"));
                update = update.expression_attribute_names(format!("#{name}"), name.as_str());
                update = update.expression_attribute_values(format!(":{name}"), value);
            }
            expression.push_str(", #updatedAt = :now ADD #version :one");
            update = update
                .expression_attribute_names("#updatedAt", "updatedAt")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":now", number(now.as_millis()))
                .expression_attribute_values(":one", number(1));
        }
        let update = update.update_expression(expression);
        self.update_alone(ExternalCall::NoteFailedCheck, update)
            .await
            .map(|_| ())
    }
}
