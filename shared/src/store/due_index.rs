//! The sparse index `due`: which items the reconciler must check, and when.
//!
//! Guarantees: an item is in the index exactly while it has a time of its next check. A reconciler reserves an item
//! before it checks it, by moving that time on, so that only one of two reconcilers proceeds. If it crashes, the item
//! becomes due again when the reservation ends.

use std::time::Duration;

use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Select};

use super::error::StoreError;
use super::schema::{self, Item, number};
use super::table::Store;
use crate::domain::id::PaymentId;
use crate::domain::provider::Provider;
use crate::domain::schedule::{Queue, ScheduleChange};
use crate::domain::time::Timestamp;
use crate::platform::failpoint::{ExternalCall, wrap};

/// How long a reserved item belongs to its reconciler alone.
const RESERVATION: Duration = Duration::from_secs(120);

/// The name of the index.
const INDEX: &str = "due";
const QUEUE: &str = "dueQueue";
const AT: &str = "dueAt";
/// How many checks of the item in a row have failed. Absent after a good one.
pub(super) const FAILED_CHECKS: &str = "failedChecks";
/// Projected into the index: when the first unmatched notification of an item was stored.
pub(super) const UNMATCHED_SINCE: &str = "unmatchedSince";

/// Maximum number of items that are read at once to count them.
const MAX_PAGE: u16 = 10_000;

/// A part of a queue, with a partition of the index of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    queue: Queue,
    number: u8,
}

/// An item of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A payment.
    Payment(PaymentId),
    /// The group of a provider's unmatched notifications under a lookup key.
    Unmatched(Provider, String),
}

/// An item to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The item.
    pub subject: Subject,
    /// When it became due; for a reserved item, when the reservation ends.
    pub at: Timestamp,
}

impl Shard {
    /// The shards of a queue.
    pub fn of(queue: Queue) -> impl Iterator<Item = Self> {
        (0..queue.shards()).map(move |number| Self { queue, number })
    }

    /// The shard of a payment. The first byte of its id decides.
    fn of_payment(queue: Queue, id: PaymentId) -> Self {
        Self {
            queue,
            number: id.shard(queue.shards()),
        }
    }

    /// The value of `dueQueue`.
    fn value(self) -> AttributeValue {
        AttributeValue::S(format!("{}#{}", self.queue.name(), self.number))
    }
}

impl Due {
    /// Its key in the index.
    fn index_key(&self, shard: Shard) -> Item {
        let mut key = self.subject.key();
        key.insert(QUEUE.to_owned(), shard.value());
        key.insert(AT.to_owned(), number(self.at.as_millis()));
        key
    }
}

impl Subject {
    /// The payment, if it is one.
    pub fn payment(&self) -> Option<PaymentId> {
        match self {
            Self::Payment(id) => Some(*id),
            Self::Unmatched(..) => None,
        }
    }

    pub(super) fn key(&self) -> Item {
        match self {
            Self::Payment(id) => schema::state_key(*id),
            Self::Unmatched(provider, lookup_key) => schema::unmatched_group_key(*provider, lookup_key),
        }
    }
}

impl Store {
    /// The due items of a shard of a queue, oldest first: at most `limit` of them, beginning after `after`.
    ///
    /// # Errors
    /// [`StoreError`] if the index cannot be read.
    pub async fn due(
        &self,
        shard: Shard,
        now: Timestamp,
        limit: u16,
        after: Option<&Due>,
    ) -> Result<Vec<Due>, StoreError> {
        let query = self
            .query_index(shard, limit)
            .key_condition_expression("#queue = :queue AND #at <= :now")
            .expression_attribute_names("#at", AT)
            .expression_attribute_values(":now", number(now.as_millis()))
            .set_exclusive_start_key(after.map(|due| due.index_key(shard)));
        let output = wrap(ExternalCall::ReadDue, query.send())
            .await
            .map_err(|error| self.failed("Query", &error))?;
        output.items().iter().map(due_of).collect()
    }

    /// Items of a shard of a queue, due or not, the ones that are due last first: at most `limit` of them, which are due
    /// before `before`.
    ///
    /// # Errors
    /// [`StoreError`] if the index cannot be read.
    pub async fn latest(&self, shard: Shard, before: Timestamp, limit: u16) -> Result<Vec<Due>, StoreError> {
        let query = self
            .query_index(shard, limit)
            .key_condition_expression("#queue = :queue AND #at < :before")
            .expression_attribute_names("#at", AT)
            .expression_attribute_values(":before", number(before.as_millis()))
            .scan_index_forward(false);
        let output = wrap(ExternalCall::ReadDue, query.send())
            .await
            .map_err(|error| self.failed("Query", &error))?;
        output.items().iter().map(due_of).collect()
    }

    /// The number of items in a queue, due or not. Counts at most one page of each shard, which is some thousand items.
    ///
    /// # Errors
    /// [`StoreError`] if the index cannot be read.
    pub async fn count(&self, queue: Queue) -> Result<u32, StoreError> {
        let mut count = 0_u32;
        for shard in Shard::of(queue) {
            let page = self.page(shard, Select::Count).await?;
            count = count.saturating_add(page.count().try_into().unwrap_or(0));
        }
        Ok(count)
    }

    /// When the oldest unmatched notification was stored, among as many as [`Store::count`] counts. `None` if there is
    /// none.
    ///
    /// # Errors
    /// [`StoreError`] if the index cannot be read.
    pub async fn oldest_unmatched(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut oldest = None;
        for shard in Shard::of(Queue::Unmatched) {
            for item in self.page(shard, Select::AllProjectedAttributes).await?.items() {
                let unmatched_since = schema::time_of(item, UNMATCHED_SINCE)?;
                oldest = Some(oldest.map_or(unmatched_since, |oldest: Timestamp| oldest.min(unmatched_since)));
            }
        }
        Ok(oldest)
    }

    /// The first page of a shard, due or not.
    async fn page(&self, shard: Shard, select: Select) -> Result<QueryOutput, StoreError> {
        let query = self
            .query_index(shard, MAX_PAGE)
            .select(select)
            .key_condition_expression("#queue = :queue");
        wrap(ExternalCall::ReadQueue, query.send())
            .await
            .map_err(|error| self.failed("Query", &error))
    }

    fn query_index(&self, shard: Shard, limit: u16) -> QueryFluentBuilder {
        let query = self.client.query().table_name(&self.table).index_name(INDEX);
        query
            .expression_attribute_names("#queue", QUEUE)
            .expression_attribute_values(":queue", shard.value())
            .limit(limit.into())
    }

    /// Reserves a due item. `None` if another reconciler has reserved it, or it is no longer due.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn reserve(&self, due: &Due, now: Timestamp) -> Result<Option<Due>, StoreError> {
        let until = now.plus(RESERVATION);
        let update = self
            .if_still(due)
            .update_expression("SET #at = :until")
            .expression_attribute_values(":until", number(until.as_millis()));
        let refused = self.update_alone(ExternalCall::Reserve, update).await?;
        Ok(refused.is_none().then(|| Due {
            subject: due.subject.clone(),
            at: until,
        }))
    }

    /// Ends a good check: sets the time of the reserved item's next one, or removes the item from the index if `next`
    /// is `None`. A time set by another write meanwhile stays.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written. The item is then due again when the reservation ends.
    pub async fn reschedule(&self, reserved: &Due, next: Option<Timestamp>) -> Result<(), StoreError> {
        let update = self
            .if_still(reserved)
            .expression_attribute_names("#failed", FAILED_CHECKS);
        let update = match next {
            Some(next) => update
                .update_expression("SET #at = :next REMOVE #failed")
                .expression_attribute_values(":next", number(next.as_millis())),
            None => update
                .update_expression("REMOVE #queue, #at, #failed")
                .expression_attribute_names("#queue", QUEUE),
        };
        self.update_alone(ExternalCall::Reschedule, update).await.map(|_| ())
    }

    /// An update of an item whose time of the next check (`#at`) is still the one in `due`.
    pub(super) fn if_still(&self, due: &Due) -> UpdateBuilder {
        self.update(due.subject.key())
            .condition_expression("#at = :seen")
            .expression_attribute_names("#at", AT)
            .expression_attribute_values(":seen", number(due.at.as_millis()))
    }
}

/// The attributes that put a new payment into the index.
pub(super) fn attributes(id: PaymentId, queue: Queue, at: Timestamp) -> Item {
    Item::from([
        (QUEUE.to_owned(), Shard::of_payment(queue, id).value()),
        (AT.to_owned(), number(at.as_millis())),
    ])
}

/// Adds a change of the next check to the update of a payment. Returns the assignments for `SET`, if there are any, and
/// the `REMOVE` clause.
pub(super) fn change(
    update: UpdateBuilder,
    id: PaymentId,
    change: ScheduleChange,
) -> (UpdateBuilder, Option<&'static str>, &'static str) {
    match change {
        ScheduleChange::Keep => (update, None, ""),
        ScheduleChange::Remove => (named(update), None, " REMOVE #dueQueue, #dueAt"),
        ScheduleChange::At(queue, at) => {
            let (update, set) = schedule_check(update, Shard::of_payment(queue, id), at);
            (update, Some(set), "")
        }
        ScheduleChange::AtUnlessScheduled(queue, at) => {
            let (update, _) = schedule_check(update, Shard::of_payment(queue, id), at);
            let set = "#dueQueue = if_not_exists(#dueQueue, :dueQueue), #dueAt = if_not_exists(#dueAt, :dueAt)";
            (update, Some(set), "")
        }
    }
}

/// Adds the names and values of the condition `#dueAt = :seen`, and the name `#failedChecks`, to an update.
pub(super) fn require_due_at(update: UpdateBuilder, at: Timestamp) -> UpdateBuilder {
    update
        .expression_attribute_names("#dueAt", AT)
        .expression_attribute_names("#failedChecks", FAILED_CHECKS)
        .expression_attribute_values(":seen", number(at.as_millis()))
}

/// What says in the stream's record of a new notification when its group became due.
pub(super) fn time_of_notification(at: Timestamp) -> Item {
    Item::from([(AT.to_owned(), number(at.as_millis()))])
}

/// Adds the next check of unmatched notifications to the update of their group. Returns the assignments for `SET`.
pub(super) fn schedule_unmatched_check(
    update: UpdateBuilder,
    lookup_key: &str,
    at: Timestamp,
) -> (UpdateBuilder, &'static str) {
    let number = lookup_key
        .bytes()
        .fold(0_u8, u8::wrapping_add)
        .checked_rem(Queue::Unmatched.shards())
        .unwrap_or(0);
    let shard = Shard {
        queue: Queue::Unmatched,
        number,
    };
    let (update, _) = schedule_check(update, shard, at);
    let update = update.expression_attribute_names("#unmatchedSince", UNMATCHED_SINCE);
    (
        update,
        "#unmatchedSince = if_not_exists(#unmatchedSince, :dueAt), #dueQueue = :dueQueue, #dueAt = :dueAt",
    )
}

/// Adds the next check to the update of an item. Returns the assignments for `SET`.
fn schedule_check(update: UpdateBuilder, shard: Shard, at: Timestamp) -> (UpdateBuilder, &'static str) {
    let update = named(update)
        .expression_attribute_values(":dueQueue", shard.value())
        .expression_attribute_values(":dueAt", number(at.as_millis()));
    (update, "#dueQueue = :dueQueue, #dueAt = :dueAt")
}

fn named(update: UpdateBuilder) -> UpdateBuilder {
    update
        .expression_attribute_names("#dueQueue", QUEUE)
        .expression_attribute_names("#dueAt", AT)
}

pub(super) fn due_of(item: &Item) -> Result<Due, StoreError> {
    let pk = schema::pk_of(item).ok_or(StoreError::Corrupt)?;
    Ok(Due {
        subject: subject_of(pk).ok_or(StoreError::Corrupt)?,
        at: schema::time_of(item, AT)?,
    })
}

fn subject_of(pk: &str) -> Option<Subject> {
    let (kind, rest) = pk.split_once('#')?;
    match kind {
        "PAYMENT" => PaymentId::parse(rest).map(Subject::Payment),
        "UNMATCHED" => {
            let (name, lookup_key) = rest.split_once('#')?;
            let provider = Provider::ALL.into_iter().find(|provider| provider.name() == name)?;
            Some(Subject::Unmatched(provider, lookup_key.to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_is_read_from_its_key() {
        let id = PaymentId::random();
        for subject in [
            Subject::Payment(id),
            Subject::Unmatched(Provider::FinvyPay, "FP1".to_owned()),
            Subject::Unmatched(Provider::ApoloPay, "order:a#b".to_owned()),
        ] {
            let key = subject.key();
            let pk = key.get("pk").and_then(|pk| pk.as_s().ok()).unwrap();
            assert_eq!(subject_of(pk), Some(subject));
        }
        for pk in ["", "PAYMENT", "PAYMENT#x", "UNMATCHED#x#y", "KEY#a#b"] {
            assert_eq!(subject_of(pk), None, "{pk}");
        }
    }
}
