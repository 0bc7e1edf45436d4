//! Writing a change of a payment together with everything that follows from it.

use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};

use super::due_index;
use super::error::StoreError;
use super::schema::{self, Item, number};
use super::table::Store;
use super::transaction::{Transaction, TransactionResult};
use super::unmatched::UnmatchedGroup;
use crate::domain::fact::Fact;
use crate::domain::id::{PaymentId, Reference};
use crate::domain::idempotency::{Lease, RequestRecord, StoredResponse};
use crate::domain::payment::Payment;
use crate::domain::provider::Provider;
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
    /// Groups of unmatched notifications under ids that this change attaches, as they were read. They are deleted with
    /// their notifications, whose facts must be in `new_fact` or `other_facts`.
    pub moved_groups: Vec<UnmatchedGroup>,
    /// Groups under such ids that are too large for this commit. They stay and become due at once, so that the
    /// reconciler records their notifications.
    pub remaining_groups: Vec<UnmatchedGroup>,
    /// The final response of the request.
    pub response: Option<(Lease, StoredResponse)>,
    /// The payment's next check, whatever else changes. `None` if the change of the payment decides.
    pub schedule: Option<ScheduleChange>,
    /// Only if the payment is still due at this time. Then the check that it was due for counts as good.
    pub if_due_at: Option<Timestamp>,
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
    /// The payment was deleted meanwhile.
    pub is_deleted: bool,
    /// New provider ids that belong to another payment, with that payment.
    pub references_of_others: Vec<(Reference, PaymentId)>,
    /// New provider ids whose group of unmatched notifications must be read again: it is not among the groups in
    /// [`CommitExtras`], or has changed since it was read.
    pub unmatched: Vec<Reference>,
    /// The request has a new holder or a response; this is its current record.
    pub record: Option<RequestRecord>,
}

/// The steps of a commit.
enum Step {
    /// Updates the payment, or checks that it is unchanged.
    Payment,
    /// Inserts the new fact.
    NewFact,
    /// Puts one of the other facts. Has no condition.
    OtherFact,
    /// Attaches a provider id, or changes when its item is deleted.
    Reference(Reference),
    /// Changes when the item of the payment's order is deleted. Has no condition.
    Order,
    /// Deletes the group of unmatched notifications under a new provider id, makes it due, or checks that there is
    /// none.
    Group(Reference),
    /// Deletes an unmatched notification. Has no condition.
    Notification,
    /// Stores the response of the request.
    Record,
}

impl Store {
    /// Writes the change of a payment from `before` to `after`, in one transaction.
    ///
    /// Conditions:
    /// - The payment is still `before`, and due at `extras.if_due_at` if that is given. Not checked if nothing of it changes and there is no new fact.
    /// - The new fact is not in the ledger.
    /// - The ids that are new in `after` belong to no other payment.
    /// - The groups in `extras.moved_groups` have no further notifications; they may already be deleted.
    /// - The groups in `extras.remaining_groups` still exist.
    /// - There is no other group of unmatched notifications under those ids.
    /// - The lease of the request is still held.
    ///
    /// If the time of the payment's deletion changes, that of the items that point to it changes too.
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
        loop {
            let result = self.try_commit(before, after, extras, now).await?;
            // An id of a deleted payment is free. Each repetition frees at least one.
            match &result {
                CommitResult::Conflict(conflict)
                    if self
                        .detach_dangling(after.provider, &conflict.references_of_others)
                        .await? => {}
                CommitResult::Done | CommitResult::Conflict(_) => return Ok(result),
            }
        }
    }

    /// One attempt of [`Store::commit`].
    async fn try_commit(
        &self,
        before: &Payment,
        after: &Payment,
        extras: &CommitExtras,
        now: Timestamp,
    ) -> Result<CommitResult, StoreError> {
        let mut transaction = Transaction::new(ExternalCall::Commit);
        let facts = extras.new_fact.iter().chain(&extras.other_facts);
        let by_change = || ScheduleChange::between(before, after, facts, now);
        let change = extras.schedule.unwrap_or_else(by_change);
        if after != before || change != ScheduleChange::Keep {
            transaction.add(
                Step::Payment,
                self.update_state(before, after, change, extras.if_due_at)?,
            );
        } else if extras.new_fact.is_some() {
            transaction.add(Step::Payment, self.check_state(before)?);
        }
        if let Some(fact) = &extras.new_fact {
            transaction.add(Step::NewFact, self.insert_fact(after.id, fact)?);
        }
        for fact in &extras.other_facts {
            transaction.add(Step::OtherFact, self.put_fact(after.id, fact)?);
        }
        self.add_pointers(&mut transaction, before, after, extras, now)?;
        if let Some((lease, response)) = &extras.response {
            transaction.add(Step::Record, self.complete_record(lease, response)?);
        }
        if transaction.is_empty() {
            return Ok(CommitResult::Done);
        }
        Ok(match transaction.run(self).await? {
            TransactionResult::Written => CommitResult::Done,
            TransactionResult::Refused(refused) => CommitResult::Conflict(conflict_of(refused)?),
        })
    }

    /// The steps about the items that point to the payment: attaches the ids that are new in `after`, with what is
    /// unmatched under them, and changes when the others are deleted.
    fn add_pointers(
        &self,
        transaction: &mut Transaction<Step>,
        before: &Payment,
        after: &Payment,
        extras: &CommitExtras,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let deletion_changes = before.delete_at != after.delete_at;
        // If the payment was to be deleted, its ids may already be free. So all of them count as new.
        let is_kept_again = deletion_changes && before.delete_at.is_some();
        for reference in &after.references {
            let is_new = is_kept_again || !before.references.contains(reference);
            if is_new || deletion_changes {
                let attach = self.attach_reference(after, reference)?;
                transaction.add(Step::Reference(reference.clone()), attach);
            }
            if is_new {
                self.add_group(transaction, after.provider, reference, extras, now)?;
            }
        }
        if deletion_changes && let Some(order) = self.attach_order(after)? {
            transaction.add(Step::Order, order);
        }
        Ok(())
    }

    /// The steps about the unmatched notifications under a provider id that a payment gets: moves them, or checks that
    /// there are none.
    fn add_group(
        &self,
        transaction: &mut Transaction<Step>,
        provider: Provider,
        reference: &Reference,
        extras: &CommitExtras,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let step = Step::Group(reference.clone());
        let is_under_it = |group: &&UnmatchedGroup| group.is_under(reference);
        if let Some(group) = extras.moved_groups.iter().find(is_under_it) {
            transaction.add(step, self.delete_group(group)?);
            for notification in &group.notifications {
                transaction.add(Step::Notification, self.delete_notification(group, notification)?);
            }
        } else if let Some(group) = extras.remaining_groups.iter().find(is_under_it) {
            transaction.add(step, self.make_group_due(group, now)?);
        } else {
            transaction.add(step, self.check_no_group(provider, reference)?);
        }
        Ok(())
    }

    /// Sets the payment's mutable attributes, if its version is still the one of `before`.
    fn update_state(
        &self,
        before: &Payment,
        after: &Payment,
        change: ScheduleChange,
        if_due_at: Option<Timestamp>,
    ) -> Result<TransactWriteItem, StoreError> {
        const MUTABLE: [&str; 15] = [
            "status",
            "rank",
            "updatedAt",
            "version",
            "references",
            "checkoutSession",
            "captureReferences",
            "attention",
            "attentionChanges",
            "acknowledged",
            "acknowledgedClaims",
            "mismatches",
            "reversals",
            "hasEvidenceOfMoney",
            "ttl",
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
        let (mut update, set, remove) = due_index::change(update, after.id, change);
        assignments.extend(set.map(str::to_owned));
        let mut removed = remove.to_owned();
        if before.delete_at.is_some() && after.delete_at.is_none() {
            update = update.expression_attribute_names("#ttl", "ttl");
            removed.push_str(if removed.is_empty() { " REMOVE #ttl" } else { ", #ttl" });
        }
        let mut condition = "#version = :before".to_owned();
        if let Some(at) = if_due_at {
            update = due_index::require_due_at(update, at);
            condition.push_str(" AND #dueAt = :seen");
            removed.push_str(if removed.is_empty() {
                " REMOVE #failedChecks"
            } else {
                ", #failedChecks"
            });
        }
        let update = update
            .update_expression(format!("SET {}{removed}", assignments.join(", ")))
            .condition_expression(condition)
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

    /// Puts a fact into the ledger, where it may be already. Has no condition.
    fn put_fact(&self, id: PaymentId, fact: &Fact) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(schema::fact_item(id, fact)?));
        Ok(TransactWriteItem::builder().put(put.build()?).build())
    }

    /// Stores the final response of a request, if the lease is still held.
    fn complete_record(&self, lease: &Lease, response: &StoredResponse) -> Result<TransactWriteItem, StoreError> {
        let update = self
            .update(schema::record_key(&lease.record))
            .update_expression("SET #response = :response")
            .condition_expression("fence = :fence AND attribute_not_exists(#response)")
            .expression_attribute_values(":response", AttributeValue::M(schema::to_item(response)?))
            .expression_attribute_names("#response", "response")
            .expression_attribute_values(":fence", number(lease.fence));
        Ok(TransactWriteItem::builder().update(update.build()?).build())
    }
}

/// The conflict, from the steps whose conditions failed.
fn conflict_of(refused: Vec<(Step, Item)>) -> Result<Conflict, StoreError> {
    let mut conflict = Conflict::default();
    for (step, item) in refused {
        match step {
            Step::Payment if item.is_empty() => conflict.is_deleted = true,
            Step::Payment => conflict.current = Some(schema::payment_of(item)?),
            Step::NewFact => conflict.already_recorded = true,
            Step::OtherFact | Step::Order | Step::Notification => return Err(StoreError::Corrupt),
            Step::Reference(reference) => conflict
                .references_of_others
                .push((reference, schema::owner_of(&item)?)),
            Step::Group(reference) => conflict.unmatched.push(reference),
            Step::Record => conflict.record = Some(schema::record_of(item)?),
        }
    }
    Ok(conflict)
}
