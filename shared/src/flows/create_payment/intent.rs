//! The step before the call to the provider: storing the intent, or resuming the payment of a known key or quote. These
//! are the *names* of a request.

use tokio::time::{Instant, timeout_at};

use super::creation::{Creation, in_progress, store_unavailable};
use crate::api::problem::Problem;
use crate::domain::id::PaymentId;
use crate::domain::idempotency::{
    IdempotentRequest, KeyRecord, KnownNames, Lease, NextAction, RecordName, Refusal, RequestNames, RequestRecord,
    StoredResponse,
};
use crate::domain::payment::Payment;
use crate::domain::provider::Provider;
use crate::domain::time::Timestamp;
use crate::flows::quote::{QuoteError, QuoteValidity};
use crate::platform::clock;
use crate::store::{InsertResult, NotChanged, Retry, Store, StoreError, retry_on_conflict};

/// What to do for a request.
pub(super) enum NextStep {
    /// Call the provider for this payment.
    CallProvider(Payment, Option<Lease>),
    /// Make the response from the stored payment, store it in the request's record, and return it. The provider has
    /// already accepted the payment, or its status is above `pending`.
    RespondWithoutCall(Payment, Lease),
    /// Return the final response of an earlier request.
    Replay(Creation),
}

/// Stores the intent or, if a name of its request is known, decides how to continue that request's payment.
pub(super) async fn store_intent_or_resume(
    store: &Store,
    intent: Payment,
    names: RequestNames<'_>,
    validity: QuoteValidity,
    deadline: Instant,
) -> Result<NextStep, Problem> {
    let (now, provider) = (clock::now(), intent.provider);
    // No payment id in these problems: whether the intent was stored is unknown.
    let unavailable = |error: StoreError| store_unavailable(None, &error);
    let known = match validity {
        QuoteValidity::Valid => {
            let intent = Payment {
                quote_kept_until: names.quote.map(|quote| quote.kept_until(now)),
                ..intent
            };
            let inserted = before(deadline, store.insert_payment(&intent, names, now)).await;
            let InsertResult::InUse(known) = inserted.map_err(unavailable)? else {
                tracing::info!(payment = %intent.id, provider = %intent.provider, "intent stored");
                let lease = names.record_name().map(|record| Lease {
                    record,
                    fence: 1,
                    attempt: 1,
                });
                return Ok(NextStep::CallProvider(intent, lease));
            };
            known
        }
        QuoteValidity::Expired => {
            let found = before(deadline, store.find_request(names, now)).await;
            found.map_err(unavailable)?.ok_or_else(|| {
                tracing::warn!("quote refused: it has expired, and there is no payment to continue");
                Problem::quote_invalid(&QuoteError::Expired)
            })?
        }
    };
    check(&known, names, provider)?;
    let id = known.payment_id();
    let resumed = before(deadline, async {
        let (name, record) = find_record(store, known.clone(), names).await?;
        // A new key is bound to the payment of a used quote.
        let new_key = names.key.filter(|_| known.key.is_none());
        resume(store, names.key, new_key, name, record, now).await
    });
    resumed.await.unwrap_or_else(|error| Err(store_unavailable(id, &error)))
}

/// Checks that the request may use its names together.
fn check(known: &KnownNames, names: RequestNames<'_>, provider: Provider) -> Result<(), Problem> {
    let fingerprint = names.key.map(|request| &request.fingerprint);
    known.check(provider, fingerprint).map_err(|refusal| match refusal {
        Refusal::KeyReused => Problem::idempotency_key_reused(),
        Refusal::QuoteUsedElsewhere => {
            tracing::warn!("quote refused: it was used for a payment at another provider");
            Problem::quote_used_elsewhere()
        }
    })
}

/// The record of the request, and its name.
async fn find_record(
    store: &Store,
    known: KnownNames,
    names: RequestNames<'_>,
) -> Result<(RecordName, RequestRecord), StoreError> {
    if let (Some(known), Some(quote)) = (known.quote, names.quote) {
        return Ok((RecordName::Quote(quote.digest.clone()), known.record));
    }
    let (Some(known), Some(request)) = (known.key, names.key) else {
        return Err(StoreError::Corrupt);
    };
    match known.record {
        KeyRecord::Own(record) => Ok((RecordName::Key(request.key.clone()), record)),
        KeyRecord::UnderQuote(digest) => {
            let name = RecordName::Quote(digest);
            let record = store.request_record(&name).await?.ok_or(StoreError::Corrupt)?;
            Ok((name, record))
        }
    }
}

/// Decides how to continue the payment of a known request. Takes the request over if its lease has ended.
async fn resume(
    store: &Store,
    key: Option<&IdempotentRequest>,
    new_key: Option<&IdempotentRequest>,
    name: RecordName,
    record: RequestRecord,
    now: Timestamp,
) -> Result<Result<NextStep, Problem>, StoreError> {
    let name = &name;
    retry_on_conflict(record, |record| async move {
        let id = record.payment_id;
        let not_changed = match record.next_action(now) {
            NextAction::Wait(remaining) => return Ok(Retry::Done(Err(in_progress(remaining)))),
            NextAction::Replay(response) => {
                let bound = match new_key {
                    Some(key) => store.bind_key(name, &record, key, now).await?,
                    None => Ok(()),
                };
                match bound {
                    Ok(()) => return Ok(Retry::Done(Ok(replay(id, response)))),
                    Err(not_changed) => not_changed,
                }
            }
            NextAction::TakeOver => match store.take_over(name, &record, key, now).await? {
                Ok(lease) => return Ok(Retry::Done(Ok(continue_payment(store, record, lease).await?))),
                Err(not_changed) => not_changed,
            },
        };
        Ok(match not_changed {
            NotChanged::Record(current) => Retry::Again(current),
            NotChanged::KeyInUse => Retry::Done(Err(Problem::idempotency_key_reused())),
        })
    })
    .await
}

fn replay(payment: PaymentId, response: StoredResponse) -> NextStep {
    NextStep::Replay(Creation {
        payment,
        response,
        replayed: true,
    })
}

/// The next step for the payment of a request that was just taken over.
async fn continue_payment(store: &Store, record: RequestRecord, lease: Lease) -> Result<NextStep, StoreError> {
    let id = record.payment_id;
    let payment = store.payment(id).await?.ok_or(StoreError::Corrupt)?;
    tracing::info!(payment = %id, fence = lease.fence, attempt = lease.attempt, "request taken over");
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
