//! Reading many items at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::KeysAndAttributes;

use super::due_index::{self, Due};
use super::error::StoreError;
use super::schema::{self, Item};
use super::table::Store;
use super::transaction::backoff;
use crate::domain::id::{PaymentId, Reference};
use crate::domain::payment::Payment;
use crate::domain::provider::Provider;
use crate::platform::failpoint::{ExternalCall, wrap};

/// Maximum number of items of a request.
const MAX_KEYS: usize = 100;
/// Maximum number of repetitions for what a request left out, because the response was full or the table throttled.
const MAX_REPETITIONS: u32 = 8;

/// What the table knows about payments and provider ids.
#[derive(Debug, Default)]
pub struct Known {
    /// The payments.
    pub payments: BTreeMap<PaymentId, Payment>,
    /// The payments that the provider ids belong to.
    pub owners: BTreeMap<Reference, PaymentId>,
}

impl Store {
    /// Reads payments, and the payments of provider ids. What was written within the last second may be missing.
    /// Payments that cannot be read are missing too.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn known(
        &self,
        provider: Provider,
        ids: &BTreeSet<PaymentId>,
        references: &BTreeSet<Reference>,
    ) -> Result<Known, StoreError> {
        let mut known = Known::default();
        let is_consistent = false;
        let by_reference: HashMap<String, &Reference> = references
            .iter()
            .map(|reference| (schema::reference_pk(provider, reference), reference))
            .collect();
        let keys = references
            .iter()
            .map(|reference| schema::reference_key(provider, reference));
        let keys = keys.chain(ids.iter().map(|id| schema::state_key(*id)));
        let mut wanted: BTreeSet<PaymentId> = BTreeSet::new();
        for item in self.batch_get(keys.collect(), is_consistent).await? {
            match schema::pk_of(&item).and_then(|pk| by_reference.get(pk)) {
                Some(reference) => {
                    let owner = schema::owner_of(&item)?;
                    wanted.insert(owner);
                    known.owners.insert((*reference).clone(), owner);
                }
                None => known.insert(item),
            }
        }
        wanted.retain(|id| !known.payments.contains_key(id));
        let keys = wanted.into_iter().map(schema::state_key).collect();
        for item in self.batch_get(keys, is_consistent).await? {
            known.insert(item);
        }
        Ok(known)
    }

    /// Reads the payments that are due, each with its item of the due index (strongly consistent read). Those that are
    /// not due any more are left out.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read; for a single payment, if it cannot be read.
    pub async fn due_payments(&self, due: &[Due]) -> Result<Vec<(Due, Result<Payment, StoreError>)>, StoreError> {
        let is_consistent = true;
        let ids: BTreeSet<PaymentId> = due.iter().filter_map(|due| due.subject.payment()).collect();
        let keys = ids.into_iter().map(schema::state_key).collect();
        let items = self.batch_get(keys, is_consistent).await?;
        let read = items.into_iter().filter_map(|item| {
            let current = due_index::due_of(&item).ok()?;
            let is_due = due.contains(&current);
            is_due.then(|| (current, schema::payment_of(item)))
        });
        Ok(read.collect())
    }

    /// The items under these keys, in any order. Those that do not exist are left out.
    async fn batch_get(&self, mut keys: Vec<Item>, is_consistent: bool) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        let mut repetitions = 0;
        while !keys.is_empty() {
            let rest = keys.split_off(keys.len().min(MAX_KEYS));
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(std::mem::replace(&mut keys, rest)))
                .consistent_read(is_consistent)
                .build()?;
            let request = self.client.batch_get_item().request_items(&self.table, wanted);
            let output = wrap(ExternalCall::ReadPayments, request.send())
                .await
                .map_err(|error| self.failed("BatchGetItem", &error))?;
            let mut responses = output.responses.unwrap_or_default();
            items.extend(responses.remove(&self.table).unwrap_or_default());
            let left_out = output.unprocessed_keys.unwrap_or_default().remove(&self.table);
            let Some(left_out) = left_out.filter(|left_out| !left_out.keys.is_empty()) else {
                continue;
            };
            if repetitions == MAX_REPETITIONS {
                return Err(StoreError::Contended);
            }
            tokio::time::sleep(backoff(repetitions)).await;
            repetitions = repetitions.saturating_add(1);
            keys.extend(left_out.keys);
        }
        Ok(items)
    }
}

impl Known {
    fn insert(&mut self, item: Item) {
        if let Ok(payment) = schema::payment_of(item) {
            self.payments.insert(payment.id, payment);
        }
    }
}
