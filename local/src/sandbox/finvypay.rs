//! FinvyPay APM: payments, their status, the list of transactions.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::calls::Kind;
use super::finvypay_check::{admit, check, error};
use super::http::{RawResponse, Received};
use super::json::Object;
use super::payments::{Payment, Provider, StatusIds};
use super::rate_limit::Quota;
use super::script::{Changes, Shape};
use super::world::{Memory, OpenCall, World};
use super::{clock, exchange};

/// The members of the documented reply.
pub(super) const REPLY_FIELDS: &[&str] = &[
    "success",
    "status",
    "paymentId",
    "orderId",
    "amount",
    "currency",
    "paymentMethod",
    "redirectUrl",
    "returnUrl",
    "cancelUrl",
    "createdAt",
    "expiresAt",
];

/// The members of a status reply's `data`.
pub(super) const STATUS_FIELDS: &[&str] = &[
    "transactionId",
    "orderId",
    "status",
    "amount",
    "currency",
    "paymentMethod",
    "createdAt",
    "completedAt",
    "metadata",
];

const LETTERS_AND_DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

pub(super) fn routes() -> Router<Arc<World>> {
    let mut routes = Router::new();
    for environment in ["sandbox", "production"] {
        routes = routes
            .route(
                &format!("/api/v1/{environment}/apm"),
                post(move |world, request| create(world, environment, request)),
            )
            .route(
                &format!("/api/{environment}/status/{{id}}"),
                get(move |world, id, request| status(world, environment, id, request)),
            )
            .route(
                &format!("/api/v1/{environment}-transactions"),
                get(move |world, query, request| list(world, environment, query, request)),
            );
    }
    routes.fallback(unknown).method_not_allowed_fallback(unknown)
}

async fn create(State(world): State<Arc<World>>, environment: &'static str, request: Request) -> Response<Body> {
    let received = Received::read(request).await;
    let order_id = received.object().ok().and_then(|body| body.text("orderId"));
    let call = OpenCall::begin(&world, Provider::Finvypay, Kind::Create, order_id, &received);
    match check(&call, &received) {
        Ok(body) => exchange::create(call, payment(environment, body), received.header("idempotency-key")).await,
        Err(refusal) => exchange::respond(call, refusal),
    }
}

async fn status(
    State(world): State<Arc<World>>,
    environment: &'static str,
    Path(id): Path<String>,
    request: Request,
) -> Response<Body> {
    let received = Received::read(request).await;
    let payment = world.memory().payments.by_id(Provider::Finvypay, &id).cloned();
    let payment = payment.filter(|payment| {
        payment.environment.as_deref() == Some(environment)
            && match payment.status_ids {
                StatusIds::Both => true,
                StatusIds::PaymentId => payment.id == id,
                StatusIds::TransactionId => payment.id != id,
            }
    });
    let order_id = payment.as_ref().and_then(|payment| payment.order_id.clone());
    let call = OpenCall::begin(&world, Provider::Finvypay, Kind::Status, order_id, &received);
    match admit(&call, &received) {
        Ok(()) => {
            let not_found = error(StatusCode::NOT_FOUND, "NOT_FOUND", "Transaction not found", None);
            exchange::status(call, payment, not_found).await
        }
        Err(refusal) => exchange::respond(call, refusal),
    }
}

async fn list(
    State(world): State<Arc<World>>,
    environment: &'static str,
    Query(parameters): Query<HashMap<String, String>>,
    request: Request,
) -> Response<Body> {
    let received = Received::read(request).await;
    let order_id = parameters.get("orderId").cloned();
    let call = OpenCall::begin(&world, Provider::Finvypay, Kind::List, order_id.clone(), &received);
    let response = admit(&call, &received).and_then(|()| {
        let Memory { list, payments, .. } = &mut *world.memory();
        list.response(payments, environment, &received.path, &parameters)
    });
    match response {
        Ok(response) => exchange::list(call, order_id.as_deref(), response).await,
        Err(refusal) => exchange::respond(call, refusal),
    }
}

async fn unknown(State(world): State<Arc<World>>, request: Request) -> Response<Body> {
    let received = Received::read(request).await;
    let call = OpenCall::begin(&world, Provider::Finvypay, Kind::Unknown, None, &received);
    let over_limit = call.quota.and_then(Quota::refusal);
    let response = over_limit.unwrap_or_else(|| no_route(received.method.as_str(), &received.path));
    exchange::respond(call, response)
}

/// The response for a path or method that does not exist.
pub(super) fn no_route(method: &str, path: &str) -> RawResponse {
    error(
        StatusCode::NOT_FOUND,
        "NOT_FOUND",
        &format!("No route for {method} {path}"),
        None,
    )
}

fn payment(environment: &str, request: Object) -> Payment {
    let now = OffsetDateTime::now_utc();
    Payment {
        provider: Provider::Finvypay,
        id: payment_id(),
        transaction_id: Some(format!(
            "FP{:018}",
            Uuid::new_v4().as_u128() % 1_000_000_000_000_000_000
        )),
        environment: Some(environment.to_owned()),
        order_id: request.text("orderId"),
        request,
        status: "PENDING".to_owned(),
        status_ids: StatusIds::default(),
        created_at: clock::to_milliseconds(now),
        expires_at: clock::to_milliseconds(now + Duration::minutes(30)),
        completed_at: None,
        extra: Object::default(),
    }
}

/// `pay_apm_` and sixteen random letters and digits.
fn payment_id() -> String {
    let mut id = "pay_apm_".to_owned();
    let mut random = Uuid::new_v4().as_u128();
    for _ in 0..16 {
        let index = usize::try_from(random % 62).unwrap_or_default();
        id.push(LETTERS_AND_DIGITS.get(index).copied().map_or('0', char::from));
        random /= 62;
    }
    id
}

/// The reply to a create call.
pub(super) fn reply(payment: &Payment, base_url: &str, changes: Changes<'_>) -> RawResponse {
    let is_old = changes.shape == Shape::Old;
    let redirects = changes.shape != Shape::NoRedirect;
    let id = if is_old {
        payment.transaction_id.as_ref()
    } else {
        Some(&payment.id)
    };
    let requested = |name| payment.request.get(name);

    let mut top = Object::default()
        .with("success", true)
        .with("status", if redirects { "REDIRECT" } else { "PENDING" });
    let mut data = Object::default()
        .with_some("paymentId", id)
        .with_some("orderId", requested("orderId"))
        .with_some("amount", requested("amount"))
        .with_some("currency", requested("currency"))
        .with_some("paymentMethod", requested("paymentMethod"))
        .with_some(
            "redirectUrl",
            redirects.then(|| format!("{base_url}/finvypay/pay/{}", payment.id)),
        )
        .with_some("returnUrl", requested("returnUrl"))
        .with_some("cancelUrl", requested("cancelUrl"))
        .with("createdAt", &payment.created_at)
        .with_some("expiresAt", redirects.then_some(&payment.expires_at));

    for (name, value) in changes.fields.members() {
        let object = if top.get(name).is_some() { &mut top } else { &mut data };
        object.set(name, value);
    }
    for name in changes.omit {
        top.remove(name);
        data.remove(name);
    }
    if is_old {
        data.rename("paymentId", "transactionId");
        data = data.with_some("status", top.remove("status"));
    }
    RawResponse::json(StatusCode::OK, &top.with("data", data))
}

/// The reply to a status call.
pub(super) fn status_reply(payment: &Payment, changes: Changes<'_>) -> RawResponse {
    let mut data = transaction(payment);
    for (name, value) in changes.fields.members() {
        data.set(name, value);
    }
    for name in changes.omit {
        data.remove(name);
    }
    RawResponse::json(
        StatusCode::OK,
        &Object::default().with("success", true).with("data", data),
    )
}

/// A payment's row in the list, which is also its status.
pub(super) fn transaction(payment: &Payment) -> Object {
    let requested = |name| payment.request.get(name);
    let mut transaction = Object::default()
        .with("transactionId", &payment.transaction_id)
        .with_some("orderId", requested("orderId"))
        .with("status", &payment.status)
        .with_some("amount", requested("amount"))
        .with_some("currency", requested("currency"))
        .with_some("paymentMethod", requested("paymentMethod"))
        .with("createdAt", &payment.created_at)
        .with("completedAt", &payment.completed_at)
        .with_some("metadata", payment.metadata());
    transaction.merge(&payment.extra);
    transaction
}
