//! The proxy counts what passes, and fails, loses or holds it as told.

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

use crate::world::{AwsProxy, Fault, Moment};
use payment_functions_local::http;

/// A stand-in for AWS that counts what reaches it.
async fn upstream() -> (String, Arc<AtomicUsize>) {
    upstream_with("seen {body}").await
}

/// The same with an answer of one's own, in which `{body}` stands for what was sent.
async fn upstream_with(answer: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let reached = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&reached);
    let answer = move |body: String| async move {
        seen.fetch_add(1, Ordering::SeqCst);
        answer.replace("{body}", &body)
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(answer))).await });
    (url, reached)
}

/// A try of an operation, as an SDK marks it.
async fn attempt(proxy: &AwsProxy, action: &str, operation: &str, attempt: u32) -> reqwest::Result<(u16, String)> {
    // Each test has a thread and a runtime of its own.
    thread_local!(static CLIENT: reqwest::Client = http::client().unwrap());
    let answer = CLIENT
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
    Ok((answer.status().as_u16(), answer.text().await?))
}

async fn call(proxy: &AwsProxy, action: &str) -> reqwest::Result<(u16, String)> {
    attempt(proxy, action, &uuid::Uuid::new_v4().to_string(), 1).await
}

/// The store of the crate under test, whose SDK tries again.
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

/// Whether something is still under way after a while.
async fn goes_on<T>(work: impl Future<Output = T>) -> bool {
    timeout(Duration::from_millis(150), work).await.is_err()
}

#[tokio::test]
async fn counts_what_passes() {
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
async fn fails_what_it_is_told_to() {
    let (url, reached) = upstream().await;
    let proxy = AwsProxy::start(&url).await.unwrap();
    proxy.fail_times("PutItem", 1, Fault::THROTTLED);
    proxy.fail_times("PutItem", 1, Fault::Disconnect);
    proxy.fail_times("PutItem", 1, Fault::LoseAnswer);

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
async fn holds_until_released() {
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
async fn strikes_the_nth_operation_in_every_try_of_an_sdk() {
    let (url, reached) = upstream_with("{}").await;
    let proxy = AwsProxy::start(&url).await.unwrap();
    let store = store(&proxy);
    let get = || store.payment(PaymentId::random());
    proxy.fail_operation("PutItem", 1, Fault::Disconnect);
    proxy.fail_operation("*", 2, Fault::UNAVAILABLE);
    proxy.fail_operation("GetItem", 3, Fault::Hang);
    assert_eq!(get().await.unwrap(), None);
    assert!(get().await.is_err(), "the second, however often it is tried");
    let tries = proxy.count("GetItem");
    assert!(tries > 2, "{tries}: the SDK tries again");
    assert_eq!(proxy.operations("GetItem"), 2);
    let started = Instant::now();
    assert!(get().await.is_err(), "the third, which another rule counts too");
    assert!(started.elapsed() > Duration::from_millis(500), "it hung");
    assert_eq!(get().await.unwrap(), None);
    assert_eq!((proxy.operations("*"), proxy.operations("PutItem")), (4, 0));
    assert_eq!(reached.load(Ordering::SeqCst), 2);
    let injected = proxy.injected();
    assert_eq!(injected["Error 503 ServiceUnavailable"], tries - 1);
    assert!(injected["Hang"] >= 1 && injected.len() == 2, "{injected:?}");
}

#[tokio::test]
async fn does_it_and_hides_that_it_is_done() {
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
    assert!(goes_on(call(&proxy, "PutItem")).await);
    assert_eq!(done(), 3);
    let counted = [("ErrorAfter 500 InternalServerError", 1), ("HangAfter", 1), ("Late", 1)];
    assert_eq!(
        proxy.injected(),
        BTreeMap::from(counted.map(|(name, count)| (name.to_owned(), count)))
    );
    assert_eq!(call(&proxy, "PutItem").await.unwrap().0, 200);
}

#[tokio::test]
async fn strikes_the_first_try_alone_and_lets_the_next_pass() {
    let (url, reached) = upstream_with("{}").await;
    let proxy = AwsProxy::start(&url).await.unwrap();
    let store = store(&proxy);
    proxy.fail_first_try("GetItem", 2, Fault::UNAVAILABLE);
    for _ in 0..3 {
        assert_eq!(store.payment(PaymentId::random()).await.unwrap(), None);
    }
    assert_eq!((proxy.operations("GetItem"), proxy.count("GetItem")), (3, 4));
    assert_eq!(reached.load(Ordering::SeqCst), 3);
    assert_eq!(proxy.injected()["Error 503 ServiceUnavailable"], 1);
}

#[tokio::test]
async fn does_it_when_nobody_waits_for_it_any_more() {
    let (url, reached) = upstream().await;
    let proxy = AwsProxy::start(&url).await.unwrap();
    proxy.fail_times("PutItem", 1, Fault::Delayed(Duration::from_millis(300)));
    assert!(goes_on(call(&proxy, "PutItem")).await);
    assert_eq!(reached.load(Ordering::SeqCst), 0, "given up before it is done");
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
async fn holds_one_operation_before_it_is_done_or_after() {
    let (url, reached) = upstream().await;
    let proxy = AwsProxy::start(&url).await.unwrap();
    for (moment, done) in [(Moment::Before, 0), (Moment::After, 1)] {
        for discarded in [true, false] {
            reached.store(0, Ordering::SeqCst);
            proxy.reset();
            let mut held = proxy.hold_operation("PutItem", 2, moment);
            assert_eq!(call(&proxy, "PutItem").await.unwrap().0, 200);
            assert_eq!(call(&proxy, "GetItem").await.unwrap().0, 200);
            let calling = attempt(&proxy, "PutItem", "second", 1);
            tokio::pin!(calling);
            tokio::select! {
                answer = &mut calling => panic!("{answer:?}"),
                () = held.arrived(1) => {}
            }
            assert_eq!(reached.load(Ordering::SeqCst), 2 + done, "{moment:?}");
            assert_eq!(call(&proxy, "PutItem").await.unwrap().0, 200, "others pass");
            if discarded {
                held.discard();
                assert!(calling.await.is_err());
                assert_eq!(reached.load(Ordering::SeqCst), 3 + done);
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
async fn strikes_at_random_as_the_seed_says_and_counts() {
    const FAULTS: [Fault; 2] = [Fault::UNAVAILABLE, Fault::LoseAnswer];
    let (url, _) = upstream().await;
    let proxy = AwsProxy::start(&url).await.unwrap();
    let run = async |seed| {
        proxy.reset();
        proxy.chaos(30, seed, &FAULTS);
        let mut outcomes = Vec::new();
        for nth in 0..150 {
            let operation = format!("{seed}-{nth}");
            for try_ in 1..=2 {
                outcomes.push(
                    attempt(&proxy, "PutItem", &operation, try_)
                        .await
                        .map_or(0, |(status, _)| status),
                );
            }
        }
        outcomes
    };
    let outcomes = run(1).await;
    let both: Vec<&[u16]> = outcomes.chunks(2).collect();
    let count = |wanted: [u16; 2]| both.iter().filter(|tries| ***tries == wanted).count();
    let (good, mended, struck) = (
        count([200, 200]),
        count([503, 200]) + count([0, 200]),
        count([503, 503]) + count([0, 0]),
    );
    assert_eq!(good + mended + struck, 150, "one fault an operation: {both:?}");
    assert!(
        (80..130).contains(&good) && mended > 8 && struck > 8,
        "{good} {mended} {struck}"
    );
    let injected = proxy.injected();
    let of = |status| outcomes.iter().filter(|outcome| **outcome == status).count();
    assert!(of(0) > 0 && of(503) > 0);
    assert_eq!(
        (injected["LoseAnswer"], injected["Error 503 ServiceUnavailable"]),
        (of(0), of(503))
    );
    assert_eq!(run(1).await, outcomes);
    assert_ne!(run(2).await, outcomes);

    proxy.fail_times("PutItem", 1, Fault::THROTTLED);
    assert_eq!(
        call(&proxy, "PutItem").await.unwrap().0,
        400,
        "rules come before chance"
    );
    let before = proxy.injected();
    proxy.calm();
    for _ in 0..30 {
        assert_eq!(call(&proxy, "PutItem").await.unwrap().0, 200);
    }
    assert_eq!(proxy.injected(), before);
    proxy.reset();
    assert!(proxy.injected().is_empty());
}
