//! FinvyPay's list of transactions: its filters, its pages, and the ways in which the real list may differ.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime, UtcOffset};

use super::finvypay::{no_route, transaction};
use super::finvypay_check::error;
use super::http::RawResponse;
use super::json::Object;
use super::payments::{Payment, Payments, Period, Provider};
use super::{canned, clock};

/// A way in which the list differs from its documentation.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ListMode {
    /// The parameter `status` is ignored.
    IgnoresStatus,
    /// The parameters `startDate` and `endDate` are ignored.
    IgnoresDates,
    /// The dates are of completion, so a payment that is not completed is in no period.
    DatesAreOfCompletion,
    /// The rows lack `metadata`.
    WithoutMetadata,
    /// The response lacks `pagination`.
    WithoutPagination,
    /// The shape of the dashboard's list: rows in `data.data` with numbers for statuses, and `meta` for `pagination`.
    AsDashboard,
    /// 404, as if the list did not exist.
    Missing,
    /// 404, unless the transactions of an order are asked for. For tests whose stacks share the account.
    OnlyOfOrders,
    /// 200 with HTML.
    NonsenseHtml,
    /// 200 with other JSON.
    NonsenseJson,
    /// After the first page of several, their newest row is gone, so the next page begins one row too late. Once.
    RowLeaves,
    /// After the first page of several, a newer row appears, so the next page repeats a row. Once.
    RowEnters,
}

/// The list's modes, and the payment that left or entered.
#[derive(Debug, Default)]
pub(super) struct List {
    modes: BTreeSet<ListMode>,
    moved: Option<String>,
}

impl List {
    /// Starts anew with these modes.
    pub(super) fn set(&mut self, modes: BTreeSet<ListMode>) {
        *self = Self { modes, moved: None };
    }

    pub(super) fn modes(&self) -> &BTreeSet<ListMode> {
        &self.modes
    }

    /// The response to a list call. The error is the response that refuses it.
    pub(super) fn response(
        &mut self,
        payments: &Payments,
        environment: &str,
        path: &str,
        parameters: &HashMap<String, String>,
    ) -> Result<RawResponse, RawResponse> {
        if let Some(other) = self.other_response(path, parameters) {
            return Ok(other);
        }
        let query = Query::read(parameters).map_err(|problems| {
            let message = "Validation failed";
            error(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message, Some(problems))
        })?;
        let mut rows = self.matching(payments, environment, &query);
        self.move_row(&query, &mut rows);
        Ok(self.page(&query, &rows))
    }

    /// The response that is no list at all, if there is a mode for it.
    fn other_response(&self, path: &str, parameters: &HashMap<String, String>) -> Option<RawResponse> {
        let is_of_order = parameters.contains_key("orderId");
        if self.has(ListMode::Missing) || (self.has(ListMode::OnlyOfOrders) && !is_of_order) {
            return Some(no_route("GET", path));
        }
        if self.has(ListMode::NonsenseHtml) {
            return canned::response(Provider::Finvypay, "HTML_OK");
        }
        let other = Object::default().with("message", "Welcome");
        self.has(ListMode::NonsenseJson)
            .then(|| RawResponse::json(StatusCode::OK, &other))
    }

    /// The payments that match, newest first.
    fn matching<'a>(&self, payments: &'a Payments, environment: &str, query: &Query<'_>) -> Vec<&'a Payment> {
        let any = Period::default();
        let ignores_dates = self.has(ListMode::IgnoresDates);
        let period = if ignores_dates { &any } else { &query.period };
        let of_completion = self.has(ListMode::DatesAreOfCompletion);
        let created = if of_completion { &any } else { period };
        let status = query.status.filter(|_| !self.has(ListMode::IgnoresStatus));
        let matches = |payment: &&Payment| {
            status.is_none_or(|status| self.shows_status(payment, status))
                && query
                    .transaction_id
                    .is_none_or(|id| payment.transaction_id.as_deref() == Some(id))
                && (!of_completion || period.contains(payment.completed_at.as_deref()))
        };
        let Some(order_id) = query.order_id else {
            return payments.created(environment, created).filter(matches).collect();
        };
        let of_order = payments.of_order(Provider::Finvypay, order_id).rev();
        let mut rows: Vec<_> = of_order
            .filter(|payment| payment.environment.as_deref() == Some(environment))
            .filter(|payment| created.contains(Some(&payment.created_at)))
            .filter(matches)
            .collect();
        rows.sort_by_key(|payment| Reverse(&payment.created_at));
        rows
    }

    /// Lets the newest row leave after the first page of several, or enter.
    fn move_row(&mut self, query: &Query<'_>, rows: &mut Vec<&Payment>) {
        let Some(newest) = rows.first().map(|payment| payment.id.clone()) else {
            return;
        };
        let is_first = query.page == 1 && self.moved.is_none();
        if self.has(ListMode::RowEnters) && is_first && rows.len() > query.limit + 1 {
            rows.remove(0);
            self.moved = Some(newest);
        } else if self.has(ListMode::RowLeaves) && is_first && rows.len() > query.limit {
            self.moved = Some(newest);
        } else if self.has(ListMode::RowLeaves) {
            rows.retain(|payment| Some(&payment.id) != self.moved.as_ref());
        }
    }

    fn page(&self, query: &Query<'_>, rows: &[&Payment]) -> RawResponse {
        let before = (query.page - 1).saturating_mul(query.limit);
        let page: Vec<_> = rows
            .iter()
            .skip(before)
            .take(query.limit)
            .map(|payment| self.row(payment))
            .collect();
        let pagination = Object::default()
            .with("page", query.page)
            .with("limit", query.limit)
            .with("total", rows.len())
            .with("totalPages", rows.len().div_ceil(query.limit));
        let pagination = (!self.has(ListMode::WithoutPagination)).then_some(pagination);
        let (rows_name, pagination_name) = if self.has(ListMode::AsDashboard) {
            ("data", "meta")
        } else {
            ("transactions", "pagination")
        };
        let data = Object::default()
            .with(rows_name, page)
            .with_some(pagination_name, pagination);
        let body = Object::default().with("success", true).with("data", data);
        RawResponse::json(StatusCode::OK, &body)
    }

    fn row(&self, payment: &Payment) -> Object {
        let mut row = transaction(payment);
        if self.has(ListMode::AsDashboard) {
            row.set("status", dashboard_status(payment));
        }
        if self.has(ListMode::WithoutMetadata) {
            row.remove("metadata");
        }
        row
    }

    /// Whether a payment's row shows exactly this status.
    fn shows_status(&self, payment: &Payment, status: &str) -> bool {
        if self.has(ListMode::AsDashboard) {
            dashboard_status(payment).to_string() == status
        } else {
            payment.status == status
        }
    }

    fn has(&self, mode: ListMode) -> bool {
        self.modes.contains(&mode)
    }
}

/// The dashboard's number of a payment's status.
fn dashboard_status(payment: &Payment) -> u8 {
    match payment.status.as_str() {
        _ if payment.is_completed() => 1,
        "FAILED" | "DECLINED" | "ERROR" => 2,
        "BLOCKED" => 3,
        "ABANDONED" | "CANCELLED" | "CANCELED" => 4,
        "REDIRECT" | "REDIRECTED" => 5,
        _ => 0,
    }
}

/// The parameters of a list call.
struct Query<'a> {
    page: usize,
    limit: usize,
    status: Option<&'a str>,
    transaction_id: Option<&'a str>,
    order_id: Option<&'a str>,
    period: Period,
}

impl<'a> Query<'a> {
    /// Reads the known parameters. The error names the invalid ones.
    fn read(parameters: &'a HashMap<String, String>) -> Result<Self, Object> {
        let text = |name| parameters.get(name).map(String::as_str);
        let mut problems = Object::default();
        let mut number = |name, default, range: RangeInclusive<usize>, problem| {
            let number = text(name).map_or(Some(default), |text| text.parse().ok());
            number.filter(|number| range.contains(number)).unwrap_or_else(|| {
                problems.set(name, problem);
                default
            })
        };
        let page = number("page", 1, 1..=usize::MAX, "must be a positive number");
        let limit = number("limit", 20, 1..=100, "must be a number from 1 to 100");
        let mut date = |name| {
            let date = text(name).map(read_date);
            if date == Some(None) {
                problems.set(name, "must be an ISO 8601 date and time");
            }
            date.flatten()
        };
        let query = Self {
            page,
            limit,
            status: text("status"),
            transaction_id: text("transactionId"),
            order_id: text("orderId"),
            period: Period {
                start: date("startDate"),
                end: date("endDate"),
            },
        };
        if problems.members().next().is_some() {
            return Err(problems);
        }
        Ok(query)
    }
}

/// A date in the format of the payments' times, which sort as text. Rounded up, since these have milliseconds only.
fn read_date(text: &str) -> Option<String> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let at = at.checked_to_offset(UtcOffset::UTC)?;
    let at = at.checked_add(Duration::nanoseconds(999_999))?;
    Some(clock::to_milliseconds(at))
}
