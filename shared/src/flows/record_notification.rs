//! Recording a provider's notification with the payment it belongs to.
//!
//! Guarantees: once [`record_notification`] returns without an error, the fact is stored durably, in its payment's
//! ledger or as unmatched. Repeating a notification, in any order with others, ends in the same status.
//!
//! The first of these rules that applies decides which payment a notification belongs to:
//! 1. If a payment owns one of its provider ids: that payment, whatever the metadata says. An id of a payment that was
//!    deleted is nobody's.
//! 2. If its metadata names a payment: that payment. If it does not exist, the notification is unmatched.
//! 3. If its provider's webhooks may identify the payment only by its order (FinvyPay's): as in
//!    [`order_matching`](crate::domain::order_matching).
//!
//! So the order decides only for a notification with neither our payment id nor a provider id that we know. FinvyPay's
//! general webhook is the usual case: its transaction id is new to us.

use crate::domain::fact::{Fact, Outcome};
use crate::domain::id::{OrderId, PaymentId, Reference};
use crate::domain::order_matching::OrderMatching;
use crate::domain::payment::Payment;
use crate::domain::provider::Provider;
use crate::domain::schedule::UNCONFIRMED_AFTER;
use crate::domain::status::Status;
use crate::domain::time::Timestamp;
use crate::providers::Notification;
use crate::store::{
    CommitExtras, CommitResult, FastPathResult, MAX_MOVED, MAX_ORDER_ENTRIES, OrderEntry, Retry, Store, StoreError,
    StoreUnmatchedResult, UnmatchedGroup, retry_on_conflict,
};

/// Maximum number of payments of one order that a notification may mean. With more of them, none is chosen.
pub const MAX_CANDIDATES: usize = 10;

/// The result of recording a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordResult {
    /// It is recorded with a payment.
    Recorded {
        /// The payment.
        payment: PaymentId,
        /// The payment's new status. `None` if the status did not change.
        new_status: Option<Status>,
    },
    /// It was recorded before.
    Duplicate(PaymentId),
    /// No payment is known for it yet.
    Unmatched,
}

/// The payment a fact belongs to.
struct Match {
    payment: Payment,
    /// One of the fact's ids belongs to another payment, or may belong to one: the order alone does not say.
    owned_by_other: bool,
    basis: Basis,
}

/// Why a fact belongs to its payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basis {
    /// An id, our own or the provider's; or there is none, or the shop vouched for the order.
    Proof,
    /// The order alone, although there are ids. They may belong to another payment, so the notification also stays
    /// unmatched under them.
    Order,
}

/// Records a notification with its payment, or stores it as unmatched if none is known.
///
/// # Errors
/// [`StoreError`] if the table cannot be read or written. The provider should then send the webhook again.
pub async fn record_notification(
    store: &Store,
    notification: &Notification,
    matching: OrderMatching,
    now: Timestamp,
) -> Result<RecordResult, StoreError> {
    retry_on_conflict((), |()| async move {
        let (result, stored) = match find_and_record(store, notification, matching, now).await? {
            Some((result, Basis::Proof)) => return Ok(Retry::Done(result)),
            Some((result, Basis::Order)) => (result, store.keep_under_ids(notification, now).await?),
            None => (RecordResult::Unmatched, store.store_unmatched(notification, now).await?),
        };
        Ok(match stored {
            StoreUnmatchedResult::Stored => Retry::Done(result),
            StoreUnmatchedResult::OwnerKnown(_) => Retry::Again(()),
        })
    })
    .await
}

/// Records a notification with its payment. `None` if no payment is known for it; nothing is stored then.
///
/// # Errors
/// [`StoreError`] if the table cannot be read or written.
pub async fn record_if_matched(
    store: &Store,
    notification: &Notification,
    matching: OrderMatching,
    now: Timestamp,
) -> Result<Option<RecordResult>, StoreError> {
    let recorded = find_and_record(store, notification, matching, now).await?;
    Ok(recorded.map(|(result, _)| result))
}

async fn find_and_record(
    store: &Store,
    notification: &Notification,
    matching: OrderMatching,
    now: Timestamp,
) -> Result<Option<(RecordResult, Basis)>, StoreError> {
    let fact = &notification.fact;
    let mut known = None;
    if let Some(id) = notification.payment_id {
        match store.apply_fast(id, fact, now).await? {
            FastPathResult::Applied => {
                let recorded = RecordResult::Recorded {
                    payment: id,
                    new_status: fact.outcome.implied_status(),
                };
                return Ok(Some((recorded, Basis::Proof)));
            }
            FastPathResult::AlreadyRecorded => return Ok(Some((RecordResult::Duplicate(id), Basis::Proof))),
            FastPathResult::NeedsSlowPath(payment) => known = Some(payment),
            FastPathResult::NoPayment => {}
        }
    }
    // If the payment in the metadata owns all ids of the fact, the first attempt needs no lookup. After a conflict
    // (`Again(None)`), `find_payment` looks the payment up.
    let known = known
        .filter(|payment| payment.provider == fact.provider)
        .filter(|payment| fact.references().all(|id| payment.references.contains(id)))
        .map(|payment| Match {
            payment,
            owned_by_other: false,
            basis: Basis::Proof,
        });
    retry_on_conflict(known, |known| async move {
        let found = match known {
            Some(known) => Some(known),
            None => find_payment(store, notification, matching).await?,
        };
        let Some(found) = found else {
            return Ok(Retry::Done(None));
        };
        let result = record_with_payment(store, notification, &found.payment, found.owned_by_other, now).await?;
        Ok(result.map_or(Retry::Again(None), |result| Retry::Done(Some((result, found.basis)))))
    })
    .await
}

/// Finds the payment that a notification belongs to.
async fn find_payment(
    store: &Store,
    notification: &Notification,
    matching: OrderMatching,
) -> Result<Option<Match>, StoreError> {
    let fact = &notification.fact;
    let owners = owners_of(store, fact).await?;
    let (mut owned_by_other, mut basis) = (owners.len() > 1, Basis::Proof);
    let payment = match (owners.into_iter().next(), notification.payment_id, &fact.order_id) {
        (Some(owner), _, _) => Some(owner),
        (None, Some(id), _) => store.payment(id).await?,
        (None, None, Some(order_id)) if fact.provider.capabilities().webhooks_may_omit_payment_id => {
            let payments = payments_of_order(store, matching, fact, order_id).await?;
            matching.choose(fact, &payments.unwrap_or_default()).map(|chosen| {
                owned_by_other = !chosen.attaches_ids;
                if owned_by_other && fact.references().next().is_some() {
                    basis = Basis::Order;
                }
                chosen.payment.clone()
            })
        }
        (None, None, _) => None,
    };
    let payment = payment.filter(|payment| payment.provider == fact.provider);
    let is_completion = fact.outcome == Outcome::Completed;
    Ok(payment.map(|payment| Match {
        owned_by_other: owned_by_other
            || matching.only_own_money_attaches_ids && is_completion && fact.money() != Some(payment.money),
        payment,
        basis,
    }))
}

/// The order's payments that a fact may mean: of the stack's environment, and with the fact's money if there is any with
/// it. Money that went back may be of any amount. `None` if there are more than [`MAX_CANDIDATES`].
///
/// # Errors
/// [`StoreError`] if the table cannot be read.
pub async fn payments_of_order(
    store: &Store,
    matching: OrderMatching,
    fact: &Fact,
    order_id: &OrderId,
) -> Result<Option<Vec<Payment>>, StoreError> {
    let mut entries = store.order_entries(fact.provider, order_id).await?;
    let is_complete = entries.len() < usize::from(MAX_ORDER_ENTRIES);
    entries.retain(|entry| entry.environment == matching.environment);
    let has_money = |entry: &OrderEntry| fact.money() == Some(entry.money);
    if fact.outcome != Outcome::Reversed && entries.iter().any(has_money) {
        entries.retain(has_money);
    }
    if !is_complete || entries.len() > MAX_CANDIDATES {
        return Ok(None);
    }
    store.payments_of(fact.provider, order_id, &entries).await.map(Some)
}

/// The payments that the provider ids of a fact belong to, each once. Frees the ids of deleted payments.
async fn owners_of(store: &Store, fact: &Fact) -> Result<Vec<Payment>, StoreError> {
    let mut owners: Vec<Payment> = Vec::new();
    for reference in fact.references() {
        let owner = store.owner(fact.provider, reference).await?;
        let Some(id) = owner.filter(|id| owners.iter().all(|known| known.id != *id)) else {
            continue;
        };
        match store.payment(id).await? {
            Some(payment) => owners.push(payment),
            None => store.detach_reference(fact.provider, reference, id).await?,
        }
    }
    Ok(owners)
}

/// Records a notification with the payment `before`: its fact in the ledger, and the changes that follow from it. If the
/// fact is in the ledger already, only attaches its ids. `owned_by_other`: one of the fact's ids belongs to another
/// payment, or may belong to one.
///
/// `None` if nothing was written, because the payment was changed or deleted meanwhile, or an id that it would get
/// belongs to another payment. The caller must then read the payment and the owners of the ids again.
///
/// # Errors
/// [`StoreError`] if the table cannot be written.
pub async fn record_with_payment(
    store: &Store,
    notification: &Notification,
    before: &Payment,
    owned_by_other: bool,
    now: Timestamp,
) -> Result<Option<RecordResult>, StoreError> {
    let fact = &notification.fact;
    let has_new_ids = !owned_by_other && !fact.references().all(|id| before.references.contains(id));
    retry_on_conflict((Vec::new(), false), |(groups, is_recorded)| async move {
        let mut extras = CommitExtras::default();
        let mut after = if is_recorded {
            before.add_references(fact.references().cloned(), now)
        } else {
            extras.new_fact = Some(fact.clone());
            before.apply(fact, owned_by_other, now)
        };
        move_unmatched(store, &mut extras, &mut after, &groups, now).await?;
        let conflict = match store.commit(before, &after, &extras, now).await? {
            CommitResult::Done if is_recorded && after.status == before.status => {
                return Ok(Retry::Done(Some(RecordResult::Duplicate(after.id))));
            }
            CommitResult::Done => {
                return Ok(Retry::Done(Some(RecordResult::Recorded {
                    payment: after.id,
                    new_status: (after.status != before.status).then_some(after.status),
                })));
            }
            CommitResult::Conflict(conflict) => conflict,
        };
        // The payment was changed or deleted, or one of the ids was given to another payment.
        let is_outdated = conflict.current.is_some() || conflict.is_deleted;
        if conflict.already_recorded && (is_outdated || !has_new_ids) {
            return Ok(Retry::Done((!has_new_ids).then_some(RecordResult::Duplicate(after.id))));
        }
        if is_outdated || !conflict.references_of_others.is_empty() {
            return Ok(Retry::Done(None));
        }
        let groups = read_unmatched(store, after.provider, groups, &conflict.unmatched).await?;
        Ok(Retry::Again((groups, is_recorded || conflict.already_recorded)))
    })
    .await
}

/// Moves unmatched notifications to a payment that gets the ids they are stored under. Applies their facts to `after`,
/// and adds them to `extras`, which is written with it. Moves whole groups only, and at most [`MAX_MOVED`]
/// notifications of all groups together. The other groups are left to the reconciler, and so are those with a claim for
/// which other payments of its order may have `unconfirmed_match`.
pub(super) async fn move_unmatched(
    store: &Store,
    extras: &mut CommitExtras,
    after: &mut Payment,
    groups: &[UnmatchedGroup],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut room = usize::from(MAX_MOVED);
    let is_old_claim = |it: &Notification| it.is_claim() && now.since(it.fact.received_at) >= UNCONFIRMED_AFTER;
    (extras.moved_groups, extras.remaining_groups) = groups.iter().cloned().partition(|group| {
        let fits = group.is_complete && group.notifications.len() <= room;
        let is_moved = fits && !group.notifications.iter().any(is_old_claim);
        if is_moved {
            room = room.saturating_sub(group.notifications.len());
        }
        is_moved
    });
    // No payment owned any of their ids when they were stored. If another one does now, the commit's condition on that
    // id's reference fails.
    let owned_by_other = false;
    let notifications = extras.moved_groups.iter().flat_map(|group| &group.notifications);
    for notification in notifications {
        let fact = &notification.fact;
        // A notification with two ids is in two groups.
        let is_included = extras
            .new_fact
            .iter()
            .chain(&extras.other_facts)
            .any(|included| included.digest() == fact.digest());
        // One that names only an order may be recorded with the payment, although its ids were nobody's.
        let is_known = is_included || notification.names_only_an_order() && store.has_fact(after.id, fact).await?;
        if !is_known {
            *after = after.apply(fact, owned_by_other, now);
            // Not `new_fact`: this one may already be in the ledger.
            extras.other_facts.push(fact.clone());
        }
    }
    Ok(())
}

/// Reads the groups under the provider ids `changed` again. Returns all `groups`, with these replaced.
///
/// # Errors
/// [`StoreError`] if the table cannot be read.
pub(super) async fn read_unmatched(
    store: &Store,
    provider: Provider,
    mut groups: Vec<UnmatchedGroup>,
    changed: &[Reference],
) -> Result<Vec<UnmatchedGroup>, StoreError> {
    for reference in changed {
        groups.retain(|group| !group.is_under(reference));
        groups.extend(store.unmatched(provider, reference.as_str(), MAX_MOVED).await?);
    }
    Ok(groups)
}
