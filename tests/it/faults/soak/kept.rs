//! Signed webhooks that must be kept, whatever they say: unreadable and contradictory ones, bursts under an unknown id,
//! and those that an operator replays from quarantine.

use payment_functions_local::sandbox::Delivery;

use super::super::flows::{UNREADABLE, numbered_webhook};
use super::attention::{DAYS, webhooks};
use super::*;

/// The number of webhooks in a burst, and the number of these that must come before the response to the create call for
/// the burst to count.
const BURST: usize = 48;
const EARLY: usize = 40;

/// What happens to a payment beside what happens to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    Nothing,
    /// Many distinct webhooks come under the provider's id before the create call has its response.
    Burst,
    /// Webhooks contradict themselves. No other comes: the payment ends as the provider's own status says.
    Contradictory,
    /// A webhook is unreadable. An operator replays it in vain.
    Unreadable,
    /// A webhook is in quarantine, and can be read when an operator replays it. Nothing else says that it is paid.
    Replayed,
    /// It is paid, and only a webhook that names its order says so.
    Claim,
    /// Webhooks that name its order say that it is paid. The provider does not know their transactions.
    UnknownClaim,
}

impl Extra {
    pub const ALL: [Self; 7] = [
        Self::Burst,
        Self::Contradictory,
        Self::Unreadable,
        Self::Replayed,
        Self::Claim,
        Self::UnknownClaim,
        Self::Nothing,
    ];

    pub const fn may_be_paid_otherwise(self) -> bool {
        !matches!(
            self,
            Self::Contradictory | Self::Replayed | Self::Claim | Self::UnknownClaim
        )
    }
}

impl Soak {
    /// The extra of a buyer's next payment. The first ones have one after the other, so that the shortest soak has all,
    /// and so do those after the planned time. Otherwise bursts are rare.
    pub fn next_extra(&self, provider: Provider, buyer: usize, nth: usize, random: &mut fastrand::Rng) -> Extra {
        if nth >= Extra::ALL.len() && provider == Provider::Finvypay && self.has_unsent_status() {
            return Extra::Contradictory;
        }
        if nth < Extra::ALL.len() || Instant::now() >= self.until {
            return Extra::ALL[(buyer + nth) % Extra::ALL.len()];
        }
        match random.u8(..100) {
            0 => Extra::Burst,
            1..5 => Extra::Contradictory,
            5..13 => Extra::Unreadable,
            13..20 => Extra::Replayed,
            20..28 => Extra::Claim,
            28..32 => Extra::UnknownClaim,
            _ => Extra::Nothing,
        }
    }

    /// Sets what the provider sends before it replies to the create call: a burst, or by chance one webhook.
    pub async fn script_early_webhooks(&self, case: &Case, extra: Extra, buyer: usize, random: &mut fastrand::Rng) {
        let provider = case.flow.provider;
        let webhooks: Vec<Value> = if extra == Extra::Burst {
            (0..BURST)
                .map(|number| numbered_webhook(provider, number, false))
                .collect()
        } else if extra.may_be_paid_otherwise() && random.u8(..10) == 0 {
            self.count("webhook before the response");
            let early = random.choice(Webhook::ALL).expect("some").spec(provider);
            let day = random.u8(..DAYS);
            let (_, said) = random.choice(webhooks(day)).expect("some");
            vec![if random.bool() { early } else { with(early, said) }]
        } else {
            return;
        };
        let url = format!("{}/webhooks/{}", self.webhook_handler(buyer), aws::name(provider));
        let to_buyer = |webhook: Value| with(webhook, json!({ "url": url }));
        let webhooks: Vec<Value> = webhooks.into_iter().map(to_buyer).collect();
        case.script_reply(&self.harness, &json!({ "webhookBeforeReply": webhooks }))
            .await;
    }

    pub fn webhook_handler(&self, buyer: usize) -> String {
        self.harness.function_urls.url(&function_name("webhook-handler", buyer))
    }

    pub async fn add_extra(&self, case: &mut Case, extra: Extra, buyer: usize, random: &mut fastrand::Rng) {
        if case.at_provider(&self.harness).await.is_empty() {
            return;
        }
        match extra {
            Extra::Nothing => {}
            Extra::Burst => self.finish_burst(case, buyer).await,
            Extra::Contradictory => self.contradict(case, buyer, random).await,
            Extra::Unreadable => {
                let unreadable = json!({ "body": UNREADABLE, "moves": false });
                if let Some(delivery) = self.send_until_accepted(case, &unreadable, buyer).await {
                    self.count("unreadable webhook");
                    case.note_quarantined(&delivery.sent.body);
                    self.replay(case).await;
                }
            }
            Extra::Claim => self.claim(case, buyer, true).await,
            Extra::UnknownClaim => self.claim(case, buyer, false).await,
            Extra::Replayed => {
                case.quarantine_readable(&self.harness, &self.table).await;
                self.replay(case).await;
            }
        }
    }

    /// Sends the webhooks of a burst again that were not acknowledged.
    async fn finish_burst(&self, case: &mut Case, buyer: usize) {
        let early: BTreeSet<Option<String>> = case.accepted().map(|said| said.new_status.clone()).collect();
        self.count_more(
            "burst webhook before the response",
            u64::try_from(early.len()).expect("small"),
        );
        if early.len() >= EARLY {
            self.count("burst before the response");
        }
        for number in 0..BURST {
            let webhook = numbered_webhook(case.flow.provider, number, false);
            let status = webhook["outcome"].as_str().map(str::to_lowercase);
            if !early.contains(&status) {
                self.send_until_accepted(case, &webhook, buyer).await;
            }
        }
    }

    /// Sends contradictory webhooks only. The reconciler then asks FinvyPay, and not ApoloPay, which cannot be asked.
    async fn contradict(&self, case: &mut Case, buyer: usize, random: &mut fastrand::Rng) {
        let provider = case.flow.provider;
        let there = case.at_provider(&self.harness).await.pop().expect("a payment");
        let mut expected = "expired";
        if provider == Provider::Finvypay {
            let status = self.next_status(random);
            let (name, ends_as) = (status.name, status.ends_as);
            let change = json!({
                "provider": "finvypay", "id": there.id, "status": status.says, "extra": status.extra,
            });
            self.harness
                .stand_ins
                .control
                .set_payment(&change)
                .await
                .expect("a payment");
            let says = with(json!({ "status": status.says }), status.extra);
            case.provider_says = Some(WebhookContent::of(&says.to_string(), false));
            self.count(name);
            expected = ends_as;
        }
        let contradictions = [json!({ "success": false }), json!({ "error": { "code": "DECLINED" } })];
        for contradiction in contradictions {
            let kind = random.choice(Webhook::ALL).expect("some").spec(provider);
            let spec = with(
                kind,
                json!({ "payment": there.id, "extra": contradiction, "moves": false }),
            );
            if self.send_until_accepted(case, &spec, buyer).await.is_some() {
                self.count("contradictory webhook");
            }
        }
        self.count("ending by the provider's status");
        case.provider_status = Some(expected);
    }

    /// Sends a webhook until it is acknowledged, as FinvyPay does.
    pub async fn send_until_accepted(&self, case: &mut Case, spec: &Value, buyer: usize) -> Option<Delivery> {
        for _ in 0..MOST_TRIES {
            let sent = case
                .send_webhook(&self.harness, spec, &self.webhook_handler(buyer))
                .await;
            let delivery = sent.into_iter().next()?;
            self.count("webhook");
            match delivery.status {
                Some(200) => return Some(delivery),
                // Here 502 means that the process was killed.
                Some(502 | 503) => tokio::time::sleep(POLL).await,
                _ => case.violation(format!("webhook response {delivery:?}")),
            }
        }
        case.violation(format!("never acknowledged: {spec}"));
        None
    }

    /// Replays the case's latest webhook in quarantine until the command succeeds.
    async fn replay(&self, case: &mut Case) {
        for _ in 0..MOST_TRIES {
            self.count("operator command");
            let name = function_name("reconcile-payments", OPERATOR_FUNCTION);
            match case.replay(&self.harness.function_urls.function(&name)).await {
                Ok(()) => return self.count("replay"),
                Err(error) => case.check(is_transient(&error), || format!("replay: {error}")),
            }
            tokio::time::sleep(POLL).await;
        }
        case.violation("replays keep failing".to_owned());
    }
}
