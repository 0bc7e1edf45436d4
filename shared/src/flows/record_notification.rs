//! Delivering a verified webhook to its payment.
//!
//! Guarantees: when [`deliver`] returns without an error the fact is stored durably, with the payment it is about or
//! parked for it; repeating a delivery, in any order with others, ends in the same status.
//!
//! Whose fact it is: the payment that knows one of its ids, whatever the metadata says; else the payment named by our
//! own id in the metadata; else, for a fact that gives neither but an order, the only payment of that order. Never by
//! order where an id is known.

use crate::domain::id::{PaymentId, Reference};
use crate::domain::payment::Payment;
use crate::domain::status::Status;
use crate::domain::time::Timestamp;
use crate::providers::Notification;
use crate::store::{CommitExtras, CommitResult, FastPathResult, KeepResult, OrderPayments, Store, StoreError};

/// How often the unusual way is gone again because something moved meanwhile. Each time, somebody else's write went
/// through.
const ROUNDS: u32 = 32;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordResult {
    /// It is recorded with this payment, whose status is now this one if it changed.
    Recorded(PaymentId, Option<Status>),
    /// It was recorded before.
    Duplicate(PaymentId),
    /// No payment is known for it yet.
    Unmatched,
}

/// Whose fact it is.
enum Route {
    /// A payment's; `owned_by_other` tells that one of the ids is known to be yet another payment's.
    Payment { payment: Payment, owned_by_other: bool },
    /// Nobody's, so far.
    Unknown,
}

/// Stores an event where it belongs.
///
/// # Errors
/// Where the table cannot be read or written: the provider should deliver again.
pub async fn record_notification(
    store: &Store,
    event: &Notification,
    now: Timestamp,
) -> Result<RecordResult, StoreError> {
    for _ in 0..ROUNDS {
        if let Some(delivery) = record_if_matched(store, event, now).await? {
            return Ok(delivery);
        }
        if store.store_unmatched(event, now).await? == KeepResult::Kept {
            return Ok(RecordResult::Unmatched);
        }
    }
    Err(StoreError::Contended)
}

/// Stores an event where it belongs, if a payment is known for it; otherwise nothing is stored.
///
/// # Errors
/// Where the table cannot be read or written.
pub async fn record_if_matched(
    store: &Store,
    event: &Notification,
    now: Timestamp,
) -> Result<Option<RecordResult>, StoreError> {
    let mut known = None;
    if let Some(id) = event.payment_id {
        match store.apply_fast(id, &event.fact, now).await? {
            FastPathResult::Applied => {
                return Ok(Some(RecordResult::Recorded(id, event.fact.outcome.implied_status())));
            }
            FastPathResult::AlreadyRecorded => return Ok(Some(RecordResult::Duplicate(id))),
            FastPathResult::NeedsSlowPath(payment) => known = Some(payment),
            FastPathResult::NoPayment => {}
        }
    }
    // A payment that knows all the ids of the fact is the one it is about; nobody else need be asked.
    let is_settled = |payment: &Payment| {
        payment.provider == event.fact.provider && event.fact.references().all(|id| payment.references.contains(id))
    };
    let mut route = match known.filter(is_settled) {
        Some(payment) => Route::Payment {
            payment,
            owned_by_other: false,
        },
        None => find(store, event).await?,
    };
    for _ in 0..ROUNDS {
        match route {
            Route::Payment {
                payment,
                owned_by_other,
            } => {
                if let Some(delivery) = record_for(store, event, &payment, owned_by_other, now).await? {
                    return Ok(Some(delivery));
                }
            }
            Route::Unknown => return Ok(None),
        }
        route = find(store, event).await?;
    }
    Err(StoreError::Contended)
}

/// Finds whose fact it is.
async fn find(store: &Store, event: &Notification) -> Result<Route, StoreError> {
    let fact = &event.fact;
    let mut owners = Vec::new();
    for reference in fact.references() {
        owners.extend(store.owner(fact.provider, reference).await?);
    }
    let id = match (owners.first(), event.payment_id, &fact.order_id) {
        (Some(owner), _, _) => Some(*owner),
        (None, Some(id), _) => Some(id),
        (None, None, Some(order_id)) if fact.provider.capabilities().webhooks_may_omit_payment_id => {
            match store.payments_of_order(fact.provider, order_id).await? {
                OrderPayments::One(id) => Some(id),
                OrderPayments::None | OrderPayments::Several => None,
            }
        }
        (None, None, _) => None,
    };
    let Some(id) = id else { return Ok(Route::Unknown) };
    let payment = store
        .payment(id)
        .await?
        .filter(|payment| payment.provider == fact.provider);
    let owned_by_other = owners.iter().any(|owner| *owner != id);
    Ok(payment.map_or(Route::Unknown, |payment| Route::Payment {
        payment,
        owned_by_other,
    }))
}

/// Writes the fact into the payment's ledger with what follows from it. `None`: something moved; look again.
///
/// # Errors
/// Where the table cannot be written.
pub async fn record_for(
    store: &Store,
    event: &Notification,
    before: &Payment,
    owned_by_other: bool,
    now: Timestamp,
) -> Result<Option<RecordResult>, StoreError> {
    let mut after = before.apply(&event.fact, owned_by_other, now);
    let mut extras = CommitExtras {
        new_fact: Some(event.fact.clone()),
        ..CommitExtras::default()
    };
    for _ in 0..ROUNDS {
        match store.commit(before, &after, &extras, now).await? {
            CommitResult::Done => {
                let raised = (after.status != before.status).then_some(after.status);
                return Ok(Some(RecordResult::Recorded(after.id, raised)));
            }
            CommitResult::Conflict(conflict) if conflict.already_recorded => {
                return Ok(Some(RecordResult::Duplicate(after.id)));
            }
            CommitResult::Conflict(conflict) if conflict.current.is_none() && conflict.owned_by_other.is_empty() => {
                collect(&mut extras, &mut after, conflict.unmatched, now)?;
            }
            CommitResult::Conflict(_) => return Ok(None),
        }
    }
    Err(StoreError::Contended)
}

/// Takes parked facts into a change that attaches the id they were parked under.
///
/// # Errors
/// Where one cannot be read.
pub fn collect(
    extras: &mut CommitExtras,
    after: &mut Payment,
    parked: Vec<(Reference, Vec<String>)>,
    now: Timestamp,
) -> Result<(), StoreError> {
    for (reference, texts) in parked {
        for fact in Store::read_unmatched(&texts)? {
            *after = after.apply(&fact, false, now);
            if !extras
                .new_fact
                .iter()
                .chain(&extras.other_facts)
                .any(|known| known.digest() == fact.digest())
            {
                extras.other_facts.push(fact);
            }
        }
        extras.collected.retain(|(collected, _)| *collected != reference);
        extras.collected.push((reference, texts));
    }
    Ok(())
}
