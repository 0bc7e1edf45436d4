//! The payment providers, each in a place of its own: how it is called, what it replies, what its webhooks look like,
//! and its words.
//!
//! A new provider is a new module with the same parts (`webhook`, `client`), a [`Provider`] variant, and the arms that
//! the compiler then asks for: docs/adding-a-provider.md goes through it step by step.

pub mod apolopay;
pub mod finvypay;
#[cfg(feature = "provider-client")]
pub mod gateway;
#[cfg(test)]
pub(crate) mod vectors;

use std::time::Duration;

use lambda_http::http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::id::{PaymentId, Provider};
use crate::json::{Json, Object};
use crate::money::{Currency, Decimal};
use crate::payment::{Fact, Outcome};
use crate::signature::Signature;

/// The member of a provider's `metadata` in which our payment id travels there and back.
pub const OUR_ID: &str = "paymentFunctionsId";

/// A verified webhook: a fact, and the payment it says it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The payment named by our own id in the metadata that came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<PaymentId>,
    /// What it says.
    pub fact: Fact,
}

/// The body of a webhook is signed, but says nothing that could be kept. The text says what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub &'static str);

/// How a provider's webhooks are recognised and read.
#[derive(Debug)]
pub struct Webhooks {
    /// The headers that may carry the signature; every one that is there must verify.
    pub signature_headers: &'static [&'static str],
    read: fn(&Object) -> Result<Event, Unusable>,
}

impl Webhooks {
    /// The signatures that came, one at least. `None` where there is none, or one is malformed.
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
    /// [`Unusable`] where the body is not a JSON object, or names neither a payment nor an order, or says nothing of
    /// it.
    pub fn read(&self, body: &[u8]) -> Result<Event, Unusable> {
        let json = Json::parse(body).map_err(|_| Unusable("the body is not JSON"))?;
        let event = (self.read)(json.as_object().ok_or(Unusable("the body is not a JSON object"))?)?;
        let fact = &event.fact;
        if event.payment_id.is_none() && fact.references().next().is_none() && fact.order_id.is_none() {
            return Err(Unusable("the body names no payment"));
        }
        if fact.words.is_empty() {
            return Err(Unusable("the body names neither a status nor an event"));
        }
        Ok(event)
    }
}

/// What is particular to a provider, beside how it is called.
#[derive(Debug)]
pub struct Profile {
    /// The one currency of its amounts, where its messages name none.
    pub only_currency: Option<Currency>,
    /// How its id of a payment is shown.
    pub shown_id: ShownId,
    /// For how long a buyer may pay, where it names no moment itself.
    pub life: Duration,
    /// How much longer a payment is waited for before it counts as expired.
    pub grace: Duration,
    /// Whether it tells what became of a payment when it is asked. One that does not has nothing but its webhooks, and
    /// what they do not settle only a person can.
    pub can_be_asked: bool,
    /// Whether the transaction that a payment became has an id of its own.
    pub has_transactions: bool,
    /// Whether some of its webhooks name nothing of ours but the order.
    pub may_name_only_the_order: bool,
    /// How its webhooks look.
    pub webhooks: Webhooks,
}

/// How a provider's id of a payment is shown to a browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownId {
    /// As `processId`, also by `GET` while the buyer can pay: without it the browser cannot go on.
    ProcessId,
    /// As `paymentId`, when the payment is created: the buyer goes on by a redirect.
    PaymentId,
}

impl Provider {
    /// What is particular to it.
    pub const fn profile(self) -> &'static Profile {
        match self {
            Self::ApoloPay => &apolopay::PROFILE,
            Self::FinvyPay => &finvypay::PROFILE,
        }
    }
}

/// The most characters of a webhook's words that are kept; every documented word is shorter by far.
const MAX_WORDS: usize = 100;

/// What a webhook's words say together. Words that contradict one another, or that are not known, say nothing: never
/// guess that money moved.
fn outcome_of(words: &[&str], known: fn(&str) -> Option<Outcome>) -> (Outcome, String) {
    let mut outcomes = words.iter().map(|word| known(word));
    let first = outcomes.next().flatten();
    let agreed = first.filter(|_| outcomes.all(|outcome| outcome == first));
    (
        agreed.unwrap_or(Outcome::Unrecognised),
        words.join(" ").chars().take(MAX_WORDS).collect(),
    )
}

/// An amount given as a number or as a string of one.
fn read_amount(value: Option<&Json>) -> Option<Decimal> {
    match value? {
        Json::Number(text) | Json::String(text) => Decimal::parse(text),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

/// Our payment id in the metadata that a provider sent back.
fn our_id(metadata: Option<&Object>) -> Option<PaymentId> {
    PaymentId::parse(metadata?.str(OUR_ID)?)
}

#[cfg(test)]
mod tests {
    use lambda_http::http::HeaderValue;

    use super::*;

    /// How many signatures are read from these headers.
    fn signatures(provider: Provider, headers: &[(&'static str, &str)]) -> Option<usize> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let read = provider.profile().webhooks.signatures(&map);
        read.map(|signatures| signatures.len())
    }

    #[test]
    fn every_signature_that_came_is_read_or_none_is() {
        let good = "0f".repeat(32);
        let (good, bad) = (good.as_str(), "sha256=0f");
        for (headers, expected) in [
            (&[][..], None),
            (&[("fs-webhook-hash", good)], None),
            (&[("x-signature", good)], Some(1)),
            (&[("x-apolopay-signature", good)], Some(1)),
            (&[("x-signature", good), ("x-apolopay-signature", good)], Some(2)),
            (&[("x-signature", good), ("x-signature", good)], Some(2)),
            (&[("x-signature", bad)], None),
            (&[("x-signature", good), ("x-apolopay-signature", bad)], None),
            (&[("x-signature", ""), ("x-apolopay-signature", good)], None),
        ] {
            assert_eq!(signatures(Provider::ApoloPay, headers), expected, "{headers:?}");
        }
        assert_eq!(signatures(Provider::FinvyPay, &[("fs-webhook-hash", good)]), Some(1));
        assert_eq!(signatures(Provider::FinvyPay, &[("x-signature", good)]), None);
    }
}
