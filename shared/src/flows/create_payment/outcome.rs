//! The step after the call to the provider: storing its outcome, together with the response.

use super::creation::{Creation, in_progress, store_unavailable};
use crate::api::payment_view;
use crate::api::problem::Problem;
use crate::domain::id::{PaymentId, Reference};
use crate::domain::idempotency::{LEASE, Lease, RequestRecord, StoredResponse};
use crate::domain::payment::Payment;
use crate::domain::status::Status;
use crate::domain::time::Timestamp;
use crate::flows::record_notification::{move_unmatched, read_unmatched};
use crate::platform::clock;
use crate::providers::gateway::{Accepted, CallError};
use crate::store::{CommitExtras, CommitResult, Retry, Store, StoreError, UnmatchedGroup, retry_on_conflict};

/// Stores the result of the call to the provider, if there was one, and returns the response.
///
/// # Errors
/// The [`Problem`] to respond with, which is not stored. A rejection is not an error: it is a [`Creation`], whose
/// response is stored.
pub(super) async fn store_outcome(
    store: &Store,
    payment: Payment,
    lease: Option<Lease>,
    result: Option<&Result<Accepted, CallError>>,
) -> Result<Creation, Problem> {
    let now = clock::now();
    let id = payment.id;
    let error = match result {
        None => return commit_outcome(store, payment, lease, ProviderOutcome::NotCalled, now).await,
        Some(Ok(accepted)) => {
            return commit_outcome(store, payment, lease, ProviderOutcome::Accepted(accepted), now).await;
        }
        Some(Err(error)) => error,
    };
    tracing::warn!(payment = %id, provider = %payment.provider, error = %error, "provider call failed");
    match error {
        CallError::Rejected { code, references } => {
            let code = code.as_deref();
            let outcome = ProviderOutcome::Rejected { code, references };
            return commit_outcome(store, payment, lease, outcome, now).await;
        }
        CallError::Unusable { references, .. } | CallError::OutcomeUnknown { references } if !references.is_empty() => {
            let outcome = ProviderOutcome::Unusable { references };
            if commit_outcome(store, payment, None, outcome, now).await.is_err() {
                // A webhook still finds the payment, by our id in the metadata.
                tracing::warn!(payment = %id, "provider ids of an unusable response not attached");
            }
        }
        CallError::Unusable { .. }
        | CallError::Throttled { .. }
        | CallError::KeyRefused
        | CallError::OutcomeUnknown { .. }
        | CallError::TimedOut => {}
    }
    if let Some(lease) = &lease
        && let Some(replay) = release_lease(store, id, lease, error, now).await
    {
        return Ok(replay);
    }
    Err(match error {
        CallError::Throttled { retry_after } => {
            let problem = Problem::unavailable().for_payment(id);
            match retry_after {
                Some(seconds) => problem.retry_after(*seconds),
                None => problem,
            }
        }
        CallError::TimedOut => Problem::provider_timeout(id),
        CallError::KeyRefused
        | CallError::OutcomeUnknown { .. }
        | CallError::Unusable { .. }
        | CallError::Rejected { .. } => Problem::provider_error(id),
    })
}

/// Releases the lease after a failed call, so that the next request can retry at once. If another request has taken it
/// over, returns its final response, if there is one.
async fn release_lease(
    store: &Store,
    payment: PaymentId,
    lease: &Lease,
    error: &CallError,
    now: Timestamp,
) -> Option<Creation> {
    let attempt = lease.attempt.saturating_add(u32::from(error.provider_responded()));
    match store.release(lease, attempt, now).await {
        Ok(None) => None,
        Ok(Some(record)) => {
            tracing::warn!(%payment, "another request took this one over meanwhile");
            record.response.map(|response| Creation {
                payment,
                response,
                replayed: true,
            })
        }
        Err(error) => {
            tracing::warn!(%payment, error = %error, "lease not released; it ends by itself");
            None
        }
    }
}

/// What the call to the provider means for the payment.
#[derive(Clone, Copy)]
enum ProviderOutcome<'a> {
    /// There was no call: the provider had already accepted the payment, or its status is above `pending`.
    NotCalled,
    /// The provider accepted the payment.
    Accepted(&'a Accepted),
    /// The provider rejected the payment for good.
    Rejected {
        code: Option<&'a str>,
        references: &'a [Reference],
    },
    /// The response is unusable except for its ids.
    Unusable { references: &'a [Reference] },
}

impl ProviderOutcome<'_> {
    fn references(&self) -> Vec<Reference> {
        match self {
            Self::NotCalled => Vec::new(),
            Self::Accepted(accepted) => [
                std::slice::from_ref(&accepted.checkout_session.reference),
                &accepted.references,
            ]
            .concat(),
            Self::Rejected { references, .. } | Self::Unusable { references } => references.to_vec(),
        }
    }

    /// The payment after the outcome. After losing the lease, only provider references may still be added, and the
    /// unmatched notifications under them.
    fn apply(&self, payment: &Payment, has_lost_lease: bool, now: Timestamp) -> Payment {
        match self {
            Self::Accepted(accepted) if !has_lost_lease => payment.accept(
                accepted.checkout_session.clone(),
                accepted.references.iter().cloned(),
                now,
            ),
            Self::Rejected { references, .. } if !has_lost_lease => payment.reject(references.iter().cloned(), now),
            Self::NotCalled | Self::Accepted(_) | Self::Rejected { .. } | Self::Unusable { .. } => {
                payment.add_references(self.references(), now)
            }
        }
    }

    fn response(&self, payment: &Payment) -> StoredResponse {
        match self {
            // If an earlier attempt has moved money, the response shows the payment, not this rejection.
            Self::Rejected { code, .. } if payment.status <= Status::Failed => {
                Problem::provider_rejected(code.map(str::to_owned)).to_stored_response()
            }
            Self::NotCalled | Self::Accepted(_) | Self::Rejected { .. } | Self::Unusable { .. } => {
                payment_view::created(payment)
            }
        }
    }
}

/// The state of [`commit_outcome`] between its commits.
struct CommitState {
    /// The payment before the outcome.
    payment: Payment,
    /// The lease. `None` if the request has no name, or if the lease is lost.
    lease: Option<Lease>,
    /// The request's record, once another one has taken it over.
    taken_over: Option<RequestRecord>,
    /// The unmatched notifications under the outcome's ids.
    unmatched: Vec<UnmatchedGroup>,
}

/// Writes the outcome, the request's response, and the unmatched notifications under the ids that the outcome attaches.
async fn commit_outcome(
    store: &Store,
    payment: Payment,
    lease: Option<Lease>,
    outcome: ProviderOutcome<'_>,
    now: Timestamp,
) -> Result<Creation, Problem> {
    let id = payment.id;
    let state = CommitState {
        payment,
        lease,
        taken_over: None,
        unmatched: Vec::new(),
    };
    let committed = retry_on_conflict(state, |state| try_commit(store, outcome, state, now)).await;
    committed.unwrap_or_else(|error| Err(store_unavailable(Some(id), &error)))
}

/// One commit of [`commit_outcome`].
async fn try_commit(
    store: &Store,
    outcome: ProviderOutcome<'_>,
    mut state: CommitState,
    now: Timestamp,
) -> Result<Retry<Result<Creation, Problem>, CommitState>, StoreError> {
    let id = state.payment.id;
    let mut after = outcome.apply(&state.payment, state.taken_over.is_some(), now);
    let mut extras = CommitExtras::default();
    move_unmatched(store, &mut extras, &mut after, &state.unmatched, now).await?;
    let response = outcome.response(&after);
    extras.response = state.lease.clone().map(|lease| (lease, response.clone()));
    let conflict = match store.commit(&state.payment, &after, &extras, now).await? {
        CommitResult::Done => {
            tracing::info!(payment = %id, status = %after.status, "outcome stored");
            return Ok(Retry::Done(final_response(id, response, state.taken_over)));
        }
        CommitResult::Conflict(conflict) => conflict,
    };
    if conflict.is_deleted {
        return Err(StoreError::Corrupt);
    }
    if !conflict.references_of_others.is_empty() {
        // Never return this id: a buyer who pays under it would pay for the other payment.
        tracing::error!(payment = %id, "the provider gave an id that belongs to another payment");
        if let Some(lease) = &state.lease {
            store.release(lease, lease.attempt.saturating_add(1), now).await?;
        }
        return Ok(Retry::Done(Err(Problem::provider_error(id))));
    }
    if let Some(record) = conflict.record {
        tracing::warn!(payment = %id, "another request took this one over meanwhile");
        state.taken_over = Some(record);
        state.lease = None;
    }
    if let Some(current) = conflict.current {
        state.payment = current;
    }
    state.unmatched = read_unmatched(store, after.provider, state.unmatched, &conflict.unmatched).await?;
    Ok(Retry::Again(state))
}

/// The response of a committed outcome: our own or, after losing the lease, the one of the new holder.
fn final_response(
    payment: PaymentId,
    response: StoredResponse,
    taken_over: Option<RequestRecord>,
) -> Result<Creation, Problem> {
    let (response, replayed) = match taken_over {
        None => (response, false),
        Some(record) => (record.response.ok_or_else(|| in_progress(LEASE))?, true),
    };
    Ok(Creation {
        payment,
        response,
        replayed,
    })
}
