//! The proxy counts what passes, and fails, loses or holds it as told.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::local::{AwsProxy, Fault, http};

/// A stand-in for AWS that counts what reaches it.
async fn upstream() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let reached = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&reached);
    let answer = move |body: String| async move {
        seen.fetch_add(1, Ordering::SeqCst);
        format!("seen {body}")
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(answer))).await });
    (url, reached)
}

async fn call(proxy: &AwsProxy, action: &str) -> reqwest::Result<(u16, String)> {
    let answer = http::client()
        .unwrap()
        .post(proxy.url())
        .header("x-amz-target", format!("DynamoDB_20120810.{action}"))
        .body(json!({ "TableName": "payments" }).to_string())
        .send()
        .await?;
    Ok((answer.status().as_u16(), answer.text().await?))
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
