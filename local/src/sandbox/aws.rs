//! Reads the local AWS for the live view: a payment and its facts in the table, and its events.
//!
//! Requests are not signed, and go to this machine only.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::http::loopback_problem;

/// The attributes of a payment that are shown. The caller's metadata and the provider's page are not.
const SHOWN_ATTRIBUTES: &[&str] = &[
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
/// The queue that local/deploy.py creates.
const EVENTS_QUEUE: &str = "payment-events";
/// How many receive calls one read of the queue makes at most.
const MAX_RECEIVES: usize = 10;
/// How many events are kept in memory.
const MAX_EVENTS: usize = 10_000;

/// The local AWS, and the resources to read there.
#[derive(Clone, Debug)]
pub struct LocalAws {
    /// The endpoint.
    pub endpoint: String,
    /// The region. Each region has its own tables there.
    pub region: String,
    /// The access key id. Each id has its own tables there too.
    pub access_key_id: String,
    /// The payments' table.
    pub table: String,
    /// The name of a queue that receives every event of the bus.
    pub events: String,
}

/// The events read from the queue.
#[derive(Debug, Default)]
pub(super) struct Events {
    by_payment: BTreeMap<String, Vec<Value>>,
    count: usize,
}

impl Events {
    /// Adds an event, in the format of the bus.
    pub(super) fn add(&mut self, event: Value) {
        let payment = event.pointer("/detail/id").and_then(Value::as_str).map(str::to_owned);
        if let Some(payment) = payment.filter(|_| self.count < MAX_EVENTS) {
            let known = self.by_payment.entry(payment).or_default();
            // The queue delivers it again if it could not be deleted.
            if known.iter().all(|known| known.get("id") != event.get("id")) {
                self.count += 1;
                known.push(event);
            }
        }
    }

    /// A payment's events, ordered by version.
    pub(super) fn of(&self, payment: &str) -> Vec<Value> {
        let mut events = self.by_payment.get(payment).cloned().unwrap_or_default();
        events.sort_by_key(|event| event.pointer("/detail/version").and_then(Value::as_u64));
        events
    }
}

impl LocalAws {
    /// From the functions' variables; `None` without an endpoint.
    pub fn from(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let or = |name, default: &str| variable(name).unwrap_or_else(|| default.to_owned());
        Some(Self {
            endpoint: variable("AWS_ENDPOINT_URL")?,
            region: or("AWS_REGION", "us-east-1"),
            access_key_id: or("AWS_ACCESS_KEY_ID", "local"),
            table: or("PAYMENTS_TABLE", "payments"),
            events: EVENTS_QUEUE.to_owned(),
        })
    }

    /// A payment's item and its facts, oldest first; or why they cannot be read.
    pub(super) async fn ledger(&self, http: &reqwest::Client, payment: &str) -> Result<Value, String> {
        let query = json!({
            "TableName": self.table,
            "ConsistentRead": true,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": format!("PAYMENT#{payment}") } },
        });
        let response = self.call(http, "dynamodb", "DynamoDB_20120810.Query", &query).await?;
        let items = response
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
                plain.retain(|name, _| SHOWN_ATTRIBUTES.contains(&name.as_str()));
                state = Value::Object(plain);
            }
        }
        facts.sort_by_key(|fact| fact.get("receivedAt").and_then(Value::as_u64));
        Ok(json!({ "state": state, "facts": facts }))
    }

    /// Passes new events of the queue to `add`, and deletes them there.
    pub(super) async fn read_events(&self, http: &reqwest::Client, add: impl Fn(Value)) -> Result<(), String> {
        let name = json!({ "QueueName": self.events });
        let found = self.call(http, "sqs", "AmazonSQS.GetQueueUrl", &name).await?;
        let queue = found.get("QueueUrl").cloned().unwrap_or_default();
        for _ in 0..MAX_RECEIVES {
            let receive = json!({ "QueueUrl": queue, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0 });
            let response = self.call(http, "sqs", "AmazonSQS.ReceiveMessage", &receive).await?;
            let messages = response.get("Messages").and_then(Value::as_array);
            let messages = messages.filter(|messages| !messages.is_empty());
            let Some(messages) = messages else {
                break;
            };
            let mut received = Vec::new();
            for (index, message) in messages.iter().enumerate() {
                let body = message.get("Body").and_then(Value::as_str).unwrap_or_default();
                if let Ok(event) = serde_json::from_str(body) {
                    add(event);
                }
                received.push(json!({ "Id": index.to_string(), "ReceiptHandle": message.get("ReceiptHandle") }));
            }
            let delete = json!({ "QueueUrl": queue, "Entries": received });
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
        let unavailable = |_| format!("the local AWS does not respond at {}", self.endpoint);
        let response = request.send().await.map_err(unavailable)?;
        let status = response.status();
        let text = response.text().await.map_err(unavailable)?;
        if !status.is_success() {
            return Err(format!("{target} failed: {status} {text}"));
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }
}

/// An item as plain JSON, without DynamoDB's types.
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
