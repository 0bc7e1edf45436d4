//! `/api/…`: the functions as the checkout page calls them, and a record of every exchange.
//!
//! The page has the API on its own origin here. On AWS it is another origin, and API Gateway's CORS lets the shop's in.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::any;

use super::clock;
use super::http::{Answer, Received, header_map};
use super::journal::{Exchange, Leg, Message};
use super::json::Object;
use super::world::World;

/// What a browser may send through CORS, and what it may see of the answer.
const REQUEST_HEADERS: [&str; 2] = ["content-type", "idempotency-key"];
const ANSWER_HEADERS: [&str; 5] = [
    "cache-control",
    "content-type",
    "idempotency-replayed",
    "location",
    "retry-after",
];

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new().route("/{*path}", any(forward))
}

/// A request that has gone out is carried on and recorded when the browser is gone, as API Gateway does.
async fn forward(State(world): State<Arc<World>>, request: Request) -> Response<Body> {
    let received = Received::read(request).await;
    let answer = tokio::spawn(async move { exchange(&world, received).await }).await;
    answer.map_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response(), Answer::whole)
}

async fn exchange(world: &World, received: Received) -> Answer {
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
    let answered = async {
        let response = request.body(received.body).send().await?;
        let (status, headers) = (response.status().as_u16(), header_map(response.headers()));
        Ok::<_, reqwest::Error>((status, headers, response.text().await?))
    };
    let (answer, error) = match answered.await {
        Ok((status, headers, body)) => {
            let seen = headers
                .into_iter()
                .filter(|(name, _)| ANSWER_HEADERS.contains(&name.as_str()));
            let headers = seen.collect();
            (Answer { status, headers, body }, None)
        }
        Err(_) => {
            let text = format!("The functions do not answer at {}.\n", world.config.functions_url);
            let headers = vec![("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())];
            let answer = Answer {
                status: StatusCode::BAD_GATEWAY.as_u16(),
                headers,
                body: text.clone(),
            };
            (answer, Some(text))
        }
    };
    let payment = serde_json::from_str::<Object>(&answer.body)
        .ok()
        .and_then(|body| body.text("id"));
    let shown = answer.clone();
    world.memory().journal.end(index, payment, |exchange| {
        exchange.ended_ms = Some(clock::now_ms());
        exchange.status = error.is_none().then_some(shown.status);
        exchange.error = error;
        exchange.answer = Message {
            headers: shown.headers.into_iter().collect(),
            body: shown.body,
        };
    });
    answer
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
        answer: Message::default(),
        error: None,
        times: 1,
    };
    memory.journal.begin(order_id, exchange)
}
