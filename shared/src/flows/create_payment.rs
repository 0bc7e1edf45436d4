//! Creating a payment: the intent first, then the provider, then what came of it.
//!
//! Guarantees: the intent is durable before the provider hears of it; at most one call to the provider is in flight for
//! a key; a crash at any point leaves a payment that the same key, a webhook or the reconciler carries on; every id
//! that a provider gave is attached to the payment before it is handed out; an answer that has been given is the one
//! that is given again, extras by a holder of the key that comes too late with its own; rotating the key to the provider
//! costs no request its answer. Where quotes are asked for, no payment begins without one that is good for just this
//! payment.

use std::sync::Arc;
use std::time::Duration;

use lambda_http::{Body, Response};
use tokio::time::{Instant, timeout, timeout_at};

use crate::api::problem::Problem;
use crate::api::{payment_view, response};
use crate::domain::id::{PaymentId, Reference};
use crate::domain::idempotency::{Fingerprint, IdempotencyKey, KeyRecord, LEASE, Lease, NextAction, StoredResponse};
use crate::domain::payment::Payment;
use crate::domain::status::Status;
use crate::domain::time::Timestamp;
use crate::flows::quote::{QuoteError, QuoteValidity, Quotes, Token};
use crate::flows::record_notification::collect;
use crate::platform::aws::timeout_scale;
use crate::platform::clock;
use crate::platform::config::ENVIRONMENT;
use crate::platform::failpoint::{ExternalCall, wrap};
use crate::platform::metrics::{self, Operation};
use crate::platform::secrets::{ApiKey, SecretCache, SecretSource};
use crate::providers::gateway::{Accepted, CallError, Gateway, TIME_LIMIT, measured};
use crate::store::{CommitExtras, CommitResult, InsertResult, Store, StoreError};

/// How long storing the intent may take, and how long storing the outcome. With the provider's 15 s and the secrets'
/// time, every request is answered within 20 s.
const STORE_LIMIT: Duration = Duration::from_millis(1600);

/// How long having the secrets may take: the key to the provider and, at the same time, the quotes'.
const SECRETS_LIMIT: Duration = Duration::from_millis(1600);

/// How often the outcome is decided anew because the payment moved meanwhile.
const ROUNDS: u32 = 32;

/// A request's idempotency key with the fingerprint of its meaning.
#[derive(Clone, Debug)]
pub struct IdempotentRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// The meaning.
    pub fingerprint: Fingerprint,
}

/// A request's quote, where quotes are asked for.
#[derive(Clone, Copy, Debug)]
pub struct QuoteCheck<'a> {
    /// The shop's quotes.
    pub quotes: &'a Quotes,
    /// The one that came, if any.
    pub token: Option<&'a Token>,
}

/// What a request for a payment gets.
#[derive(Clone, Debug)]
pub struct Creation {
    /// The payment that was created, now or by an earlier request.
    pub payment: PaymentId,
    /// What to answer.
    pub answer: StoredResponse,
    /// Whether this is an earlier request's answer, given again.
    pub replayed: bool,
}

impl Creation {
    /// The HTTP response.
    pub fn to_response(&self) -> Response<Body> {
        response::stored_response(&self.answer, self.payment, self.replayed)
    }
}

/// What to do once the key is ours.
enum Begun {
    /// ExternalCall the provider for this payment.
    ExternalCall(Payment, Option<Lease>),
    /// There is nothing to call for: the payment has moved on, or the buyer can already go on.
    Settled(Payment, Lease),
    /// The first answer, given again.
    Replay(Creation),
}

/// Opens the connections and fetches the secrets that [`create`] needs.
pub async fn warm_up<S: SecretSource>(
    store: &Store,
    keys: &SecretCache<ApiKey, S>,
    quotes: Option<&Quotes>,
    provider: impl Future<Output = ()>,
) {
    let now = clock::now();
    let quotes = async {
        if let Some(quotes) = quotes {
            quotes.warm_up(now).await;
        }
    };
    tokio::join!(store.connect(), keys.warm_up(now), quotes, provider);
}

/// Creates the payment `intent` through `gateway`, or goes on with the one that its key leads to.
///
/// The gateway is made for the payment that is really created: on a take-over that is the key's payment, not `intent`.
/// The key to the provider is had first, since without it nothing should begin; and where quotes are asked for, nothing
/// is done without one for just this payment. An expired one begins no payment, but goes on with the one that its key
/// has begun: whether there is one is looked up then, which costs a round trip that a good quote does not. A request
/// with the same key that stores its intent after that look counts as one that came later: this one is refused without
/// a trace, and repeated it gets the other's answer.
///
/// # Errors
/// The [`Problem`] to answer with. From the moment the intent is stored it carries the payment's id.
pub async fn create<G: Gateway, S: SecretSource>(
    store: &Store,
    keys: &SecretCache<ApiKey, S>,
    intent: Payment,
    idempotency: Option<&IdempotentRequest>,
    quoted: Option<QuoteCheck<'_>>,
    gateway: impl Fn(PaymentId, ApiKey) -> G,
) -> Result<Creation, Problem> {
    // On the heap: nested any deeper, the compiler gives up on the future's layout.
    let (key, validity) = Box::pin(admit(keys, quoted, &intent)).await?;
    let begun = begin(store, intent, idempotency, validity).await?;
    let (payment, lease, called) = match begun {
        Begun::Replay(creation) => return Ok(creation),
        Begun::Settled(payment, lease) => (payment, Some(lease), None),
        Begun::ExternalCall(payment, lease) => {
            let attempt = lease.as_ref().map_or(1, |lease| lease.attempt);
            let called = call(keys, &key, gateway, &payment, attempt).await;
            (payment, lease, Some(called))
        }
    };
    let id = payment.id;
    let finished = timeout(
        STORE_LIMIT * timeout_scale(&ENVIRONMENT),
        finish(store, payment, lease, called.as_ref()),
    )
    .await;
    finished.unwrap_or_else(|_| Err(unavailable(Some(id), &StoreError::TimedOut)))
}

/// Calls the provider. Where it refuses our key and there is a newer one, calls again with that.
///
/// Both calls are one attempt: nothing was made of the request that came with the refused key, and it is the same request
/// that is sent again. They have [`TIME_LIMIT`] together, and what is looked up between them.
async fn call<G: Gateway, S: SecretSource>(
    keys: &SecretCache<ApiKey, S>,
    key: &ApiKey,
    gateway: impl Fn(PaymentId, ApiKey) -> G,
    payment: &Payment,
    attempt: u32,
) -> Result<Accepted, CallError> {
    let deadline = Instant::now() + TIME_LIMIT;
    let call_with = |key: &ApiKey| {
        let gateway = gateway(payment.id, key.clone());
        measured(payment.provider, Operation::Create, async move {
            let call = wrap(ExternalCall::CreateAtProvider, gateway.create(payment, attempt));
            timeout_at(deadline, call).await.unwrap_or(Err(CallError::TimedOut))
        })
    };
    let called = call_with(key).await;
    if !matches!(called, Err(CallError::KeyRefused)) {
        return called;
    }
    let refreshed = timeout_at(deadline, keys.refresh(clock::now())).await;
    let newer = refreshed
        .ok()
        .and_then(|refreshed| refreshed.ok().flatten())
        .filter(|fresh| **fresh != *key);
    tracing::warn!(payment = %payment.id, rotated = newer.is_some(), "the provider refused our key");
    match newer {
        Some(newer) => call_with(&newer).await,
        None => called,
    }
}

/// Has the key to the provider and, at the same time, finds out what the quote is good for.
async fn admit<S: SecretSource>(
    keys: &SecretCache<ApiKey, S>,
    quoted: Option<QuoteCheck<'_>>,
    intent: &Payment,
) -> Result<(Arc<ApiKey>, QuoteValidity), Problem> {
    let validity = async {
        match quoted {
            Some(QuoteCheck { quotes, token }) => quotes.check(token, intent).await,
            None => Ok(QuoteValidity::Valid),
        }
    };
    let both = async { tokio::join!(keys.get(intent.created_at), validity) };
    let Ok((key, validity)) = timeout(SECRETS_LIMIT * timeout_scale(&ENVIRONMENT), both).await else {
        tracing::error!("secrets not had in time");
        metrics::secret_unreadable();
        return Err(Problem::unavailable(None, None));
    };
    // What is wrong with the request comes first.
    let validity = validity?;
    Ok((key.map_err(|_| Problem::unavailable(None, None))?, validity))
}

/// Stores the intent, or finds out what its key leads to.
async fn begin(
    store: &Store,
    intent: Payment,
    idempotency: Option<&IdempotentRequest>,
    validity: QuoteValidity,
) -> Result<Begun, Problem> {
    let now = clock::now();
    let deadline = Instant::now() + STORE_LIMIT * timeout_scale(&ENVIRONMENT);
    let (idempotency, record) = match validity {
        QuoteValidity::Valid => {
            let open = store.insert_payment(
                &intent,
                idempotency.map(|idempotency| (&idempotency.key, &idempotency.fingerprint)),
                now,
            );
            // Where this fails, whether the intent is stored is not known, and its id would promise too much.
            let opened = in_time(deadline, open)
                .await
                .map_err(|error| unavailable(None, &error))?;
            let InsertResult::KeyInUse(record) = opened else {
                tracing::info!(payment = %intent.id, provider = %intent.provider, "intent stored");
                let lease = idempotency.map(|idempotency| Lease {
                    key: idempotency.key.clone(),
                    fence: 1,
                    attempt: 1,
                });
                return Ok(Begun::ExternalCall(intent, lease));
            };
            (
                idempotency.ok_or_else(|| unavailable(None, &StoreError::Corrupt))?,
                record,
            )
        }
        QuoteValidity::Expired => {
            let expired = || {
                tracing::warn!("quote refused: it has expired, and its key has begun nothing");
                Problem::quote_invalid(&QuoteError::Expired)
            };
            let idempotency = idempotency.ok_or_else(expired)?;
            let record = in_time(deadline, store.key(&idempotency.key, now))
                .await
                .map_err(|error| unavailable(None, &error))?;
            (idempotency, record.ok_or_else(expired)?)
        }
    };
    let id = record.payment_id;
    let resumed = in_time(deadline, resume(store, idempotency, record, now)).await;
    resumed.unwrap_or_else(|error| Err(unavailable(Some(id), &error)))
}

/// Decides what a request with a known key gets, taking the key over where its holder is gone.
async fn resume(
    store: &Store,
    IdempotentRequest { key, fingerprint }: &IdempotentRequest,
    mut record: KeyRecord,
    now: Timestamp,
) -> Result<Result<Begun, Problem>, StoreError> {
    let id = record.payment_id;
    loop {
        match record.next_action(fingerprint, now) {
            NextAction::Replay(answer) => {
                return Ok(Ok(Begun::Replay(Creation {
                    payment: id,
                    answer,
                    replayed: true,
                })));
            }
            NextAction::RefuseReuse => return Ok(Err(Problem::idempotency_key_reused())),
            NextAction::Wait(left) => return Ok(Err(in_progress(left))),
            NextAction::TakeOver => match store.take_over(key, &record, now).await? {
                Ok(lease) => {
                    let payment = store.payment(id).await?.ok_or(StoreError::Corrupt)?;
                    tracing::info!(payment = %id, fence = lease.fence, attempt = lease.attempt, "key taken over");
                    let needs_call = payment.status.is_payable() && payment.checkout_session.is_none();
                    let begun = if needs_call {
                        Begun::ExternalCall(payment, Some(lease))
                    } else {
                        Begun::Settled(payment, lease)
                    };
                    return Ok(Ok(begun));
                }
                // Another request took it over just now: its lease runs, or it has its answer.
                Err(current) => record = current,
            },
        }
    }
}

async fn in_time<T>(deadline: Instant, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout_at(deadline, work).await.unwrap_or(Err(StoreError::TimedOut))
}

/// Stores what came of the call, if there was one, and answers.
async fn finish(
    store: &Store,
    payment: Payment,
    lease: Option<Lease>,
    called: Option<&Result<Accepted, CallError>>,
) -> Result<Creation, Problem> {
    let now = clock::now();
    let id = payment.id;
    let error = match called {
        None => return settle(store, payment, lease, Verdict::Nothing, now).await,
        Some(Ok(accepted)) => return settle(store, payment, lease, Verdict::Accepted(accepted), now).await,
        Some(Err(error)) => error,
    };
    tracing::warn!(payment = %id, provider = %payment.provider, error = %error, "provider call failed");
    if let CallError::Rejected { code, references } = error {
        let verdict = Verdict::Refused {
            code: code.as_deref(),
            references,
        };
        return settle(store, payment, lease, verdict, now).await;
    }
    if let CallError::Unusable { references, .. } = error
        && !references.is_empty()
        && settle(store, payment, None, Verdict::Useless { references }, now)
            .await
            .is_err()
    {
        // Our own id in the metadata leads a webhook to the payment too, so nothing is lost.
        tracing::warn!(payment = %id, "ids of a useless answer not attached");
    }
    if let Some(lease) = &lease {
        let attempt = if error.is_definite() {
            lease.attempt.saturating_add(1)
        } else {
            lease.attempt
        };
        match store.release(lease, attempt, now).await {
            Ok(None) => {}
            Ok(Some(taken_over)) => {
                tracing::warn!(payment = %id, "the key was taken over meanwhile");
                if let Some(answer) = taken_over.response {
                    return Ok(Creation {
                        payment: id,
                        answer,
                        replayed: true,
                    });
                }
            }
            Err(error) => tracing::warn!(payment = %id, error = %error, "lease not released; it runs out by itself"),
        }
    }
    Err(match error {
        CallError::Throttled { retry_after } => Problem::unavailable(Some(id), *retry_after),
        CallError::TimedOut => Problem::provider_timeout(id),
        CallError::KeyRefused | CallError::NoAnswer | CallError::Unusable { .. } | CallError::Rejected { .. } => {
            Problem::provider_error(id)
        }
    })
}

/// What the provider's answer means for the payment.
#[derive(Clone, Copy)]
enum Verdict<'a> {
    /// Nothing: it was not asked.
    Nothing,
    /// The buyer can go on.
    Accepted(&'a Accepted),
    /// It is refused for good.
    Refused {
        code: Option<&'a str>,
        references: &'a [Reference],
    },
    /// The answer is of no use but for its ids.
    Useless { references: &'a [Reference] },
}

impl Verdict<'_> {
    fn references(&self) -> Vec<Reference> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Accepted(accepted) => [
                std::slice::from_ref(&accepted.checkout_session.reference),
                &accepted.references,
            ]
            .concat(),
            Self::Refused { references, .. } | Self::Useless { references } => references.to_vec(),
        }
    }

    /// The payment after it. Who has lost the key changes nothing but what is a fact whoever has it: the ids.
    fn apply(&self, payment: &Payment, has_lost_key: bool, now: Timestamp) -> Payment {
        match self {
            Self::Accepted(accepted) if !has_lost_key => payment.accept(
                accepted.checkout_session.clone(),
                accepted.references.iter().cloned(),
                now,
            ),
            Self::Refused { references, .. } if !has_lost_key => payment.refuse(references.iter().cloned(), now),
            Self::Nothing | Self::Accepted(_) | Self::Refused { .. } | Self::Useless { .. } => {
                payment.add_references(self.references(), now)
            }
        }
    }

    fn answer(&self, payment: &Payment) -> StoredResponse {
        match self {
            // Money that came in all the same, through an earlier attempt, is not talked away.
            Self::Refused { code, .. } if payment.status <= Status::Failed => {
                Problem::provider_rejected(code.map(str::to_owned)).to_answer()
            }
            Self::Nothing | Self::Accepted(_) | Self::Refused { .. } | Self::Useless { .. } => {
                payment_view::created(payment)
            }
        }
    }
}

/// Writes what the verdict changes and the key's answer, together with whatever was parked under the ids that it
/// attaches.
async fn settle(
    store: &Store,
    mut before: Payment,
    mut lease: Option<Lease>,
    verdict: Verdict<'_>,
    now: Timestamp,
) -> Result<Creation, Problem> {
    let id = before.id;
    let failed = |error: StoreError| unavailable(Some(id), &error);
    let mut parked = Vec::new();
    let mut lost_to: Option<KeyRecord> = None;
    for _ in 0..ROUNDS {
        let mut after = verdict.apply(&before, lost_to.is_some(), now);
        let mut extras = CommitExtras::default();
        collect(&mut extras, &mut after, parked.clone(), now).map_err(failed)?;
        let answer = verdict.answer(&after);
        extras.response = lease.clone().map(|lease| (lease, answer.clone()));
        let conflict = match store.commit(&before, &after, &extras, now).await.map_err(failed)? {
            CommitResult::Done => {
                tracing::info!(payment = %id, status = %after.status, "outcome stored");
                let first = lost_to
                    .map(|record| record.response.ok_or_else(|| in_progress(LEASE)))
                    .transpose()?;
                let replayed = first.is_some();
                return Ok(Creation {
                    payment: id,
                    answer: first.unwrap_or(answer),
                    replayed,
                });
            }
            CommitResult::Conflict(conflict) => conflict,
        };
        if !conflict.owned_by_other.is_empty() {
            // The provider gave an id that is another payment's: whoever paid under it would pay for that one.
            tracing::error!(payment = %id, "the provider gave another payment's id");
            if let Some(lease) = &lease {
                store
                    .release(lease, lease.attempt.saturating_add(1), now)
                    .await
                    .map_err(failed)?;
            }
            return Err(Problem::provider_error(id));
        }
        if let Some(record) = conflict.key {
            tracing::warn!(payment = %id, "the key was taken over meanwhile");
            lost_to = Some(record);
            lease = None;
        }
        if let Some(moved) = conflict.current {
            before = moved;
        }
        for (reference, texts) in conflict.unmatched {
            parked.retain(|(known, _)| *known != reference);
            parked.push((reference, texts));
        }
    }
    Err(failed(StoreError::Contended))
}

fn in_progress(left: Duration) -> Problem {
    Problem::idempotency_in_progress(left.as_secs().clamp(1, 5))
}

fn unavailable(payment: Option<PaymentId>, error: &StoreError) -> Problem {
    tracing::error!(payment = payment.map(tracing::field::display), error = %error, "store out of reach");
    Problem::store_unavailable(payment)
}
