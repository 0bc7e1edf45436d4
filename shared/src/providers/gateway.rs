//! Creating a payment at a provider, and the possible results of a provider call.
//!
//! Guarantees of an implementation: it sends one request, without retries or redirects. It returns within
//! [`CALL_TIME_LIMIT`], including the time to connect. It does not read an oversized response to its end, and its
//! `Debug` output shows no keys.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::id::Reference;
use crate::domain::payment::{CheckoutSession, Payment};
use crate::domain::provider::Provider;
use crate::platform::metrics::{self, Operation};

/// Time limit of a call that creates a payment.
pub const CALL_TIME_LIMIT: Duration = Duration::from_secs(15);

/// Creates a payment at its provider.
pub trait Gateway {
    /// Makes the call of one attempt. `attempt` starts at 1 and increases only after a response of the provider.
    ///
    /// # Errors
    /// [`CallError`] if the provider did not accept the payment, or its response is missing or unusable.
    fn create(&self, payment: &Payment, attempt: u32) -> impl Future<Output = Result<Accepted, CallError>> + Send;
}

/// The provider accepted the payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The data that the buyer needs to pay.
    pub checkout_session: CheckoutSession,
    /// Provider ids of the payment in addition to the one in `checkout_session`, which may be repeated here.
    pub references: Vec<Reference>,
}

/// Why a provider call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The provider rejected the request; a retry will not help.
    #[error("the provider rejected the request")]
    Rejected {
        /// The provider's error code.
        code: Option<String>,
        /// Provider ids in the response.
        references: Vec<Reference>,
    },
    /// Too many requests.
    #[error("the provider throttled the request")]
    Throttled {
        /// The provider's `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// The provider refused our API key.
    #[error("the provider refused our API key")]
    KeyRefused,
    /// The response cannot be used: 5xx, undocumented, or about another payment.
    #[error("the provider's response cannot be used: {reason}")]
    Unusable {
        /// What is wrong with the response.
        reason: &'static str,
        /// Provider ids in the response.
        references: Vec<Reference>,
    },
    /// The connection failed, or the status says that the request may still be running. It is unknown whether the
    /// provider processes it.
    #[error("the outcome of the provider call is unknown")]
    OutcomeUnknown {
        /// Provider ids in the response, if there was one.
        references: Vec<Reference>,
    },
    /// The time limit passed. It is unknown whether the provider received the request.
    #[error("the provider call timed out")]
    TimedOut,
}

impl CallError {
    /// An unusable response without provider ids.
    pub fn unusable(reason: &'static str) -> Self {
        Self::Unusable {
            reason,
            references: Vec::new(),
        }
    }

    /// An unknown outcome without provider ids.
    pub fn outcome_unknown() -> Self {
        Self::OutcomeUnknown { references: Vec::new() }
    }

    /// The error with the provider ids of its response. Throttling, a refused key and a timeout have none.
    pub fn with_references(mut self, ids: Vec<Reference>) -> Self {
        match &mut self {
            Self::Rejected { references, .. }
            | Self::Unusable { references, .. }
            | Self::OutcomeUnknown { references } => *references = ids,
            Self::Throttled { .. } | Self::KeyRefused | Self::TimedOut => {}
        }
        self
    }

    /// Whether the provider itself responded. If not, the next attempt must repeat the same request.
    pub fn provider_responded(&self) -> bool {
        match self {
            Self::Rejected { .. } | Self::Throttled { .. } | Self::KeyRefused | Self::Unusable { .. } => true,
            Self::OutcomeUnknown { .. } | Self::TimedOut => false,
        }
    }

    /// The value of the metrics' dimension `Error`. `None` for a rejection, which is not the provider's failure.
    pub(super) const fn metric_name(&self) -> Option<&'static str> {
        match self {
            Self::Rejected { .. } => None,
            Self::Throttled { .. } => Some("throttled"),
            Self::KeyRefused => Some("key_refused"),
            Self::Unusable { .. } => Some("unusable"),
            Self::OutcomeUnknown { .. } => Some("no_response"),
            Self::TimedOut => Some("timeout"),
        }
    }
}

/// Makes a provider call, and records its latency and errors in the metrics.
///
/// # Errors
/// Those of the call.
pub async fn measured<T>(
    provider: Provider,
    operation: Operation,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let start = Instant::now();
    let result = call.await;
    metrics::provider_latency_measured(provider, operation, start.elapsed());
    if let Err(error) = &result {
        if let Some(name) = error.metric_name() {
            metrics::provider_call_failed(provider, name);
        }
        if *error == CallError::KeyRefused {
            metrics::provider_key_refused();
        }
    }
    result
}
