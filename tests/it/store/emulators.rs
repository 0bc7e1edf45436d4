//! The behaviour of DynamoDB that the store relies on, in both emulators: the local AWS and the table in memory.

use payment_functions_tests::world::{MemoryTable, ServedTable};
use reqwest::Method;

use crate::support::{Value, json, request, send, unique, world};

/// An emulator, and a unique key.
struct Emulator {
    url: String,
    pk: String,
    _table: Option<ServedTable>,
}

async fn emulators() -> [Emulator; 2] {
    let table = MemoryTable::new().unwrap().serve().await.unwrap();
    let local = world().await.aws_url().to_owned();
    [(local, None), (table.url().to_owned(), Some(table))].map(|(url, table)| Emulator {
        url,
        pk: unique("emulators"),
        _table: table,
    })
}

impl Emulator {
    /// The response to an action, or its error's kind and body.
    async fn call(&self, action: &str, body: &Value) -> Result<Value, (String, Value)> {
        let authorization = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
                             SignedHeaders=host, Signature=0";
        let request = request(Method::POST, &self.url)
            .header("x-amz-target", format!("DynamoDB_20120810.{action}"))
            .header("content-type", "application/x-amz-json-1.0")
            .header("authorization", authorization)
            .body(body.to_string());
        let response = send(request).await;
        match response.status {
            200 => Ok(response.json()),
            _ => {
                let error = response.json();
                let kind = error["__type"].as_str().unwrap_or_default();
                Err((kind.rsplit('#').next().unwrap_or_default().to_owned(), error))
            }
        }
    }

    fn key(&self, sk: &str) -> Value {
        json!({ "pk": { "S": self.pk }, "sk": { "S": sk } })
    }

    async fn get(&self, sk: &str) -> Value {
        let get = json!({ "TableName": "payments", "Key": self.key(sk), "ConsistentRead": true });
        self.call("GetItem", &get).await.unwrap()["Item"].clone()
    }

    /// Puts an item with this attribute.
    async fn put(&self, sk: &str, name: &str, value: Value) {
        let mut item = self.key(sk);
        item[name] = value;
        let put = json!({ "TableName": "payments", "Item": item });
        self.call("PutItem", &put).await.unwrap();
    }

    /// A step of a transaction on one of our items, with further members.
    fn step(&self, kind: &str, sk: &str, more: Value) -> Value {
        let mut step = json!({ "TableName": "payments", "ReturnValuesOnConditionCheckFailure": "ALL_OLD" });
        if kind == "Put" {
            step["Item"] = self.key(sk);
        } else {
            step["Key"] = self.key(sk);
        }
        for (name, value) in more.as_object().unwrap() {
            step[name] = value.clone();
        }
        json!({ kind: step })
    }

    /// Writes all steps; if cancelled, returns the code and the item of each.
    async fn transact(&self, steps: &[Value]) -> Result<(), Vec<(String, Value)>> {
        let (kind, error) = match self
            .call("TransactWriteItems", &json!({ "TransactItems": steps }))
            .await
        {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let reasons = error["CancellationReasons"].as_array().cloned();
        let one = |reason: &Value| (reason["Code"].as_str().unwrap().to_owned(), reason["Item"].clone());
        match reasons {
            Some(reasons) => Err(reasons.iter().map(one).collect()),
            None => Err(vec![(kind, Value::Null)]),
        }
    }
}

fn codes(refused: &[(String, Value)]) -> Vec<&str> {
    refused.iter().map(|(code, _)| code.as_str()).collect()
}

/// The members of a set, sorted.
fn members(set: &Value) -> Vec<&str> {
    let mut members: Vec<&str> = set["SS"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap())
        .collect();
    members.sort_unstable();
    members
}

const REFUSED: &str = "ConditionalCheckFailed";

#[tokio::test(flavor = "multi_thread")]
async fn refused_transaction_writes_nothing_and_returns_the_items() {
    for it in emulators().await {
        let here = "attribute_exists(pk)";
        let gone = "attribute_not_exists(pk)";
        for kind in ["Put", "Update", "Delete", "ConditionCheck"] {
            let there = format!("there-{kind}");
            it.put(&there, "name", json!({ "S": kind })).await;
            let condition = json!({ "ConditionExpression": gone });
            let mut more = condition.clone();
            if kind == "Update" {
                more["UpdateExpression"] = json!("SET copied = if_not_exists(copied, sk)");
            }
            let steps = [
                it.step("Put", &format!("new-{kind}"), condition.clone()),
                it.step(kind, &there, more.clone()),
                it.step("ConditionCheck", "absent", json!({ "ConditionExpression": here })),
            ];
            let refused = it.transact(&steps).await.unwrap_err();
            assert_eq!(codes(&refused), ["None", REFUSED, REFUSED], "{kind} {}", it.url);
            assert_eq!(refused[1].1["name"], json!({ "S": kind }), "{kind} {}", it.url);
            assert_eq!(
                (&refused[0].1, &refused[2].1),
                (&Value::Null, &Value::Null),
                "{kind} {}",
                it.url
            );
            assert_eq!(it.get(&format!("new-{kind}")).await, Value::Null, "{kind} {}", it.url);

            more["ConditionExpression"] = json!(here);
            it.transact(&[steps[0].clone(), it.step(kind, &there, more)])
                .await
                .unwrap();
            assert_ne!(it.get(&format!("new-{kind}")).await, Value::Null, "{kind} {}", it.url);
            assert_eq!(it.get(&there).await.is_null(), kind == "Delete", "{kind} {}", it.url);
        }
        let twice = [
            it.step("Put", "twice", json!({})),
            it.step("ConditionCheck", "twice", json!({ "ConditionExpression": gone })),
        ];
        assert_eq!(
            codes(&it.transact(&twice).await.unwrap_err()),
            ["ValidationException"],
            "{}",
            it.url
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn string_sets_behave_as_sets() {
    for it in emulators().await {
        let add = async |value: &str| {
            let update = json!({
                "UpdateExpression": "SET unmatchedSince = if_not_exists(unmatchedSince, :now) ADD facts :fact",
                "ExpressionAttributeValues": { ":fact": { "SS": [value] }, ":now": { "S": value } },
            });
            it.transact(&[it.step("Update", "set", update)]).await.unwrap();
        };
        for value in ["b", "a", "b", "c"] {
            add(value).await;
        }
        let item = it.get("set").await;
        assert_eq!(
            (members(&item["facts"]), &item["unmatchedSince"]["S"]),
            (vec!["a", "b", "c"], &json!("b")),
            "{}",
            it.url
        );

        let check = async |condition: &str, value: Value| {
            let more = json!({ "ConditionExpression": condition, "ExpressionAttributeValues": { ":value": value } });
            it.transact(&[it.step("ConditionCheck", "set", more)]).await.is_ok()
        };
        assert!(
            check("facts = :value", json!({ "SS": ["c", "a", "b"] })).await,
            "{}",
            it.url
        );
        for other in [
            json!({ "SS": ["a", "b"] }),
            json!({ "SS": ["a", "b", "c", "d"] }),
            json!({ "SS": ["a", "b", "x"] }),
        ] {
            assert!(!check("facts = :value", other.clone()).await, "{other} {}", it.url);
        }
        assert!(
            check("contains(facts, :value)", json!({ "S": "a" })).await,
            "{}",
            it.url
        );
        assert!(
            !check("contains(facts, :value)", json!({ "S": "ab" })).await,
            "{}",
            it.url
        );
        assert!(
            !check("contains(absent, :value)", json!({ "S": "a" })).await,
            "{}",
            it.url
        );

        let exactly = |seen: Value| {
            let more = json!({
                "ConditionExpression": "attribute_not_exists(pk) OR facts = :seen",
                "ExpressionAttributeValues": { ":seen": { "SS": seen } },
            });
            it.step("Delete", "set", more)
        };
        let refused = it.transact(&[exactly(json!(["a", "b"]))]).await.unwrap_err();
        assert_eq!(members(&refused[0].1["facts"]), ["a", "b", "c"], "{}", it.url);
        it.transact(&[exactly(json!(["b", "c", "a"]))]).await.unwrap();
        it.transact(&[exactly(json!(["b"]))]).await.unwrap();
        assert_eq!(it.get("set").await, Value::Null, "{}", it.url);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rank_update_is_one_conditional_write() {
    for it in emulators().await {
        let raise = async |rank: &str| {
            let more = json!({
                "UpdateExpression": "SET #status = :status, #rank = :rank, #version = #version + :one",
                "ConditionExpression": "#rank < :rank AND #amount = :amount",
                "ExpressionAttributeNames": {
                    "#status": "status", "#rank": "rank", "#version": "version", "#amount": "amount",
                },
                "ExpressionAttributeValues": {
                    ":status": { "S": rank }, ":rank": { "N": rank }, ":one": { "N": "1" }, ":amount": { "N": "2550" },
                },
            });
            it.transact(&[it.step("Update", "state", more)]).await
        };
        assert_eq!(
            raise("1").await.unwrap_err(),
            [(REFUSED.to_owned(), Value::Null)],
            "{}",
            it.url
        );
        let mut item = it.key("state");
        for (name, value) in [("rank", "0"), ("version", "9"), ("amount", "2550")] {
            item[name] = json!({ "N": value });
        }
        it.call("PutItem", &json!({ "TableName": "payments", "Item": item }))
            .await
            .unwrap();
        raise("3").await.unwrap();
        // Numerically, not as text.
        raise("10").await.unwrap();
        let refused = raise("7").await.unwrap_err();
        assert_eq!(codes(&refused), [REFUSED], "{}", it.url);
        let found = &refused[0].1;
        assert_eq!(
            (&found["rank"]["N"], &found["version"]["N"]),
            (&json!("10"), &json!("11")),
            "{}",
            it.url
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_token_is_idempotent() {
    for it in emulators().await {
        let more =
            json!({ "UpdateExpression": "ADD hits :one", "ExpressionAttributeValues": { ":one": { "N": "1" } } });
        let write = |sk: &str| json!({ "ClientRequestToken": it.pk.get(..36), "TransactItems": [it.step("Update", sk, more.clone())] });
        for _ in 0..2 {
            it.call("TransactWriteItems", &write("counted")).await.unwrap();
        }
        assert_eq!(it.get("counted").await["hits"], json!({ "N": "1" }), "{}", it.url);
        let (kind, _) = it.call("TransactWriteItems", &write("another")).await.unwrap_err();
        assert_eq!(kind, "IdempotentParameterMismatchException", "{}", it.url);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn query_is_consistent_and_respects_its_limit() {
    for it in emulators().await {
        for sk in ["c", "a", "b"] {
            it.put(sk, "name", json!({ "S": sk })).await;
        }
        let mut query = json!({
            "TableName": "payments", "ConsistentRead": true, "Limit": 2, "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": it.pk } },
        });
        let page = it.call("Query", &query).await.unwrap();
        let names = |page: &Value| {
            page["Items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["name"]["S"].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (names(&page), &page["LastEvaluatedKey"]),
            (vec![json!("a"), json!("b")], &it.key("b")),
            "{}",
            it.url
        );
        query["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
        assert_eq!(names(&it.call("Query", &query).await.unwrap()), ["c"], "{}", it.url);
    }
}

/// The due index is sparse: an item is in it while it has the attribute.
#[tokio::test(flavor = "multi_thread")]
async fn index_contains_only_items_with_its_keys() {
    for it in emulators().await {
        let attribute = |name, kind| json!({ "AttributeName": name, "AttributeType": kind });
        let key = |name, kind| json!({ "AttributeName": name, "KeyType": kind });
        let table = unique("sparse");
        let create = json!({
            "TableName": table, "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [attribute("pk", "S"), attribute("open", "S"), attribute("due", "N")],
            "KeySchema": [key("pk", "HASH")],
            "GlobalSecondaryIndexes": [{
                "IndexName": "due", "KeySchema": [key("open", "HASH"), key("due", "RANGE")],
                "Projection": { "ProjectionType": "INCLUDE", "NonKeyAttributes": ["id"] },
            }],
        });
        it.call("CreateTable", &create).await.unwrap();
        for (pk, due) in [("a", "30"), ("b", "4"), ("c", "100")] {
            let item = json!({
                "pk": { "S": pk }, "open": { "S": "yes" }, "due": { "N": due }, "id": { "S": pk }, "more": { "S": "x" },
            });
            it.call("PutItem", &json!({ "TableName": table, "Item": item }))
                .await
                .unwrap();
        }
        let unindexed = json!({ "TableName": table, "Item": { "pk": { "S": "d" }, "open": { "S": "yes" } } });
        it.call("PutItem", &unindexed).await.unwrap();
        let due = async |until: &str| {
            let query = json!({
                "TableName": table, "IndexName": "due", "KeyConditionExpression": "#open = :yes AND due <= :until",
                "ExpressionAttributeNames": { "#open": "open" },
                "ExpressionAttributeValues": { ":yes": { "S": "yes" }, ":until": { "N": until } },
            });
            let page = it.call("Query", &query).await.unwrap();
            assert!(
                page["Items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|item| item["more"].is_null()),
                "{}",
                it.url
            );
            page["Items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"]["S"].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(due("50").await, ["b", "a"], "{}", it.url);
        let resolve = json!({ "TransactItems": [{ "Update": {
            "TableName": table, "Key": { "pk": { "S": "b" } },
            "UpdateExpression": "SET seen = :seen REMOVE #open, absent",
            "ExpressionAttributeNames": { "#open": "open" }, "ExpressionAttributeValues": { ":seen": { "BOOL": true } },
        } }] });
        it.call("TransactWriteItems", &resolve).await.unwrap();
        assert_eq!(due("100").await, ["a", "c"], "{}", it.url);
        let consistent = json!({
            "TableName": table, "IndexName": "due", "ConsistentRead": true, "KeyConditionExpression": "#open = :yes",
            "ExpressionAttributeNames": { "#open": "open" }, "ExpressionAttributeValues": { ":yes": { "S": "yes" } },
        });
        let (kind, _) = it.call("Query", &consistent).await.unwrap_err();
        assert_eq!(
            kind, "ValidationException",
            "index reads cannot be consistent: {}",
            it.url
        );
    }
}

/// Neither refuses everything that DynamoDB does: both let a transaction set a part of a key, and the local AWS also
/// allows an empty set and setting one attribute twice.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_expressions_are_refused() {
    for it in emulators().await {
        for more in [
            // A reserved word.
            json!({ "UpdateExpression": "SET status = :a", "ExpressionAttributeValues": { ":a": { "S": "a" } } }),
            // An unused value, and a missing one.
            json!({ "UpdateExpression": "SET a = sk", "ExpressionAttributeValues": { ":a": { "S": "a" } } }),
            json!({ "UpdateExpression": "SET a = :a" }),
            // A missing name.
            json!({ "UpdateExpression": "REMOVE #a" }),
        ] {
            let refused = it
                .transact(&[it.step("Update", "wrong", more.clone())])
                .await
                .unwrap_err();
            let is_about_it = |code: &&str| code.starts_with("Validation");
            assert!(codes(&refused).iter().all(is_about_it), "{more} {refused:?} {}", it.url);
        }
        assert_eq!(it.get("wrong").await, Value::Null, "{}", it.url);
    }
}
