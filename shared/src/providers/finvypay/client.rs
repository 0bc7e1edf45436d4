//! Creating an APM payment at FinvyPay.
//!
//! The answer is compared with what was asked: a payment of another amount, currency or order is never handed to a
//! buyer. Nothing that the answer says makes a payment completed; only a webhook or the status call does.

use lambda_http::http::HeaderValue;
use secrecy::SecretString;
use serde::Serialize;

use super::authorization;
use crate::domain::fact::Outcome;
use crate::domain::id::Reference;
use crate::domain::json::{Json, Object};
use crate::domain::money::{Amount, Currency};
use crate::domain::payment::{CheckoutSession, Payment};
use crate::domain::provider::Environment;
use crate::domain::redacted::Redacted;
use crate::domain::time::Timestamp;
use crate::providers::gateway::{Accepted, CallError, Gateway};
use crate::providers::http_client::{HttpClient, Refusal, Reply, is_web_page, shown_code};
use crate::providers::notification::read_amount;

/// The provider's real host.
pub const BASE_URL: &str = "https://api.finvypay.com";

/// What the buyer and the shop gave, to be passed on and not stored.
#[derive(Debug)]
pub struct Details {
    /// The buyer's first name.
    pub first_name: Redacted<String>,
    /// The buyer's last name.
    pub last_name: Redacted<String>,
    /// The buyer's e-mail address.
    pub email: Redacted<String>,
    /// The buyer's telephone number.
    pub phone_number: Option<Redacted<String>>,
    /// What is bought.
    pub description: Option<String>,
    /// Where the buyer lands after success.
    pub return_url: String,
    /// Where the buyer lands after giving up.
    pub cancel_url: Option<String>,
    /// The shop's capabilities at the provider; its primary one by default.
    pub merchant_profile_id: Option<u64>,
}

/// An APM payment about to be created.
#[derive(Debug)]
pub struct ApmPayment<'a> {
    /// The client to call with.
    pub client: &'a HttpClient,
    /// The provider's base URL, without a slash at its end.
    pub base_url: &'a str,
    /// Which of the provider's systems.
    pub environment: Environment,
    /// The API key.
    pub api_key: SecretString,
    /// Where the provider reports to.
    pub webhook_url: &'a str,
    /// What to pass on.
    pub details: &'a Details,
    /// The metadata to send, our id in it.
    pub metadata: Redacted<Object>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    order_id: &'a str,
    amount: Amount,
    currency: Currency,
    payment_method: &'a str,
    first_name: &'a str,
    last_name: &'a str,
    email: &'a str,
    return_url: &'a str,
    webhook_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    merchant_profile_id: Option<u64>,
    metadata: &'a Object,
}

impl ApmPayment<'_> {
    fn body(&self, payment: &Payment) -> Option<String> {
        let details = self.details;
        let body = Body {
            order_id: payment.order_id.as_ref()?.as_str(),
            amount: payment.money.amount(),
            currency: payment.money.currency(),
            payment_method: payment.payment_method.as_deref()?,
            first_name: details.first_name.expose(),
            last_name: details.last_name.expose(),
            email: details.email.expose(),
            return_url: &details.return_url,
            webhook_url: self.webhook_url,
            description: details.description.as_deref(),
            phone_number: details.phone_number.as_ref().map(|number| number.expose().as_str()),
            cancel_url: details.cancel_url.as_deref(),
            merchant_profile_id: details.merchant_profile_id,
            metadata: self.metadata.expose(),
        };
        serde_json::to_string(&body).ok()
    }
}

impl Gateway for ApmPayment<'_> {
    async fn create(&self, payment: &Payment, attempt: u32) -> Result<Accepted, CallError> {
        let key = HeaderValue::from_str(&format!("{}-{attempt}", payment.id));
        let mut headers = authorization(&self.api_key)?;
        headers.insert(
            "idempotency-key",
            key.map_err(|_| CallError::unusable("our own request"))?,
        );
        let body = self
            .body(payment)
            .ok_or_else(|| CallError::unusable("our own request"))?;
        let url = format!("{}/api/v1/{}/apm", self.base_url, self.environment);
        read(self.client.post(&url, headers, body).await?, payment)
    }
}

/// `{"success":false,"error":{"code":…}}`, or without `error` but with a `message`.
fn refusal(reply: &Object) -> Option<Refusal> {
    let error = reply.get("error").and_then(Json::as_object);
    let success = reply.get("success");
    // A message alone is a refusal only where nothing was made.
    let only_talks = success.is_none() && reply.get("message").is_some() && reply.get("data").is_none();
    let is_refusal = error.is_some() || only_talks || success.is_some_and(|success| *success != Json::Bool(true));
    is_refusal.then(|| Refusal(error.and_then(|error| error.str("code")).and_then(shown_code)))
}

/// Reads what FinvyPay answered when `payment` was to be created.
///
/// # Errors
/// [`CallError`] where the answer is a refusal, has no id, or is not about what was asked for.
pub fn read(reply: Reply, payment: &Payment) -> Result<Accepted, CallError> {
    let reply = reply.accepted(refusal)?;
    let data = reply
        .get("data")
        .and_then(Json::as_object)
        .ok_or_else(|| CallError::unusable("no data"))?;
    let [by_payment, by_transaction] =
        ["paymentId", "transactionId"].map(|name| data.str(name).and_then(Reference::parse));
    let references: Vec<Reference> = [&by_payment, &by_transaction].into_iter().flatten().cloned().collect();
    let reference = references
        .first()
        .cloned()
        .ok_or_else(|| CallError::unusable("no payment id"))?;
    let unusable = |reason| {
        Err(CallError::Unusable {
            reason,
            references: references.clone(),
        })
    };

    let other =
        |name, same: &dyn Fn(&Json) -> bool| data.get(name).is_some_and(|value| *value != Json::Null && !same(value));
    let same_amount = |value: &Json| read_amount(Some(value)).is_some_and(|value| payment.money.equals_major(&value));
    let order_id = payment.order_id.as_ref().map(|order_id| order_id.as_str());
    if other("amount", &same_amount)
        || other("currency", &|value| {
            value
                .as_str()
                .is_some_and(|code| code.eq_ignore_ascii_case(payment.money.currency().code()))
        })
    {
        return unusable("other money than asked for");
    }
    if other("orderId", &|value| value.as_str() == order_id) {
        // Its ids may be that other order's payment: they are not claimed.
        return Err(CallError::unusable("another order than asked for"));
    }
    let is_failure = |word: &&str| matches!(super::outcome(word), Some(Outcome::Failed | Outcome::Cancelled));
    if let Some(word) = [reply.str("status"), data.str("status")]
        .into_iter()
        .flatten()
        .find(is_failure)
    {
        return Err(CallError::Rejected {
            code: shown_code(word),
            references,
        });
    }
    let redirect_url = match data.get("redirectUrl") {
        None | Some(Json::Null) => None,
        Some(Json::String(url)) if is_web_page(url) => Some(url.clone()),
        Some(_) => return unusable("a redirect to something else than a web page"),
    };
    let expires_at = data.str("expiresAt").and_then(Timestamp::parse_rfc3339);
    Ok(Accepted {
        checkout_session: CheckoutSession {
            reference,
            redirect_url,
            expires_at,
        },
        references,
    })
}

#[cfg(test)]
mod tests;
