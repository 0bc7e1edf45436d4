//! What each request costs in round trips to DynamoDB, secrets being warm.

use payment_functions_tests::local::{Attached, AwsProxy};
use reqwest::Method;

use crate::aws;
use crate::support::{Answer, Provider, Value, apm, control, json, post_to, preorder, request, send, unique, world};
use crate::webhooks::{PROVIDERS, SECRET, completion, dynamodb_calls, reference, send_signed, taken};

const WRITE: &str = "TransactWriteItems";

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
            let answer = counted.deliver(provider, &completion(&created, &json!({}))).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        counted
    }

    async fn create(&self, provider: Provider, order_id: &str, headers: &[(&str, &str)]) -> Answer {
        let (base, route, body) = match provider {
            Provider::Apolopay => (self.preorders.url(), "/preorders", preorder(order_id)),
            Provider::Finvypay => (self.apm.url(), "/apm-payments", apm(order_id)),
        };
        let answer = post_to(base, route, body.to_string(), headers).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer
    }

    async fn deliver(&self, provider: Provider, body: &Value) -> Answer {
        send_signed(self.webhooks.url(), provider, &body.to_string(), SECRET).await
    }

    /// What a request asked of DynamoDB.
    async fn of(&self, request: impl Future<Output = Answer>) -> Vec<String> {
        self.proxy.reset();
        let answer = request.await;
        assert!((200..300).contains(&answer.status), "{answer:?}");
        assert_eq!(self.proxy.count("GetSecretValue"), 0, "secrets are warm");
        dynamodb_calls(&self.proxy)
    }

    /// What a webhook asked of DynamoDB.
    async fn of_webhook(&self, provider: Provider, body: &Value) -> Vec<String> {
        self.of(self.deliver(provider, body)).await
    }
}

/// W1, which names the order and the transaction and nothing of ours.
fn w1(created: &Answer, transaction: &str) -> Value {
    let payment = created.json();
    json!({ "success": true, "status": "SUCCESS", "data": {
        "amount": payment["amount"], "currency": payment["currency"], "order_id": payment["orderId"], "txn_id": transaction,
    } })
}

#[tokio::test]
async fn a_create_costs_two_a_replay_one_and_a_get_one() {
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
        assert_eq!(counted.of(send(request(Method::GET, &url))).await, ["GetItem"]);
        let calls = control().await.calls(provider, &order_id).await.unwrap().calls;
        assert_eq!(calls.len(), 2, "one call to the provider for each payment");
    }
}

#[tokio::test]
async fn the_usual_webhook_costs_one_and_so_does_its_duplicate() {
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

/// Not a promise, but what the unusual ways cost as they are.
#[tokio::test]
async fn what_the_unusual_webhooks_cost() {
    const READ: &str = "GetItem";
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
            "money for review"
        );
        assert_eq!(counted.of_webhook(provider, &good).await, [WRITE]);
        let mut late = good.clone();
        (late["event"], late["status"]) = (json!("payment.pending"), json!("PENDING"));
        let expected: &[&str] = match provider {
            // ApoloPay has no such word, so there is no rung to try.
            Provider::Apolopay => &[READ, WRITE],
            Provider::Finvypay => &[WRITE, WRITE],
        };
        assert_eq!(counted.of_webhook(provider, &late).await, expected, "of no effect");

        // Only the provider's own id: whose it is must be looked up.
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

        // Our id, under an id of the provider's that nobody knew.
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
        assert_eq!(
            counted.of_webhook(provider, &learnt).await,
            [WRITE],
            "which is known now"
        );

        let mut nobodys = completion(&created, &json!({}));
        nobodys[id] = json!(unique("nobody"));
        if provider == Provider::Finvypay {
            nobodys["orderId"] = json!(unique("nobody"));
        }
        let expected: &[&str] = match provider {
            Provider::Apolopay => &[READ, WRITE],
            Provider::Finvypay => &[READ, "Query", WRITE],
        };
        assert_eq!(counted.of_webhook(provider, &nobodys).await, expected, "parked");
    }
    let created = counted.create(Provider::Finvypay, &unique("count"), &[]).await;
    let w1 = w1(&created, &unique("FP"));
    assert_eq!(
        counted.of_webhook(Provider::Finvypay, &w1).await,
        [READ, "Query", READ, WRITE],
        "by order"
    );
    assert_eq!(
        counted.of_webhook(Provider::Finvypay, &w1).await,
        [READ, READ, WRITE],
        "its duplicate"
    );
}

#[tokio::test]
async fn a_create_that_an_early_webhook_overtook_costs_one_more() {
    let counted = Counted::start().await;
    for provider in PROVIDERS {
        for early in [
            json!({}),
            json!({ "metadata": {}, "omit": if provider == Provider::Apolopay { json!([]) } else { json!(["orderId"]) } }),
        ] {
            let order_id = unique("overtaken");
            let replies = json!([{ "webhookBeforeReply": early }]);
            control().await.replies(provider, &order_id, replies).await.unwrap();
            assert_eq!(
                counted.of(counted.create(provider, &order_id, &[])).await,
                [WRITE, WRITE, WRITE]
            );
            let calls = control().await.calls(provider, &order_id).await.unwrap().calls;
            assert_eq!(calls[0].webhooks[0].status, Some(200));
        }
        let order_id = unique("then");
        let created = counted.create(provider, &order_id, &[]).await;
        taken(json!({ "provider": aws::name(provider), "id": reference(&created) })).await;
    }
}
