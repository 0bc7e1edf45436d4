//! Sending webhooks, and what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::clock;
use super::http::header_map;
use super::webhook::{Prepared, WebhookSpec, WebhookSpecs};
use super::webhook_body::finvypay_word;
use super::world::World;

/// One webhook as it was sent, and its answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Delivery {
    /// What was sent.
    pub sent: Sent,
    /// The HTTP status it was answered with.
    pub status: Option<u16>,
    /// The headers of that answer, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body of that answer.
    pub body: String,
    /// Why there was no answer.
    pub error: Option<String>,
}

/// A webhook as it was sent.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Sent {
    /// Where to.
    pub url: String,
    /// Its headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its exact bytes.
    pub body: String,
}

/// Sends webhooks one after the other, in the order given.
///
/// All are made ready before the first is sent: an error means that none was.
pub(super) async fn send(world: &Arc<World>, specs: WebhookSpecs) -> Result<Vec<Delivery>, String> {
    let prepared = {
        let memory = world.memory();
        let now = OffsetDateTime::now_utc();
        let prepare = |spec: &WebhookSpec| spec.prepare(&memory.payments, &world.config, now);
        specs.0.iter().map(prepare).collect::<Result<Vec<_>, _>>()?
    };
    let mut deliveries = Vec::new();
    for (spec, prepared) in specs.0.iter().zip(&prepared) {
        tokio::time::sleep(Duration::from_millis(spec.delay_ms)).await;
        move_payment(world, spec, prepared);
        let attempts = (1..=spec.times).map(|attempt| deliver(world, prepared, attempt));
        if spec.concurrent {
            deliveries.extend(join_all(attempts).await);
        } else {
            for attempt in attempts {
                deliveries.push(attempt.await);
            }
        }
    }
    Ok(deliveries)
}

/// A delivery that could not even be made ready.
pub(super) fn not_sent(problem: String) -> Delivery {
    Delivery {
        sent: Sent::default(),
        status: None,
        headers: BTreeMap::new(),
        body: String::new(),
        error: Some(problem),
    }
}

/// The provider knows what it tells, before it tells it. Late news does not undo a completion.
fn move_payment(world: &World, spec: &WebhookSpec, prepared: &Prepared) {
    let Some(id) = &prepared.moves else {
        return;
    };
    let mut memory = world.memory();
    if let Some(payment) = memory
        .payments
        .by_id_mut(prepared.provider, id)
        .filter(|payment| !payment.is_completed())
    {
        payment.set_status(
            &finvypay_word(&spec.outcome),
            clock::to_milliseconds(OffsetDateTime::now_utc()),
        );
    }
}

/// Delivers a webhook once, and notes it in the journal.
async fn deliver(world: &World, prepared: &Prepared, attempt: u32) -> Delivery {
    let at_ms = clock::now_ms();
    let delivery = attempt_to_deliver(world, prepared, attempt).await;
    let order_id = prepared.order_id.clone();
    let mut memory = world.memory();
    memory.journal.webhook(order_id, &delivery, at_ms, clock::now_ms());
    delivery
}

async fn attempt_to_deliver(world: &World, prepared: &Prepared, attempt: u32) -> Delivery {
    let mut request = world
        .http
        .post(&prepared.url)
        .header("content-type", "application/json");
    for (name, value) in &prepared.headers {
        request = request.header(*name, value);
    }
    if prepared.provider == super::Provider::Finvypay {
        request = request.header("x-webhook-attempt", attempt);
    }
    let request = match request.body(prepared.body.clone()).build() {
        Ok(request) => request,
        Err(error) => return not_sent(chain(&error)),
    };
    let sent = Sent {
        url: prepared.url.clone(),
        headers: header_map(request.headers()),
        body: prepared.body.clone(),
    };
    let answered = async {
        let response = world.http.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), header_map(response.headers()));
        Ok((status, headers, response.text().await?))
    };
    match answered.await {
        Ok((status, headers, body)) => Delivery {
            sent,
            status: Some(status),
            headers,
            body,
            error: None,
        },
        Err(error) => Delivery {
            sent,
            ..not_sent(chain::<reqwest::Error>(&error))
        },
    }
}

/// An error with its causes.
fn chain<E: std::error::Error>(error: &E) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
