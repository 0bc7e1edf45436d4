//! What a function does with a request or a notification, step by step.

#[cfg(feature = "creation")]
pub mod create_payment;
pub mod quarantine;
#[cfg(feature = "creation")]
pub mod quote;
pub mod record_notification;
