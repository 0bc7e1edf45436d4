//! Publishes every change of a payment's status, and what a person should look at, to the merchant's event bus.
//!
//! Guarantees: what the table's stream tells of is put on the bus at least once, the events of one payment in their
//! order, or it is in the dead-letter queue under the payment's name, or the record is reported as failed, from which on
//! Lambda invokes the function again. Nothing is published that was not stored.
//!
//! | part | module |
//! |---|---|
//! | an event in, an answer out | [`handler`] |
//! | a batch of the table's stream | [`stream`], and what becomes of its failures in [`retry_policy`] |
//! | a batch of the dead-letter queue, an operator's word | [`republish`] |
//! | the bus and the dead-letter queue | [`event_bus`], [`dead_letter`] |

pub mod dead_letter;
pub mod event_bus;
pub mod handler;
pub mod payment_event;
pub mod republish;
pub mod retry_policy;
pub mod stream;
