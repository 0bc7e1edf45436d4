//! Webhooks and status responses that raise attention: money goes back, wholly or in part, or comes again; or nobody
//! documented the status. They concern payments of any status, before and after the completion.

use super::*;

/// The days on which money goes back: few, so that webhooks repeat and undo one another.
pub const DAYS: u8 = 4;
/// The percentage of payments with such a webhook before they are paid, and of those with one afterwards.
const OFTEN: u8 = 25;

/// The webhooks, by name: what they say unlike a completion.
pub fn webhooks(day: u8) -> [(&'static str, Value); 7] {
    let date = |more: u8| format!("2026-01-{:02}", day + 1 + more);
    let partial = json!({ "status": true, "amount": day + 1, "refund_date": date(0) });
    [
        ("partial refund", json!({ "extra": { "refund": partial } })),
        (
            "undone refund",
            json!({ "extra": { "refundDate": date(0), "refundRemoveDate": date(1) } }),
        ),
        ("chargeback", json!({ "extra": { "chargebackDate": date(0) } })),
        (
            "undone chargeback",
            json!({ "extra": { "chargebackDate": date(0), "chargebackRemoveDate": date(1) } }),
        ),
        ("refund without a date", json!({ "outcome": "refunded" })),
        ("refund", json!({ "extra": { "refundDate": date(0) } })),
        ("undocumented status", json!({ "outcome": "settled" })),
    ]
    .map(|(name, said)| (name, with(said, json!({ "moves": false }))))
}

/// What FinvyPay's status says of a payment about which nothing else is believed.
pub struct StatusResponse {
    pub name: &'static str,
    pub says: &'static str,
    pub extra: Value,
    /// The payment's status in the end.
    pub ends_as: &'static str,
}

fn status_responses() -> Vec<StatusResponse> {
    let (date, later) = ("2026-01-02", "2026-01-03");
    [
        (
            "refund in a status",
            "COMPLETED",
            json!({ "refundDate": date }),
            "expired",
        ),
        (
            "chargeback in a status",
            "SUCCESS",
            json!({ "chargebackDate": date }),
            "expired",
        ),
        (
            "undone refund in a status",
            "COMPLETED",
            json!({ "refundDate": date, "refundRemoveDate": later }),
            "expired",
        ),
        ("undocumented status at the provider", "SETTLED", json!({}), "expired"),
        ("pending at the provider", "PENDING", json!({}), "expired"),
        ("failed at the provider", "FAILED", json!({}), "failed"),
        ("completed at the provider", "COMPLETED", json!({}), "completed"),
    ]
    .map(|(name, says, extra, ends_as)| StatusResponse {
        name,
        says,
        extra,
        ends_as,
    })
    .into()
}

fn counted(name: &str, provider: Provider) -> String {
    format!("{name}, {}", aws::name(provider))
}

/// The counters of all these webhooks and status responses.
pub fn must_be_sent() -> impl Iterator<Item = String> {
    let of = |provider| webhooks(0).map(|(name, _)| counted(name, provider));
    BOTH.into_iter().flat_map(of).chain(status_names())
}

fn status_names() -> impl Iterator<Item = String> {
    status_responses().into_iter().map(|status| status.name.to_owned())
}

impl Soak {
    pub fn has_unsent_status(&self) -> bool {
        self.missing_of(status_names()).is_some()
    }

    /// The status response for the next payment: one that was not sent yet, if there is one.
    pub fn next_status(&self, random: &mut fastrand::Rng) -> StatusResponse {
        let mut all = status_responses();
        let missing = self.missing_of(status_names());
        let unsent = all.iter().position(|status| Some(status.name) == missing.as_deref());
        all.swap_remove(unsent.unwrap_or_else(|| random.usize(..all.len())))
    }

    /// Sends a webhook that raises attention, once or twice, by chance or because none of its kind was sent yet.
    pub async fn raise_attention(&self, case: &mut Case, buyer: usize, random: &mut fastrand::Rng) {
        let provider = case.flow.provider;
        let Some(there) = case.at_provider(&self.harness).await.pop() else {
            return;
        };
        let all = webhooks(random.u8(..DAYS));
        let names = all.iter().map(|(name, _)| counted(name, provider));
        let unsent = self.missing_of(names.clone());
        let (name, said) = match names.zip(&all).find(|(name, _)| Some(name) == unsent.as_ref()) {
            Some((name, (_, said))) => (name, said),
            None if random.u8(..100) < OFTEN => {
                let (name, said) = random.choice(&all).expect("some");
                (counted(name, provider), said)
            }
            None => return,
        };
        for _ in 0..random.u8(1..=2) {
            let kind = random.choice(Webhook::ALL).expect("some").spec(provider);
            let spec = with(with(kind, said.clone()), json!({ "payment": there.id }));
            if self.send_until_accepted(case, &spec, buyer).await.is_some() {
                self.count(&name);
            }
        }
    }
}
