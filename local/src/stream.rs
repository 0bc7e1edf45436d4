//! Feeds the table's stream to a function, like Lambda's event source mapping, with the settings of template.yaml.
//!
//! Guarantees: records are delivered in the order of the stream, one batch at a time. After a failure all records from
//! the first failed one are retried. Once that one is too old, it is given up with those directly after it that are too
//! old as well; once it was tried too often, with all that is left of the batch. A message that names the records given
//! up goes to the dead-letter queue, and the stream continues. A record that the filter does not want is skipped.

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

/// How often Lambda polls a stream.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Exponential backoff between two tries of a batch.
const MIN_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Slightly longer than the functions' time limit.
const INVOKE_LIMIT: Duration = Duration::from_secs(70);

/// A running feed. It ends when this is dropped.
#[derive(Debug)]
pub struct StreamFeed {
    following: JoinHandle<()>,
}

impl StreamFeed {
    /// Follows the stream of `table` from its beginning, and delivers it to the mapping's function. If the
    /// mapping says so, a message about failed records goes to the queue `dead_letters`.
    ///
    /// # Errors
    /// If the table has no stream.
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

/// A table's stream, read from its beginning. The local AWS keeps all of it in one shard.
#[derive(Debug)]
pub struct TableStream {
    aws: AwsCalls,
    arn: Value,
    shard: Value,
    /// The sequence number of the last record that was read.
    last: Option<Value>,
    iterator: Value,
}

impl TableStream {
    /// Opens the latest stream of a table.
    ///
    /// # Errors
    /// If there is none.
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

    /// Reads the next records, in the format that Lambda delivers; empty if there are none yet.
    ///
    /// # Errors
    /// If they cannot be read. The next call continues at the same position.
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
        // Iterators expire after 15 minutes, and a lost response loses this one: on an error a new one is opened.
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

/// The result of one delivery of a batch.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Done,
    /// The index of the first record that is not done.
    FailedFrom(usize),
}

impl Feed {
    async fn follow(mut self) {
        let mut is_reported = false;
        loop {
            match self.stream.read().await {
                Ok(records) => {
                    is_reported = false;
                    let wanted: Vec<_> = records.into_iter().filter(|record| self.is_wanted(record)).collect();
                    if wanted.is_empty() {
                        sleep(POLL_INTERVAL).await;
                    }
                    for batch in wanted.chunks(self.mapping.batch_size.max(1)) {
                        self.deliver(batch).await;
                    }
                }
                Err(error) => {
                    // Logged once for an outage.
                    if !std::mem::replace(&mut is_reported, true) {
                        self.log.line(
                            self.mapping.function,
                            Level::Error,
                            &format!("cannot read the table's stream: {error}"),
                        );
                    }
                    sleep(MAX_BACKOFF).await;
                }
            }
        }
    }

    fn is_wanted(&self, record: &Value) -> bool {
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| matches(pattern, record))
    }

    /// Delivers a batch until each record is done or given up.
    async fn deliver(&self, mut batch: &[Value]) {
        let (mut retries, mut wait) = (0_u32, MIN_BACKOFF);
        loop {
            match self.invoke(batch).await {
                Progress::Done => return,
                Progress::FailedFrom(0) => {}
                Progress::FailedFrom(first) => {
                    batch = batch.get(first..).unwrap_or_default();
                    (retries, wait) = (0, MIN_BACKOFF);
                }
            }
            let now = OffsetDateTime::now_utc().unix_timestamp();
            let is_old = |record: &&Value| {
                let created_at = at(record, "/dynamodb/ApproximateCreationDateTime");
                let age = created_at
                    .as_number()
                    .and_then(|seconds| seconds.to_string().split('.').next()?.parse().ok());
                let maximum = self.mapping.maximum_age;
                age.zip(maximum)
                    .is_some_and(|(created_at, maximum): (i64, _)| now.abs_diff(created_at) > maximum)
            };
            let given_up = if self.mapping.maximum_retries.is_some_and(|maximum| retries >= maximum) {
                Some((batch.len(), "RetryAttemptsExhausted"))
            } else {
                let old = batch.iter().take_while(is_old).count();
                (old > 0).then_some((old, "RecordAgeExceeded"))
            };
            if let Some((count, condition)) = given_up {
                let (failed, rest) = batch.split_at_checked(count).unwrap_or((batch, &[]));
                if self.mapping.reports_failures {
                    self.send_to_dead_letters(failed, condition, retries.saturating_add(1))
                        .await;
                }
                batch = rest;
                (retries, wait) = (0, MIN_BACKOFF);
                if batch.is_empty() {
                    return;
                }
                continue;
            }
            sleep(wait).await;
            retries = retries.saturating_add(1);
            wait = wait.saturating_mul(2).min(MAX_BACKOFF);
        }
    }

    async fn invoke(&self, batch: &[Value]) -> Progress {
        let event = json!({ "Records": batch }).to_string();
        match self.functions.invoke(self.mapping.function, event, INVOKE_LIMIT).await {
            Ok(response) => progress(batch, &response),
            Err(error) => {
                let count = batch.len();
                self.log.line(
                    self.mapping.function,
                    Level::Warn,
                    &format!("{count} records not accepted: {error}"),
                );
                Progress::FailedFrom(0)
            }
        }
    }

    /// Sends Lambda's message about records that it gives up to the dead-letter queue.
    async fn send_to_dead_letters(&self, records: &[Value], condition: &str, count: u32) {
        let member = |record: Option<&Value>, name: &str| record.map(|record| at(record, &format!("/dynamodb/{name}")));
        let (first, last) = (records.first(), records.last());
        let body = json!({
            "requestContext": { "functionArn": self.mapping.function, "condition": condition, "approximateInvokeCount": count },
            "version": "1.0",
            "timestamp": OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            "DDBStreamBatchInfo": {
                "shardId": self.stream.shard,
                "startSequenceNumber": member(first, "SequenceNumber"),
                "endSequenceNumber": member(last, "SequenceNumber"),
                "approximateArrivalOfFirstRecord": member(first, "ApproximateCreationDateTime"),
                "approximateArrivalOfLastRecord": member(last, "ApproximateCreationDateTime"),
                "batchSize": records.len(),
                "streamArn": self.stream.arn,
            },
        });
        let message = json!({ "QueueUrl": self.dead_letters, "MessageBody": body.to_string() });
        let sent = self.stream.aws.call("sqs", "SendMessage", &message).await;
        let text = match sent {
            Ok(_) => format!(
                "{} records given up and reported to the dead-letter queue ({condition})",
                records.len()
            ),
            Err(error) => format!(
                "{} records given up, and not reported to the dead-letter queue: {error}",
                records.len()
            ),
        };
        self.log.line(self.mapping.function, Level::Error, &text);
    }
}

/// Evaluates a batch response. If it names a record that is not in the batch, the whole batch has failed.
fn progress(batch: &[Value], response: &Value) -> Progress {
    let failures = response.get("batchItemFailures").and_then(Value::as_array);
    let index = |failure: &Value| {
        let number = failure.get("itemIdentifier");
        let found = batch
            .iter()
            .position(|record| record.pointer("/dynamodb/SequenceNumber") == number);
        found.unwrap_or(0)
    };
    let first = failures.and_then(|failures| failures.iter().map(index).min());
    first.map_or(Progress::Done, Progress::FailedFrom)
}

/// Whether a record matches an event pattern: it has one of the values of each list, begins with a value's `prefix`, or
/// has any value where the pattern says `exists`.
fn matches(pattern: &Value, record: &Value) -> bool {
    match pattern {
        Value::Object(members) => members
            .iter()
            .all(|(name, pattern)| record.get(name).is_some_and(|value| matches(pattern, value))),
        Value::Array(values) => values.iter().any(|value| match (value.get("prefix"), record) {
            (Some(Value::String(prefix)), Value::String(text)) => text.starts_with(prefix),
            _ => value == record || value.get("exists") == Some(&Value::Bool(true)),
        }),
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
    fn pattern_matches_any_value_of_each_list() {
        let pattern = json!({ "eventName": ["MODIFY"], "dynamodb": { "Keys": { "sk": { "S": ["STATE", "X"] } } } });
        let record = |name: &str, sk: &str| json!({ "eventName": name, "dynamodb": { "Keys": { "sk": { "S": sk } } } });
        assert!(matches(&pattern, &record("MODIFY", "STATE")));
        assert!(!matches(&pattern, &record("INSERT", "STATE")));
        assert!(!matches(&pattern, &record("MODIFY", "KEY")));
        assert!(!matches(&pattern, &json!({ "eventName": "MODIFY" })));
        let pattern = json!({ "pk": { "S": [{ "prefix": "UNMATCHED#" }] } });
        assert!(matches(&pattern, &json!({ "pk": { "S": "UNMATCHED#finvypay#FP1" } })));
        assert!(!matches(&pattern, &json!({ "pk": { "S": "PAYMENT#UNMATCHED#" } })));
        let pattern = json!({ "dueAt": { "N": [{ "exists": true }] } });
        assert!(matches(&pattern, &json!({ "dueAt": { "N": "1" } })));
        assert!(!matches(&pattern, &json!({ "ttl": { "N": "1" } })));
    }

    #[test]
    fn batch_response_gives_the_first_failed_record() {
        let batch = ["1", "2", "3"].map(|number| json!({ "dynamodb": { "SequenceNumber": number } }));
        let failed = |numbers: &[&str]| {
            let failures: Vec<_> = numbers
                .iter()
                .map(|number| json!({ "itemIdentifier": number }))
                .collect();
            progress(&batch, &json!({ "batchItemFailures": failures }))
        };
        assert_eq!(failed(&[]), Progress::Done);
        assert_eq!(failed(&["3", "2"]), Progress::FailedFrom(1));
        for unknown in [&["9"][..], &[""], &["2", "9"]] {
            assert_eq!(failed(unknown), Progress::FailedFrom(0));
        }
        assert_eq!(progress(&batch, &Value::Null), Progress::Done);
    }
}
