//! Functions need each of their permissions: without it, the call that needs it fails.

use std::collections::BTreeMap;

use payment_functions::domain::schedule::Queue;
use payment_functions_local::FUNCTIONS;
use payment_functions_local::sandbox::sign;

use super::*;
use crate::webhooks::SECRET;

/// The policy with a function's own permissions; another has those of Lambda itself.
const POLICY: &str = "function";

/// A stack whose functions are invoked directly and whose schedule is off, so that only these tests make calls.
struct Harness {
    stack: Stack,
}

/// A permission: an action, and the end of its resource.
type Right = (String, String);

impl Harness {
    async fn open() -> Self {
        let stack = deployed("rights", &parameters()).await;
        let name = stack.resource("ReconcileSchedule").to_owned();
        let schedule = call("scheduler", "get_schedule", json!({ "Name": name })).await;
        let arguments = json!({
            "Name": name, "State": "DISABLED", "Target": schedule["Target"],
            "ScheduleExpression": schedule["ScheduleExpression"], "FlexibleTimeWindow": schedule["FlexibleTimeWindow"],
        });
        call("scheduler", "update_schedule", arguments).await;
        Self { stack }
    }

    async fn policy(&self, function: &str) -> Value {
        let arguments = json!({ "RoleName": self.stack.role(function), "PolicyName": POLICY });
        call("iam", "get_role_policy", arguments).await["PolicyDocument"].clone()
    }

    async fn put_policy(&self, function: &str, policy: &Value) {
        let arguments = json!({
            "RoleName": self.stack.role(function), "PolicyName": POLICY, "PolicyDocument": policy.to_string(),
        });
        call("iam", "put_role_policy", arguments).await;
    }

    /// Gives a function a new execution environment, without cached secrets.
    async fn restart(&self, function: &str) {
        let name = self.stack.function(function);
        let configuration = call("lambda", "get_function_configuration", json!({ "FunctionName": name })).await;
        let mut variables = configuration["Environment"]["Variables"].clone();
        variables["ENVIRONMENT_NUMBER"] = json!(unique("environment"));
        let arguments = json!({ "FunctionName": name, "Environment": { "Variables": variables } });
        call("lambda", "update_function_configuration", arguments).await;
    }

    async fn create(&self, provider: Provider, order: &str) -> Result<Response, String> {
        self.create_as(order, provider, order).await
    }

    async fn create_as(&self, key: &str, provider: Provider, order: &str) -> Result<Response, String> {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        let body = body(provider, order).to_string();
        let request = ("POST", route(provider));
        self.http(function(provider), request, &headers, body.as_bytes()).await
    }

    /// Sends a webhook to the function URL, which no policy of the sender's restricts.
    async fn send_webhook(&self, webhook: Value) -> Result<(), String> {
        let url = cloud().await.url(&self.stack, "/webhooks/finvypay");
        let deliveries = stand_ins(cloud().await)
            .webhooks(with(webhook, json!({ "url": url })))
            .await
            .unwrap();
        match deliveries[0].status {
            Some(200) => Ok(()),
            _ => Err(format!("{deliveries:?}")),
        }
    }

    /// Passes a webhook to the function's newest environment.
    async fn invoke_webhook(&self, body: &Value) -> Result<(), String> {
        let body = body.to_string();
        let signature = sign(SECRET, body.as_bytes());
        let headers = [
            ("content-type", "application/json"),
            ("fs-webhook-hash", signature.as_str()),
        ];
        let request = ("POST", "/webhooks/finvypay");
        self.http("webhook-handler", request, &headers, body.as_bytes())
            .await
            .map(|_| ())
    }

    /// The stream record of a new payment's completion.
    async fn completion(&self, order: &str) -> Result<Value, String> {
        let created = self.create_as(&unique("key"), Provider::Finvypay, order).await?;
        let id = created.str("id");
        self.invoke_webhook(&paid(order, Some(&unique("FP")), Some(&id)))
            .await?;
        let key = json!({ "pk": { "S": format!("PAYMENT#{id}") }, "sk": { "S": "STATE" } });
        let arguments = json!({ "TableName": self.stack.output("PaymentsTableName"), "Key": key });
        let completed = call("dynamodb", "get_item", arguments).await["Item"].clone();
        let pending = with(completed.clone(), json!({ "status": { "S": "pending" } }));
        Ok(json!({
            "eventSource": "aws:dynamodb", "eventName": "MODIFY",
            "dynamodb": { "SequenceNumber": id, "Keys": key, "OldImage": pending, "NewImage": completed },
        }))
    }

    /// Invokes the publisher with a batch of the stream.
    async fn publish(&self, batch: &Value) -> Result<(), String> {
        match cloud().await.invoke(&self.stack, "publish-events", batch).await {
            Ok(response) if response["batchItemFailures"] == json!([]) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    async fn status(&self, id: &str) -> Result<String, String> {
        let path = format!("/payments/{id}");
        let response = self.http("get-payment", ("GET", &path), &[], b"").await?;
        Ok(response.str("status"))
    }

    async fn expect(&self, id: &str, status: &str) -> Result<(), String> {
        let seen = self.status(id).await?;
        if seen == status {
            Ok(())
        } else {
            Err(format!("{id} is {seen}"))
        }
    }

    async fn sweep(&self) -> Result<Value, String> {
        let sweep = json!({ "action": "sweep" });
        let report = cloud().await.invoke(&self.stack, "reconcile-payments", &sweep).await;
        report.map_err(|refusal| refusal.to_string())
    }

    /// A successful response.
    async fn http(
        &self,
        function: &str,
        request: (&str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response, String> {
        let function = FUNCTIONS
            .iter()
            .find(|known| known.name == function)
            .expect("a function");
        let response = cloud().await.http(&self.stack, function, request, headers, body).await;
        let response = Response::from(response.map_err(|refusal| refusal.to_string())?);
        if (200..300).contains(&response.status) {
            Ok(response)
        } else {
            Err(format!("{response:?}"))
        }
    }
}

/// Makes an item due in a queue of the reconciler's.
async fn make_due(stack: &Stack, (pk, sk): (&str, &str), queue: Queue) {
    let arguments = json!({
        "TableName": stack.output("PaymentsTableName"),
        "Key": { "pk": { "S": pk }, "sk": { "S": sk } },
        "UpdateExpression": "SET dueAt = :now, dueQueue = :queue",
        "ConditionExpression": "attribute_exists(dueAt)",
        "ExpressionAttributeValues": { ":now": { "N": "1" }, ":queue": { "S": format!("{}#0", queue.name()) } },
    });
    call("dynamodb", "update_item", arguments).await;
}

/// FinvyPay's webhook for a paid order, with a transaction's id or none.
fn paid(order: &str, transaction: Option<&str>, ours: Option<&str>) -> Value {
    let mut data = json!({ "order_id": order, "amount": 99.99, "currency": "USD" });
    if let Some(transaction) = transaction {
        data["txn_id"] = json!(transaction);
    }
    if let Some(ours) = ours {
        data["metadata"] = json!({ "paymentFunctionsId": ours });
    }
    json!({ "status": "SUCCESS", "data": data })
}

/// Exercises one permission; returns an error if the call failed.
async fn need(harness: &Harness, function: &str, (action, on): &Right) -> Result<(), String> {
    let order = unique("right");
    match (function, action.as_str()) {
        ("create-preorder" | "create-apm", action) => {
            let provider = if function == "create-apm" {
                Provider::Finvypay
            } else {
                Provider::Apolopay
            };
            let control = stand_ins(cloud().await);
            match action {
                // A webhook of an unknown payment comes before the create response that collects it.
                "dynamodb:DeleteItem" | "dynamodb:Query" => {
                    let early = match provider {
                        Provider::Apolopay => json!({ "shape": "A", "omit": ["metadata"] }),
                        Provider::Finvypay => json!({ "shape": "W2", "omit": ["metadata", "orderId"] }),
                    };
                    let url = cloud()
                        .await
                        .url(&harness.stack, &format!("/webhooks/{}", aws::name(provider)));
                    let early = with(early, json!({ "url": url }));
                    let replies = json!([{ "webhookBeforeReply": early }]);
                    control.replies(provider, &order, replies).await.unwrap();
                }
                // The same payment resumes after a lost response.
                "dynamodb:GetItem" => {
                    control
                        .replies(provider, &order, json!([{ "drop": "beforeReply" }]))
                        .await
                        .unwrap();
                    let lost = harness.create(provider, &order).await;
                    assert!(
                        lost.as_ref().is_err_and(|response| response.contains("PROVIDER_ERROR")),
                        "{lost:?}"
                    );
                }
                "dynamodb:ConditionCheckItem"
                | "dynamodb:PutItem"
                | "dynamodb:UpdateItem"
                | "secretsmanager:GetSecretValue" => {}
                _ => return Err("no call needs it".to_owned()),
            }
            harness.create(provider, &order).await.map(|_| ())
        }
        ("webhook-handler", action) => {
            let created = harness.create(Provider::Finvypay, &order).await?;
            let (ours, transaction) = (created.str("id"), unique("FP"));
            match action {
                // Only the order identifies the payment.
                "dynamodb:Query" => harness.invoke_webhook(&paid(&order, None, None)).await,
                // The owner is unknown, so the webhook is stored unmatched, unless its id is attached concurrently.
                "dynamodb:ConditionCheckItem" => {
                    harness.invoke_webhook(&paid("unknown", Some(&transaction), None)).await
                }
                // An id with unmatched notifications becomes a payment's.
                "dynamodb:DeleteItem" => {
                    harness
                        .send_webhook(json!({
                            "provider": "finvypay", "shape": "W1", "orderId": "unknown", "transactionId": transaction,
                            "amount": 99.99, "currency": "USD", "moves": false,
                        }))
                        .await?;
                    harness
                        .invoke_webhook(&paid(&order, Some(&transaction), Some(&ours)))
                        .await
                }
                "dynamodb:GetItem" | "dynamodb:PutItem" | "dynamodb:UpdateItem" | "secretsmanager:GetSecretValue" => {
                    harness
                        .invoke_webhook(&paid(&order, Some(&transaction), Some(&ours)))
                        .await
                }
                _ => Err("no call needs it".to_owned()),
            }
        }
        ("get-payment", "dynamodb:GetItem") => {
            let created = harness.create(Provider::Finvypay, &order).await?;
            harness.status(&created.str("id")).await.map(|_| ())
        }
        // Two payments of one order, one of them paid, and a webhook with only the order, which is unmatched until the
        // provider names the payment.
        ("reconcile-payments", "dynamodb:DeleteItem" | "dynamodb:Query") if !on.contains("/index/") => {
            let paid = harness.create(Provider::Finvypay, &order).await?;
            harness.create_as(&unique("key"), Provider::Finvypay, &order).await?;
            harness
                .send_webhook(json!({
                    "provider": "finvypay", "payment": paid.str("paymentId"), "shape": "W1", "omit": ["txn_id"],
                }))
                .await?;
            let kept = format!("UNMATCHED#finvypay#order:{order}");
            make_due(&harness.stack, (&kept, "GROUP"), Queue::Unmatched).await;
            harness.sweep().await?;
            let key = json!({ "pk": { "S": kept }, "sk": { "S": "GROUP" } });
            let arguments = json!({ "TableName": harness.stack.output("PaymentsTableName"), "Key": key });
            match call("dynamodb", "get_item", arguments).await.get("Item") {
                None => harness.expect(&paid.str("id"), "completed").await,
                Some(kept) => Err(format!("still unmatched: {kept}")),
            }
        }
        // A lost webhook.
        (
            "reconcile-payments",
            "dynamodb:BatchGetItem"
            | "dynamodb:ConditionCheckItem"
            | "dynamodb:GetItem"
            | "dynamodb:PutItem"
            | "dynamodb:Query"
            | "dynamodb:UpdateItem"
            | "secretsmanager:GetSecretValue",
        ) => {
            let created = harness.create(Provider::Finvypay, &order).await?;
            let control = stand_ins(cloud().await);
            let there = created.str("paymentId");
            control
                .set_status(Provider::Finvypay, &there, "COMPLETED")
                .await
                .unwrap();
            let payment = format!("PAYMENT#{}", created.str("id"));
            make_due(&harness.stack, (&payment, "STATE"), Queue::Poll).await;
            harness.sweep().await?;
            harness.expect(&created.str("id"), "completed").await
        }
        ("publish-events", "dynamodb:GetItem" | "events:PutEvents") => {
            let created = harness.create(Provider::Finvypay, &order).await?;
            let republish = json!({ "action": "republish", "paymentId": created.str("id") });
            let response = cloud().await.invoke(&harness.stack, function, &republish).await;
            response.map(|_| ()).map_err(|refusal| refusal.to_string())
        }
        ("publish-events", "dynamodb:PutItem" | "dynamodb:Query" | "dynamodb:UpdateItem") => {
            let records = [harness.completion(&order).await?, harness.completion(&order).await?];
            harness.publish(&json!({ "Records": records })).await
        }
        ("publish-events", "sqs:SendMessage") => {
            let unreadable = json!({ "Records": [{
                "eventSource": "aws:dynamodb", "eventName": "MODIFY",
                "dynamodb": {
                    "ApproximateCreationDateTime": 1_800_000_000, "SequenceNumber": "1",
                    "Keys": { "pk": { "S": "PAYMENT#x" }, "sk": { "S": "STATE" } },
                    "NewImage": { "pk": { "S": "PAYMENT#x" }, "sk": { "S": "STATE" } },
                },
            }]});
            harness.publish(&unreadable).await
        }
        _ => Err("no call needs it".to_owned()),
    }
}

/// A policy's permissions, and the policy without each.
fn rights(policy: &Value) -> Vec<(Right, Value)> {
    let mut rights = Vec::new();
    for (nth, statement) in policy["Statement"].as_array().expect("statements").iter().enumerate() {
        let on = statement["Resource"].to_string();
        for (index, action) in statement["Action"].as_array().expect("actions").iter().enumerate() {
            let mut without = policy.clone();
            // Replaced, not removed, because a statement needs an action. No function uses this one.
            without["Statement"][nth]["Action"][index] = json!("sts:GetCallerIdentity");
            rights.push(((action.as_str().expect("a name").to_owned(), on.clone()), without));
        }
    }
    rights
}

#[tokio::test]
async fn every_permission_is_needed_and_sufficient() {
    let harness = Harness::open().await;
    let mut checks = BTreeMap::<&str, usize>::new();
    let mut wrong = Vec::new();
    for function in &FUNCTIONS {
        let policy = harness.policy(function.name).await;
        for (right, without) in rights(&policy) {
            let remembers = right.0.starts_with("secretsmanager:");
            if let Err(problem) = need(&harness, function.name, &right).await {
                wrong.push(format!("{} with {right:?}: {problem}", function.name));
            }
            harness.put_policy(function.name, &without).await;
            if remembers {
                harness.restart(function.name).await;
            }
            if need(&harness, function.name, &right).await.is_ok() {
                wrong.push(format!("{} works without {right:?}", function.name));
            }
            harness.put_policy(function.name, &policy).await;
            *checks.entry(function.name).or_default() += 1;
        }
        assert!(
            checks.contains_key(function.name),
            "{} has no permissions",
            function.name
        );
    }
    println!(
        "denied one at a time: {} permissions: {checks:?}",
        checks.values().sum::<usize>()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
