//! The Lambda Runtime API from the side of a function's runtime.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::world::runtime::{Answer, RuntimeApi};
use payment_functions_local::http;

const ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:it";
const LIMIT: Duration = Duration::from_secs(25);

async fn next(api: &RuntimeApi) -> (u16, HeaderMap, Value) {
    let url = format!("http://{}/2018-06-01/runtime/invocation/next", api.address());
    let request = http::client().unwrap().get(url).timeout(Duration::from_secs(10));
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.json().await.unwrap())
}

async fn post(api: &RuntimeApi, path: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
    let url = format!("http://{}/2018-06-01/runtime{path}", api.address());
    let answer = http::client().unwrap().post(url).body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn hands_an_invocation_over_and_takes_its_answer() {
    let api = RuntimeApi::start(ARN.to_owned()).await.unwrap();
    let progress = api.put(r#"{"a":1}"#.into(), LIMIT);
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (status, headers, event) = next(&api).await;
    assert_eq!((status, event), (200, json!({ "a": 1 })));
    progress.taken.await.unwrap();
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(text("lambda-runtime-invoked-function-arn"), ARN);
    let deadline = Duration::from_millis(text("lambda-runtime-deadline-ms").parse().unwrap());
    let early = deadline - LIMIT + Duration::from_millis(1);
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
    assert_eq!(next(&api).await.0, 403, "it has not answered yet");
    let (status, words) = post(&api, &format!("/invocation/{id}/response"), r#"{"b":2}"#).await;
    assert_eq!((status, words.as_str()), (202, r#"{"status":"OK"}"#));
    let Answer::Response(response) = progress.answer.await.unwrap() else {
        panic!("a response");
    };
    assert_eq!(response, r#"{"b":2}"#);
    assert_eq!(
        post(&api, &format!("/invocation/{id}/response"), "{}").await.0,
        400,
        "it has answered already"
    );
}

#[tokio::test]
async fn takes_errors_and_no_answer_that_is_too_large() {
    let api = RuntimeApi::start(ARN.to_owned()).await.unwrap();
    let progress = api.put("{}".into(), LIMIT);
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
    let Answer::Error(words) = progress.answer.await.unwrap() else {
        panic!("an error");
    };
    assert_eq!(words["errorType"], "Fault");
    assert_eq!(post(&api, "/init/error", "not JSON").await.0, 202);
    assert_eq!(api.failed_start(), Some("not JSON".into()));
}

#[tokio::test]
async fn an_invocation_waits_until_it_is_asked_for() {
    let api = RuntimeApi::start(ARN.to_owned()).await.unwrap();
    let asking = next(&api);
    tokio::pin!(asking);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), &mut asking)
            .await
            .is_err()
    );
    let _progress = api.put("7".into(), LIMIT);
    assert_eq!(asking.await.2, 7);
}
