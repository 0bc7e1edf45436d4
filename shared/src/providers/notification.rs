//! Notifications: what a provider reports about a payment, by a webhook or in response to a status query.

use std::borrow::Cow;

use lambda_http::http::HeaderMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::decimal::Decimal;
use crate::domain::fact::{Fact, Outcome, Reversal};
use crate::domain::id::PaymentId;
use crate::domain::json::{Json, Object};
use crate::domain::redaction::is_word;
use crate::domain::time::Timestamp;
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

impl Notification {
    /// Whether it has the order, but not our payment id. While none of its ids is known, only the order is left.
    pub fn names_only_an_order(&self) -> bool {
        self.payment_id.is_none() && self.fact.order_id.is_some()
    }

    /// Whether it is a claim: a completion that names only an order.
    pub fn is_claim(&self) -> bool {
        self.names_only_an_order() && self.fact.outcome == Outcome::Completed
    }
}

/// Why a signed webhook body is not a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableWebhook {
    /// It is not JSON, or has a duplicate member.
    #[error("the body is not JSON")]
    NotJson,
    /// It is other JSON than an object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// It names no payment, no transaction and no order in a readable way.
    #[error("the body names no payment")]
    NoPayment,
    /// It names no status.
    #[error("the body names neither a status nor an event")]
    NoStatus,
    /// It is the provider's test message: a part of its status, event or type is `test` or `ping`, and it does not name
    /// our payment id.
    #[error("the body is a test message")]
    TestMessage,
}

/// How to read a provider's webhooks.
#[derive(Debug)]
pub struct Webhooks {
    /// The headers that may contain a signature. Each one that is present must verify.
    pub signature_headers: &'static [&'static str],
    pub(super) read: fn(&Object, Timestamp) -> Result<Notification, UnreadableWebhook>,
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

    /// Reads a body whose signature has been verified, as liberally as [`Json::parse_liberal`].
    ///
    /// # Errors
    /// [`UnreadableWebhook`] if the body is not a JSON object, names neither a payment nor an order, has no status, or
    /// is a test message.
    pub fn read(&self, body: &[u8], received_at: Timestamp) -> Result<Notification, UnreadableWebhook> {
        let json = Json::parse_liberal(body).map_err(|_| UnreadableWebhook::NotJson)?;
        self.read_json(&json, received_at)
    }

    /// Reads a parsed body.
    ///
    /// # Errors
    /// As for [`Webhooks::read`].
    pub fn read_json(&self, json: &Json, received_at: Timestamp) -> Result<Notification, UnreadableWebhook> {
        let object = json.as_object().ok_or(UnreadableWebhook::NotAnObject)?;
        let notification = (self.read)(object, received_at)?;
        let fact = &notification.fact;
        if notification.payment_id.is_none() && fact.references().next().is_none() && fact.order_id.is_none() {
            return Err(UnreadableWebhook::NoPayment);
        }
        if fact.raw_status.is_empty() {
            return Err(UnreadableWebhook::NoStatus);
        }
        Ok(notification)
    }
}

/// The maximum number of characters of a notification's status names that are stored.
const MAX_RAW_STATUS_LENGTH: usize = 100;

/// The maximum number of characters of an amount in its shortest notation. No amount has as many.
const MAX_AMOUNT_LENGTH: usize = 64;

/// The outcome of all status names in a notification, and the names joined by spaces.
///
/// `outcome` maps one name to its outcome. An unrecognised name makes the whole unrecognised; names that contradict one
/// another make it contradictory. At most 100 characters of the names are kept. Of a text that is not a word only a
/// digest is kept, because it may be about the buyer.
fn combined_outcome(names: &[&str], outcome: fn(&str) -> Option<Outcome>) -> (Outcome, String) {
    let outcomes: Option<Vec<Outcome>> = names.iter().map(|name| outcome(name)).collect();
    let combined = match outcomes.as_deref() {
        None | Some([]) => Outcome::Unrecognised,
        Some([first, others @ ..]) if others.iter().all(|other| other == first) => *first,
        Some(_) => Outcome::Contradictory,
    };
    let shown: Vec<Cow<'_, str>> = names.iter().map(|name| word_or_digest(name)).collect();
    (combined, shown.join(" ").chars().take(MAX_RAW_STATUS_LENGTH).collect())
}

/// A word itself. Of any other text `text:` and the first 16 hex digits of its SHA-256, so that different texts differ.
fn word_or_digest(name: &str) -> Cow<'_, str> {
    if is_word(name) {
        return Cow::Borrowed(name);
    }
    let digest = hex::encode(Sha256::digest(name));
    Cow::Owned(format!("text:{}", digest.get(..16).unwrap_or_default()))
}

/// As [`combined_outcome`], but a completion or an authorization beside `contradictions` is contradictory. They are
/// then appended to the names, so that such a fact differs from any other. `contradictions` is empty or begins with a
/// space.
///
/// A notification with `reversals` is [`Outcome::Reversed`], except that a pending, cancelled or failed one stays what it
/// is, and a completion or an authorization whose reversals were all undone is [`Outcome::Contradictory`]. Without names
/// it has those of their kinds.
pub(super) fn believed_outcome(
    names: &[&str],
    contradictions: &str,
    reversals: &[Reversal],
    outcome: fn(&str) -> Option<Outcome>,
) -> (Outcome, String) {
    let (believed, shown) = outcome_beside(names, contradictions, outcome);
    if reversals.is_empty() {
        return (believed, shown);
    }
    let kinds: Vec<&str> = reversals.iter().map(|reversal| reversal.kind.name()).collect();
    let shown = if shown.is_empty() { kinds.join(" ") } else { shown };
    let are_all_undone = reversals.iter().all(|reversal| reversal.undone);
    let believed = match believed {
        Outcome::Pending | Outcome::Cancelled | Outcome::Failed => believed,
        Outcome::Completed | Outcome::Authorized | Outcome::Contradictory if are_all_undone => Outcome::Contradictory,
        Outcome::Completed
        | Outcome::Authorized
        | Outcome::Contradictory
        | Outcome::Unrecognised
        | Outcome::Reversed => Outcome::Reversed,
    };
    (believed, shown)
}

fn outcome_beside(names: &[&str], contradictions: &str, outcome: fn(&str) -> Option<Outcome>) -> (Outcome, String) {
    let (combined, names) = combined_outcome(names, outcome);
    let is_contradicted = matches!(
        combined,
        Outcome::Completed | Outcome::Authorized | Outcome::Contradictory
    );
    if contradictions.is_empty() || !is_contradicted {
        return (combined, names);
    }
    let room = MAX_RAW_STATUS_LENGTH.saturating_sub(contradictions.chars().count());
    let shown = names.chars().take(room).chain(contradictions.chars());
    (Outcome::Contradictory, shown.take(MAX_RAW_STATUS_LENGTH).collect())
}

/// Reads an amount in major units from a number or a string. `None` if it is neither, or absurdly long.
pub(super) fn read_amount(value: Option<&Json>) -> Option<Decimal> {
    match value? {
        Json::Number(text) | Json::String(text) => {
            Decimal::parse(text).filter(|amount| amount.to_string().len() <= MAX_AMOUNT_LENGTH)
        }
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

/// Our payment id in the provider's metadata, without outer blanks.
pub(super) fn payment_id_in(metadata: Option<&Object>) -> Option<PaymentId> {
    PaymentId::parse(metadata?.str(PAYMENT_ID_MEMBER)?.trim())
}

#[cfg(test)]
mod tests;
