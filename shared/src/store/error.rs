//! Errors of the payments table.

use aws_sdk_dynamodb::error::BuildError;

/// The table could not be read or written. The text holds no data of an item.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB cannot be reached, throttled the operation or refused it.
    #[error("DynamoDB {operation} failed: {reason}")]
    Failed {
        /// The operation.
        operation: &'static str,
        /// DynamoDB's error code or the connection's error, with a hint if an operator must act.
        reason: String,
    },
    /// No response within the time limit. Whether the operation took effect is unknown.
    #[error("DynamoDB did not respond in time")]
    TimedOut,
    /// Concurrent writes of the same items won every time.
    #[error("too much contention")]
    Contended,
    /// An item does not have the form that this program writes.
    #[error("an item cannot be read")]
    Corrupt,
    /// A request could not be built.
    #[error("a request to DynamoDB could not be built")]
    Build(#[from] BuildError),
}

impl StoreError {
    /// Whether a retry may succeed: after contention, and after any failure outside this program.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Failed { .. } | Self::TimedOut | Self::Contended => true,
            Self::Corrupt | Self::Build(_) => false,
        }
    }
}
