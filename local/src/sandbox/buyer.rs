//! The buyer at a provider: FinvyPay's payment page, and the actions of the dialog in ApoloPay's button.
//!
//! The developer who plays the buyer also chooses when the webhook comes, to see every order of events.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Form, Path, State};
use axum::http::{Response, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::checkout::filled_in;
use super::http::page;
use super::json::Object;
use super::payments::{Payment, Provider};
use super::webhook::WebhookSpecs;
use super::webhook_body::{WebhookShape, finvypay_status};
use super::world::World;
use super::{clock, delivery};

/// The delay of a late webhook.
const LATE_MS: u32 = 2_000;

/// The form of the payment page.
#[derive(Deserialize)]
struct BuyerAction {
    outcome: Outcome,
    webhook: WebhookTiming,
    shape: WebhookShape,
}

#[derive(Clone, Copy, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    Pay,
    PayWrongAmount,
    Authorize,
    Fail,
    Cancel,
    /// The buyer leaves, and the provider sends nothing.
    Leave,
}

#[derive(Clone, Copy, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
enum WebhookTiming {
    /// Before the buyer returns to the shop.
    AtOnce,
    Late,
    Twice,
    Never,
}

impl Outcome {
    /// The status in the webhook.
    fn webhook_status(self) -> Option<&'static str> {
        match self {
            Self::Pay | Self::PayWrongAmount => Some("completed"),
            Self::Authorize => Some("authorized"),
            Self::Fail => Some("failed"),
            Self::Cancel => Some("cancelled"),
            Self::Leave => None,
        }
    }

    fn returns(self) -> bool {
        matches!(self, Self::Pay | Self::PayWrongAmount | Self::Authorize)
    }
}

/// FinvyPay's payment page.
pub(super) fn finvypay_routes() -> Router<Arc<World>> {
    Router::new().route("/pay/{id}", get(show).post(pay_and_return))
}

/// The actions of ApoloPay's button.
pub(super) fn apolopay_routes() -> Router<Arc<World>> {
    Router::new().route("/pay/{id}", axum::routing::post(pay_in_button))
}

async fn show(State(world): State<Arc<World>>, Path(id): Path<String>) -> Response<Body> {
    let payment = world.memory().payments.by_id(Provider::Finvypay, &id).cloned();
    let Some(payment) = payment else {
        return page(StatusCode::NOT_FOUND, "No such payment.\n".to_owned());
    };
    let requested = |name| payment.request.text(name).unwrap_or_default();
    let method = match requested("paymentMethod").as_str() {
        "apple_pay" => "Apple Pay".to_owned(),
        "google_pay" => "Google Pay".to_owned(),
        other => other.to_owned(),
    };
    let texts = [
        (
            "amount",
            payment
                .amount()
                .map_or_else(String::new, |amount| amount.get().to_owned()),
        ),
        ("wrong", wrong_amount(&payment).to_owned()),
        ("currency", requested("currency")),
        ("method", method),
        ("order", requested("orderId")),
        ("status", payment.status.to_lowercase()),
        ("id", payment.id.clone()),
    ];
    let texts: Vec<_> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    // Chromium applies form-action also to the redirect after a form.
    let targets: String = ["returnUrl", "cancelUrl"]
        .into_iter()
        .filter_map(|name| reqwest::Url::parse(&requested(name)).ok())
        .map(|url| format!(" {}", url.origin().ascii_serialization()))
        .collect();
    filled_in(&world, "finvypay.html", &texts, &targets).await
}

/// Redirects to the shop's `returnUrl`, or to its `cancelUrl` if nothing was paid.
async fn pay_and_return(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Form(action): Form<BuyerAction>,
) -> Response<Body> {
    let payment = world.memory().payments.by_id(Provider::Finvypay, &id).cloned();
    let Some(payment) = payment else {
        return page(StatusCode::NOT_FOUND, "No such payment.\n".to_owned());
    };
    let returns = payment.request.text("returnUrl");
    let cancels = payment.request.text("cancelUrl").or_else(|| returns.clone());
    let back = if action.outcome.returns() { returns } else { cancels };
    match (perform(&world, &payment, &action).await, back) {
        (Err(problem), _) => page(StatusCode::BAD_REQUEST, format!("{problem}\n")),
        (Ok(()), Some(back)) => Redirect::to(&back).into_response(),
        (Ok(()), None) => page(
            StatusCode::OK,
            "Done. The payment has no URL to return to.\n".to_owned(),
        ),
    }
}

async fn pay_in_button(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Form(action): Form<BuyerAction>,
) -> Response<Body> {
    let payment = world.memory().payments.by_id(Provider::Apolopay, &id).cloned();
    let Some(payment) = payment else {
        return page(StatusCode::NOT_FOUND, "No such process.\n".to_owned());
    };
    match perform(&world, &payment, &action).await {
        Err(problem) => page(StatusCode::BAD_REQUEST, format!("{problem}\n")),
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
    }
}

/// Performs an action of the buyer: sends the webhooks. A late webhook is sent in the background.
async fn perform(world: &Arc<World>, payment: &Payment, action: &BuyerAction) -> Result<(), String> {
    let Some(status) = action.outcome.webhook_status() else {
        return Ok(());
    };
    if action.webhook == WebhookTiming::Never {
        // The status call reports the outcome. It cannot report a wrong amount: it returns the requested one.
        if action.outcome != Outcome::PayWrongAmount {
            let now = clock::to_milliseconds(OffsetDateTime::now_utc());
            let mut memory = world.memory();
            if let Some(payment) = memory.payments.by_id_mut(payment.provider, &payment.id) {
                payment.set_status(&finvypay_status(status), now);
            }
        }
        return Ok(());
    }
    let amount = RawValue::from_string(wrong_amount(payment).to_owned()).ok();
    let webhook = Object::default()
        .with("provider", payment.provider)
        .with("payment", &payment.id)
        .with("outcome", status)
        .with("shape", action.shape)
        .with("times", if action.webhook == WebhookTiming::Twice { 2 } else { 1 })
        .with(
            "delayMs",
            if action.webhook == WebhookTiming::Late {
                LATE_MS
            } else {
                0
            },
        )
        .with_some("amount", amount.filter(|_| action.outcome == Outcome::PayWrongAmount));
    let webhooks: WebhookSpecs = serde_json::from_str(&webhook.to_string()).map_err(|error| error.to_string())?;
    let world = Arc::clone(world);
    let sending = tokio::spawn(async move { delivery::send(&world, webhooks).await });
    if action.webhook == WebhookTiming::Late {
        return Ok(());
    }
    sending.await.map_err(|error| error.to_string())?.map(|_| ())
}

/// An amount that differs from the requested one.
fn wrong_amount(payment: &Payment) -> &'static str {
    let requested = payment.amount();
    if requested.is_some_and(|requested| requested.get() == "1") {
        "2"
    } else {
        "1"
    }
}
