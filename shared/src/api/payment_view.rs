//! A payment as callers see it: without customer data and metadata.

use serde::Serialize;

use crate::api::response;
use crate::domain::id::{OrderId, PaymentId, Reference};
use crate::domain::idempotency::StoredResponse;
use crate::domain::money::{Amount, Currency};
use crate::domain::payment::{CheckoutSession, Payment};
use crate::domain::provider::{Environment, Provider, ShownId};
use crate::domain::status::Status;
use crate::domain::time::{Timestamp, as_rfc3339};

/// A payment in a response. Absent members are left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentView<'a> {
    id: PaymentId,
    provider: Provider,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_id: Option<&'a Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_id: Option<&'a Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<&'a OrderId>,
    amount: Amount,
    currency: Currency,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_method: Option<&'a str>,
    environment: Environment,
    #[serde(serialize_with = "as_rfc3339")]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

impl<'a> PaymentView<'a> {
    /// The response of `GET /payments/{id}`. Has the checkout session while the payment is payable.
    pub fn for_get(payment: &'a Payment) -> Self {
        let checkout_session = payment
            .checkout_session
            .as_ref()
            .filter(|_| payment.status.is_payable());
        Self {
            id: payment.id,
            provider: payment.provider,
            status: payment.status,
            process_id: match payment.provider.capabilities().shown_id {
                ShownId::ProcessId => checkout_session.map(|checkout_session| &checkout_session.reference),
                ShownId::PaymentId => None,
            },
            payment_id: None,
            redirect_url: checkout_session.and_then(|checkout_session| checkout_session.redirect_url.as_deref()),
            order_id: payment.order_id.as_ref(),
            amount: payment.money.amount(),
            currency: payment.money.currency(),
            payment_method: None,
            environment: payment.environment,
            created_at: payment.created_at,
            updated_at: Some(payment.updated_at.to_string()),
            expires_at: checkout_session.and_then(CheckoutSession::expiry),
        }
    }

    /// The response of the creating functions. Like [`Self::for_get`], but with `paymentMethod` and the provider's
    /// `paymentId`, and without `updatedAt`.
    pub fn created(payment: &'a Payment) -> Self {
        Self {
            payment_id: match payment.provider.capabilities().shown_id {
                ShownId::ProcessId => None,
                ShownId::PaymentId => payment
                    .checkout_session
                    .as_ref()
                    .map(|checkout_session| &checkout_session.reference),
            },
            payment_method: payment.payment_method.as_deref(),
            updated_at: None,
            ..Self::for_get(payment)
        }
    }
}

impl CheckoutSession {
    fn expiry(&self) -> Option<String> {
        self.expires_at.map(|time| time.to_string())
    }
}

/// The 201 response of a creating function.
pub fn created(payment: &Payment) -> StoredResponse {
    StoredResponse {
        status: 201,
        body: response::to_json(&PaymentView::created(payment)),
    }
}
