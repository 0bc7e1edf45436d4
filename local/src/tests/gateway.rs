//! The local gateway responds to every request at once: with a function's response, or like API Gateway without a
//! route.

use axum::body::Bytes;
use axum::http::{HeaderMap, Method};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::Client;
use serde_json::{Value, json};

use crate::{Failure, Gateway, Invocations, Invoke, http};

const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];
const ORIGIN: &str = "https://shop.example";
const ALLOWED: &str = "https://shop.example,https://other.example";
const NOT_FOUND: &str = r#"{"message":"Not Found"}"#;

/// Responds with the function's name and the event.
struct Echo;

impl Invoke for Echo {
    fn invoke(&self, function: &str, event: Bytes) -> BoxFuture<'_, Result<Bytes, Failure>> {
        let event: Value = serde_json::from_slice(&event).unwrap_or_default();
        let body = json!({ "function": function, "event": event }).to_string();
        let response = match event["rawPath"].as_str() {
            Some("/webhooks/fails") => Err(Failure::Reported(r#"{"errorMessage":"it failed"}"#.into())),
            Some("/payments/slow") => Err(Failure::TimedOut),
            Some("/payments/dead") => Err(Failure::NoResponse("it died".to_owned())),
            Some("/payments/malformed") => Ok(Bytes::from("[]")),
            Some(_) => Ok(
                json!({ "statusCode": 299, "headers": { "location": "/here" }, "body": body })
                    .to_string()
                    .into(),
            ),
            None => Ok(body.into()),
        };
        async { response }.boxed()
    }
}

async fn gateway() -> (Gateway, Client) {
    (Gateway::start(0, Echo, ALLOWED).await.unwrap(), http::client().unwrap())
}

/// Sends a request and returns the response's status, headers and body.
async fn send(request: reqwest::RequestBuilder) -> (u16, HeaderMap, String) {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.text().await.unwrap())
}

fn function_of(body: &str) -> String {
    let echo: Value = serde_json::from_str(body).unwrap();
    echo["function"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_method_on_every_path_gets_a_response_at_once() {
    let (gateway, client) = gateway().await;
    let routes = [
        (Method::POST, "/preorders", "create-preorder"),
        (Method::POST, "/apm-payments", "create-apm"),
        (Method::GET, "/payments/some-id", "get-payment"),
    ];
    let others = [
        "/",
        "/health",
        "/payments",
        "/payments/a/b",
        "/Preorders",
        "/preorders/a",
        "/webhook",
    ];
    let paths = routes.iter().map(|(_, path, _)| *path).chain(others);
    for path in paths.flat_map(|path| [path.to_owned(), format!("{path}/"), format!("/{path}")]) {
        for method in METHODS {
            let url = format!("{}{path}", gateway.url());
            let (status, headers, body) = send(client.request(method.clone(), url)).await;
            let route = routes
                .iter()
                .find(|(own, own_path, _)| *own == method && *own_path == path);
            match route {
                Some((.., function)) => {
                    assert_eq!(
                        (status, function_of(&body).as_str()),
                        (299, *function),
                        "{method} {path}"
                    );
                    assert_eq!(headers["location"], "/here");
                }
                None if method == Method::OPTIONS => assert_eq!((status, body.as_str()), (204, ""), "{path}"),
                None => {
                    let expected = if method == Method::HEAD { "" } else { NOT_FOUND };
                    assert_eq!((status, body.as_str()), (404, expected), "{method} {path}");
                    assert_eq!(headers["content-type"], "application/json");
                }
            }
        }
    }
}

#[tokio::test]
async fn webhook_path_reaches_the_function_with_any_method_and_extra_slashes() {
    let (gateway, client) = gateway().await;
    let paths = [
        "/webhooks/apolopay",
        "/webhooks/finvypay/",
        "//webhooks//apolopay",
        "/webhooks",
        "/webhooks/other",
    ];
    for path in paths {
        for method in METHODS {
            let request = client
                .request(method.clone(), format!("{}{path}", gateway.url()))
                .header("origin", ORIGIN);
            let (status, headers, body) = send(request).await;
            assert_eq!(status, 299, "{method} {path}");
            assert!(
                headers.get("access-control-allow-origin").is_none(),
                "CORS is API Gateway's"
            );
            if method != Method::HEAD {
                let echo: Value = serde_json::from_str(&body).unwrap();
                let event = &echo["event"];
                assert_eq!(echo["function"], "webhook-handler");
                assert_eq!(
                    (&event["rawPath"], &event["routeKey"]),
                    (&json!(path), &json!("$default"))
                );
            }
        }
    }
}

#[tokio::test]
async fn a_request_reaches_the_function_whole() {
    let (gateway, client) = gateway().await;
    let request = client
        .post(format!("{}/preorders?a=1&a=2", gateway.url()))
        .header("content-type", "application/json");
    let (.., body) = send(request.header("Idempotency-Key", "k").body("{}")).await;
    let event = &serde_json::from_str::<Value>(&body).unwrap()["event"];
    assert_eq!(event["routeKey"], "POST /preorders");
    assert_eq!(
        (&event["rawPath"], &event["rawQueryString"]),
        (&json!("/preorders"), &json!("a=1&a=2"))
    );
    assert_eq!(
        (&event["headers"]["idempotency-key"], &event["body"]),
        (&json!("k"), &json!("{}"))
    );
}

#[tokio::test]
async fn cors_is_as_deployed_and_allows_any_page_of_this_machine() {
    let (gateway, client) = gateway().await;
    let call = async |method: Method, path: &str, origin: &str| {
        let request = client.request(method, format!("{}{path}", gateway.url()));
        let request = request
            .header("access-control-request-method", "POST")
            .header("origin", origin);
        let (status, headers, _) = send(request).await;
        let mut cors: Vec<_> = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().strip_prefix("access-control-")?, value.to_str().unwrap())))
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        cors.sort();
        (status, cors.join("\n"))
    };
    let allowed = [
        ORIGIN,
        "https://other.example",
        "http://localhost:5173",
        "http://127.0.0.1:1",
        "http://[::1]:3000",
    ];
    for origin in allowed {
        let exposed = format!("allow-origin: {origin}\nexpose-headers: idempotency-replayed,retry-after,location");
        for path in ["/preorders", "/apm-payments"] {
            assert_eq!(call(Method::POST, path, origin).await, (299, exposed.clone()));
            let preflight = format!(
                "allow-headers: content-type,idempotency-key\nallow-methods: GET,POST\nallow-origin: {origin}\n\
                 expose-headers: idempotency-replayed,retry-after,location\nmax-age: 3600"
            );
            assert_eq!(call(Method::OPTIONS, path, origin).await, (204, preflight));
        }
        assert_eq!(call(Method::GET, "/payments/a", origin).await, (299, exposed.clone()));
        assert_eq!(call(Method::GET, "/health", origin).await, (404, exposed));
    }
    for origin in [
        "https://evil.example",
        "null",
        "https://localhost.evil.example",
        "https://shop.example:444",
    ] {
        assert_eq!(call(Method::OPTIONS, "/preorders", origin).await, (204, String::new()));
        assert_eq!(call(Method::POST, "/preorders", origin).await, (299, String::new()));
    }
}

#[tokio::test]
async fn failing_function_gives_the_response_of_aws() {
    let (gateway, client) = gateway().await;
    for (path, status, message) in [
        ("/webhooks/fails", 502, "Internal Server Error"),
        ("/payments/slow", 503, "Service Unavailable"),
        ("/payments/dead", 500, "Internal Server Error"),
        ("/payments/malformed", 500, "Internal Server Error"),
    ] {
        let (seen, _, body) = send(client.get(format!("{}{path}", gateway.url()))).await;
        assert_eq!(
            (seen, body),
            (status, json!({ "message": message }).to_string()),
            "{path}"
        );
    }
    let large = client
        .post(format!("{}/preorders", gateway.url()))
        .body(vec![b'a'; 6 * 1024 * 1024 + 1]);
    let (status, _, body) = send(large).await;
    assert_eq!(
        (status, body.as_str()),
        (413, r#"{"message":"Request Entity Too Large"}"#)
    );
}

#[tokio::test]
async fn function_is_invoked_with_any_event() {
    let (gateway, _) = gateway().await;
    let functions = Invocations::at(gateway.url()).unwrap();
    let limit = std::time::Duration::from_secs(10);
    let echoed = functions
        .invoke("publish-events", r#"{"Records":[]}"#.to_owned(), limit)
        .await;
    assert_eq!(
        echoed,
        Ok(json!({ "function": "publish-events", "event": { "Records": [] } }))
    );
    let unknown = functions.invoke("no-such-function", "{}".to_owned(), limit).await;
    let unknown = unknown.unwrap_err();
    assert!(
        unknown.starts_with("404") && unknown.contains("no-such-function"),
        "{unknown}"
    );
    let failed = functions
        .invoke("get-payment", r#"{"rawPath":"/webhooks/fails"}"#.to_owned(), limit)
        .await;
    assert_eq!(failed, Err("it failed".to_owned()));
}

#[tokio::test]
async fn invocation_path_with_another_method_has_no_route() {
    let (gateway, client) = gateway().await;
    let url = format!("{}/2015-03-31/functions/get-payment/invocations", gateway.url());
    for (method, status) in [(Method::GET, 404), (Method::PUT, 404), (Method::OPTIONS, 204)] {
        assert_eq!(send(client.request(method, &url)).await.0, status);
    }
}

#[tokio::test]
async fn request_without_a_route_gets_a_response_before_its_body_arrives() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let (gateway, _) = gateway().await;
    let address = gateway.url().trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("POST /health HTTP/1.1\r\nhost: {address}\r\ncontent-length: 99999999\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status_line = [0; 22];
    let reading = stream.read_exact(&mut status_line);
    tokio::time::timeout(std::time::Duration::from_secs(10), reading)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&status_line, b"HTTP/1.1 404 Not Found");
}
