use super::*;

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
fn what_an_answer_says_whoever_gives_it() {
    let useless = CallError::unusable("a server error");
    for (status, expected) in [
        (200, Ok(())),
        (201, Ok(())),
        // What may be about the request is for its body to say.
        (302, Ok(())),
        (400, Ok(())),
        (404, Ok(())),
        (422, Ok(())),
        (401, Err(CallError::KeyRefused)),
        (403, Err(CallError::KeyRefused)),
        (408, Err(CallError::NoAnswer)),
        (409, Err(CallError::NoAnswer)),
        (425, Err(CallError::NoAnswer)),
        (429, Err(throttled(None))),
        (500, Err(useless.clone())),
        (501, Err(useless.clone())),
        (502, Err(CallError::NoAnswer)),
        (503, Err(CallError::NoAnswer)),
        (504, Err(CallError::NoAnswer)),
        (599, Err(useless)),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(check(status, &HeaderMap::new()), expected, "{status}");
    }
    for (value, seconds) in [("7", Some(7)), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None)] {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
        let answer = check(StatusCode::TOO_MANY_REQUESTS, &headers);
        assert_eq!(answer, Err(throttled(seconds)), "{value}");
    }
}

#[test]
fn the_same_request_goes_again_only_where_no_answer_came() {
    for (error, is_definite, counted_as) in [
        (rejected(None), true, None),
        (throttled(None), true, Some("throttled")),
        (CallError::KeyRefused, true, Some("key_refused")),
        (CallError::unusable("nonsense"), true, Some("unusable")),
        (CallError::NoAnswer, false, Some("no_answer")),
        (CallError::TimedOut, false, Some("timeout")),
    ] {
        assert_eq!(
            (error.is_definite(), error.failure()),
            (is_definite, counted_as),
            "{error}"
        );
    }
}

#[test]
fn an_answer_is_what_its_status_and_its_body_say_together() {
    let refusal = |body: &Object| {
        let code = body.get("refused").and_then(Json::as_str);
        code.map(|code| Refusal(Some(code.to_owned())))
    };
    let useless = CallError::unusable("not what is documented");
    for (status, body, expected) in [
        (200, r#"{"id":"p"}"#, Ok(())),
        (201, r#"{"id":"p"}"#, Ok(())),
        (200, r#"{"refused":"NO"}"#, Err(rejected(Some("NO")))),
        (404, r#"{"refused":"NO"}"#, Err(rejected(Some("NO")))),
        (400, r#"{"refused":"NO"}"#, Err(rejected(Some("NO")))),
        // Of what is neither an answer nor a refusal, a body can say what it likes.
        (302, r#"{"refused":"NO"}"#, Err(useless.clone())),
        (302, r#"{"id":"p"}"#, Err(useless.clone())),
        (404, r#"{"id":"p"}"#, Err(useless.clone())),
        (400, r#"{"id":"p"}"#, Err(rejected(None))),
        (400, "", Err(rejected(None))),
        (422, "<html>", Err(rejected(None))),
        (404, "<html>", Err(useless.clone())),
        (200, "<html>", Err(useless.clone())),
        (200, "[]", Err(useless)),
    ] {
        let reply = Reply::new(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert_eq!(reply.accepted(refusal).map(|_| ()), expected, "{status} {body}");
    }
}

#[test]
fn a_key_goes_into_a_header_and_is_not_shown() {
    let header = secret_header("Bearer ", &"sk_local".into()).unwrap();
    assert_eq!(header.to_str().unwrap(), "Bearer sk_local");
    assert!(header.is_sensitive());
    assert!(!format!("{header:?}").contains("sk_local"));
    assert_eq!(secret_header("", &"two\nlines".into()), None);
}

#[test]
fn a_browser_is_sent_to_web_pages_only() {
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
