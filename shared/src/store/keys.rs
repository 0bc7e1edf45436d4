//! Intents and idempotency keys.

use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};

use super::due;
use super::items::{self, number};
use super::transaction::Transaction;
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::fault::Call;
use crate::idempotency::{Fingerprint, IdempotencyKey, KeyRecord, LEASE, Lease, RETENTION};
use crate::payment::Payment;
use crate::schedule;

/// What became of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is stored, and with it the right to call the provider for its key.
    Started,
    /// Its key is in use; nothing was stored.
    KeyInUse(KeyRecord),
}

enum Step {
    Intent,
    Order,
    Key,
}

impl Store {
    /// Stores an intent, and its key with it, before the provider hears of it. One round trip.
    ///
    /// # Errors
    /// Where the table cannot be written. Whether the intent was stored is then not known; without its provider's call
    /// it is harmless.
    pub async fn open(
        &self,
        payment: &Payment,
        key: Option<(&IdempotencyKey, &Fingerprint)>,
        now: Timestamp,
    ) -> Result<Opened, StoreError> {
        let put = || Put::builder().table_name(&self.table);
        let step = |put: Put| TransactWriteItem::builder().put(put).build();
        let mut transaction = Transaction::new(Call::Open);
        let (queue, at) = schedule::first_look(payment);
        let mut item = items::state_item(payment)?;
        item.extend(due::attributes(payment.id, queue, at));
        let intent = put()
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)");
        transaction.add(Step::Intent, step(intent.build()?));
        if let Some(order_id) = payment
            .order_id
            .as_ref()
            .filter(|_| payment.provider.profile().may_name_only_the_order)
        {
            let item = items::order_item(payment.provider, order_id, payment.id);
            transaction.add(Step::Order, step(put().set_item(Some(item)).build()?));
        }
        if let Some((key, fingerprint)) = key {
            let record = KeyRecord {
                fingerprint: fingerprint.clone(),
                payment_id: payment.id,
                fence: 1,
                attempt: 1,
                lease_until: now.plus(LEASE),
                answer: None,
            };
            let put = put()
                .set_item(Some(items::key_item(key, &record, now.plus(RETENTION))?))
                // TTL deletes late, so the time is compared too.
                .condition_expression("attribute_not_exists(pk) OR expiresAt <= :now")
                .expression_attribute_values(":now", number(now.as_millis()))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            transaction.add(Step::Key, step(put.build()?));
        }
        match transaction.run(self).await? {
            Ok(()) => Ok(Opened::Started),
            Err(refused) => {
                let key = refused
                    .into_iter()
                    .find_map(|(step, item)| matches!(step, Step::Key).then_some(item));
                // Without a key in the way only our own random id can have been there before.
                Ok(Opened::KeyInUse(items::key_record_of(key.ok_or(StoreError::Corrupt)?)?))
            }
        }
    }

    /// What a key leads to (a strongly consistent read). `None` where the key is free, be its item still there.
    ///
    /// # Errors
    /// Where the table cannot be read.
    pub async fn key(&self, key: &IdempotencyKey, now: Timestamp) -> Result<Option<KeyRecord>, StoreError> {
        let Some(item) = self.get(Call::ReadKey, items::key_key(key)).await? else {
            return Ok(None);
        };
        // TTL deletes late, so the time is compared too.
        if items::time_of(&item, "expiresAt")? <= now {
            return Ok(None);
        }
        items::key_record_of(item).map(Some)
    }

    /// Takes over a key whose lease ran out, unless somebody else was faster. The key is kept as long from now on as a new one,
    /// so that it does not run out under the lease.
    ///
    /// # Errors
    /// Where the table cannot be written.
    pub async fn take_over(
        &self,
        key: &IdempotencyKey,
        seen: &KeyRecord,
        now: Timestamp,
    ) -> Result<Result<Lease, KeyRecord>, StoreError> {
        let fence = seen.fence.saturating_add(1);
        let expires_at = now.plus(RETENTION);
        let update = self
            .update_key(key, seen.fence)
            .update_expression("SET fence = :next, leaseUntil = :until, expiresAt = :expiresAt, #ttl = :ttl")
            .condition_expression("fence = :fence AND leaseUntil <= :now AND attribute_not_exists(answer)")
            .expression_attribute_values(":next", number(fence))
            .expression_attribute_values(":until", number(now.plus(LEASE).as_millis()))
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":expiresAt", number(expires_at.as_millis()))
            .expression_attribute_values(":ttl", number(expires_at.as_seconds()))
            .expression_attribute_values(":now", number(now.as_millis()));
        match self.write_key(Call::TakeOver, update).await? {
            None => Ok(Ok(Lease {
                key: key.clone(),
                fence,
                attempt: seen.attempt,
            })),
            Some(current) => Ok(Err(current)),
        }
    }

    /// Ends a lease without an answer, so that the next request with the key goes on at once, with attempt `attempt`.
    /// Gives the key's record where somebody took it over: it is theirs then, and nothing was written.
    ///
    /// # Errors
    /// Where the table cannot be written: the lease then runs out by itself.
    pub async fn release(&self, lease: &Lease, attempt: u32, now: Timestamp) -> Result<Option<KeyRecord>, StoreError> {
        let update = self
            .update_key(&lease.key, lease.fence)
            .update_expression("SET leaseUntil = :now, attempt = :attempt")
            .condition_expression("fence = :fence AND attribute_not_exists(answer)")
            .expression_attribute_values(":now", number(now.as_millis()))
            .expression_attribute_values(":attempt", number(attempt.into()));
        self.write_key(Call::Release, update).await
    }

    fn update_key(&self, key: &IdempotencyKey, fence: u64) -> UpdateBuilder {
        self.update(items::key_key(key))
            .expression_attribute_values(":fence", number(fence))
    }

    /// Writes a key's item alone; gives what it is where the condition failed.
    async fn write_key(&self, call: Call, update: UpdateBuilder) -> Result<Option<KeyRecord>, StoreError> {
        let refused = self.update_alone(call, update).await?;
        refused.map(items::key_record_of).transpose()
    }
}
