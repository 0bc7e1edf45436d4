//! Notifications: what a provider reports about a payment, by a webhook or in response to a status query.

use lambda_http::http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::domain::decimal::Decimal;
use crate::domain::fact::{Fact, Outcome};
use crate::domain::id::PaymentId;
use crate::domain::json::{Json, Object};
use crate::domain::webhook_signature::Signature;

/// The member of the provider's `metadata` that contains our payment id.
pub const PAYMENT_ID_MEMBER: &str = "paymentFunctionsId";

/// A verified fact, and our id of its payment if the provider returned that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Our payment id from the provider's metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<PaymentId>,
    /// The reported fact.
    pub fact: Fact,
}

/// A signed webhook body cannot be read. The text says what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnreadableWebhook(pub &'static str);

/// How to read a provider's webhooks.
#[derive(Debug)]
pub struct Webhooks {
    /// The headers that may contain a signature. Each one that is present must verify.
    pub signature_headers: &'static [&'static str],
    pub(super) read: fn(&Object) -> Result<Notification, UnreadableWebhook>,
}

impl Webhooks {
    /// The signatures in the headers, at least one. `None` if there is none, or one is malformed.
    pub fn signatures(&self, headers: &HeaderMap) -> Option<Vec<Signature>> {
        let values = self.signature_headers.iter().flat_map(|name| headers.get_all(*name));
        let signatures: Vec<Signature> = values
            .map(|value| Signature::parse(value.to_str().ok()?))
            .collect::<Option<_>>()?;
        (!signatures.is_empty()).then_some(signatures)
    }

    /// Reads a body whose signature has been verified.
    ///
    /// # Errors
    /// [`UnreadableWebhook`] if the body is not a JSON object, names neither a payment nor an order, or has no status.
    pub fn read(&self, body: &[u8]) -> Result<Notification, UnreadableWebhook> {
        let json = Json::parse(body).map_err(|_| UnreadableWebhook("the body is not JSON"))?;
        let object = json
            .as_object()
            .ok_or(UnreadableWebhook("the body is not a JSON object"))?;
        let notification = (self.read)(object)?;
        let fact = &notification.fact;
        if notification.payment_id.is_none() && fact.references().next().is_none() && fact.order_id.is_none() {
            return Err(UnreadableWebhook("the body names no payment"));
        }
        if fact.raw_status.is_empty() {
            return Err(UnreadableWebhook("the body names neither a status nor an event"));
        }
        Ok(notification)
    }
}

/// The maximum number of characters of a notification's status names that are stored.
const MAX_RAW_STATUS_LENGTH: usize = 100;

/// The outcome of all status names in a notification, and the names joined by spaces.
///
/// `outcome` maps one name to its outcome. Unrecognised or contradictory names count as [`Outcome::Unrecognised`].
pub(super) fn combined_outcome(names: &[&str], outcome: fn(&str) -> Option<Outcome>) -> (Outcome, String) {
    let mut outcomes = names.iter().map(|name| outcome(name));
    let first = outcomes.next().flatten();
    let agreed = first.filter(|_| outcomes.all(|outcome| outcome == first));
    (
        agreed.unwrap_or(Outcome::Unrecognised),
        names.join(" ").chars().take(MAX_RAW_STATUS_LENGTH).collect(),
    )
}

/// Reads an amount in major units from a number or a string.
pub(super) fn read_amount(value: Option<&Json>) -> Option<Decimal> {
    match value? {
        Json::Number(text) | Json::String(text) => Decimal::parse(text),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

/// Our payment id in the provider's metadata.
pub(super) fn payment_id_in(metadata: Option<&Object>) -> Option<PaymentId> {
    PaymentId::parse(metadata?.str(PAYMENT_ID_MEMBER)?)
}
