//! FinvyPay's list of transactions, read in bulk, page by page.
//!
//! How the list behaves was never seen. So every page is checked: it must have the rows of the window that was asked for.
//! Whether a filter by status works is for the caller to find out.

use std::time::Duration;

use url::Url;

use crate::domain::fact::Fact;
use crate::domain::json::{Json, Object};
use crate::domain::list_reading::Window;
use crate::domain::time::Timestamp;
use crate::providers::finvypay::message::Message;
use crate::providers::gateway::CallError;
use crate::providers::http_client::Reply;
use crate::providers::notification::Notification;

/// The rows of a full page: the most that FinvyPay allows.
pub const PAGE_ROWS: u64 = 100;

/// How far a row may be outside its window, since FinvyPay may count in whole minutes.
const TOLERANCE: Duration = Duration::from_secs(60);

/// A page of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// When the transactions were created.
    pub window: Window,
    /// Only those with this status.
    pub status: Option<String>,
    /// The page, from 1.
    pub page: u64,
}

/// What a page shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// The rows that can be read.
    pub rows: Vec<ListRow>,
    /// How many rows it has, readable or not.
    pub length: u64,
    /// How many rows all pages have together, if the response says so.
    pub total: Option<u64>,
}

/// A transaction in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRow {
    /// What it says of its payment.
    pub notification: Notification,
    /// Its status, as the list's filter names it. `None` if it is no single word.
    pub status: Option<String>,
}

impl ListQuery {
    /// Adds the query's parameters to the list's URL.
    pub(super) fn add_to(&self, url: &mut Url) {
        let mut pairs = url.query_pairs_mut();
        pairs.append_pair("page", &self.page.to_string());
        pairs.append_pair("limit", &PAGE_ROWS.to_string());
        pairs.append_pair("startDate", &self.window.from.to_string());
        pairs.append_pair("endDate", &self.window.to.to_string());
        if let Some(status) = &self.status {
            pairs.append_pair("status", status);
        }
    }
}

/// Reads a page of the list.
///
/// # Errors
/// [`CallError`] if the response is no such list, if its rows are not of the window, or if it names statuses by numbers,
/// which nobody documented.
pub fn read_page(reply: &Reply, query: &ListQuery, received_at: Timestamp) -> Result<ListPage, CallError> {
    let unusable = |reason| Err(CallError::unusable(reason));
    let (envelope, data) = parts(reply)?;
    let listed = rows(data)?;
    let mut page = ListPage {
        rows: Vec::new(),
        length: u64::try_from(listed.len()).unwrap_or(u64::MAX),
        total: total(data).or_else(|| total(envelope)),
    };
    for row in listed.iter().filter_map(Json::as_object) {
        if matches!(row.get("status"), Some(Json::Number(_))) {
            return unusable("list with numbers for statuses");
        }
        let Some(message) = Message::of_response(envelope, row) else {
            continue;
        };
        if !message.is_of(query.window, TOLERANCE) {
            return unusable("list ignores the dates that were asked for");
        }
        let reading = message.read_response(received_at);
        let status = row.str("status").map(str::to_owned);
        page.rows.push(ListRow {
            notification: reading.without_doubtful_order(),
            status,
        });
    }
    Ok(page)
}

/// The envelope and the `data` of a successful response. `success` must be `true`: otherwise the query itself failed.
pub(super) fn parts(reply: &Reply) -> Result<(&Object, &Object), CallError> {
    if let Some(error) = reply.failure() {
        return Err(error);
    }
    let envelope = reply.body.as_ref().filter(|_| reply.status.is_success());
    let is_success = |envelope: &&Object| envelope.get("success") == Some(&Json::Bool(true));
    let parts = envelope
        .filter(is_success)
        .and_then(|envelope| Some((envelope, envelope.get("data")?.as_object()?)));
    parts.ok_or_else(|| CallError::unusable("undocumented response"))
}

/// The rows of a list. The dashboard's own list has them in `data`.
///
/// # Errors
/// [`CallError`] if there is none.
pub(super) fn rows(data: &Object) -> Result<&[Json], CallError> {
    let mut lists = ["transactions", "data"].into_iter().filter_map(|name| data.get(name));
    let rows = lists.find_map(Json::as_array);
    rows.ok_or_else(|| CallError::unusable("no list of transactions"))
}

/// The number of rows of all pages.
fn total(data: &Object) -> Option<u64> {
    let pagination = ["pagination", "meta"]
        .into_iter()
        .find_map(|name| data.get(name)?.as_object());
    match pagination?.get("total")? {
        Json::Number(text) | Json::String(text) => text.parse().ok(),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

impl ListRow {
    /// What it says of its payment.
    pub fn fact(&self) -> &Fact {
        &self.notification.fact
    }
}

#[cfg(test)]
mod tests;
