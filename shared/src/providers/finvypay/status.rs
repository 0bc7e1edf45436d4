//! FinvyPay's status queries: the status of one payment, the list of an order's transactions, and the list of all.
//!
//! A response is a fact like a webhook's, because it comes over TLS, in reply to a request with our API key. The same
//! reader reads it: an unrecognised status counts as none, an unreadable amount as missing.

use lambda_http::http::StatusCode;
use secrecy::SecretString;
use url::Url;

use crate::domain::id::{OrderId, Reference};
use crate::domain::json::Json;
use crate::domain::provider::Environment;
use crate::domain::time::Timestamp;
use crate::platform::clock;
use crate::providers::finvypay::client::authorization;
use crate::providers::finvypay::list::{ListPage, ListQuery, PAGE_ROWS, parts, read_page, rows};
use crate::providers::finvypay::message::{Message, Reading};
use crate::providers::gateway::CallError;
use crate::providers::http_client::{HttpClient, Quota, Reply};
use crate::providers::notification::Notification;

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
    pub async fn status(&self, id: &Reference) -> Result<(Option<Notification>, Quota), CallError> {
        // This path has no `/v1`, unlike the others.
        let url = self.url(&["api", &self.environment.to_string(), "status", id.as_str()])?;
        let reply = self.client.get(url, authorization(&self.api_key)?).await?;
        Ok((read_status(&reply, id, clock::now())?, reply.quota))
    }

    /// Lists the transactions of an order, the first [`PAGE_ROWS`] of them.
    ///
    /// # Errors
    /// [`CallError`] if there is no usable response.
    pub async fn transactions(&self, order_id: &OrderId) -> Result<(Vec<Notification>, Quota), CallError> {
        let mut url = self.list_url()?;
        url.query_pairs_mut()
            .append_pair("orderId", order_id.as_str())
            .append_pair("limit", &PAGE_ROWS.to_string());
        let reply = self.client.get_page(url, authorization(&self.api_key)?).await?;
        Ok((read_transactions(&reply, order_id, clock::now())?, reply.quota))
    }

    /// Reads a page of the list of all transactions.
    ///
    /// # Errors
    /// [`CallError`] if there is no usable response.
    pub async fn list(&self, query: &ListQuery) -> Result<(ListPage, Quota), CallError> {
        let mut url = self.list_url()?;
        query.add_to(&mut url);
        let reply = self.client.get_page(url, authorization(&self.api_key)?).await?;
        Ok((read_page(&reply, query, clock::now())?, reply.quota))
    }

    fn list_url(&self) -> Result<Url, CallError> {
        self.url(&["api", "v1", &format!("{}-transactions", self.environment)])
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
/// [`CallError`] if the response is neither a status for this id nor `NOT_FOUND`.
pub fn read_status(
    reply: &Reply,
    queried: &Reference,
    received_at: Timestamp,
) -> Result<Option<Notification>, CallError> {
    if reply.status == StatusCode::NOT_FOUND && is_not_found(reply) {
        return Ok(None);
    }
    let (envelope, data) = parts(reply)?;
    let unusable = || CallError::unusable("no status for the queried id");
    let message = Message::of_response(envelope, data).ok_or_else(unusable)?;
    let mut reading = message.read_response(received_at);
    let fact = &mut reading.notification.fact;
    if !fact.references().any(|id| id == queried) {
        // Some responses do not repeat a payment's id. Any other id of a payment is another payment's.
        if fact.payment.is_some() || reading.is_doubtful {
            return Err(unusable());
        }
        fact.payment = Some(queried.clone());
    }
    Ok(Some(reading.without_doubtful_order()))
}

/// Reads the list of the transactions of the order `queried`. Leaves out those of other orders, without an id or
/// without a status.
///
/// # Errors
/// [`CallError`] if the response is not such a list.
pub fn read_transactions(
    reply: &Reply,
    queried: &OrderId,
    received_at: Timestamp,
) -> Result<Vec<Notification>, CallError> {
    let (envelope, data) = parts(reply)?;
    let readings = rows(data)?
        .iter()
        .filter_map(Json::as_object)
        .filter_map(|transaction| Message::of_response(envelope, transaction))
        .map(|message| message.read_response(received_at));
    Ok(readings
        .filter(|reading| reading.notification.fact.order_id.as_ref() == Some(queried))
        .map(Reading::without_doubtful_order)
        .filter(|notification| notification.fact.references().next().is_some())
        .collect())
}

fn is_not_found(reply: &Reply) -> bool {
    let error = reply.body.as_ref().and_then(|body| body.get("error")?.as_object());
    let code = error.and_then(|error| error.str("code"));
    code.is_some_and(|code| code.eq_ignore_ascii_case("NOT_FOUND"))
}

#[cfg(test)]
mod tests;
