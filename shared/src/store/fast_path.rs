//! The fast path of a webhook: one conditional transaction instead of a read and a write.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};

use super::due_index;
use super::error::StoreError;
use super::schema::{self, number};
use super::table::Store;
use super::transaction::{Transaction, TransactionResult};
use crate::domain::fact::{CaptureReference, Fact};
use crate::domain::id::PaymentId;
use crate::domain::payment::Payment;
use crate::domain::schedule::ScheduleChange;
use crate::domain::status::Status;
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;

/// The result of the fast path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FastPathResult {
    /// The fact is recorded, and the payment now has the status it implies.
    Applied,
    /// The fact was recorded before, and the payment owns its ids.
    AlreadyRecorded,
    /// Nothing was written: the fast path's conditions do not hold for this payment.
    NeedsSlowPath(Payment),
    /// Nothing was written: the payment does not exist.
    NoPayment,
}

enum Step {
    Payment,
    Fact,
}

impl Store {
    /// Records a fact if it raises the payment's status, names only provider ids that the payment owns and, for a
    /// completion, has the payment's amount and currency. Not for money that went back, nor for a payment that is to be
    /// deleted, or that ever needed attention.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn apply_fast(&self, id: PaymentId, fact: &Fact, now: Timestamp) -> Result<FastPathResult, StoreError> {
        let Some(update) = self.fast_update(id, fact, now)? else {
            return Ok(self
                .payment(id)
                .await?
                .map_or(FastPathResult::NoPayment, FastPathResult::NeedsSlowPath));
        };
        let mut transaction = Transaction::new(ExternalCall::ApplyFast);
        transaction.add(Step::Fact, self.insert_fact(id, fact)?);
        transaction.add(Step::Payment, TransactWriteItem::builder().update(update).build());
        let TransactionResult::Refused(refused) = transaction.run(self).await? else {
            return Ok(FastPathResult::Applied);
        };
        let is_recorded = refused.iter().any(|(step, _)| matches!(step, Step::Fact));
        let state = refused.into_iter().find(|(step, _)| matches!(step, Step::Payment));
        let state = state.map(|(_, item)| item).filter(|item| !item.is_empty());
        let payment = state.map(schema::payment_of).transpose();
        if is_recorded {
            // It may be recorded without ids that the payment should have. If the payment cannot be read, it is recorded
            // all the same.
            let lacks_ids = |payment: &Payment| !fact.references().all(|id| payment.references.contains(id));
            let payment = payment.ok().flatten().filter(lacks_ids);
            return Ok(payment.map_or(FastPathResult::AlreadyRecorded, FastPathResult::NeedsSlowPath));
        }
        Ok(payment?.map_or(FastPathResult::NoPayment, FastPathResult::NeedsSlowPath))
    }

    /// The conditional update of the payment. `None` for a fact that implies no status or says that money went back, and
    /// for a completion without a readable amount and currency.
    fn fast_update(&self, id: PaymentId, fact: &Fact, now: Timestamp) -> Result<Option<Update>, StoreError> {
        let Some(status) = fact.outcome.implied_status() else {
            return Ok(None);
        };
        // They raise attention, which only the slow path does.
        if !fact.reversals.is_empty() {
            return Ok(None);
        }
        let text = |text: &str| AttributeValue::S(text.to_owned());
        // A payment that is to be deleted needs the slow path, which also keeps the items that point to it.
        // So does one that has, or had, a reason for attention: a fact may resolve it.
        let mut conditions =
            "#provider = :provider AND #rank < :rank AND attribute_not_exists(#ttl) AND attribute_not_exists(#attention)"
                .to_owned();
        let (update, set, remove) = due_index::change(
            self.update(schema::state_key(id)),
            id,
            ScheduleChange::for_status(fact.provider, status, now),
        );
        let mut assignments = vec![
            "#status = :status",
            "#rank = :rank",
            "#updatedAt = :now",
            "#version = #version + :one",
        ];
        assignments.extend(set);
        if status == Status::Authorized {
            assignments.push("#hasEvidenceOfMoney = :yes");
        }
        let mut changes = format!("SET {}{remove}", assignments.join(", "));
        let mut update = update
            .expression_attribute_values(":rank", number(status.rank().into()))
            .expression_attribute_values(":status", text(status.name()))
            .expression_attribute_values(":now", number(now.as_millis()))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":provider", text(fact.provider.name()));
        let mut names = vec!["status", "rank", "updatedAt", "version", "provider", "ttl", "attention"];
        if status == Status::Authorized {
            update = update.expression_attribute_values(":yes", AttributeValue::Bool(true));
            names.push("hasEvidenceOfMoney");
        }
        for (index, reference) in fact.references().enumerate() {
            conditions.push_str(&format!(" AND contains(#references, :reference{index})"));
            update = update.expression_attribute_values(format!(":reference{index}"), text(reference.as_str()));
        }
        if fact.references().next().is_some() {
            names.push("references");
        }
        if status == Status::Completed {
            let Some(money) = fact.money() else { return Ok(None) };
            // If other money came before, this completion also raises attention, which only the slow path does.
            conditions
                .push_str(" AND #amount = :amount AND #currency = :currency AND attribute_not_exists(#mismatches)");
            update = update
                .expression_attribute_values(":amount", number(money.minor()))
                .expression_attribute_values(":currency", text(money.currency().code()));
            names.extend(["amount", "currency", "mismatches"]);
            let capture_references = CaptureReference::of(fact);
            if !capture_references.is_empty() {
                changes.push_str(" ADD #captureReferences :captureReferences");
                let capture_references = capture_references.iter().map(ToString::to_string).collect();
                update =
                    update.expression_attribute_values(":captureReferences", AttributeValue::Ss(capture_references));
                names.push("captureReferences");
            }
        }
        for name in names {
            update = update.expression_attribute_names(format!("#{name}"), name);
        }
        Ok(Some(
            update
                .update_expression(changes)
                .condition_expression(conditions)
                .build()?,
        ))
    }
}
