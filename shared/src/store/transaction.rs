//! All-or-nothing writes, and the failed conditions of a refused one.

use std::time::Duration;

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};

use super::error::StoreError;
use super::schema::Item;
use super::table::Store;
use crate::platform::failpoint::{ExternalCall, wrap};

/// Maximum retries of a transaction that was cancelled only because of contention.
const CONTENTION_RETRIES: u32 = 8;

/// The steps of a transaction. Each has a name, by which a refused step is recognised.
pub(super) struct Transaction<N> {
    call: ExternalCall,
    names: Vec<N>,
    steps: Vec<TransactWriteItem>,
}

/// The result of a transaction.
pub(super) enum TransactionResult<N> {
    /// All steps are written.
    Written,
    /// Nothing is written. Has the steps whose conditions failed, each with its current item.
    Refused(Vec<(N, Item)>),
}

impl<N> Transaction<N> {
    pub(super) fn new(call: ExternalCall) -> Self {
        Self {
            call,
            names: Vec::new(),
            steps: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, name: N, step: TransactWriteItem) {
        self.names.push(name);
        self.steps.push(step);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Writes all steps or none. Contention is retried. Each attempt gets a new idempotency token from the SDK, which
    /// is safe because a refused transaction has written nothing.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub(super) async fn run(self, store: &Store) -> Result<TransactionResult<N>, StoreError> {
        let mut retries = 0;
        loop {
            let request = store
                .client
                .transact_write_items()
                .set_transact_items(Some(self.steps.clone()));
            let Err(error) = wrap(self.call, request.send()).await else {
                return Ok(TransactionResult::Written);
            };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
            else {
                return Err(store.failed("TransactWriteItems", &error));
            };
            let reasons = cancelled.cancellation_reasons();
            if reasons
                .iter()
                .any(|reason| reason.code() == Some("ConditionalCheckFailed"))
            {
                let refused = self
                    .names
                    .into_iter()
                    .zip(reasons)
                    .filter(|(_, reason)| reason.code() == Some("ConditionalCheckFailed"));
                let with_item = |(name, reason): (N, &CancellationReason)| {
                    let item = reason.item().cloned().unwrap_or_default();
                    (name, item)
                };
                return Ok(TransactionResult::Refused(refused.map(with_item).collect()));
            }
            if !is_contention(reasons) {
                return Err(store.failed("TransactWriteItems", &error));
            }
            if retries == CONTENTION_RETRIES {
                return Err(StoreError::Contended);
            }
            tokio::time::sleep(backoff(retries)).await;
            retries = retries.saturating_add(1);
        }
    }
}

impl Store {
    /// An update of the item under `key` that returns the current item if its condition fails.
    pub(super) fn update(&self, key: Item) -> UpdateBuilder {
        Update::builder()
            .table_name(&self.table)
            .set_key(Some(key))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// Writes one item under its condition. Returns the current item if the condition failed.
    ///
    /// This is a transaction of one step, for two reasons: `run` retries contention, and the SDK's own retries reuse
    /// the request's token. So a retry after a lost response does not fail on its own write.
    pub(super) async fn write_alone(
        &self,
        call: ExternalCall,
        step: TransactWriteItem,
    ) -> Result<Option<Item>, StoreError> {
        let mut transaction = Transaction::new(call);
        transaction.add((), step);
        let TransactionResult::Refused(refused) = transaction.run(self).await? else {
            return Ok(None);
        };
        let item = refused.into_iter().next().map(|((), item)| item);
        item.ok_or(StoreError::Corrupt).map(Some)
    }

    /// Like [`Self::write_alone`], for an update.
    pub(super) async fn update_alone(
        &self,
        call: ExternalCall,
        update: UpdateBuilder,
    ) -> Result<Option<Item>, StoreError> {
        let step = TransactWriteItem::builder().update(update.build()?);
        self.write_alone(call, step.build()).await
    }
}

/// Adds attributes to an update, each only if the item does not have it. Returns the assignments for `SET`.
pub(super) fn set_if_absent(
    mut update: UpdateBuilder,
    attributes: impl IntoIterator<Item = (String, AttributeValue)>,
) -> (UpdateBuilder, String) {
    let mut assignments = Vec::new();
    for (name, value) in attributes {
        assignments.push(format!("#{name} = if_not_exists(#{name}, :{name})"));
        update = update.expression_attribute_values(format!(":{name}"), value);
        update = update.expression_attribute_names(format!("#{name}"), name);
    }
    (update, assignments.join(", "))
}

/// Whether the transaction was cancelled only because of concurrent writes or throttling.
fn is_contention(reasons: &[CancellationReason]) -> bool {
    const TRANSIENT: [&str; 4] = [
        "None",
        "TransactionConflict",
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
    ];
    !reasons.is_empty()
        && reasons
            .iter()
            .all(|reason| reason.code().is_none_or(|code| TRANSIENT.contains(&code)))
}

/// A random wait of up to 10, 20, 40, … 160 ms (full jitter).
pub(super) fn backoff(retries: u32) -> Duration {
    let ceiling = 10_u64.saturating_mul(2_u64.saturating_pow(retries.min(4)));
    Duration::from_millis(fastrand::u64(0..=ceiling))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_condition_is_not_contention() {
        let reasons = |codes: &[&str]| {
            codes
                .iter()
                .map(|code| CancellationReason::builder().code(*code).build())
                .collect::<Vec<_>>()
        };
        assert!(is_contention(&reasons(&["None", "TransactionConflict"])));
        assert!(is_contention(&reasons(&[
            "ThrottlingError",
            "ProvisionedThroughputExceeded"
        ])));
        for codes in [
            &["ConditionalCheckFailed", "TransactionConflict"][..],
            &["ValidationError"],
            &[],
        ] {
            assert!(!is_contention(&reasons(codes)), "{codes:?}");
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        for (retries, ceiling) in [(0, 10), (1, 20), (2, 40), (4, 160), (5, 160), (100, 160)] {
            let waits: Vec<u128> = (0..200).map(|_| backoff(retries).as_millis()).collect();
            assert!(waits.iter().all(|wait| *wait <= ceiling), "{retries}: {waits:?}");
            assert!(waits.iter().any(|wait| 2 * wait > ceiling), "{retries}: {waits:?}");
        }
    }
}
