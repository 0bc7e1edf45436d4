//! DynamoDB round trips of each request, with warm secrets.

use payment_functions_tests::world::{Attached, AwsProxy, InvokeError, Lambda};
use reqwest::Method;

use crate::aws;
use crate::reconcile::whole::{Shop, sweep};
use crate::routes::{body, function, route};
use crate::support::{Provider, Response, Value, apm, control, json, post_to, preorder, request, send, unique, world};
use crate::webhooks::{PROVIDERS, SECRET, completion, deliver, dynamodb_calls, reference, send_signed};

const WRITE: &str = "TransactWriteItems";
const READ: &str = "GetItem";
const BATCH: &str = "BatchGetItem";

/// One instance of every function behind one proxy, with its secrets fetched.
struct Counted {
    proxy: AwsProxy,
    preorders: Attached,
    apm: Attached,
    webhooks: Attached,
    payments: Attached,
}

impl Counted {
    async fn start() -> Self {
        let proxy = aws::proxy().await;
        let attach = async |function| {
            let endpoint = [("AWS_ENDPOINT_URL", Some(proxy.url()))];
            world().await.attach(function, 1, &endpoint).await.expect("a function")
        };
        let (preorders, apm, webhooks, payments) = tokio::join!(
            attach("create-preorder"),
            attach("create-apm"),
            attach("webhook-handler"),
            attach("get-payment"),
        );
        let counted = Self {
            proxy,
            preorders,
            apm,
            webhooks,
            payments,
        };
        for provider in PROVIDERS {
            let created = counted.create(provider, &unique("warm"), &[]).await;
            let response = counted.deliver(provider, &completion(&created, &json!({}))).await;
            assert_eq!(response.status, 200, "{response:?}");
        }
        counted
    }

    async fn create(&self, provider: Provider, order_id: &str, headers: &[(&str, &str)]) -> Response {
        let (base, route, body) = match provider {
            Provider::Apolopay => (self.preorders.url(), "/preorders", preorder(order_id)),
            Provider::Finvypay => (self.apm.url(), "/apm-payments", apm(order_id)),
        };
        let response = post_to(base, route, body.to_string(), headers).await;
        assert_eq!(response.status, 201, "{response:?}");
        response
    }

    async fn deliver(&self, provider: Provider, body: &Value) -> Response {
        send_signed(self.webhooks.url(), provider, &body.to_string(), SECRET).await
    }

    /// A request's DynamoDB calls.
    async fn of(&self, request: impl Future<Output = Response>) -> Vec<String> {
        self.proxy.reset();
        let response = request.await;
        assert!((200..300).contains(&response.status), "{response:?}");
        assert_eq!(self.proxy.count("GetSecretValue"), 0, "secrets are warm");
        dynamodb_calls(&self.proxy)
    }

    /// A webhook's DynamoDB calls.
    async fn of_webhook(&self, provider: Provider, body: &Value) -> Vec<String> {
        self.of(self.deliver(provider, body)).await
    }
}

/// W1 names only the order and the transaction.
fn w1(created: &Response, transaction: &str) -> Value {
    let payment = created.json();
    json!({ "success": true, "status": "SUCCESS", "data": {
        "amount": payment["amount"], "currency": payment["currency"], "order_id": payment["orderId"], "txn_id": transaction,
    } })
}

#[tokio::test]
async fn create_costs_two_replay_one_get_one() {
    let counted = Counted::start().await;
    for provider in PROVIDERS {
        let order_id = unique("count");
        assert_eq!(
            counted.of(counted.create(provider, &order_id, &[])).await,
            [WRITE, WRITE]
        );
        let key = [("idempotency-key", order_id.as_str())];
        assert_eq!(
            counted.of(counted.create(provider, &order_id, &key)).await,
            [WRITE, WRITE]
        );
        assert_eq!(
            counted.of(counted.create(provider, &order_id, &key)).await,
            [WRITE],
            "a replay"
        );
        let created = counted.create(provider, &order_id, &key).await;
        let url = format!("{}/payments/{}", counted.payments.url(), created.str("id"));
        assert_eq!(counted.of(send(request(Method::GET, &url))).await, [READ]);
        let calls = control().await.calls(provider, &order_id).await.unwrap().calls;
        assert_eq!(calls.len(), 2, "one call to the provider for each payment");
    }
}

#[tokio::test]
async fn webhook_and_its_duplicate_cost_one() {
    let counted = Counted::start().await;
    for provider in PROVIDERS {
        let created = counted.create(provider, &unique("count"), &[]).await;
        let ours = json!({ "paymentFunctionsId": created.str("id") });
        let mut shapes = vec![completion(&created, &ours)];
        if provider == Provider::Apolopay {
            let mut documented = completion(&created, &ours);
            documented["event"] = json!("payment.completed");
            documented["processId"] = documented["id"].take();
            documented["status"].take();
            shapes.push(documented);
        }
        for (nth, body) in shapes.iter().enumerate() {
            assert_eq!(
                counted.of_webhook(provider, body).await,
                [WRITE],
                "the {nth}th shape: {body}"
            );
            assert_eq!(counted.of_webhook(provider, body).await, [WRITE], "a duplicate: {body}");
        }
    }
    let created = counted.create(Provider::Finvypay, &unique("count"), &[]).await;
    let mut body = completion(&created, &json!({ "paymentFunctionsId": created.str("id") }));
    for (event, word) in [("payment.authorized", "AUTHORIZED"), ("payment.failed", "FAILED")] {
        body["event"] = json!(event);
        body["status"] = json!(word);
        assert_eq!(counted.of_webhook(Provider::Finvypay, &body).await, [WRITE], "{event}");
    }
}

/// Not guaranteed; the current cost of the slow path.
#[tokio::test]
async fn slow_path_webhooks_cost_as_documented() {
    let counted = Counted::start().await;
    for provider in PROVIDERS {
        let created = counted.create(provider, &unique("count"), &[]).await;
        let ours = json!({ "paymentFunctionsId": created.str("id") });
        let good = completion(&created, &ours);
        let mut wrong = good.clone();
        wrong["amount"] = json!(1);
        assert_eq!(
            counted.of_webhook(provider, &wrong).await,
            [WRITE, WRITE],
            "wrong amount"
        );
        assert_eq!(
            counted.of_webhook(provider, &good).await,
            [WRITE, WRITE],
            "the other money needs attention too"
        );
        let mut late = good.clone();
        (late["event"], late["status"]) = (json!("payment.pending"), json!("PENDING"));
        let expected: &[&str] = match provider {
            // ApoloPay has no such status.
            Provider::Apolopay => &[READ, WRITE],
            Provider::Finvypay => &[WRITE, WRITE],
        };
        assert_eq!(counted.of_webhook(provider, &late).await, expected, "without effect");

        // Only the provider's own id: its owner must be read.
        let created = counted.create(provider, &unique("count"), &[]).await;
        let nameless = completion(&created, &json!({}));
        assert_eq!(
            counted.of_webhook(provider, &nameless).await,
            [READ, READ, WRITE],
            "by the provider's id"
        );
        assert_eq!(
            counted.of_webhook(provider, &nameless).await,
            [READ, READ, WRITE],
            "its duplicate"
        );

        // Our id with an unknown provider id.
        let created = counted.create(provider, &unique("count"), &[]).await;
        let mut learnt = completion(&created, &json!({ "paymentFunctionsId": created.str("id") }));
        let id = if provider == Provider::Apolopay {
            "id"
        } else {
            "paymentId"
        };
        learnt[id] = json!(unique("learnt"));
        assert_eq!(
            counted.of_webhook(provider, &learnt).await,
            [WRITE, READ, READ, WRITE],
            "a new id"
        );
        assert_eq!(counted.of_webhook(provider, &learnt).await, [WRITE], "now known");

        let mut nobodys = completion(&created, &json!({}));
        nobodys[id] = json!(unique("nobody"));
        if provider == Provider::Finvypay {
            nobodys["orderId"] = json!(unique("nobody"));
        }
        let expected: &[&str] = match provider {
            Provider::Apolopay => &[READ, WRITE],
            Provider::Finvypay => &[READ, "Query", WRITE],
        };
        assert_eq!(counted.of_webhook(provider, &nobodys).await, expected, "unmatched");
    }
    let created = counted.create(Provider::Finvypay, &unique("count"), &[]).await;
    let w1 = w1(&created, &unique("FP"));
    assert_eq!(
        counted.of_webhook(Provider::Finvypay, &w1).await,
        [READ, "Query", READ, WRITE],
        "by order: a claim"
    );
    assert_eq!(
        counted.of_webhook(Provider::Finvypay, &w1).await,
        [READ, "Query", READ, WRITE],
        "its duplicate"
    );
    let mut event = w1;
    (event["status"], event["data"]["txn_id"]) = (json!("PENDING"), json!(unique("FP")));
    assert_eq!(
        counted.of_webhook(Provider::Finvypay, &event).await,
        [READ, "Query", READ, WRITE, WRITE],
        "another event by order: recorded, and kept under its id"
    );
}

#[tokio::test]
async fn create_after_an_early_webhook_costs_one_or_two_more() {
    let counted = Counted::start().await;
    for provider in PROVIDERS {
        let omit = if provider == Provider::Apolopay {
            json!([])
        } else {
            json!(["orderId"])
        };
        for (early, expected) in [
            // It names our payment.
            (json!({}), &[WRITE, WRITE, WRITE][..]),
            // It is unmatched until the create call stores its id.
            (json!({ "metadata": {}, "omit": omit }), &[WRITE, WRITE, "Query", WRITE]),
        ] {
            let order_id = unique("overtaken");
            let replies = json!([{ "webhookBeforeReply": early }]);
            control().await.replies(provider, &order_id, replies).await.unwrap();
            assert_eq!(counted.of(counted.create(provider, &order_id, &[])).await, expected);
            let calls = control().await.calls(provider, &order_id).await.unwrap().calls;
            assert_eq!(calls[0].webhooks[0].status, Some(200));
        }
        let order_id = unique("then");
        let created = counted.create(provider, &order_id, &[]).await;
        deliver(json!({ "provider": aws::name(provider), "id": reference(&created) })).await;
    }
}

/// A create function with its own proxy.
struct CreateFunction {
    provider: Provider,
    proxy: AwsProxy,
    function: Attached,
}

impl CreateFunction {
    async fn open(provider: Provider, changes: &[(&str, Option<&str>)]) -> Self {
        let (proxy, function) = aws::behind_proxy(function(provider), changes).await;
        Self {
            provider,
            proxy,
            function,
        }
    }

    /// The status of a create request's response, and its DynamoDB calls.
    async fn post(&self, order_id: &str, key: Option<&str>) -> (u16, Vec<String>) {
        self.proxy.reset();
        let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        let body = body(self.provider, order_id).to_string();
        let response = post_to(self.function.url(), route(self.provider), body, &headers).await;
        (response.status, dynamodb_calls(&self.proxy))
    }
}

fn cost(status: u16, calls: &[&str]) -> (u16, Vec<String>) {
    (status, calls.iter().map(|call| (*call).to_owned()).collect())
}

#[tokio::test]
async fn failed_create_costs_no_more_than_a_successful_one() {
    for provider in PROVIDERS {
        let creator = CreateFunction::open(provider, &[]).await;
        let scripted = async |reply: Value| {
            let order = unique("nothing");
            control().await.replies(provider, &order, json!([reply])).await.unwrap();
            order
        };
        let refusal = || json!({ "status": 400, "body": { "message": "no" } });
        let order = scripted(refusal()).await;
        assert_eq!(creator.post(&order, None).await, cost(422, &[WRITE, WRITE]));
        let order = scripted(refusal()).await;
        assert_eq!(creator.post(&order, Some(&order)).await, cost(422, &[WRITE, WRITE]));
        assert_eq!(
            creator.post(&order, Some(&order)).await,
            cost(422, &[WRITE]),
            "a replay"
        );

        // Nothing but the intent is known, so only the lease is released.
        let failure = || json!({ "error": "INTERNAL_ERROR" });
        let order = scripted(failure()).await;
        assert_eq!(creator.post(&order, None).await, cost(502, &[WRITE]));
        let order = scripted(failure()).await;
        assert_eq!(creator.post(&order, Some(&order)).await, cost(502, &[WRITE, WRITE]));
        assert_eq!(
            creator.post(&order, Some(&order)).await,
            cost(201, &[WRITE, WRITE, READ, WRITE]),
            "its key taken over"
        );
    }
}

#[tokio::test]
async fn key_in_progress_costs_one_and_takeover_costs_two_more() {
    for provider in PROVIDERS {
        let creator = CreateFunction::open(provider, &[]).await;
        let later = CreateFunction::open(provider, &[("CLOCK_OFFSET_SECONDS", Some("31"))]).await;
        let order = unique("taken-over");
        let dies = [("FAILPOINTS", Some("before:create-at-provider=die"))];
        let holder = world().await.lambda(function(provider), &dies).await.unwrap();
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", order.as_str()),
        ];
        let body = body(provider, &order).to_string();
        let died = holder.http("POST", route(provider), &headers, body.as_bytes()).await;
        assert!(matches!(died, Err(InvokeError::Died { .. })), "{died:?}");

        assert_eq!(creator.post(&order, Some(&order)).await, cost(409, &[WRITE]));
        // After the lease: read the key, take it over, read its payment, then as usual.
        let taken_over = later.post(&order, Some(&order)).await;
        assert_eq!(taken_over, cost(201, &[WRITE, WRITE, READ, WRITE]));
    }
}

/// A create function, and the reconciler a minute later with its own proxy.
struct Operations {
    shop: Shop,
    proxy: AwsProxy,
    reconciler: Lambda,
}

impl Operations {
    async fn open() -> Self {
        let (shop, proxy) = (Shop::open().await, aws::proxy().await);
        let endpoint = [("AWS_ENDPOINT_URL", Some(proxy.url()))];
        let reconciler = shop.reconciler_with(61, &endpoint).await;
        reconciler.ready().await;
        Self {
            shop,
            proxy,
            reconciler,
        }
    }

    /// An operator command's DynamoDB calls.
    async fn of_command(&self, action: &str, id: &str, reference: Option<&str>) -> Vec<String> {
        self.proxy.reset();
        let mut word = json!({ "action": action, "paymentId": id, "actor": "on call", "reason": "seen as paid" });
        if let Some(reference) = reference {
            word["reference"] = json!(reference);
        }
        self.reconciler.invoke(word.to_string()).await.unwrap();
        dynamodb_calls(&self.proxy)
    }

    /// Creates a payment; returns its id and the provider's.
    async fn create(&self) -> (String, String) {
        let created = self.shop.create(Provider::Finvypay, &unique("office")).await;
        (created.str("id"), created.str("paymentId"))
    }

    /// Creates a payment in review.
    async fn in_review(&self) -> String {
        let (id, reference) = self.create().await;
        let wrong = json!({
            "event": "payment.completed", "status": "COMPLETED", "paymentId": reference,
            "amount": 9.99, "currency": "USD", "metadata": { "paymentFunctionsId": id },
        });
        assert_eq!(self.shop.send_webhook(&wrong).await.status, 200);
        assert_eq!(self.shop.status(&id).await, "review");
        id
    }
}

/// Not guaranteed; the current cost.
#[tokio::test]
async fn operator_command_costs_as_documented() {
    let operations = Operations::open().await;
    // The payment, the reference's owner, the fact, and the result.
    let (id, reference) = operations.create().await;
    let costs = operations.of_command("complete", &id, Some(&reference)).await;
    assert_eq!(costs, [READ, READ, WRITE, READ]);
    assert_eq!(operations.of_command("complete", &id, None).await, [READ], "repeated");
    let (id, _) = operations.create().await;
    assert_eq!(operations.of_command("complete", &id, None).await, [READ, WRITE, READ]);
    let id = operations.in_review().await;
    assert_eq!(operations.of_command("complete", &id, None).await, [READ, WRITE, READ]);
    // The payment, and the fact that closes its review.
    let id = operations.in_review().await;
    assert_eq!(operations.of_command("close", &id, None).await, [READ, WRITE]);
}

/// Not guaranteed; the current cost.
#[tokio::test]
async fn polled_payment_costs_as_documented() {
    let operations = Operations::open().await;
    let (id, reference) = operations.create().await;
    let moved = control()
        .await
        .set_status(Provider::Finvypay, &reference, "COMPLETED")
        .await;
    moved.unwrap();
    operations.proxy.reset();
    let report = sweep(&operations.reconciler).await;
    assert_eq!(
        (&report["checked"], &report["resolved"]),
        (&json!(1), &json!(1)),
        "{report}"
    );
    assert_eq!(operations.shop.status(&id).await, "completed");
    let (lists, looks): (Vec<_>, Vec<_>) = dynamodb_calls(&operations.proxy)
        .into_iter()
        .partition(|call| call == "Query");
    let expected = [
        // How far was the list read? Which are the newest payments? Then note that reading begins, and take call slots.
        &[READ, BATCH, WRITE, WRITE][..],
        // The list cannot be read, so the payments are polled.
        // Does the response name a known id? Then it is recorded. It names an unknown transaction, so the owners of both ids
        // are read again.
        &[READ, READ, WRITE, READ, READ, READ, WRITE],
        // The payment's new state.
        &[READ],
    ];
    assert_eq!(looks, expected.concat());
    // The shards of what expires are read for what is due and for the newest; the other queues once; and two queues are
    // counted.
    assert_eq!(lists.len(), 2 * 4 + 3 + 2);
}
