//! Storing the intent of a payment.

use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};

use super::due_index;
use super::error::StoreError;
use super::schema::{self, number};
use super::table::Store;
use super::transaction::Transaction;
use crate::domain::idempotency::{Fingerprint, IdempotencyKey, KeyRecord, LEASE, RETENTION};
use crate::domain::payment::Payment;
use crate::domain::schedule;
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;

/// The result of storing an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InsertResult {
    /// It is stored. If it has a key, the caller now holds the lease that permits the call to the provider.
    Inserted,
    /// Nothing was stored: its key is in use.
    KeyInUse(KeyRecord),
}

enum Step {
    Intent,
    Order,
    Key,
}

impl Store {
    /// Stores an intent, together with its key if it has one, before the provider is called. One round trip.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written. Whether the intent was stored is then unknown. A stored
    /// intent is harmless without the call to the provider.
    pub async fn insert_payment(
        &self,
        payment: &Payment,
        key: Option<(&IdempotencyKey, &Fingerprint)>,
        now: Timestamp,
    ) -> Result<InsertResult, StoreError> {
        let put = || Put::builder().table_name(&self.table);
        let step = |put: Put| TransactWriteItem::builder().put(put).build();
        let mut transaction = Transaction::new(ExternalCall::InsertPayment);
        let (queue, at) = schedule::first_check(payment);
        let mut item = schema::state_item(payment)?;
        item.extend(due_index::attributes(payment.id, queue, at));
        let intent = put()
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)");
        transaction.add(Step::Intent, step(intent.build()?));
        if let Some(order) = self.attach_order(payment)? {
            transaction.add(Step::Order, order);
        }
        if let Some((key, fingerprint)) = key {
            let record = KeyRecord {
                fingerprint: fingerprint.clone(),
                payment_id: payment.id,
                fence: 1,
                attempt: 1,
                lease_until: now.plus(LEASE),
                response: None,
            };
            let put = put()
                .set_item(Some(schema::key_item(key, &record, now.plus(RETENTION))?))
                // TTL deletes items late, so the condition compares the time too.
                .condition_expression("attribute_not_exists(pk) OR expiresAt <= :now")
                .expression_attribute_values(":now", number(now.as_millis()))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            transaction.add(Step::Key, step(put.build()?));
        }
        match transaction.run(self).await? {
            Ok(()) => Ok(InsertResult::Inserted),
            Err(refused) => {
                let key = refused
                    .into_iter()
                    .find_map(|(step, item)| matches!(step, Step::Key).then_some(item));
                // The only other step with a condition is the intent, under a random id.
                Ok(InsertResult::KeyInUse(schema::key_record_of(
                    key.ok_or(StoreError::Corrupt)?,
                )?))
            }
        }
    }
}
