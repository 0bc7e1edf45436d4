//! The bodies of the providers' webhooks, in every documented and observed shape.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::clock;
use super::json::Object;
use super::payments::Provider;

/// A webhook body's shape.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum WebhookShape {
    /// ApoloPay, as observed in production.
    A,
    /// ApoloPay, as documented.
    B,
    /// FinvyPay, as on its general webhook page.
    W1,
    /// `W1` wrapped in `{"request": …}`.
    #[serde(rename = "W1wrapped")]
    W1Wrapped,
    /// FinvyPay, as on its APM page.
    W2,
}

/// The content of a webhook.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) outcome: String,
    pub(super) id: Option<String>,
    pub(super) transaction_id: Option<String>,
    pub(super) order_id: Option<String>,
    pub(super) amount: Option<Box<RawValue>>,
    pub(super) currency: Option<String>,
    pub(super) metadata: Option<Box<RawValue>>,
    pub(super) payment_method: Option<String>,
    pub(super) first_name: Option<String>,
    pub(super) last_name: Option<String>,
    pub(super) email: Option<String>,
    pub(super) webhook_url: Option<String>,
    pub(super) at: Option<String>,
}

impl WebhookShape {
    pub(super) fn provider(self) -> Provider {
        match self {
            Self::A | Self::B => Provider::Apolopay,
            Self::W1 | Self::W1Wrapped | Self::W2 => Provider::Finvypay,
        }
    }

    /// The required fields of this shape, each with the member of the specification that sets it.
    pub(super) fn required(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::A => &[("id", "id"), ("amount", "amount")],
            Self::B => &[("processId", "id"), ("amount", "amount")],
            Self::W1 | Self::W1Wrapped => &[
                ("order_id", "orderId"),
                ("txn_id", "transactionId"),
                ("amount", "amount"),
                ("currency", "currency"),
            ],
            Self::W2 => &[
                ("paymentId", "id"),
                ("orderId", "orderId"),
                ("amount", "amount"),
                ("currency", "currency"),
            ],
        }
    }

    /// The body, before it is wrapped.
    pub(super) fn body(self, facts: &Facts, now: OffsetDateTime) -> Object {
        let status = bare_status(&facts.outcome);
        let at = facts.at.clone().unwrap_or_else(|| clock::to_milliseconds(now));
        match self {
            Self::A => Object::default()
                .with_some("id", facts.id.as_ref())
                .with("status", status)
                .with_some("amount", facts.amount.as_ref())
                .with("network", "apolopay")
                .with("asset", "USDT")
                .with("wallet", ())
                .with_some("metadata", facts.metadata.as_ref())
                .with("finalizedAt", at),
            Self::B => Object::default()
                .with("event", event(&facts.outcome))
                .with_some("processId", facts.id.as_ref())
                .with_some("amount", facts.amount.as_ref())
                .with_some("metadata", facts.metadata.as_ref())
                .with("timestamp", facts.at.clone().unwrap_or_else(|| clock::to_seconds(now))),
            Self::W1 | Self::W1Wrapped => {
                let data = Object::default()
                    .with_some("amount", facts.amount.as_ref())
                    .with_some("currency", facts.currency.as_ref())
                    .with_some("order_id", facts.order_id.as_ref())
                    .with_some("txn_id", facts.transaction_id.as_ref())
                    .with_some("firstName", facts.first_name.as_ref())
                    .with_some("lastName", facts.last_name.as_ref())
                    .with_some("email", facts.email.as_ref())
                    .with_some("webhookUrl", facts.webhook_url.as_ref());
                let status = if status == "completed" {
                    "SUCCESS".to_owned()
                } else {
                    finvypay_status(status)
                };
                Object::default()
                    .with("success", true)
                    .with("status", status)
                    .with("data", data)
            }
            Self::W2 => Object::default()
                .with("event", event(&facts.outcome))
                .with_some("paymentId", facts.id.as_ref())
                .with_some("orderId", facts.order_id.as_ref())
                .with("status", finvypay_status(status))
                .with_some("amount", facts.amount.as_ref())
                .with_some("currency", facts.currency.as_ref())
                .with_some("paymentMethod", facts.payment_method.as_ref())
                .with(time_field(status), at)
                .with_some("metadata", facts.metadata.as_ref()),
        }
    }
}

/// `completed` for both `completed` and `payment.completed`.
fn bare_status(outcome: &str) -> &str {
    outcome.strip_prefix("payment.").unwrap_or(outcome)
}

/// FinvyPay's status for an outcome: the five known ones in upper case, others verbatim.
pub(super) fn finvypay_status(outcome: &str) -> String {
    let status = bare_status(outcome);
    match status {
        "completed" | "authorized" | "pending" | "failed" | "cancelled" => status.to_ascii_uppercase(),
        _ => status.to_owned(),
    }
}

fn event(outcome: &str) -> String {
    if outcome.contains('.') {
        outcome.to_owned()
    } else {
        format!("payment.{outcome}")
    }
}

fn time_field(status: &str) -> &'static str {
    match status {
        "completed" => "completedAt",
        "authorized" => "authorizedAt",
        "failed" => "failedAt",
        "cancelled" => "cancelledAt",
        _ => "updatedAt",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::sign;

    const SECRET: &str = "whsec_test_secret";

    fn raw(text: &str) -> Option<Box<RawValue>> {
        Some(RawValue::from_string(text.to_owned()).unwrap())
    }

    fn body(shape: WebhookShape, facts: &Facts) -> String {
        shape.body(facts, OffsetDateTime::UNIX_EPOCH).to_string()
    }

    fn apolopay(amount: &str, at: &str) -> Facts {
        Facts {
            outcome: "completed".to_owned(),
            id: Some("a1b2c3d4-e5f6-7890-abcd-ef1234567890".to_owned()),
            amount: raw(amount),
            metadata: raw(r#"{"orderId":"ORD-9821"}"#),
            at: Some(at.to_owned()),
            ..Facts::default()
        }
    }

    fn finvypay() -> Facts {
        Facts {
            outcome: "completed".to_owned(),
            id: Some("pay_apm_2K9xR3mN5pQ7sT1w".to_owned()),
            transaction_id: Some("FP2603EXAMPLE00025".to_owned()),
            order_id: Some("ORD-APM-78901".to_owned()),
            amount: raw("99.99"),
            currency: Some("USD".to_owned()),
            metadata: raw(r#"{"internal_ref":"subscription_123"}"#),
            payment_method: Some("apple_pay".to_owned()),
            first_name: Some("Jane".to_owned()),
            last_name: Some("Smith".to_owned()),
            email: Some("customer@example.com".to_owned()),
            webhook_url: Some("https://your-domain.com/webhook".to_owned()),
            at: Some("2024-03-07T14:35:22.000Z".to_owned()),
        }
    }

    #[test]
    fn shape_a_matches_its_test_vector() {
        let body = body(WebhookShape::A, &apolopay("25.5", "2026-03-19T12:00:00.000Z"));
        assert_eq!(
            body,
            r#"{"id":"a1b2c3d4-e5f6-7890-abcd-ef1234567890","status":"completed","amount":25.5,"network":"apolopay","asset":"USDT","wallet":null,"metadata":{"orderId":"ORD-9821"},"finalizedAt":"2026-03-19T12:00:00.000Z"}"#
        );
        let signature = "82e7fd86c940b9369ca77d5445beb084e6ec9d28be4c560a863a781035438a02";
        assert_eq!(sign(SECRET, body.as_bytes()), signature);
    }

    #[test]
    fn shape_b_matches_its_test_vector() {
        let body = body(WebhookShape::B, &apolopay("25.50", "2026-03-19T12:00:00Z"));
        assert_eq!(
            body,
            r#"{"event":"payment.completed","processId":"a1b2c3d4-e5f6-7890-abcd-ef1234567890","amount":25.50,"metadata":{"orderId":"ORD-9821"},"timestamp":"2026-03-19T12:00:00Z"}"#
        );
        let signature = "8020553f5edc5ce3d2dd870986cee6a3ad3c3e4229b5a9c16c71089fa3de1e31";
        assert_eq!(sign(SECRET, body.as_bytes()), signature);
    }

    #[test]
    fn shape_w1_matches_its_test_vector() {
        let body = body(WebhookShape::W1, &finvypay());
        assert_eq!(
            body,
            r#"{"success":true,"status":"SUCCESS","data":{"amount":99.99,"currency":"USD","order_id":"ORD-APM-78901","txn_id":"FP2603EXAMPLE00025","firstName":"Jane","lastName":"Smith","email":"customer@example.com","webhookUrl":"https://your-domain.com/webhook"}}"#
        );
        let signature = "4be0cc63b694263fc5798d3c90355be2159662098f412320e641b99e543e87d5";
        assert_eq!(sign(SECRET, body.as_bytes()), signature);
    }

    #[test]
    fn shape_w2_matches_its_test_vector() {
        let body = body(WebhookShape::W2, &finvypay());
        assert_eq!(
            body,
            r#"{"event":"payment.completed","paymentId":"pay_apm_2K9xR3mN5pQ7sT1w","orderId":"ORD-APM-78901","status":"COMPLETED","amount":99.99,"currency":"USD","paymentMethod":"apple_pay","completedAt":"2024-03-07T14:35:22.000Z","metadata":{"internal_ref":"subscription_123"}}"#
        );
        let signature = "18e6a3aa1223e15ea326f29dc4b6f80c885cce92714b885a995b6f797dfb11ef";
        assert_eq!(sign(SECRET, body.as_bytes()), signature);
    }

    #[test]
    fn outcome_has_the_status_and_event_of_each_shape() {
        for (outcome, a, event, w1, w2) in [
            ("completed", "completed", "payment.completed", "SUCCESS", "COMPLETED"),
            (
                "authorized",
                "authorized",
                "payment.authorized",
                "AUTHORIZED",
                "AUTHORIZED",
            ),
            ("pending", "pending", "payment.pending", "PENDING", "PENDING"),
            ("failed", "failed", "payment.failed", "FAILED", "FAILED"),
            ("cancelled", "cancelled", "payment.cancelled", "CANCELLED", "CANCELLED"),
            ("Settled", "Settled", "payment.Settled", "Settled", "Settled"),
            (
                "payment.refunded",
                "refunded",
                "payment.refunded",
                "refunded",
                "refunded",
            ),
        ] {
            let facts = Facts {
                outcome: outcome.to_owned(),
                ..finvypay()
            };
            let member =
                |shape: WebhookShape, field| shape.body(&facts, OffsetDateTime::UNIX_EPOCH).text(field).unwrap();
            assert_eq!(member(WebhookShape::A, "status"), a);
            assert_eq!(member(WebhookShape::B, "event"), event);
            assert_eq!(member(WebhookShape::W1, "status"), w1);
            assert_eq!(member(WebhookShape::W2, "status"), w2);
            assert_eq!(member(WebhookShape::W2, "event"), event);
        }
    }
}
