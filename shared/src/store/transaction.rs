//! One all-or-nothing write, and what comes back when it is refused.

use std::time::Duration;

use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{CancellationReason, TransactWriteItem};

use super::{Item, Store};
use crate::aws;
use crate::fault::{Call, around};

/// How often a transaction that only met contention is tried again.
const CONTENTION_RETRIES: u32 = 8;

/// The store could not do what was asked. Nothing of an item is in the text.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The table cannot be reached, throttles, or refused the operation.
    #[error("DynamoDB {operation} failed: {why}")]
    Failed {
        /// The operation.
        operation: &'static str,
        /// DynamoDB's code, or what went wrong before there was one; and what to do where only a person can do something.
        why: String,
    },
    /// It took too long; whether it was done is not known.
    #[error("DynamoDB did not answer in time")]
    TimedOut,
    /// Others wrote the same items all the time.
    #[error("too much contention")]
    Contended,
    /// An item is not what this program writes.
    #[error("an item cannot be read")]
    Corrupt,
    /// A request could not be built.
    #[error("a request to DynamoDB could not be built")]
    Build(#[from] BuildError),
}

/// The steps of a transaction, each under a name by which a refusal is recognised.
pub(super) struct Transaction<N> {
    call: Call,
    names: Vec<N>,
    steps: Vec<TransactWriteItem>,
}

/// The steps whose conditions failed, each with the item that was there instead.
pub(super) type Refused<N> = Vec<(N, Item)>;

impl<N> Transaction<N> {
    pub(super) fn new(call: Call) -> Self {
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
            let Err(error) = around(self.call, request.send()).await else {
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
    /// The error of an operation.
    pub(super) fn failed<E: ProvideErrorMetadata, R>(
        &self,
        operation: &'static str,
        error: &SdkError<E, R>,
    ) -> StoreError {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is open, and the rest are alike")]
        let why = match error {
            SdkError::ServiceError(service) => self.refusal(service.err().code().unwrap_or("unknown")),
            SdkError::TimeoutError(_) => format!("no answer in time {}", self.place()),
            SdkError::DispatchFailure(_) => format!("no connection {}", self.place()),
            SdkError::ResponseError(_) => "unreadable response".to_owned(),
            _ => "request not sent".to_owned(),
        };
        StoreError::Failed { operation, why }
    }

    fn refusal(&self, code: &str) -> String {
        let table = &self.table;
        match (code, aws::hint(code)) {
            ("ResourceNotFoundException", _) => format!(
                "there is no table {table} {}: create it, or set PAYMENTS_TABLE and AWS_REGION to where it is",
                self.place(),
            ),
            (_, Some(hint)) => format!("{code} for the table {table} {}: {hint}", self.place()),
            (_, None) => code.to_owned(),
        }
    }

    /// Where the table is looked for.
    fn place(&self) -> String {
        let region = self.client.config().region().map_or("no region", AsRef::as_ref);
        match &self.endpoint {
            Some(endpoint) => format!("in {region} at {endpoint}"),
            None => format!("in {region}"),
        }
    }

    /// Writes one item under its condition; gives the item that is there instead where that failed.
    ///
    /// A transaction of one step, since contention is tried again only there, and a repeated request is known by its
    /// token and does not fail on its own write.
    pub(super) async fn write_alone(&self, call: Call, step: TransactWriteItem) -> Result<Option<Item>, StoreError> {
        let mut transaction = Transaction::new(call);
        transaction.add((), step);
        let Err(refused) = transaction.run(self).await? else {
            return Ok(None);
        };
        let item = refused.into_iter().next().map(|((), item)| item);
        item.ok_or(StoreError::Corrupt).map(Some)
    }

    /// The same for an update.
    pub(super) async fn update_alone(&self, call: Call, update: UpdateBuilder) -> Result<Option<Item>, StoreError> {
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
