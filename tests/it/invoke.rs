//! Direct invocations with an event of API Gateway or a function URL.

use payment_functions_local::workspace;
use reqwest::Method;

use super::support::*;

/// Parses a function's response to an event.
pub fn read(response: &Value) -> Response {
    let read = || {
        Some(Response {
            status: serde_json::from_value(response["statusCode"].clone()).ok()?,
            headers: serde_json::from_value(response["headers"].clone()).ok()?,
            text: response["body"].as_str()?.to_owned(),
        })
    };
    read().unwrap_or_else(|| panic!("not a response: {response}"))
}

/// Passes an event to a function behind the gateway at `base`, as `cargo lambda invoke` does.
pub async fn invoke(base: &str, function: &str, event: impl Into<String>) -> Response {
    let url = format!("{base}/2015-03-31/functions/{function}/invocations");
    let response = send(request(Method::POST, &url).body(event.into())).await;
    assert_eq!(response.status, 200, "{response:?}");
    read(&response.json())
}

/// API Gateway's event for a POST that the local gateway does not pass on.
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

/// The content of a file in `events/`.
pub fn event(name: &str) -> String {
    let path = workspace().join("events").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
