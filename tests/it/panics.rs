//! A panicking handler: the invocation ends in an error, the function survives, and what it stored is resumed as after
//! a crash.

use std::time::Duration;

use payment_functions::platform::clock;
use payment_functions_local::sandbox::sign;
use payment_functions_local::{HttpResponse, workspace};
use payment_functions_tests::world::{InvokeError, Lambda};

use crate::aws;
use crate::clock::Clock;
use crate::routes::{BOTH, body, function, route};
use crate::support::*;
use crate::webhooks::{SECRET, completion, header};

const LEASE: Duration = Duration::from_secs(30);

/// A function that panics once, at a point.
async fn panicking(function: &str, point: &str, clock: (&str, Option<&str>)) -> Lambda {
    let plan = format!("{point}=panic");
    let changes = [("FAILPOINTS", Some(plan.as_str())), clock];
    world().await.lambda(function, &changes).await.expect("a function")
}

/// The error names the place and nothing of the request, and it is counted and logged.
async fn assert_panicked(lambda: &Lambda, response: Result<HttpResponse, InvokeError>, point: &str) {
    let Err(InvokeError::Failed(words)) = response else {
        panic!("not an error: {response:?}");
    };
    assert_eq!(words["errorMessage"], format!("Lambda panicked: at {point}"));
    assert_eq!(lambda.ended(), None, "the function survives");
    lambda.logged(point).await.expect("the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn get_works_after_a_panic() {
    let created = create(Provider::Apolopay, &unique("panic")).await;
    let path = format!("/payments/{}", created.str("id"));
    let (point, clock) = ("before:read-payment", Clock::at(clock::now()));
    let lambda = panicking("get-payment", point, clock.variable()).await;
    assert_panicked(&lambda, lambda.http("GET", &path, &[], b"").await, point).await;
    assert_eq!(
        lambda.http("GET", &path, &[], b"").await.expect("a response").status,
        200
    );
}

/// Stored before or not: the provider gets an error and delivers again.
#[tokio::test(flavor = "multi_thread")]
async fn webhook_is_accepted_after_a_panic_and_recorded_once() {
    // Without our id it takes the slow path.
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
            assert_eq!(deliver().await.expect("a response").status, 200, "{provider:?} {point}");
            assert_eq!(status_of(&id).await, "completed", "{provider:?} {point}");
            assert_eq!(aws::facts(&id).await.len(), 1, "{provider:?} {point}");
        }
    }
}

/// Release builds unwind on panic too. No test can run them with another panic strategy, which cargo-lambda would
/// choose.
#[test]
fn release_profile_does_not_abort_on_panic() {
    let manifest = std::fs::read_to_string(workspace().join("Cargo.toml")).expect("the manifest");
    let (_, release) = manifest.split_once("[profile.release]\n").expect("the profile");
    let (release, _) = release.split_once("\n[").expect("its end");
    assert!(release.lines().any(|line| line == "panic = \"unwind\""), "{release}");
}

/// The key is taken over after its lease, like a crashed holder's, and the same payment resumes.
#[tokio::test(flavor = "multi_thread")]
async fn create_resumes_after_a_panic() {
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
            post().await.expect("a response").status,
            409,
            "{provider:?}: the lease is active"
        );

        clock.advance(LEASE);
        let created = post().await.expect("a response");
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
