//! Creating an APM payment at FinvyPay.
//!
//! Guarantees: a buyer never gets a payment whose amount, currency or order differs from the request. The response
//! alone never completes a payment; only a webhook or a status query does.

use lambda_http::http::header::AUTHORIZATION;
use lambda_http::http::{HeaderMap, HeaderValue};
use secrecy::SecretString;
use serde::Serialize;

use crate::domain::fact::Outcome;
use crate::domain::id::{OrderId, Reference};
use crate::domain::json::{Json, Object};
use crate::domain::money::{Amount, Currency};
use crate::domain::payment::{CheckoutSession, Payment};
use crate::domain::provider::Environment;
use crate::domain::redacted::Redacted;
use crate::domain::time::Timestamp;
use crate::providers::finvypay::message::{ORDER, PAYMENT, TRANSACTION};
use crate::providers::finvypay::raw_status::outcome;
use crate::providers::gateway::{Accepted, CallError, Gateway};
use crate::providers::http_client::{HttpClient, Rejection, Reply, Success, is_web_page, secret_header};
use crate::providers::members::{
    Members, code_if_safe_to_show, error_code, is_blank, is_placeholder, read_order_id, read_reference, says_something,
};
use crate::providers::notification::read_amount;

/// The base URL of the real provider.
pub const BASE_URL: &str = "https://api.finvypay.com";

/// Data from the buyer and the shop that is sent to the provider but not stored.
#[derive(Debug)]
pub struct Details {
    /// The buyer's first name.
    pub first_name: Redacted<String>,
    /// The buyer's last name.
    pub last_name: Redacted<String>,
    /// The buyer's email address.
    pub email: Redacted<String>,
    /// The buyer's phone number.
    pub phone_number: Option<Redacted<String>>,
    /// A description of the order.
    pub description: Option<String>,
    /// The page to which the buyer returns after paying.
    pub return_url: String,
    /// The page to which the buyer returns after cancelling.
    pub cancel_url: Option<String>,
    /// The shop's merchant profile at the provider; by default the primary one.
    pub merchant_profile_id: Option<u64>,
}

/// A call that creates an APM payment.
#[derive(Debug)]
pub struct ApmPaymentCall<'a> {
    /// The HTTP client.
    pub client: &'a HttpClient,
    /// The provider's base URL, without a trailing slash.
    pub base_url: &'a str,
    /// The provider's system to call.
    pub environment: Environment,
    /// The API key.
    pub api_key: SecretString,
    /// The URL for the provider's webhooks.
    pub webhook_url: &'a str,
    /// Data from the buyer and the shop.
    pub details: &'a Details,
    /// The metadata to send, including our payment id.
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

impl ApmPaymentCall<'_> {
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

impl Gateway for ApmPaymentCall<'_> {
    async fn create(&self, payment: &Payment, attempt: u32) -> Result<Accepted, CallError> {
        if payment.environment != self.environment {
            // An earlier request began it, before the deployment was switched.
            return Err(CallError::unusable("a payment of another environment"));
        }
        let key = HeaderValue::from_str(&format!("{}-{attempt}", payment.id));
        let mut headers = authorization(&self.api_key)?;
        headers.insert(
            "idempotency-key",
            key.map_err(|_| CallError::unusable("request could not be built"))?,
        );
        let body = self
            .body(payment)
            .ok_or_else(|| CallError::unusable("request could not be built"))?;
        let url = format!("{}/api/v1/{}/apm", self.base_url, self.environment);
        read_response(self.client.post(&url, headers, body).await?, payment)
    }
}

/// The headers of every call.
pub(super) fn authorization(api_key: &SecretString) -> Result<HeaderMap, CallError> {
    let value = secret_header("Bearer ", api_key).ok_or(CallError::KeyRefused)?;
    Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

/// Recognises a body that clearly refuses: `success` is false; or it has an error, and no `success` that is true; or it
/// has only a `message`.
fn refusal(body: &Object) -> Option<Rejection> {
    let error = body.get("error").filter(|error| says_something(error));
    let has_error = matches!(error, Some(Json::Object(_) | Json::String(_)));
    let is_only_message = error.is_none() && body.get("message").is_some() && body.get("data").is_none();
    let is_refusal = match Success::of(body) {
        Success::True => false,
        Success::False => true,
        Success::Absent => has_error || is_only_message,
        Success::Unclear => has_error,
    };
    is_refusal.then(|| Rejection(error.and_then(error_code)))
}

/// Reads FinvyPay's response to the creation of `payment`.
///
/// # Errors
/// [`CallError`] if the payment was rejected, the response has no payment id, contradicts itself, or does not match the
/// request. It has the ids in the response, unless that is about another order.
pub fn read_response(reply: Reply, payment: &Payment) -> Result<Accepted, CallError> {
    let body = reply.body.as_ref();
    let is_of_the_order = body.is_none_or(|body| has_order_of(body, payment));
    let references = body.filter(|_| is_of_the_order).map(references_in).unwrap_or_default();
    let unusable = |reason| CallError::Unusable {
        reason,
        references: references.clone(),
    };
    let body = reply
        .into_success(refusal)
        .map_err(|error| error.with_references(references.clone()))?;
    let data = body
        .get("data")
        .and_then(Json::as_object)
        .ok_or_else(|| unusable("no `data`"))?;
    if !is_of_the_order {
        // The ids may belong to the payment of that other order, so they are not returned.
        return Err(unusable("another order than requested"));
    }
    let reference = reference_in(data).ok_or_else(|| unusable("no payment id"))?;
    if !has_money_of(data, payment) {
        return Err(unusable("another amount or currency than requested"));
    }
    if is_contradictory(&body, data) {
        return Err(unusable("a success beside an error"));
    }
    if let Some(name) = failure(&body, data).map_err(|Contradictory| unusable("a success beside a failure"))? {
        return Err(CallError::Rejected {
            code: code_if_safe_to_show(name),
            references,
        });
    }
    let redirect_url = match data.get("redirectUrl").filter(|url| says_something(url)) {
        None => None,
        Some(Json::String(url)) if url.trim().is_empty() => None,
        Some(Json::String(url)) if is_web_page(url) => Some(url.clone()),
        Some(_) => return Err(unusable("the redirect URL is not a web page")),
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

/// The id under which the buyer pays: the payment's or, in the older format, the transaction's.
fn reference_in(data: &Object) -> Option<Reference> {
    let ids = [PAYMENT, TRANSACTION].map(|names| Members::of([data]).reference(names).value);
    ids.into_iter().flatten().next()
}

/// All provider ids in a response, each once.
fn references_in(body: &Object) -> Vec<Reference> {
    let names = [PAYMENT, TRANSACTION].concat();
    let members = parts(body);
    let ids = members.given(&names).filter(|id| !is_placeholder(id));
    let mut references = Vec::new();
    for id in ids.filter_map(read_reference) {
        if !references.contains(&id) {
            references.push(id);
        }
    }
    references
}

/// The members of a response: those of its data, and those at its top.
fn parts(body: &Object) -> Members<'_> {
    let data = body.get("data").and_then(Json::as_object);
    Members::of(data.into_iter().chain([body]))
}

/// Whether a response speaks of success and of an error at once, at its top or in its data.
fn is_contradictory(body: &Object, data: &Object) -> bool {
    let is_success = |object: &Object| matches!(Success::of(object), Success::Absent | Success::True);
    let has_error = parts(body).given(&["error", "errors"]).next().is_some();
    has_error || !is_success(body) || !is_success(data)
}

/// Two statuses of a response contradict one another.
struct Contradictory;

/// The first status of a response, if all its statuses mean that the payment has failed. `None` if none does.
fn failure<'a>(body: &'a Object, data: &'a Object) -> Result<Option<&'a str>, Contradictory> {
    let statuses = Members::of([body, data]).status_words();
    let is_failure = |name: &&str| matches!(outcome(name), Some(Outcome::Failed | Outcome::Cancelled));
    match statuses.iter().filter(|name| is_failure(name)).count() {
        0 => Ok(None),
        count if count == statuses.len() => Ok(statuses.first().copied()),
        _ => Err(Contradictory),
    }
}

/// Whether the response has no amount and currency, or those of the payment.
fn has_money_of(data: &Object, payment: &Payment) -> bool {
    let code = payment.money.currency().code();
    let same_amount = |value: &Json| read_amount(Some(value)).is_some_and(|amount| payment.money.equals_major(&amount));
    let same_currency = |value: &Json| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(code));
    given(data, "amount").is_none_or(same_amount) && given(data, "currency").is_none_or(same_currency)
}

/// Whether the response names no order, or only that of the payment. An order id of digits may come back as a number,
/// and any order id without outer blanks.
fn has_order_of(body: &Object, payment: &Payment) -> bool {
    let ours = payment.order_id.as_ref().map(|order_id| order_id.as_str().trim());
    // Ours may contain U+FFFD, with which no order id in a webhook can be read.
    let is_ours = |value: &Json| {
        value.as_str().map(str::trim) == ours || read_order_id(value).as_ref().map(OrderId::as_str) == ours
    };
    parts(body).given(ORDER).filter(|value| !is_blank(value)).all(is_ours)
}

/// The value of a member that is present and not `null`.
fn given<'a>(data: &'a Object, name: &str) -> Option<&'a Json> {
    data.get(name).filter(|value| **value != Json::Null)
}

#[cfg(test)]
mod tests;
