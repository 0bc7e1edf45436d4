//! A typed client for the control routes.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::calls::{Call, Calls, InFlight};
use super::chaos::{Chaos, ChaosReport};
use super::delivery::Delivery;
use super::http::loopback_client;
use super::json::Object;
use super::payments::{Payment, Provider};

/// Drives running stand-ins, in this process or in another.
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
    /// They answered something else than was expected.
    #[error("the stand-ins answered something unexpected")]
    Json(#[from] serde_json::Error),
    /// They refused the request, and say why.
    #[error("the stand-ins refused ({status}): {problem}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// A sentence that says what is wrong.
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
    /// When no HTTP client can be made.
    pub fn new(base_url: &str) -> Result<Self, ControlError> {
        Ok(Self {
            base_url: base_url.trim_end_matches('/').to_owned(),
            http: loopback_client()?,
        })
    }

    /// Says what the next create calls of an order get, one reply each.
    ///
    /// # Errors
    /// When the stand-ins refuse it or cannot be reached.
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

    /// Sends a whole script, such as one for status calls. Gives how many of its replies, and of those before it, nobody has
    /// had yet.
    ///
    /// # Errors
    /// When the stand-ins refuse it or cannot be reached.
    pub async fn script(&self, script: &impl Serialize) -> Result<usize, ControlError> {
        self.post::<Waiting>("replies", script)
            .await
            .map(|answer| answer.waiting)
    }

    /// The create calls that were received for an order.
    ///
    /// # Errors
    /// When the stand-ins cannot be reached.
    pub async fn calls(&self, provider: Provider, order_id: &str) -> Result<Calls, ControlError> {
        self.calls_where(provider, order_id, &[]).await
    }

    /// The same with more of the query, such as `[("kind", "status"), ("atLeast", "2"), ("ended", "true")]`.
    ///
    /// # Errors
    /// When there are still not so many after a while, or when the stand-ins cannot be reached.
    pub async fn calls_where(
        &self,
        provider: Provider,
        order_id: &str,
        more: &[(&str, &str)],
    ) -> Result<Calls, ControlError> {
        self.get("calls", provider, order_id, more).await
    }

    /// The create calls that were received for any order, or for none.
    ///
    /// # Errors
    /// When the stand-ins cannot be reached.
    pub async fn all_calls(&self, provider: Provider) -> Result<Vec<Call>, ControlError> {
        self.get_of::<Calls>("calls", provider, &[])
            .await
            .map(|answer| answer.calls)
    }

    /// Sends one webhook or a list of them.
    ///
    /// # Errors
    /// When the stand-ins refuse it or cannot be reached. What the receiver answered is in the deliveries.
    pub async fn webhooks(&self, specs: impl Serialize) -> Result<Vec<Delivery>, ControlError> {
        self.post::<Deliveries>("webhooks", &specs)
            .await
            .map(|answer| answer.deliveries)
    }

    /// The payments of an order at the provider, oldest first.
    ///
    /// # Errors
    /// When the stand-ins cannot be reached.
    pub async fn payments(&self, provider: Provider, order_id: &str) -> Result<Vec<Payment>, ControlError> {
        self.get::<Payments>("payments", provider, order_id, &[])
            .await
            .map(|answer| answer.payments)
    }

    /// The payments of every order at the provider, oldest first.
    ///
    /// # Errors
    /// When the stand-ins cannot be reached.
    pub async fn all_payments(&self, provider: Provider) -> Result<Vec<Payment>, ControlError> {
        self.get_of::<Payments>("payments", provider, &[])
            .await
            .map(|answer| answer.payments)
    }

    /// Has calls meet mishaps by chance from now on, or none any more (the default); gives what it did until now, and
    /// counts anew.
    ///
    /// # Errors
    /// When the stand-ins refuse it or cannot be reached.
    pub async fn chaos(&self, chaos: &Chaos) -> Result<ChaosReport, ControlError> {
        self.post("chaos", chaos).await
    }

    /// What chance did since it was last told to.
    ///
    /// # Errors
    /// When the stand-ins cannot be reached.
    pub async fn chaos_report(&self) -> Result<ChaosReport, ControlError> {
        read(self.http.get(self.url("chaos")?).send().await?).await
    }

    /// How many create calls were in progress at one time, at most, since the stand-ins started.
    ///
    /// # Errors
    /// When the stand-ins cannot be reached.
    pub async fn in_flight(&self, provider: Provider) -> Result<InFlight, ControlError> {
        self.get_of("in-flight", provider, &[]).await
    }

    /// Moves a payment at the provider without a webhook.
    ///
    /// # Errors
    /// When there is no such payment or when the stand-ins cannot be reached.
    pub async fn set_status(&self, provider: Provider, id: &str, status: &str) -> Result<Payment, ControlError> {
        let change = Object::default()
            .with("provider", provider)
            .with("id", id)
            .with("status", status);
        self.post("payments", &change).await
    }

    /// Says which of the merchant's keys a provider takes from now on, and no others.
    ///
    /// # Errors
    /// When the stand-ins cannot be reached.
    pub async fn good_keys(&self, provider: Provider, keys: &[&str]) -> Result<(), ControlError> {
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
