//! The payments table: every payment, every fact about one, and what leads to it.
//!
//! Guarantees:
//! - A payment and the ledger of its facts never disagree: both are written in one transaction.
//! - A provider's id belongs to one payment at most. Attaching it and parking a fact about it are one transaction each,
//!   and each checks the other's item, so that in every interleaving one of the two sees the other.
//! - A write is conditional on what it was decided on; what has moved in between comes back with the refusal, and
//!   nothing is overwritten.
//! - Contention is tried again; a failed condition never is.
//!
//! Layout (`pk` / `sk`):
//!
//! | item | what |
//! |---|---|
//! | `PAYMENT#id` / `STATE` | the payment |
//! | `PAYMENT#id` / `FACT#digest` | a distinct fact about it |
//! | `REF#provider#reference` / `REF` | the payment that a provider's id belongs to |
//! | `ORDER#provider#order` / `PAYMENT#id` | a payment of an order, at a provider whose webhooks may name only the order |
//! | `PARKED#provider#reference` / `PARKED` | events about an id that no payment is known for yet; `order:…` or `payment:…` for those that give no id |
//! | `KEY#route#key` / `KEY` | an idempotency key |
//! | `PACE#provider` / `PACE` | when a provider may be asked next |
//!
//! A payment that is not settled, and what is parked, has `dueQueue` and `dueAt` too, and so is in the sparse index `due`.

mod commit;
mod due;
mod items;
mod keys;
mod pace;
mod parked;
pub mod stream;
mod transaction;
mod webhook;

pub use commit::{Also, Commit, Conflict};
pub use due::{Due, SHARDS, Subject};
pub use keys::Opened;
pub use parked::{Parked, ParkedEvents};
pub use transaction::StoreError;
pub use webhook::Witnessed;

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::get_item::builders::GetItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::fault::{Call, around};
use crate::id::{OrderId, PaymentId, Provider, Reference};
use crate::payment::Payment;

type Item = HashMap<String, AttributeValue>;

/// The table, in a region.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    table: String,
    endpoint: Option<String>,
}

/// The payments of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderPayments {
    /// None.
    None,
    /// Just one.
    One(PaymentId),
    /// Two or more.
    Several,
}

impl Store {
    /// The table `table`, reached through `client`.
    pub fn new(client: Client, table: String) -> Self {
        Self {
            client,
            table,
            endpoint: None,
        }
    }

    /// The same, with errors that name the endpoint at which the table is looked for, where that is not AWS's own.
    #[must_use]
    pub fn at(self, endpoint: Option<String>) -> Self {
        Self { endpoint, ..self }
    }

    /// Opens the connection to the table, so that the first request need not wait for it: reads a payment that there is
    /// not. A failure is left to be met by that request.
    pub async fn connect(&self) {
        let nobodys = items::state_key(PaymentId::random());
        let _ = around(Call::Connect, self.read(nobodys).send()).await;
    }

    /// The table's name.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// A payment as it is now (a strongly consistent read).
    ///
    /// # Errors
    /// Where the table cannot be read.
    pub async fn payment(&self, id: PaymentId) -> Result<Option<Payment>, StoreError> {
        let item = self.get(Call::ReadPayment, items::state_key(id)).await?;
        item.map(items::payment_of).transpose()
    }

    /// The payment that a provider's id belongs to.
    ///
    /// # Errors
    /// Where the table cannot be read.
    pub async fn owner(&self, provider: Provider, reference: &Reference) -> Result<Option<PaymentId>, StoreError> {
        let item = self
            .get(Call::ReadOwner, items::reference_key(provider, reference))
            .await?;
        item.map(|item| items::owner_of(&item)).transpose()
    }

    /// The payments of an order. Complete, since a payment is put here before its provider hears of it.
    ///
    /// # Errors
    /// Where the table cannot be read.
    pub async fn payments_of_order(&self, provider: Provider, order_id: &OrderId) -> Result<OrderPayments, StoreError> {
        match self.payments_of(provider, order_id, 2).await?.as_slice() {
            [] => Ok(OrderPayments::None),
            [id] => Ok(OrderPayments::One(*id)),
            _ => Ok(OrderPayments::Several),
        }
    }

    /// The first `limit` payments of an order.
    ///
    /// # Errors
    /// Where the table cannot be read.
    pub async fn payments_of(
        &self,
        provider: Provider,
        order_id: &OrderId,
        limit: u16,
    ) -> Result<Vec<PaymentId>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .limit(limit.into())
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(items::order_pk(provider, order_id)));
        let output = around(Call::ReadOrder, query.send())
            .await
            .map_err(|error| self.failed("Query", &error))?;
        output.items().iter().map(items::owner_of).collect()
    }

    async fn get(&self, call: Call, key: Item) -> Result<Option<Item>, StoreError> {
        Ok(around(call, self.read(key).send())
            .await
            .map_err(|error| self.failed("GetItem", &error))?
            .item)
    }

    fn read(&self, key: Item) -> GetItemFluentBuilder {
        let get = self.client.get_item().table_name(&self.table);
        get.consistent_read(true).set_key(Some(key))
    }
}
