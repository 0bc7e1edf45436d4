//! Webhooks in quarantine, and the operator's command that replays them.

use payment_functions::domain::provider::Provider as PaymentProvider;
use payment_functions::flows::quarantine::redacted_webhook;
use payment_functions::platform::clock;
use payment_functions::providers::UnreadableWebhook;
use payment_functions::store::Store;
use payment_functions_tests::world::Lambda;

use super::stack::Harness;
use super::*;

/// The operator who replays.
pub const ACTOR: &str = "ops";

/// A webhook in quarantine.
#[derive(Clone, Debug)]
pub struct Quarantined {
    pub digest: String,
    /// What it says. `None` if nobody can read it.
    pub content: Option<WebhookContent>,
    /// Whether an operator's replay of it was successful.
    pub is_replayed: bool,
}

impl Quarantined {
    /// The possible results of its replay. The fact may be there already, and the payment may be unknown.
    pub const fn results(&self) -> &'static [&'static str] {
        if self.content.is_some() {
            &["recorded", "duplicate", "unmatched"]
        } else {
            &["unreadable"]
        }
    }
}

impl Case {
    /// Puts a webhook that says that the payment is paid into quarantine, as if an earlier version could not read it.
    pub async fn quarantine_readable(&mut self, harness: &Harness, table: &str) {
        let there = self.at_provider(harness).await.pop().expect("a payment");
        let metadata = self
            .id
            .as_ref()
            .map_or_else(|| json!({}), |id| json!({ "paymentFunctionsId": id }));
        let body = match self.flow.provider {
            Provider::Apolopay => {
                json!({ "id": there.id, "status": "completed", "amount": 25.5, "metadata": metadata })
            }
            Provider::Finvypay => json!({
                "event": "payment.completed", "status": "COMPLETED", "paymentId": there.id, "orderId": self.order,
                "amount": 99.99, "currency": "USD", "metadata": metadata,
            }),
        };
        let body = body.to_string();
        let now = clock::now();
        let webhook = redacted_webhook(self.reader(), body.as_bytes(), None, UnreadableWebhook::NoPayment, now);
        let store = Store::open(&aws::clients(harness.aws.url()), table.to_owned());
        store.quarantine(&webhook, now).await.expect("the table");
        self.quarantined.push(Quarantined {
            digest: webhook.digest,
            content: Some(WebhookContent::of(&body, true)),
            is_replayed: false,
        });
    }

    /// Notes that the handler put this body into quarantine, so that it can be replayed.
    pub fn note_quarantined(&mut self, body: &str) {
        let reason = UnreadableWebhook::NoPayment;
        let webhook = redacted_webhook(self.reader(), body.as_bytes(), None, reason, clock::now());
        self.quarantined.push(Quarantined {
            digest: webhook.digest,
            content: None,
            is_replayed: false,
        });
    }

    fn reader(&self) -> PaymentProvider {
        match self.flow.provider {
            Provider::Apolopay => PaymentProvider::ApoloPay,
            Provider::Finvypay => PaymentProvider::FinvyPay,
        }
    }

    /// Replays the latest webhook in quarantine. Once that is successful, what it says counts as accepted.
    pub async fn replay(&mut self, lambda: &Lambda) -> Result<(), InvokeError> {
        let mut kept = self.quarantined.last().expect("a webhook in quarantine").clone();
        let command = json!({
            "action": "replay", "provider": aws::name(self.flow.provider), "digest": kept.digest,
            "actor": ACTOR, "reason": "a new version reads more",
        });
        let report = lambda.invoke(command.to_string()).await?;
        let report: Value = serde_json::from_slice(&report).expect("JSON");
        let counted = |name: &&str| report[*name] == 1;
        self.check(kept.results().iter().any(counted), || format!("replay: {report}"));
        if !kept.is_replayed {
            kept.is_replayed = true;
            self.sent.extend(kept.content.clone());
            *self.quarantined.last_mut().expect("the same") = kept;
        }
        Ok(())
    }
}
