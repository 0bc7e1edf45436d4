//! The payments at the providers.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::json::Object;

/// One of the two providers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// ApoloPay SmartPay.
    Apolopay,
    /// FinvyPay APM.
    Finvypay,
}

/// The ids that FinvyPay's status call accepts for a payment.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StatusIds {
    /// The payment id and the transaction id.
    #[default]
    Both,
    /// `pay_apm_…` only.
    PaymentId,
    /// `FP…` only.
    TransactionId,
}

/// A payment at a provider.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// The provider.
    pub provider: Provider,
    /// ApoloPay's process id or FinvyPay's payment id.
    pub id: String,
    /// FinvyPay's transaction id.
    pub transaction_id: Option<String>,
    /// FinvyPay's `sandbox` or `production`.
    pub environment: Option<String>,
    /// The merchant's order, if the create call named one.
    pub order_id: Option<String>,
    /// The exact body of the create call.
    pub request: Object,
    /// The provider's status.
    pub status: String,
    /// The ids that the status call accepts.
    pub status_ids: StatusIds,
    /// When it was created.
    pub created_at: String,
    /// Until when it can be paid.
    pub expires_at: String,
    /// When it was completed.
    pub completed_at: Option<String>,
    /// What FinvyPay's status and list show beside that, such as `refundDate`.
    pub extra: Object,
}

impl Payment {
    /// The amount, with the text of the create call.
    pub(super) fn amount(&self) -> Option<Box<RawValue>> {
        self.request.get("amount").map(RawValue::to_owned)
    }

    /// The metadata of the create call, without whitespace.
    pub(super) fn metadata(&self) -> Option<Box<RawValue>> {
        self.request.get("metadata").map(super::json::compacted)
    }

    /// Sets the status, and the time of completion accordingly.
    pub(super) fn set_status(&mut self, status: &str, now: String) {
        status.clone_into(&mut self.status);
        self.completed_at = self.is_completed().then_some(now);
    }

    /// Whether the provider counts it as paid.
    pub(super) fn is_completed(&self) -> bool {
        ["COMPLETED", "SUCCESS", "SUCCEEDED", "APPROVED"].contains(&self.status.as_str())
    }
}

/// A period, in the format of the payments' times.
#[derive(Clone, Debug, Default)]
pub(super) struct Period {
    /// The first moment.
    pub(super) start: Option<String>,
    /// The first moment after it.
    pub(super) end: Option<String>,
}

impl Period {
    /// Whether a moment belongs to it. No moment only belongs to the unlimited period.
    pub(super) fn contains(&self, at: Option<&str>) -> bool {
        let start = self.start.as_deref();
        let end = self.end.as_deref();
        start.is_none_or(|start| at.is_some_and(|at| at >= start))
            && end.is_none_or(|end| at.is_some_and(|at| at < end))
    }
}

/// All payments, in the order in which they were added.
///
/// The indexes keep lookups fast with hundreds of thousands of payments. A payment's ids, order, environment and time of
/// creation do not change.
#[derive(Debug, Default)]
pub(super) struct Payments {
    all: Vec<Payment>,
    by_id: HashMap<(Provider, String), usize>,
    by_order: HashMap<(Provider, String), Vec<usize>>,
    /// The payments of each of FinvyPay's environments, oldest first.
    by_creation: HashMap<String, Vec<usize>>,
}

impl Payments {
    pub(super) fn add(&mut self, payment: Payment) {
        let created = payment.environment.clone().zip(Some(payment.created_at.clone()));
        let index = self.store(payment);
        if let Some((environment, created_at)) = created {
            let by_creation = self.by_creation.entry(environment).or_default();
            let place = place(by_creation, &self.all, |other| other <= created_at.as_str());
            by_creation.insert(place, index);
        }
    }

    /// Adds many payments of one environment.
    pub(super) fn add_all(&mut self, environment: &str, payments: Vec<Payment>) {
        let indexes: Vec<_> = payments.into_iter().map(|payment| self.store(payment)).collect();
        let by_creation = self.by_creation.entry(environment.to_owned()).or_default();
        by_creation.extend(indexes);
        by_creation.sort_by_key(|index| self.all.get(*index).map(|payment| &payment.created_at));
    }

    /// The payment with an id of either kind; the newest, if a script used the id twice.
    pub(super) fn by_id(&self, provider: Provider, id: &str) -> Option<&Payment> {
        self.all.get(*self.by_id.get(&(provider, id.to_owned()))?)
    }

    pub(super) fn by_id_mut(&mut self, provider: Provider, id: &str) -> Option<&mut Payment> {
        self.all.get_mut(*self.by_id.get(&(provider, id.to_owned()))?)
    }

    /// The newest payment of an order.
    pub(super) fn by_order(&self, provider: Provider, order_id: &str) -> Option<&Payment> {
        self.of_order(provider, order_id).next_back()
    }

    /// The payments of an order, in the order in which they were added.
    pub(super) fn of_order(&self, provider: Provider, order_id: &str) -> impl DoubleEndedIterator<Item = &Payment> {
        let found = self.by_order.get(&(provider, order_id.to_owned()));
        let indexes = found.map(Vec::as_slice).unwrap_or_default();
        indexes.iter().filter_map(|index| self.all.get(*index))
    }

    pub(super) fn of(&self, provider: Provider) -> impl Iterator<Item = &Payment> {
        self.all.iter().filter(move |payment| payment.provider == provider)
    }

    /// The payments of one of FinvyPay's environments that were created in a period, newest first.
    pub(super) fn created(&self, environment: &str, period: &Period) -> impl Iterator<Item = &Payment> {
        let by_creation = self.by_creation.get(environment).map(Vec::as_slice).unwrap_or_default();
        let before = |end: &String| place(by_creation, &self.all, |created_at| created_at < end.as_str());
        let start = period.start.as_ref().map_or(0, before);
        let end = period.end.as_ref().map_or(by_creation.len(), before);
        let indexes = by_creation.get(start..end).unwrap_or_default();
        indexes.iter().rev().filter_map(|index| self.all.get(*index))
    }

    fn store(&mut self, payment: Payment) -> usize {
        let index = self.all.len();
        for id in [Some(&payment.id), payment.transaction_id.as_ref()]
            .into_iter()
            .flatten()
        {
            self.by_id.insert((payment.provider, id.clone()), index);
        }
        if let Some(order_id) = payment.order_id.clone() {
            self.by_order
                .entry((payment.provider, order_id))
                .or_default()
                .push(index);
        }
        self.all.push(payment);
        index
    }
}

/// How many of the payments, which are sorted by creation, come before the first whose time of creation does not match.
fn place(by_creation: &[usize], all: &[Payment], matches: impl Fn(&str) -> bool) -> usize {
    by_creation.partition_point(|index| all.get(*index).is_some_and(|payment| matches(&payment.created_at)))
}
