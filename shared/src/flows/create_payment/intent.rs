//! The step before the call to the provider: storing the intent, or resuming the payment of a known idempotency key.

use tokio::time::{Instant, timeout_at};

use super::creation::{Creation, in_progress, store_unavailable};
use crate::api::problem::Problem;
use crate::domain::idempotency::{Fingerprint, IdempotencyKey, KeyRecord, Lease, NextAction};
use crate::domain::payment::Payment;
use crate::domain::time::Timestamp;
use crate::flows::quote::{QuoteError, QuoteValidity};
use crate::platform::clock;
use crate::store::{InsertResult, Retry, Store, StoreError, retry_on_conflict};

/// The idempotency of a request.
#[derive(Clone, Debug)]
pub struct IdempotentRequest {
    /// The request's key.
    pub key: IdempotencyKey,
    /// The fingerprint of the request's canonical form.
    pub fingerprint: Fingerprint,
}

/// What to do for a request.
pub(super) enum NextStep {
    /// Call the provider for this payment.
    CallProvider(Payment, Option<Lease>),
    /// Store and return the key's response. The payment itself was already accepted, or its status has moved on.
    RespondWithoutCall(Payment, Lease),
    /// Return the final response of an earlier request.
    Replay(Creation),
}

/// Stores the intent or, if its key is known, decides how to continue the key's payment.
pub(super) async fn store_intent_or_resume(
    store: &Store,
    intent: Payment,
    idempotency: Option<&IdempotentRequest>,
    validity: QuoteValidity,
    deadline: Instant,
) -> Result<NextStep, Problem> {
    let now = clock::now();
    let (idempotency, record) = match validity {
        QuoteValidity::Valid => {
            let key = idempotency.map(|idempotency| (&idempotency.key, &idempotency.fingerprint));
            // No payment id in this problem: whether the intent was stored is unknown.
            let inserted = before(deadline, store.insert_payment(&intent, key, now))
                .await
                .map_err(|error| store_unavailable(None, &error))?;
            let InsertResult::KeyInUse(record) = inserted else {
                tracing::info!(payment = %intent.id, provider = %intent.provider, "intent stored");
                let lease = idempotency.map(|idempotency| Lease {
                    key: idempotency.key.clone(),
                    fence: 1,
                    attempt: 1,
                });
                return Ok(NextStep::CallProvider(intent, lease));
            };
            let idempotency = idempotency.ok_or_else(|| store_unavailable(None, &StoreError::Corrupt))?;
            (idempotency, record)
        }
        QuoteValidity::Expired => {
            let expired = || {
                tracing::warn!("quote refused: it has expired, and there is no payment to continue");
                Problem::quote_invalid(&QuoteError::Expired)
            };
            let idempotency = idempotency.ok_or_else(expired)?;
            let record = before(deadline, store.key(&idempotency.key, now))
                .await
                .map_err(|error| store_unavailable(None, &error))?;
            (idempotency, record.ok_or_else(expired)?)
        }
    };
    let id = record.payment_id;
    let resumed = before(deadline, resume(store, idempotency, record, now)).await;
    resumed.unwrap_or_else(|error| Err(store_unavailable(Some(id), &error)))
}

/// Decides how to continue the payment of a known key. Takes the key over if its lease has ended.
async fn resume(
    store: &Store,
    IdempotentRequest { key, fingerprint }: &IdempotentRequest,
    record: KeyRecord,
    now: Timestamp,
) -> Result<Result<NextStep, Problem>, StoreError> {
    retry_on_conflict(record, |record| async move {
        let id = record.payment_id;
        let step = match record.next_action(fingerprint, now) {
            NextAction::Replay(response) => Ok(NextStep::Replay(Creation {
                payment: id,
                response,
                replayed: true,
            })),
            NextAction::RefuseReuse => Err(Problem::idempotency_key_reused()),
            NextAction::Wait(remaining) => Err(in_progress(remaining)),
            NextAction::TakeOver => match store.take_over(key, &record, now).await? {
                Ok(lease) => Ok(continue_payment(store, record, lease).await?),
                Err(current) => return Ok(Retry::Again(current)),
            },
        };
        Ok(Retry::Done(step))
    })
    .await
}

/// The next step for the payment of a key that was just taken over.
async fn continue_payment(store: &Store, record: KeyRecord, lease: Lease) -> Result<NextStep, StoreError> {
    let id = record.payment_id;
    let payment = store.payment(id).await?.ok_or(StoreError::Corrupt)?;
    tracing::info!(payment = %id, fence = lease.fence, attempt = lease.attempt, "idempotency key taken over");
    let needs_call = payment.status.is_payable() && payment.checkout_session.is_none();
    Ok(if needs_call {
        NextStep::CallProvider(payment, Some(lease))
    } else {
        NextStep::RespondWithoutCall(payment, lease)
    })
}

/// Runs `work`, with an error if it is not done before `deadline`.
async fn before<T>(deadline: Instant, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout_at(deadline, work).await.unwrap_or(Err(StoreError::TimedOut))
}
