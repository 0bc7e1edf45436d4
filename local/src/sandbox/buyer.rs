//! What a buyer does at a provider: FinvyPay's page, to which one is redirected, and what ApoloPay's button would show.
//!
//! Whoever plays the buyer also says when the webhook comes, so that every order of events can be seen.

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
use super::webhook_body::{WebhookShape, finvypay_word};
use super::world::World;
use super::{clock, delivery};

/// How long a late webhook takes.
const LATE_MS: u32 = 2_000;

/// What the form of the page sends.
#[derive(Deserialize)]
struct Deed {
    outcome: Outcome,
    webhook: When,
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
    /// The buyer goes, and the provider has nothing to tell.
    Leave,
}

#[derive(Clone, Copy, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
enum When {
    /// Before the buyer is back in the shop.
    AtOnce,
    Late,
    Twice,
    Never,
}

impl Outcome {
    /// The webhook's word for it.
    fn word(self) -> Option<&'static str> {
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

/// FinvyPay's page.
pub(super) fn finvypay_routes() -> Router<Arc<World>> {
    Router::new().route("/pay/{id}", get(show).post(pay_and_return))
}

/// What ApoloPay's button would do.
pub(super) fn apolopay_routes() -> Router<Arc<World>> {
    Router::new().route("/pay/{id}", axum::routing::post(pay_in_button))
}

async fn show(State(world): State<Arc<World>>, Path(id): Path<String>) -> Response<Body> {
    let payment = world.memory().payments.by_id(Provider::Finvypay, &id).cloned();
    let Some(payment) = payment else {
        return page(StatusCode::NOT_FOUND, "No such payment.\n".to_owned());
    };
    let asked = |name| payment.request.text(name).unwrap_or_default();
    let method = match asked("paymentMethod").as_str() {
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
        ("currency", asked("currency")),
        ("method", method),
        ("order", asked("orderId")),
        ("status", payment.status.to_lowercase()),
        ("id", payment.id.clone()),
    ];
    let texts: Vec<_> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    // Chromium applies form-action to where the answer to a form redirects, too.
    let targets: String = ["returnUrl", "cancelUrl"]
        .into_iter()
        .filter_map(|name| reqwest::Url::parse(&asked(name)).ok())
        .map(|url| format!(" {}", url.origin().ascii_serialization()))
        .collect();
    filled_in(&world, "finvypay.html", &texts, &targets).await
}

/// Back to the shop by its `returnUrl`, or by its `cancelUrl` where nothing was paid.
async fn pay_and_return(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Form(deed): Form<Deed>,
) -> Response<Body> {
    let payment = world.memory().payments.by_id(Provider::Finvypay, &id).cloned();
    let Some(payment) = payment else {
        return page(StatusCode::NOT_FOUND, "No such payment.\n".to_owned());
    };
    let returns = payment.request.text("returnUrl");
    let cancels = payment.request.text("cancelUrl").or_else(|| returns.clone());
    let back = if deed.outcome.returns() { returns } else { cancels };
    match (play(&world, &payment, &deed).await, back) {
        (Err(problem), _) => page(StatusCode::BAD_REQUEST, format!("{problem}\n")),
        (Ok(()), Some(back)) => Redirect::to(&back).into_response(),
        (Ok(()), None) => page(StatusCode::OK, "Done. There is nowhere to return to.\n".to_owned()),
    }
}

async fn pay_in_button(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Form(deed): Form<Deed>,
) -> Response<Body> {
    let payment = world.memory().payments.by_id(Provider::Apolopay, &id).cloned();
    let Some(payment) = payment else {
        return page(StatusCode::NOT_FOUND, "No such process.\n".to_owned());
    };
    match play(&world, &payment, &deed).await {
        Err(problem) => page(StatusCode::BAD_REQUEST, format!("{problem}\n")),
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
    }
}

/// Sends what there is to send. A late webhook outlives the request that asked for it.
async fn play(world: &Arc<World>, payment: &Payment, deed: &Deed) -> Result<(), String> {
    let Some(word) = deed.outcome.word() else {
        return Ok(());
    };
    if deed.webhook == When::Never {
        // The provider knows, and tells whoever asks. Of a wrong amount it could not: its answer names what was asked for.
        if deed.outcome != Outcome::PayWrongAmount {
            let now = clock::to_milliseconds(OffsetDateTime::now_utc());
            let mut memory = world.memory();
            if let Some(payment) = memory.payments.by_id_mut(payment.provider, &payment.id) {
                payment.set_status(&finvypay_word(word), now);
            }
        }
        return Ok(());
    }
    let amount = RawValue::from_string(wrong_amount(payment).to_owned()).ok();
    let webhook = Object::default()
        .with("provider", payment.provider)
        .with("payment", &payment.id)
        .with("outcome", word)
        .with("shape", deed.shape)
        .with("times", if deed.webhook == When::Twice { 2 } else { 1 })
        .with("delayMs", if deed.webhook == When::Late { LATE_MS } else { 0 })
        .with_some("amount", amount.filter(|_| deed.outcome == Outcome::PayWrongAmount));
    let webhooks: WebhookSpecs = serde_json::from_str(&webhook.to_string()).map_err(|error| error.to_string())?;
    let world = Arc::clone(world);
    let sending = tokio::spawn(async move { delivery::send(&world, webhooks).await });
    if deed.webhook == When::Late {
        return Ok(());
    }
    sending.await.map_err(|error| error.to_string())?.map(|_| ())
}

/// Other money than was asked for.
fn wrong_amount(payment: &Payment) -> &'static str {
    let asked = payment.amount();
    if asked.is_some_and(|asked| asked.get() == "1") {
        "2"
    } else {
        "1"
    }
}
