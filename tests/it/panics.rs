//! A defect of ours: a handler that panics. Its invocation ends in an error, the function lives on, and what it had
//! stored is carried on as after a death.

use std::time::Duration;

use payment_functions::platform::clock;
use payment_functions_local::sandbox::sign;
use payment_functions_local::{HttpAnswer, workspace};
use payment_functions_tests::world::{Lambda, NoAnswer};

use crate::aws;
use crate::clock::Clock;
use crate::routes::{BOTH, body, function, route};
use crate::support::*;
use crate::webhooks::{SECRET, completion, header};

const LEASE: Duration = Duration::from_secs(30);

/// A function that panics the first time it comes to a point.
async fn panicking(function: &str, point: &str, clock: (&str, Option<&str>)) -> Lambda {
    let plan = format!("{point}=panic");
    let changes = [("FAILPOINTS", Some(plan.as_str())), clock];
    world().await.lambda(function, &changes).await.expect("a function")
}

/// The error that a panic ended in says where it was and nothing of the request, and the metrics and the log have it.
async fn assert_panicked(lambda: &Lambda, answer: Result<HttpAnswer, NoAnswer>, point: &str) {
    let Err(NoAnswer::Failed(words)) = answer else {
        panic!("not an error: {answer:?}");
    };
    assert_eq!(words["errorMessage"], format!("Lambda panicked: at {point}"));
    assert_eq!(lambda.ended(), None, "the function lives on");
    lambda.logged(point).await.expect("the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_shown_after_a_panic() {
    let created = create(Provider::Apolopay, &unique("panic")).await;
    let path = format!("/payments/{}", created.str("id"));
    let (point, clock) = ("before:read-payment", Clock::at(clock::now()));
    let lambda = panicking("get-payment", point, clock.variable()).await;
    assert_panicked(&lambda, lambda.http("GET", &path, &[], b"").await, point).await;
    assert_eq!(
        lambda.http("GET", &path, &[], b"").await.expect("an answer").status,
        200
    );
}

/// Whether it was stored before or not: the provider gets an error, and delivers again.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_taken_after_a_panic_and_counted_once() {
    // Without our id it takes the long way.
    let ways = [
        ("before:apply-fast", true),
        ("after:apply-fast", true),
        ("before:commit", false),
        ("after:commit", false),
    ];
    for provider in BOTH {
        for (point, names_ours) in ways {
            let created = create(provider, &unique("panic")).await;
            let id = created.str("id");
            let metadata = if names_ours {
                json!({ "paymentFunctionsId": id })
            } else {
                json!({})
            };
            let body = completion(&created, &metadata).to_string();
            let signature = sign(SECRET, body.as_bytes());
            let headers = [(header(provider), signature.as_str())];
            let path = format!("/webhooks/{}", aws::name(provider));
            let clock = Clock::at(clock::now());
            let lambda = panicking("webhook-handler", point, clock.variable()).await;
            let deliver = async || lambda.http("POST", &path, &headers, body.as_bytes()).await;
            assert_panicked(&lambda, deliver().await, point).await;
            assert_eq!(deliver().await.expect("an answer").status, 200, "{provider:?} {point}");
            assert_eq!(status_of(&id).await, "completed", "{provider:?} {point}");
            assert_eq!(aws::facts(&id).await.len(), 1, "{provider:?} {point}");
        }
    }
}

/// What is deployed unwinds too, which no test can have it do: cargo-lambda would choose otherwise.
#[test]
fn what_is_deployed_does_not_abort() {
    let manifest = std::fs::read_to_string(workspace().join("Cargo.toml")).expect("the manifest");
    let (_, release) = manifest.split_once("[profile.release]\n").expect("the profile");
    let (release, _) = release.split_once("\n[").expect("its end");
    assert!(release.lines().any(|line| line == "panic = \"unwind\""), "{release}");
}

/// The key is taken over when its lease is over, as a dead holder's is, and the same payment goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_carried_on_after_a_panic() {
    for provider in BOTH {
        let (point, clock) = ("after:create-at-provider", Clock::at(clock::now()));
        let lambda = panicking(function(provider), point, clock.variable()).await;
        let order_id = unique("panic");
        let body = body(provider, &order_id).to_string();
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", order_id.as_str()),
        ];
        let post = async || lambda.http("POST", route(provider), &headers, body.as_bytes()).await;
        assert_panicked(&lambda, post().await, point).await;
        assert_eq!(
            post().await.expect("an answer").status,
            409,
            "{provider:?}: its lease runs"
        );

        clock.advance(LEASE);
        let created = post().await.expect("an answer");
        assert_eq!(created.status, 201, "{provider:?}: {}", created.text());
        let calls = control().await.calls(provider, &order_id).await.expect("the calls");
        assert_eq!((calls.calls.len(), calls.max_in_flight), (2, 1), "{provider:?}");
        for call in &calls.calls {
            let body: Value = serde_json::from_str(&call.body).expect("JSON");
            let id = &body["metadata"]["paymentFunctionsId"];
            assert_eq!(*id, created.json()["id"], "{provider:?}: one payment");
        }
    }
}
