//! FinvyPay's webhooks: W1 (general documentation), W1 wrapped in `request`, and W2 (APM documentation).

use crate::domain::json::Object;
use crate::domain::time::Timestamp;
use crate::providers::finvypay::message::Message;
use crate::providers::notification::{Notification, UnreadableWebhook, Webhooks};

/// All formats have their signature in the same header.
pub(in crate::providers) const WEBHOOKS: Webhooks = Webhooks {
    signature_headers: &["fs-webhook-hash"],
    read: read_body,
};

fn read_body(body: &Object, received_at: Timestamp) -> Result<Notification, UnreadableWebhook> {
    let message = Message::of_webhook(body);
    let notification = message.read(received_at).without_doubtful_order();
    if message.is_test() && notification.payment_id.is_none() {
        return Err(UnreadableWebhook::TestMessage);
    }
    Ok(notification)
}

#[cfg(test)]
mod tests;
