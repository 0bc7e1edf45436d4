//! The routes under `/_control`, with which tests, curl and pages control the stand-ins.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::calls::{Call, Calls, InFlight, Kind, Outcome};
use super::chaos::{Chaos, ChaosReport};
use super::finvypay_list::ListMode;
use super::json::Object;
use super::payments::{Payment, Provider, StatusIds};
use super::rate_limit::RateLimitReport;
use super::script::Script;
use super::seed::Seed;
use super::webhook::WebhookSpecs;
use super::world::World;
use super::{clock, delivery, index};

/// How long `atLeast` waits.
const WAIT_LIMIT: Duration = Duration::from_secs(20);

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/replies", post(replies))
        .route("/calls", get(calls))
        .route("/webhooks", post(webhooks))
        .route("/chaos", get(chaos_report).post(chaos))
        .route("/list", get(list_modes).post(set_list_modes))
        .route("/rate-limit", get(rate_limit_report).post(set_rate_limit))
        .route("/seed", post(seed))
        .route("/in-flight", get(in_flight))
        .route("/payments", get(payments).post(set_payment))
        .route("/keys", post(set_keys))
        .route("/journal", get(journal))
        .route("/", get(index::page))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
}

/// A refused control request: its status and the reason.
struct Refused(StatusCode, String);

impl Refused {
    fn because(problem: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, problem.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response<Body> {
        (self.0, Json(Object::default().with("error", self.1))).into_response()
    }
}

type Reply = Result<Json<Object>, Refused>;

async fn replies(State(world): State<Arc<World>>, body: Bytes) -> Reply {
    let script: Script = parse(&body)?;
    if let Some(problem) = script.problem() {
        return Err(Refused::because(problem));
    }
    let waiting = world.memory().scripts.add(script);
    Ok(Json(Object::default().with("waiting", waiting)))
}

async fn webhooks(State(world): State<Arc<World>>, body: Bytes) -> Reply {
    let specs: WebhookSpecs = parse(&body)?;
    let deliveries = delivery::send(&world, specs).await.map_err(Refused::because)?;
    Ok(Json(Object::default().with("deliveries", deliveries)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CallsQuery {
    provider: Provider,
    order_id: Option<String>,
    #[serde(default)]
    kind: Kind,
    /// Wait until there are this many.
    #[serde(default)]
    at_least: usize,
    /// Count only calls that have ended.
    #[serde(default)]
    ended: bool,
}

async fn calls(
    State(world): State<Arc<World>>,
    query: Result<Query<CallsQuery>, QueryRejection>,
) -> Result<Json<Calls>, Refused> {
    let Query(query) = query.map_err(|rejection| Refused::because(rejection.body_text()))?;
    let mut changes = world.changes();
    let find = || {
        world
            .memory()
            .calls
            .find(query.provider, query.kind, query.order_id.as_deref())
    };
    let waiting = async {
        loop {
            let found = find();
            let counts = |call: &&super::Call| !query.ended || call.outcome != Outcome::InProgress;
            if found.calls.iter().filter(counts).count() >= query.at_least || changes.changed().await.is_err() {
                return found;
            }
        }
    };
    tokio::time::timeout(WAIT_LIMIT, waiting).await.map(Json).map_err(|_| {
        let problem = format!("fewer than {} such calls after {WAIT_LIMIT:?}", query.at_least);
        Refused(StatusCode::REQUEST_TIMEOUT, problem)
    })
}

/// Starts anew with these settings, and returns the report until now.
async fn chaos(State(world): State<Arc<World>>, body: Bytes) -> Result<Json<ChaosReport>, Refused> {
    let chaos: Chaos = parse(&body)?;
    if let Some(problem) = chaos.problem() {
        return Err(Refused::because(problem));
    }
    Ok(Json(world.memory().fault_injector.set(chaos)))
}

async fn chaos_report(State(world): State<Arc<World>>) -> Json<ChaosReport> {
    Json(world.memory().fault_injector.report())
}

/// The modes of FinvyPay's list.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ListModes {
    modes: BTreeSet<ListMode>,
}

/// Starts anew with these modes.
async fn set_list_modes(State(world): State<Arc<World>>, body: Bytes) -> Result<Json<ListModes>, Refused> {
    let modes: ListModes = parse(&body)?;
    world.memory().list.set(modes.modes.clone());
    Ok(Json(modes))
}

async fn list_modes(State(world): State<Arc<World>>) -> Json<ListModes> {
    let modes = world.memory().list.modes().clone();
    Json(ListModes { modes })
}

/// Starts anew with this limit, and returns the report until now.
async fn set_rate_limit(State(world): State<Arc<World>>, body: Bytes) -> Result<Json<RateLimitReport>, Refused> {
    let limit = parse(&body)?;
    Ok(Json(world.memory().rate_limiter.set(limit)))
}

async fn rate_limit_report(State(world): State<Arc<World>>) -> Json<RateLimitReport> {
    Json(world.memory().rate_limiter.report())
}

async fn seed(State(world): State<Arc<World>>, body: Bytes) -> Reply {
    let seed: Seed = parse(&body)?;
    if let Some(problem) = seed.problem() {
        return Err(Refused::because(problem));
    }
    let seeded = seed.payments(OffsetDateTime::now_utc());
    let mut memory = world.memory();
    let is_known = |payment: &&Payment| memory.payments.by_id(Provider::Finvypay, &payment.id).is_some();
    if let Some(known) = seeded.iter().find(is_known) {
        return Err(Refused::because(format!("a payment has the id `{}`", known.id)));
    }
    let reply = Object::default().with("seeded", seeded.len());
    memory.payments.add_all(&seed.environment, seeded);
    Ok(Json(reply))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InFlightQuery {
    provider: Provider,
}

async fn in_flight(
    State(world): State<Arc<World>>,
    query: Result<Query<InFlightQuery>, QueryRejection>,
) -> Result<Json<InFlight>, Refused> {
    let Query(query) = query.map_err(|rejection| Refused::because(rejection.body_text()))?;
    Ok(Json(world.memory().calls.in_flight(query.provider)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PaymentsQuery {
    provider: Provider,
    order_id: Option<String>,
}

async fn payments(State(world): State<Arc<World>>, query: Result<Query<PaymentsQuery>, QueryRejection>) -> Reply {
    let Query(query) = query.map_err(|rejection| Refused::because(rejection.body_text()))?;
    let memory = world.memory();
    let payments: Vec<_> = match &query.order_id {
        Some(order_id) => memory.payments.of_order(query.provider, order_id).collect(),
        None => memory.payments.of(query.provider).collect(),
    };
    Ok(Json(Object::default().with("payments", payments)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PaymentChange {
    provider: Provider,
    id: String,
    status: Option<String>,
    status_ids: Option<StatusIds>,
    extra: Option<Object>,
}

async fn set_payment(State(world): State<Arc<World>>, body: Bytes) -> Result<Json<Payment>, Refused> {
    let change: PaymentChange = parse(&body)?;
    let mut memory = world.memory();
    let Some(payment) = memory.payments.by_id_mut(change.provider, &change.id) else {
        return Err(Refused::because(format!("no payment has the id `{}`", change.id)));
    };
    if let Some(status) = change.status {
        payment.set_status(&status, clock::to_milliseconds(OffsetDateTime::now_utc()));
    }
    payment.status_ids = change.status_ids.unwrap_or(payment.status_ids);
    payment.extra = change.extra.unwrap_or_else(|| payment.extra.clone());
    Ok(Json(payment.clone()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AcceptedKeys {
    provider: Provider,
    keys: Vec<String>,
}

async fn set_keys(State(world): State<Arc<World>>, body: Bytes) -> Reply {
    let AcceptedKeys { provider, keys } = parse(&body)?;
    let accepted = keys.len();
    world.memory().accepted_keys.insert(provider, keys);
    Ok(Json(Object::default().with("accepted", accepted)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JournalQuery {
    order_id: String,
    /// The payment to look up; by default the one of the order that was last created at a provider.
    payment: Option<String>,
}

/// The data of the checkout page's live view.
async fn journal(State(world): State<Arc<World>>, query: Result<Query<JournalQuery>, QueryRejection>) -> Reply {
    let Query(query) = query.map_err(|rejection| Refused::because(rejection.body_text()))?;
    let (payment, exchanges) = {
        let memory = world.memory();
        let calls = |provider, kind| memory.calls.find(provider, kind, Some(&query.order_id)).calls;
        let calls: Vec<_> = [Kind::Create, Kind::Status, Kind::List]
            .into_iter()
            .flat_map(|kind| [calls(Provider::Apolopay, kind), calls(Provider::Finvypay, kind)].concat())
            .collect();
        let created = calls.iter().filter(|call| call.kind == Kind::Create);
        let newest = created.max_by_key(|call| call.received_ms).and_then(Call::our_id);
        let exchanges = memory.journal.of_order(&query.order_id, calls, &world.config);
        (query.payment.or(newest), exchanges)
    };
    // Finishes even if the page is closed, so that no event taken from the queue is lost.
    let reading = tokio::spawn(async move { read_aws(&world, payment.as_deref()).await });
    let (ledger, events) = reading
        .await
        .map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(Json(
        Object::default()
            .with("exchanges", exchanges)
            .with("ledger", ledger)
            .with("events", events),
    ))
}

/// A payment's ledger and events, or why they are unavailable.
async fn read_aws(world: &World, payment: Option<&str>) -> (Value, Value) {
    let unavailable = |problem: String| json!({ "unavailable": problem });
    let Some(aws) = &world.config.aws else {
        let problem = unavailable("AWS_ENDPOINT_URL is not set for the stand-ins".to_owned());
        return (problem.clone(), problem);
    };
    let Some(payment) = payment else {
        return (json!({ "state": null, "facts": [] }), json!({ "list": [] }));
    };
    let add = |event| world.memory().events.add(event);
    let (ledger, read) = tokio::join!(aws.ledger(&world.http, payment), aws.read_events(&world.http, add));
    let events = read.map(|()| json!({ "list": world.memory().events.of(payment) }));
    (ledger.unwrap_or_else(unavailable), events.unwrap_or_else(unavailable))
}

async fn unknown(request: Request) -> Refused {
    let problem = format!("there is no {} /_control{}", request.method(), request.uri().path());
    Refused(StatusCode::NOT_FOUND, problem)
}

/// Rejects requests from pages of other origins in the developer's browser: they must not control the stand-ins, nor
/// call the functions through them.
pub(super) async fn same_origin(State(world): State<Arc<World>>, request: Request, next: Next) -> Response<Body> {
    if is_foreign(request.headers(), &world.base_url) {
        let problem = format!("only pages of {} may do this", world.base_url);
        return Refused(StatusCode::FORBIDDEN, problem).into_response();
    }
    next.run(request).await
}

fn is_foreign(headers: &HeaderMap, own: &str) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    // A form on a page without referrer has the origin `null`, but comes from the same site.
    let is_own_form = headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin");
    !is_own_form && origin != own && *origin != own.replace("127.0.0.1", "localhost")
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| Refused::because(error.to_string()))
}
