//! The stand-ins, tested over HTTP.

mod chaos;
mod control;
mod list;
mod rate_limit;
mod replies;
mod strict;
mod webhooks;

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::HeaderMap;
use futures_util::future::join_all;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::http::{header_map, loopback_client};
use super::*;

const PREORDER: &str = r#"{"amount":25.50,"metadata":{"orderId":"ORD-9821","customerEmail":"jane@example.com"}}"#;

fn apm(order_id: &str, webhook_url: &str) -> Value {
    json!({
        "orderId": order_id, "amount": 99.99, "currency": "USD", "paymentMethod": "apple_pay",
        "firstName": "Jane", "lastName": "Smith", "email": "customer@example.com",
        "returnUrl": "https://shop.example/success", "cancelUrl": "https://shop.example/cancel",
        "webhookUrl": webhook_url, "metadata": {"internal_ref": "subscription_123"},
    })
}

/// The received webhooks: headers and body.
type Received = Arc<Mutex<Vec<(HeaderMap, String)>>>;

/// Stand-ins for one test, and a receiver of their webhooks.
struct Fixture {
    sandbox: Sandbox,
    control: Control,
    http: reqwest::Client,
    received: Received,
    webhook_url: String,
}

impl Fixture {
    async fn new() -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let webhook_url = format!("http://{}/hook", listener.local_addr().unwrap());
        let receiver = axum::Router::new().fallback(receive).with_state(Arc::clone(&received));
        tokio::spawn(async move { axum::serve(listener, receiver).await });
        let config = Config {
            apolopay_webhook_url: webhook_url.clone(),
            ..Config::default()
        };
        let sandbox = Sandbox::start(config).await.unwrap();
        let control = Control::new(&sandbox.url()).unwrap();
        Self {
            sandbox,
            control,
            http: loopback_client().unwrap(),
            received,
            webhook_url,
        }
    }

    fn preorder(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let url = format!("{}/payment-button/process/preorder", self.sandbox.apolopay_url());
        let request = self.http.post(url).header("x-secret-key", "sk_local_apolopay");
        request.header("content-type", "application/json").body(body)
    }

    fn create_apm(&self, body: &Value) -> RequestBuilder {
        let url = format!("{}/api/v1/sandbox/apm", self.sandbox.finvypay_url());
        self.http.post(url).bearer_auth("fp_local_finvypay").json(body)
    }

    fn apm(&self, order_id: &str) -> RequestBuilder {
        self.create_apm(&apm(order_id, &self.webhook_url))
    }

    async fn finvypay_get(&self, path: &str) -> (StatusCode, Value) {
        let url = format!("{}{path}", self.sandbox.finvypay_url());
        json_of(
            self.http
                .get(url)
                .bearer_auth("fp_local_finvypay")
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    async fn control_post(&self, route: &str, body: &str) -> (StatusCode, Value) {
        let url = format!("{}/_control/{route}", self.sandbox.url());
        json_of(self.http.post(url).body(body.to_owned()).send().await.unwrap()).await
    }

    /// Sends a webhook about an order's payment at ApoloPay.
    async fn apolopay_webhook(&self, order_id: &str, mut spec: Value) -> Sent {
        spec["provider"] = json!("apolopay");
        spec["orderId"] = json!(order_id);
        self.control.webhooks(&spec).await.unwrap().remove(0).sent
    }

    /// The first payment of an order.
    async fn payment(&self, provider: Provider, order_id: &str) -> Payment {
        self.control.payments(provider, order_id).await.unwrap().remove(0)
    }

    /// FinvyPay's status call: the HTTP status, and the payment's.
    async fn status(&self, id: &str) -> (u16, String) {
        let (status, body) = self.finvypay_get(&format!("/api/sandbox/status/{id}")).await;
        let of_payment = body["data"]["status"].as_str().unwrap_or_default().to_owned();
        (status.as_u16(), of_payment)
    }

    fn received(&self) -> Vec<(HeaderMap, String)> {
        self.received.lock().unwrap().clone()
    }
}

async fn receive(State(received): State<Received>, headers: HeaderMap, body: String) -> (StatusCode, &'static str) {
    received.lock().unwrap().push((headers, body));
    (StatusCode::ACCEPTED, "received")
}

async fn json_of(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")),
    )
}

async fn send(request: RequestBuilder) -> (StatusCode, Value) {
    json_of(request.send().await.unwrap()).await
}

fn preorder_of(order_id: &str) -> String {
    PREORDER.replace("ORD-9821", order_id)
}
