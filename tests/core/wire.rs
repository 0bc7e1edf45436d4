//! What goes over the wire to providers and to Secrets Manager, and what comes back: a server that answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use payment_functions::domain::fact::Outcome;
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::json::Json;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::redacted::Redacted;
use payment_functions::domain::time::Timestamp;
use payment_functions::platform::aws::Aws;
use payment_functions::platform::clock;
use payment_functions::platform::config::{ENVIRONMENT, Variables};
use payment_functions::platform::secrets::{ApiKey, SecretCache, SecretError, SecretSource, SecretsManager};
use payment_functions::platform::tls::Tls;
use payment_functions::providers::finvypay::client::{ApmPayment, Details};
use payment_functions::providers::finvypay::status::StatusApi;
use payment_functions::providers::gateway::{CallError, Gateway};
use payment_functions::providers::http_client::HttpClient;
use payment_functions_tests::world::MemoryTable;
use reconcile_payments::poller::{Ask, FinvyPay, PollError, RateLimitedPoller};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// What was asked, but for the host.
#[derive(Debug)]
struct Asked {
    line: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A server that gives its answers in turn.
struct Wire {
    url: String,
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Wire {
    async fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let wire = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            answers: Arc::default(),
            asked: Arc::default(),
        };
        let (answers, asked) = (Arc::clone(&wire.answers), Arc::clone(&wire.asked));
        let answer = async move |request: Request| {
            let (head, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            asked.lock().unwrap().push(Asked {
                line: format!("{} {}", head.method, head.uri),
                headers: head.headers,
                body,
            });
            let answer = answers.lock().unwrap().pop_front();
            let (status, text) = answer.unwrap_or((500, String::new()));
            (StatusCode::from_u16(status).unwrap(), text)
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        wire
    }

    fn answers(&self, status: u16, body: impl ToString) {
        self.answers.lock().unwrap().push_back((status, body.to_string()));
    }

    /// What was asked since the last time.
    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn tls() -> Tls {
    Tls::from_environment(&ENVIRONMENT).unwrap()
}

fn secret(wire: &Wire) -> SecretsManager {
    let url = wire.url.clone();
    let variables = move |name: &str| match name {
        "AWS_REGION" => Some("us-east-1".to_owned()),
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("local".to_owned()),
        "AWS_ENDPOINT_URL" => Some(url.clone()),
        _ => None,
    };
    let aws = Aws::from_environment(&Variables::from(&variables), &tls()).unwrap();
    SecretsManager::new(aws.secrets_manager(), "the-secret".to_owned())
}

/// A version of a secret, made so many seconds after 1970.
fn version(key: &str, seconds: u64) -> Value {
    json!({ "Name": "the-secret", "SecretString": json!({ "secretKey": key }).to_string(), "CreatedDate": seconds })
}

#[tokio::test]
async fn the_previous_version_is_fetched_only_where_the_current_one_is_new() {
    let wire = Wire::open().await;
    let secret = secret(&wire);
    assert_eq!(secret.id(), "the-secret");
    let since = Timestamp::from_millis(1_000_000);
    for (since, seconds, is_asked) in [
        (None, 2000, false),
        (Some(since), 999, false),
        (Some(since), 1000, false),
        (Some(since), 1001, true),
        (Some(since), 5000, true),
    ] {
        wire.answers(200, version("new", seconds));
        if is_asked {
            wire.answers(200, version("old", 1));
        }
        let versions = secret.fetch(since).await.unwrap();
        assert_eq!(versions.created_at, Timestamp::from_millis(seconds * 1000));
        assert_eq!(versions.previous.is_some(), is_asked, "{seconds}");
        let stages: Vec<Value> = wire.asked().iter().map(Asked::json).collect();
        let stage = |stage| json!({ "SecretId": "the-secret", "VersionStage": stage });
        let expected = [Some("AWSCURRENT"), is_asked.then_some("AWSPREVIOUS")];
        assert_eq!(stages, expected.into_iter().flatten().map(stage).collect::<Vec<_>>());
    }

    let keys: SecretCache<ApiKey> = SecretCache::new(secret, "secretKey");
    wire.answers(200, version("sk_local", 1));
    assert_eq!(*keys.get(clock::now()).await.unwrap(), ApiKey("sk_local".into()));
    assert_ne!(ApiKey("sk_local".into()), ApiKey("sk_other".into()));
}

#[tokio::test]
async fn a_secret_that_is_not_to_be_had_is_told_from_one_that_is_not_there() {
    let wire = Wire::open().await;
    let secret = secret(&wire);
    let error = |kind: &str| json!({ "__type": kind });
    let missing = error("ResourceNotFoundException");
    wire.answers(400, &missing);
    assert_eq!(secret.fetch(None).await.unwrap_err(), SecretError::NotFound);

    wire.answers(200, version("new", 5000));
    wire.answers(400, &missing);
    let versions = secret.fetch(Some(Timestamp::from_millis(0))).await.unwrap();
    assert!(versions.previous.is_none(), "it was never rotated");

    wire.answers(400, error("AccessDeniedException"));
    let refused = secret.fetch(None).await.unwrap_err().to_string();
    assert!(refused.contains("AccessDeniedException"), "{refused}");
    assert!(refused.contains("secretsmanager:GetSecretValue"), "{refused}");

    wire.answers(
        200,
        json!({ "Name": "the-secret", "SecretBinary": "AAAA", "CreatedDate": 1 }),
    );
    assert!(matches!(secret.fetch(None).await, Err(SecretError::Unavailable(_))));
}

#[tokio::test]
async fn a_provider_is_called_once_and_read_only_as_far_as_it_may_answer() {
    let wire = Wire::open().await;
    let client = HttpClient::new(&tls()).unwrap();
    client.connect(&wire.url).await;
    let asked = wire.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "HEAD /");
    assert!(asked[0].headers.get("authorization").is_none());

    let of_length = |length: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(length - 8));
    for (length, is_read) in [(8, true), (1025, true), (262_144, true), (262_145, false)] {
        wire.answers(200, of_length(length));
        let reply = client.post(&wire.url, HeaderMap::new(), "{}".to_owned()).await;
        let expected = if is_read {
            Ok(true)
        } else {
            Err(CallError::unusable("far too long"))
        };
        assert_eq!(reply.map(|reply| reply.body.is_some()), expected, "{length}");
    }
    assert_eq!(wire.asked().len(), 4);
    wire.answers(503, "");
    let reply = client.post(&wire.url, HeaderMap::new(), "{}".to_owned()).await;
    assert_eq!(reply.map(|_| ()), Err(CallError::NoAnswer));
    assert_eq!(wire.asked().len(), 1, "nothing is asked twice");
}

#[tokio::test]
async fn a_payment_is_asked_for_as_finvypay_documents_it() {
    let wire = Wire::open().await;
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
    let call = ApmPayment {
        client: &HttpClient::new(&tls()).unwrap(),
        base_url: &wire.url,
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
        ..Payment::new(PaymentId::random(), Provider::FinvyPay, money, clock::now())
    };
    wire.answers(201, json!({ "success": true, "data": { "paymentId": "pay_apm_1" } }));
    let accepted = call.create(&payment, 2).await.unwrap();
    assert_eq!(accepted.checkout_session.reference.as_str(), "pay_apm_1");
    let asked = wire.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "POST /api/v1/production/apm");
    assert_eq!(asked[0].header("authorization"), "Bearer fp_local");
    assert_eq!(asked[0].header("content-type"), "application/json");
    assert_eq!(asked[0].header("idempotency-key"), format!("{}-2", payment.id));
    let expected = json!({
        "orderId": "ORD-1", "amount": 99.99, "currency": "USD", "paymentMethod": "apple_pay", "firstName": "Ana",
        "lastName": "Example", "email": "ana@shop.example", "returnUrl": "https://shop.example/done",
        "webhookUrl": "https://hooks.example/webhooks/finvypay", "description": "Shoes", "merchantProfileId": 7,
        "metadata": { "paymentFunctionsId": "x" },
    });
    assert_eq!(asked[0].json(), expected);
}

#[tokio::test]
async fn finvypay_is_asked_about_an_id_and_about_an_order() {
    let wire = Wire::open().await;
    let api = StatusApi {
        client: &HttpClient::new(&tls()).unwrap(),
        base_url: &wire.url,
        environment: Environment::Sandbox,
        api_key: "fp_local".into(),
    };
    let data = json!({ "transactionId": "FP/1", "orderId": "ORD 1", "status": "COMPLETED", "amount": 99.99, "currency": "USD" });
    let (id, order) = (Reference::parse("FP/1").unwrap(), OrderId::parse("ORD 1").unwrap());

    wire.answers(200, json!({ "success": true, "data": data }));
    let event = api.status(&id).await.unwrap().unwrap();
    assert_eq!(
        (event.fact.outcome, event.fact.transaction),
        (Outcome::Completed, Some(id.clone()))
    );
    wire.answers(404, json!({ "success": false, "error": { "code": "NOT_FOUND" } }));
    assert_eq!(api.status(&id).await.unwrap(), None);
    wire.answers(200, json!({ "success": true, "data": { "transactions": [data] } }));
    let events = api.transactions(&order).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].fact.transaction, Some(id));

    let asked = wire.asked();
    let lines: Vec<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
    let of_id = "GET /api/sandbox/status/FP%2F1";
    assert_eq!(lines, [of_id, of_id, "GET /api/v1/sandbox-transactions?orderId=ORD+1"]);
    assert!(
        asked
            .iter()
            .all(|asked| asked.header("authorization") == "Bearer fp_local")
    );
}

#[tokio::test]
async fn finvypay_is_asked_no_more_after_the_time_that_is_given() {
    let (secrets, wire) = (Wire::open().await, Wire::open().await);
    let table = MemoryTable::new().unwrap();
    let (store, keys) = (table.store(), SecretCache::new(secret(&secrets), "apiKey"));
    let finvypay = FinvyPay {
        client: &HttpClient::new(&tls()).unwrap(),
        base_url: &wire.url,
        environment: Environment::Sandbox,
        keys: &keys,
    };
    let mut asker = RateLimitedPoller::new(&store, finvypay);
    let id = Reference::parse("FP1").unwrap();
    secrets.answers(
        200,
        json!({ "SecretString": r#"{"apiKey":"fp_local"}"#, "CreatedDate": 1 }),
    );
    let now = Instant::now();
    // After the first call the next turn is not yet.
    for (seconds, is_asked) in [(10, true), (0, false), (10, true)] {
        asker.poll_until(now + Duration::from_secs(seconds));
        wire.answers(404, json!({ "success": false, "error": { "code": "NOT_FOUND" } }));
        match (asker.status(&id).await, is_asked) {
            (Ok(None), true) | (Err(PollError::OutOfTurns), false) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(wire.asked().len(), usize::from(is_asked), "{seconds}");
    }
}
