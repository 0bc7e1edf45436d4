//! Unmatched notifications: their payment is not known yet.
//!
//! All notifications under one lookup key are a group. The group has an item of its own, which has the time of the next
//! check and counts the notifications; each notification has another item. So a group has no maximum size.

use std::time::Duration;

use aws_sdk_dynamodb::types::{ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use sha2::{Digest, Sha256};

use super::due_index;
use super::error::StoreError;
use super::schema::{self, Item, number};
use super::table::Store;
use super::transaction::{Transaction, TransactionResult};
use crate::domain::id::{PaymentId, Reference};
use crate::domain::json::feed_text;
use crate::domain::provider::Provider;
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;
use crate::providers::Notification;

/// How long an unmatched notification is kept. 90 days are promised.
const RETENTION: Duration = Duration::from_secs(120 * 24 * 60 * 60);

/// Maximum number of notifications that one commit moves to a payment. A transaction has at most 100 steps. A
/// notification takes up to six of them: one for its fact, one to delete it and, for each of its two ids, one for the
/// reference and one for the group. Its copy under the second id counts as another notification.
pub const MAX_MOVED: u16 = 8;

/// The result of storing an unmatched notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreUnmatchedResult {
    /// It is stored under each of its lookup keys.
    Stored,
    /// Nothing was written: one of its provider ids now belongs to this payment.
    OwnerKnown(PaymentId),
}

/// Unmatched notifications under one lookup key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmatchedGroup {
    /// The payment provider.
    pub provider: Provider,
    /// The lookup key: a provider id, `order:` and the order, or `payment:` and our payment id.
    pub lookup_key: String,
    /// The notifications of the group that were read.
    pub notifications: Vec<Notification>,
    /// Whether these are the last ones of the group, so that no further ones must be read.
    pub is_complete: bool,
    /// When the first one was stored whose payment is not known. `None` if there was none.
    pub unmatched_since: Option<Timestamp>,
    /// How many were ever stored. It increases with each new one, so conditions compare it.
    count: u64,
}

impl UnmatchedGroup {
    /// Whether the group is the one under this provider id.
    pub fn is_under(&self, reference: &Reference) -> bool {
        self.lookup_key == reference.as_str()
    }
}

enum Step {
    Group,
    Notification,
    Reference,
}

impl Store {
    /// Stores a notification until its payment is known, for 120 days. Its groups are due at once. Repeating it changes
    /// nothing, not even the time of a group's next check.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn store_unmatched(
        &self,
        notification: &Notification,
        now: Timestamp,
    ) -> Result<StoreUnmatchedResult, StoreError> {
        self.put_unmatched(notification, true, now).await
    }

    /// Stores a notification that is recorded with its order's payment, until the payment of its ids is known, for 120
    /// days. No check waits for it.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn keep_under_ids(
        &self,
        notification: &Notification,
        now: Timestamp,
    ) -> Result<StoreUnmatchedResult, StoreError> {
        self.put_unmatched(notification, false, now).await
    }

    async fn put_unmatched(
        &self,
        notification: &Notification,
        is_due: bool,
        now: Timestamp,
    ) -> Result<StoreUnmatchedResult, StoreError> {
        let provider = notification.fact.provider;
        let ttl = number(now.plus(RETENTION).as_seconds());
        let mut transaction = Transaction::new(ExternalCall::StoreUnmatched);
        for lookup_key in lookup_keys(notification) {
            let mut item = schema::unmatched_item(&lookup_key, notification, &digest(notification))?;
            item.insert("ttl".to_owned(), ttl.clone());
            if is_due {
                item.extend(due_index::time_of_notification(now));
            }
            let put = Put::builder()
                .table_name(&self.table)
                .set_item(Some(item))
                .condition_expression("attribute_not_exists(pk)");
            transaction.add(
                Step::Notification,
                TransactWriteItem::builder().put(put.build()?).build(),
            );
            let mut update = self.update(schema::unmatched_group_key(provider, &lookup_key));
            let mut set = "#ttl = :ttl".to_owned();
            if is_due {
                // Due at once, so that no number of notifications can postpone the check.
                let (due, set_due) = due_index::schedule_unmatched_check(update, &lookup_key, now);
                update = due;
                set.push_str(&format!(", {set_due}"));
            }
            let update = update
                .update_expression(format!("SET {set} ADD #count :one"))
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_names("#count", "count")
                .expression_attribute_values(":ttl", ttl.clone())
                .expression_attribute_values(":one", number(1));
            transaction.add(
                Step::Group,
                TransactWriteItem::builder().update(update.build()?).build(),
            );
        }
        for reference in notification.fact.references() {
            let check = ConditionCheck::builder()
                .table_name(&self.table)
                .set_key(Some(schema::reference_key(provider, reference)))
                .condition_expression("attribute_not_exists(pk)")
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            transaction.add(
                Step::Reference,
                TransactWriteItem::builder().condition_check(check.build()?).build(),
            );
        }
        let TransactionResult::Refused(refused) = transaction.run(self).await? else {
            return Ok(StoreUnmatchedResult::Stored);
        };
        let attached = refused
            .into_iter()
            .find_map(|(step, item)| matches!(step, Step::Reference).then_some(item));
        Ok(match attached {
            Some(reference) => StoreUnmatchedResult::OwnerKnown(schema::owner_of(&reference)?),
            // The notification is already stored.
            None => StoreUnmatchedResult::Stored,
        })
    }

    /// The group under a lookup key, with its first notifications, at most `limit` of them (strongly consistent read).
    /// `None` if there is no group.
    ///
    /// # Errors
    /// [`StoreError`] if the table or a notification in it cannot be read.
    pub async fn unmatched(
        &self,
        provider: Provider,
        lookup_key: &str,
        limit: u16,
    ) -> Result<Option<UnmatchedGroup>, StoreError> {
        // One more for the group's own item.
        let items = self.unmatched_items(provider, lookup_key, limit.saturating_add(1), None);
        let (items, is_complete) = items.await?;
        let Some((group, notifications)) = items.split_first() else {
            return Ok(None);
        };
        if !schema::is_unmatched_group(group) {
            return Err(StoreError::Corrupt);
        }
        Ok(Some(UnmatchedGroup {
            provider,
            lookup_key: lookup_key.to_owned(),
            notifications: notifications
                .iter()
                .map(schema::unmatched_notification_of)
                .collect::<Result<_, _>>()?,
            is_complete,
            unmatched_since: group
                .contains_key(due_index::UNMATCHED_SINCE)
                .then(|| schema::time_of(group, due_index::UNMATCHED_SINCE))
                .transpose()?,
            count: schema::number_of(group, "count")?,
        }))
    }

    /// The group with the notifications that follow `group.notifications`, at most `limit` of them (strongly consistent
    /// read). `None` if `group` is complete.
    ///
    /// # Errors
    /// [`StoreError`] if the table or a notification in it cannot be read.
    pub async fn more_unmatched(
        &self,
        group: &UnmatchedGroup,
        limit: u16,
    ) -> Result<Option<UnmatchedGroup>, StoreError> {
        let Some(last) = group.notifications.last().filter(|_| !group.is_complete) else {
            return Ok(None);
        };
        let last = schema::unmatched_key(group.provider, &group.lookup_key, &digest(last));
        let items = self.unmatched_items(group.provider, &group.lookup_key, limit, Some(last));
        let (items, is_complete) = items.await?;
        Ok(Some(UnmatchedGroup {
            notifications: items
                .iter()
                .map(schema::unmatched_notification_of)
                .collect::<Result<_, _>>()?,
            is_complete,
            ..group.clone()
        }))
    }

    /// The items of a group after the one with the key `after`, at most `limit`, and whether they are the last ones.
    async fn unmatched_items(
        &self,
        provider: Provider,
        lookup_key: &str,
        limit: u16,
        after: Option<Item>,
    ) -> Result<(Vec<Item>, bool), StoreError> {
        let pk = schema::unmatched_pk(provider, lookup_key);
        // One more, which shows whether there are others.
        let output = self.query(ExternalCall::ReadUnmatched, pk, limit.saturating_add(1), after);
        let output = output.await?;
        let mut items = output.items.unwrap_or_default();
        let is_last = items.len() <= limit.into() && output.last_evaluated_key.is_none();
        items.truncate(limit.into());
        Ok((items, is_last))
    }

    /// Deletes notifications of a group after they are recorded with payments.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn delete_unmatched(&self, group: &UnmatchedGroup, recorded: &[Notification]) -> Result<(), StoreError> {
        let mut transaction = Transaction::new(ExternalCall::DeleteUnmatched);
        for notification in recorded {
            transaction.add((), self.delete_notification(group, notification)?);
        }
        if transaction.is_empty() {
            return Ok(());
        }
        match transaction.run(self).await? {
            TransactionResult::Written => Ok(()),
            // The steps have no conditions.
            TransactionResult::Refused(_) => Err(StoreError::Corrupt),
        }
    }

    /// Deletes a group without notifications, unless one was stored since it was read.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn delete_unmatched_group(&self, group: &UnmatchedGroup) -> Result<(), StoreError> {
        let delete = self.delete_group(group)?;
        self.write_alone(ExternalCall::DeleteUnmatched, delete)
            .await
            .map(|_| ())
    }

    /// Makes a group due at `now`, if it still exists.
    pub(super) fn make_group_due(
        &self,
        group: &UnmatchedGroup,
        now: Timestamp,
    ) -> Result<TransactWriteItem, StoreError> {
        let update = self.update(schema::unmatched_group_key(group.provider, &group.lookup_key));
        let (update, set) = due_index::schedule_unmatched_check(update, &group.lookup_key, now);
        let update = update
            .update_expression(format!("SET {set}"))
            .condition_expression("attribute_exists(pk)");
        Ok(TransactWriteItem::builder().update(update.build()?).build())
    }

    /// Checks that there is no group under a provider id.
    pub(super) fn check_no_group(
        &self,
        provider: Provider,
        reference: &Reference,
    ) -> Result<TransactWriteItem, StoreError> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(schema::unmatched_group_key(provider, reference.as_str())))
            .condition_expression("attribute_not_exists(pk)");
        Ok(TransactWriteItem::builder().condition_check(check.build()?).build())
    }

    /// Deletes a group, unless a notification was added since it was read. It may already be deleted.
    pub(super) fn delete_group(&self, group: &UnmatchedGroup) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(schema::unmatched_group_key(group.provider, &group.lookup_key)))
            .condition_expression("attribute_not_exists(pk) OR #count = :seen")
            .expression_attribute_names("#count", "count")
            .expression_attribute_values(":seen", number(group.count));
        Ok(TransactWriteItem::builder().delete(delete.build()?).build())
    }

    /// Deletes a notification of a group. Has no condition.
    pub(super) fn delete_notification(
        &self,
        group: &UnmatchedGroup,
        notification: &Notification,
    ) -> Result<TransactWriteItem, StoreError> {
        let key: Item = schema::unmatched_key(group.provider, &group.lookup_key, &digest(notification));
        let delete = Delete::builder().table_name(&self.table).set_key(Some(key));
        Ok(TransactWriteItem::builder().delete(delete.build()?).build())
    }
}

/// The identity of an unmatched notification: what it means, not when it was sent or received.
fn digest(notification: &Notification) -> String {
    let payment_id = notification.payment_id.map(|id| id.to_string());
    let mut hash = Sha256::default();
    feed_text(&mut hash, Some(&notification.fact.digest()));
    feed_text(&mut hash, payment_id.as_deref());
    hex::encode(hash.finalize())
}

/// The keys under which a notification is stored: each of its provider ids. Without any, its order or, without an
/// order, its payment.
fn lookup_keys(notification: &Notification) -> Vec<String> {
    let ids: Vec<String> = notification.fact.references().map(ToString::to_string).collect();
    if !ids.is_empty() {
        return ids;
    }
    let order_id = notification.fact.order_id.as_ref();
    let order = order_id.map(|order_id| format!("order:{}", order_id.as_str()));
    let payment = || notification.payment_id.map(|id| format!("payment:{id}"));
    order.or_else(payment).into_iter().collect()
}
