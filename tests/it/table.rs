//! The tables of the local AWS, past the functions.

use reqwest::Method;

use super::support::*;

/// Makes a table with the keys of template.yaml's.
pub async fn create(name: &str) {
    let attribute = |name| json!({ "AttributeName": name, "AttributeType": "S" });
    let key = |name, kind| json!({ "AttributeName": name, "KeyType": kind });
    let table = json!({
        "TableName": name, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [attribute("pk"), attribute("sk")],
        "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
    });
    dynamodb("CreateTable", &table).await;
}

/// Every item of a table.
pub async fn items(name: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut start = Value::Null;
    loop {
        let mut scan = json!({ "TableName": name, "ConsistentRead": true });
        if !start.is_null() {
            scan["ExclusiveStartKey"] = start;
        }
        let page = dynamodb("Scan", &scan).await;
        items.extend(page["Items"].as_array().expect("items").iter().cloned());
        start = page["LastEvaluatedKey"].clone();
        if start.is_null() {
            return items;
        }
    }
}

async fn dynamodb(action: &str, body: &Value) -> Value {
    // The local AWS reads the service and the region of the signature, and no more of it.
    let authorization =
        "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";
    let request = request(Method::POST, world().await.aws_url())
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", format!("DynamoDB_20120810.{action}"))
        .header("authorization", authorization)
        .body(body.to_string());
    let answer = send(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}
