//! Invocations past the gateway's routes, with an event as API Gateway or a function URL makes it.

use payment_functions_local::workspace;
use reqwest::Method;

use super::support::*;

/// Reads a function's own answer to an event.
pub fn read(answer: &Value) -> Answer {
    let read = || {
        Some(Answer {
            status: serde_json::from_value(answer["statusCode"].clone()).ok()?,
            headers: serde_json::from_value(answer["headers"].clone()).ok()?,
            text: answer["body"].as_str()?.to_owned(),
        })
    };
    read().unwrap_or_else(|| panic!("not an answer: {answer}"))
}

/// Hands an event to a function behind the gateway at `base`, as `cargo lambda invoke` does.
pub async fn invoke(base: &str, function: &str, event: impl Into<String>) -> Answer {
    let url = format!("{base}/2015-03-31/functions/{function}/invocations");
    let answer = send(request(Method::POST, &url).body(event.into())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    read(&answer.json())
}

/// A POST as API Gateway hands it to a function, for what the local gateway does not pass on.
pub fn post_event(path: &str, headers: &[(&str, &str)]) -> Value {
    let mut event = json!({
        "version": "2.0", "routeKey": format!("POST {path}"), "rawPath": path, "rawQueryString": "",
        "headers": { "content-type": "application/json" },
        "requestContext": {
            "http": { "method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1" },
            "requestId": "r", "stage": "$default",
        },
        "isBase64Encoded": false,
    });
    for (name, value) in headers {
        event["headers"][name] = json!(value);
    }
    event
}

/// The text of a file in `events/`.
pub fn event(name: &str) -> String {
    let path = workspace().join("events").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
