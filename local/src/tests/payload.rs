//! HTTP requests as events, and functions' responses as HTTP responses.

use serde_json::{Value, json};

use crate::payload::{event, parse_response};
use crate::workspace;

/// An event with the values that differ from call to call replaced by their names.
fn normalised(value: &Value) -> Value {
    let mut event = value.clone();
    let differs = |name: &str| ["headers", "time", "timeEpoch", "requestId", "body"].contains(&name);
    for path in ["", "/requestContext"] {
        let members = event.pointer_mut(path).unwrap().as_object_mut().unwrap();
        for (name, value) in members.iter_mut().filter(|(name, _)| differs(name)) {
            *value = json!(name);
        }
    }
    event["requestContext"]["http"]["sourceIp"] = json!("address");
    event
}

/// The files in `events/` are the reference. They were written by hand after AWS's documentation.
#[test]
fn event_has_the_members_of_the_example_files() {
    let example = |name: &str| -> Value {
        let text = std::fs::read_to_string(workspace().join("events").join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let id = "/payments/00000000-0000-4000-8000-000000000000";
    let made = event(
        Some("GET /payments/{id}"),
        "GET",
        id,
        &[("user-agent", "Mozilla/5.0")],
        b"",
    );
    assert_eq!(normalised(&made), normalised(&example("get-payment-unknown.json")));

    let headers = [("content-type", "application/json"), ("user-agent", "provider")];
    let made = event(None, "POST", "/webhooks/apolopay", &headers, b"{}");
    assert_eq!(
        normalised(&made),
        normalised(&example("webhook-handler-apolopay-a.json"))
    );
    assert_eq!(made["body"], "{}");
}

#[test]
fn event_joins_repeated_values_and_encodes_binary_bodies() {
    let headers = [
        ("X-One", "a"),
        ("x-one", "b"),
        ("Cookie", "c=1; d=2"),
        ("content-type", "text/plain; charset=utf-8"),
    ];
    let made = event(Some("POST /x"), "POST", "/x?a=1&a=2&b=%20", &headers, "ä".as_bytes());
    assert_eq!(
        (&made["headers"]["x-one"], &made["cookies"]),
        (&json!("a,b"), &json!(["c=1", "d=2"]))
    );
    assert_eq!(made["queryStringParameters"], json!({ "a": "1,2", "b": " " }));
    assert_eq!(
        (&made["rawQueryString"], &made["rawPath"]),
        (&json!("a=1&a=2&b=%20"), &json!("/x"))
    );
    assert_eq!((&made["body"], &made["isBase64Encoded"]), (&json!("ä"), &json!(false)));
    assert_eq!(
        (&made["headers"]["content-length"], made.get("pathParameters")),
        (&json!("2"), None)
    );

    for (content_type, body) in [("application/octet-stream", &b"hi"[..]), ("application/json", b"h\xff")] {
        let made = event(None, "POST", "/", &[("content-type", content_type)], body);
        assert_eq!(made["isBase64Encoded"], true, "{content_type}");
        assert_ne!(made["body"], "hi");
    }
    assert_eq!(event(None, "POST", "/", &[], b"hi")["body"], "aGk=");
}

#[test]
fn response_is_decoded() {
    let response =
        json!({ "statusCode": 201, "headers": { "Location": "/x" }, "body": "aGk=", "isBase64Encoded": true });
    let made = parse_response(response.to_string().as_bytes()).unwrap();
    assert_eq!(
        (made.status, made.headers["location"].as_str(), made.text()),
        (201, "/x", "hi".to_owned())
    );
    let made = parse_response(br#"{"statusCode":200,"body":"{\"a\":1}"}"#).unwrap();
    assert_eq!((made.json(), made.headers.len()), (json!({ "a": 1 }), 0));
    for malformed in [
        "",
        "null",
        "{}",
        r#"{"statusCode":200,"body":"?","isBase64Encoded":true}"#,
    ] {
        assert_eq!(parse_response(malformed.as_bytes()), None, "{malformed}");
    }
}
