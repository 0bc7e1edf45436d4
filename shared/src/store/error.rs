//! What can go wrong with the table.

use aws_sdk_dynamodb::error::BuildError;

/// The store could not do what was asked. Nothing of an item is in the text.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The table cannot be reached, throttles, or refused the operation.
    #[error("DynamoDB {operation} failed: {why}")]
    Failed {
        /// The operation.
        operation: &'static str,
        /// DynamoDB's code, or what went wrong before there was one; and what to do where only a person can do something.
        why: String,
    },
    /// It took too long; whether it was done is not known.
    #[error("DynamoDB did not answer in time")]
    TimedOut,
    /// Others wrote the same items all the time.
    #[error("too much contention")]
    Contended,
    /// An item is not what this program writes.
    #[error("an item cannot be read")]
    Corrupt,
    /// A request could not be built.
    #[error("a request to DynamoDB could not be built")]
    Build(#[from] BuildError),
}
