//! The result of a request for a payment: a response that is stored for repetitions, or a problem that is not.

use std::time::Duration;

use lambda_http::{Body, Response};

use crate::api::problem::Problem;
use crate::api::response;
use crate::domain::id::PaymentId;
use crate::domain::idempotency::StoredResponse;
use crate::platform::metrics;
use crate::store::StoreError;

/// The result of a request for a payment.
#[derive(Clone, Debug)]
pub struct Creation {
    /// The payment that this or an earlier request created.
    pub payment: PaymentId,
    /// The response.
    pub response: StoredResponse,
    /// Whether it is the response of an earlier request.
    pub replayed: bool,
}

impl Creation {
    /// The HTTP response.
    pub fn to_response(&self) -> Response<Body> {
        response::stored_response(&self.response, self.payment, self.replayed)
    }
}

/// The problem while another request holds the lease, which ends in `remaining`. The caller is asked to wait for
/// five seconds at most, because the other request usually ends long before its lease.
pub(super) fn in_progress(remaining: Duration) -> Problem {
    Problem::idempotency_in_progress(remaining.as_secs().clamp(1, 5))
}

/// The problem after an error of the store. Logs and counts the error.
pub(super) fn store_unavailable(payment: Option<PaymentId>, error: &StoreError) -> Problem {
    tracing::error!(payment = payment.map(tracing::field::display), error = %error, "DynamoDB unavailable");
    metrics::store_failed();
    let problem = Problem::unavailable();
    match payment {
        Some(payment) => problem.for_payment(payment),
        None => problem,
    }
}
