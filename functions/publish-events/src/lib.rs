//! Publishes every change of a payment's status, and every payment that needs attention, to the merchant's event bus.
//!
//! Guarantees: every stored change is published at least once, in order for each payment; or it is in the dead-letter
//! queue under the payment's id; or its record is reported to Lambda, which retries from that record on. Nothing is
//! published that was not stored. The same holds for noticing that an order was paid twice.
//!
//! | module | responsibility |
//! |---|---|
//! | [`handler`] | invocation in, response out |
//! | [`stream`], [`retry_policy`] | one batch of the table's stream, and what happens to its failures |
//! | [`order_paid_twice`] | whether the payments that the batch completed belong to an order that was paid before |
//! | [`republish`] | one batch of the dead-letter queue, and the operator's command |
//! | [`payment_event`] | the events of a payment |
//! | [`event_bus`], [`dead_letter`] | the event bus and the dead-letter queue |

pub mod dead_letter;
pub mod event_bus;
pub mod handler;
pub mod order_paid_twice;
pub mod payment_event;
pub mod republish;
pub mod retry_policy;
pub mod stream;
