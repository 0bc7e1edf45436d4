//! The local AWS past the functions: looking into the table, changing what only an operator could, and secrets of one's
//! own.

use std::sync::OnceLock;

use payment_functions::platform::aws::Aws;
use payment_functions::platform::config::{ENVIRONMENT, Variables};
use payment_functions::platform::tls::Tls;
use payment_functions::store::Store;
use payment_functions_local::TableStream;
use payment_functions_tests::world::{Attached, AwsProxy, Fault};

use crate::support::{Provider, Value, json, unique, world};

/// One call, past every proxy.
pub async fn call(service: &str, action: &str, body: &Value) -> Value {
    let world = world().await;
    let in_memory = (service == "dynamodb")
        .then(|| world.tables().call(action, body))
        .flatten();
    let answer = match in_memory {
        Some(answer) => answer,
        None => world.aws().call(service, action, body).await,
    };
    answer.unwrap_or_else(|error| panic!("{error}"))
}

/// An instance of a function with a proxy of its own before the local AWS, and with its environment changed; its
/// connections are open and its secrets fetched.
pub async fn behind_proxy(function: &str, changes: &[(&str, Option<&str>)]) -> (AwsProxy, Attached) {
    let proxy = proxy().await;
    let attached = attach(&proxy, function, changes).await;
    (proxy, attached)
}

/// The same without its secrets, which were out of reach when it started.
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

/// Makes a table with the keys and the stream of template.yaml's.
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

/// Makes a table in memory, without a stream, for what would keep the local AWS busy for minutes: whoever uses it has its
/// calls go through a [`proxy`].
pub async fn create_memory_table(name: &str) {
    world().await.tables().create(name).expect("a table");
}

/// Deletes a table in memory.
pub async fn delete_memory_table(name: &str) {
    world().await.tables().delete(name);
}

/// Every record of a table's stream, as Lambda gets them, in their order.
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

/// Makes a queue of one's own: its URL.
pub async fn create_queue() -> String {
    let queue = json!({ "QueueName": unique("queue") });
    let created = call("sqs", "CreateQueue", &queue).await;
    created["QueueUrl"].as_str().expect("its URL").to_owned()
}

/// Takes every message out of a queue that has not been taken before.
pub async fn receive_all(queue: &str) -> Vec<Value> {
    let mut messages = Vec::new();
    loop {
        let receive = json!({ "QueueUrl": queue, "MaxNumberOfMessages": 10, "VisibilityTimeout": 600 });
        let page = call("sqs", "ReceiveMessage", &receive).await;
        match page["Messages"].as_array() {
            Some(page) if !page.is_empty() => messages.extend(page.iter().cloned()),
            _ => return messages,
        }
    }
}

/// Makes an event bus of one's own, all of whose events go to a queue: their names.
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

/// Every item of a table.
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

/// Puts items into a table, at most 25, as [`all_items`] gives them.
pub async fn put_items(name: &str, items: &[Value]) {
    let puts: Vec<Value> = items
        .iter()
        .map(|item| json!({ "PutRequest": { "Item": item } }))
        .collect();
    let answer = call("dynamodb", "BatchWriteItem", &json!({ "RequestItems": { name: puts } })).await;
    assert_eq!(answer["UnprocessedItems"], json!({}), "all of them");
}

/// A proxy of one's own before the local AWS.
pub async fn proxy() -> AwsProxy {
    world().await.proxy_of_its_own().await.expect("a proxy")
}

/// Clients of the crate under test, by way of `endpoint`. They are patient: what is tested in this process is how things
/// end, not how soon.
pub fn clients(endpoint: &str) -> Aws {
    clients_of(endpoint, Some("yes"))
}

/// The same with the time limits that they have in Lambda.
pub fn impatient_clients(endpoint: &str) -> Aws {
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

/// What this machine trusts, read once.
pub fn tls() -> &'static Tls {
    static TLS: OnceLock<Tls> = OnceLock::new();
    TLS.get_or_init(|| Tls::from_environment(&ENVIRONMENT).expect("certificates"))
}

/// The store of the crate under test, by way of `endpoint`.
pub fn store_at(endpoint: &str) -> Store {
    Store::open(&clients(endpoint), "payments".to_owned())
}

/// An item without DynamoDB's types; numbers stay text.
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

/// A whole item, the same way.
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

/// The same with DynamoDB's types, as a refusal shows them.
pub async fn raw_items(pk: &str) -> Vec<Value> {
    raw_items_of("payments", pk).await
}

/// The same of another table.
pub async fn raw_items_of(table: &str, pk: &str) -> Vec<Value> {
    let query = json!({
        "TableName": table, "ConsistentRead": true, "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": { ":pk": { "S": pk } },
    });
    let answer = call("dynamodb", "Query", &query).await;
    answer["Items"].as_array().expect("items").clone()
}

/// The item that the payment is.
pub async fn state(id: &str) -> Option<Value> {
    let items = items(&format!("PAYMENT#{id}")).await;
    items.into_iter().find(|item| item["sk"] == "STATE")
}

/// The item that an idempotency key is at a function, with DynamoDB's types.
pub async fn raw_key(function: &str, key: &str) -> Option<Value> {
    raw_items(&format!("KEY#{function}#{key}")).await.pop()
}

/// The item that a payment is, with DynamoDB's types.
pub async fn raw_state(id: &str) -> Option<Value> {
    let items = raw_items(&format!("PAYMENT#{id}")).await;
    items.into_iter().find(|item| item["sk"]["S"] == "STATE")
}

/// The payment's ledger: every fact recorded about it.
pub async fn facts(id: &str) -> Vec<Value> {
    let items = items(&format!("PAYMENT#{id}")).await;
    let is_fact = |item: &Value| item["sk"].as_str().is_some_and(|sk| sk.starts_with("FACT#"));
    items.into_iter().filter(is_fact).collect()
}

/// What a person should look at.
pub async fn attention(id: &str) -> Vec<String> {
    let state = state(id).await.expect("the payment");
    serde_json::from_value(state["attention"].clone()).unwrap_or_default()
}

/// What is parked in one of a provider's places, which is one of its ids as a rule.
async fn parked_item(provider: Provider, place: &str) -> Option<Value> {
    items(&format!("UNMATCHED#{}#{place}", name(provider))).await.pop()
}

/// The facts parked under one of a provider's ids.
pub async fn unmatched(provider: Provider, reference: &str) -> Vec<String> {
    let item = parked_item(provider, reference).await;
    let facts = item.map(|item| item["facts"].clone()).unwrap_or_default();
    serde_json::from_value(facts).unwrap_or_default()
}

/// From when on DynamoDB may delete what is parked in a place, in seconds since 1970.
pub async fn parked_until(provider: Provider, place: &str) -> u64 {
    let item = parked_item(provider, place).await.expect("something parked");
    item["ttl"].as_str().expect("its end").parse().expect("seconds")
}

/// The payment that a provider's id belongs to.
pub async fn owner(provider: Provider, reference: &str) -> Option<String> {
    let items = items(&format!("REF#{}#{reference}", name(provider))).await;
    items
        .first()
        .map(|item| item["paymentId"].as_str().expect("an id").to_owned())
}

/// Puts a payment on a rung that no webhook leads to.
pub async fn set_status(id: &str, status: &str, rank: u8) {
    let update = json!({
        "TableName": "payments", "Key": { "pk": { "S": format!("PAYMENT#{id}") }, "sk": { "S": "STATE" } },
        "UpdateExpression": "SET #status = :status, #rank = :rank, #version = #version + :one",
        "ExpressionAttributeNames": { "#status": "status", "#rank": "rank", "#version": "version" },
        "ExpressionAttributeValues": { ":status": { "S": status }, ":rank": { "N": rank.to_string() }, ":one": { "N": "1" } },
    });
    call("dynamodb", "UpdateItem", &update).await;
}

/// Makes a payment's item such as this program never writes.
pub async fn break_payment(table: &str, id: &str) {
    let update = json!({
        "TableName": table, "Key": { "pk": { "S": format!("PAYMENT#{id}") }, "sk": { "S": "STATE" } },
        "UpdateExpression": "REMOVE amount",
    });
    call("dynamodb", "UpdateItem", &update).await;
}

/// A secret of one's own: its id.
pub async fn create_secret(value: &Value) -> String {
    let id = unique("secret");
    let secret = json!({ "Name": id, "SecretString": value.to_string() });
    call("secretsmanager", "CreateSecret", &secret).await;
    id
}

/// Gives a secret a new value; the one before becomes `AWSPREVIOUS`.
pub async fn put_secret(id: &str, value: &Value) {
    let secret = json!({ "SecretId": id, "SecretString": value.to_string() });
    call("secretsmanager", "PutSecretValue", &secret).await;
}

/// Makes the version before a secret's current one current again, as an operator takes a mistake back.
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
