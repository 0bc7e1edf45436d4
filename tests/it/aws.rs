//! Direct access to the local AWS: items of the table, queues, event buses and secrets.

use std::sync::OnceLock;

use payment_functions::platform::aws::Aws;
use payment_functions::platform::config::{PROCESS_ENVIRONMENT, Variables};
use payment_functions::platform::tls::Tls;
use payment_functions::store::Store;
use payment_functions_local::TableStream;
use payment_functions_tests::world::{Attached, AwsProxy, Fault};

use crate::support::{Provider, Value, json, unique, world};

/// Makes one call without any proxy.
pub async fn call(service: &str, action: &str, body: &Value) -> Value {
    let world = world().await;
    let in_memory = (service == "dynamodb")
        .then(|| world.tables().call(action, body))
        .flatten();
    let response = match in_memory {
        Some(response) => response,
        None => world.aws().call(service, action, body).await,
    };
    response.unwrap_or_else(|error| panic!("{error}"))
}

/// Starts an instance of a function with its own AWS proxy and a changed environment, and waits until it is warm.
pub async fn behind_proxy(function: &str, changes: &[(&str, Option<&str>)]) -> (AwsProxy, Attached) {
    let proxy = proxy().await;
    let attached = attach(&proxy, function, changes).await;
    (proxy, attached)
}

/// The same, but secrets are unavailable during its start.
pub async fn without_secrets(function: &str, changes: &[(&str, Option<&str>)]) -> (AwsProxy, Attached) {
    let proxy = proxy().await;
    proxy.fail("GetSecretValue", Fault::Error(400, "AccessDeniedException"));
    let attached = attach(&proxy, function, changes).await;
    (proxy, attached)
}

async fn attach(proxy: &AwsProxy, function: &str, changes: &[(&str, Option<&str>)]) -> Attached {
    let endpoint = [("AWS_ENDPOINT_URL", Some(proxy.url()))];
    let changes = [changes, &endpoint].concat();
    let attached = world().await.attach(function, 1, &changes).await.expect("a function");
    attached.ready().await.expect("a start");
    proxy.reset();
    attached
}

/// Creates a table with the keys and the stream of template.yaml.
pub async fn create_table(name: &str) {
    let attribute = |name, kind| json!({ "AttributeName": name, "AttributeType": kind });
    let key = |name, kind| json!({ "AttributeName": name, "KeyType": kind });
    let table = json!({
        "TableName": name, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            attribute("pk", "S"), attribute("sk", "S"), attribute("dueQueue", "S"), attribute("dueAt", "N"),
        ],
        "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
        "GlobalSecondaryIndexes": [{
            "IndexName": "due", "KeySchema": [key("dueQueue", "HASH"), key("dueAt", "RANGE")],
            "Projection": { "ProjectionType": "INCLUDE", "NonKeyAttributes": ["unmatchedSince"] },
        }],
        "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" },
    });
    call("dynamodb", "CreateTable", &table).await;
}

/// Creates a table in memory, without a stream, for heavy use. Its callers need a [`proxy`].
pub async fn create_memory_table(name: &str) {
    world().await.tables().create(name).expect("a table");
}

pub async fn delete_memory_table(name: &str) {
    world().await.tables().delete(name);
}

/// All records of a table's stream in order, as Lambda gets them.
pub async fn stream_records(name: &str) -> Vec<Value> {
    let mut stream = TableStream::open(world().await.aws(), name).await.expect("a stream");
    let mut records = Vec::new();
    loop {
        let page = stream.read().await.expect("records");
        if page.is_empty() {
            return records;
        }
        records.extend(page);
    }
}

/// Creates a queue; returns its URL.
pub async fn create_queue() -> String {
    let queue = json!({ "QueueName": unique("queue") });
    let created = call("sqs", "CreateQueue", &queue).await;
    created["QueueUrl"].as_str().expect("its URL").to_owned()
}

/// Receives all messages of a queue, and deletes them: the local queue looks at every message that it still has.
pub async fn receive_all(queue: &str) -> Vec<Value> {
    let mut messages = Vec::new();
    loop {
        let receive = json!({ "QueueUrl": queue, "MaxNumberOfMessages": 10, "VisibilityTimeout": 600 });
        let page = call("sqs", "ReceiveMessage", &receive).await;
        let Some(page) = page["Messages"].as_array().filter(|page| !page.is_empty()) else {
            return messages;
        };
        let entry = |message: &Value| json!({ "Id": message["MessageId"], "ReceiptHandle": message["ReceiptHandle"] });
        let entries: Vec<Value> = page.iter().map(entry).collect();
        let delete = json!({ "QueueUrl": queue, "Entries": entries });
        let deleted = call("sqs", "DeleteMessageBatch", &delete).await;
        assert!(deleted["Failed"].as_array().is_none_or(Vec::is_empty), "{deleted}");
        messages.extend(page.iter().cloned());
    }
}

/// Creates an event bus with a queue that gets all its events; returns the bus name and the queue URL.
pub async fn create_bus() -> (String, String) {
    let (bus, queue) = (unique("bus"), create_queue().await);
    let name = queue.rsplit_once('/').expect("its name").1;
    call("events", "CreateEventBus", &json!({ "Name": bus })).await;
    let pattern = json!({ "source": ["payment-functions"] }).to_string();
    let rule = json!({ "Name": "all", "EventBusName": bus, "EventPattern": pattern });
    call("events", "PutRule", &rule).await;
    let target = json!({ "Id": "queue", "Arn": format!("arn:aws:sqs:us-east-1:000000000000:{name}") });
    let targets = json!({ "Rule": "all", "EventBusName": bus, "Targets": [target] });
    let put = call("events", "PutTargets", &targets).await;
    assert_eq!(put["FailedEntryCount"], 0, "{put}");
    (bus, queue)
}

/// All items of a table.
pub async fn all_items(name: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut start = Value::Null;
    loop {
        let mut scan = json!({ "TableName": name, "ConsistentRead": true });
        if !start.is_null() {
            scan["ExclusiveStartKey"] = start;
        }
        let page = call("dynamodb", "Scan", &scan).await;
        items.extend(page["Items"].as_array().expect("items").iter().cloned());
        start = page["LastEvaluatedKey"].clone();
        if start.is_null() {
            return items;
        }
    }
}

/// Puts items, in the form of [`all_items`], into a table.
pub async fn put_items(name: &str, items: &[Value]) {
    // DynamoDB's maximum.
    for batch in items.chunks(25) {
        let put = |item: &Value| json!({ "PutRequest": { "Item": item } });
        let puts: Vec<Value> = batch.iter().map(put).collect();
        let response = call("dynamodb", "BatchWriteItem", &json!({ "RequestItems": { name: puts } })).await;
        assert_eq!(response["UnprocessedItems"], json!({}), "all of them");
    }
}

/// Starts a proxy in front of the local AWS.
pub async fn proxy() -> AwsProxy {
    world().await.new_proxy().await.expect("a proxy")
}

/// AWS clients of the crate under test at `endpoint`, with long timeouts.
pub fn clients(endpoint: &str) -> Aws {
    clients_of(endpoint, Some("yes"))
}

/// The same with the timeouts of Lambda.
pub fn clients_with_usual_limits(endpoint: &str) -> Aws {
    clients_of(endpoint, None)
}

fn clients_of(endpoint: &str, slow_machine: Option<&str>) -> Aws {
    let variables = |name: &str| {
        let value = match name {
            "AWS_ENDPOINT_URL" => endpoint,
            "AWS_REGION" => "us-east-1",
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => "local",
            "SLOW_MACHINE" => slow_machine?,
            _ => return None,
        };
        Some(value.to_owned())
    };
    Aws::from_environment(&Variables::from(&variables), tls()).expect("clients")
}

/// The trusted certificates of this machine, read once.
pub fn tls() -> &'static Tls {
    static TLS: OnceLock<Tls> = OnceLock::new();
    TLS.get_or_init(|| Tls::from_environment(&PROCESS_ENVIRONMENT).expect("certificates"))
}

/// The store of the crate under test at `endpoint`.
pub fn store_at(endpoint: &str) -> Store {
    Store::open(&clients(endpoint), "payments".to_owned())
}

/// A value without DynamoDB's types; numbers stay text.
fn plain(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|object| object.iter().next()) else {
        panic!("not an attribute: {value}");
    };
    match kind.as_str() {
        "M" => item(inner),
        "L" => inner.as_array().expect("a list").iter().map(plain).collect(),
        _ => inner.clone(),
    }
}

/// An item without DynamoDB's types.
pub fn item(attributes: &Value) -> Value {
    let attributes = attributes.as_object().expect("an item");
    attributes
        .iter()
        .map(|(name, value)| (name.clone(), plain(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// All items under a partition key.
async fn items(pk: &str) -> Vec<Value> {
    raw_items(pk).await.iter().map(item).collect()
}

/// The same with DynamoDB's types.
pub async fn raw_items(pk: &str) -> Vec<Value> {
    raw_items_of("payments", pk).await
}

/// The same for another table.
pub async fn raw_items_of(table: &str, pk: &str) -> Vec<Value> {
    let query = json!({
        "TableName": table, "ConsistentRead": true, "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": { ":pk": { "S": pk } },
    });
    let response = call("dynamodb", "Query", &query).await;
    response["Items"].as_array().expect("items").clone()
}

/// A payment's item.
pub async fn state(id: &str) -> Option<Value> {
    let items = items(&format!("PAYMENT#{id}")).await;
    items.into_iter().find(|item| item["sk"] == "STATE")
}

/// An idempotency key's item at a function, with DynamoDB's types.
pub async fn raw_key(function: &str, key: &str) -> Option<Value> {
    raw_items(&format!("KEY#{function}#{key}")).await.pop()
}

/// A payment's item, with DynamoDB's types.
pub async fn raw_state(id: &str) -> Option<Value> {
    let items = raw_items(&format!("PAYMENT#{id}")).await;
    items.into_iter().find(|item| item["sk"]["S"] == "STATE")
}

/// A payment's facts.
pub async fn facts(id: &str) -> Vec<Value> {
    let items = items(&format!("PAYMENT#{id}")).await;
    let is_fact = |item: &Value| item["sk"].as_str().is_some_and(|sk| sk.starts_with("FACT#"));
    items.into_iter().filter(is_fact).collect()
}

/// A payment's attention reasons.
pub async fn attention(id: &str) -> Vec<String> {
    let state = state(id).await.expect("the payment");
    let entries = state["attention"].as_array().into_iter().flatten();
    entries
        .map(|entry| entry["reason"].as_str().expect("a reason").to_owned())
        .collect()
}

/// The items of unmatched notifications under one of a provider's ids.
async fn unmatched_items(provider: Provider, lookup_key: &str) -> Vec<Value> {
    items(&format!("UNMATCHED#{}#{lookup_key}", name(provider))).await
}

/// The notifications stored unmatched under one of a provider's ids. Panics if their group does not count them.
pub async fn unmatched(provider: Provider, reference: &str) -> Vec<Value> {
    let mut notifications = unmatched_items(provider, reference).await;
    let group = notifications.iter().position(|item| item["sk"] == "GROUP");
    let group = group.map(|group| notifications.remove(group));
    assert!(
        group.is_some() || notifications.is_empty(),
        "no group of {notifications:?}"
    );
    notifications
}

/// The earliest TTL of unmatched notifications and their group, in seconds since 1970.
pub async fn unmatched_until(provider: Provider, lookup_key: &str) -> u64 {
    let items = unmatched_items(provider, lookup_key).await;
    let ttl = |item: &Value| item["ttl"].as_str().expect("its end").parse().expect("seconds");
    items.iter().map(ttl).min().expect("unmatched notifications")
}

/// The webhooks in a provider's quarantine in a table.
pub async fn quarantined(table: &str, provider: Provider) -> Vec<Value> {
    let items = raw_items_of(table, &format!("QUARANTINE#{}", name(provider))).await;
    items.iter().map(item).collect()
}

/// The payment that owns a provider's id.
pub async fn owner(provider: Provider, reference: &str) -> Option<String> {
    let items = items(&format!("REF#{}#{reference}", name(provider))).await;
    items
        .first()
        .map(|item| item["paymentId"].as_str().expect("an id").to_owned())
}

/// Sets a status that no webhook leads to.
pub async fn set_status(id: &str, status: &str, rank: u8) {
    let update = json!({
        "TableName": "payments", "Key": { "pk": { "S": format!("PAYMENT#{id}") }, "sk": { "S": "STATE" } },
        "UpdateExpression": "SET #status = :status, #rank = :rank, #version = #version + :one",
        "ExpressionAttributeNames": { "#status": "status", "#rank": "rank", "#version": "version" },
        "ExpressionAttributeValues": { ":status": { "S": status }, ":rank": { "N": rank.to_string() }, ":one": { "N": "1" } },
    });
    call("dynamodb", "UpdateItem", &update).await;
}

/// Makes a payment's item unreadable.
pub async fn break_payment(table: &str, id: &str) {
    let update = json!({
        "TableName": table, "Key": { "pk": { "S": format!("PAYMENT#{id}") }, "sk": { "S": "STATE" } },
        "UpdateExpression": "REMOVE amount",
    });
    call("dynamodb", "UpdateItem", &update).await;
}

/// Creates a secret; returns its id.
pub async fn create_secret(value: &Value) -> String {
    let id = unique("secret");
    let secret = json!({ "Name": id, "SecretString": value.to_string() });
    call("secretsmanager", "CreateSecret", &secret).await;
    id
}

/// Gives a secret a new value; the old one becomes `AWSPREVIOUS`.
pub async fn put_secret(id: &str, value: &Value) {
    let secret = json!({ "SecretId": id, "SecretString": value.to_string() });
    call("secretsmanager", "PutSecretValue", &secret).await;
}

/// Makes a secret's previous version current again, as an operator does after a mistake.
pub async fn take_back_secret(id: &str) {
    let described = call("secretsmanager", "DescribeSecret", &json!({ "SecretId": id })).await;
    let stages = described["VersionIdsToStages"].as_object().expect("versions");
    let at = |stage: &str| {
        let mut versions = stages.iter();
        let found = versions.find(|(_, stages)| stages.as_array().is_some_and(|stages| stages.contains(&json!(stage))));
        found.expect("a version at the stage").0
    };
    let change = json!({
        "SecretId": id, "VersionStage": "AWSCURRENT",
        "MoveToVersionId": at("AWSPREVIOUS"), "RemoveFromVersionId": at("AWSCURRENT"),
    });
    call("secretsmanager", "UpdateSecretVersionStage", &change).await;
}

/// A provider's name in paths and keys.
pub fn name(provider: Provider) -> &'static str {
    match provider {
        Provider::Apolopay => "apolopay",
        Provider::Finvypay => "finvypay",
    }
}
