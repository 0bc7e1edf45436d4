//! Notices from the table's stream that an order was paid twice.
//!
//! Guarantees: once two payments of an order are completed in one environment, at either provider, and neither was
//! refunded in whole, both have the reason [`AttentionReason::OrderPaidTwice`]; and so has each further one. Each is
//! marked under its order before the marks are read. So of simultaneous checks the one that marks last sees all of them.
//! A record is done once its check is, or once no retry can help. Repeating a check changes nothing.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use payment_functions::domain::attention::AttentionReason;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::store::stream::{Change, change_of};
use payment_functions::store::{CommitExtras, CommitResult, OrderEntry, Retry, Store, StoreError, retry_on_conflict};
use serde_json::Value;

use crate::retry_policy::RETRY_WINDOW;
use crate::stream::Position;

/// How many orders are checked at a time.
const AT_A_TIME: usize = 10;

/// How many other paid payments of an order are read at most. If there are more, those have the reason already.
const MAX_OTHERS: usize = 100;

/// Checks the orders of the payments that these records completed, some at a time, and starts with no further ones after
/// `time_limit`. Returns the sequence number of the first record that is not done.
pub async fn check<'a>(
    store: &Store,
    records: impl Iterator<Item = &'a (Position, Value)>,
    now: Timestamp,
    time_limit: Duration,
) -> Option<&'a str> {
    let started = Instant::now();
    // A record that cannot be read is in the dead-letter queue.
    let completed = |(position, record): &'a (Position, Value)| {
        let change = change_of(record).ok().flatten()?;
        Some((position, newly_paid(change)?))
    };
    let completed: Vec<_> = records.filter_map(completed).collect();
    for chunk in completed.chunks(AT_A_TIME) {
        if started.elapsed() > time_limit {
            tracing::warn!("out of time for the orders; Lambda will retry the rest of the batch");
            return chunk.first().map(|(position, _)| position.sequence_number.as_str());
        }
        let results = join_all(chunk.iter().map(|(_, payment)| check_order(store, payment, now))).await;
        for ((position, payment), result) in chunk.iter().zip(results) {
            match result {
                Ok(()) => {}
                Err(error) if error.is_transient() && position.age(now) <= RETRY_WINDOW => {
                    tracing::warn!(payment = %payment.id, %error, "order not checked; Lambda will retry");
                    return Some(&position.sequence_number);
                }
                Err(error) => tracing::error!(
                    payment = %payment.id, %error, "given up: not checked whether the payment's order was paid twice"
                ),
            }
        }
    }
    None
}

/// The payment, if this change made it paid: it was completed, or a whole refund was undone.
fn newly_paid(change: Change) -> Option<Payment> {
    let was_paid = change.before.as_ref().is_some_and(is_paid);
    Some(change.after).filter(|after| is_paid(after) && !was_paid)
}

/// Whether the shop has the money.
fn is_paid(payment: &Payment) -> bool {
    payment.status == Status::Completed && !payment.is_fully_refunded()
}

/// Marks a paid payment under its order, and flags all paid payments of the order if it is not the only one. Does
/// nothing for a payment without an order.
///
/// # Errors
/// [`StoreError`] if the table cannot be read or written. The check can be repeated.
pub async fn check_order(store: &Store, payment: &Payment, now: Timestamp) -> Result<(), StoreError> {
    let Some(order_id) = &payment.order_id else {
        return Ok(());
    };
    store.mark_paid(payment).await?;
    let is_other = |entry: &OrderEntry| {
        entry.is_paid && entry.environment == payment.environment && entry.payment_id != payment.id
    };
    let mut others = Vec::new();
    for provider in Provider::ALL {
        others.extend(
            store
                .order_entries(provider, order_id)
                .await?
                .into_iter()
                .filter(is_other),
        );
    }
    if others.is_empty() {
        return Ok(());
    }
    let others = others.iter().take(MAX_OTHERS).map(|entry| entry.payment_id);
    let mut payments = Vec::new();
    for id in others.chain([payment.id]) {
        payments.extend(store.payment(id).await?);
    }
    for payment in paid_twice(payments) {
        flag(store, payment, now).await?;
    }
    Ok(())
}

/// Of these payments of one order in one environment, those that are paid, if there are at least two.
fn paid_twice(mut payments: Vec<Payment>) -> Vec<Payment> {
    payments.retain(is_paid);
    if payments.len() < 2 {
        payments.clear();
    }
    payments
}

/// Raises the reason, unless it was raised before.
async fn flag(store: &Store, payment: Payment, now: Timestamp) -> Result<(), StoreError> {
    retry_on_conflict(payment, async |payment: Payment| {
        let after = payment.update_attention(&[AttentionReason::OrderPaidTwice], &[], now);
        let committed = store.commit(&payment, &after, &CommitExtras::default(), now).await?;
        Ok(match committed {
            CommitResult::Done => Retry::Done(()),
            CommitResult::Conflict(conflict) => conflict.current.map_or(Retry::Done(()), Retry::Again),
        })
    })
    .await
}

#[cfg(test)]
mod tests;
