//! Payments and their rules: no AWS, no network, no clock.

pub mod attention;
pub mod decimal;
pub mod fact;
pub mod id;
pub mod idempotency;
pub mod json;
pub mod list_reading;
pub mod money;
pub mod order_matching;
pub mod payment;
pub mod provider;
pub mod redacted;
pub mod redaction;
pub mod request_rate;
pub(crate) mod reversal_words;
pub mod schedule;
pub mod status;
pub mod time;
pub mod webhook_signature;
