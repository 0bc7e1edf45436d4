//! Handles a call: creates the payment, chooses the reply, and sends it as scripted.
//!
//! The payment and its idempotency key are stored before the reply is delayed, dropped or truncated, like at the real
//! provider. A repeated key never creates a second payment: it gets the first reply again, or the next scripted one.
//! Random faults are handled like scripted replies.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;

use super::calls::{Kind, Outcome};
use super::delivery;
use super::http::{NoReply, RawResponse};
use super::payments::{Payment, Provider};
use super::script::{DropPoint, Reply, Shape};
use super::world::{FirstResponse, Memory, OpenCall, World};
use super::{apolopay, finvypay};

/// Responds to a create call that passed the provider's checks.
pub(super) async fn create(call: OpenCall, draft: Payment, key: Option<&str>) -> Response<Body> {
    let Decision {
        reply,
        response,
        payment_id,
    } = decide(&call, draft, key);
    deliver(call, reply, response, payment_id.as_deref()).await
}

/// Responds to a status call with the payment's status, or with the scripted reply.
pub(super) async fn status(call: OpenCall, payment: Option<Payment>, not_found: RawResponse) -> Response<Body> {
    let order_id = payment.as_ref().and_then(|payment| payment.order_id.as_deref());
    let reply = {
        let mut memory = call.world.memory();
        let scripted = memory.scripts.next(Provider::Finvypay, Kind::Status, order_id);
        scripted
            .or_else(|| memory.fault_injector.next_fault(Kind::Status))
            .unwrap_or_default()
    };
    let known = payment
        .as_ref()
        .map(|payment| finvypay::status_reply(payment, reply.changes()));
    let response = reply.verbatim(Provider::Finvypay).or(known).unwrap_or(not_found);
    deliver(
        call,
        reply,
        response,
        payment.as_ref().map(|payment| payment.id.as_str()),
    )
    .await
}

/// Responds to a list call with the known transactions, or with the scripted reply.
pub(super) async fn list(call: OpenCall, order_id: Option<&str>, known: RawResponse) -> Response<Body> {
    let reply = {
        let mut memory = call.world.memory();
        let scripted = memory.scripts.next(Provider::Finvypay, Kind::List, order_id);
        scripted
            .or_else(|| memory.fault_injector.next_fault(Kind::List))
            .unwrap_or_default()
    };
    let response = reply.verbatim(Provider::Finvypay).unwrap_or(known);
    call.world.memory().calls.record_response(call.index, &response);
    deliver(call, reply, response, None).await
}

/// Responds to a call at once.
pub(super) fn respond(call: OpenCall, response: RawResponse) -> Response<Body> {
    call.world.memory().calls.record_response(call.index, &response);
    let response = call.with_headers(response);
    call.end(Outcome::Responded);
    response.whole()
}

struct Decision {
    reply: Reply,
    response: RawResponse,
    payment_id: Option<String>,
}

fn decide(call: &OpenCall, mut payment: Payment, key: Option<&str>) -> Decision {
    let world = &call.world;
    let mut memory = world.memory();
    let order_id = payment.order_id.as_deref();
    let scripted = memory.scripts.next(payment.provider, Kind::Create, order_id);
    let key = key.filter(|_| memory.scripts.honours_keys(payment.provider, order_id));
    let first = key.and_then(|key| memory.first_responses.get(key).cloned());

    let is_known = first.is_some();
    let is_scripted = scripted.is_some();
    let reply = scripted
        .or_else(|| memory.fault_injector.next_fault(Kind::Create))
        .unwrap_or_default();
    let instead = reply.verbatim(payment.provider);
    let replayed = is_known && !is_scripted && instead.is_none();
    let earlier = first
        .as_ref()
        .and_then(|first| memory.payments.by_id(payment.provider, &first.payment_id));
    let is_new = reply.creates() && !is_known;
    match earlier.cloned() {
        Some(earlier) => payment = earlier,
        None => adopt_scripted_id(&memory, &mut payment, &reply),
    }
    let documented = documented(world, &payment, &reply);
    let response = match first {
        Some(first) if replayed => first.response,
        _ => instead.unwrap_or_else(|| documented.clone()),
    };
    if let Some(key) = key.filter(|_| is_new) {
        let first = FirstResponse {
            payment_id: payment.id.clone(),
            response: documented,
        };
        memory.first_responses.insert(key.to_owned(), first);
    }
    memory.calls.record_response(call.index, &response);
    memory.calls.update(call.index, |call| {
        call.replayed = replayed;
        if is_new {
            call.ids = [Some(payment.id.clone()), payment.transaction_id.clone()]
                .into_iter()
                .flatten()
                .collect();
        }
    });
    let payment_id = (is_new || is_known).then(|| payment.id.clone());
    if is_new {
        memory.payments.add(payment);
    }
    Decision {
        reply,
        response,
        payment_id,
    }
}

/// Gives a payment the id of its scripted reply, unless another payment has it.
fn adopt_scripted_id(memory: &Memory, payment: &mut Payment, reply: &Reply) {
    let changes = reply.changes();
    let field = match payment.provider {
        Provider::Apolopay => "processId",
        Provider::Finvypay => "paymentId",
    };
    let Some(id) = changes.fields.text(field).filter(|id| !id.is_empty()) else {
        return;
    };
    if memory.payments.by_id(payment.provider, &id).is_some() {
        return;
    }
    if changes.shape == Shape::Old {
        payment.transaction_id = Some(id);
    } else {
        payment.id = id;
    }
}

fn documented(world: &World, payment: &Payment, reply: &Reply) -> RawResponse {
    match payment.provider {
        Provider::Apolopay => apolopay::reply(payment, reply.changes()),
        Provider::Finvypay => finvypay::reply(payment, &world.base_url, reply.changes()),
    }
}

/// Sends a response in the way that the reply scripts.
async fn deliver(call: OpenCall, reply: Reply, response: RawResponse, payment_id: Option<&str>) -> Response<Body> {
    if let Some(specs) = reply.webhook_before_reply {
        let (world, index, specs) = (
            Arc::clone(&call.world),
            call.index,
            specs.about(call.provider, payment_id),
        );
        let sending = tokio::spawn(async move {
            let deliveries = delivery::send(&world, specs).await;
            let deliveries = deliveries.unwrap_or_else(|problem| vec![delivery::not_sent(problem)]);
            world.memory().calls.update(index, |call| call.webhooks = deliveries);
        });
        // It goes on if the caller closes the connection, since that drops this future only.
        let _ = sending.await;
    }
    tokio::time::sleep(Duration::from_millis(reply.delay_ms)).await;
    if reply.hang {
        // Ends when the caller closes the connection, since that drops this future.
        future::pending::<()>().await;
    }
    let response = call.with_headers(response);
    let (outcome, response) = match reply.drop {
        None => (Outcome::Responded, response.whole()),
        Some(DropPoint::BeforeReply) => (Outcome::DroppedBeforeReply, NoReply::response()),
        Some(DropPoint::MidReply) => (Outcome::DroppedMidReply, response.half()),
    };
    call.end(outcome);
    response
}
