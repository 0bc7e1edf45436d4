//! One all-or-nothing write, and what comes back when it is refused.

use std::time::Duration;

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{CancellationReason, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};

use super::error::StoreError;
use super::schema::Item;
use super::table::Store;
use crate::platform::failpoint::{ExternalCall, wrap};

/// How often a transaction that only met contention is tried again.
const CONTENTION_RETRIES: u32 = 8;

/// The steps of a transaction, each under a name by which a refusal is recognised.
pub(super) struct Transaction<N> {
    call: ExternalCall,
    names: Vec<N>,
    steps: Vec<TransactWriteItem>,
}

/// The steps whose conditions failed, each with the item that was there instead.
pub(super) type Refused<N> = Vec<(N, Item)>;

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

    /// Writes all steps or none.
    ///
    /// `Ok(Err(_))` tells which conditions failed. Contention is tried again here, with the whole transaction's idempotency token
    /// made anew by the SDK for each try: a refused transaction has written nothing.
    pub(super) async fn run(self, store: &Store) -> Result<Result<(), Refused<N>>, StoreError> {
        let mut retries = 0;
        loop {
            let request = store
                .client
                .transact_write_items()
                .set_transact_items(Some(self.steps.clone()));
            let Err(error) = wrap(self.call, request.send()).await else {
                return Ok(Ok(()));
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
                return Ok(Err(refused
                    .map(|(name, reason)| (name, reason.item().cloned().unwrap_or_default()))
                    .collect()));
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
    pub(super) fn update(&self, key: Item) -> aws_sdk_dynamodb::types::builders::UpdateBuilder {
        Update::builder()
            .table_name(&self.table)
            .set_key(Some(key))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// Writes one item under its condition; gives the item that is there instead where that failed.
    ///
    /// A transaction of one step, since contention is tried again only there, and a repeated request is known by its
    /// token and does not fail on its own write.
    pub(super) async fn write_alone(
        &self,
        call: ExternalCall,
        step: TransactWriteItem,
    ) -> Result<Option<Item>, StoreError> {
        let mut transaction = Transaction::new(call);
        transaction.add((), step);
        let Err(refused) = transaction.run(self).await? else {
            return Ok(None);
        };
        let item = refused.into_iter().next().map(|((), item)| item);
        item.ok_or(StoreError::Corrupt).map(Some)
    }

    /// The same for an update.
    pub(super) async fn update_alone(
        &self,
        call: ExternalCall,
        update: UpdateBuilder,
    ) -> Result<Option<Item>, StoreError> {
        let step = TransactWriteItem::builder().update(update.build()?);
        self.write_alone(call, step.build()).await
    }
}

/// Whether every reason is that others were writing, or that it was too much at once.
fn is_contention(reasons: &[CancellationReason]) -> bool {
    const PASSING: [&str; 4] = [
        "None",
        "TransactionConflict",
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
    ];
    !reasons.is_empty()
        && reasons
            .iter()
            .all(|reason| reason.code().is_none_or(|code| PASSING.contains(&code)))
}

/// Full jitter below 10, 20, 40 … 160 milliseconds.
pub(super) fn backoff(retries: u32) -> Duration {
    let ceiling = 10_u64.saturating_mul(2_u64.saturating_pow(retries.min(4)));
    Duration::from_millis(fastrand::u64(0..=ceiling))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_contention_is_contention() {
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
    fn each_wait_is_drawn_from_a_range_that_grows_for_a_while() {
        for (retries, ceiling) in [(0, 10), (1, 20), (2, 40), (4, 160), (5, 160), (100, 160)] {
            let waits: Vec<u128> = (0..200).map(|_| backoff(retries).as_millis()).collect();
            assert!(waits.iter().all(|wait| *wait <= ceiling), "{retries}: {waits:?}");
            assert!(waits.iter().any(|wait| 2 * wait > ceiling), "{retries}: {waits:?}");
        }
    }
}
