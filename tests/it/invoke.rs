//! Invocations past the gateway's routes, with an event as API Gateway or a function URL makes it.

use payment_functions_tests::local::workspace;
use reqwest::Method;

use super::support::*;

/// What a function answers to an event.
#[derive(Debug)]
pub struct Invoked {
    pub status: u64,
    pub content_type: String,
    pub body: String,
}

impl Invoked {
    /// Reads the function's own answer.
    pub fn read(answer: &Value) -> Self {
        let content_type = &answer["headers"]["content-type"];
        Self {
            status: answer["statusCode"]
                .as_u64()
                .unwrap_or_else(|| panic!("no status: {answer}")),
            content_type: content_type.as_str().unwrap_or_default().to_owned(),
            body: answer["body"].as_str().unwrap_or_default().to_owned(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

/// Hands an event to a function behind the gateway at `base`, as `cargo lambda invoke` does.
pub async fn invoke(base: &str, function: &str, event: impl Into<String>) -> Invoked {
    let url = format!("{base}/2015-03-31/functions/{function}/invocations");
    let answer = send(request(Method::POST, &url).body(event.into())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    Invoked::read(&answer.json())
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
