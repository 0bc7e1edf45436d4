//! The items that point to a payment: its references, which are the provider ids that belong to it, and its order's
//! item (`orders.rs`).
//!
//! Guarantees: they are deleted when the payment is, and not before it is due to be deleted. DynamoDB deletes them one
//! by one, so one may point to a payment that does not exist any more. Such an item counts as absent: it is deleted by
//! the first call that finds it.

use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};

use super::error::StoreError;
use super::schema::{self, Item};
use super::table::Store;
use crate::domain::id::{PaymentId, Reference};
use crate::domain::payment::Payment;
use crate::domain::provider::Provider;
use crate::platform::failpoint::ExternalCall;

impl Store {
    /// The payment that a provider id belongs to, if any (strongly consistent read). It may have been deleted: then the
    /// id is free, see [`Store::detach_reference`].
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn owner(&self, provider: Provider, reference: &Reference) -> Result<Option<PaymentId>, StoreError> {
        let item = self
            .get(ExternalCall::ReadOwner, schema::reference_key(provider, reference))
            .await?;
        item.map(|item| schema::owner_of(&item)).transpose()
    }

    /// Frees a provider id whose payment `gone` was deleted. Changes nothing if the id belongs to another payment by
    /// now.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn detach_reference(
        &self,
        provider: Provider,
        reference: &Reference,
        gone: PaymentId,
    ) -> Result<(), StoreError> {
        self.delete_dangling(schema::reference_key(provider, reference), gone)
            .await
    }

    /// Deletes an item that points to the payment `gone`, which was deleted.
    pub(super) async fn delete_dangling(&self, key: Item, gone: PaymentId) -> Result<(), StoreError> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key))
            .condition_expression("paymentId = :gone")
            .expression_attribute_values(":gone", AttributeValue::S(gone.to_string()));
        let delete = TransactWriteItem::builder().delete(delete.build()?).build();
        tracing::info!(payment = %gone, "deleted an item that pointed to a deleted payment");
        self.write_alone(ExternalCall::DeleteDangling, delete).await.map(|_| ())
    }

    /// Frees those of these provider ids whose payment was deleted. Returns whether there were any.
    pub(super) async fn detach_dangling(
        &self,
        provider: Provider,
        references: &[(Reference, PaymentId)],
    ) -> Result<bool, StoreError> {
        let mut were_any = false;
        for (reference, owner) in references {
            if self.payment(*owner).await?.is_none() {
                self.detach_reference(provider, reference, *owner).await?;
                were_any = true;
            }
        }
        Ok(were_any)
    }

    /// Attaches a provider id to a payment, unless it belongs to another one.
    pub(super) fn attach_reference(
        &self,
        payment: &Payment,
        reference: &Reference,
    ) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(schema::reference_item(payment, reference)))
            .condition_expression("attribute_not_exists(pk) OR paymentId = :id")
            .expression_attribute_values(":id", AttributeValue::S(payment.id.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(TransactWriteItem::builder().put(put.build()?).build())
    }
}
