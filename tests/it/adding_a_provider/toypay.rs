//! A stand-in of ToyPay: accepts charges and signs its webhooks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use payment_functions_local::Function;
use payment_functions_local::sandbox;
use tokio::net::TcpListener;

use crate::support::{Value, json};

pub const API_KEY: &str = "tp_local_toypay";
pub const WEBHOOK_SECRET: &str = "whsec_toy_secret";

pub fn sign(secret: &str, body: &str) -> String {
    sandbox::sign(secret, body.as_bytes())
}

/// The same entry as the patch adds to the local functions.
pub static CREATE: Function = Function {
    name: "create-toypay",
    instances: 1,
    route: Some("POST /toy-payments"),
    time_limit: Duration::from_secs(25),
    variables: &[
        "PAYMENTS_TABLE",
        "TOYPAY_SECRET_ID",
        "TOYPAY_BASE_URL",
        "WEBHOOK_BASE_URL",
    ],
};

/// Create requests by charge id.
type Charges = Arc<Mutex<BTreeMap<String, Value>>>;

pub struct StandIn {
    pub url: String,
    charges: Charges,
}

impl StandIn {
    pub async fn start() -> Self {
        let charges = Charges::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/v2/charges", post(charge))
            .with_state(charges.clone());
        tokio::spawn(async { axum::serve(listener, routes).await });
        Self { url, charges }
    }

    /// The ids of all charges.
    pub fn charges(&self) -> Vec<String> {
        self.charges.lock().unwrap().keys().cloned().collect()
    }

    /// The body of a webhook.
    pub fn webhook(&self, charge: &str, state: &str, total: &str) -> String {
        let notes = &self.charges.lock().unwrap()[charge]["notes"];
        json!({ "charge": charge, "state": state, "total": total, "currency": "EUR", "notes": notes }).to_string()
    }
}

async fn charge(
    State(charges): State<Charges>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let refused = |status, code| (status, Json(json!({ "problem": { "code": code } })));
    if headers
        .get("authorization")
        .is_none_or(|key| key != format!("Token {API_KEY}").as_str())
    {
        return refused(StatusCode::UNAUTHORIZED, "bad_key");
    }
    let is_decimal = request["total"]
        .as_str()
        .is_some_and(|total| total.parse::<f64>().is_ok());
    if !is_decimal || !request["notify"].is_string() || headers.get("idempotency-key").is_none() {
        return refused(StatusCode::BAD_REQUEST, "bad_request");
    }
    let mut charges = charges.lock().unwrap();
    let id = format!("ch_{}", charges.len() + 1);
    let page = format!("https://toypay.example/{id}");
    let reply = json!({ "id": id, "total": request["total"], "currency": request["currency"], "pay_at": page });
    charges.insert(id, request);
    (StatusCode::CREATED, Json(json!({ "charge": reply })))
}
