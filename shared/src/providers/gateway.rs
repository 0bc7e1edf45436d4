//! One call to a provider: what can come of it, and the HTTP client that makes it.
//!
//! Guarantees: one request is sent, never a second (no retry, no redirect); the answer comes within its time limit,
//! connecting included; a body larger than any provider sends is not read to its end; keys are never shown by `Debug`.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::id::Reference;
use crate::domain::payment::{CheckoutSession, Payment};
use crate::domain::provider::Provider;
use crate::platform::metrics::{self, Operation};

/// How long a provider has to answer.
pub const TIME_LIMIT: Duration = Duration::from_secs(15);

/// Creates a payment at its provider.
pub trait Gateway {
    /// Makes the one call of an attempt. `attempt` counts from 1 and grows only after a definite answer.
    fn create(&self, payment: &Payment, attempt: u32) -> impl Future<Output = Result<Accepted, CallError>> + Send;
}

/// The provider took the payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What the buyer goes on with.
    pub checkout_session: CheckoutSession,
    /// Further ids of the payment.
    pub references: Vec<Reference>,
}

/// Why a call gave nothing to go on with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The provider refused the request for good.
    #[error("the provider refused the request")]
    Rejected {
        /// The provider's own code.
        code: Option<String>,
        /// Ids the provider gave all the same.
        references: Vec<Reference>,
    },
    /// Too many requests.
    #[error("the provider throttles")]
    Throttled {
        /// When to come again, in seconds, as the provider says.
        retry_after: Option<u64>,
    },
    /// The provider did not take our key.
    #[error("the provider refused our key")]
    KeyRefused,
    /// An answer that cannot be used: 5xx, nonsense, or other money than asked for.
    #[error("the provider's answer cannot be used: {reason}")]
    Unusable {
        /// What is wrong with it.
        reason: &'static str,
        /// Ids the provider gave all the same.
        references: Vec<Reference>,
    },
    /// The connection failed, or something between us and the provider answered for it; whether the request arrived is
    /// not known.
    #[error("no answer from the provider itself")]
    NoAnswer,
    /// No answer in time; whether the request arrived is not known.
    #[error("the provider did not answer in time")]
    TimedOut,
}

impl CallError {
    /// An answer that cannot be used and names nothing.
    pub fn unusable(reason: &'static str) -> Self {
        Self::Unusable {
            reason,
            references: Vec::new(),
        }
    }

    /// Whether the provider gave an answer, so that the next attempt is a new request to it and not the same again.
    pub fn is_definite(&self) -> bool {
        match self {
            Self::Rejected { .. } | Self::Throttled { .. } | Self::KeyRefused | Self::Unusable { .. } => true,
            Self::NoAnswer | Self::TimedOut => false,
        }
    }

    /// What the failure of a call is counted as. `None`: the provider did its part, and refused the payment.
    pub(super) const fn failure(&self) -> Option<&'static str> {
        match self {
            Self::Rejected { .. } => None,
            Self::Throttled { .. } => Some("throttled"),
            Self::KeyRefused => Some("key_refused"),
            Self::Unusable { .. } => Some("unusable"),
            Self::NoAnswer => Some("no_answer"),
            Self::TimedOut => Some("timeout"),
        }
    }
}

/// Makes a call to a provider, and counts how long it took and what went wrong.
///
/// # Errors
/// The call's own.
pub async fn measured<T>(
    provider: Provider,
    operation: Operation,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let start = Instant::now();
    let answer = call.await;
    metrics::provider_called(provider, operation, start.elapsed());
    if let Err(error) = &answer {
        if let Some(failure) = error.failure() {
            metrics::provider_failed(provider, failure);
        }
        if *error == CallError::KeyRefused {
            metrics::provider_key_refused();
        }
    }
    answer
}
