use super::*;
use crate::domain::id::Reference;

fn rejected(code: Option<&str>) -> CallError {
    CallError::Rejected {
        code: code.map(str::to_owned),
        references: Vec::new(),
    }
}

fn throttled(retry_after: Option<u64>) -> CallError {
    CallError::Throttled { retry_after }
}

#[test]
fn status_of_a_response_is_classified_alike_for_every_provider() {
    let unusable = CallError::unusable("server error");
    for (status, checked, failure) in [
        (200, Ok(()), None),
        (201, Ok(()), None),
        // The body decides about these.
        (302, Ok(()), None),
        (400, Ok(()), None),
        (404, Ok(()), None),
        (422, Ok(()), None),
        (401, Err(CallError::KeyRefused), None),
        (403, Err(CallError::KeyRefused), None),
        (408, Ok(()), Some(CallError::outcome_unknown())),
        (409, Ok(()), Some(CallError::outcome_unknown())),
        (425, Ok(()), Some(CallError::outcome_unknown())),
        (429, Err(throttled(None)), None),
        (500, Ok(()), Some(unusable.clone())),
        (501, Ok(()), Some(unusable.clone())),
        (502, Ok(()), Some(CallError::outcome_unknown())),
        (503, Ok(()), Some(CallError::outcome_unknown())),
        (504, Ok(()), Some(CallError::outcome_unknown())),
        (599, Ok(()), Some(unusable)),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(
            check_status(status, &HeaderMap::new(), Quota::default()),
            checked,
            "{status}"
        );
        assert_eq!(Reply::new(status, b"{}").failure(), failure, "{status}");
    }
    for (value, seconds) in [("7", Some(7)), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None)] {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
        let result = check_status(StatusCode::TOO_MANY_REQUESTS, &headers, Quota::default());
        assert_eq!(result, Err(throttled(seconds)), "{value}");
    }
}

#[test]
fn provider_responded_unless_response_is_missing() {
    for (error, provider_responded, metric_name) in [
        (rejected(None), true, None),
        (throttled(None), true, Some("throttled")),
        (CallError::KeyRefused, true, Some("key_refused")),
        (CallError::unusable("undocumented response"), true, Some("unusable")),
        (CallError::outcome_unknown(), false, Some("no_response")),
        (CallError::TimedOut, false, Some("timeout")),
    ] {
        assert_eq!(
            (error.provider_responded(), error.metric_name()),
            (provider_responded, metric_name),
            "{error}"
        );
    }
}

#[test]
fn status_and_body_together_decide_the_result() {
    let refusal = |body: &Object| {
        let code = body.get("refused").and_then(Json::as_str);
        code.map(|code| Rejection(Some(code.to_owned())))
    };
    let unusable = CallError::unusable("undocumented response");
    for (status, body, expected) in [
        (200, r#"{"id":"p"}"#, Ok(())),
        (201, r#"{"id":"p"}"#, Ok(())),
        (200, r#"{"refused":"NO"}"#, Err(rejected(Some("NO")))),
        (404, r#"{"refused":"NO"}"#, Err(rejected(Some("NO")))),
        (400, r#"{"refused":"NO"}"#, Err(rejected(Some("NO")))),
        // With other statuses, the body does not matter.
        (302, r#"{"refused":"NO"}"#, Err(unusable.clone())),
        (302, r#"{"id":"p"}"#, Err(unusable.clone())),
        (404, r#"{"id":"p"}"#, Err(unusable.clone())),
        (400, r#"{"id":"p"}"#, Err(rejected(None))),
        (400, "", Err(rejected(None))),
        (422, "<html>", Err(rejected(None))),
        (404, "<html>", Err(unusable.clone())),
        (200, "<html>", Err(unusable.clone())),
        (200, "[]", Err(unusable)),
        (500, r#"{"refused":"NO"}"#, Err(CallError::unusable("server error"))),
        (500, r#"{"id":"p"}"#, Err(CallError::unusable("server error"))),
        (409, r#"{"refused":"NO"}"#, Err(CallError::outcome_unknown())),
    ] {
        let reply = Reply::new(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert_eq!(reply.into_success(refusal).map(|_| ()), expected, "{status} {body}");
    }
}

#[test]
fn ids_are_attached_to_errors_that_have_a_response() {
    let ids = vec![Reference::parse("p").unwrap()];
    for (error, has_ids) in [
        (rejected(Some("X")), true),
        (CallError::unusable("server error"), true),
        (CallError::outcome_unknown(), true),
        (throttled(None), false),
        (CallError::KeyRefused, false),
        (CallError::TimedOut, false),
    ] {
        let with_ids = error.clone().with_references(ids.clone());
        assert_eq!(with_ids != error, has_ids, "{error}");
        assert_eq!(with_ids.with_references(Vec::new()), error);
    }
}

#[test]
fn success_is_read_in_every_notation() {
    for (body, expected) in [
        ("{}", Success::Absent),
        (r#"{"success":true}"#, Success::True),
        (r#"{"success":"true"}"#, Success::True),
        (r#"{"success":" TRUE "}"#, Success::True),
        (r#"{"success":1}"#, Success::True),
        (r#"{"success":"1"}"#, Success::True),
        (r#"{"success":false}"#, Success::False),
        (r#"{"success":"False"}"#, Success::False),
        (r#"{"success":0}"#, Success::False),
        (r#"{"success":"0"}"#, Success::False),
        (r#"{"success":null}"#, Success::Unclear),
        (r#"{"success":""}"#, Success::Unclear),
        (r#"{"success":"yes"}"#, Success::Unclear),
        (r#"{"success":1.0}"#, Success::Unclear),
        (r#"{"success":2}"#, Success::Unclear),
        (r#"{"success":{}}"#, Success::Unclear),
    ] {
        let reply = Reply::new(StatusCode::OK, body.as_bytes());
        assert_eq!(Success::of(&reply.body.unwrap()), expected, "{body}");
    }
}

#[test]
fn body_is_read_with_a_byte_order_mark() {
    assert!(Reply::new(StatusCode::OK, b"\xef\xbb\xbf{}").body.is_some());
    assert!(Reply::new(StatusCode::OK, br#"{"note":"\ud800"}"#).body.is_some());
    assert!(Reply::new(StatusCode::OK, br#"{"id":"p","id":"q"}"#).body.is_none());
}

#[test]
fn secret_header_carries_the_key_but_does_not_show_it() {
    let header = secret_header("Bearer ", &"sk_local".into()).unwrap();
    assert_eq!(header.to_str().unwrap(), "Bearer sk_local");
    assert!(header.is_sensitive());
    assert!(!format!("{header:?}").contains("sk_local"));
    assert_eq!(secret_header("", &"two\nlines".into()), None);
}

#[test]
fn only_http_and_https_urls_are_web_pages() {
    for (text, is_page) in [
        ("https://pay.example/1?a=b", true),
        ("http://127.0.0.1:9000/pay", true),
        ("javascript:alert(1)", false),
        ("data:text/html,x", false),
        ("ftp://pay.example/1", false),
        ("file:///etc/passwd", false),
        ("/pay", false),
        ("", false),
    ] {
        assert_eq!(is_web_page(text), is_page, "{text}");
    }
}

#[test]
fn quota_is_read_in_every_notation() {
    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    let quota = |pairs: &[(&'static str, &str)]| {
        let pairs = pairs.iter().map(|(name, value)| {
            let name: lambda_http::http::HeaderName = name.parse().unwrap();
            (name, value.parse().unwrap())
        });
        Quota::read(&pairs.collect(), NOW)
    };
    assert_eq!(quota(&[]), Quota::default());
    for reset in ["30", "1800000030", "1800000030000"] {
        assert_eq!(
            quota(&[
                ("x-ratelimit-limit", "100"),
                ("x-ratelimit-remaining", " 20 "),
                ("x-ratelimit-reset", reset)
            ]),
            Quota {
                limit: Some(100),
                remaining: Some(20),
                resets_in: Some(Duration::from_secs(30)),
            },
            "{reset}"
        );
    }
    assert_eq!(
        quota(&[("x-ratelimit-remaining", "many"), ("x-ratelimit-reset", "soon")]),
        Quota::default()
    );
}

#[test]
fn throttled_call_without_retry_after_waits_for_the_reset() {
    let quota = Quota {
        resets_in: Some(Duration::from_millis(1500)),
        ..Quota::default()
    };
    assert_eq!(
        check_status(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), quota),
        Err(CallError::Throttled { retry_after: Some(2) })
    );
}
