//! The sparse index of what the reconciler has to look at, and the times in it.
//!
//! Guarantees: an item is in the index while it has a time at which it is looked at, and only then. Whoever looks at
//! one claims it first by moving its time on, so that of two reconcilers one goes ahead; whoever dies over it leaves it
//! to be looked at again a little later.

use std::time::Duration;

use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Select};

use super::error::StoreError;
use super::schema::{self, Item, number};
use super::table::Store;
use crate::domain::id::PaymentId;
use crate::domain::provider::Provider;
use crate::domain::schedule::{Change, Queue};
use crate::domain::time::Timestamp;
use crate::platform::failpoint::{ExternalCall, wrap};

/// Into how many parts each queue is divided, so that no part of the index takes all the writes. docs/scale.md says what
/// that is enough for, and how it is changed.
pub const SHARDS: u8 = 8;

/// For how long somebody who claimed an item has it alone.
const CLAIM: Duration = Duration::from_secs(120);

/// The index over what is due.
const INDEX: &str = "due";
const QUEUE: &str = "dueQueue";
const AT: &str = "dueAt";
/// In the index too: since when an event is parked.
pub(super) const UNMATCHED_SINCE: &str = "unmatchedSince";

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A payment.
    Payment(PaymentId),
    /// What is parked under an id of a provider, or under the order or the payment that it names.
    Unmatched(Provider, String),
}

/// Something to be looked at, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// What.
    pub subject: Subject,
    /// Since when; after a claim, until when it is ours.
    pub at: Timestamp,
}

impl Subject {
    fn key(&self) -> Item {
        match self {
            Self::Payment(id) => schema::state_key(*id),
            Self::Unmatched(provider, place) => schema::unmatched_key(*provider, place),
        }
    }
}

impl Store {
    /// What of a queue is due, at most `limit` of each of its parts, oldest first in each.
    ///
    /// # Errors
    /// Where the index cannot be read.
    pub async fn due(&self, queue: Queue, now: Timestamp, limit: u16) -> Result<Vec<Due>, StoreError> {
        let mut due = Vec::new();
        // Where there is not enough time for all of it, each part has its turn at being first.
        let first = fastrand::u8(0..SHARDS);
        for shard in (first..SHARDS).chain(0..first) {
            let query = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(INDEX)
                .key_condition_expression("#queue = :queue AND #at <= :now")
                .expression_attribute_names("#queue", QUEUE)
                .expression_attribute_names("#at", AT)
                .expression_attribute_values(":queue", part(queue, shard))
                .expression_attribute_values(":now", number(now.as_millis()))
                .limit(limit.into());
            let output = wrap(ExternalCall::ReadDue, query.send())
                .await
                .map_err(|error| self.failed("Query", &error))?;
            for item in output.items() {
                due.push(due_of(item)?);
            }
        }
        Ok(due)
    }

    /// How much there is in a queue, due or not: counted as far as one page of each of its parts goes, which is some
    /// thousands.
    ///
    /// # Errors
    /// Where the index cannot be read.
    pub async fn count(&self, queue: Queue) -> Result<u32, StoreError> {
        let mut count = 0_u32;
        for shard in 0..SHARDS {
            let page = self.page(queue, shard, Select::Count).await?;
            count = count.saturating_add(page.count().try_into().unwrap_or(0));
        }
        Ok(count)
    }

    /// Since when the oldest event is parked that no payment is known for, of as many as [`Store::count`] counts. `None`
    /// where there is none.
    ///
    /// # Errors
    /// Where the index cannot be read.
    pub async fn oldest_unmatched(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut oldest = None;
        for shard in 0..SHARDS {
            for item in self
                .page(Queue::Unmatched, shard, Select::AllProjectedAttributes)
                .await?
                .items()
            {
                let unmatched_since = schema::time_of(item, UNMATCHED_SINCE)?;
                oldest = Some(oldest.map_or(unmatched_since, |oldest: Timestamp| oldest.min(unmatched_since)));
            }
        }
        Ok(oldest)
    }

    /// The first page of a part of a queue, whenever it is due.
    async fn page(&self, queue: Queue, shard: u8, select: Select) -> Result<QueryOutput, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(INDEX)
            .select(select)
            .key_condition_expression("#queue = :queue")
            .expression_attribute_names("#queue", QUEUE)
            .expression_attribute_values(":queue", part(queue, shard));
        wrap(ExternalCall::ReadQueue, query.send())
            .await
            .map_err(|error| self.failed("Query", &error))
    }

    /// Takes an item to look at. `None`: somebody else has, or it is due no more.
    ///
    /// # Errors
    /// Where the table cannot be written.
    pub async fn reserve(&self, due: &Due, now: Timestamp) -> Result<Option<Due>, StoreError> {
        let until = now.plus(CLAIM);
        let claimed = self.move_due(ExternalCall::Reserve, due, Some(until)).await?;
        Ok(claimed.then(|| Due {
            subject: due.subject.clone(),
            at: until,
        }))
    }

    /// Says when a claimed item is looked at again; never, where `next` is `None`. Whatever set another time meanwhile
    /// stands.
    ///
    /// # Errors
    /// Where the table cannot be written: it is looked at again when the claim runs out.
    pub async fn reschedule(&self, claimed: &Due, next: Option<Timestamp>) -> Result<(), StoreError> {
        self.move_due(ExternalCall::Reschedule, claimed, next).await.map(|_| ())
    }

    async fn move_due(&self, call: ExternalCall, due: &Due, next: Option<Timestamp>) -> Result<bool, StoreError> {
        let update = self
            .update(due.subject.key())
            .condition_expression("#at = :seen")
            .expression_attribute_names("#at", AT)
            .expression_attribute_values(":seen", number(due.at.as_millis()));
        let update = match next {
            Some(next) => update
                .update_expression("SET #at = :next")
                .expression_attribute_values(":next", number(next.as_millis())),
            None => update
                .update_expression("REMOVE #queue, #at")
                .expression_attribute_names("#queue", QUEUE),
        };
        Ok(self.update_alone(call, update).await?.is_none())
    }
}

/// The attributes that put a new payment into the index.
pub(super) fn attributes(id: PaymentId, queue: Queue, at: Timestamp) -> Item {
    Item::from([
        (QUEUE.to_owned(), part(queue, id.shard(SHARDS))),
        (AT.to_owned(), number(at.as_millis())),
    ])
}

/// Adds a change of the timetable to the update of a payment: what to add to `SET`, and the `REMOVE` clause.
pub(super) fn change(
    update: UpdateBuilder,
    id: PaymentId,
    change: Change,
) -> (UpdateBuilder, &'static str, &'static str) {
    match change {
        Change::Keep => (update, "", ""),
        Change::Never => (named(update), "", " REMOVE #dueQueue, #dueAt"),
        Change::At(queue, at) => {
            let (update, set) = look_at(update, part(queue, id.shard(SHARDS)), at);
            (update, set, "")
        }
        Change::Resume(queue, at) => {
            let (update, _) = look_at(update, part(queue, id.shard(SHARDS)), at);
            let set = ", #dueQueue = if_not_exists(#dueQueue, :dueQueue), #dueAt = if_not_exists(#dueAt, :dueAt)";
            (update, set, "")
        }
    }
}

/// Adds to the update of a parked item when it is looked at.
pub(super) fn check_unmatched(update: UpdateBuilder, place: &str, at: Timestamp) -> (UpdateBuilder, &'static str) {
    let shard = place
        .bytes()
        .fold(0_u8, u8::wrapping_add)
        .checked_rem(SHARDS)
        .unwrap_or(0);
    look_at(update, part(Queue::Unmatched, shard), at)
}

/// Adds to an update when its item is looked at: what to add to `SET`.
fn look_at(update: UpdateBuilder, part: AttributeValue, at: Timestamp) -> (UpdateBuilder, &'static str) {
    let update = named(update)
        .expression_attribute_values(":dueQueue", part)
        .expression_attribute_values(":dueAt", number(at.as_millis()));
    (update, ", #dueQueue = :dueQueue, #dueAt = :dueAt")
}

fn named(update: UpdateBuilder) -> UpdateBuilder {
    update
        .expression_attribute_names("#dueQueue", QUEUE)
        .expression_attribute_names("#dueAt", AT)
}

fn part(queue: Queue, shard: u8) -> AttributeValue {
    AttributeValue::S(format!("{}#{shard}", queue.name()))
}

fn due_of(item: &Item) -> Result<Due, StoreError> {
    let pk = item
        .get("pk")
        .and_then(|pk| pk.as_s().ok())
        .ok_or(StoreError::Corrupt)?;
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
            let (name, place) = rest.split_once('#')?;
            let provider = Provider::ALL.into_iter().find(|provider| provider.name() == name)?;
            Some(Subject::Unmatched(provider, place.to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_read_from_its_key() {
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
