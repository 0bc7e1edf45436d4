//! The items of an order: one for each of its payments.
//!
//! Guarantees: the item is written with the payment, before the provider is called, and deleted with it. What it says of
//! the payment never changes, but [`OrderEntry::is_paid`].

use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::schema::{self, Item};
use super::table::Store;
use crate::domain::id::{OrderId, PaymentId};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::Payment;
use crate::domain::provider::{Environment, Provider};
use crate::domain::status::Status;
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;

/// How many payments of an order [`Store::order_entries`] returns at most. An item has less than 800 bytes, so one
/// response, of a megabyte at most, has room for all.
pub const MAX_ORDER_ENTRIES: u16 = 1_000;

/// What the item of an order says of one of its payments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderEntry {
    /// The payment.
    pub payment_id: PaymentId,
    /// The amount to be paid, and its currency.
    pub money: Money,
    /// When the intent was stored.
    pub created_at: Timestamp,
    /// The provider's system that the payment was made in.
    pub environment: Environment,
    /// Whether it was made with a quote.
    pub is_quoted: bool,
    /// Whether it was marked as paid ([`Store::mark_paid`]), which happens shortly after its completion.
    pub is_paid: bool,
}

/// An order's item as stored. The amount is in minor units, times are in milliseconds since 1970, except `ttl`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OrderItem {
    payment_id: PaymentId,
    amount: u64,
    currency: Currency,
    created_at: Timestamp,
    environment: Environment,
    quoted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    paid_at: Option<Timestamp>,
    /// When it is deleted, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
}

impl OrderItem {
    fn of(payment: &Payment, paid_at: Option<Timestamp>) -> Self {
        Self {
            payment_id: payment.id,
            amount: payment.money.minor(),
            currency: payment.money.currency(),
            created_at: payment.created_at,
            environment: payment.environment,
            quoted: payment.quote_kept_until.is_some(),
            paid_at,
            ttl: payment.delete_at.map(Timestamp::as_seconds),
        }
    }
}

impl From<OrderItem> for OrderEntry {
    fn from(item: OrderItem) -> Self {
        Self {
            payment_id: item.payment_id,
            money: Money::from_minor(item.amount, item.currency),
            created_at: item.created_at,
            environment: item.environment,
            is_quoted: item.quoted,
            is_paid: item.paid_at.is_some(),
        }
    }
}

/// Whether an earlier version of this program wrote the item: then it only names its payment.
fn only_names_payment(item: &Item) -> bool {
    !item.contains_key("amount")
}

impl Store {
    /// The entries of an order at a provider, at most [`MAX_ORDER_ENTRIES`] (strongly consistent read). The payment of an
    /// entry may have been deleted.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn order_entries(&self, provider: Provider, order_id: &OrderId) -> Result<Vec<OrderEntry>, StoreError> {
        let pk = schema::order_pk(provider, order_id);
        let output = self.query(ExternalCall::ReadOrder, pk, MAX_ORDER_ENTRIES, None).await?;
        let mut entries = Vec::new();
        for item in output.items() {
            if !only_names_payment(item) {
                entries.push(schema::from_item::<OrderItem>(item.clone())?.into());
            } else if let Some(payment) = self.payment(schema::owner_of(item)?).await? {
                let paid_at = (payment.status == Status::Completed).then_some(payment.updated_at);
                entries.push(OrderItem::of(&payment, paid_at).into());
            }
        }
        Ok(entries)
    }

    /// The payments of entries of an order (strongly consistent reads). Those that were deleted do not count; their
    /// items are deleted.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read or written.
    pub async fn payments_of(
        &self,
        provider: Provider,
        order_id: &OrderId,
        entries: &[OrderEntry],
    ) -> Result<Vec<Payment>, StoreError> {
        let mut payments = Vec::new();
        for OrderEntry { payment_id: id, .. } in entries {
            match self.payment(*id).await? {
                Some(payment) => payments.push(payment),
                None => {
                    let key = schema::order_key(provider, order_id, *id);
                    self.delete_dangling(key, *id).await?;
                }
            }
        }
        Ok(payments)
    }

    /// Marks a completed payment as paid in its order's item, which need not exist. Does nothing for a payment without
    /// an order. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn mark_paid(&self, payment: &Payment) -> Result<(), StoreError> {
        match self.put_order(payment, Some(payment.updated_at))? {
            Some(put) => self.write_alone(ExternalCall::MarkPaid, put).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Puts the item of the payment's order, if it has one, without the mark of a paid payment. That comes later than any
    /// change of the payment's deletion.
    pub(super) fn attach_order(&self, payment: &Payment) -> Result<Option<TransactWriteItem>, StoreError> {
        self.put_order(payment, None)
    }

    fn put_order(
        &self,
        payment: &Payment,
        paid_at: Option<Timestamp>,
    ) -> Result<Option<TransactWriteItem>, StoreError> {
        let Some(order_id) = &payment.order_id else {
            return Ok(None);
        };
        let mut item = schema::to_item(OrderItem::of(payment, paid_at))?;
        item.extend(schema::order_key(payment.provider, order_id, payment.id));
        let put = Put::builder().table_name(&self.table).set_item(Some(item));
        Ok(Some(TransactWriteItem::builder().put(put.build()?).build()))
    }
}
