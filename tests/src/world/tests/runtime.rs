//! The Lambda Runtime API as a function's runtime uses it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::world::runtime::{Outcome, RuntimeApi};
use payment_functions_local::http;

const ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:it";
const TIME_LIMIT: Duration = Duration::from_secs(25);

async fn next(api: &RuntimeApi) -> (u16, HeaderMap, Value) {
    let url = format!("http://{}/2018-06-01/runtime/invocation/next", api.address());
    let request = http::client().unwrap().get(url).timeout(Duration::from_secs(10));
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.json().await.unwrap())
}

async fn post(api: &RuntimeApi, path: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
    let url = format!("http://{}/2018-06-01/runtime{path}", api.address());
    let response = http::client().unwrap().post(url).body(body).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn invocation_is_handed_over_and_its_response_is_returned() {
    let api = RuntimeApi::start(ARN.to_owned()).await.unwrap();
    let progress = api.put(r#"{"a":1}"#.into(), TIME_LIMIT);
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (status, headers, event) = next(&api).await;
    assert_eq!((status, event), (200, json!({ "a": 1 })));
    progress.taken.await.unwrap();
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(text("lambda-runtime-invoked-function-arn"), ARN);
    let deadline = Duration::from_millis(text("lambda-runtime-deadline-ms").parse().unwrap());
    let early = deadline - TIME_LIMIT + Duration::from_millis(1);
    assert!(
        early >= before && early <= before + Duration::from_secs(10),
        "{deadline:?}"
    );
    let trace = text("lambda-runtime-trace-id");
    let lengths: Vec<usize> = trace.split(['=', ';', '-']).map(str::len).collect();
    assert_eq!(
        lengths,
        [4, 1, 8, 24, 6, 16, 7, 1],
        "Root=1-TIME-RANDOM;Parent=RANDOM;Sampled=0: {trace}"
    );

    let id = text("lambda-runtime-aws-request-id");
    let other = "/invocation/00000000-0000-4000-8000-000000000000/response";
    assert_eq!(post(&api, other, "{}").await.0, 400);
    assert_eq!(next(&api).await.0, 403, "it has not responded yet");
    let (status, body) = post(&api, &format!("/invocation/{id}/response"), r#"{"b":2}"#).await;
    assert_eq!((status, body.as_str()), (202, r#"{"status":"OK"}"#));
    let Outcome::Response(response) = progress.outcome.await.unwrap() else {
        panic!("a response");
    };
    assert_eq!(response, r#"{"b":2}"#);
    assert_eq!(
        post(&api, &format!("/invocation/{id}/response"), "{}").await.0,
        400,
        "it has responded already"
    );
}

#[tokio::test]
async fn errors_are_accepted_and_oversized_response_is_rejected() {
    let api = RuntimeApi::start(ARN.to_owned()).await.unwrap();
    let progress = api.put("{}".into(), TIME_LIMIT);
    let id = next(&api).await.1["lambda-runtime-aws-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let (status, _) = post(
        &api,
        &format!("/invocation/{id}/response"),
        vec![b' '; 6 * 1024 * 1024 + 101],
    )
    .await;
    assert_eq!(status, 413);
    let (status, _) = post(&api, &format!("/invocation/{id}/error"), r#"{"errorType":"Fault"}"#).await;
    assert_eq!(status, 202);
    let Outcome::Error(error) = progress.outcome.await.unwrap() else {
        panic!("an error");
    };
    assert_eq!(error["errorType"], "Fault");
    assert_eq!(post(&api, "/init/error", "not JSON").await.0, 202);
    assert_eq!(api.init_error(), Some("not JSON".into()));
}

#[tokio::test]
async fn poll_waits_for_an_invocation() {
    let api = RuntimeApi::start(ARN.to_owned()).await.unwrap();
    let polling = next(&api);
    tokio::pin!(polling);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), &mut polling)
            .await
            .is_err()
    );
    let _progress = api.put("7".into(), TIME_LIMIT);
    assert_eq!(polling.await.2, 7);
}
