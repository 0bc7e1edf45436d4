//! FinvyPay's rate limit. A minute of the clock may end during a test.

use super::*;

fn limit(requests_per_minute: u64) -> RateLimit {
    RateLimit {
        requests_per_minute: Some(requests_per_minute),
        ..RateLimit::default()
    }
}

const LIST: &str = "/api/v1/sandbox-transactions";

impl Fixture {
    fn get_list(&self) -> RequestBuilder {
        let url = format!("{}{LIST}", self.sandbox.finvypay_url());
        self.http.get(url).bearer_auth("fp_local_finvypay")
    }
}

fn number(response: &Response, header: &str) -> Option<u64> {
    Some(response.headers().get(header)?.to_str().unwrap().parse().unwrap())
}

#[tokio::test]
async fn calls_are_unlimited_and_without_headers_by_default() {
    let it = Fixture::new().await;
    let response = it.get_list().send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), number(&response, "x-ratelimit-limit")),
        (200, None)
    );
    let report = it.control.rate_limit_report().await.unwrap();
    assert_eq!((report.admitted, report.refused), (0, 0));
}

#[tokio::test]
async fn response_within_the_limit_has_the_headers() {
    let it = Fixture::new().await;
    it.control.rate_limit(&limit(1000)).await.unwrap();
    let unknown_id = format!("{}/api/sandbox/status/pay_x", it.sandbox.finvypay_url());
    for request in [
        it.get_list(),
        it.apm("limited"),
        it.http.get(unknown_id).bearer_auth("fp_local_finvypay"),
        it.get_list().bearer_auth("wrong"),
        it.create_apm(&json!({})),
        it.http.get(format!("{}/api/v2/unknown", it.sandbox.finvypay_url())),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(number(&response, "x-ratelimit-limit"), Some(1000));
        assert!((990..=999).contains(&number(&response, "x-ratelimit-remaining").unwrap()));
        assert!((1..=60).contains(&number(&response, "x-ratelimit-reset").unwrap()));
        assert_eq!(number(&response, "retry-after"), None);
    }
    let preorder = it.preorder(PREORDER).send().await.unwrap();
    assert_eq!(number(&preorder, "x-ratelimit-limit"), None, "ApoloPay has no limit");
    let report = it.control.rate_limit_report().await.unwrap();
    assert_eq!((report.admitted, report.refused), (6, 0));
}

#[tokio::test]
async fn call_over_the_limit_gets_429_and_is_counted() {
    let it = Fixture::new().await;
    it.control.rate_limit(&limit(1)).await.unwrap();
    let mut refused = 0;
    for _ in 0..4 {
        let response = it.get_list().send().await.unwrap();
        if response.status() == 429 {
            refused += 1;
            assert_eq!(number(&response, "x-ratelimit-limit"), Some(1));
            assert_eq!(number(&response, "x-ratelimit-remaining"), Some(0));
            let reset = number(&response, "x-ratelimit-reset");
            assert_eq!(number(&response, "retry-after"), reset);
            assert!((1..=60).contains(&reset.unwrap()));
            let error = json!({"code": "RATE_LIMITED", "message": "Too many requests"});
            assert_eq!(json_of(response).await.1, json!({"success": false, "error": error}));
        }
    }
    // One call of each minute is admitted, and the four take at most two.
    assert!((2..=3).contains(&refused), "{refused}");
    let report = it.control.rate_limit(&RateLimit::default()).await.unwrap();
    assert_eq!((report.admitted, report.refused), (4 - refused, refused));
    assert_eq!(it.get_list().send().await.unwrap().status(), 200, "no limit any more");
    assert_eq!(it.control.rate_limit_report().await.unwrap().refused, 0);
}

#[tokio::test]
async fn refused_call_has_no_effect_and_uses_no_script() {
    let it = Fixture::new().await;
    let scripted = json!([{"error": "UNAVAILABLE"}]);
    it.control.replies(Provider::Finvypay, "over", scripted).await.unwrap();
    it.control.rate_limit(&limit(0)).await.unwrap();
    assert_eq!(send(it.apm("over")).await.0, 429);
    assert_eq!(it.finvypay_get("/api/sandbox/status/pay_x").await.0, 429);
    assert_eq!(it.finvypay_get("/api/v2/unknown").await.0, 429);
    assert!(
        it.control
            .payments(Provider::Finvypay, "over")
            .await
            .unwrap()
            .is_empty()
    );
    let calls = it.control.calls(Provider::Finvypay, "over").await.unwrap().calls;
    assert_eq!(calls[0].status, Some(429));
    assert_eq!(
        it.control_post("rate-limit", "{}").await.1,
        json!({"admitted": 0, "refused": 3})
    );
    assert_eq!(send(it.apm("over")).await.0, 503, "the scripted reply");
}

#[tokio::test]
async fn create_calls_are_always_admitted_if_creations_do_not_count() {
    let it = Fixture::new().await;
    let limit = r#"{"requestsPerMinute":0,"creationsCount":false}"#;
    assert_eq!(it.control_post("rate-limit", limit).await.0, 200);
    let created = it.apm("free").send().await.unwrap();
    assert_eq!(
        (created.status().as_u16(), number(&created, "x-ratelimit-limit")),
        (200, None)
    );
    assert_eq!(it.get_list().send().await.unwrap().status(), 429);
    let report = it.control.rate_limit_report().await.unwrap();
    assert_eq!((report.admitted, report.refused), (0, 1));
}

#[tokio::test]
async fn scripted_headers_of_a_429_are_kept() {
    let it = Fixture::new().await;
    it.control.rate_limit(&limit(1000)).await.unwrap();
    let scripted = json!([{"status": 429, "body": {}, "headers": {"Retry-After": "7", "X-RateLimit-Remaining": "0"}}]);
    it.control
        .replies(Provider::Finvypay, "scripted", scripted)
        .await
        .unwrap();
    let response = it.apm("scripted").send().await.unwrap();
    let headers = ["retry-after", "x-ratelimit-remaining", "x-ratelimit-limit"];
    assert_eq!(
        headers.map(|header| number(&response, header)),
        [Some(7), Some(0), Some(1000)]
    );
    assert_eq!(response.headers().get_all("x-ratelimit-remaining").iter().count(), 1);
}
