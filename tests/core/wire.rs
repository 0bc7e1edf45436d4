//! Requests to providers and to Secrets Manager and their responses over HTTP, with a fake server.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use payment_functions::domain::fact::Outcome;
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::json::Json;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::redacted::Redacted;
use payment_functions::domain::request_rate::{Lane, RequestRate};
use payment_functions::domain::time::Timestamp;
use payment_functions::platform::aws::Aws;
use payment_functions::platform::clock;
use payment_functions::platform::config::{PROCESS_ENVIRONMENT, Variables};
use payment_functions::platform::secrets::{ApiKey, SecretCache, SecretError, SecretSource, SecretsManager};
use payment_functions::platform::tls::Tls;
use payment_functions::providers::finvypay::client::{ApmPaymentCall, Details};
use payment_functions::providers::finvypay::status::StatusApi;
use payment_functions::providers::gateway::{CallError, Gateway};
use payment_functions::providers::http_client::HttpClient;
use payment_functions_tests::world::MemoryTable;
use reconcile_payments::poller::{FinvyPay, PollError, RateLimitedPoller, StatusSource};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// A received request without its host.
#[derive(Debug)]
struct Received {
    line: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Received {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A server that returns its queued responses in order.
struct Server {
    url: String,
    responses: Arc<Mutex<VecDeque<(u16, String, HeaderMap)>>>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            responses: Arc::default(),
            received: Arc::default(),
        };
        let (responses, received) = (Arc::clone(&server.responses), Arc::clone(&server.received));
        let handle = async move |request: Request| {
            let (head, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            received.lock().unwrap().push(Received {
                line: format!("{} {}", head.method, head.uri),
                headers: head.headers,
                body,
            });
            let response = responses.lock().unwrap().pop_front();
            let (status, text, headers) = response.unwrap_or((500, String::new(), HeaderMap::new()));
            (StatusCode::from_u16(status).unwrap(), headers, text)
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handle)).await });
        server
    }

    fn queue(&self, status: u16, body: impl ToString) {
        self.queue_with_headers(status, body, &[]);
    }

    fn queue_with_headers(&self, status: u16, body: impl ToString, headers: &[(&'static str, &'static str)]) {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let response = (status, body.to_string(), headers.collect());
        self.responses.lock().unwrap().push_back(response);
    }

    /// The requests received since the last call.
    fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.received.lock().unwrap())
    }
}

fn tls() -> Tls {
    Tls::from_environment(&PROCESS_ENVIRONMENT).unwrap()
}

fn secret(server: &Server) -> SecretsManager {
    let url = server.url.clone();
    let variables = move |name: &str| match name {
        "AWS_REGION" => Some("us-east-1".to_owned()),
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("local".to_owned()),
        "AWS_ENDPOINT_URL" => Some(url.clone()),
        _ => None,
    };
    let aws = Aws::from_environment(&Variables::from(&variables), &tls()).unwrap();
    SecretsManager::new(aws.secrets_manager(), "the-secret".to_owned())
}

/// A version of a secret, created at `seconds` since 1970.
fn version(key: &str, seconds: u64) -> Value {
    json!({ "Name": "the-secret", "SecretString": json!({ "secretKey": key }).to_string(), "CreatedDate": seconds })
}

#[tokio::test]
async fn previous_secret_is_fetched_only_if_the_current_one_is_new() {
    let server = Server::start().await;
    let secret = secret(&server);
    assert_eq!(secret.id(), "the-secret");
    let since = Timestamp::from_millis(1_000_000);
    for (since, seconds, is_fetched) in [
        (None, 2000, false),
        (Some(since), 999, false),
        (Some(since), 1000, false),
        (Some(since), 1001, true),
        (Some(since), 5000, true),
    ] {
        server.queue(200, version("new", seconds));
        if is_fetched {
            server.queue(200, version("old", 1));
        }
        let versions = secret.fetch(since).await.unwrap();
        assert_eq!(versions.created_at, Timestamp::from_millis(seconds * 1000));
        assert_eq!(versions.previous.is_some(), is_fetched, "{seconds}");
        let stages: Vec<Value> = server.take().iter().map(Received::json).collect();
        let stage = |stage| json!({ "SecretId": "the-secret", "VersionStage": stage });
        let expected = [Some("AWSCURRENT"), is_fetched.then_some("AWSPREVIOUS")];
        assert_eq!(stages, expected.into_iter().flatten().map(stage).collect::<Vec<_>>());
    }

    let keys: SecretCache<ApiKey> = SecretCache::new(secret, "secretKey");
    server.queue(200, version("sk_local", 1));
    assert_eq!(*keys.get(clock::now()).await.unwrap(), ApiKey("sk_local".into()));
    assert_ne!(ApiKey("sk_local".into()), ApiKey("sk_other".into()));
}

#[tokio::test]
async fn unavailable_secret_is_distinguished_from_a_missing_one() {
    let server = Server::start().await;
    let secret = secret(&server);
    let error = |kind: &str| json!({ "__type": kind });
    let missing = error("ResourceNotFoundException");
    server.queue(400, &missing);
    assert_eq!(secret.fetch(None).await.unwrap_err(), SecretError::NotFound);

    server.queue(200, version("new", 5000));
    server.queue(400, &missing);
    let versions = secret.fetch(Some(Timestamp::from_millis(0))).await.unwrap();
    assert!(versions.previous.is_none(), "the secret was never rotated");

    server.queue(400, error("AccessDeniedException"));
    let refused = secret.fetch(None).await.unwrap_err().to_string();
    assert!(refused.contains("AccessDeniedException"), "{refused}");
    assert!(refused.contains("secretsmanager:GetSecretValue"), "{refused}");

    server.queue(
        200,
        json!({ "Name": "the-secret", "SecretBinary": "AAAA", "CreatedDate": 1 }),
    );
    assert!(matches!(secret.fetch(None).await, Err(SecretError::Unavailable(_))));
}

#[tokio::test]
async fn provider_call_is_not_retried_and_its_reply_is_limited() {
    let server = Server::start().await;
    let client = HttpClient::new(&tls()).unwrap();
    client.connect(&server.url).await;
    let received = server.take();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].line, "HEAD /");
    assert!(received[0].headers.get("authorization").is_none());

    let of_length = |length: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(length - 8));
    for (length, is_read) in [(8, true), (1025, true), (262_144, true), (262_145, false)] {
        server.queue(200, of_length(length));
        let reply = client.post(&server.url, HeaderMap::new(), "{}".to_owned()).await;
        let expected = if is_read {
            Ok(true)
        } else {
            Err(CallError::unusable("response too large"))
        };
        assert_eq!(reply.map(|reply| reply.body.is_some()), expected, "{length}");
    }
    assert_eq!(server.take().len(), 4);
    // A failed response is read too, because it may contain ids, but its status decides however long it is.
    for (body, is_read) in [
        (String::new(), false),
        (of_length(262_144), true),
        (of_length(262_145), false),
    ] {
        server.queue(503, &body);
        let reply = client
            .post(&server.url, HeaderMap::new(), "{}".to_owned())
            .await
            .unwrap();
        assert_eq!(reply.failure(), Some(CallError::outcome_unknown()));
        assert_eq!(reply.body.is_some(), is_read, "{}", body.len());
    }
    assert_eq!(server.take().len(), 3, "there is no retry");
}

#[tokio::test]
async fn failed_response_that_breaks_off_is_judged_by_its_status() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = HttpClient::new(&tls()).unwrap();
    for (status, expected) in [(500, Some(CallError::unusable("server error"))), (200, None)] {
        let serve = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let read = connection.read(&mut request).await.unwrap();
            assert!(read > 0);
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 100\r\n\r\n{{");
            connection.write_all(head.as_bytes()).await.unwrap();
        };
        let (reply, ()) = tokio::join!(client.post(&url, HeaderMap::new(), "{}".to_owned()), serve);
        match expected {
            Some(error) => assert_eq!(reply.unwrap().failure(), Some(error)),
            None => assert_eq!(reply.map(|_| ()), Err(CallError::outcome_unknown())),
        }
    }
}

#[tokio::test]
async fn apm_request_matches_finvypays_documentation() {
    let server = Server::start().await;
    let details = Details {
        first_name: Redacted::new("Ana".to_owned()),
        last_name: Redacted::new("Example".to_owned()),
        email: Redacted::new("ana@shop.example".to_owned()),
        phone_number: None,
        description: Some("Shoes".to_owned()),
        return_url: "https://shop.example/done".to_owned(),
        cancel_url: None,
        merchant_profile_id: Some(7),
    };
    let metadata = Json::parse(br#"{"paymentFunctionsId":"x"}"#).unwrap();
    let call = ApmPaymentCall {
        client: &HttpClient::new(&tls()).unwrap(),
        base_url: &server.url,
        environment: Environment::Production,
        api_key: "fp_local".into(),
        webhook_url: "https://hooks.example/webhooks/finvypay",
        details: &details,
        metadata: Redacted::new(metadata.as_object().unwrap().clone()),
    };
    let money = Money::from_minor(9999, Currency::USD);
    let payment = Payment {
        order_id: OrderId::parse("ORD-1"),
        payment_method: Some("apple_pay".into()),
        ..Payment::new(
            PaymentId::random(),
            Provider::FinvyPay,
            Environment::Production,
            money,
            clock::now(),
        )
    };
    server.queue(201, json!({ "success": true, "data": { "paymentId": "pay_apm_1" } }));
    let accepted = call.create(&payment, 2).await.unwrap();
    assert_eq!(accepted.checkout_session.reference.as_str(), "pay_apm_1");
    let received = server.take();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].line, "POST /api/v1/production/apm");
    assert_eq!(received[0].header("authorization"), "Bearer fp_local");
    assert_eq!(received[0].header("content-type"), "application/json");
    assert_eq!(received[0].header("idempotency-key"), format!("{}-2", payment.id));
    let expected = json!({
        "orderId": "ORD-1", "amount": 99.99, "currency": "USD", "paymentMethod": "apple_pay", "firstName": "Ana",
        "lastName": "Example", "email": "ana@shop.example", "returnUrl": "https://shop.example/done",
        "webhookUrl": "https://hooks.example/webhooks/finvypay", "description": "Shoes", "merchantProfileId": 7,
        "metadata": { "paymentFunctionsId": "x" },
    });
    assert_eq!(received[0].json(), expected);

    // An id in a failed response is attached: the buyer may pay under it.
    server.queue(
        500,
        json!({ "success": false, "data": { "paymentId": "pay_apm_2", "orderId": "ORD-1" } }),
    );
    let ids = vec![Reference::parse("pay_apm_2").unwrap()];
    let error = CallError::unusable("server error").with_references(ids);
    assert_eq!(call.create(&payment, 3).await, Err(error));

    // Begun before the deployment was switched to production.
    let sandbox = Payment {
        environment: Environment::Sandbox,
        ..payment
    };
    server.take();
    let error = CallError::unusable("a payment of another environment");
    assert_eq!(call.create(&sandbox, 4).await, Err(error));
    assert_eq!(server.take().len(), 0, "it is not called");
}

#[tokio::test]
async fn status_api_queries_by_id_and_by_order() {
    let server = Server::start().await;
    let api = StatusApi {
        client: &HttpClient::new(&tls()).unwrap(),
        base_url: &server.url,
        environment: Environment::Sandbox,
        api_key: "fp_local".into(),
    };
    let data = json!({ "transactionId": "FP/1", "orderId": "ORD 1", "status": "COMPLETED", "amount": 99.99, "currency": "USD" });
    let (id, order) = (Reference::parse("FP/1").unwrap(), OrderId::parse("ORD 1").unwrap());

    server.queue(200, json!({ "success": true, "data": data }));
    let notification = api.status(&id).await.unwrap().0.unwrap();
    assert_eq!(
        (notification.fact.outcome, notification.fact.transaction),
        (Outcome::Completed, Some(id.clone()))
    );
    server.queue(404, json!({ "success": false, "error": { "code": "NOT_FOUND" } }));
    assert_eq!(api.status(&id).await.unwrap().0, None);
    server.queue(200, json!({ "success": true, "data": { "transactions": [data] } }));
    let (notifications, _) = api.transactions(&order).await.unwrap();
    assert_eq!(notifications.len(), 1);
    assert_eq!(notifications[0].fact.transaction, Some(id));

    let received = server.take();
    let lines: Vec<&str> = received.iter().map(|request| request.line.as_str()).collect();
    let of_id = "GET /api/sandbox/status/FP%2F1";
    assert_eq!(
        lines,
        [of_id, of_id, "GET /api/v1/sandbox-transactions?orderId=ORD+1&limit=100"]
    );
    assert!(
        received
            .iter()
            .all(|request| request.header("authorization") == "Bearer fp_local")
    );
}

#[tokio::test]
async fn poller_stops_at_its_deadline() {
    let (secrets, server) = (Server::start().await, Server::start().await);
    let table = MemoryTable::new().unwrap();
    let (store, keys) = (table.store(), SecretCache::new(secret(&secrets), "apiKey"));
    let finvypay = FinvyPay {
        client: &HttpClient::new(&tls()).unwrap(),
        base_url: &server.url,
        environment: Environment::Sandbox,
        keys: &keys,
        rate: RequestRate::DEFAULT,
    };
    let poller = RateLimitedPoller::new(&store, finvypay);
    let id = Reference::parse("FP1").unwrap();
    secrets.queue(
        200,
        json!({ "SecretString": r#"{"apiKey":"fp_local"}"#, "CreatedDate": 1 }),
    );
    let now = Instant::now();
    // After the first call the next slot is in the future.
    for (seconds, has_slot) in [(10, true), (0, false), (10, true)] {
        match (
            poller
                .wait_for_slot(Lane::List, now + Duration::from_secs(seconds))
                .await,
            has_slot,
        ) {
            (Ok(()), true) | (Err(PollError::NoSlot), false) => {}
            other => panic!("{other:?}"),
        }
    }
    // A single call does not wait for the list's.
    poller.wait_for_slot(Lane::Single, now).await.unwrap();
    server.queue(404, json!({ "success": false, "error": { "code": "NOT_FOUND" } }));
    assert!(matches!(poller.status(&id).await, Ok(None)));
}

/// For instance a firewall before the provider takes an order for an attack: 403 is about the order, not about our key.
#[tokio::test]
async fn poller_stops_only_after_several_refusals_in_a_row() {
    let (secrets, server) = (Server::start().await, Server::start().await);
    let table = MemoryTable::new().unwrap();
    let (store, keys) = (table.store(), SecretCache::new(secret(&secrets), "apiKey"));
    let finvypay = FinvyPay {
        client: &HttpClient::new(&tls()).unwrap(),
        base_url: &server.url,
        environment: Environment::Sandbox,
        keys: &keys,
        rate: RequestRate::per_minute(100_000).unwrap(),
    };
    let poller = RateLimitedPoller::new(&store, finvypay);
    let id = Reference::parse("FP1").unwrap();
    secrets.queue(
        200,
        json!({ "SecretString": r#"{"apiKey":"fp_local"}"#, "CreatedDate": 1 }),
    );
    let refuse = async || {
        server.queue(403, json!({ "message": "Forbidden" }));
        poller.status(&id).await
    };
    for _ in 0..5 {
        assert!(matches!(refuse().await, Err(PollError::Call(CallError::KeyRefused))));
        assert!(poller.is_key_refused());
    }
    server.queue(404, json!({ "success": false, "error": { "code": "NOT_FOUND" } }));
    assert!(matches!(poller.status(&id).await, Ok(None)));
    assert!(!poller.is_key_refused());
    for _ in 0..6 {
        refuse().await.unwrap_err();
    }
    let slot = poller.wait_for_slot(Lane::Single, Instant::now()).await;
    assert!(matches!(slot, Err(PollError::ProviderRefusesAll)), "{slot:?}");
}

/// `X-RateLimit-Remaining` is low, or the call was refused: all runs wait for the reset.
#[tokio::test]
async fn poller_heeds_the_providers_limit() {
    for (status, body, headers) in [
        (
            404,
            json!({ "success": false, "error": { "code": "NOT_FOUND" } }),
            &[
                ("x-ratelimit-limit", "100"),
                ("x-ratelimit-remaining", "20"),
                ("x-ratelimit-reset", "60"),
            ][..],
        ),
        (429, json!({}), &[("retry-after", "60")][..]),
        (429, json!({}), &[("x-ratelimit-reset", "60")][..]),
    ] {
        let (secrets, server) = (Server::start().await, Server::start().await);
        let table = MemoryTable::new().unwrap();
        let (store, keys) = (table.store(), SecretCache::new(secret(&secrets), "apiKey"));
        let client = HttpClient::new(&tls()).unwrap();
        let finvypay = FinvyPay {
            client: &client,
            base_url: &server.url,
            environment: Environment::Sandbox,
            keys: &keys,
            rate: RequestRate::DEFAULT,
        };
        secrets.queue(
            200,
            json!({ "SecretString": r#"{"apiKey":"fp_local"}"#, "CreatedDate": 1 }),
        );
        server.queue_with_headers(status, body, headers);
        let _ = RateLimitedPoller::new(&store, finvypay)
            .status(&Reference::parse("FP1").unwrap())
            .await;
        // Another run.
        let other = RateLimitedPoller::new(&store, finvypay);
        let now = Instant::now();
        for lane in Lane::ALL {
            let soon = other.wait_for_slot(lane, now + Duration::from_secs(50)).await;
            assert!(matches!(soon, Err(PollError::NoSlot)), "{status} {lane:?}: {soon:?}");
        }
    }
}
