//! One reader for FinvyPay's webhooks, status responses and listed transactions.
//!
//! Guarantees: a completion or an authorization is believed only if nothing beside it contradicts it, neither in the
//! envelope nor in the data: a `success` that is not `true`, an error, another status, or a second id of the same kind.
//! All three kinds of message with the same members have the same outcome. A message that speaks of money going back is
//! never believed as either.

use crate::domain::fact::{Fact, Outcome};
#[cfg(feature = "provider-client")]
use std::time::Duration;

use crate::domain::json::{Json, Object};
#[cfg(feature = "provider-client")]
use crate::domain::list_reading::Window;
use crate::domain::provider::Provider;
use crate::domain::time::Timestamp;
use crate::providers::finvypay::raw_status;
use crate::providers::members::Members;
use crate::providers::notification::{Notification, believed_outcome};
use crate::providers::reversals::read_reversals;

/// The members with the payment's id.
pub(super) const PAYMENT: &[&str] = &["paymentId"];

/// The members with the transaction's id.
pub(super) const TRANSACTION: &[&str] = &["txn_id", "transactionId"];

/// The members with the shop's order id.
pub(super) const ORDER: &[&str] = &["orderId", "order_id"];

/// A message about one payment.
#[derive(Debug)]
pub(super) struct Message<'a> {
    /// The envelope and the data, for the status and what contradicts it.
    whole: Members<'a>,
    /// The objects with the payment's ids, money and times.
    data: Members<'a>,
}

/// What a message says.
#[derive(Debug)]
pub(super) struct Reading {
    /// The notification, with the order that the message names.
    pub(super) notification: Notification,
    /// An id or the order is there but cannot be read, or there are two.
    pub(super) is_doubtful: bool,
}

impl Reading {
    /// The notification without its order if an id is doubtful. The order decides only where there is no id that we
    /// know, and an id that cannot be read may be one that we know, of another payment.
    pub(super) fn without_doubtful_order(mut self) -> Notification {
        if self.is_doubtful {
            self.notification.fact.order_id = None;
        }
        self.notification
    }
}

/// Maps a status name, or an event name of W2, to its outcome.
fn outcome(name: &str) -> Option<Outcome> {
    match name.to_ascii_lowercase().strip_prefix("payment.") {
        Some(event @ ("completed" | "authorized" | "pending" | "failed" | "cancelled" | "canceled")) => {
            raw_status::outcome(event)
        }
        Some(_) => None,
        None => raw_status::outcome(name),
    }
}

impl<'a> Message<'a> {
    /// A webhook. W2 has its members at the top, W1 in `data`, and W1 was also seen inside `request`.
    pub(super) fn of_webhook(body: &'a Object) -> Self {
        let request = body.get("request").and_then(Json::as_object);
        let envelopes = [Some(body), request].into_iter().flatten();
        let objects = Members::of(envelopes.flat_map(|envelope| {
            let data = envelope.get("data").and_then(Json::as_object);
            [Some(envelope), data].into_iter().flatten()
        }));
        Self {
            whole: objects.clone(),
            data: objects,
        }
    }

    /// The data of a status response, or an entry of a list, with its envelope. `None` if it has no status of its own.
    #[cfg(feature = "provider-client")]
    pub(super) fn of_response(envelope: &'a Object, data: &'a Object) -> Option<Self> {
        let message = Self {
            whole: Members::of([envelope, data]),
            data: Members::of([data]),
        };
        (!message.data.status_words().is_empty()).then_some(message)
    }

    /// Whether any of its times is in the window, or it has none.
    #[cfg(feature = "provider-client")]
    pub(super) fn is_of(&self, window: Window, tolerance: Duration) -> bool {
        const TIMES: [&str; 6] = [
            "createdAt",
            "created_at",
            "completedAt",
            "completed_at",
            "updatedAt",
            "updated_at",
        ];
        let (from, to) = (window.from.minus(tolerance), window.to.plus(tolerance));
        let mut times = self.data.times(&TIMES).peekable();
        times.peek().is_none() || times.any(|time| from <= time && time < to)
    }

    /// Reads a response. If its metadata is another system's, its order is doubtful: every payment of ours has our id in
    /// its metadata.
    #[cfg(feature = "provider-client")]
    pub(super) fn read_response(&self, received_at: Timestamp) -> Reading {
        let mut reading = self.read(received_at);
        reading.notification.fact.is_foreign = self.data.has_foreign_metadata();
        reading.is_doubtful |= reading.notification.fact.is_foreign;
        reading
    }

    /// Whether it is a test message.
    pub(super) fn is_test(&self) -> bool {
        self.whole.is_test()
    }

    /// Reads the message.
    pub(super) fn read(&self, received_at: Timestamp) -> Reading {
        let payment = self.data.reference(PAYMENT);
        let transaction = self.data.reference(TRANSACTION);
        let order_id = self.data.order_id(ORDER);
        let payment_id = self.data.payment_id();
        let mut contradictions = self.whole.contradictions();
        if payment.differs || transaction.differs || order_id.differs || payment_id.differs {
            contradictions.push_str(" ids:differ");
        }
        let reversals = read_reversals(&self.whole, &self.data);
        let words = self.whole.status_words();
        let (outcome, raw_status) = believed_outcome(&words, &contradictions, &reversals, outcome);
        Reading {
            is_doubtful: payment.is_doubtful()
                || transaction.is_doubtful()
                || order_id.is_doubtful()
                || payment_id.is_doubtful(),
            notification: Notification {
                payment_id: payment_id.value,
                fact: Fact {
                    provider: Provider::FinvyPay,
                    payment: payment.value,
                    transaction: transaction.value,
                    order_id: order_id.value,
                    outcome,
                    raw_status,
                    amount: self.data.amount(),
                    currency: self.data.currency(),
                    reversals,
                    occurred_at: self.data.time(&["completedAt", "updatedAt", "timestamp"]),
                    created_at: self.data.latest_time(&["createdAt"]),
                    is_foreign: false,
                    received_at,
                    operator: None,
                },
            },
        }
    }
}

#[cfg(test)]
mod tests;
