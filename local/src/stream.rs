//! From the table's stream to publish-events, as Lambda's event source mapping does it, by the rules of template.yaml.
//!
//! Guarantees: records are handed on in the order of the stream, a batch at a time. From the first record that is not
//! done all of them come again, until the record is too old, or was tried too often: then a letter that names the
//! records goes to the dead-letter queue, and the rest goes on. Nothing else is left out but what the filter leaves out.

use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::aws::AwsCalls;
use super::invocations::Invocations;
use super::log::{Level, Log};
use super::template::Mapping;
use super::{Error, background};

/// How often Lambda looks into a stream.
const POLL: Duration = Duration::from_millis(250);
/// Between two tries of a batch: this at first, then twice as long each time.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

const FUNCTION: &str = "publish-events";
/// A bit longer than the function's time limit.
const LIMIT: Duration = Duration::from_secs(70);

/// A running feed. It ends when this is dropped.
#[derive(Debug)]
pub struct StreamFeed {
    following: JoinHandle<()>,
}

impl StreamFeed {
    /// Follows the stream of `table` from its beginning, and hands it to publish-events; what comes to nothing goes to
    /// the queue `dead_letters`.
    ///
    /// # Errors
    /// When the table has no stream.
    pub async fn start(
        aws: &AwsCalls,
        table: &str,
        functions: Invocations,
        dead_letters: &str,
        mapping: Mapping,
        log: Log,
    ) -> Result<Self, Error> {
        let feed = Feed {
            stream: TableStream::open(aws, table).await?,
            patterns: mapping.patterns()?,
            mapping,
            functions,
            dead_letters: dead_letters.to_owned(),
            log,
        };
        Ok(Self {
            following: background::handle()?.spawn(feed.follow()),
        })
    }
}

impl Drop for StreamFeed {
    fn drop(&mut self) {
        self.following.abort();
    }
}

/// A table's stream, read from its beginning. The local AWS has all of it in one shard for ever.
#[derive(Debug)]
pub struct TableStream {
    aws: AwsCalls,
    arn: Value,
    shard: Value,
    /// The last record that was read.
    last: Option<Value>,
    iterator: Value,
}

impl TableStream {
    /// Opens the latest stream of a table.
    ///
    /// # Errors
    /// When there is none.
    pub async fn open(aws: &AwsCalls, table: &str) -> Result<Self, Error> {
        let described = aws
            .call("dynamodb", "DescribeTable", &json!({ "TableName": table }))
            .await?;
        let arn = at(&described, "/Table/LatestStreamArn");
        let described = aws
            .call("streams", "DescribeStream", &json!({ "StreamArn": arn }))
            .await?;
        Ok(Self {
            aws: aws.clone(),
            shard: at(&described, "/StreamDescription/Shards/0/ShardId"),
            arn,
            last: None,
            iterator: Value::Null,
        })
    }

    /// The next records, as Lambda hands them on; none where there are none yet.
    ///
    /// # Errors
    /// When they cannot be read; the next call goes on where this one was.
    pub async fn read(&mut self) -> Result<Vec<Value>, Error> {
        if self.iterator.is_null() {
            let mut from = json!({ "StreamArn": self.arn, "ShardId": self.shard, "ShardIteratorType": "TRIM_HORIZON" });
            if let (Some(from), Some(last)) = (from.as_object_mut(), &self.last) {
                from.insert("ShardIteratorType".to_owned(), "AFTER_SEQUENCE_NUMBER".into());
                from.insert("SequenceNumber".to_owned(), last.clone());
            }
            let opened = self.aws.call("streams", "GetShardIterator", &from).await?;
            self.iterator = at(&opened, "/ShardIterator");
        }
        // An iterator is good for a quarter of an hour, and this one is lost with the answer.
        let iterator = std::mem::take(&mut self.iterator);
        let request = json!({ "ShardIterator": iterator });
        let mut page = self.aws.call("streams", "GetRecords", &request).await?;
        self.iterator = at(&page, "/NextShardIterator");
        let mut records = match page.get_mut("Records").map(Value::take) {
            Some(Value::Array(records)) => records,
            _ => vec![],
        };
        if let Some(last) = records.last() {
            self.last = Some(at(last, "/dynamodb/SequenceNumber"));
        }
        for record in records.iter_mut().filter_map(Value::as_object_mut) {
            record.insert("eventSourceARN".to_owned(), self.arn.clone());
        }
        Ok(records)
    }
}

struct Feed {
    stream: TableStream,
    patterns: Vec<Value>,
    mapping: Mapping,
    functions: Invocations,
    dead_letters: String,
    log: Log,
}

/// How far the function got with a batch.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Done,
    /// The record at this index is the first that is not done.
    UpTo(usize),
}

impl Feed {
    async fn follow(mut self) {
        let mut is_told = false;
        loop {
            match self.stream.read().await {
                Ok(records) => {
                    is_told = false;
                    let wanted: Vec<_> = records.into_iter().filter(|record| self.is_wanted(record)).collect();
                    if wanted.is_empty() {
                        sleep(POLL).await;
                    }
                    for batch in wanted.chunks(self.mapping.batch_size.max(1)) {
                        self.hand_on(batch).await;
                    }
                }
                Err(error) => {
                    // Once for as long as it lasts.
                    if !std::mem::replace(&mut is_told, true) {
                        self.log.line(
                            FUNCTION,
                            Level::Error,
                            &format!("the table's stream cannot be read: {error}"),
                        );
                    }
                    sleep(LONGEST_WAIT).await;
                }
            }
        }
    }

    fn is_wanted(&self, record: &Value) -> bool {
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| matches(pattern, record))
    }

    /// Tries a batch until all of it is done or given up.
    async fn hand_on(&self, mut batch: &[Value]) {
        let (mut retries, mut wait) = (0_u32, FIRST_WAIT);
        loop {
            match self.invoke(batch).await {
                Progress::Done => return,
                Progress::UpTo(0) => {}
                Progress::UpTo(done) => {
                    batch = batch.get(done..).unwrap_or_default();
                    (retries, wait) = (0, FIRST_WAIT);
                }
            }
            let now = OffsetDateTime::now_utc().unix_timestamp();
            let is_old = |record: &&Value| {
                let created_at = at(record, "/dynamodb/ApproximateCreationDateTime");
                let age = created_at
                    .as_number()
                    .and_then(|seconds| seconds.to_string().split('.').next()?.parse().ok());
                age.is_some_and(|created_at: i64| now.abs_diff(created_at) > self.mapping.maximum_age)
            };
            let given_up = if self.mapping.maximum_retries.is_some_and(|most| retries >= most) {
                Some((batch.len(), "RetryAttemptsExhausted"))
            } else {
                let old = batch.iter().take_while(is_old).count();
                (old > 0).then_some((old, "RecordAgeExceeded"))
            };
            if let Some((count, condition)) = given_up {
                let (dead, rest) = batch.split_at_checked(count).unwrap_or((batch, &[]));
                self.bury(dead, condition, retries.saturating_add(1)).await;
                batch = rest;
                (retries, wait) = (0, FIRST_WAIT);
                if batch.is_empty() {
                    return;
                }
                continue;
            }
            sleep(wait).await;
            retries = retries.saturating_add(1);
            wait = wait.saturating_mul(2).min(LONGEST_WAIT);
        }
    }

    async fn invoke(&self, batch: &[Value]) -> Progress {
        let event = json!({ "Records": batch }).to_string();
        match self.functions.invoke(FUNCTION, event, LIMIT).await {
            Ok(answer) => progress(batch, &answer),
            Err(error) => {
                let count = batch.len();
                self.log.line(
                    FUNCTION,
                    Level::Warn,
                    &format!("{count} records not published, they come again: {error}"),
                );
                Progress::UpTo(0)
            }
        }
    }

    /// Sends what Lambda sends of records that it gives up.
    async fn bury(&self, records: &[Value], condition: &str, count: u32) {
        let place = |record: Option<&Value>, name: &str| record.map(|record| at(record, &format!("/dynamodb/{name}")));
        let (first, last) = (records.first(), records.last());
        let letter = json!({
            "requestContext": { "functionArn": FUNCTION, "condition": condition, "approximateInvokeCount": count },
            "version": "1.0",
            "timestamp": OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            "DDBStreamBatchInfo": {
                "shardId": self.stream.shard,
                "startSequenceNumber": place(first, "SequenceNumber"),
                "endSequenceNumber": place(last, "SequenceNumber"),
                "approximateArrivalOfFirstRecord": place(first, "ApproximateCreationDateTime"),
                "approximateArrivalOfLastRecord": place(last, "ApproximateCreationDateTime"),
                "batchSize": records.len(),
                "streamArn": self.stream.arn,
            },
        });
        let message = json!({ "QueueUrl": self.dead_letters, "MessageBody": letter.to_string() });
        let sent = self.stream.aws.call("sqs", "SendMessage", &message).await;
        let said = match sent {
            Ok(_) => format!(
                "{} records given up, a letter is in the dead-letter queue ({condition})",
                records.len()
            ),
            Err(error) => format!("{} records given up, and no letter sent: {error}", records.len()),
        };
        self.log.line(FUNCTION, Level::Error, &said);
    }
}

/// What an answer says of a batch. Where it names a record that is not in the batch, nothing counts as done.
fn progress(batch: &[Value], answer: &Value) -> Progress {
    let failures = answer.get("batchItemFailures").and_then(Value::as_array);
    let place = |failure: &Value| {
        let number = failure.get("itemIdentifier");
        let found = batch
            .iter()
            .position(|record| record.pointer("/dynamodb/SequenceNumber") == number);
        found.unwrap_or(0)
    };
    let first = failures.and_then(|failures| failures.iter().map(place).min());
    first.map_or(Progress::Done, Progress::UpTo)
}

/// Whether a record has what an event pattern asks for: one of the values in each of its lists.
fn matches(pattern: &Value, record: &Value) -> bool {
    match pattern {
        Value::Object(members) => members
            .iter()
            .all(|(name, pattern)| record.get(name).is_some_and(|value| matches(pattern, value))),
        Value::Array(values) => values.contains(record),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => pattern == record,
    }
}

fn at(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_asks_for_one_of_its_values() {
        let pattern = json!({ "eventName": ["MODIFY"], "dynamodb": { "Keys": { "sk": { "S": ["STATE", "X"] } } } });
        let record = |name: &str, sk: &str| json!({ "eventName": name, "dynamodb": { "Keys": { "sk": { "S": sk } } } });
        assert!(matches(&pattern, &record("MODIFY", "STATE")));
        assert!(!matches(&pattern, &record("INSERT", "STATE")));
        assert!(!matches(&pattern, &record("MODIFY", "KEY")));
        assert!(!matches(&pattern, &json!({ "eventName": "MODIFY" })));
    }

    #[test]
    fn an_answer_names_the_first_that_is_not_done() {
        let batch = ["1", "2", "3"].map(|number| json!({ "dynamodb": { "SequenceNumber": number } }));
        let failed = |numbers: &[&str]| {
            let failures: Vec<_> = numbers
                .iter()
                .map(|number| json!({ "itemIdentifier": number }))
                .collect();
            progress(&batch, &json!({ "batchItemFailures": failures }))
        };
        assert_eq!(failed(&[]), Progress::Done);
        assert_eq!(failed(&["3", "2"]), Progress::UpTo(1));
        for nothing in [&["9"][..], &[""], &["2", "9"]] {
            assert_eq!(failed(nothing), Progress::UpTo(0));
        }
        assert_eq!(progress(&batch, &Value::Null), Progress::Done);
    }
}
