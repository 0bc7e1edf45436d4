//! Asking FinvyPay what has become of a payment: its status call, and the list of an order's transactions.
//!
//! What it answers is a fact as good as a webhook's: it comes from the provider itself, over TLS, for our own key. It
//! is read as strictly: an unknown word says nothing, and money counts only where it is readable.

use lambda_http::http::StatusCode;
use secrecy::SecretString;
use url::Url;

use super::authorization;
use crate::domain::fact::Fact;
use crate::domain::id::{OrderId, Reference};
use crate::domain::json::{Json, Object};
use crate::domain::provider::{Environment, Provider};
use crate::providers::gateway::CallError;
use crate::providers::http_client::{HttpClient, Reply};
use crate::providers::notification::{Notification, our_id, outcome_of, read_amount};

/// The provider, to be asked.
#[derive(Debug)]
pub struct StatusApi<'a> {
    /// The client to call with.
    pub client: &'a HttpClient,
    /// The provider's base URL, without a slash at its end.
    pub base_url: &'a str,
    /// Which of the provider's systems.
    pub environment: Environment,
    /// The API key.
    pub api_key: SecretString,
}

impl StatusApi<'_> {
    /// What is known under an id, be it a payment's or a transaction's. `None`: the provider does not know it.
    ///
    /// # Errors
    /// [`CallError`] where there is no answer that can be used.
    pub async fn status(&self, id: &Reference) -> Result<Option<Notification>, CallError> {
        // No `/v1` here, unlike in the other paths.
        let url = self.url(&["api", &self.environment.to_string(), "status", id.as_str()])?;
        let reply = self.client.get(url, authorization(&self.api_key)?).await?;
        read_status(&reply, id)
    }

    /// What is known under an order.
    ///
    /// # Errors
    /// [`CallError`] where there is no answer that can be used.
    pub async fn transactions(&self, order_id: &OrderId) -> Result<Vec<Notification>, CallError> {
        let mut url = self.url(&["api", "v1", &format!("{}-transactions", self.environment)])?;
        url.query_pairs_mut().append_pair("orderId", order_id.as_str());
        let reply = self.client.get(url, authorization(&self.api_key)?).await?;
        read_transactions(&reply, order_id)
    }

    fn url(&self, segments: &[&str]) -> Result<Url, CallError> {
        let unusable = || CallError::unusable("our own request");
        let mut url = Url::parse(self.base_url).map_err(|_| unusable())?;
        // Each segment is escaped, so an id is one whatever characters it has.
        url.path_segments_mut()
            .map_err(|()| unusable())?
            .pop_if_empty()
            .extend(segments);
        Ok(url)
    }
}

/// Reads the answer to the status call for `asked`.
///
/// # Errors
/// [`CallError::Unusable`] where it is neither a status of what was asked for nor the word that there is none.
pub fn read_status(reply: &Reply, asked: &Reference) -> Result<Option<Notification>, CallError> {
    if reply.status == StatusCode::NOT_FOUND && error_code(reply) == Some("NOT_FOUND") {
        return Ok(None);
    }
    let data = data(reply)?;
    let [payment, transaction] = ids(data);
    let event = if transaction.as_ref() == Some(asked) || payment.as_ref() == Some(asked) {
        event(data, payment, transaction)
    } else if payment.is_none() {
        // A payment's id, which is not repeated in the answer.
        event(data, Some(asked.clone()), transaction)
    } else {
        None
    };
    event
        .map(Some)
        .ok_or_else(|| CallError::unusable("not what was asked for"))
}

/// Reads the list of an order's transactions; what is not of the order, or says nothing, is left out.
///
/// # Errors
/// [`CallError::Unusable`] where it is no such list.
pub fn read_transactions(reply: &Reply, asked: &OrderId) -> Result<Vec<Notification>, CallError> {
    let transactions = data(reply)?.get("transactions").and_then(Json::as_array);
    let transactions = transactions.ok_or_else(|| CallError::unusable("no list"))?;
    let events = transactions
        .iter()
        .filter_map(Json::as_object)
        .filter_map(|transaction| {
            let [by_payment, by_transaction] = ids(transaction);
            event(transaction, by_payment, by_transaction)
        });
    Ok(events
        .filter(|event| event.fact.order_id.as_ref() == Some(asked) && event.fact.references().next().is_some())
        .collect())
}

fn error_code(reply: &Reply) -> Option<&str> {
    let error = reply.body.as_ref()?.get("error").and_then(Json::as_object);
    error?.str("code")
}

/// The `data` of a successful answer.
fn data(reply: &Reply) -> Result<&Object, CallError> {
    let body = reply.body.as_ref().filter(|_| reply.status.is_success());
    let is_success = |body: &&Object| body.get("success") == Some(&Json::Bool(true));
    let data = body.filter(is_success).and_then(|body| body.get("data")?.as_object());
    data.ok_or_else(|| CallError::unusable("not what is documented"))
}

/// The payment's and the transaction's id.
fn ids(data: &Object) -> [Option<Reference>; 2] {
    ["paymentId", "transactionId"].map(|name| data.str(name).and_then(Reference::parse))
}

/// `None` where no status is given.
fn event(data: &Object, payment: Option<Reference>, transaction: Option<Reference>) -> Option<Notification> {
    let (outcome, raw_status) = outcome_of(&[data.str("status")?], super::outcome);
    let payment_id = our_id(data.get("metadata").and_then(Json::as_object));
    Some(Notification {
        payment_id,
        fact: Fact {
            provider: Provider::FinvyPay,
            payment,
            transaction,
            order_id: data.str("orderId").and_then(OrderId::parse),
            outcome,
            raw_status,
            amount: read_amount(data.get("amount")),
            currency: data.str("currency").map(str::to_ascii_uppercase),
            occurred_at: data.str("completedAt").map(str::to_owned),
            operator: None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fact::Outcome;

    fn reply(status: u16, text: &str) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            body: Json::parse(text.as_bytes())
                .ok()
                .and_then(|json| json.as_object().cloned()),
        }
    }

    fn id(text: &str) -> Reference {
        Reference::parse(text).unwrap()
    }

    const DATA: &str = r#"{"transactionId":"FP1","orderId":"o","status":"COMPLETED","amount":99.99,"currency":"usd","paymentMethod":"apple_pay",
        "createdAt":"2026-01-01T00:00:00.000Z","completedAt":"2026-01-01T00:01:00.000Z","metadata":{"paymentFunctionsId":"67e55044-10b1-426f-9247-bb680e5fe0c8"}}"#;

    #[test]
    fn a_status_is_a_fact_under_the_id_that_was_asked_for() {
        let reply = reply(200, &format!(r#"{{"success":true,"data":{DATA}}}"#));
        for (asked, payment) in [("pay_apm_1", Some(id("pay_apm_1"))), ("FP1", None)] {
            let event = read_status(&reply, &id(asked)).unwrap().unwrap();
            assert_eq!(
                event.payment_id.unwrap().to_string(),
                "67e55044-10b1-426f-9247-bb680e5fe0c8"
            );
            assert_eq!((event.fact.payment, event.fact.transaction), (payment, Some(id("FP1"))));
            assert_eq!(event.fact.outcome, Outcome::Completed);
            assert_eq!(event.fact.currency.as_deref(), Some("USD"));
            assert_eq!(event.fact.amount.unwrap().to_string(), "99.99");
        }
    }

    #[test]
    fn what_is_no_status() {
        let not_found = r#"{"success":false,"error":{"code":"NOT_FOUND","message":"Transaction not found"}}"#;
        assert_eq!(read_status(&reply(404, not_found), &id("x")), Ok(None));
        for (status, text) in [
            (404, "<html>"),
            (404, r#"{"message":"no such route"}"#),
            (200, not_found),
            (200, ""),
            (200, "[]"),
            (200, r#"{"success":true}"#),
            (200, r#"{"success":"true","data":{"status":"COMPLETED"}}"#),
            (200, r#"{"success":true,"data":{"transactionId":"FP1"}}"#),
            (200, r#"{"success":true,"data":{"paymentId":"y","status":"COMPLETED"}}"#),
            (400, &format!(r#"{{"success":true,"data":{DATA}}}"#)),
        ] {
            assert!(read_status(&reply(status, text), &id("x")).is_err(), "{status} {text}");
        }
        let unknown = r#"{"success":true,"data":{"status":"SETTLED","amount":1,"currency":"USD"}}"#;
        let event = read_status(&reply(200, unknown), &id("x")).unwrap().unwrap();
        assert_eq!(event.fact.outcome, Outcome::Unrecognised);
    }

    #[test]
    fn a_list_holds_what_is_of_the_order() {
        let list = |transactions: &str| {
            let text = format!(r#"{{"success":true,"data":{{"transactions":[{transactions}]}}}}"#);
            read_transactions(&reply(200, &text), &OrderId::parse("o").unwrap())
        };
        let others = r#"{"transactionId":"FP2","orderId":"p","status":"COMPLETED"}, {"orderId":"o","status":"COMPLETED"},
            {"transactionId":"FP3","orderId":"o"}, 7"#;
        let events = list(&format!("{others},{DATA}")).unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].fact.transaction, Some(id("FP1")));
        assert_eq!(list(""), Ok(Vec::new()));
        for text in [r#"{"success":true,"data":{}}"#, r#"{"success":true,"data":[]}"#] {
            assert!(read_transactions(&reply(200, text), &OrderId::parse("o").unwrap()).is_err());
        }
    }
}
