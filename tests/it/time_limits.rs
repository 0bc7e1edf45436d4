//! Slow cases, run concurrently: a provider that never responds, and a function that crashes.

use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use payment_functions_tests::world::{Fault, PRODUCTION_TIMEOUTS};
use tokio::time::sleep;

use super::aws;
use super::routes::*;
use super::support::*;

/// The time limit of the contract for every POST.
const RESPONSE_LIMIT: Duration = Duration::from_secs(20);
/// A crashed holder's key is taken over within this.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn silent_provider_and_crashed_function_stay_within_time_limits() {
    tokio::join!(
        join_all(BOTH.map(provider_timeout)),
        join_all(BOTH.map(provider_and_store_timeout)),
        join_all(BOTH.map(holder_crashes)),
    );
}

/// 504 in time; the payment is stored, and the same key resumes it.
async fn provider_timeout(provider: Provider) {
    let (order, key) = (unique("ORD"), unique("key"));
    let body = body(provider, &order);
    let script = control().await;
    script
        .replies(provider, &order, json!([{ "hang": true }]))
        .await
        .expect("a script");

    let begin = Instant::now();
    let meanwhile = async {
        until_called(provider, &order, 1).await;
        keyed(provider, &body, &key).await
    };
    let (response, meanwhile) = join(keyed(provider, &body, &key), meanwhile).await;
    assert!(begin.elapsed() < RESPONSE_LIMIT, "{:?}", begin.elapsed());
    assert_eq!(meanwhile.problem(), (409, "IDEMPOTENCY_IN_PROGRESS".to_owned()));
    assert_eq!(response.problem(), (504, "PROVIDER_TIMEOUT".to_owned()));
    insta::allow_duplicates! { insta::assert_snapshot!(response.whole(), @r#"
    504
    cache-control: no-store
    content-type: application/problem+json

    {
      "code": "PROVIDER_TIMEOUT",
      "detail": "The payment provider may or may not have accepted the payment. Continue with the same Idempotency-Key or quote.",
      "id": "[uuid]",
      "status": 504,
      "title": "The payment provider did not respond in time",
      "type": "urn:payment-functions:problem:provider-timeout"
    }
    "#); }
    let id = response.str("id");
    assert_eq!(status_of(&id).await, "creating");

    let second = keyed(provider, &body, &key).await;
    assert_eq!((second.status, second.str("id")), (201, id.clone()), "{second:?}");
    let calls = calls(provider, &order).await;
    assert_eq!(calls.len(), 2);
    if provider == Provider::Finvypay {
        // The outcome of the first call is unknown, so the request is the same one and FinvyPay repeats its response.
        assert!(
            calls
                .iter()
                .all(|call| call.headers["idempotency-key"] == format!("{id}-1"))
        );
        let payments = control().await.payments(provider, &order).await.expect("the payments");
        assert_eq!(payments.len(), 1, "one payment");
        assert_eq!(second.str("paymentId"), payments[0].id);
    }
}

/// The lease cannot be released either, but the response is still in time.
async fn provider_and_store_timeout(provider: Provider) {
    let (order, key) = (unique("ORD"), unique("key"));
    let script = control().await;
    script
        .replies(provider, &order, json!([{ "hang": true }]))
        .await
        .expect("a script");
    let (proxy, alone) = aws::behind_proxy(function(provider), &[PRODUCTION_TIMEOUTS]).await;

    let begin = Instant::now();
    let text = body(provider, &order).to_string();
    let headers = [("idempotency-key", key.as_str())];
    let hang = async {
        until_called(provider, &order, 1).await;
        proxy.reset();
        proxy.fail("TransactWriteItems", Fault::Hang);
    };
    let (response, ()) = join(post_to(alone.url(), route(provider), text, &headers), hang).await;
    assert!(begin.elapsed() < RESPONSE_LIMIT, "{:?}", begin.elapsed());
    assert_eq!(response.problem(), (504, "PROVIDER_TIMEOUT".to_owned()));
    assert!(proxy.count("TransactWriteItems") > 0, "the lease is released");
    assert_eq!(status_of(&response.str("id")).await, "creating");
}

/// The key is in progress until the lease ends, and then resumes the same payment.
async fn holder_crashes(provider: Provider) {
    let (order, key) = (unique("ORD"), unique("key"));
    let body = body(provider, &order);
    let script = control().await;
    script
        .replies(provider, &order, json!([{ "hang": true }]))
        .await
        .expect("a script");
    let alone = world()
        .await
        .attach(function(provider), 1, &[])
        .await
        .expect("a function");
    let url = alone.url().to_owned();
    let headers = [("idempotency-key", key.as_str())];

    let begin = Instant::now();
    let killed = async {
        let calls = until_called(provider, &order, 1).await;
        alone.environments()[0].kill().await;
        let ended = [("atLeast", "1"), ("ended", "true")];
        control()
            .await
            .calls_where(provider, &order, &ended)
            .await
            .expect("the end of the call");
        let sent: Value = serde_json::from_str(&calls[0].body).expect("JSON");
        sent["metadata"]["paymentFunctionsId"]
            .as_str()
            .expect("our id")
            .to_owned()
    };
    let (response, id) = join(post_to(&url, route(provider), body.to_string(), &headers), killed).await;
    assert_eq!(
        (response.status, response.text.as_str()),
        (500, r#"{"message":"Internal Server Error"}"#)
    );
    assert_eq!(status_of(&id).await, "creating");

    let mut refused = 0;
    let taken_over = loop {
        let response = keyed(provider, &body, &key).await;
        if response.status != 409 {
            break response;
        }
        assert_eq!(response.problem(), (409, "IDEMPOTENCY_IN_PROGRESS".to_owned()));
        refused += 1;
        let seconds = response
            .header("retry-after")
            .expect("retry-after")
            .parse()
            .expect("seconds");
        sleep(Duration::from_secs(seconds)).await;
    };
    assert!(refused > 0, "taken over during its lease");
    assert!(begin.elapsed() < LONGEST_LEASE, "{:?}", begin.elapsed());
    assert_eq!(
        (taken_over.status, taken_over.str("id")),
        (201, id.clone()),
        "{taken_over:?}"
    );
    assert_eq!(status_of(&id).await, "pending");
    let calls = calls(provider, &order).await;
    assert_eq!(calls.len(), 2);
    if provider == Provider::Finvypay {
        assert!(
            calls
                .iter()
                .all(|call| call.headers["idempotency-key"] == format!("{id}-1"))
        );
    }
}
