//! Invocation in, response out.
//!
//! | invocation event | sent by | action |
//! |---|---|---|
//! | `{"Records":[…]}` of a DynamoDB stream | the table's stream | publish the changes, and notice orders that were paid twice |
//! | `{"Records":[…]}` of an SQS queue | the dead-letter queue, while an operator redrives it | publish the events again |
//! | `{"action":"republish","paymentId"}` | an operator | publish the payment's current state again |
//!
//! The response to a batch is `{"batchItemFailures":[…]}`. Of the queue it names every message that is not done, and
//! Lambda retries these. Of the stream it names only the first record that is not done, and Lambda retries from there.

use std::process::ExitCode;
use std::time::Duration;

use lambda_runtime::Diagnostic;
use payment_functions::domain::id::PaymentId;
use payment_functions::lambda::{self, Function};
use payment_functions::platform::aws::Aws;
use payment_functions::platform::clock;
use payment_functions::platform::config::{ConfigError, Variables};
use payment_functions::platform::tls::Tls;
use payment_functions::store::Store;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dead_letter::DeadLetterQueue;
use crate::event_bus::EventBus;
use crate::order_paid_twice;
use crate::republish::{self, Published, RepublishError, SqsMessage};
use crate::retry_policy::Failure;
use crate::stream::{self, Position};

/// A stream batch starts no further call after this. The running call and its dead-letter messages may take some
/// seconds more.
const BATCH_TIME_LIMIT: Duration = Duration::from_secs(30);

/// After the events, the check of the batch's orders starts with no further ones after this. The running checks
/// may take some seconds more.
const ORDERS_TIME_LIMIT: Duration = Duration::from_secs(10);

/// The function's clients and settings.
#[derive(Debug)]
struct PublishEvents {
    store: Store,
    bus: EventBus,
    dead_letters: DeadLetterQueue,
}

#[derive(Debug)]
enum Request {
    /// Each record, with its sequence number and time.
    Stream(Vec<(Position, Value)>),
    DeadLetters(Vec<SqsMessage>),
    Operator(Command),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase", deny_unknown_fields)]
enum Command {
    Republish {
        #[serde(rename = "paymentId")]
        payment_id: PaymentId,
    },
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Response {
    Batch(BatchResponse),
    Published(Published),
}

/// What Lambda must retry (partial batch response).
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchResponse {
    batch_item_failures: Vec<FailedItem>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct FailedItem {
    item_identifier: String,
}

/// Why an invocation failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("invalid event: {0}")]
    InvalidEvent(#[from] serde_json::Error),
    #[error("not republished: {0}")]
    Republish(#[from] RepublishError),
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        tracing::error!(error = %error, "invocation failed");
        let error_type = match &error {
            Error::InvalidEvent(_) => "INVALID_EVENT",
            Error::Republish(RepublishError::Store(_) | RepublishError::Bus(Failure::Transient(_))) => "UNAVAILABLE",
            Error::Republish(_) => "REFUSED",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// Runs the function until Lambda stops it.
pub fn run() -> ExitCode {
    lambda::run::<PublishEvents>()
}

impl Function for PublishEvents {
    const NAME: &'static str = "publish-events";
    type Event = Value;
    type Response = Response;
    type Error = Error;

    fn configure(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let aws = Aws::from_environment(variables, &Tls::from_environment(variables)?)?;
        Ok(Self {
            store: Store::open(&aws, variables.payments_table()?),
            bus: EventBus::new(aws.eventbridge(), variables.required("EVENT_BUS")?),
            dead_letters: DeadLetterQueue::new(aws.sqs(), variables.required("DEAD_LETTER_QUEUE_URL")?),
        })
    }

    async fn handle(&self, event: Value) -> Result<Response, Error> {
        Ok(match Request::read(event)? {
            Request::Stream(records) => {
                let now = clock::now();
                let unpublished = stream::publish(&self.bus, &self.dead_letters, &records, now, BATCH_TIME_LIMIT).await;
                let published = records
                    .iter()
                    .take_while(|(position, _)| Some(position.sequence_number.as_str()) != unpublished);
                let unchecked = order_paid_twice::check(&self.store, published, now, ORDERS_TIME_LIMIT).await;
                Response::Batch(BatchResponse::of(unchecked.or(unpublished).map(str::to_owned)))
            }
            Request::DeadLetters(messages) => Response::Batch(BatchResponse::of(
                republish::redrive(&self.store, &self.bus, messages).await,
            )),
            Request::Operator(Command::Republish { payment_id }) => {
                Response::Published(republish::republish(&self.store, &self.bus, payment_id).await?)
            }
        })
    }
}

impl Request {
    /// Recognises an invocation event by its shape. All records of a batch have the same source.
    fn read(event: Value) -> Result<Self, serde_json::Error> {
        let Some(records) = event.get("Records").and_then(Value::as_array) else {
            return Command::deserialize(event).map(Self::Operator);
        };
        let are_from = |source: &str| {
            let is_from = |record: &Value| record.get("eventSource").and_then(Value::as_str) == Some(source);
            !records.is_empty() && records.iter().all(is_from)
        };
        if are_from("aws:dynamodb") {
            let with_position = |record: &Value| {
                let position = record.get("dynamodb").unwrap_or(&Value::Null);
                Ok((Position::deserialize(position)?, record.clone()))
            };
            records
                .iter()
                .map(with_position)
                .collect::<Result<_, _>>()
                .map(Self::Stream)
        } else if are_from("aws:sqs") {
            let messages = records.iter().map(SqsMessage::deserialize);
            messages.collect::<Result<_, _>>().map(Self::DeadLetters)
        } else {
            Err(serde_json::Error::custom("records from an unknown source"))
        }
    }
}

impl BatchResponse {
    fn of(identifiers: impl IntoIterator<Item = String>) -> Self {
        let failed = |item_identifier| FailedItem { item_identifier };
        Self {
            batch_item_failures: identifiers.into_iter().map(failed).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn invocation_event_is_recognised_by_its_shape() {
        let of_stream = json!({ "eventSource": "aws:dynamodb", "dynamodb": { "SequenceNumber": "1" } });
        let of_queue = json!({ "eventSource": "aws:sqs", "messageId": "m", "body": "" });
        let id = PaymentId::random();
        let is = |event: Value| match Request::read(event) {
            Ok(Request::Stream(records)) => format!("{} stream records", records.len()),
            Ok(Request::DeadLetters(messages)) => format!("{} queue messages", messages.len()),
            Ok(Request::Operator(Command::Republish { payment_id })) => {
                assert_eq!(payment_id, id);
                "republish".to_owned()
            }
            Err(_) => "invalid".to_owned(),
        };
        for (event, expected) in [
            (json!({ "Records": [of_stream, of_stream] }), "2 stream records"),
            (json!({ "Records": [of_queue] }), "1 queue messages"),
            (json!({ "action": "republish", "paymentId": id }), "republish"),
            (json!({ "Records": [of_stream, of_queue] }), "invalid"),
            (json!({ "Records": [] }), "invalid"),
            (json!({ "Records": [{ "eventSource": "aws:s3" }] }), "invalid"),
            (json!({ "Records": [{ "eventSource": "aws:dynamodb" }] }), "invalid"),
            (
                json!({ "Records": [{ "eventSource": "aws:sqs", "body": "" }] }),
                "invalid",
            ),
            (json!({ "action": "republish" }), "invalid"),
            (json!({ "action": "republish", "paymentId": "x" }), "invalid"),
            (
                json!({ "action": "republish", "paymentId": id, "status": "completed" }),
                "invalid",
            ),
            (json!({ "action": "publish", "paymentId": id }), "invalid"),
            (json!([]), "invalid"),
            (json!(null), "invalid"),
        ] {
            assert_eq!(is(event.clone()), expected, "{event}");
        }
    }
}
