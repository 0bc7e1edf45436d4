//! Writing a change of a payment together with everything that follows from it.

use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};

use super::due_index;
use super::error::StoreError;
use super::schema::{self, number};
use super::table::Store;
use super::transaction::{Transaction, set_if_absent};
use super::unmatched::UnmatchedGroup;
use crate::domain::fact::Fact;
use crate::domain::id::{PaymentId, Reference};
use crate::domain::idempotency::{KeyRecord, Lease, StoredResponse};
use crate::domain::payment::Payment;
use crate::domain::schedule::ScheduleChange;
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;

/// What is written together with a payment.
#[derive(Clone, Debug, Default)]
pub struct CommitExtras {
    /// The fact that caused the change. If it is already in the ledger, nothing is written.
    pub new_fact: Option<Fact>,
    /// Further facts for the ledger. They may already be in it.
    pub other_facts: Vec<Fact>,
    /// The groups of unmatched notifications under ids that this change attaches, as they were read. A complete group
    /// is deleted: `other_facts` must have its facts. An incomplete one stays, and the reconciler moves it.
    pub unmatched: Vec<UnmatchedGroup>,
    /// The final response of an idempotency key.
    pub response: Option<(Lease, StoredResponse)>,
    /// Whether to close the payment's review: to remove the payment from the due index, whatever else changes.
    pub close_review: bool,
}

/// The result of a commit.
#[derive(Clone, Debug)]
pub enum CommitResult {
    /// Everything is written.
    Done,
    /// Nothing is written.
    Conflict(Conflict),
}

/// The failed conditions of a commit.
#[derive(Clone, Debug, Default)]
pub struct Conflict {
    /// The new fact is already in the ledger.
    pub already_recorded: bool,
    /// The payment was changed meanwhile; this is its current state.
    pub current: Option<Payment>,
    /// New provider ids that belong to another payment, with that payment.
    pub references_of_others: Vec<(Reference, PaymentId)>,
    /// New provider ids with a group of unmatched notifications that is not, or no longer, as in
    /// [`CommitExtras::unmatched`].
    pub unmatched: Vec<Reference>,
    /// The idempotency key has a new holder or a response; this is its current record.
    pub key: Option<KeyRecord>,
}

/// The steps of a commit.
enum Step {
    /// Updates the payment, or checks that it is unchanged.
    Payment,
    /// Inserts the new fact.
    NewFact,
    /// Inserts one of the other facts. Has no condition.
    OtherFact,
    /// Attaches a provider id.
    Reference(Reference),
    /// Deletes the group of unmatched notifications under a provider id, or checks that there is none.
    Group(Reference),
    /// Deletes an unmatched notification. Has no condition.
    Notification,
    /// Stores the response of the idempotency key.
    Key,
}

impl Store {
    /// Writes the change of a payment from `before` to `after`, in one transaction.
    ///
    /// Conditions:
    /// - The payment is still `before`. Not checked if nothing of it changes and there is no new fact.
    /// - The new fact is not in the ledger.
    /// - The ids that are new in `after` belong to no other payment.
    /// - The groups of unmatched notifications under those ids are the ones in `extras.unmatched`, or are already
    ///   deleted. A group that is too large to be moved must still exist.
    /// - The lease on the key is still held.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written. Whether the change was stored is then unknown.
    pub async fn commit(
        &self,
        before: &Payment,
        after: &Payment,
        extras: &CommitExtras,
        now: Timestamp,
    ) -> Result<CommitResult, StoreError> {
        let mut transaction = Transaction::new(ExternalCall::Commit);
        let change = if extras.close_review {
            ScheduleChange::Remove
        } else {
            ScheduleChange::between(before, after, extras.new_fact.as_ref(), now)
        };
        if after != before || change != ScheduleChange::Keep {
            transaction.add(Step::Payment, self.update_state(before, after, change)?);
        } else if extras.new_fact.is_some() {
            transaction.add(Step::Payment, self.check_state(before)?);
        }
        if let Some(fact) = &extras.new_fact {
            transaction.add(Step::NewFact, self.insert_fact(after.id, fact)?);
        }
        for fact in &extras.other_facts {
            transaction.add(Step::OtherFact, self.insert_fact_unless_present(after.id, fact)?);
        }
        for reference in after.references.difference(&before.references) {
            transaction.add(
                Step::Reference(reference.clone()),
                self.attach_reference(after, reference)?,
            );
            let step = Step::Group(reference.clone());
            match extras.unmatched.iter().find(|group| group.is_under(reference)) {
                None => transaction.add(step, self.check_no_group(after.provider, reference)?),
                Some(group) => {
                    let steps = self.move_group(group, now)?;
                    transaction.add(step, steps.group);
                    for delete in steps.notifications {
                        transaction.add(Step::Notification, delete);
                    }
                }
            }
        }
        if let Some((lease, response)) = &extras.response {
            transaction.add(Step::Key, self.complete_key(lease, response)?);
        }
        if transaction.is_empty() {
            return Ok(CommitResult::Done);
        }
        let Err(refused) = transaction.run(self).await? else {
            return Ok(CommitResult::Done);
        };
        let mut conflict = Conflict::default();
        for (step, item) in refused {
            match step {
                Step::Payment => conflict.current = Some(schema::payment_of(item)?),
                Step::NewFact => conflict.already_recorded = true,
                Step::OtherFact | Step::Notification => return Err(StoreError::Corrupt),
                Step::Reference(reference) => conflict
                    .references_of_others
                    .push((reference, schema::owner_of(&item)?)),
                Step::Group(reference) => conflict.unmatched.push(reference),
                Step::Key => conflict.key = Some(schema::key_record_of(item)?),
            }
        }
        Ok(CommitResult::Conflict(conflict))
    }

    /// Sets the payment's mutable attributes, if its version is still the one of `before`.
    fn update_state(
        &self,
        before: &Payment,
        after: &Payment,
        change: ScheduleChange,
    ) -> Result<TransactWriteItem, StoreError> {
        const MUTABLE: [&str; 11] = [
            "status",
            "rank",
            "updatedAt",
            "version",
            "references",
            "checkoutSession",
            "captureReferences",
            "attention",
            "attentionChanges",
            "mismatches",
            "undoneReversals",
        ];
        let mut item = schema::state_item(after)?;
        let mut update = self.update(schema::state_key(after.id));
        let mut assignments = Vec::new();
        for name in MUTABLE {
            if let Some(value) = item.remove(name) {
                update = update.expression_attribute_names(format!("#{name}"), name);
                update = update.expression_attribute_values(format!(":{name}"), value);
                assignments.push(format!("#{name} = :{name}"));
            }
        }
        let (update, set, remove) = due_index::change(update, after.id, change);
        let update = update
            .update_expression(format!("SET {}{set}{remove}", assignments.join(", ")))
            .condition_expression("#version = :before")
            .expression_attribute_values(":before", number(before.version));
        Ok(TransactWriteItem::builder().update(update.build()?).build())
    }

    /// Checks that the payment's version is still the one of `before`.
    fn check_state(&self, before: &Payment) -> Result<TransactWriteItem, StoreError> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(schema::state_key(before.id)))
            .condition_expression("#version = :before")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":before", number(before.version))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(TransactWriteItem::builder().condition_check(check.build()?).build())
    }

    /// Adds a fact to the ledger, if it is not in it yet.
    pub(super) fn insert_fact(&self, id: PaymentId, fact: &Fact) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(schema::fact_item(id, fact)?))
            .condition_expression("attribute_not_exists(pk)");
        Ok(TransactWriteItem::builder().put(put.build()?).build())
    }

    /// Adds a fact to the ledger, or leaves the existing entry as it is.
    fn insert_fact_unless_present(&self, id: PaymentId, fact: &Fact) -> Result<TransactWriteItem, StoreError> {
        let key = schema::fact_key(id, &fact.digest());
        let mut attributes = schema::fact_item(id, fact)?;
        attributes.retain(|name, _| !key.contains_key(name));
        let (update, assignments) = set_if_absent(self.update(key), attributes);
        let update = update.update_expression(format!("SET {assignments}"));
        Ok(TransactWriteItem::builder().update(update.build()?).build())
    }

    /// Attaches a provider id to a payment, unless it belongs to another one.
    fn attach_reference(&self, payment: &Payment, reference: &Reference) -> Result<TransactWriteItem, StoreError> {
        let key = schema::reference_key(payment.provider, reference);
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(schema::pointer_item(key, payment.id)))
            .condition_expression("attribute_not_exists(pk) OR paymentId = :id")
            .expression_attribute_values(":id", AttributeValue::S(payment.id.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(TransactWriteItem::builder().put(put.build()?).build())
    }

    /// Stores the final response of a key, if the lease is still held.
    fn complete_key(&self, lease: &Lease, response: &StoredResponse) -> Result<TransactWriteItem, StoreError> {
        let update = self
            .update(schema::idempotency_key(&lease.key))
            .update_expression("SET #response = :response")
            .condition_expression("fence = :fence AND attribute_not_exists(#response)")
            .expression_attribute_values(":response", AttributeValue::M(schema::to_item(response)?))
            .expression_attribute_names("#response", "response")
            .expression_attribute_values(":fence", number(lease.fence));
        Ok(TransactWriteItem::builder().update(update.build()?).build())
    }
}
