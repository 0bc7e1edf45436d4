//! Published examples of all documented webhooks, signed with `whsec_test_secret`.

use crate::domain::webhook_signature::{Signature, Verifier, WebhookSecret};

/// Name, body, signature.
const ALL: [(&str, &str, &str); 4] = [
    (
        "A",
        A,
        "82e7fd86c940b9369ca77d5445beb084e6ec9d28be4c560a863a781035438a02",
    ),
    (
        "B",
        B,
        "8020553f5edc5ce3d2dd870986cee6a3ad3c3e4229b5a9c16c71089fa3de1e31",
    ),
    (
        "W1",
        W1,
        "4be0cc63b694263fc5798d3c90355be2159662098f412320e641b99e543e87d5",
    ),
    (
        "W2",
        W2,
        "18e6a3aa1223e15ea326f29dc4b6f80c885cce92714b885a995b6f797dfb11ef",
    ),
];

pub(super) const A: &str = r#"{"id":"a1b2c3d4-e5f6-7890-abcd-ef1234567890","status":"completed","amount":25.5,"network":"apolopay","asset":"USDT","wallet":null,"metadata":{"orderId":"ORD-9821"},"finalizedAt":"2026-03-19T12:00:00.000Z"}"#;
pub(super) const B: &str = r#"{"event":"payment.completed","processId":"a1b2c3d4-e5f6-7890-abcd-ef1234567890","amount":25.50,"metadata":{"orderId":"ORD-9821"},"timestamp":"2026-03-19T12:00:00Z"}"#;
pub(super) const W1: &str = r#"{"success":true,"status":"SUCCESS","data":{"amount":99.99,"currency":"USD","order_id":"ORD-APM-78901","txn_id":"FP2603EXAMPLE00025","firstName":"Jane","lastName":"Smith","email":"customer@example.com","webhookUrl":"https://your-domain.com/webhook"}}"#;
pub(super) const W2: &str = r#"{"event":"payment.completed","paymentId":"pay_apm_2K9xR3mN5pQ7sT1w","orderId":"ORD-APM-78901","status":"COMPLETED","amount":99.99,"currency":"USD","paymentMethod":"apple_pay","completedAt":"2024-03-07T14:35:22.000Z","metadata":{"internal_ref":"subscription_123"}}"#;

#[test]
fn published_signature_verifies_only_the_exact_body() {
    let verifier = Verifier::new(WebhookSecret::new("whsec_test_secret").unwrap(), None);
    for (name, body, signature) in ALL {
        let signature = Signature::parse(signature).unwrap();
        assert!(verifier.verifies(body.as_bytes(), &signature), "{name}");
        assert!(
            !verifier.verifies(format!("{body}\n").as_bytes(), &signature),
            "{name} with a newline"
        );
    }
}
