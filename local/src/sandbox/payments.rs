//! The payments at the providers.

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

    /// Whether this payment has an id, of either kind.
    pub(super) fn has_id(&self, id: &str) -> bool {
        self.id == id || self.transaction_id.as_deref() == Some(id)
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

/// All payments, oldest first.
#[derive(Debug, Default)]
pub(super) struct Payments(Vec<Payment>);

impl Payments {
    pub(super) fn add(&mut self, payment: Payment) {
        self.0.push(payment);
    }

    /// The payment with an id of either kind; the newest, if a script used the id twice.
    pub(super) fn by_id(&self, provider: Provider, id: &str) -> Option<&Payment> {
        self.of(provider).rfind(|payment| payment.has_id(id))
    }

    pub(super) fn by_id_mut(&mut self, provider: Provider, id: &str) -> Option<&mut Payment> {
        self.0
            .iter_mut()
            .rfind(|payment| payment.provider == provider && payment.has_id(id))
    }

    /// The newest payment of an order.
    pub(super) fn by_order(&self, provider: Provider, order_id: &str) -> Option<&Payment> {
        self.of(provider)
            .rfind(|payment| payment.order_id.as_deref() == Some(order_id))
    }

    pub(super) fn of(&self, provider: Provider) -> impl DoubleEndedIterator<Item = &Payment> {
        self.0.iter().filter(move |payment| payment.provider == provider)
    }
}
