//! A request as a Lambda event: `POST /path?query`, headers, an empty line, the body.

use lambda_http::RequestExt;
use lambda_http::aws_lambda_events::encodings::Base64Data;
use lambda_http::http::HeaderValue;
use payment_functions::api::request;
use serde_json::{Value, json};

use super::headers::Message;
use super::split;

pub fn check(bytes: &[u8]) -> bool {
    let (line, rest) = split(bytes, b"\n");
    let line = String::from_utf8_lossy(line);
    let (method, target) = line.split_once(' ').unwrap_or(("POST", &line));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let message = Message::read(rest);
    let Ok(method) = method.parse::<lambda_http::http::Method>() else {
        return false;
    };
    let text = std::str::from_utf8(message.body);
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": joined(&message),
        "requestContext": {
            "accountId": "anonymous", "apiId": "url", "domainName": "url.lambda-url.us-east-1.on.aws", "domainPrefix": "url",
            "http": { "method": method.as_str(), "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "it" },
            "requestId": "it", "routeKey": "$default", "stage": "$default",
            "time": "19/Mar/2026:12:00:00 +0000", "timeEpoch": 1_773_921_600_000_u64,
        },
        "body": text.map_or_else(|_| json!(base64(message.body)), |text| json!(text)),
        "isBase64Encoded": text.is_err(),
    });
    let event = serde_json::from_str(&event.to_string()).unwrap();
    let request = request::from_api_gateway(event);
    assert_eq!((request.method(), request.raw_http_path()), (&method, path));
    let body: &[u8] = request.body();
    assert_eq!(body, message.body, "the exact bytes");
    for (name, value) in joined(&message).as_object().unwrap() {
        let received: Vec<&[u8]> = request
            .headers()
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        assert_eq!(received, [value.as_str().unwrap().as_bytes()], "{name}");
    }
    true
}

fn base64(bytes: &[u8]) -> Base64Data {
    let mut data = Base64Data::default();
    data.extend_from_slice(bytes);
    data
}

/// The headers as in Lambda events: each name once, with its values joined by commas.
fn joined(message: &Message<'_>) -> Value {
    let mut joined = serde_json::Map::new();
    for name in message.headers.keys() {
        let values = message.headers.get_all(name).iter();
        let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        joined.insert(name.to_string(), json!(values.join(",")));
    }
    joined.into()
}
