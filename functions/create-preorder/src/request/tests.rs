use super::*;

fn read(text: &str) -> Result<PreorderRequest, Problem> {
    read_as(text, false)
}

fn read_as(text: &str, quotes_required: bool) -> Result<PreorderRequest, Problem> {
    PreorderRequest::read(RequestBody::parse(text.as_bytes()).unwrap(), quotes_required)
}

fn pointers(text: &str) -> Vec<String> {
    let problem = read(text).unwrap_err();
    problem.errors().iter().map(|error| error.pointer.clone()).collect()
}

#[test]
fn documented_request_is_read() {
    let request =
        read(r#"{"amount":25.50,"orderId":"ORD-9821","customerEmail":"jane@example.com","metadata":{"a":1.50}}"#)
            .unwrap();
    assert_eq!(
        request.provider_metadata.to_compact(),
        r#"{"a":1.50,"orderId":"ORD-9821","customerEmail":"jane@example.com"}"#
    );
    let payment = request.intent(PaymentId::random(), Timestamp::from_millis(0));
    assert_eq!(payment.order_id.as_ref().map(OrderId::as_str), Some("ORD-9821"));
    assert_eq!(payment.metadata.unwrap().expose(), r#"{"a":1.50}"#);
}

#[test]
fn customer_email_is_not_stored() {
    let request = read(r#"{"amount":1,"metadata":{"customerEmail":"jane@example.com","b":[],"orderId":"o"}}"#).unwrap();
    let payment = request.intent(PaymentId::random(), Timestamp::from_millis(0));
    assert_eq!(payment.metadata.unwrap().expose(), r#"{"b":[],"orderId":"o"}"#);
    assert!(!format!("{request:?}").contains("jane"));
}

#[test]
fn invalid_fields_are_reported_at_once() {
    for (text, expected) in [
        ("[]", vec![""]),
        ("{}", vec!["/amount"]),
        (r#"{"amount":"25.50"}"#, vec!["/amount"]),
        (
            r#"{"amount":null,"orderId":" ","customerEmail":"x","metadata":[],"webhookUrl":1}"#,
            vec!["/amount", "/metadata", "/orderId", "/customerEmail", "/webhookUrl"],
        ),
        (
            r#"{"amount":1,"orderId":"a","metadata":{"orderId":"b"}}"#,
            vec!["/metadata/orderId"],
        ),
        (
            r#"{"amount":1,"metadata":{"orderId":7,"customerEmail":null}}"#,
            vec!["/metadata/orderId", "/metadata/customerEmail"],
        ),
        (
            r#"{"amount":1,"metadata":{"paymentFunctionsId":"x"}}"#,
            vec!["/metadata/paymentFunctionsId"],
        ),
        (r#"{"amount":1,"a/b~c":1}"#, vec!["/a~1b~0c"]),
        (r#"{"amount":1,"quote":"x"}"#, vec!["/quote"]),
    ] {
        assert_eq!(pointers(text), expected, "{text}");
    }
}

#[test]
fn empty_optional_text_counts_as_left_out_at_both_places() {
    let plain = read(r#"{"amount":1}"#).unwrap();
    for blank in [
        r#"{"amount":1,"orderId":"","customerEmail":"","quote":""}"#,
        r#"{"amount":1,"metadata":{"orderId":"","customerEmail":""}}"#,
        r#"{"amount":1,"orderId":"","customerEmail":"  ","metadata":{"orderId":"","customerEmail":" "}}"#,
    ] {
        let request = read(blank).unwrap();
        assert_eq!(request.provider_metadata.to_compact(), "{}", "{blank}");
        assert_eq!(request.fingerprint(), plain.fingerprint(), "{blank}");
        let payment = request.intent(PaymentId::random(), Timestamp::from_millis(0));
        assert_eq!((payment.order_id, payment.metadata), (None, None), "{blank}");
    }
    let given = read(r#"{"amount":1,"orderId":"o","customerEmail":"a@b"}"#).unwrap();
    for one_is_blank in [
        r#"{"amount":1,"orderId":"o","customerEmail":"","metadata":{"orderId":"","customerEmail":"a@b"}}"#,
        r#"{"amount":1,"orderId":"","customerEmail":"a@b","metadata":{"orderId":"o","customerEmail":""}}"#,
    ] {
        let request = read(one_is_blank).unwrap();
        assert_eq!(request.provider_metadata, given.provider_metadata, "{one_is_blank}");
        assert_eq!(request.fingerprint(), given.fingerprint(), "{one_is_blank}");
    }
    let other = read(r#"{"amount":1,"metadata":{"a":"","quote":"","b":{"orderId":""}}}"#).unwrap();
    assert_eq!(
        other.provider_metadata.to_compact(),
        r#"{"a":"","quote":"","b":{"orderId":""}}"#,
        "the caller's own texts stay"
    );
    assert!(
        read_as(r#"{"amount":1,"orderId":"o","quote":""}"#, true)
            .unwrap()
            .quote
            .is_none()
    );
}

#[test]
fn outer_blanks_are_cut_off_an_email_and_refused_in_an_order_id() {
    let plain = read(r#"{"amount":1,"customerEmail":"a@b"}"#).unwrap();
    for blanks in [
        r#"{"amount":1,"customerEmail":" a@b\u00a0"}"#,
        r#"{"amount":1,"metadata":{"customerEmail":"  a@b "}}"#,
        r#"{"amount":1,"customerEmail":"a@b ","metadata":{"customerEmail":" a@b"}}"#,
    ] {
        let request = read(blanks).unwrap();
        assert_eq!(request.provider_metadata, plain.provider_metadata, "{blanks}");
        assert_eq!(request.fingerprint(), plain.fingerprint(), "{blanks}");
    }
    for blank in [" ", " o", "o ", "\u{a0}o", "o\u{3000}"] {
        for (text, pointer) in [
            (format!(r#"{{"amount":1,"orderId":"{blank}"}}"#), "/orderId"),
            (
                format!(r#"{{"amount":1,"metadata":{{"orderId":"{blank}"}}}}"#),
                "/metadata/orderId",
            ),
        ] {
            let problem = read(&text).unwrap_err();
            assert_eq!(pointers(&text), [pointer], "{blank:?}");
            assert_eq!(problem.errors()[0].detail, "must not begin or end with a blank");
        }
    }
    assert!(read(r#"{"amount":1,"orderId":"a b"}"#).is_ok());
    assert_eq!(pointers(r#"{"amount":1,"customerEmail":"a@b\n"}"#), ["/customerEmail"]);
}

#[test]
fn unreadable_numbers_and_texts_are_reported_where_they_are() {
    for (text, expected) in [
        (
            r#"{"amount":1,"metadata":{"a":1e400,"b":[{"c":[-1e400]}]}}"#,
            vec!["/metadata/a", "/metadata/b/0/c/0"],
        ),
        (
            r#"{"amount":1,"metadata":{"orderId":1e400}}"#,
            vec!["/metadata/orderId"],
        ),
        (r#"{"amount":1e400}"#, vec!["/amount"]),
        (r#"{"amount":1,"orderId":"\ud800"}"#, vec!["/orderId"]),
        (
            r#"{"amount":1,"metadata":{"orderId":"a\udc00"}}"#,
            vec!["/metadata/orderId"],
        ),
        (r#"{"amount":1,"metadata":{"a":["\ud800"]}}"#, vec!["/metadata/a/0"]),
        (
            r#"{"amount":1,"metadata":{"\ud800":1e400}}"#,
            vec!["/metadata/\u{fffd}"],
        ),
        (r#"{"amount":1,"\ud800":1,"\udc00":2}"#, vec!["/\u{fffd}"]),
        (r#"["\ud800"]"#, vec![""]),
    ] {
        assert_eq!(pointers(text), expected, "{text}");
    }
    assert!(read(r#"{"amount":1,"metadata":{"a":[1.7e308,-1.7e308,1e-400,"\ud83d\ude00"]}}"#).is_ok());
}

#[test]
fn quote_that_is_not_configured_is_refused_with_its_reason() {
    for quote in [r#""x""#, "null", "7", r#"" ""#] {
        let problem = read(&format!(r#"{{"amount":1,"quote":{quote}}}"#)).unwrap_err();
        let errors = problem.errors();
        assert_eq!((errors.len(), errors[0].pointer.as_str()), (1, "/quote"), "{quote}");
        assert_eq!(errors[0].detail, "must be left out, because quotes are not configured");
    }
}

#[test]
fn metadata_limit_includes_the_payment_id() {
    let with = |length: usize| {
        read(&format!(
            r#"{{"amount":1,"metadata":  {{ "m" : "{}"}}}}"#,
            "x".repeat(length)
        ))
    };
    let own = r#"{"m":""}"#.len();
    let ours = r#","paymentFunctionsId":"00000000-0000-0000-0000-000000000000""#.len();
    assert!(with(10_000 - own - ours).is_ok());
    assert!(with(10_000 - own - ours + 1).is_err());
}

/// At the limit, the provider's reply with the metadata inside can still be read.
#[test]
fn metadata_nested_over_32_levels_is_refused() {
    let with = |levels: usize| {
        let (open, close) = (r#"{"m":"#.repeat(levels), "}".repeat(levels));
        read(&format!(r#"{{"amount":1,"metadata":{open}1{close}}}"#))
    };
    assert!(with(32).is_ok());
    let problem = with(33).unwrap_err();
    assert_eq!(problem.errors()[0].pointer, "/metadata");
    let back = format!(
        r#"{{"success":true,"data":{{"transactions":[{{"metadata":{}1{}}}]}}}}"#,
        r#"{"m":"#.repeat(32),
        "}".repeat(32)
    );
    assert!(Json::parse(back.as_bytes()).is_ok());
}

#[test]
fn order_id_is_required_if_quotes_are() {
    for (text, expected) in [
        ("{}", vec!["/amount", "/orderId"]),
        (r#"{"amount":1,"quote":"x"}"#, vec!["/orderId"]),
        (r#"{"amount":1,"quote":"x","metadata":{"a":1}}"#, vec!["/orderId"]),
        (
            r#"{"amount":1,"quote":null,"metadata":[]}"#,
            vec!["/metadata", "/quote", "/orderId"],
        ),
        // Blank fields count as left out, wherever they are.
        (r#"{"amount":1,"orderId":"","quote":7}"#, vec!["/quote", "/orderId"]),
        (
            r#"{"amount":1,"orderId":"","metadata":{"orderId":""}}"#,
            vec!["/orderId"],
        ),
        (
            r#"{"amount":1,"orderId":"o","metadata":{"orderId":7},"quote":{}}"#,
            vec!["/metadata/orderId", "/quote"],
        ),
        (
            r#"{"amount":1,"metadata":{"orderId":null,"quote":"x"}}"#,
            vec!["/metadata/orderId"],
        ),
    ] {
        let problem = read_as(text, true).unwrap_err();
        let pointers: Vec<_> = problem.errors().iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, expected, "{text}");
    }
    let without = read_as(r#"{"amount":1,"orderId":"o"}"#, true).unwrap();
    assert!(without.quote.is_none(), "a missing quote is reported later");
    let quoted = read_as(
        r#"{"amount":1,"quote":"eyJ","metadata":{"orderId":"o","quote":"the caller's"}}"#,
        true,
    )
    .unwrap();
    assert!(quoted.quote.is_some() && !format!("{quoted:?}").contains("eyJ"));
    assert_eq!(
        quoted.provider_metadata.to_compact(),
        r#"{"quote":"the caller's","orderId":"o"}"#
    );
    let other = read_as(
        r#"{"amount":1,"quote":"x","metadata":{"orderId":"o","quote":"the caller's"}}"#,
        true,
    );
    assert_eq!(quoted.fingerprint(), other.unwrap().fingerprint());
    assert_ne!(quoted.fingerprint(), without.fingerprint());
}

#[test]
fn equivalent_requests_have_equal_fingerprints() {
    let print = |text: &str| read(text).unwrap().fingerprint();
    let one = print(r#"{"amount":25.50,"orderId":"o","metadata":{"a":1,"b":2.0}}"#);
    for same in [
        r#"{"metadata":{"b":2,"a":1.0},"orderId":"o","amount":25.5}"#,
        r#"{"amount":2550e-2,"metadata":{"orderId":"o","a":1,"b":2}}"#,
        r#"{"amount":25.5,"orderId":"\u006f","metadata":{"orderId":"o","a":1,"b":2}}"#,
    ] {
        assert_eq!(one, print(same), "{same}");
    }
    for other in [
        r#"{"amount":25.51,"orderId":"o","metadata":{"a":1,"b":2.0}}"#,
        r#"{"amount":25.50,"orderId":"p","metadata":{"a":1,"b":2.0}}"#,
        r#"{"amount":25.50,"orderId":"o","metadata":{"a":"1","b":2.0}}"#,
        r#"{"amount":25.50,"orderId":"o","customerEmail":"a@b","metadata":{"a":1,"b":2.0}}"#,
    ] {
        assert_ne!(one, print(other), "{other}");
    }
}
