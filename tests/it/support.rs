//! Helpers for all tests: the shared world, requests to the functions, and whole responses as text.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use payment_functions_local::HttpResponse;
pub use payment_functions_local::sandbox::{Control, Provider};
pub use payment_functions_tests::print_uncaptured;
pub use payment_functions_tests::world::World;
use reqwest::{Client, Method, RequestBuilder};
pub use serde_json::{Value, json};
use tokio::sync::RwLock;
use uuid::Uuid;

/// The shared world.
pub async fn world() -> &'static World {
    World::shared().await.unwrap_or_else(|error| panic!("{error}"))
}

/// Tests that start their own world hold it for writing, those that keep the machine busy for long hold it for reading:
/// on few processors a start beside them would exceed the SDK's short timeouts.
pub static MACHINE: RwLock<()> = RwLock::const_new(());

/// The stand-ins' control.
pub async fn control() -> Control {
    Control::new(world().await.sandbox_url()).expect("a control client")
}

/// A unique order id or idempotency key.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", Uuid::new_v4().simple())
}

/// A function's complete log lines.
pub fn entries(log: &str) -> impl Iterator<Item = Value> {
    log.lines().filter_map(|line| serde_json::from_str(line).ok())
}

/// An HTTP response.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub text: String,
}

/// A function's response without a gateway.
impl From<HttpResponse> for Response {
    fn from(response: HttpResponse) -> Self {
        Self {
            status: response.status,
            text: response.text(),
            headers: response.headers,
        }
    }
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// A string member of the body.
    pub fn str(&self, name: &str) -> String {
        self.json()[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name}: {self:?}"))
            .to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Status and code, to compare with the contract's tables.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        assert_eq!(self.json()["status"], self.status, "{self:?}");
        (self.status, self.str("code"))
    }

    /// The pointers of the wrong fields.
    pub fn pointers(&self) -> Vec<String> {
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        errors
            .iter()
            .map(|error| error["pointer"].as_str().expect("a pointer").to_owned())
            .collect()
    }

    /// The whole response for snapshots, with varying parts replaced.
    pub fn whole(&self) -> String {
        let own = |name: &&String| {
            !["date", "content-length", "vary", "access-control-allow-credentials"].contains(&name.as_str())
        };
        let headers: Vec<String> = self
            .headers
            .keys()
            .filter(own)
            .map(|name| format!("{name}: {}", self.headers[name]))
            .collect();
        let body =
            serde_json::from_str::<Value>(&self.text).map_or_else(|_| self.text.clone(), |body| format!("{body:#}"));
        redact(&format!("{}\n{}\n\n{body}", self.status, headers.join("\n")))
    }
}

/// Replaces ids, times and ports by their kind.
pub fn redact(text: &str) -> String {
    let is_word = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | ':' | '.');
    let mut redacted = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest.find(|char| !is_word(char)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        redacted.push_str(&kind_of(word));
        let mut chars = after.chars();
        redacted.extend(chars.next());
        rest = chars.as_str();
    }
    redacted
}

fn kind_of(word: &str) -> String {
    let is_time = word.len() == 24 && word.ends_with('Z') && word.as_bytes()[10] == b'T';
    let is_unique = word
        .rsplit_once('-')
        .is_some_and(|(_, id)| id.len() == 32 && Uuid::try_parse(id).is_ok());
    if Uuid::try_parse(word).is_ok() {
        "[uuid]".to_owned()
    } else if is_time {
        "[time]".to_owned()
    } else if is_unique {
        "[unique]".to_owned()
    } else if word.starts_with("pay_apm_") {
        "[paymentId]".to_owned()
    } else if let Some(port) = word
        .strip_prefix("127.0.0.1:")
        .filter(|port| port.parse::<u16>().is_ok())
    {
        word.replace(port, "[port]")
    } else {
        word.to_owned()
    }
}

static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    // It may be installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Each test has its own runtime, and its connections end with it.
    Client::builder()
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(40))
        .build()
        .expect("an HTTP client")
});

/// A request to any address.
pub fn request(method: Method, url: &str) -> RequestBuilder {
    CLIENT.request(method, url)
}

/// Sends a request and reads the whole response.
pub async fn send(request: RequestBuilder) -> Response {
    let response = request.send().await.unwrap_or_else(|error| panic!("{error:?}"));
    let status = response.status().as_u16();
    let text_of = |value: &reqwest::header::HeaderValue| value.to_str().unwrap_or("[not text]").to_owned();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), text_of(value)))
        .collect();
    Response {
        status,
        headers,
        text: response.text().await.expect("a body"),
    }
}

/// Posts a JSON text to a route of `base`, with further headers.
pub async fn post_to(base: &str, route: &str, body: impl Into<String>, headers: &[(&str, &str)]) -> Response {
    let mut request = request(Method::POST, &format!("{base}{route}")).body(body.into());
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request).await
}

/// Posts JSON to a route of the shared world.
pub async fn post(route: &str, body: &Value, headers: &[(&str, &str)]) -> Response {
    post_to(world().await.functions_url(), route, body.to_string(), headers).await
}

/// `GET /payments/{id}`.
pub async fn get_payment(id: &str) -> Response {
    send(request(
        Method::GET,
        &format!("{}/payments/{id}", world().await.functions_url()),
    ))
    .await
}

/// A payment's status from the API.
pub async fn status_of(id: &str) -> String {
    get_payment(id).await.str("status")
}

/// A preorder's body for an order.
pub fn preorder(order_id: &str) -> Value {
    json!({ "amount": 25.50, "orderId": order_id, "customerEmail": "jane@example.com" })
}

/// An APM payment's body for an order.
pub fn apm(order_id: &str) -> Value {
    json!({
        "orderId": order_id, "amount": 99.99, "currency": "USD", "paymentMethod": "apple_pay",
        "firstName": "Jane", "lastName": "Smith", "email": "customer@example.com",
        "returnUrl": "https://your-domain.com/success", "metadata": { "internal_ref": "subscription_123" },
    })
}

/// Creates a payment at a provider.
pub async fn create(provider: Provider, order_id: &str) -> Response {
    let response = match provider {
        Provider::Apolopay => post("/preorders", &preorder(order_id), &[]).await,
        Provider::Finvypay => post("/apm-payments", &apm(order_id), &[]).await,
    };
    assert_eq!(response.status, 201, "{response:?}");
    response
}
