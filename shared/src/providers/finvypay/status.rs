//! FinvyPay's status queries: the status of one payment, and the list of an order's transactions.
//!
//! A response is a fact like a webhook's, because it comes from the provider over TLS and for our key. It is read just
//! as strictly: an unrecognised status counts as none, and an unreadable amount as missing.

use lambda_http::http::StatusCode;
use secrecy::SecretString;
use url::Url;

use crate::domain::fact::Fact;
use crate::domain::id::{OrderId, Reference};
use crate::domain::json::{Json, Object};
use crate::domain::provider::{Environment, Provider};
use crate::providers::finvypay::client::authorization;
use crate::providers::finvypay::raw_status::outcome;
use crate::providers::gateway::CallError;
use crate::providers::http_client::{HttpClient, Reply};
use crate::providers::notification::{Notification, combined_outcome, payment_id_in, read_amount};

/// FinvyPay's status queries.
#[derive(Debug)]
pub struct StatusApi<'a> {
    /// The HTTP client.
    pub client: &'a HttpClient,
    /// The provider's base URL, without a trailing slash.
    pub base_url: &'a str,
    /// The provider's system to query.
    pub environment: Environment,
    /// The API key.
    pub api_key: SecretString,
}

impl StatusApi<'_> {
    /// Queries the status under a payment's or transaction's id. `None` if the provider does not know the id.
    ///
    /// # Errors
    /// [`CallError`] if there is no usable response.
    pub async fn status(&self, id: &Reference) -> Result<Option<Notification>, CallError> {
        // This path has no `/v1`, unlike the others.
        let url = self.url(&["api", &self.environment.to_string(), "status", id.as_str()])?;
        let reply = self.client.get(url, authorization(&self.api_key)?).await?;
        read_status(&reply, id)
    }

    /// Lists the transactions of an order.
    ///
    /// # Errors
    /// [`CallError`] if there is no usable response.
    pub async fn transactions(&self, order_id: &OrderId) -> Result<Vec<Notification>, CallError> {
        let mut url = self.url(&["api", "v1", &format!("{}-transactions", self.environment)])?;
        url.query_pairs_mut().append_pair("orderId", order_id.as_str());
        let reply = self.client.get(url, authorization(&self.api_key)?).await?;
        read_transactions(&reply, order_id)
    }

    fn url(&self, segments: &[&str]) -> Result<Url, CallError> {
        let unusable = || CallError::unusable("request could not be built");
        let mut url = Url::parse(self.base_url).map_err(|_| unusable())?;
        // Each segment is escaped, so an id with a slash stays one segment.
        url.path_segments_mut()
            .map_err(|()| unusable())?
            .pop_if_empty()
            .extend(segments);
        Ok(url)
    }
}

/// Reads the response to the status query for the id `queried`. `None` if the provider does not know the id.
///
/// # Errors
/// [`CallError::Unusable`] if the response is neither a status for this id nor `NOT_FOUND`.
pub fn read_status(reply: &Reply, queried: &Reference) -> Result<Option<Notification>, CallError> {
    if reply.status == StatusCode::NOT_FOUND && error_code(reply) == Some("NOT_FOUND") {
        return Ok(None);
    }
    let data = data(reply)?;
    let [payment, transaction] = ids(data);
    let notification = if transaction.as_ref() == Some(queried) || payment.as_ref() == Some(queried) {
        notification(data, payment, transaction)
    } else if payment.is_none() {
        // The response does not repeat a payment's id.
        notification(data, Some(queried.clone()), transaction)
    } else {
        None
    };
    notification
        .map(Some)
        .ok_or_else(|| CallError::unusable("no status for the queried id"))
}

/// Reads the list of the transactions of the order `queried`. Leaves out those of other orders, without an id or
/// without a status.
///
/// # Errors
/// [`CallError::Unusable`] if the response is not such a list.
pub fn read_transactions(reply: &Reply, queried: &OrderId) -> Result<Vec<Notification>, CallError> {
    let transactions = data(reply)?.get("transactions").and_then(Json::as_array);
    let transactions = transactions.ok_or_else(|| CallError::unusable("no list of transactions"))?;
    let notifications = transactions
        .iter()
        .filter_map(Json::as_object)
        .filter_map(|transaction| {
            let [payment_id, transaction_id] = ids(transaction);
            notification(transaction, payment_id, transaction_id)
        });
    Ok(notifications
        .filter(|Notification { fact, .. }| {
            fact.order_id.as_ref() == Some(queried) && fact.references().next().is_some()
        })
        .collect())
}

fn error_code(reply: &Reply) -> Option<&str> {
    let error = reply.body.as_ref()?.get("error").and_then(Json::as_object);
    error?.str("code")
}

/// The `data` of a successful response.
fn data(reply: &Reply) -> Result<&Object, CallError> {
    let body = reply.body.as_ref().filter(|_| reply.status.is_success());
    let is_success = |body: &&Object| body.get("success") == Some(&Json::Bool(true));
    let data = body.filter(is_success).and_then(|body| body.get("data")?.as_object());
    data.ok_or_else(|| CallError::unusable("undocumented response"))
}

/// The payment's id and the transaction's id.
fn ids(data: &Object) -> [Option<Reference>; 2] {
    ["paymentId", "transactionId"].map(|name| data.str(name).and_then(Reference::parse))
}

/// The notification in a response or list entry. `None` if it has no status.
fn notification(data: &Object, payment: Option<Reference>, transaction: Option<Reference>) -> Option<Notification> {
    let (outcome, raw_status) = combined_outcome(&[data.str("status")?], outcome);
    let payment_id = payment_id_in(data.get("metadata").and_then(Json::as_object));
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
    fn status_is_a_fact_under_the_queried_id() {
        let reply = reply(200, &format!(r#"{{"success":true,"data":{DATA}}}"#));
        for (queried, payment) in [("pay_apm_1", Some(id("pay_apm_1"))), ("FP1", None)] {
            let Notification { payment_id, fact } = read_status(&reply, &id(queried)).unwrap().unwrap();
            assert_eq!(payment_id.unwrap().to_string(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
            assert_eq!((fact.payment, fact.transaction), (payment, Some(id("FP1"))));
            assert_eq!(fact.outcome, Outcome::Completed);
            assert_eq!(fact.currency.as_deref(), Some("USD"));
            assert_eq!(fact.amount.unwrap().to_string(), "99.99");
        }
    }

    #[test]
    fn response_without_a_status_for_the_id_is_unusable() {
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
        let notification = read_status(&reply(200, unknown), &id("x")).unwrap().unwrap();
        assert_eq!(notification.fact.outcome, Outcome::Unrecognised);
    }

    #[test]
    fn list_contains_only_transactions_of_the_order() {
        let list = |transactions: &str| {
            let text = format!(r#"{{"success":true,"data":{{"transactions":[{transactions}]}}}}"#);
            read_transactions(&reply(200, &text), &OrderId::parse("o").unwrap())
        };
        let others = r#"{"transactionId":"FP2","orderId":"p","status":"COMPLETED"}, {"orderId":"o","status":"COMPLETED"},
            {"transactionId":"FP3","orderId":"o"}, 7"#;
        let notifications = list(&format!("{others},{DATA}")).unwrap();
        assert_eq!(notifications.len(), 1);
        assert_eq!(notifications[0].fact.transaction, Some(id("FP1")));
        assert_eq!(list(""), Ok(Vec::new()));
        for text in [r#"{"success":true,"data":{}}"#, r#"{"success":true,"data":[]}"#] {
            assert!(read_transactions(&reply(200, text), &OrderId::parse("o").unwrap()).is_err());
        }
    }
}
