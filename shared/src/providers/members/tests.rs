use proptest::prelude::*;

use super::*;

const OURS: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

fn object(text: &str) -> Object {
    let json = Json::parse_liberal(text.as_bytes()).unwrap();
    json.as_object().unwrap().clone()
}

/// The id in a member `id` with this value: `None` if there is none, `Some(None)` if it cannot be read.
fn id(value: &str) -> Option<Option<String>> {
    let body = object(&format!(r#"{{"id":{value}}}"#));
    let named = Members::of([&body]).reference(&["id"]);
    assert!(!named.differs);
    match (named.value, named.is_unreadable) {
        (Some(id), false) => Some(Some(id.to_string())),
        (None, true) => Some(None),
        (None, false) => None,
        (Some(_), true) => panic!("{value}"),
    }
}

#[test]
fn id_is_a_text_or_plain_digits() {
    for (value, expected) in [
        (r#""FP1""#, "FP1"),
        (r#"" FP1\n""#, "FP1"),
        (r#""00123""#, "00123"),
        ("123", "123"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        (
            r#""A1B2C3D4-E5F6-7890-ABCD-EF1234567890""#,
            "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
        ),
    ] {
        assert_eq!(id(value), Some(Some(expected.to_owned())), "{value}");
    }
}

#[test]
fn id_that_says_nothing_is_absent() {
    for value in ["null", "false", r#""""#, r#""  ""#, "[]", "{}", "0", r#""0""#] {
        assert_eq!(id(value), None, "{value}");
    }
}

#[test]
fn id_in_another_form_is_unreadable() {
    let long = format!(r#""{}""#, "x".repeat(300));
    let long_number = "1".repeat(300);
    for value in [
        "1e3",
        "1.0",
        "-1",
        "-0",
        "12E0",
        "true",
        "[1]",
        r#"{"value":"FP1"}"#,
        r#""FP\u00001""#,
        r#""FP\ud800""#,
        r#""FP\ufffd""#,
        &long,
        &long_number,
    ] {
        assert_eq!(id(value), Some(None), "{value}");
    }
}

#[test]
fn order_id_of_zero_is_an_order_id() {
    for (value, expected) in [
        ("0", Some("0")),
        (r#""0""#, Some("0")),
        (r#"" ORD-1 ""#, Some("ORD-1")),
        (r#"" ""#, None),
        ("1e3", None),
    ] {
        let body = object(&format!(r#"{{"orderId":{value}}}"#));
        let named = Members::of([&body]).order_id(&["orderId"]);
        assert_eq!(named.value.as_ref().map(OrderId::as_str), expected, "{value}");
    }
}

#[test]
fn values_in_several_places_are_compared() {
    let read = |outer: &str, inner: &str| {
        let (outer, inner) = (object(outer), object(inner));
        let named = Members::of([&outer, &inner]).reference(&["a", "b"]);
        (named.value.map(|id| id.to_string()), named.differs, named.is_unreadable)
    };
    let p = || Some("p".to_owned());
    assert_eq!(read("{}", "{}"), (None, false, false));
    assert_eq!(read(r#"{"a":"p"}"#, r#"{"b":"p","a":null}"#), (p(), false, false));
    assert_eq!(read(r#"{"a":7}"#, r#"{"b":"7"}"#), (Some("7".to_owned()), false, false));
    assert_eq!(read(r#"{"a":"p"}"#, r#"{"b":"q"}"#), (p(), true, false));
    assert_eq!(read(r#"{"a":1.5}"#, r#"{"b":"p"}"#), (p(), false, true));
}

#[test]
fn our_id_is_read_from_metadata_of_any_form() {
    let text = serde_json::to_string(&format!(r#"{{"paymentFunctionsId":"{OURS}","orderId":7}}"#)).unwrap();
    for (metadata, expected) in [
        (format!(r#"{{"paymentFunctionsId":"{OURS}"}}"#), Some(OURS)),
        (format!(r#"{{"paymentFunctionsId":" {OURS} "}}"#), Some(OURS)),
        (text, Some(OURS)),
        (r#""""#.to_owned(), None),
        ("[]".to_owned(), None),
        (r#""plain text""#.to_owned(), None),
        ("{}".to_owned(), None),
        (r#"{"paymentFunctionsId":null}"#.to_owned(), None),
    ] {
        let body = object(&format!(r#"{{"metadata":{metadata}}}"#));
        let named = Members::of([&body]).payment_id();
        assert_eq!(named.value, expected.and_then(PaymentId::parse), "{metadata}");
        assert!(!named.is_doubtful(), "{metadata}");
    }
}

#[test]
fn metadata_that_names_us_unreadably_is_noticed() {
    for metadata in [
        r#"{"paymentFunctionsId":"67e55044"}"#,
        r#"{"paymentFunctionsId":7}"#,
        r#""{\"paymentFunctionsId\":""#,
        r#""{\"paymentFunctionsId\":\"a\",\"paymentFunctionsId\":\"b\"}""#,
        r#"[{"paymentFunctionsId":"67e55044-10b1-426f-9247-bb680e5fe0c8"}]"#,
    ] {
        let body = object(&format!(r#"{{"metadata":{metadata}}}"#));
        let named = Members::of([&body]).payment_id();
        assert_eq!((named.value, named.is_unreadable), (None, true), "{metadata}");
    }
}

#[test]
fn order_id_is_read_from_metadata_of_any_form() {
    for metadata in [r#"{"orderId":"7"}"#, r#"{"orderId":7}"#, r#""{\"orderId\":\" 7 \"}""#] {
        let body = object(&format!(r#"{{"metadata":{metadata}}}"#));
        let named = Members::of([&body]).order_id_in_metadata();
        assert_eq!(named.value, OrderId::parse("7"), "{metadata}");
    }
}

#[test]
fn text_that_is_neither_a_currency_nor_a_time_is_dropped() {
    for (value, currency, time) in [
        (r#""usd""#, Some("USD"), None),
        (r#""ABCDEFGHIJKLMNOP""#, Some("ABCDEFGHIJKLMNOP"), None),
        (r#""ABCDEFGHIJKLMNOPQ""#, None, None),
        (r#""US\u0007D""#, None, None),
        (r#""US D""#, None, None),
        (r#""jane@example.com""#, None, None),
        (r#""2026-01-01 00:00:00""#, None, Some("2026-01-01 00:00:00")),
        (r#""at noon""#, None, None),
        ("1773921600", None, Some("1773921600")),
        ("840", None, None),
        ("null", None, None),
    ] {
        let body = object(&format!(r#"{{"currency":{value},"at":{value}}}"#));
        let members = Members::of([&body]);
        assert_eq!(members.currency().as_deref(), currency, "{value}");
        assert_eq!(members.time(&["at"]).as_deref(), time, "{value}");
    }
    let body = object(r#"{"a":"","b":"2026-01-01T00:00:00Z"}"#);
    assert_eq!(
        Members::of([&body]).time(&["a", "b"]).as_deref(),
        Some("2026-01-01T00:00:00Z")
    );
}

#[test]
fn amount_of_absurd_length_is_unreadable() {
    let amount = |text: &str| {
        let body = object(&format!(r#"{{"amount":{text}}}"#));
        Members::of([&body]).amount().map(|amount| amount.to_string())
    };
    assert_eq!(amount("25.50").as_deref(), Some("25.5"));
    assert_eq!(amount(&format!("25.5{}", "0".repeat(1000))).as_deref(), Some("25.5"));
    assert_eq!(amount(&"9".repeat(64)), Some("9".repeat(64)));
    assert_eq!(amount(&"9".repeat(65)), None);
    assert_eq!(amount(&format!("0.{}", "9".repeat(100_000))), None);
    // Only `null` is no amount: beside another one, an empty text is unreadable.
    let (outer, inner) = (object(r#"{"amount":""}"#), object(r#"{"amount":5}"#));
    assert_eq!(Members::of([&outer, &inner]).amount(), None);
}

#[test]
fn status_words_are_texts_and_numbers() {
    for (body, expected) in [
        (
            r#"{"status":" SUCCESS\n","event":"payment.completed"}"#,
            &["SUCCESS", "payment.completed"][..],
        ),
        (r#"{"status":1}"#, &["1"]),
        (r#"{"status":true,"event":"payment.completed"}"#, &["payment.completed"]),
        (r#"{"status":null,"event":""}"#, &[]),
        (r#"{"status":"\u0000 "}"#, &[]),
        (r#"{"status":{"code":"SUCCESS"}}"#, &[]),
        (
            r#"{"status":["FAILED"],"event":"payment.completed"}"#,
            &["payment.completed", "unreadable"],
        ),
        (r#"{"type":"payment.completed"}"#, &[]),
        (r#"{"status":"SUCCESS","type":"charge"}"#, &["SUCCESS"]),
        (
            r#"{"status":"SUCCESS","type":"webhook.TEST"}"#,
            &["SUCCESS", "webhook.TEST"],
        ),
    ] {
        assert_eq!(Members::of([&object(body)]).status_words(), expected, "{body}");
    }
}

#[test]
fn test_message_is_recognised_by_a_part_of_a_word() {
    for (body, is_test) in [
        (r#"{"event":"webhook.test"}"#, true),
        (r#"{"event":"Ping"}"#, true),
        (r#"{"status":"TEST"}"#, true),
        (r#"{"type":"test.payment"}"#, true),
        (r#"{"type":["test"]}"#, false),
        (r#"{"event":"payment.tested"}"#, false),
        (r#"{"event":"payment-test"}"#, false),
        (r#"{"status":"latest"}"#, false),
        (r#"{"note":"test"}"#, false),
    ] {
        assert_eq!(Members::of([&object(body)]).is_test(), is_test, "{body}");
    }
}

#[test]
fn contradictions_are_shown_without_free_text() {
    for (body, expected) in [
        ("{}", ""),
        (r#"{"success":true,"error":null,"errors":[],"status":true}"#, ""),
        (r#"{"error":false}"#, ""),
        (r#"{"error":""}"#, ""),
        (r#"{"error":{}}"#, ""),
        (r#"{"success":false}"#, " success:false"),
        (r#"{"success":"true"}"#, " success:string"),
        (r#"{"success":1}"#, " success:number"),
        (r#"{"success":null}"#, " success:null"),
        (r#"{"status":false}"#, " status:false"),
        (
            r#"{"error":{"code":"INSUFFICIENT_FUNDS","message":"m"}}"#,
            " error:INSUFFICIENT_FUNDS",
        ),
        (r#"{"error":"DECLINED"}"#, " error:DECLINED"),
        (r#"{"error":"card of Jane Doe"}"#, " error"),
        (r#"{"error":{"message":"declined"}}"#, " error"),
        (r#"{"error":["a"]}"#, " error"),
        (r#"{"errors":["a"]}"#, " error"),
        (r#"{"error":0}"#, " error"),
        (r#"{"error":true}"#, " error"),
        (r#"{"success":false,"error":{"code":"X"}}"#, " success:false error:X"),
    ] {
        assert_eq!(Members::of([&object(body)]).contradictions(), expected, "{body}");
    }
}

proptest! {
    #[test]
    fn digits_survive_as_text_and_as_number(digits in "[1-9][0-9]{0,99}", zeros in "0{1,3}") {
        prop_assert_eq!(id(&digits), Some(Some(digits.clone())));
        prop_assert_eq!(id(&format!("\"{digits}\"")), Some(Some(digits.clone())));
        let padded = format!("{zeros}{digits}");
        prop_assert_eq!(id(&format!("\"{padded}\"")), Some(Some(padded)));
    }

    #[test]
    fn number_in_another_notation_is_never_an_id(number in "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?") {
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
        let expected = if is_plain { Some(number.clone()).filter(|number| number != "0").map(Some) } else { Some(None) };
        prop_assert_eq!(id(&number), expected);
    }
}
