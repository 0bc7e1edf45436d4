//! template.yaml and the release builds, deployed to a local AWS that enforces permissions: the view of a buyer, a
//! provider and the merchant's systems.

mod alarms;
mod rights;
mod template;

use std::path::Path;
use std::time::{Duration, Instant};

use payment_functions_tests::world::{Cloud, Stack};
use reqwest::Method;
use tokio::sync::OnceCell;

use super::aws;
use super::routes::*;
use super::support::*;

static CLOUD: OnceCell<Cloud> = OnceCell::const_new();

/// The local AWS of these tests.
async fn cloud() -> &'static Cloud {
    let start = async || Cloud::start(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("cloud")).await;
    let cloud = CLOUD.get_or_try_init(start).await;
    cloud.unwrap_or_else(|error| panic!("{error}"))
}

/// The parameters of a first deployment.
fn parameters() -> Value {
    json!({
        "AllowedOrigins": "https://shop.example,https://www.shop.example",
        "AllowedReturnOrigins": "https://your-domain.com,https://shop.example",
        "AlarmEmail": "on-call@shop.example",
        "WebhookConcurrency": "50",
        "Architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" },
        // The local AWS has no CodeDeploy; another test covers it.
        "GradualDeployments": "false",
    })
}

/// Deploys a stack and fills its secrets.
async fn deployed(name: &str, parameters: &Value) -> Stack {
    let cloud = cloud().await;
    let stack = cloud.deploy(name, parameters).await;
    let stack = stack.unwrap_or_else(|refusal| panic!("{refusal}\n{}", cloud.log()));
    for (output, value) in [
        (
            "ApoloPaySecretArn",
            json!({ "secretKey": "sk_local_apolopay", "webhookSecret": "whsec_test_secret" }),
        ),
        (
            "FinvyPaySecretArn",
            json!({ "apiKey": "fp_local_finvypay", "webhookSecret": "whsec_test_secret" }),
        ),
    ] {
        let secret = json!({ "SecretId": stack.output(output), "SecretString": value.to_string() });
        call("secretsmanager", "put_secret_value", secret).await;
    }
    stack
}

/// Makes an AWS call as the deployer. It must succeed.
async fn call(service: &str, operation: &str, arguments: Value) -> Value {
    let response = cloud().await.call(service, operation, arguments).await;
    response.unwrap_or_else(|refusal| panic!("{service} {operation}: {refusal}"))
}

fn stand_ins(cloud: &Cloud) -> Control {
    Control::new(cloud.sandbox_url()).expect("a control client")
}

/// A queue that receives events or notifications.
struct Inbox {
    url: String,
    arn: String,
}

impl Inbox {
    async fn open(name: &str) -> Self {
        let queue = call("sqs", "create_queue", json!({ "QueueName": name })).await;
        let url = queue["QueueUrl"].as_str().unwrap().to_owned();
        let arguments = json!({ "QueueUrl": url, "AttributeNames": ["QueueArn"] });
        let attributes = call("sqs", "get_queue_attributes", arguments).await;
        let arn = attributes["Attributes"]["QueueArn"].as_str().unwrap().to_owned();
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn,
                "Principal": { "Service": ["events.amazonaws.com", "sns.amazonaws.com"] },
            }],
        });
        let arguments = json!({ "QueueUrl": url, "Attributes": { "Policy": policy.to_string() } });
        call("sqs", "set_queue_attributes", arguments).await;
        Self { url, arn }
    }

    /// The messages since the last call, as JSON.
    async fn messages(&self) -> Vec<Value> {
        let mut bodies = Vec::new();
        loop {
            let arguments = json!({ "QueueUrl": self.url, "MaxNumberOfMessages": 10 });
            let received = call("sqs", "receive_message", arguments).await;
            let Some(messages) = received["Messages"].as_array().filter(|messages| !messages.is_empty()) else {
                return bodies;
            };
            for message in messages {
                bodies.push(serde_json::from_str(message["Body"].as_str().unwrap()).expect("JSON"));
                let arguments = json!({ "QueueUrl": self.url, "ReceiptHandle": message["ReceiptHandle"] });
                call("sqs", "delete_message", arguments).await;
            }
        }
    }
}

/// Polls for up to two minutes, longer than the schedule's minute.
async fn until<T>(what: &str, mut poll: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(response) = poll().await {
            return response;
        }
        assert!(
            Instant::now() < deadline,
            "timed out waiting for {what}\n{}",
            cloud().await.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn deployed_stack_takes_payments_of_both_providers() {
    let cloud = cloud().await;
    let stack = deployed("shop", &with(parameters(), json!({ "DeleteUnpaidAfterDays": "90" }))).await;
    let name = json!({ "FunctionName": "shop-reconcile-payments" });
    let reconciler = call("lambda", "get_function_configuration", name).await;
    let variables = &reconciler["Environment"]["Variables"];
    assert_eq!(variables["DELETE_UNPAID_AFTER_DAYS"], "90", "{variables}");
    let url = |path: &str| cloud.url(&stack, path);
    let status = async |id: &str| {
        let response = send(request(Method::GET, &url(&format!("/payments/{id}")))).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.str("status")
    };
    // The merchant's system subscribes.
    let inbox = Inbox::open("merchant").await;
    let bus = stack.output("EventBusName");
    let pattern = json!({ "source": ["payment-functions"] }).to_string();
    let rule = json!({ "Name": "merchant", "EventBusName": bus, "EventPattern": pattern });
    call("events", "put_rule", rule).await;
    let target = json!({ "Id": "queue", "Arn": inbox.arn });
    let targets = json!({ "Rule": "merchant", "EventBusName": bus, "Targets": [target] });
    call("events", "put_targets", targets).await;

    let mut ids = Vec::new();
    for provider in BOTH {
        let order = unique("deployed");
        let headers = [("origin", "https://shop.example"), ("idempotency-key", order.as_str())];
        let created = post_to("", &url(route(provider)), body(provider, &order).to_string(), &headers).await;
        assert_eq!(created.status, 201, "{created:?}\n{}", cloud.log());
        assert_eq!(
            created.header("access-control-allow-origin"),
            Some("https://shop.example")
        );
        let again = post_to("", &url(route(provider)), body(provider, &order).to_string(), &headers).await;
        assert_eq!(
            (again.header("idempotency-replayed"), &again.text),
            (Some("true"), &created.text)
        );
        let id = created.str("id");
        assert_eq!(status(&id).await, "pending");

        // The provider's webhook and a forgery at the function URL.
        let webhook = |signature: &str| {
            json!({
                "provider": provider, "orderId": order, "signature": signature,
                "url": url(&format!("/webhooks/{}", aws::name(provider))),
            })
        };
        let forged = stand_ins(cloud).webhooks(webhook("wrong")).await.unwrap();
        assert_eq!(
            (forged[0].status, status(&id).await.as_str()),
            (Some(401), "pending"),
            "{forged:?}"
        );
        let genuine = stand_ins(cloud).webhooks(webhook("right")).await.unwrap();
        assert_eq!(
            (genuine[0].status, status(&id).await.as_str()),
            (Some(200), "completed"),
            "{genuine:?}"
        );
        ids.push(id);
    }

    // A lost webhook: the scheduled reconciler polls instead.
    let order = unique("lost");
    let lost = post_to("", &url("/apm-payments"), apm(&order).to_string(), &[]).await;
    let there = lost.str("paymentId");
    stand_ins(cloud)
        .set_status(Provider::Finvypay, &there, "COMPLETED")
        .await
        .unwrap();
    until("resolved by the scheduled reconciler", async || {
        (status(&lost.str("id")).await == "completed").then_some(())
    })
    .await;
    ids.push(lost.str("id"));

    // A webhook that names only the order: the table's stream makes the reconciler ask FinvyPay at once.
    let order = unique("claim");
    let claimed = post_to("", &url("/apm-payments"), apm(&order).to_string(), &[]).await;
    let there = claimed.str("paymentId");
    let control = stand_ins(cloud);
    control
        .set_status(Provider::Finvypay, &there, "COMPLETED")
        .await
        .unwrap();
    let webhook = json!({ "provider": "finvypay", "orderId": order, "shape": "W1", "url": url("/webhooks/finvypay") });
    let sent = control.webhooks(webhook).await.unwrap();
    assert_eq!(sent[0].status, Some(200), "{sent:?}");
    let received = Instant::now();
    until("the claim's confirmation", async || {
        (status(&claimed.str("id")).await == "completed").then_some(())
    })
    .await;
    println!("claim confirmed after {:.1} s", received.elapsed().as_secs_f64());
    assert!(received.elapsed() < Duration::from_secs(20), "not by the stream");
    ids.push(claimed.str("id"));

    // Every status change is published.
    let mut events: Vec<Value> = Vec::new();
    until("the events", async || {
        events.extend(inbox.messages().await);
        let has_ended = |id: &String| {
            let is_end = |event: &&Value| event["detail"]["id"] == **id && event["detail-type"] == "payment.completed";
            events.iter().any(|event| is_end(&event))
        };
        ids.iter().all(has_ended).then_some(())
    })
    .await;
    for id in &ids {
        let mut of_one: Vec<&Value> = events.iter().filter(|event| event["detail"]["id"] == **id).collect();
        of_one.sort_by_key(|event| event["detail"]["version"].as_u64());
        let kinds: Vec<&str> = of_one
            .iter()
            .map(|event| event["detail-type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["payment.pending", "payment.completed"], "{of_one:?}");
    }
}

#[tokio::test]
async fn api_allows_shop_origins_only_and_has_no_other_route() {
    let cloud = cloud().await;
    let stack = deployed("browsers", &parameters()).await;
    let preflight = async |origin: &str| {
        let request = request(Method::OPTIONS, &cloud.url(&stack, "/preorders"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,idempotency-key");
        send(request).await
    };
    for origin in ["https://shop.example", "https://www.shop.example"] {
        let response = preflight(origin).await;
        assert_eq!(
            response.header("access-control-allow-origin"),
            Some(origin),
            "{response:?}"
        );
        assert_eq!(response.header("access-control-allow-methods"), Some("GET,POST"));
        assert_eq!(
            response.header("access-control-allow-headers"),
            Some("content-type,idempotency-key")
        );
        let exposed = response.header("access-control-expose-headers");
        assert_eq!(exposed, Some("idempotency-replayed,retry-after,location"));
    }
    let stranger = preflight("https://elsewhere.example").await;
    assert_eq!(stranger.header("access-control-allow-origin"), None, "{stranger:?}");
    for (method, path) in [
        (Method::GET, "/preorders"),
        (Method::POST, "/"),
        (Method::DELETE, "/payments/1"),
    ] {
        let response = send(request(method.clone(), &cloud.url(&stack, path))).await;
        assert_eq!(response.status, 404, "{method} {path}: {response:?}");
    }
}

#[tokio::test]
async fn issuer_requires_a_token() {
    let cloud = cloud().await;
    let stack = deployed(
        "tokens",
        &with(parameters(), json!({ "JwtIssuer": "https://login.shop.example" })),
    )
    .await;
    for (method, path) in [
        (Method::POST, "/preorders"),
        (Method::POST, "/apm-payments"),
        (Method::GET, "/payments/00000000-0000-0000-0000-000000000000"),
    ] {
        for token in [None, Some("Bearer forged")] {
            let mut request = request(method.clone(), &cloud.url(&stack, path)).body("{}");
            if let Some(token) = token {
                request = request.header("authorization", token);
            }
            let response = send(request).await;
            assert_eq!(response.status, 401, "{method} {path} {token:?}: {response:?}");
        }
    }
    // Providers have no token; their signature counts.
    let unsigned = send(request(Method::POST, &cloud.url(&stack, "/webhooks/finvypay")).body("{}")).await;
    assert_eq!(unsigned.problem().1, "SIGNATURE_INVALID");
}
