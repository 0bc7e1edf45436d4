//! The proxy counts requests, injects faults and holds requests back.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use payment_functions::domain::id::PaymentId;
use payment_functions::platform::aws::Aws;
use payment_functions::platform::config::Variables;
use payment_functions::platform::tls::Tls;
use payment_functions::store::Store;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::world::{AwsProxy, Fault, HoldPoint};
use payment_functions_local::http;

/// A fake AWS that counts requests.
async fn upstream() -> (String, Arc<AtomicUsize>) {
    upstream_with("seen {body}").await
}

/// A fake AWS with this response, in which `{body}` is replaced by the request's body.
async fn upstream_with(response: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let reached = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&reached);
    let handle = move |body: String| async move {
        seen.fetch_add(1, Ordering::SeqCst);
        response.replace("{body}", &body)
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(handle))).await });
    (url, reached)
}

/// Sends an attempt of an operation, with an SDK's headers.
async fn attempt(proxy: &AwsProxy, action: &str, operation: &str, attempt: u32) -> reqwest::Result<(u16, String)> {
    // Each test has its own thread and runtime.
    thread_local!(static CLIENT: reqwest::Client = http::client().unwrap());
    let response = CLIENT
        .with(|client| client.post(proxy.url()))
        .header("x-amz-target", format!("DynamoDB_20120810.{action}"))
        .header("amz-sdk-invocation-id", operation)
        .header(
            "amz-sdk-request",
            format!("ttl=20261121T120000Z; attempt={attempt}; max=3"),
        )
        .body(json!({ "TableName": "payments" }).to_string())
        .send()
        .await?;
    Ok((response.status().as_u16(), response.text().await?))
}

async fn call(proxy: &AwsProxy, action: &str) -> reqwest::Result<(u16, String)> {
    attempt(proxy, action, &uuid::Uuid::new_v4().to_string(), 1).await
}

/// The store of the crate under test, whose SDK retries.
fn store(proxy: &AwsProxy) -> Store {
    let variables = |name: &str| match name {
        "AWS_ENDPOINT_URL" => Some(proxy.url().to_owned()),
        "AWS_REGION" => Some("us-east-1".to_owned()),
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("local".to_owned()),
        _ => None,
    };
    let variables = Variables::from(&variables);
    let aws = Aws::from_environment(&variables, &Tls::from_environment(&variables).unwrap()).unwrap();
    Store::open(&aws, "payments".to_owned())
}

/// Whether something is still running after a while.
async fn is_still_running<T>(work: impl Future<Output = T>) -> bool {
    timeout(Duration::from_millis(150), work).await.is_err()
}

#[tokio::test]
async fn requests_are_counted() {
    let (url, reached) = upstream().await;
    let proxy = AwsProxy::start(&url).await.unwrap();
    let (status, body) = call(&proxy, "PutItem").await.unwrap();
    assert_eq!((status, body.as_str()), (200, r#"seen {"TableName":"payments"}"#));
    call(&proxy, "PutItem").await.unwrap();
    call(&proxy, "GetItem").await.unwrap();
    assert_eq!(
        (proxy.count("PutItem"), proxy.count("GetItem"), proxy.count("Query")),
        (2, 1, 0)
    );
    assert_eq!(proxy.calls()[2].body["TableName"], "payments");
    assert_eq!(reached.load(Ordering::SeqCst), 3);
    proxy.reset();
    assert!(proxy.calls().is_empty());
}

#[tokio::test]
async fn requested_faults_are_injected() {
    let (url, reached) = upstream().await;
    let proxy = AwsProxy::start(&url).await.unwrap();
    proxy.fail_times("PutItem", 1, Fault::THROTTLED);
    proxy.fail_times("PutItem", 1, Fault::Disconnect);
    proxy.fail_times("PutItem", 1, Fault::LoseResponse);

    let (status, body) = call(&proxy, "PutItem").await.unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 400);
    assert!(
        body["__type"]
            .as_str()
            .unwrap()
            .ends_with("#ProvisionedThroughputExceededException")
    );
    assert!(call(&proxy, "PutItem").await.is_err());
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    assert!(call(&proxy, "PutItem").await.is_err());
    assert_eq!(reached.load(Ordering::SeqCst), 1);
    assert_eq!(call(&proxy, "PutItem").await.unwrap().0, 200);

    proxy.fail("*", Fault::UNAVAILABLE);
    assert_eq!(call(&proxy, "GetItem").await.unwrap().0, 503);
    assert_eq!(call(&proxy, "GetItem").await.unwrap().0, 503);
}

#[tokio::test]
async fn held_requests_wait_until_released() {
    let (url, reached) = upstream().await;
    let proxy = Arc::new(AwsProxy::start(&url).await.unwrap());
    let mut held = proxy.hold("PutItem");
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let proxy = Arc::clone(&proxy);
            tokio::spawn(async move { call(&proxy, "PutItem").await.unwrap().0 })
        })
        .collect();
    held.arrived(3).await;
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    held.release();
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    assert_eq!(reached.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn nth_operation_fails_in_every_attempt() {
    let (url, reached) = upstream_with("{}").await;
    let proxy = AwsProxy::start(&url).await.unwrap();
    let store = store(&proxy);
    let get = || store.payment(PaymentId::random());
    proxy.fail_operation("PutItem", 1, Fault::Disconnect);
    proxy.fail_operation("*", 2, Fault::UNAVAILABLE);
    proxy.fail_operation("GetItem", 3, Fault::Hang);
    assert_eq!(get().await.unwrap(), None);
    assert!(get().await.is_err(), "the second operation fails in every attempt");
    let attempts = proxy.count("GetItem");
    assert!(attempts > 2, "{attempts}: the SDK retries");
    assert_eq!(proxy.operations("GetItem"), 2);
    let started = Instant::now();
    assert!(
        get().await.is_err(),
        "the third operation, which the other rule counts too"
    );
    assert!(started.elapsed() > Duration::from_millis(500), "it hung");
    assert_eq!(get().await.unwrap(), None);
    assert_eq!((proxy.operations("*"), proxy.operations("PutItem")), (4, 0));
    assert_eq!(reached.load(Ordering::SeqCst), 2);
    let injected = proxy.injected();
    assert_eq!(injected["Error 503 ServiceUnavailable"], attempts - 1);
    assert!(injected["Hang"] >= 1 && injected.len() == 2, "{injected:?}");
}

#[tokio::test]
async fn forwarded_request_can_appear_failed() {
    let (url, reached) = upstream().await;
    let proxy = AwsProxy::start(&url).await.unwrap();
    let done = || reached.load(Ordering::SeqCst);
    proxy.fail_times("PutItem", 1, Fault::ErrorAfter(500, "InternalServerError"));
    proxy.fail_times("PutItem", 1, Fault::Late(Duration::from_millis(120)));
    proxy.fail_times("PutItem", 1, Fault::HangAfter);
    let (status, body) = call(&proxy, "PutItem").await.unwrap();
    assert_eq!((status, body.contains("#InternalServerError"), done()), (500, true, 1));
    let started = Instant::now();
    let (status, body) = call(&proxy, "PutItem").await.unwrap();
    assert_eq!(
        (status, body.as_str(), done()),
        (200, r#"seen {"TableName":"payments"}"#, 2)
    );
    assert!(started.elapsed() >= Duration::from_millis(120));
    assert!(is_still_running(call(&proxy, "PutItem")).await);
    assert_eq!(done(), 3);
    let counted = [("ErrorAfter 500 InternalServerError", 1), ("HangAfter", 1), ("Late", 1)];
    assert_eq!(
        proxy.injected(),
        BTreeMap::from(counted.map(|(name, count)| (name.to_owned(), count)))
    );
    assert_eq!(call(&proxy, "PutItem").await.unwrap().0, 200);
}

#[tokio::test]
async fn first_attempt_fails_and_retry_passes() {
    let (url, reached) = upstream_with("{}").await;
    let proxy = AwsProxy::start(&url).await.unwrap();
    let store = store(&proxy);
    proxy.fail_first_attempt("GetItem", 2, Fault::UNAVAILABLE);
    for _ in 0..3 {
        assert_eq!(store.payment(PaymentId::random()).await.unwrap(), None);
    }
    assert_eq!((proxy.operations("GetItem"), proxy.count("GetItem")), (3, 4));
    assert_eq!(reached.load(Ordering::SeqCst), 3);
    assert_eq!(proxy.injected()["Error 503 ServiceUnavailable"], 1);
}

#[tokio::test]
async fn delayed_request_is_forwarded_after_client_has_given_up() {
    let (url, reached) = upstream().await;
    let proxy = AwsProxy::start(&url).await.unwrap();
    proxy.fail_times("PutItem", 1, Fault::Delayed(Duration::from_secs(2)));
    let arrived = async {
        while !proxy.injected().contains_key("Delayed") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        response = call(&proxy, "PutItem") => panic!("{response:?}"),
        () = arrived => {}
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0, "the client gave up first");
    timeout(Duration::from_secs(10), async {
        while reached.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(proxy.injected()["Delayed"], 1);
}

#[tokio::test]
async fn one_operation_is_held_before_or_after_forwarding() {
    let (url, reached) = upstream().await;
    let proxy = AwsProxy::start(&url).await.unwrap();
    for (at, forwarded) in [(HoldPoint::BeforeRequest, 0), (HoldPoint::BeforeResponse, 1)] {
        for discarded in [true, false] {
            reached.store(0, Ordering::SeqCst);
            proxy.reset();
            let mut held = proxy.hold_operation("PutItem", 2, at);
            assert_eq!(call(&proxy, "PutItem").await.unwrap().0, 200);
            assert_eq!(call(&proxy, "GetItem").await.unwrap().0, 200);
            let calling = attempt(&proxy, "PutItem", "second", 1);
            tokio::pin!(calling);
            tokio::select! {
                response = &mut calling => panic!("{response:?}"),
                () = held.arrived(1) => {}
            }
            assert_eq!(reached.load(Ordering::SeqCst), 2 + forwarded, "{at:?}");
            assert_eq!(call(&proxy, "PutItem").await.unwrap().0, 200, "others pass");
            if discarded {
                held.discard();
                assert!(calling.await.is_err());
                assert_eq!(reached.load(Ordering::SeqCst), 3 + forwarded);
            } else {
                held.release();
                assert_eq!(calling.await.unwrap().0, 200);
                assert_eq!(reached.load(Ordering::SeqCst), 4);
            }
            assert_eq!(
                attempt(&proxy, "PutItem", "second", 2).await.unwrap().0,
                200,
                "later ones pass"
            );
        }
    }
}

#[tokio::test]
async fn chaos_is_reproducible_and_counted() {
    const FAULTS: [Fault; 2] = [Fault::UNAVAILABLE, Fault::LoseResponse];
    let (url, _) = upstream().await;
    let proxy = AwsProxy::start(&url).await.unwrap();
    let run = async |seed| {
        proxy.reset();
        proxy.chaos(30, seed, &FAULTS);
        let mut outcomes = Vec::new();
        for nth in 0..150 {
            let operation = format!("{seed}-{nth}");
            for number in 1..=2 {
                outcomes.push(
                    attempt(&proxy, "PutItem", &operation, number)
                        .await
                        .map_or(0, |(status, _)| status),
                );
            }
        }
        outcomes
    };
    let outcomes = run(1).await;
    let both: Vec<&[u16]> = outcomes.chunks(2).collect();
    let count = |wanted: [u16; 2]| both.iter().filter(|attempts| ***attempts == wanted).count();
    let (unaffected, retried, failed) = (
        count([200, 200]),
        count([503, 200]) + count([0, 200]),
        count([503, 503]) + count([0, 0]),
    );
    assert_eq!(unaffected + retried + failed, 150, "one fault per operation: {both:?}");
    assert!(
        (80..130).contains(&unaffected) && retried > 8 && failed > 8,
        "{unaffected} {retried} {failed}"
    );
    let injected = proxy.injected();
    let of = |status| outcomes.iter().filter(|outcome| **outcome == status).count();
    assert!(of(0) > 0 && of(503) > 0);
    assert_eq!(
        (injected["LoseResponse"], injected["Error 503 ServiceUnavailable"]),
        (of(0), of(503))
    );
    assert_eq!(run(1).await, outcomes);
    assert_ne!(run(2).await, outcomes);

    proxy.fail_times("PutItem", 1, Fault::THROTTLED);
    assert_eq!(
        call(&proxy, "PutItem").await.unwrap().0,
        400,
        "rules take precedence over chaos"
    );
    let before = proxy.injected();
    proxy.end_chaos();
    for _ in 0..30 {
        assert_eq!(call(&proxy, "PutItem").await.unwrap().0, 200);
    }
    assert_eq!(proxy.injected(), before);
    proxy.reset();
    assert!(proxy.injected().is_empty());
}
