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
use crate::providers::Event;
use crate::store::{Also, Commit, OrderPayments, Parked, Store, StoreError, Witnessed};

/// How often the unusual way is gone again because something moved meanwhile. Each time, somebody else's write went
/// through.
const ROUNDS: u32 = 32;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is recorded with this payment, whose status is now this one if it changed.
    Recorded(PaymentId, Option<Status>),
    /// It was recorded before.
    Duplicate(PaymentId),
    /// No payment is known for it yet.
    Parked,
}

/// Whose fact it is.
enum Route {
    /// A payment's; `elsewhere` tells that one of the ids is known to be yet another payment's.
    Payment { payment: Payment, elsewhere: bool },
    /// Nobody's, so far.
    Unknown,
}

/// Stores an event where it belongs.
///
/// # Errors
/// Where the table cannot be read or written: the provider should deliver again.
pub async fn deliver(store: &Store, event: &Event, now: Timestamp) -> Result<Delivery, StoreError> {
    for _ in 0..ROUNDS {
        if let Some(delivery) = deliver_known(store, event, now).await? {
            return Ok(delivery);
        }
        if store.park(event, now).await? == Parked::Kept {
            return Ok(Delivery::Parked);
        }
    }
    Err(StoreError::Contended)
}

/// Stores an event where it belongs, if a payment is known for it; otherwise nothing is stored.
///
/// # Errors
/// Where the table cannot be read or written.
pub async fn deliver_known(store: &Store, event: &Event, now: Timestamp) -> Result<Option<Delivery>, StoreError> {
    let mut known = None;
    if let Some(id) = event.payment_id {
        match store.witness(id, &event.fact, now).await? {
            Witnessed::Raised => return Ok(Some(Delivery::Recorded(id, event.fact.outcome.rung()))),
            Witnessed::Known => return Ok(Some(Delivery::Duplicate(id))),
            Witnessed::Unusual(payment) => known = Some(payment),
            Witnessed::NoPayment => {}
        }
    }
    // A payment that knows all the ids of the fact is the one it is about; nobody else need be asked.
    let is_settled = |payment: &Payment| {
        payment.provider == event.fact.provider && event.fact.references().all(|id| payment.references.contains(id))
    };
    let mut route = match known.filter(is_settled) {
        Some(payment) => Route::Payment {
            payment,
            elsewhere: false,
        },
        None => find(store, event).await?,
    };
    for _ in 0..ROUNDS {
        match route {
            Route::Payment { payment, elsewhere } => {
                if let Some(delivery) = record(store, event, &payment, elsewhere, now).await? {
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
async fn find(store: &Store, event: &Event) -> Result<Route, StoreError> {
    let fact = &event.fact;
    let mut owners = Vec::new();
    for reference in fact.references() {
        owners.extend(store.owner(fact.provider, reference).await?);
    }
    let id = match (owners.first(), event.payment_id, &fact.order_id) {
        (Some(owner), _, _) => Some(*owner),
        (None, Some(id), _) => Some(id),
        (None, None, Some(order_id)) if fact.provider.profile().may_name_only_the_order => {
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
    let elsewhere = owners.iter().any(|owner| *owner != id);
    Ok(payment.map_or(Route::Unknown, |payment| Route::Payment { payment, elsewhere }))
}

/// Writes the fact into the payment's ledger with what follows from it. `None`: something moved; look again.
///
/// # Errors
/// Where the table cannot be written.
pub async fn record(
    store: &Store,
    event: &Event,
    before: &Payment,
    elsewhere: bool,
    now: Timestamp,
) -> Result<Option<Delivery>, StoreError> {
    let mut after = before.witness(&event.fact, elsewhere, now);
    let mut also = Also {
        new: Some(event.fact.clone()),
        ..Also::default()
    };
    for _ in 0..ROUNDS {
        match store.commit(before, &after, &also, now).await? {
            Commit::Done => {
                let raised = (after.status != before.status).then_some(after.status);
                return Ok(Some(Delivery::Recorded(after.id, raised)));
            }
            Commit::Conflict(conflict) if conflict.known => return Ok(Some(Delivery::Duplicate(after.id))),
            Commit::Conflict(conflict) if conflict.moved.is_none() && conflict.taken.is_empty() => {
                collect(&mut also, &mut after, conflict.parked, now)?;
            }
            Commit::Conflict(_) => return Ok(None),
        }
    }
    Err(StoreError::Contended)
}

/// Takes parked facts into a change that attaches the id they were parked under.
///
/// # Errors
/// Where one cannot be read.
pub fn collect(
    also: &mut Also,
    after: &mut Payment,
    parked: Vec<(Reference, Vec<String>)>,
    now: Timestamp,
) -> Result<(), StoreError> {
    for (reference, texts) in parked {
        for fact in Store::read_parked(&texts)? {
            *after = after.witness(&fact, false, now);
            if !also
                .new
                .iter()
                .chain(&also.facts)
                .any(|known| known.digest() == fact.digest())
            {
                also.facts.push(fact);
            }
        }
        also.collected.retain(|(collected, _)| *collected != reference);
        also.collected.push((reference, texts));
    }
    Ok(())
}
