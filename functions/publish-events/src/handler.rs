//! An event in, an answer out.
//!
//! | event | |
//! |---|---|
//! | `{"Records":[…]}` of a DynamoDB stream | the table's: what has changed |
//! | `{"Records":[…]}` of an SQS queue | the dead-letter queue's, once somebody has it drained |
//! | `{"action":"republish","paymentId"}` | an operator's: where a payment stands now |
//!
//! Both batches are answered with `{"batchItemFailures":[…]}`: what is not in it is done.

use std::process::ExitCode;
use std::time::Duration;

use lambda_runtime::Diagnostic;
use payment_functions::domain::id::PaymentId;
use payment_functions::lambda;
use payment_functions::platform::aws::Aws;
use payment_functions::platform::clock;
use payment_functions::platform::config::{ConfigError, Variables};
use payment_functions::platform::tls::Tls;
use payment_functions::store::Store;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dead_letter::DeadLetters;
use crate::event_bus::Bus;
use crate::republish::{self, Message, NotAgain, Published};
use crate::retry_policy::Failure;
use crate::stream::{self, Place};

const NAME: &str = "publish-events";

/// How long a batch goes on; the call that it is at, and its dead letters, take some seconds more.
const TIME: Duration = Duration::from_secs(30);

/// The function's clients and settings.
#[derive(Debug)]
pub struct PublishEvents {
    store: Store,
    bus: Bus,
    dead_letters: DeadLetters,
}

#[derive(Debug)]
enum Request {
    Stream(Vec<(Place, Value)>),
    DeadLetters(Vec<Message>),
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
enum Answer {
    Batch(Failures),
    Published(Published),
}

/// What of a batch comes again.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failures {
    batch_item_failures: Vec<FailedItem>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct FailedItem {
    item_identifier: String,
}

/// Why an event came to nothing.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("not an event of this function: {0}")]
    NotUnderstood(#[from] serde_json::Error),
    #[error("not published: {0}")]
    NotAgain(#[from] NotAgain),
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        tracing::error!(error = %error, "event failed");
        let error_type = match &error {
            Error::NotUnderstood(_) => "INVALID_EVENT",
            Error::NotAgain(NotAgain::Store(_) | NotAgain::Bus(Failure::NotNow(_))) => "UNAVAILABLE",
            Error::NotAgain(_) => "REFUSED",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// Runs the function until Lambda ends it.
pub fn run() -> ExitCode {
    lambda::serve(
        NAME,
        PublishEvents::configure,
        // Nobody waits for it.
        async |_| {},
        PublishEvents::handle,
    )
}

impl PublishEvents {
    fn configure(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let aws = Aws::from_environment(variables, &Tls::from_environment(variables)?)?;
        Ok(Self {
            store: Store::open(&aws, variables.payments_table()?),
            bus: Bus::new(aws.eventbridge(), variables.required("EVENT_BUS")?),
            dead_letters: DeadLetters::new(aws.sqs(), variables.required("DEAD_LETTER_QUEUE_URL")?),
        })
    }

    async fn handle(&self, event: Value) -> Result<Answer, Error> {
        Ok(match Request::read(event)? {
            Request::Stream(records) => {
                let failed = stream::publish(&self.bus, &self.dead_letters, &records, clock::now(), TIME).await;
                Answer::Batch(Failures::of(failed.map(str::to_owned)))
            }
            Request::DeadLetters(messages) => {
                Answer::Batch(Failures::of(republish::drain(&self.store, &self.bus, messages).await))
            }
            Request::Operator(Command::Republish { payment_id }) => {
                Answer::Published(republish::republish(&self.store, &self.bus, payment_id).await?)
            }
        })
    }
}

impl Request {
    /// By the event's shape. All records of a batch are of one source.
    fn read(event: Value) -> Result<Self, serde_json::Error> {
        let Some(records) = event.get("Records").and_then(Value::as_array) else {
            return Command::deserialize(event).map(Self::Operator);
        };
        let is_from = |source: &str| {
            let is_from = |record: &Value| record.get("eventSource").and_then(Value::as_str) == Some(source);
            !records.is_empty() && records.iter().all(is_from)
        };
        if is_from("aws:dynamodb") {
            let place = |record: &Value| {
                let place = record.get("dynamodb").unwrap_or(&Value::Null);
                Ok((Place::deserialize(place)?, record.clone()))
            };
            records.iter().map(place).collect::<Result<_, _>>().map(Self::Stream)
        } else if is_from("aws:sqs") {
            let messages = records.iter().map(Message::deserialize);
            messages.collect::<Result<_, _>>().map(Self::DeadLetters)
        } else {
            Err(serde_json::Error::custom("records of no known source"))
        }
    }
}

impl Failures {
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
    fn an_event_is_known_by_its_shape() {
        let of_stream = json!({ "eventSource": "aws:dynamodb", "dynamodb": { "SequenceNumber": "1" } });
        let of_queue = json!({ "eventSource": "aws:sqs", "messageId": "m", "body": "" });
        let id = PaymentId::random();
        let is = |event: Value| match Request::read(event) {
            Ok(Request::Stream(records)) => format!("{} of the stream", records.len()),
            Ok(Request::DeadLetters(messages)) => format!("{} of the queue", messages.len()),
            Ok(Request::Operator(Command::Republish { payment_id })) => {
                assert_eq!(payment_id, id);
                "republish".to_owned()
            }
            Err(_) => "nothing".to_owned(),
        };
        for (event, expected) in [
            (json!({ "Records": [of_stream, of_stream] }), "2 of the stream"),
            (json!({ "Records": [of_queue] }), "1 of the queue"),
            (json!({ "action": "republish", "paymentId": id }), "republish"),
            (json!({ "Records": [of_stream, of_queue] }), "nothing"),
            (json!({ "Records": [] }), "nothing"),
            (json!({ "Records": [{ "eventSource": "aws:s3" }] }), "nothing"),
            (json!({ "Records": [{ "eventSource": "aws:dynamodb" }] }), "nothing"),
            (
                json!({ "Records": [{ "eventSource": "aws:sqs", "body": "" }] }),
                "nothing",
            ),
            (json!({ "action": "republish" }), "nothing"),
            (json!({ "action": "republish", "paymentId": "x" }), "nothing"),
            (
                json!({ "action": "republish", "paymentId": id, "status": "completed" }),
                "nothing",
            ),
            (json!({ "action": "publish", "paymentId": id }), "nothing"),
            (json!([]), "nothing"),
            (json!(null), "nothing"),
        ] {
            assert_eq!(is(event.clone()), expected, "{event}");
        }
    }
}
