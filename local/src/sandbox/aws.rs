//! A look into the local AWS, for the live view: the payment and its facts in the table, and its events.
//!
//! Only a local one: nothing here is signed, and nothing leaves this machine.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::http::loopback_problem;

/// What of a payment is shown. The rest is the caller's metadata, or leads to the provider's page.
const STATE: &[&str] = &[
    "status",
    "rank",
    "version",
    "amount",
    "currency",
    "references",
    "captureReferences",
    "attention",
    "createdAt",
    "updatedAt",
];
/// The queue that tests/local/deploy.py makes.
const EVENTS: &str = "payment-events";
/// How often the queue is asked for more at a time.
const RECEIVES: usize = 10;
/// How many events are kept in memory.
const KEPT: usize = 10_000;

/// Where the local AWS is, and what of it to look at.
#[derive(Clone, Debug)]
pub struct LocalAws {
    /// The endpoint.
    pub endpoint: String,
    /// The region, which keeps tables apart there.
    pub region: String,
    /// The access key's id, which does so too.
    pub access_key_id: String,
    /// The payments' table.
    pub table: String,
    /// A queue that every event of the bus is sent to, by its name.
    pub events: String,
}

/// The events that were read out of the queue.
#[derive(Debug, Default)]
pub(super) struct Events {
    of_payments: BTreeMap<String, Vec<Value>>,
    count: usize,
}

impl Events {
    /// Notes an event as the bus delivers it.
    pub(super) fn note(&mut self, event: Value) {
        let payment = event.pointer("/detail/id").and_then(Value::as_str).map(str::to_owned);
        if let Some(payment) = payment.filter(|_| self.count < KEPT) {
            let known = self.of_payments.entry(payment).or_default();
            // The queue gives it again where it could not be deleted.
            if known.iter().all(|known| known.get("id") != event.get("id")) {
                self.count += 1;
                known.push(event);
            }
        }
    }

    /// A payment's, in the order of their versions.
    pub(super) fn of(&self, payment: &str) -> Vec<Value> {
        let mut events = self.of_payments.get(payment).cloned().unwrap_or_default();
        events.sort_by_key(|event| event.pointer("/detail/version").and_then(Value::as_u64));
        events
    }
}

impl LocalAws {
    /// As the functions' own variables say, where they name an endpoint.
    pub fn from(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let or = |name, default: &str| variable(name).unwrap_or_else(|| default.to_owned());
        Some(Self {
            endpoint: variable("AWS_ENDPOINT_URL")?,
            region: or("AWS_REGION", "us-east-1"),
            access_key_id: or("AWS_ACCESS_KEY_ID", "local"),
            table: or("PAYMENTS_TABLE", "payments"),
            events: EVENTS.to_owned(),
        })
    }

    /// A payment as it stands in the table, with its facts, oldest first; or why it cannot be seen.
    pub(super) async fn ledger(&self, http: &reqwest::Client, payment: &str) -> Result<Value, String> {
        let query = json!({
            "TableName": self.table,
            "ConsistentRead": true,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": format!("PAYMENT#{payment}") } },
        });
        let answer = self.call(http, "dynamodb", "DynamoDB_20120810.Query", &query).await?;
        let items = answer
            .get("Items")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let mut state = Value::Null;
        let mut facts = Vec::new();
        for item in &items {
            let mut plain = object(item);
            let key = plain
                .remove("sk")
                .and_then(|sk| sk.as_str().map(str::to_owned))
                .unwrap_or_default();
            plain.remove("pk");
            if let Some(digest) = key.strip_prefix("FACT#") {
                plain.insert("digest".to_owned(), json!(digest));
                facts.push(plain);
            } else if key == "STATE" {
                plain.retain(|name, _| STATE.contains(&name.as_str()));
                state = Value::Object(plain);
            }
        }
        facts.sort_by_key(|fact| fact.get("receivedAt").and_then(Value::as_u64));
        Ok(json!({ "state": state, "facts": facts }))
    }

    /// Notes what has come into the queue, and takes it out of there.
    pub(super) async fn read_events(&self, http: &reqwest::Client, note: impl Fn(Value)) -> Result<(), String> {
        let name = json!({ "QueueName": self.events });
        let found = self.call(http, "sqs", "AmazonSQS.GetQueueUrl", &name).await?;
        let queue = found.get("QueueUrl").cloned().unwrap_or_default();
        for _ in 0..RECEIVES {
            let receive = json!({ "QueueUrl": queue, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0 });
            let answer = self.call(http, "sqs", "AmazonSQS.ReceiveMessage", &receive).await?;
            let messages = answer.get("Messages").and_then(Value::as_array);
            let messages = messages.filter(|messages| !messages.is_empty());
            let Some(messages) = messages else {
                break;
            };
            let mut taken = Vec::new();
            for (index, message) in messages.iter().enumerate() {
                let body = message.get("Body").and_then(Value::as_str).unwrap_or_default();
                if let Ok(event) = serde_json::from_str(body) {
                    note(event);
                }
                taken.push(json!({ "Id": index.to_string(), "ReceiptHandle": message.get("ReceiptHandle") }));
            }
            let delete = json!({ "QueueUrl": queue, "Entries": taken });
            self.call(http, "sqs", "AmazonSQS.DeleteMessageBatch", &delete).await?;
        }
        Ok(())
    }

    async fn call(&self, http: &reqwest::Client, service: &str, target: &str, body: &Value) -> Result<Value, String> {
        if let Some(problem) = loopback_problem(&self.endpoint) {
            return Err(problem);
        }
        let scope = format!("{}/20260101/{}/{service}/aws4_request", self.access_key_id, self.region);
        let request = http
            .post(&self.endpoint)
            .header("x-amz-target", target)
            .header("content-type", "application/x-amz-json-1.0")
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
            )
            .body(body.to_string());
        let unreached = |_| format!("the local AWS does not answer at {}", self.endpoint);
        let response = request.send().await.map_err(unreached)?;
        let status = response.status();
        let text = response.text().await.map_err(unreached)?;
        if !status.is_success() {
            return Err(format!("{target} is answered with {status}: {text}"));
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }
}

/// An item without DynamoDB's types.
fn object(item: &Value) -> Map<String, Value> {
    let members = item.as_object().into_iter().flatten();
    members.map(|(name, value)| (name.clone(), plain(value))).collect()
}

fn plain(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|typed| typed.iter().next()) else {
        return Value::Null;
    };
    match kind.as_str() {
        "N" => inner
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default(),
        "M" => Value::Object(object(inner)),
        "L" => inner.as_array().into_iter().flatten().map(plain).collect(),
        "NULL" => Value::Null,
        _ => inner.clone(),
    }
}
