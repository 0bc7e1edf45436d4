//! `/api/…`: forwards the checkout page's calls to the functions, and records every exchange.
//!
//! Here the API has the page's own origin. On AWS it has another one, and API Gateway's CORS allows the shop's.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::any;

use super::clock;
use super::http::{RawResponse, Received, header_map};
use super::journal::{Exchange, Leg, Message};
use super::json::Object;
use super::world::World;

/// The headers that CORS lets a browser send, and read in a response.
const REQUEST_HEADERS: [&str; 2] = ["content-type", "idempotency-key"];
const RESPONSE_HEADERS: [&str; 5] = [
    "cache-control",
    "content-type",
    "idempotency-replayed",
    "location",
    "retry-after",
];

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new().route("/{*path}", any(forward))
}

/// Finishes and records an exchange even if the browser disconnects, like API Gateway.
async fn forward(State(world): State<Arc<World>>, request: Request) -> Response<Body> {
    let received = Received::read(request).await;
    let response = tokio::spawn(async move { exchange(&world, received).await }).await;
    response.map_or_else(
        |_| StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        RawResponse::whole,
    )
}

async fn exchange(world: &World, received: Received) -> RawResponse {
    let headers: Vec<_> = REQUEST_HEADERS
        .into_iter()
        .filter_map(|name| Some((name, received.header(name)?.to_owned())))
        .collect();
    let mut request = world.http.request(
        received.method.clone(),
        format!("{}{}", world.config.functions_url, received.path),
    );
    for (name, value) in &headers {
        request = request.header(*name, value);
    }
    let index = begin(world, &received, headers);
    let result = async {
        let response = request.body(received.body).send().await?;
        let (status, headers) = (response.status().as_u16(), header_map(response.headers()));
        Ok::<_, reqwest::Error>((status, headers, response.text().await?))
    };
    let (response, error) = match result.await {
        Ok((status, headers, body)) => {
            let exposed = headers
                .into_iter()
                .filter(|(name, _)| RESPONSE_HEADERS.contains(&name.as_str()));
            let headers = exposed.collect();
            (RawResponse { status, headers, body }, None)
        }
        Err(_) => {
            let text = format!("The functions do not respond at {}.\n", world.config.functions_url);
            let headers = vec![("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())];
            let response = RawResponse {
                status: StatusCode::BAD_GATEWAY.as_u16(),
                headers,
                body: text.clone(),
            };
            (response, Some(text))
        }
    };
    let payment = serde_json::from_str::<Object>(&response.body)
        .ok()
        .and_then(|body| body.text("id"));
    let shown = response.clone();
    world.memory().journal.end(index, payment, |exchange| {
        exchange.ended_ms = Some(clock::now_ms());
        exchange.status = error.is_none().then_some(shown.status);
        exchange.error = error;
        exchange.response = Message {
            headers: shown.headers.into_iter().collect(),
            body: shown.body,
        };
    });
    response
}

fn begin(world: &World, received: &Received, headers: Vec<(&str, String)>) -> usize {
    let mut memory = world.memory();
    let order_id = received.object().ok().and_then(|body| body.text("orderId"));
    let order_id = order_id.or_else(|| memory.journal.order_of(received.path.strip_prefix("/payments/")?));
    let exchange = Exchange {
        leg: Leg::Browser,
        at_ms: clock::now_ms(),
        ended_ms: None,
        method: received.method.to_string(),
        path: received.path.clone(),
        request: Message {
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            body: String::from_utf8_lossy(&received.body).into_owned(),
        },
        status: None,
        response: Message::default(),
        error: None,
        times: 1,
    };
    memory.journal.begin(order_id, exchange)
}
