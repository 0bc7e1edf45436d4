//! Every right that a function has is one that it needs: without it, what the right is for fails.

use std::collections::BTreeMap;

use payment_functions_local::FUNCTIONS;
use payment_functions_local::sandbox::sign;

use super::*;
use crate::webhooks::SECRET;

/// The policy in which a function's own rights stand; another has those of Lambda itself.
const POLICY: &str = "function";

/// A stack whose functions are used past their routes, and whose schedule rests: nothing happens but what is tried here.
struct Shop {
    stack: Stack,
}

/// A right of a function: an action, and the end of what it is on.
type Right = (String, String);

impl Shop {
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

    /// Gives a function an execution environment that remembers no secret.
    async fn begin_anew(&self, function: &str) {
        let name = self.stack.function(function);
        let configuration = call("lambda", "get_function_configuration", json!({ "FunctionName": name })).await;
        let mut variables = configuration["Environment"]["Variables"].clone();
        variables["ENVIRONMENT_NUMBER"] = json!(unique("environment"));
        let arguments = json!({ "FunctionName": name, "Environment": { "Variables": variables } });
        call("lambda", "update_function_configuration", arguments).await;
    }

    async fn create(&self, provider: Provider, order: &str) -> Result<Answer, String> {
        self.create_as(order, provider, order).await
    }

    async fn create_as(&self, key: &str, provider: Provider, order: &str) -> Result<Answer, String> {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        let body = body(provider, order).to_string();
        let request = ("POST", route(provider));
        self.http(function(provider), request, &headers, body.as_bytes()).await
    }

    /// A webhook, through the function's URL, as nobody's policy matters to who sends it.
    async fn tell(&self, webhook: Value) -> Result<(), String> {
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

    /// A webhook handed to the newest environment of the function.
    async fn hand(&self, body: &Value) -> Result<(), String> {
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

    async fn status(&self, id: &str) -> Result<String, String> {
        let path = format!("/payments/{id}");
        let answer = self.http("get-payment", ("GET", &path), &[], b"").await?;
        Ok(answer.str("status"))
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

    /// An answer with a success.
    async fn http(
        &self,
        function: &str,
        request: (&str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let function = FUNCTIONS
            .iter()
            .find(|known| known.name == function)
            .expect("a function");
        let answer = cloud().await.http(&self.stack, function, request, headers, body).await;
        let answer = Answer::from(answer.map_err(|refusal| refusal.to_string())?);
        if (200..300).contains(&answer.status) {
            Ok(answer)
        } else {
            Err(format!("{answer:?}"))
        }
    }
}

/// FinvyPay's word that an order was paid, under a transaction's id or none.
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

/// Something that a function does and needs a right for: what went wrong, if anything did.
async fn need(shop: &Shop, function: &str, (action, on): &Right) -> Result<(), String> {
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
                // A webhook that names no payment of ours comes before the answer that it is collected with.
                "dynamodb:DeleteItem" => {
                    let early = match provider {
                        Provider::Apolopay => json!({ "shape": "A", "omit": ["metadata"] }),
                        Provider::Finvypay => json!({ "shape": "W2", "omit": ["metadata", "orderId"] }),
                    };
                    let url = cloud()
                        .await
                        .url(&shop.stack, &format!("/webhooks/{}", aws::name(provider)));
                    let early = with(early, json!({ "url": url }));
                    let replies = json!([{ "webhookBeforeReply": early }]);
                    control.replies(provider, &order, replies).await.unwrap();
                }
                // The same payment goes on after an answer that was lost.
                "dynamodb:GetItem" => {
                    control
                        .replies(provider, &order, json!([{ "drop": "beforeReply" }]))
                        .await
                        .unwrap();
                    let lost = shop.create(provider, &order).await;
                    assert!(
                        lost.as_ref().is_err_and(|answer| answer.contains("PROVIDER_ERROR")),
                        "{lost:?}"
                    );
                }
                "dynamodb:ConditionCheckItem"
                | "dynamodb:PutItem"
                | "dynamodb:UpdateItem"
                | "secretsmanager:GetSecretValue" => {}
                _ => return Err("nothing is known to need it".to_owned()),
            }
            shop.create(provider, &order).await.map(|_| ())
        }
        ("webhook-handler", action) => {
            let created = shop.create(Provider::Finvypay, &order).await?;
            let (ours, transaction) = (created.str("id"), unique("FP"));
            match action {
                // Which payment it is, is known from the order alone.
                "dynamodb:Query" => shop.hand(&paid(&order, None, None)).await,
                // Nobody knows whose it is, so it is kept unless somebody attaches its id meanwhile.
                "dynamodb:ConditionCheckItem" => shop.hand(&paid("unknown", Some(&transaction), None)).await,
                // An id under which something is kept already becomes a payment's.
                "dynamodb:DeleteItem" => {
                    shop.tell(json!({
                        "provider": "finvypay", "shape": "W1", "orderId": "unknown", "transactionId": transaction,
                        "amount": 99.99, "currency": "USD", "moves": false,
                    }))
                    .await?;
                    shop.hand(&paid(&order, Some(&transaction), Some(&ours))).await
                }
                "dynamodb:GetItem" | "dynamodb:PutItem" | "dynamodb:UpdateItem" | "secretsmanager:GetSecretValue" => {
                    shop.hand(&paid(&order, Some(&transaction), Some(&ours))).await
                }
                _ => Err("nothing is known to need it".to_owned()),
            }
        }
        ("get-payment", "dynamodb:GetItem") => {
            let created = shop.create(Provider::Finvypay, &order).await?;
            shop.status(&created.str("id")).await.map(|_| ())
        }
        // Two payments of one order, of which one is paid, and a word about the order that is nobody's until the provider
        // says whose.
        ("reconcile-payments", "dynamodb:DeleteItem" | "dynamodb:Query") if !on.contains("/index/") => {
            let paid = shop.create(Provider::Finvypay, &order).await?;
            shop.create_as(&unique("key"), Provider::Finvypay, &order).await?;
            shop.tell(json!({
                "provider": "finvypay", "payment": paid.str("paymentId"), "shape": "W1", "omit": ["txn_id"],
            }))
            .await?;
            let kept = format!("UNMATCHED#finvypay#order:{order}");
            make_due(&shop.stack, &kept, "UNMATCHED").await;
            shop.sweep().await?;
            let key = json!({ "pk": { "S": kept }, "sk": { "S": "UNMATCHED" } });
            let arguments = json!({ "TableName": shop.stack.output("PaymentsTableName"), "Key": key });
            match call("dynamodb", "get_item", arguments).await.get("Item") {
                None => shop.expect(&paid.str("id"), "completed").await,
                Some(kept) => Err(format!("still kept: {kept}")),
            }
        }
        // A webhook that never came.
        (
            "reconcile-payments",
            "dynamodb:ConditionCheckItem"
            | "dynamodb:GetItem"
            | "dynamodb:PutItem"
            | "dynamodb:Query"
            | "dynamodb:UpdateItem"
            | "secretsmanager:GetSecretValue",
        ) => {
            let created = shop.create(Provider::Finvypay, &order).await?;
            let control = stand_ins(cloud().await);
            let there = created.str("paymentId");
            control
                .set_status(Provider::Finvypay, &there, "COMPLETED")
                .await
                .unwrap();
            make_due(&shop.stack, &format!("PAYMENT#{}", created.str("id")), "STATE").await;
            shop.sweep().await?;
            shop.expect(&created.str("id"), "completed").await
        }
        ("publish-events", "dynamodb:GetItem" | "events:PutEvents") => {
            let created = shop.create(Provider::Finvypay, &order).await?;
            let republish = json!({ "action": "republish", "paymentId": created.str("id") });
            let answer = cloud().await.invoke(&shop.stack, function, &republish).await;
            answer.map(|_| ()).map_err(|refusal| refusal.to_string())
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
            let answer = cloud().await.invoke(&shop.stack, function, &unreadable).await;
            match answer {
                Ok(answer) if answer["batchItemFailures"] == json!([]) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        }
        _ => Err("nothing is known to need it".to_owned()),
    }
}

/// A policy's rights, and the policy without each.
fn rights(policy: &Value) -> Vec<(Right, Value)> {
    let mut rights = Vec::new();
    for (nth, statement) in policy["Statement"].as_array().expect("statements").iter().enumerate() {
        let on = statement["Resource"].to_string();
        for (index, action) in statement["Action"].as_array().expect("actions").iter().enumerate() {
            let mut without = policy.clone();
            // Not taken out, since a statement must have one; it is a right to nothing that a function does.
            without["Statement"][nth]["Action"][index] = json!("sts:GetCallerIdentity");
            rights.push(((action.as_str().expect("a name").to_owned(), on.clone()), without));
        }
    }
    rights
}

#[tokio::test]
async fn without_any_one_right_a_function_fails_and_with_it_does_not() {
    let shop = Shop::open().await;
    let mut checks = BTreeMap::<&str, usize>::new();
    let mut wrong = Vec::new();
    for function in &FUNCTIONS {
        let policy = shop.policy(function.name).await;
        for (right, without) in rights(&policy) {
            let remembers = right.0.starts_with("secretsmanager:");
            if let Err(problem) = need(&shop, function.name, &right).await {
                wrong.push(format!("{} with {right:?}: {problem}", function.name));
            }
            shop.put_policy(function.name, &without).await;
            if remembers {
                shop.begin_anew(function.name).await;
            }
            if need(&shop, function.name, &right).await.is_ok() {
                wrong.push(format!("{} does without {right:?}", function.name));
            }
            shop.put_policy(function.name, &policy).await;
            *checks.entry(function.name).or_default() += 1;
        }
        assert!(checks.contains_key(function.name), "{} has no rights", function.name);
    }
    println!(
        "denied, one at a time: {} rights: {checks:?}",
        checks.values().sum::<usize>()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
