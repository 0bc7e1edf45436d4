//! ApoloPay SmartPay: health, assets, preorders. Errors have the NestJS shape.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::calls::Kind;
use super::check::{amount_problem, metadata_problem};
use super::http::{RawResponse, Received};
use super::json::Object;
use super::payments::{Payment, Provider, StatusIds};
use super::script::{Changes, Shape};
use super::world::{OpenCall, World};
use super::{clock, exchange};

/// The members of the documented reply.
pub(super) const REPLY_FIELDS: &[&str] = &["processId"];

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/payment-button/health", get(health))
        .route("/payment-button/assets", get(assets))
        .route("/payment-button/process/preorder", post(preorder))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
}

async fn health() -> Json<Object> {
    Json(Object::default().with("status", "ok"))
}

async fn assets() -> Json<[Object; 1]> {
    let networks = ["apolopay", "tron", "polygon"];
    Json([Object::default()
        .with("symbol", "USDT")
        .with("name", "Tether USD")
        .with("networks", networks)])
}

async fn preorder(State(world): State<Arc<World>>, request: Request) -> Response<Body> {
    let received = Received::read(request).await;
    let order_id = received.object().ok().and_then(|body| order_id(&body));
    let call = OpenCall::begin(&world, Provider::Apolopay, Kind::Create, order_id, &received);
    match check(&received, &world) {
        Ok(body) => exchange::create(call, payment(body), None).await,
        Err(refusal) => exchange::respond(call, refusal),
    }
}

async fn unknown(State(world): State<Arc<World>>, request: Request) -> Response<Body> {
    let received = Received::read(request).await;
    let call = OpenCall::begin(&world, Provider::Apolopay, Kind::Unknown, None, &received);
    let message = format!("Cannot {} {}", received.method, received.path);
    exchange::respond(call, error(StatusCode::NOT_FOUND, &message))
}

/// Checks a preorder and returns its body, or the response that refuses it.
fn check(received: &Received, world: &World) -> Result<Object, RawResponse> {
    if !world.accepts_key(Provider::Apolopay, received.header("x-secret-key")) {
        return Err(error(StatusCode::UNAUTHORIZED, &"Invalid secret key"));
    }
    if !received.is_json() {
        return Err(error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            &"content-type must be application/json",
        ));
    }
    let body = received
        .object()
        .map_err(|problem| error(StatusCode::BAD_REQUEST, &problem.to_string()))?;
    let problems = problems(&body);
    if problems.is_empty() {
        Ok(body)
    } else {
        Err(error(StatusCode::BAD_REQUEST, &problems))
    }
}

/// All problems of a preorder, in the words of NestJS's validator.
fn problems(body: &Object) -> Vec<String> {
    let unknown = body
        .members()
        .map(|(name, _)| name)
        .filter(|name| !["amount", "metadata"].contains(name));
    let mut problems: Vec<_> = unknown
        .map(|name| format!("property {name} should not exist"))
        .collect();
    let amount = body.get("amount").map_or(Some("must be a number"), amount_problem);
    problems.extend(amount.map(|problem| format!("amount {problem}")));
    let metadata = body.get("metadata").and_then(metadata_problem);
    problems.extend(metadata.map(|problem| format!("metadata {problem}")));
    problems
}

fn order_id(body: &Object) -> Option<String> {
    body.object("metadata")?.text("orderId")
}

fn payment(request: Object) -> Payment {
    let now = OffsetDateTime::now_utc();
    Payment {
        provider: Provider::Apolopay,
        id: Uuid::new_v4().to_string(),
        transaction_id: None,
        environment: None,
        order_id: order_id(&request),
        request,
        status: "PENDING".to_owned(),
        status_ids: StatusIds::default(),
        created_at: clock::to_milliseconds(now),
        expires_at: clock::to_milliseconds(now + Duration::minutes(10)),
        completed_at: None,
        extra: Object::default(),
    }
}

/// The reply to a preorder.
pub(super) fn reply(payment: &Payment, changes: Changes<'_>) -> RawResponse {
    let mut documented = Object::default().with("processId", &payment.id);
    documented.merge(changes.fields);
    for name in changes.omit {
        documented.remove(name);
    }
    let success = Object::default().with("status", "success").with("message", "ok");
    let body = match changes.shape {
        Shape::Observed => {
            documented.rename("processId", "id");
            success.with("result", documented)
        }
        Shape::Mixed => success.with("result", documented),
        Shape::Documented | Shape::Old | Shape::NoRedirect => documented,
    };
    RawResponse::json(StatusCode::CREATED, &body)
}

fn error(status: StatusCode, message: &impl Serialize) -> RawResponse {
    let body = Object::default()
        .with("statusCode", status.as_u16())
        .with("message", message)
        .with("error", status.canonical_reason());
    RawResponse::json(status, &body)
}
