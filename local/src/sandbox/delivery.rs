//! Sends webhooks and reports the responses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::clock;
use super::http::header_map;
use super::webhook::{Prepared, WebhookSpec, WebhookSpecs};
use super::webhook_body::finvypay_status;
use super::world::World;

/// One webhook as it was sent, and its response.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Delivery {
    /// The webhook.
    pub sent: Sent,
    /// The HTTP status of the response.
    pub status: Option<u16>,
    /// The headers of the response, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body of the response.
    pub body: String,
    /// Why there was no response.
    pub error: Option<String>,
}

/// A webhook as it was sent.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Sent {
    /// The receiver's URL.
    pub url: String,
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The exact body.
    pub body: String,
}

/// Sends webhooks one after another, in the given order.
///
/// # Errors
/// The problem of an invalid webhook. None is sent then.
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
        update_payment(world, spec, prepared);
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

/// A webhook that could not be sent.
pub(super) fn not_sent(problem: String) -> Delivery {
    Delivery {
        sent: Sent::default(),
        status: None,
        headers: BTreeMap::new(),
        body: String::new(),
        error: Some(problem),
    }
}

/// Sets the payment's status at the provider before the webhook is sent. A completed payment stays completed.
fn update_payment(world: &World, spec: &WebhookSpec, prepared: &Prepared) {
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
            &finvypay_status(&spec.outcome),
            clock::to_milliseconds(OffsetDateTime::now_utc()),
        );
    }
}

/// Sends a webhook once, and records it in the journal.
async fn deliver(world: &World, prepared: &Prepared, attempt: u32) -> Delivery {
    let at_ms = clock::now_ms();
    let delivery = send_once(world, prepared, attempt).await;
    let order_id = prepared.order_id.clone();
    let mut memory = world.memory();
    memory.journal.webhook(order_id, &delivery, at_ms, clock::now_ms());
    delivery
}

async fn send_once(world: &World, prepared: &Prepared, attempt: u32) -> Delivery {
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
    let result = async {
        let response = world.http.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), header_map(response.headers()));
        Ok((status, headers, response.text().await?))
    };
    match result.await {
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

/// An error's message with its causes.
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
