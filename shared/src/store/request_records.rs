//! The records of requests, under their names: finds, takes over and releases them. A request's names are its
//! idempotency key and its quote. `create.rs` stores the records with their first lease, `commit.rs` stores their
//! responses.

use aws_sdk_dynamodb::types::builders::{PutBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};

use super::error::StoreError;
use super::schema::{self, Item, number};
use super::table::Store;
use super::transaction::{Transaction, TransactionResult};
use crate::domain::id::PaymentId;
use crate::domain::idempotency::{
    IdempotentRequest, KnownNames, LEASE, Lease, QuoteDigest, RETENTION, RecordName, RequestNames, RequestRecord,
};
use crate::domain::payment::Payment;
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;

/// The condition under which a name is free. TTL deletes items late, so it compares the time too.
const IS_FREE: &str = "attribute_not_exists(pk) OR expiresAt <= :now";

/// Why a request's record was not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotChanged {
    /// Another request has changed the record meanwhile; this is its current state.
    Record(RequestRecord),
    /// The key to bind belongs to another request.
    KeyInUse,
}

/// A name of a request, in a transaction.
pub(super) enum Name {
    Key,
    Quote,
}

/// The steps of [`Store::write_record`].
enum Step {
    /// Updates the request's record.
    Record,
    /// Points the key to the record under the quote.
    Alias,
}

impl Store {
    /// What is stored under a request's names, at one point in time. `None` if they are free. One round trip.
    ///
    /// This is a transaction that writes nothing: it checks that the names are free, and is refused if they are not.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn find_request(
        &self,
        names: RequestNames<'_>,
        now: Timestamp,
    ) -> Result<Option<KnownNames>, StoreError> {
        let mut transaction = Transaction::new(ExternalCall::FindRequest);
        let check = |key| {
            let check = ConditionCheck::builder()
                .table_name(&self.table)
                .set_key(Some(key))
                .condition_expression(IS_FREE)
                .expression_attribute_values(":now", number(now.as_millis()))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            Ok::<_, StoreError>(TransactWriteItem::builder().condition_check(check.build()?).build())
        };
        if let Some(request) = names.key {
            transaction.add(Name::Key, check(schema::idempotency_key(&request.key))?);
        }
        if let Some(quote) = names.quote {
            transaction.add(Name::Quote, check(schema::quote_key(&quote.digest))?);
        }
        if transaction.is_empty() {
            return Ok(None);
        }
        match transaction.run(self).await? {
            TransactionResult::Written => Ok(None),
            TransactionResult::Refused(refused) => known_names(refused).map(Some),
        }
    }

    /// Adds the steps that store a new request under its names, if these are free.
    pub(super) fn add_request<N: From<Name>>(
        &self,
        transaction: &mut Transaction<N>,
        names: RequestNames<'_>,
        payment: &Payment,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let kept = now.plus(RETENTION);
        if let Some(request) = names.key {
            let item = match names.quote {
                Some(quote) => schema::alias_item(request, payment.id, &quote.digest, kept)?,
                None => schema::key_item(request, &RequestRecord::first(payment.id, now, kept))?,
            };
            transaction.add(Name::Key.into(), put(self.put_if_free(item, now))?);
        }
        if let Some(quote) = names.quote {
            let record = RequestRecord::first(payment.id, now, quote.kept_until(now));
            let item = schema::quote_item(&quote.digest, payment.provider, &record)?;
            transaction.add(Name::Quote.into(), put(self.put_if_free(item, now))?);
        }
        Ok(())
    }

    /// The record of a request (strongly consistent read). `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn request_record(&self, name: &RecordName) -> Result<Option<RequestRecord>, StoreError> {
        let item = self.get(ExternalCall::ReadRecord, schema::record_key(name)).await?;
        item.map(schema::record_of).transpose()
    }

    /// Takes over a request whose lease has ended. Restarts its retention, so that it cannot expire during the lease.
    /// If the record is under a quote, `key` is bound to the payment in the same write.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn take_over(
        &self,
        name: &RecordName,
        seen: &RequestRecord,
        key: Option<&IdempotentRequest>,
        now: Timestamp,
    ) -> Result<Result<Lease, NotChanged>, StoreError> {
        let fence = seen.fence.saturating_add(1);
        let update = self
            .keep(name, seen, now)
            .update_expression("SET fence = :next, leaseUntil = :until, expiresAt = :expiresAt, #ttl = :ttl")
            .condition_expression("fence = :fence AND leaseUntil <= :now AND attribute_not_exists(#response)")
            .expression_attribute_names("#response", "response")
            .expression_attribute_values(":next", number(fence))
            .expression_attribute_values(":until", number(now.plus(LEASE).as_millis()))
            .expression_attribute_values(":now", number(now.as_millis()));
        let written = self
            .write_record(ExternalCall::TakeOver, update, name, seen.payment_id, key, now)
            .await?;
        Ok(written.map(|()| Lease {
            record: name.clone(),
            fence,
            attempt: seen.attempt,
        }))
    }

    /// Binds a new key to the payment of a used quote, and keeps the quote for at least as long as the key.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn bind_key(
        &self,
        name: &RecordName,
        seen: &RequestRecord,
        key: &IdempotentRequest,
        now: Timestamp,
    ) -> Result<Result<(), NotChanged>, StoreError> {
        let update = self
            .keep(name, seen, now)
            .update_expression("SET expiresAt = :expiresAt, #ttl = :ttl")
            .condition_expression("fence = :fence");
        self.write_record(ExternalCall::BindKey, update, name, seen.payment_id, Some(key), now)
            .await
    }

    /// Ends a lease without a response, so that the next request continues at once. `attempt` is the number of its call
    /// to the provider: see [`Lease::attempt`].
    ///
    /// Returns the request's current record if another one has taken it over; nothing is written then.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written. The lease then ends by itself.
    pub async fn release(
        &self,
        lease: &Lease,
        attempt: u32,
        now: Timestamp,
    ) -> Result<Option<RequestRecord>, StoreError> {
        let update = self
            .update(schema::record_key(&lease.record))
            .update_expression("SET leaseUntil = :now, attempt = :attempt")
            .condition_expression("fence = :fence AND attribute_not_exists(#response)")
            .expression_attribute_names("#response", "response")
            .expression_attribute_values(":fence", number(lease.fence))
            .expression_attribute_values(":now", number(now.as_millis()))
            .expression_attribute_values(":attempt", number(attempt.into()));
        let refused = self.update_alone(ExternalCall::ReleaseLease, update).await?;
        refused.map(schema::record_of).transpose()
    }

    /// Begins an update of a record, with the values for the callers' expressions: `:fence` as it was seen, and
    /// `:expiresAt` and `:ttl`, which keep the record for at least [`RETENTION`] from now.
    fn keep(&self, name: &RecordName, seen: &RequestRecord, now: Timestamp) -> UpdateBuilder {
        let expires_at = seen.expires_at.max(now.plus(RETENTION));
        self.update(schema::record_key(name))
            .expression_attribute_values(":fence", number(seen.fence))
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":expiresAt", number(expires_at.as_millis()))
            .expression_attribute_values(":ttl", number(expires_at.as_seconds()))
    }

    /// Writes a record. If it is under a quote, binds the key too.
    async fn write_record(
        &self,
        call: ExternalCall,
        update: UpdateBuilder,
        name: &RecordName,
        payment_id: PaymentId,
        key: Option<&IdempotentRequest>,
        now: Timestamp,
    ) -> Result<Result<(), NotChanged>, StoreError> {
        let mut transaction = Transaction::new(call);
        let step = TransactWriteItem::builder().update(update.build()?);
        transaction.add(Step::Record, step.build());
        if let (RecordName::Quote(digest), Some(request)) = (name, key) {
            transaction.add(Step::Alias, self.bind(request, payment_id, digest, now)?);
        }
        let TransactionResult::Refused(refused) = transaction.run(self).await? else {
            return Ok(Ok(()));
        };
        let mut record = None;
        for (step, item) in refused {
            match step {
                Step::Alias => return Ok(Err(NotChanged::KeyInUse)),
                Step::Record => record = Some(item),
            }
        }
        let record = schema::record_of(record.ok_or(StoreError::Corrupt)?)?;
        Ok(Err(NotChanged::Record(record)))
    }

    /// Points a key to the record of a quote, if the key is free or already belongs to this request.
    fn bind(
        &self,
        request: &IdempotentRequest,
        payment_id: PaymentId,
        quote: &QuoteDigest,
        now: Timestamp,
    ) -> Result<TransactWriteItem, StoreError> {
        let item = schema::alias_item(request, payment_id, quote, now.plus(RETENTION))?;
        let fingerprint = item.get("fingerprint").cloned().ok_or(StoreError::Corrupt)?;
        let alias = self
            .put_if_free(item, now)
            .condition_expression(format!("{IS_FREE} OR (paymentId = :id AND fingerprint = :fingerprint)"))
            .expression_attribute_values(":id", AttributeValue::S(payment_id.to_string()))
            .expression_attribute_values(":fingerprint", fingerprint);
        put(alias)
    }

    fn put_if_free(&self, item: Item, now: Timestamp) -> PutBuilder {
        Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(IS_FREE)
            .expression_attribute_values(":now", number(now.as_millis()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

fn put(put: PutBuilder) -> Result<TransactWriteItem, StoreError> {
    Ok(TransactWriteItem::builder().put(put.build()?).build())
}

/// What is stored under the names that are not free.
pub(super) fn known_names(refused: Vec<(Name, Item)>) -> Result<KnownNames, StoreError> {
    let mut known = KnownNames { key: None, quote: None };
    for (name, item) in refused {
        match name {
            Name::Key => known.key = Some(schema::known_key_of(item)?),
            Name::Quote => known.quote = Some(schema::known_quote_of(item)?),
        }
    }
    Ok(known)
}
