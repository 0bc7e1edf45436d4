//! Scripts: the replies to the next calls of an order, instead of the default reply.

use std::collections::{BTreeMap, HashMap, VecDeque};

use axum::http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::calls::Kind;
use super::canned;
use super::http::RawResponse;
use super::json::Object;
use super::payments::Provider;
use super::webhook::WebhookSpecs;
use super::{apolopay, finvypay};

/// The body of `POST /_control/replies`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Script {
    pub(super) provider: Provider,
    pub(super) order_id: String,
    #[serde(default)]
    pub(super) call: Kind,
    pub(super) idempotency: Option<bool>,
    #[serde(default)]
    pub(super) replies: Vec<Reply>,
}

/// The reply to one call. The default is the documented reply.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Reply {
    // The documented reply, changed.
    shape: Option<Shape>,
    #[serde(default)]
    fields: Object,
    #[serde(default)]
    omit: Vec<String>,
    // Or any response, verbatim.
    status: Option<u16>,
    body: Option<Box<RawValue>>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    // Or a named error.
    pub(super) error: Option<String>,
    // And how it is sent.
    #[serde(default)]
    pub(super) delay_ms: u64,
    #[serde(default)]
    pub(super) hang: bool,
    pub(super) drop: Option<DropPoint>,
    pub(super) create: Option<bool>,
    pub(super) webhook_before_reply: Option<WebhookSpecs>,
}

/// A reply's shape.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) enum Shape {
    /// Both providers: as documented.
    #[default]
    Documented,
    /// ApoloPay: `result.id`, as every official client reads it.
    Observed,
    /// ApoloPay: `result.processId`.
    Mixed,
    /// FinvyPay: as in the older documentation.
    Old,
    /// FinvyPay: a flow without a redirect.
    NoRedirect,
}

/// When the connection is closed.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum DropPoint {
    BeforeReply,
    MidReply,
}

/// The changes to the documented reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changes<'a> {
    pub(super) shape: Shape,
    pub(super) fields: &'a Object,
    pub(super) omit: &'a [String],
}

impl Reply {
    /// The changes to the documented reply.
    pub(super) fn changes(&self) -> Changes<'_> {
        Changes {
            shape: self.shape.unwrap_or_default(),
            fields: &self.fields,
            omit: &self.omit,
        }
    }

    /// Whether the payment exists at the provider after this reply.
    pub(super) fn creates(&self) -> bool {
        self.create.unwrap_or(!self.is_raw() && self.error.is_none())
    }

    /// The response that replaces the documented reply, if the script has one.
    pub(super) fn verbatim(&self, provider: Provider) -> Option<RawResponse> {
        if let Some(name) = &self.error {
            return canned::response(provider, name);
        }
        if !self.is_raw() {
            return None;
        }
        let json = self.body.as_ref().map_or("", |body| body.get());
        let body = serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned());
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        if !headers.iter().any(|(name, _)| name == "content-type") {
            let media_type = if body.starts_with('<') {
                "text/html"
            } else {
                "application/json"
            };
            headers.push(("content-type".to_owned(), format!("{media_type}; charset=utf-8")));
        }
        Some(RawResponse {
            status: self.status.unwrap_or(200),
            headers,
            body,
        })
    }

    fn is_raw(&self) -> bool {
        self.status.is_some() || self.body.is_some() || !self.headers.is_empty()
    }

    fn is_changed(&self) -> bool {
        self.shape.is_some() || self.fields.members().next().is_some() || !self.omit.is_empty()
    }

    /// The problem of an invalid reply, if there is one.
    fn problem(&self, provider: Provider, kind: Kind) -> Option<String> {
        let contents = [self.is_changed(), self.is_raw(), self.error.is_some()];
        if contents.into_iter().filter(|given| *given).count() > 1 {
            return Some("a reply has either shape, fields and omit, or status, body and headers, or error".to_owned());
        }
        if self.hang && self.drop.is_some() {
            return Some("a reply either hangs or drops".to_owned());
        }
        if kind != Kind::Create && (self.shape.is_some() || self.create.is_some()) {
            return Some("shape and create are for create calls".to_owned());
        }
        if kind == Kind::List && self.is_changed() {
            return Some("fields and omit are not for lists, which hold any number of payments".to_owned());
        }
        self.shape_problem(provider)
            .or_else(|| self.name_problem(provider, kind))
            .or_else(|| self.raw_problem())
            .or_else(|| self.webhook_before_reply.as_ref()?.problem(provider))
    }

    fn shape_problem(&self, provider: Provider) -> Option<String> {
        let fits = match self.shape? {
            Shape::Documented => true,
            Shape::Observed | Shape::Mixed => provider == Provider::Apolopay,
            Shape::Old | Shape::NoRedirect => provider == Provider::Finvypay,
        };
        (!fits).then(|| "the shape is the other provider's".to_owned())
    }

    fn name_problem(&self, provider: Provider, kind: Kind) -> Option<String> {
        let known = match (provider, kind) {
            (Provider::Apolopay, _) => apolopay::REPLY_FIELDS,
            (Provider::Finvypay, Kind::Create) => finvypay::REPLY_FIELDS,
            (Provider::Finvypay, _) => finvypay::STATUS_FIELDS,
        };
        let mut names = self
            .fields
            .members()
            .map(|(name, _)| name)
            .chain(self.omit.iter().map(String::as_str));
        if let Some(name) = names.find(|name| !known.contains(name)) {
            return Some(format!("the reply has no field `{name}`; it has {}", known.join(", ")));
        }
        let error = self.error.as_deref()?;
        canned::response(provider, error).is_none().then(|| {
            format!(
                "no error is called `{error}`; known are {}",
                canned::names(provider).join(", ")
            )
        })
    }

    fn raw_problem(&self) -> Option<String> {
        if let Some(status) = self.status.filter(|status| !(200..=599).contains(status)) {
            return Some(format!("{status} is not the status of a response"));
        }
        let bad = self.headers.iter().find(|(name, value)| {
            HeaderName::try_from(name.as_str()).is_err() || HeaderValue::try_from(value.as_str()).is_err()
        });
        bad.map(|(name, _)| format!("`{name}` cannot be sent as a header"))
    }
}

impl Script {
    /// The problem of an invalid script, if there is one.
    pub(super) fn problem(&self) -> Option<String> {
        if self.call == Kind::Unknown {
            return Some("only create, status and list calls can be scripted".to_owned());
        }
        if self.provider == Provider::Apolopay && self.call != Kind::Create {
            return Some("ApoloPay has no status call and no list".to_owned());
        }
        if self.provider == Provider::Apolopay && self.idempotency.is_some() {
            return Some("ApoloPay has no idempotency key".to_owned());
        }
        self.replies
            .iter()
            .find_map(|reply| reply.problem(self.provider, self.call))
    }
}

/// All scripts, by order.
#[derive(Debug, Default)]
pub(super) struct Scripts(HashMap<(Provider, String), OrderScript>);

#[derive(Debug, Default)]
struct OrderScript {
    create: VecDeque<Reply>,
    status: VecDeque<Reply>,
    list: VecDeque<Reply>,
    ignores_keys: bool,
}

impl OrderScript {
    fn replies(&mut self, kind: Kind) -> Option<&mut VecDeque<Reply>> {
        match kind {
            Kind::Create => Some(&mut self.create),
            Kind::Status => Some(&mut self.status),
            Kind::List => Some(&mut self.list),
            Kind::Unknown => None,
        }
    }
}

impl Scripts {
    /// Adds replies behind an order's unused ones. Returns how many are unused.
    pub(super) fn add(&mut self, script: Script) -> usize {
        let order = self.0.entry((script.provider, script.order_id)).or_default();
        if let Some(idempotency) = script.idempotency {
            order.ignores_keys = !idempotency;
        }
        let Some(replies) = order.replies(script.call) else {
            return 0;
        };
        replies.extend(script.replies);
        replies.len()
    }

    /// Takes the reply for the next call of an order, or the next list of no order, which is scripted for the order "".
    pub(super) fn next(&mut self, provider: Provider, kind: Kind, order_id: Option<&str>) -> Option<Reply> {
        let order_id = order_id.or((kind == Kind::List).then_some(""))?;
        let order = self.0.get_mut(&(provider, order_id.to_owned()))?;
        order.replies(kind)?.pop_front()
    }

    /// Whether the provider honours the idempotency keys of an order.
    pub(super) fn honours_keys(&self, provider: Provider, order_id: Option<&str>) -> bool {
        let order = order_id.and_then(|order_id| self.0.get(&(provider, order_id.to_owned())));
        order.is_none_or(|order| !order.ignores_keys)
    }
}
