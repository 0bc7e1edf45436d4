//! Creating an APM payment at FinvyPay.
//!
//! The answer is compared with what was asked: a payment of another amount, currency or order is never handed to a
//! buyer. Nothing that the answer says makes a payment completed; only a webhook or the status call does.

use lambda_http::http::HeaderValue;
use secrecy::SecretString;
use serde::Serialize;

use super::{Environment, authorization};
use crate::clock::Timestamp;
use crate::id::Reference;
use crate::json::{Json, Object};
use crate::money::{Amount, Currency};
use crate::payment::{Handoff, Outcome, Payment};
use crate::personal::Personal;
use crate::providers::gateway::{Accepted, CallError, Gateway, HttpClient, Refusal, Reply, is_web_page, shown_code};
use crate::providers::read_amount;

/// The provider's real host.
pub const BASE_URL: &str = "https://api.finvypay.com";

/// What the buyer and the shop gave, to be passed on and not stored.
#[derive(Debug)]
pub struct Details {
    /// The buyer's first name.
    pub first_name: Personal<String>,
    /// The buyer's last name.
    pub last_name: Personal<String>,
    /// The buyer's e-mail address.
    pub email: Personal<String>,
    /// The buyer's telephone number.
    pub phone_number: Option<Personal<String>>,
    /// What is bought.
    pub description: Option<String>,
    /// Where the buyer lands after success.
    pub return_url: String,
    /// Where the buyer lands after giving up.
    pub cancel_url: Option<String>,
    /// The shop's profile at the provider; its primary one by default.
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
    pub metadata: Personal<Object>,
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
        handoff: Handoff {
            reference,
            redirect_url,
            expires_at,
        },
        references,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{OrderId, PaymentId, Provider};
    use crate::money::Money;

    fn payment() -> Payment {
        let money = Money::from_minor(9999, Currency::USD);
        Payment {
            order_id: OrderId::parse("ORD-1"),
            ..Payment::intend(
                PaymentId::random(),
                Provider::FinvyPay,
                money,
                Timestamp::from_millis(0),
            )
        }
    }

    fn answer(text: &str) -> Result<Accepted, CallError> {
        read(
            Reply::new(lambda_http::http::StatusCode::OK, text.as_bytes()),
            &payment(),
        )
    }

    #[test]
    fn the_documented_and_the_older_shape() {
        let documented = answer(
            r#"{"success":true,"status":"REDIRECT","data":{"paymentId":"pay_apm_1","orderId":"ORD-1","amount":99.99,"currency":"USD",
                "redirectUrl":"https://pay.example/1","expiresAt":"2026-01-01T00:30:00.000Z"}}"#,
        )
        .unwrap();
        assert_eq!(documented.handoff.reference.as_str(), "pay_apm_1");
        assert_eq!(
            documented.handoff.redirect_url.as_deref(),
            Some("https://pay.example/1")
        );
        assert_eq!(
            documented.handoff.expires_at,
            Timestamp::parse_rfc3339("2026-01-01T00:30:00Z")
        );
        for words in [r#""success":true,"message":"made","#, r#""message":"made","#, ""] {
            let old = answer(&format!(r#"{{{words}"data":{{"transactionId":"FP1"}}}}"#));
            assert_eq!(old.unwrap().handoff.reference.as_str(), "FP1", "{words}");
        }
        let old = answer(r#"{"success":true,"data":{"transactionId":"FP1","status":"PENDING"}}"#).unwrap();
        assert_eq!(
            old.handoff,
            Handoff {
                reference: Reference::parse("FP1").unwrap(),
                redirect_url: None,
                expires_at: None
            }
        );
    }

    #[test]
    fn what_was_not_asked_for_is_not_handed_on_but_its_id_is_kept() {
        for member in [
            r#""amount":9.99"#,
            r#""amount":"much""#,
            r#""currency":"EUR""#,
            r#""redirectUrl":"javascript:x""#,
        ] {
            let error = answer(&format!(r#"{{"success":true,"data":{{"paymentId":"p",{member}}}}}"#)).unwrap_err();
            assert!(
                matches!(&error, CallError::Unusable { references, .. } if references.len() == 1),
                "{member}: {error:?}"
            );
        }
    }

    #[test]
    fn the_ids_of_another_order_are_not_claimed() {
        let error = answer(r#"{"success":true,"data":{"paymentId":"p","orderId":"ORD-2"}}"#).unwrap_err();
        assert!(
            matches!(&error, CallError::Unusable { references, .. } if references.is_empty()),
            "{error:?}"
        );
    }

    #[test]
    fn refusals() {
        for (text, expected) in [
            (
                r#"{"success":false,"error":{"code":"INVALID_PAYMENT_METHOD","message":"m"}}"#,
                Some("INVALID_PAYMENT_METHOD"),
            ),
            (r#"{"success":false,"error":{"code":"<script>"}}"#, None),
            (r#"{"message":"no"}"#, None),
            (
                r#"{"success":true,"status":"DECLINED","data":{"paymentId":"p"}}"#,
                Some("DECLINED"),
            ),
        ] {
            let Err(CallError::Rejected { code, .. }) = answer(text) else {
                panic!("{text}")
            };
            assert_eq!(code.as_deref(), expected, "{text}");
        }
        assert!(matches!(answer(r#"{"success":true}"#), Err(CallError::Unusable { .. })));
        assert!(matches!(
            answer(r#"{"success":true,"data":{"paymentId":""}}"#),
            Err(CallError::Unusable { .. })
        ));
    }
}
