//! What a provider reports, by a webhook or in reply to a query.

use lambda_http::http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::domain::decimal::Decimal;
use crate::domain::fact::{Fact, Outcome};
use crate::domain::id::PaymentId;
use crate::domain::json::{Json, Object};
use crate::domain::webhook_signature::Signature;

/// The member of a provider's `metadata` in which our payment id travels there and back.
pub const OUR_ID: &str = "paymentFunctionsId";

/// A verified webhook: a fact, and the payment it says it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
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
    pub(super) read: fn(&Object) -> Result<Notification, Unusable>,
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
    pub fn read(&self, body: &[u8]) -> Result<Notification, Unusable> {
        let json = Json::parse(body).map_err(|_| Unusable("the body is not JSON"))?;
        let event = (self.read)(json.as_object().ok_or(Unusable("the body is not a JSON object"))?)?;
        let fact = &event.fact;
        if event.payment_id.is_none() && fact.references().next().is_none() && fact.order_id.is_none() {
            return Err(Unusable("the body names no payment"));
        }
        if fact.raw_status.is_empty() {
            return Err(Unusable("the body names neither a status nor an event"));
        }
        Ok(event)
    }
}

/// The most characters of a webhook's raw_status that are kept; every documented word is shorter by far.
const MAX_WORDS: usize = 100;

/// What a webhook's raw_status say together. Words that contradict one another, or that are not known, say nothing: never
/// guess that money moved.
pub(super) fn outcome_of(raw_status: &[&str], known: fn(&str) -> Option<Outcome>) -> (Outcome, String) {
    let mut outcomes = raw_status.iter().map(|word| known(word));
    let first = outcomes.next().flatten();
    let agreed = first.filter(|_| outcomes.all(|outcome| outcome == first));
    (
        agreed.unwrap_or(Outcome::Unrecognised),
        raw_status.join(" ").chars().take(MAX_WORDS).collect(),
    )
}

/// An amount given as a number or as a string of one.
pub(super) fn read_amount(value: Option<&Json>) -> Option<Decimal> {
    match value? {
        Json::Number(text) | Json::String(text) => Decimal::parse(text),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

/// Our payment id in the metadata that a provider sent back.
pub(super) fn our_id(metadata: Option<&Object>) -> Option<PaymentId> {
    PaymentId::parse(metadata?.str(OUR_ID)?)
}

#[cfg(test)]
mod tests {
    use lambda_http::http::HeaderValue;

    use super::*;
    use crate::domain::provider::Provider;
    use crate::providers::webhooks;

    /// How many signatures are read from these headers.
    fn signatures(provider: Provider, headers: &[(&'static str, &str)]) -> Option<usize> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let read = webhooks(provider).signatures(&map);
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
