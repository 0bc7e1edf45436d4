//! A typed client for the control routes.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::calls::{Call, Calls, InFlight};
use super::chaos::{Chaos, ChaosReport};
use super::delivery::Delivery;
use super::finvypay_list::ListMode;
use super::http::loopback_client;
use super::json::Object;
use super::payments::{Payment, Provider};
use super::rate_limit::{RateLimit, RateLimitReport};
use super::seed::Seed;

/// Controls running stand-ins, in this process or another.
#[derive(Clone, Debug)]
pub struct Control {
    base_url: String,
    http: reqwest::Client,
}

/// Why a control request failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The stand-ins could not be reached.
    #[error("the stand-ins cannot be reached")]
    Http(#[from] reqwest::Error),
    /// Their response was not as expected.
    #[error("unexpected response of the stand-ins")]
    Json(#[from] serde_json::Error),
    /// They refused the request.
    #[error("the stand-ins refused ({status}): {problem}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The reason.
        problem: String,
    },
}

#[derive(Deserialize)]
struct Waiting {
    waiting: usize,
}

#[derive(Deserialize)]
struct Deliveries {
    deliveries: Vec<Delivery>,
}

#[derive(Deserialize)]
struct Payments {
    payments: Vec<Payment>,
}

impl Control {
    /// A client for the stand-ins at `base_url`, such as `http://127.0.0.1:4010`.
    ///
    /// # Errors
    /// If no HTTP client can be created.
    pub fn new(base_url: &str) -> Result<Self, ControlError> {
        Ok(Self {
            base_url: base_url.trim_end_matches('/').to_owned(),
            http: loopback_client()?,
        })
    }

    /// Scripts the replies to the next create calls of an order, one for each call.
    ///
    /// # Errors
    /// If the stand-ins refuse it or cannot be reached.
    pub async fn replies(
        &self,
        provider: Provider,
        order_id: &str,
        replies: impl Serialize,
    ) -> Result<(), ControlError> {
        let script = Object::default()
            .with("provider", provider)
            .with("orderId", order_id)
            .with("replies", replies);
        self.script(&script).await.map(drop)
    }

    /// Sends a whole script, such as one for status calls. Returns how many scripted replies are unused, including
    /// earlier ones.
    ///
    /// # Errors
    /// If the stand-ins refuse it or cannot be reached.
    pub async fn script(&self, script: &impl Serialize) -> Result<usize, ControlError> {
        self.post::<Waiting>("replies", script)
            .await
            .map(|response| response.waiting)
    }

    /// The create calls for an order.
    ///
    /// # Errors
    /// If the stand-ins cannot be reached.
    pub async fn calls(&self, provider: Provider, order_id: &str) -> Result<Calls, ControlError> {
        self.calls_where(provider, order_id, &[]).await
    }

    /// The calls for an order, with further query parameters such as
    /// `[("kind", "status"), ("atLeast", "2"), ("ended", "true")]`.
    ///
    /// # Errors
    /// If there are not that many in time, or the stand-ins cannot be reached.
    pub async fn calls_where(
        &self,
        provider: Provider,
        order_id: &str,
        more: &[(&str, &str)],
    ) -> Result<Calls, ControlError> {
        self.get("calls", provider, order_id, more).await
    }

    /// All create calls, with or without an order.
    ///
    /// # Errors
    /// If the stand-ins cannot be reached.
    pub async fn all_calls(&self, provider: Provider) -> Result<Vec<Call>, ControlError> {
        self.get_of::<Calls>("calls", provider, &[])
            .await
            .map(|response| response.calls)
    }

    /// Sends one webhook, or several in order.
    ///
    /// # Errors
    /// If the stand-ins refuse it or cannot be reached. The receiver's responses are in the deliveries.
    pub async fn webhooks(&self, specs: impl Serialize) -> Result<Vec<Delivery>, ControlError> {
        self.post::<Deliveries>("webhooks", &specs)
            .await
            .map(|response| response.deliveries)
    }

    /// The payments of an order at the provider, oldest first.
    ///
    /// # Errors
    /// If the stand-ins cannot be reached.
    pub async fn payments(&self, provider: Provider, order_id: &str) -> Result<Vec<Payment>, ControlError> {
        self.get::<Payments>("payments", provider, order_id, &[])
            .await
            .map(|response| response.payments)
    }

    /// The payments of every order at the provider, oldest first.
    ///
    /// # Errors
    /// If the stand-ins cannot be reached.
    pub async fn all_payments(&self, provider: Provider) -> Result<Vec<Payment>, ControlError> {
        self.get_of::<Payments>("payments", provider, &[])
            .await
            .map(|response| response.payments)
    }

    /// Injects random faults into calls from now on; with the default, none. Returns the report until now and resets
    /// it.
    ///
    /// # Errors
    /// If the stand-ins refuse it or cannot be reached.
    pub async fn chaos(&self, chaos: &Chaos) -> Result<ChaosReport, ControlError> {
        self.post("chaos", chaos).await
    }

    /// The faults injected since the last [`Control::chaos`].
    ///
    /// # Errors
    /// If the stand-ins cannot be reached.
    pub async fn chaos_report(&self) -> Result<ChaosReport, ControlError> {
        read(self.http.get(self.url("chaos")?).send().await?).await
    }

    /// Sets the modes of FinvyPay's list; with none, it is as documented.
    ///
    /// # Errors
    /// If the stand-ins cannot be reached.
    pub async fn list_modes(&self, modes: &[ListMode]) -> Result<(), ControlError> {
        let modes = Object::default().with("modes", modes);
        self.post::<Object>("list", &modes).await.map(|_| ())
    }

    /// Limits the calls to FinvyPay from now on; with the default, not at all. Returns the report until now and resets
    /// it.
    ///
    /// # Errors
    /// If the stand-ins cannot be reached.
    pub async fn rate_limit(&self, limit: &RateLimit) -> Result<RateLimitReport, ControlError> {
        self.post("rate-limit", limit).await
    }

    /// The calls counted since the last [`Control::rate_limit`].
    ///
    /// # Errors
    /// If the stand-ins cannot be reached.
    pub async fn rate_limit_report(&self) -> Result<RateLimitReport, ControlError> {
        read(self.http.get(self.url("rate-limit")?).send().await?).await
    }

    /// Adds payments at FinvyPay, without calls and webhooks.
    ///
    /// # Errors
    /// If there is a payment with one of the ids, or the stand-ins refuse it or cannot be reached.
    pub async fn seed(&self, seed: &Seed) -> Result<(), ControlError> {
        self.post::<Object>("seed", seed).await.map(|_| ())
    }

    /// The greatest number of concurrent create calls since the stand-ins started.
    ///
    /// # Errors
    /// If the stand-ins cannot be reached.
    pub async fn in_flight(&self, provider: Provider) -> Result<InFlight, ControlError> {
        self.get_of("in-flight", provider, &[]).await
    }

    /// Sets a payment's status at the provider, without a webhook.
    ///
    /// # Errors
    /// If there is no such payment, or the stand-ins cannot be reached.
    pub async fn set_status(&self, provider: Provider, id: &str, status: &str) -> Result<Payment, ControlError> {
        let change = Object::default()
            .with("provider", provider)
            .with("id", id)
            .with("status", status);
        self.set_payment(&change).await
    }

    /// Changes a payment at the provider, without a webhook: `provider` and `id`, and of `status`, `statusIds` and
    /// `extra` (what FinvyPay's status shows beside it) those that change.
    ///
    /// # Errors
    /// If there is no such payment, or the stand-ins refuse it or cannot be reached.
    pub async fn set_payment(&self, change: &impl Serialize) -> Result<Payment, ControlError> {
        self.post("payments", change).await
    }

    /// Sets which of the merchant's keys a provider accepts from now on.
    ///
    /// # Errors
    /// If the stand-ins cannot be reached.
    pub async fn accept_keys(&self, provider: Provider, keys: &[&str]) -> Result<(), ControlError> {
        let keys = Object::default().with("provider", provider).with("keys", keys);
        self.post::<Object>("keys", &keys).await.map(|_| ())
    }

    async fn get<T: DeserializeOwned>(
        &self,
        route: &str,
        provider: Provider,
        order_id: &str,
        more: &[(&str, &str)],
    ) -> Result<T, ControlError> {
        self.get_of(route, provider, &[&[("orderId", order_id)], more].concat())
            .await
    }

    async fn get_of<T: DeserializeOwned>(
        &self,
        route: &str,
        provider: Provider,
        query: &[(&str, &str)],
    ) -> Result<T, ControlError> {
        let mut url = self.url(route)?;
        url.query_pairs_mut()
            .append_pair("provider", name(provider))
            .extend_pairs(query);
        read(self.http.get(url).send().await?).await
    }

    async fn post<T: DeserializeOwned>(&self, route: &str, body: &impl Serialize) -> Result<T, ControlError> {
        read(self.http.post(self.url(route)?).json(body).send().await?).await
    }

    fn url(&self, route: &str) -> Result<reqwest::Url, ControlError> {
        let url = format!("{}/_control/{route}", self.base_url);
        reqwest::Url::parse(&url).map_err(|error| ControlError::Refused {
            status: 0,
            problem: format!("{url}: {error}"),
        })
    }
}

fn name(provider: Provider) -> &'static str {
    match provider {
        Provider::Apolopay => "apolopay",
        Provider::Finvypay => "finvypay",
    }
}

async fn read<T: DeserializeOwned>(response: reqwest::Response) -> Result<T, ControlError> {
    let status = response.status();
    let body = response.text().await?;
    if status.is_success() {
        return Ok(serde_json::from_str(&body)?);
    }
    let problem = serde_json::from_str::<Object>(&body)
        .ok()
        .and_then(|error| error.text("error"))
        .unwrap_or(body);
    Err(ControlError::Refused {
        status: status.as_u16(),
        problem,
    })
}
