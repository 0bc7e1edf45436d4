//! Facts about a provider's id that no payment is known for yet.

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
use crate::domain::id::PaymentId;
use crate::domain::provider::Provider;
use crate::domain::schedule;
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;
use crate::providers::Notification;

/// How long a fact is kept that no payment is ever known for; 90 days are promised.
const RETENTION: Duration = Duration::from_secs(120 * 24 * 60 * 60);

/// What became of a fact to be parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepResult {
    /// It is kept, under each of its ids, until one of them is attached to a payment.
    Kept,
    /// Nothing was written: one of its ids has just been attached to this payment.
    Attached(PaymentId),
}

/// What is parked in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmatchedNotifications {
    /// The events.
    pub events: Vec<Notification>,
    /// When the first of them came.
    pub unmatched_since: Timestamp,
    texts: Vec<String>,
}

enum Step {
    Unmatched,
    Reference,
}

impl Store {
    /// Keeps a fact for whoever attaches one of its ids. Repeating it changes nothing, not even when it is looked at.
    ///
    /// # Errors
    /// Where the table cannot be written.
    pub async fn store_unmatched(&self, event: &Notification, now: Timestamp) -> Result<KeepResult, StoreError> {
        let fact = &event.fact;
        let text = schema::event_text(event)?;
        let mut transaction = Transaction::new(ExternalCall::StoreUnmatched);
        for place in places(event) {
            let update = self.update(schema::unmatched_key(fact.provider, &place));
            let (update, set) = due_index::check_unmatched(update, &place, schedule::first_check_of_unmatched(now));
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
            return Ok(KeepResult::Kept);
        };
        let attached = refused
            .into_iter()
            .find_map(|(step, item)| matches!(step, Step::Reference).then_some(item));
        Ok(match attached {
            Some(reference) => KeepResult::Attached(schema::owner_of(&reference)?),
            // It is kept already.
            None => KeepResult::Kept,
        })
    }

    /// What is parked in a place. `None` where nothing is.
    ///
    /// # Errors
    /// Where the table cannot be read, or an event in it cannot.
    pub async fn unmatched(
        &self,
        provider: Provider,
        place: &str,
    ) -> Result<Option<UnmatchedNotifications>, StoreError> {
        let item = self
            .get(ExternalCall::ReadUnmatched, schema::unmatched_key(provider, place))
            .await?;
        item.map(|item| {
            let texts = schema::unmatched_texts_of(&item);
            Ok(UnmatchedNotifications {
                events: texts
                    .iter()
                    .map(|text| schema::event_of(text))
                    .collect::<Result<_, _>>()?,
                unmatched_since: schema::time_of(&item, due_index::UNMATCHED_SINCE)?,
                texts,
            })
        })
        .transpose()
    }

    /// Forgets what is parked in a place, once all of it is recorded with payments. Nothing happens if something was
    /// added meanwhile.
    ///
    /// # Errors
    /// Where the table cannot be written.
    pub async fn delete_unmatched(
        &self,
        provider: Provider,
        place: &str,
        seen: &UnmatchedNotifications,
    ) -> Result<(), StoreError> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(schema::unmatched_key(provider, place)))
            .condition_expression("facts = :seen")
            .expression_attribute_values(":seen", AttributeValue::Ss(seen.texts.clone()));
        let step = TransactWriteItem::builder().delete(delete.build()?);
        self.write_alone(ExternalCall::DeleteUnmatched, step.build())
            .await
            .map(|_| ())
    }

    /// The facts in what [`Conflict::parked`](super::Conflict::parked) gave.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn read_unmatched(texts: &[String]) -> Result<Vec<Fact>, StoreError> {
        texts
            .iter()
            .map(|text| schema::event_of(text).map(|event| event.fact))
            .collect()
    }
}

/// Under what a fact is parked: its ids, or else the order or the payment that it names.
fn places(event: &Notification) -> Vec<String> {
    let ids: Vec<String> = event.fact.references().map(ToString::to_string).collect();
    if !ids.is_empty() {
        return ids;
    }
    let order = event
        .fact
        .order_id
        .as_ref()
        .map(|order_id| format!("order:{}", order_id.as_str()));
    order
        .or_else(|| event.payment_id.map(|id| format!("payment:{id}")))
        .into_iter()
        .collect()
}
