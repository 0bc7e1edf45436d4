//! Plays a call through: the payment it makes, the reply it gets, and how it gets it.
//!
//! The payment exists, and an idempotency key is remembered, before the reply is delayed, lost or cut
//! short: a caller that gives up leaves behind what it would at the real provider. A repeated key never makes a
//! second payment; it gets the first reply again, or the next scripted one where there is one. What chance does to a call
//! is played as if it were scripted.

use std::future;
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;

use super::calls::{Kind, Outcome};
use super::delivery;
use super::http::{Answer, NoReply};
use super::payments::{Payment, Provider};
use super::script::{DropPoint, Reply, Shape};
use super::world::{FirstAnswer, Memory, OpenCall, World};
use super::{apolopay, finvypay};

/// Answers a create call that passed the provider's checks.
pub(super) async fn create(call: OpenCall, draft: Payment, key: Option<&str>) -> Response<Body> {
    let Decision {
        reply,
        answer,
        payment_id,
    } = decide(&call, draft, key);
    deliver(call, reply, answer, payment_id.as_deref()).await
}

/// Answers a status call with what the provider knows, or with what is scripted for the order.
pub(super) async fn status(call: OpenCall, payment: Option<Payment>, not_found: Answer) -> Response<Body> {
    let order_id = payment.as_ref().and_then(|payment| payment.order_id.as_deref());
    let reply = {
        let mut memory = call.world.memory();
        let scripted = memory.scripts.next(Provider::Finvypay, Kind::Status, order_id);
        scripted
            .or_else(|| memory.chance.strike(Kind::Status))
            .unwrap_or_default()
    };
    let known = payment
        .as_ref()
        .map(|payment| finvypay::status_answer(payment, reply.changes()));
    let answer = reply.verbatim(Provider::Finvypay).or(known).unwrap_or(not_found);
    deliver(call, reply, answer, payment.as_ref().map(|payment| payment.id.as_str())).await
}

/// Answers a list call with what the provider knows, or with what is scripted for the order.
pub(super) async fn list(call: OpenCall, order_id: Option<&str>, known: Answer) -> Response<Body> {
    let reply = {
        let mut memory = call.world.memory();
        let scripted = memory.scripts.next(Provider::Finvypay, Kind::List, order_id);
        scripted
            .or_else(|| memory.chance.strike(Kind::List))
            .unwrap_or_default()
    };
    let answer = reply.verbatim(Provider::Finvypay).unwrap_or(known);
    call.world.memory().calls.decide(call.index, &answer);
    deliver(call, reply, answer, None).await
}

/// Answers a call at once.
pub(super) fn answer(call: OpenCall, answer: Answer) -> Response<Body> {
    call.world.memory().calls.decide(call.index, &answer);
    call.end(Outcome::Answered);
    answer.whole()
}

struct Decision {
    reply: Reply,
    answer: Answer,
    payment_id: Option<String>,
}

fn decide(call: &OpenCall, mut payment: Payment, key: Option<&str>) -> Decision {
    let world = &call.world;
    let mut memory = world.memory();
    let order_id = payment.order_id.as_deref();
    let scripted = memory.scripts.next(payment.provider, Kind::Create, order_id);
    let key = key.filter(|_| memory.scripts.honours_keys(payment.provider, order_id));
    let first = key.and_then(|key| memory.first_answers.get(key).cloned());

    let is_known = first.is_some();
    let is_scripted = scripted.is_some();
    let reply = scripted
        .or_else(|| memory.chance.strike(Kind::Create))
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
    let answer = match first {
        Some(first) if replayed => first.answer,
        _ => instead.unwrap_or_else(|| documented.clone()),
    };
    if let Some(key) = key.filter(|_| is_new) {
        let first = FirstAnswer {
            payment_id: payment.id.clone(),
            answer: documented,
        };
        memory.first_answers.insert(key.to_owned(), first);
    }
    memory.calls.decide(call.index, &answer);
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
        answer,
        payment_id,
    }
}

/// A payment gets the id that its scripted reply names, unless that id is another payment's.
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

fn documented(world: &World, payment: &Payment, reply: &Reply) -> Answer {
    match payment.provider {
        Provider::Apolopay => apolopay::reply(payment, reply.changes()),
        Provider::Finvypay => finvypay::reply(payment, &world.base_url, reply.changes()),
    }
}

/// Gives an answer in the way that the reply says.
async fn deliver(call: OpenCall, reply: Reply, answer: Answer, payment_id: Option<&str>) -> Response<Body> {
    if let Some(specs) = reply.webhook_before_reply {
        let deliveries = delivery::send(&call.world, specs.about(call.provider, payment_id)).await;
        call.world.memory().calls.update(call.index, |call| match deliveries {
            Ok(deliveries) => call.webhooks = deliveries,
            Err(problem) => call.webhooks = vec![delivery::not_sent(problem)],
        });
    }
    tokio::time::sleep(Duration::from_millis(reply.delay_ms)).await;
    if reply.hang {
        // Ends when the caller closes the connection, which drops this future.
        future::pending::<()>().await;
    }
    let (outcome, response) = match reply.drop {
        None => (Outcome::Answered, answer.whole()),
        Some(DropPoint::BeforeReply) => (Outcome::DroppedBeforeReply, NoReply::response()),
        Some(DropPoint::MidReply) => (Outcome::DroppedMidReply, answer.half()),
    };
    call.end(outcome);
    response
}
