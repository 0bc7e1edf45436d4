//! What takes its time, side by side: a provider that never answers, and a function that dies at work.

use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use payment_functions_tests::world::{Fault, USUAL_LIMITS};
use tokio::time::sleep;

use super::aws;
use super::routes::*;
use super::support::*;

/// Every POST is answered within this.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);
/// A key whose holder died is taken over within this.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_provider_that_never_answers_and_a_function_that_dies() {
    tokio::join!(
        join_all(BOTH.map(never_answers)),
        join_all(BOTH.map(never_answers_and_nor_does_the_store)),
        join_all(BOTH.map(dies)),
    );
}

/// 504 in time; the payment is there, and the same key goes on with it.
async fn never_answers(provider: Provider) {
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
    let (answer, meanwhile) = join(keyed(provider, &body, &key), meanwhile).await;
    assert!(begin.elapsed() < LONGEST_ANSWER, "{:?}", begin.elapsed());
    assert_eq!(meanwhile.problem(), (409, "IDEMPOTENCY_IN_PROGRESS".to_owned()));
    assert_eq!(answer.problem(), (504, "PROVIDER_TIMEOUT".to_owned()));
    insta::allow_duplicates! { insta::assert_snapshot!(answer.whole(), @r#"
    504
    cache-control: no-store
    content-type: application/problem+json

    {
      "code": "PROVIDER_TIMEOUT",
      "detail": "The payment provider may or may not have taken the payment. The same Idempotency-Key goes on with it.",
      "id": "[uuid]",
      "status": 504,
      "title": "The payment provider did not answer in time",
      "type": "urn:payment-functions:problem:provider-timeout"
    }
    "#); }
    let id = answer.str("id");
    assert_eq!(status_of(&id).await, "creating");

    let second = keyed(provider, &body, &key).await;
    assert_eq!((second.status, second.str("id")), (201, id.clone()), "{second:?}");
    let calls = calls(provider, &order).await;
    assert_eq!(calls.len(), 2);
    if provider == Provider::Finvypay {
        // Whether the first was taken is not known: it is the same request again, and FinvyPay answers what it
        // answered.
        assert!(
            calls
                .iter()
                .all(|call| call.headers["idempotency-key"] == format!("{id}-1"))
        );
        let payments = control().await.payments(provider, &order).await.expect("the payments");
        assert_eq!(payments.len(), 1, "never a second payment");
        assert_eq!(second.str("paymentId"), payments[0].id);
    }
}

/// Not even the lease can be given back then, and still the caller hears in time.
async fn never_answers_and_nor_does_the_store(provider: Provider) {
    let (order, key) = (unique("ORD"), unique("key"));
    let script = control().await;
    script
        .replies(provider, &order, json!([{ "hang": true }]))
        .await
        .expect("a script");
    let (proxy, alone) = aws::behind_proxy(function(provider), &[USUAL_LIMITS]).await;

    let begin = Instant::now();
    let text = body(provider, &order).to_string();
    let headers = [("idempotency-key", key.as_str())];
    let hang = async {
        until_called(provider, &order, 1).await;
        proxy.reset();
        proxy.fail("TransactWriteItems", Fault::Hang);
    };
    let (answer, ()) = join(post_to(alone.url(), route(provider), text, &headers), hang).await;
    assert!(begin.elapsed() < LONGEST_ANSWER, "{:?}", begin.elapsed());
    assert_eq!(answer.problem(), (504, "PROVIDER_TIMEOUT".to_owned()));
    assert!(
        proxy.count("TransactWriteItems") > 0,
        "the lease was not to be given back"
    );
    assert_eq!(status_of(&answer.str("id")).await, "creating");
}

/// The key is in progress until the lease ends, and then goes on with the same payment.
async fn dies(provider: Provider) {
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
    let (answer, id) = join(post_to(&url, route(provider), body.to_string(), &headers), killed).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (500, r#"{"message":"Internal Server Error"}"#)
    );
    assert_eq!(status_of(&id).await, "creating");

    let mut refused = 0;
    let taken_over = loop {
        let answer = keyed(provider, &body, &key).await;
        if answer.status != 409 {
            break answer;
        }
        assert_eq!(answer.problem(), (409, "IDEMPOTENCY_IN_PROGRESS".to_owned()));
        refused += 1;
        let seconds = answer
            .header("retry-after")
            .expect("retry-after")
            .parse()
            .expect("seconds");
        sleep(Duration::from_secs(seconds)).await;
    };
    assert!(refused > 0, "taken over while its lease ran");
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
