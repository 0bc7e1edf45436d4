//! Unmatched notifications: their payment is not known yet.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};

use super::due_index;
use super::error::StoreError;
use super::schema::{self, number};
use super::table::Store;
use super::transaction::Transaction;
use crate::domain::fact::Fact;
use crate::domain::id::{PaymentId, Reference};
use crate::domain::provider::Provider;
use crate::domain::schedule;
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;
use crate::providers::Notification;

/// How long an unmatched notification is kept. 90 days are promised.
const RETENTION: Duration = Duration::from_secs(120 * 24 * 60 * 60);

/// The result of storing an unmatched notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreUnmatchedResult {
    /// It is stored under each of its lookup keys.
    Stored,
    /// Nothing was written: one of its provider ids now belongs to this payment.
    OwnerKnown(PaymentId),
}

/// The unmatched notifications under a provider id, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmatchedTexts {
    /// The provider id.
    pub reference: Reference,
    /// The text of each notification. Conditions compare these texts byte for byte.
    pub texts: Vec<String>,
}

impl UnmatchedTexts {
    /// Parses the facts of these notifications.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if one cannot be read.
    pub fn facts(&self) -> Result<Vec<Fact>, StoreError> {
        let notifications = self.texts.iter().map(|text| schema::notification_of(text));
        notifications.map(|notification| Ok(notification?.fact)).collect()
    }
}

/// The unmatched notifications under one lookup key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmatchedNotifications {
    /// The notifications.
    pub notifications: Vec<Notification>,
    /// When the first one was stored.
    pub unmatched_since: Timestamp,
    /// As stored, for comparison.
    texts: Vec<String>,
}

enum Step {
    Unmatched,
    Reference,
}

impl Store {
    /// Stores a notification until its payment is known, for 120 days after the last new one under the same key.
    /// Repeating it changes nothing, not even the time of its next check.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn store_unmatched(
        &self,
        notification: &Notification,
        now: Timestamp,
    ) -> Result<StoreUnmatchedResult, StoreError> {
        let fact = &notification.fact;
        let text = schema::notification_text(notification)?;
        let mut transaction = Transaction::new(ExternalCall::StoreUnmatched);
        for lookup_key in lookup_keys(notification) {
            let update = self.update(schema::unmatched_key(fact.provider, &lookup_key));
            let check_at = schedule::first_unmatched_check_at(now);
            let (update, set) = due_index::schedule_unmatched_check(update, &lookup_key, check_at);
            let update = update
                .update_expression(format!(
                    "SET #unmatchedSince = if_not_exists(#unmatchedSince, :now), #ttl = :ttl{set} ADD facts :fact"
                ))
                .condition_expression("NOT contains(facts, :text)")
                .expression_attribute_names("#unmatchedSince", due_index::UNMATCHED_SINCE)
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":text", AttributeValue::S(text.clone()))
                .expression_attribute_values(":now", number(now.as_millis()))
                .expression_attribute_values(":ttl", number(now.plus(RETENTION).as_seconds()))
                .expression_attribute_values(":fact", AttributeValue::Ss(vec![text.clone()]));
            transaction.add(
                Step::Unmatched,
                TransactWriteItem::builder().update(update.build()?).build(),
            );
        }
        for reference in fact.references() {
            let check = ConditionCheck::builder()
                .table_name(&self.table)
                .set_key(Some(schema::reference_key(fact.provider, reference)))
                .condition_expression("attribute_not_exists(pk)")
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            transaction.add(
                Step::Reference,
                TransactWriteItem::builder().condition_check(check.build()?).build(),
            );
        }
        let Err(refused) = transaction.run(self).await? else {
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

    /// The unmatched notifications under a lookup key, if any.
    ///
    /// # Errors
    /// [`StoreError`] if the table or a notification in it cannot be read.
    pub async fn unmatched(
        &self,
        provider: Provider,
        lookup_key: &str,
    ) -> Result<Option<UnmatchedNotifications>, StoreError> {
        let item = self
            .get(ExternalCall::ReadUnmatched, schema::unmatched_key(provider, lookup_key))
            .await?;
        item.map(|item| {
            let texts = schema::unmatched_texts_of(&item);
            Ok(UnmatchedNotifications {
                notifications: texts
                    .iter()
                    .map(|text| schema::notification_of(text))
                    .collect::<Result<_, _>>()?,
                unmatched_since: schema::time_of(&item, due_index::UNMATCHED_SINCE)?,
                texts,
            })
        })
        .transpose()
    }

    /// Deletes the unmatched notifications under a lookup key, after all of them are recorded with payments. Does
    /// nothing if one was added since they were `seen`.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn delete_unmatched(
        &self,
        provider: Provider,
        lookup_key: &str,
        seen: &UnmatchedNotifications,
    ) -> Result<(), StoreError> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(schema::unmatched_key(provider, lookup_key)))
            .condition_expression("facts = :seen")
            .expression_attribute_values(":seen", AttributeValue::Ss(seen.texts.clone()));
        let step = TransactWriteItem::builder().delete(delete.build()?);
        self.write_alone(ExternalCall::DeleteUnmatched, step.build())
            .await
            .map(|_| ())
    }
}

/// The keys under which a notification is stored: its provider ids, or else its order, or else its payment.
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
