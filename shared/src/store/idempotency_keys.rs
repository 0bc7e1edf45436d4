//! Reads idempotency keys, and takes over and releases their leases. `create.rs` stores the keys with their first
//! lease, `commit.rs` stores their responses.

use aws_sdk_dynamodb::types::builders::UpdateBuilder;

use super::error::StoreError;
use super::schema::{self, number};
use super::table::Store;
use crate::domain::idempotency::{IdempotencyKey, KeyRecord, LEASE, Lease, RETENTION};
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;

impl Store {
    /// The record of a key (strongly consistent read). `None` if the key is unused or has expired, even if TTL has not
    /// deleted its item yet.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn key(&self, key: &IdempotencyKey, now: Timestamp) -> Result<Option<KeyRecord>, StoreError> {
        let Some(item) = self.get(ExternalCall::ReadKey, schema::idempotency_key(key)).await? else {
            return Ok(None);
        };
        if schema::time_of(&item, "expiresAt")? <= now {
            return Ok(None);
        }
        schema::key_record_of(item).map(Some)
    }

    /// Takes over a key whose lease has ended. Restarts the key's retention, so that it cannot expire during the lease.
    /// Returns the key's current record instead if another request took it over first.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
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
            .condition_expression("fence = :fence AND leaseUntil <= :now AND attribute_not_exists(#response)")
            .expression_attribute_values(":next", number(fence))
            .expression_attribute_values(":until", number(now.plus(LEASE).as_millis()))
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":expiresAt", number(expires_at.as_millis()))
            .expression_attribute_values(":ttl", number(expires_at.as_seconds()))
            .expression_attribute_values(":now", number(now.as_millis()));
        match self.write_key(ExternalCall::TakeOver, update).await? {
            None => Ok(Ok(Lease {
                key: key.clone(),
                fence,
                attempt: seen.attempt,
            })),
            Some(current) => Ok(Err(current)),
        }
    }

    /// Ends a lease without a response, so that the next request with the key continues at once. `attempt` is the
    /// number of its call to the provider: see [`Lease::attempt`].
    ///
    /// Returns the key's current record if another request has taken it over; nothing is written then.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written. The lease then ends by itself.
    pub async fn release(&self, lease: &Lease, attempt: u32, now: Timestamp) -> Result<Option<KeyRecord>, StoreError> {
        let update = self
            .update_key(&lease.key, lease.fence)
            .update_expression("SET leaseUntil = :now, attempt = :attempt")
            .condition_expression("fence = :fence AND attribute_not_exists(#response)")
            .expression_attribute_values(":now", number(now.as_millis()))
            .expression_attribute_values(":attempt", number(attempt.into()));
        self.write_key(ExternalCall::ReleaseLease, update).await
    }

    fn update_key(&self, key: &IdempotencyKey, fence: u64) -> UpdateBuilder {
        self.update(schema::idempotency_key(key))
            .expression_attribute_values(":fence", number(fence))
            .expression_attribute_names("#response", "response")
    }

    /// Writes a key's item. Returns its current record if the condition failed.
    async fn write_key(&self, call: ExternalCall, update: UpdateBuilder) -> Result<Option<KeyRecord>, StoreError> {
        let refused = self.update_alone(call, update).await?;
        refused.map(schema::key_record_of).transpose()
    }
}
