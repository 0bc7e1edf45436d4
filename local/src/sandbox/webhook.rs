//! Specifications of webhooks: content, signature and repetition; and their preparation.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::clock;
use super::config::Config;
use super::http::loopback_problem;
use super::json::{Object, compacted};
use super::payments::{Payment, Payments, Provider};
use super::signature::sign;
use super::webhook_body::{Facts, WebhookShape};

/// A webhook to send. Omitted members come from its payment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WebhookSpec {
    pub(super) provider: Option<Provider>,
    shape: Option<WebhookShape>,
    headers: Option<HeaderSet>,
    /// The id of its payment, if `id` and `orderId` have other values.
    payment: Option<String>,
    id: Option<String>,
    transaction_id: Option<String>,
    order_id: Option<String>,
    #[serde(default = "completed")]
    pub(super) outcome: String,
    amount: Option<Box<RawValue>>,
    currency: Option<String>,
    metadata: Option<Box<RawValue>>,
    at: Option<String>,
    #[serde(default)]
    omit: Vec<String>,
    #[serde(default)]
    extra: Object,
    url: Option<String>,
    #[serde(default)]
    signature: Signature,
    sign_with: Option<String>,
    #[serde(default)]
    pretty: bool,
    body: Option<String>,
    #[serde(default = "once")]
    pub(super) times: u32,
    #[serde(default)]
    pub(super) concurrent: bool,
    #[serde(default)]
    pub(super) delay_ms: u64,
    /// Whether the payment's status at the provider is set too; by default if the webhook is genuine.
    moves: Option<bool>,
}

fn completed() -> String {
    "completed".to_owned()
}

fn once() -> u32 {
    1
}

/// ApoloPay's header sets.
#[derive(Clone, Copy, Debug, Deserialize)]
enum HeaderSet {
    A,
    B,
    #[serde(rename = "both")]
    Both,
}

/// The value of the signature header.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
enum Signature {
    #[default]
    Right,
    /// Wrong, but of the right form.
    Wrong,
    /// With both of ApoloPay's header sets: the documented header is wrong.
    OneWrong,
    Missing,
    Empty,
    OtherSecret,
    Malformed,
    Verbatim(String),
}

/// One spec, or several to send in this order.
#[derive(Clone, Debug)]
pub(super) struct WebhookSpecs(pub(super) Vec<WebhookSpec>);

impl<'de> Deserialize<'de> for WebhookSpecs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let specs = if raw.get().starts_with('[') {
            serde_json::from_str(raw.get())
        } else {
            serde_json::from_str(raw.get()).map(|spec| vec![spec])
        };
        specs.map(Self).map_err(serde::de::Error::custom)
    }
}

impl WebhookSpecs {
    /// The problem of webhooks before a reply of `provider`, if there is one: they must not name the other provider.
    pub(super) fn problem(&self, provider: Provider) -> Option<String> {
        let other = self
            .0
            .iter()
            .any(|spec| spec.provider.is_some_and(|given| given != provider));
        other.then(|| "webhookBeforeReply is sent by the provider that is called".to_owned())
    }

    /// The same webhooks, by default about `payment`.
    pub(super) fn about(mut self, provider: Provider, payment: Option<&str>) -> Self {
        for spec in &mut self.0 {
            spec.provider = Some(provider);
            if spec.payment.is_none() && spec.id.is_none() && spec.order_id.is_none() {
                spec.payment = payment.map(str::to_owned);
            }
        }
        self
    }
}

/// A webhook that is ready to send.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) provider: Provider,
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
    /// The order, if it is known.
    pub(super) order_id: Option<String>,
    /// The payment whose status is set too.
    pub(super) moves: Option<String>,
}

impl WebhookSpec {
    /// Fills in omitted members, creates the body and signs it. The error is a message for the tester.
    pub(super) fn prepare(
        &self,
        payments: &Payments,
        config: &Config,
        now: OffsetDateTime,
    ) -> Result<Prepared, String> {
        let provider = self.provider.ok_or("provider must be given")?;
        let payment = self.find(provider, payments)?;
        let shape = self.shape.unwrap_or(match provider {
            Provider::Apolopay => WebhookShape::A,
            Provider::Finvypay => WebhookShape::W2,
        });
        self.check(provider, shape, payment)?;
        let facts = self.facts(payment);
        let url = match (&self.url, &facts.webhook_url, provider) {
            (Some(url), ..) => url.clone(),
            (None, _, Provider::Apolopay) => config.apolopay_webhook_url.clone(),
            (None, Some(url), Provider::Finvypay) => url.clone(),
            (None, None, Provider::Finvypay) => return Err(unknown_payment("url")),
        };
        if let Some(problem) = loopback_problem(&url) {
            return Err(problem);
        }
        let body = match &self.body {
            Some(body) => body.clone(),
            None => self.build(shape, &facts, now)?,
        };
        let genuine = self.signature == Signature::Right && self.sign_with.is_none() && self.body.is_none();
        Ok(Prepared {
            provider,
            url,
            headers: self.signed_headers(shape, &facts, &body, &config.webhook_secret, now),
            body,
            order_id: facts.order_id,
            moves: payment
                .filter(|_| self.moves.unwrap_or(genuine))
                .map(|payment| payment.id.clone()),
        })
    }

    fn find<'a>(&self, provider: Provider, payments: &'a Payments) -> Result<Option<&'a Payment>, String> {
        if let Some(id) = &self.payment {
            let known = payments.by_id(provider, id);
            return known.map(Some).ok_or_else(|| format!("no payment has the id `{id}`"));
        }
        let by_id = |id: &Option<String>| payments.by_id(provider, id.as_deref()?);
        let by_order = || payments.by_order(provider, self.order_id.as_deref()?);
        Ok(by_id(&self.id)
            .or_else(|| by_id(&self.transaction_id))
            .or_else(by_order))
    }

    fn check(&self, provider: Provider, shape: WebhookShape, payment: Option<&Payment>) -> Result<(), String> {
        if shape.provider() != provider {
            return Err("the shape is the other provider's".to_owned());
        }
        if provider == Provider::Finvypay && self.headers.is_some() {
            return Err("headers are for ApoloPay, which has two sets of them".to_owned());
        }
        if self.signature == Signature::OneWrong && !matches!(self.headers, Some(HeaderSet::Both)) {
            return Err("oneWrong needs \"headers\": \"both\"".to_owned());
        }
        if self.times == 0 {
            return Err("times must be at least 1".to_owned());
        }
        if matches!(shape, WebhookShape::W1 | WebhookShape::W1Wrapped) && self.metadata.is_some() {
            return Err("W1 carries no metadata; extra can add any field".to_owned());
        }
        let other_order = payment.is_some()
            && self
                .order_id
                .as_ref()
                .is_some_and(|order| payment.and_then(|payment| payment.order_id.as_ref()) != Some(order));
        if provider == Provider::Apolopay && other_order && self.metadata.is_none() {
            return Err("ApoloPay names the order in metadata only: give metadata instead of orderId".to_owned());
        }
        let given = [self.shape_fields_given(), !self.omit.is_empty(), self.pretty];
        if self.body.is_some() && given.contains(&true) {
            return Err(
                "body is sent verbatim: amount, currency, metadata, at, extra, omit and pretty have no effect"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn shape_fields_given(&self) -> bool {
        self.amount.is_some()
            || self.currency.is_some()
            || self.metadata.is_some()
            || self.at.is_some()
            || self.extra.members().next().is_some()
    }

    fn facts(&self, payment: Option<&Payment>) -> Facts {
        let requested = |name| payment.and_then(|payment| payment.request.text(name));
        let given = |value: &Option<String>| value.clone();
        let order_in_metadata = || {
            let order_id = self
                .order_id
                .as_ref()
                .filter(|_| self.provider == Some(Provider::Apolopay))?;
            serde_json::value::to_raw_value(&Object::default().with("orderId", order_id)).ok()
        };
        Facts {
            outcome: self.outcome.clone(),
            id: self.payment_id(payment),
            transaction_id: given(&self.transaction_id).or_else(|| payment?.transaction_id.clone()),
            order_id: given(&self.order_id).or_else(|| payment?.order_id.clone()),
            amount: self.amount.clone().or_else(|| payment?.amount()),
            currency: given(&self.currency).or_else(|| requested("currency")),
            metadata: match payment {
                Some(payment) => self.metadata.as_deref().map(compacted).or_else(|| payment.metadata()),
                None => self.metadata.as_deref().map(compacted).or_else(order_in_metadata),
            },
            payment_method: requested("paymentMethod"),
            first_name: requested("firstName"),
            last_name: requested("lastName"),
            email: requested("email"),
            webhook_url: requested("webhookUrl").or_else(|| self.url.clone()),
            at: self.at.clone(),
        }
    }

    /// The payment id to send. A transaction id in `id` only identifies the payment.
    fn payment_id(&self, payment: Option<&Payment>) -> Option<String> {
        let Some(payment) = payment else {
            return self.id.clone();
        };
        let given = self
            .id
            .as_ref()
            .filter(|id| payment.transaction_id.as_ref() != Some(*id));
        Some(given.unwrap_or(&payment.id).clone())
    }

    fn build(&self, shape: WebhookShape, facts: &Facts, now: OffsetDateTime) -> Result<String, String> {
        let mut body = shape.body(facts, now);
        body.merge(&self.extra);
        for name in &self.omit {
            if !remove_field(&mut body, name) {
                return Err(format!("the body has no field `{name}` to omit: {body}"));
            }
        }
        for (field, source) in shape.required() {
            let inner = body.object("data").unwrap_or_default();
            let there = body.get(field).is_some() || inner.get(field).is_some();
            if !there && !self.omit.iter().any(|name| name == field) {
                return Err(unknown_payment(source));
            }
        }
        if shape == WebhookShape::W1Wrapped {
            body = Object::default().with("request", body);
        }
        if self.pretty {
            return serde_json::to_string_pretty(&body).map_err(|error| error.to_string());
        }
        Ok(body.to_string())
    }

    fn signed_headers(
        &self,
        shape: WebhookShape,
        facts: &Facts,
        body: &str,
        secret: &str,
        now: OffsetDateTime,
    ) -> Vec<(&'static str, String)> {
        let right = sign(self.sign_with.as_deref().unwrap_or(secret), body.as_bytes());
        let signature = match &self.signature {
            Signature::Right | Signature::OneWrong => Some(right.clone()),
            Signature::Wrong => Some(wrong(&right)),
            Signature::Missing => None,
            Signature::Empty => Some(String::new()),
            Signature::OtherSecret => Some(sign("whsec_of_someone_else", body.as_bytes())),
            Signature::Malformed => Some("not-a-signature".to_owned()),
            Signature::Verbatim(text) => Some(text.clone()),
        };
        let mut headers = Vec::new();
        let mut add = |name, value: Option<String>| headers.extend(value.map(|value| (name, value)));
        if shape.provider() == Provider::Finvypay {
            add("fs-webhook-hash", signature);
            add(
                "x-transaction-id",
                facts.transaction_id.clone().or_else(|| facts.id.clone()),
            );
            return headers;
        }
        let set = self.headers.unwrap_or(if shape == WebhookShape::B {
            HeaderSet::B
        } else {
            HeaderSet::A
        });
        if matches!(set, HeaderSet::A | HeaderSet::Both) {
            add("X-Signature", signature.clone());
            add("X-Timestamp", Some(clock::to_milliseconds(now)));
        }
        if matches!(set, HeaderSet::B | HeaderSet::Both) {
            let one_wrong = self.signature == Signature::OneWrong;
            add(
                "x-apolopay-signature",
                if one_wrong { Some(wrong(&right)) } else { signature },
            );
        }
        headers
    }
}

/// A signature that differs from the right one in its first digit.
fn wrong(right: &str) -> String {
    let first = if right.starts_with('0') { '1' } else { '0' };
    [first].into_iter().chain(right.chars().skip(1)).collect()
}

/// Removes a field from a body or from its `data`.
fn remove_field(body: &mut Object, name: &str) -> bool {
    if body.remove(name).is_some() {
        return true;
    }
    let Some(mut data) = body.object("data") else {
        return false;
    };
    let found = data.remove(name).is_some();
    body.set("data", data);
    found
}

fn unknown_payment(field: &str) -> String {
    format!("`{field}` must be given: no payment here has that id or order")
}
