//! Storing the intent of a payment.

use aws_sdk_dynamodb::types::{Put, TransactWriteItem};

use super::due_index;
use super::error::StoreError;
use super::request_records::{Name, known_names};
use super::schema;
use super::table::Store;
use super::transaction::{Transaction, TransactionResult};
use crate::domain::idempotency::{KnownNames, RequestNames};
use crate::domain::payment::Payment;
use crate::domain::schedule::{self, Queue};
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;

/// The result of storing an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InsertResult {
    /// It is stored. If its request has a name, the caller now holds the lease that permits the call to the provider.
    Inserted,
    /// Nothing was stored: a name of its request is in use.
    InUse(KnownNames),
}

enum Step {
    Intent,
    Order,
    Name(Name),
}

impl From<Name> for Step {
    fn from(name: Name) -> Self {
        Self::Name(name)
    }
}

impl Store {
    /// Stores an intent, together with its request under the names that it has, before the provider is called. One
    /// round trip.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written. Whether the intent was stored is then unknown. A stored
    /// intent is harmless without the call to the provider.
    pub async fn insert_payment(
        &self,
        payment: &Payment,
        names: RequestNames<'_>,
        now: Timestamp,
    ) -> Result<InsertResult, StoreError> {
        let put = || Put::builder().table_name(&self.table);
        let step = |put: Put| TransactWriteItem::builder().put(put).build();
        let mut transaction = Transaction::new(ExternalCall::InsertPayment);
        let first_check_at = schedule::first_check_at(payment);
        let mut item = schema::state_item(payment)?;
        item.extend(due_index::attributes(payment.id, Queue::Expiry, first_check_at));
        let intent = put()
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)");
        transaction.add(Step::Intent, step(intent.build()?));
        if let Some(order) = self.attach_order(payment)? {
            transaction.add(Step::Order, order);
        }
        self.add_request(&mut transaction, names, payment, now)?;
        let TransactionResult::Refused(refused) = transaction.run(self).await? else {
            return Ok(InsertResult::Inserted);
        };
        let names = refused.into_iter().filter_map(|(step, item)| match step {
            Step::Name(name) => Some((name, item)),
            Step::Intent | Step::Order => None,
        });
        let known = known_names(names.collect())?;
        if known.key.is_none() && known.quote.is_none() {
            // The only other step with a condition is the intent, under a random id.
            return Err(StoreError::Corrupt);
        }
        Ok(InsertResult::InUse(known))
    }
}
