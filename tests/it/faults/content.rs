//! What webhooks and status responses say, and the attention that this must raise, by rules of the test's own.

use std::collections::BTreeSet;

use payment_functions_local::sandbox::Delivery;

use super::*;

/// The relevant members of a webhook's body, or of the data of a status response.
#[derive(Clone, Debug)]
pub struct WebhookContent {
    /// Whether it got 200. It may be stored even if it did not.
    pub is_accepted: bool,
    pub payment: Option<String>,
    pub transaction: Option<String>,
    /// Its status in lower case, if that is undocumented.
    pub new_status: Option<String>,
    pub is_completion: bool,
    /// Whether it says that money has moved, and something beside that says otherwise.
    pub is_contradictory: bool,
    /// The money that went back, or came again, as [`reversals_in`] shows it.
    pub reversals: Vec<Value>,
    pub names_ours: bool,
    pub amount: Value,
    /// The order of a webhook that nobody can read. It must be in quarantine.
    pub unreadable: Option<String>,
}

pub fn is_accepted(delivery: &Delivery) -> bool {
    delivery.status == Some(200)
}

impl WebhookContent {
    pub fn of_delivery(delivery: &Delivery) -> Self {
        Self::of(&delivery.sent.body, is_accepted(delivery))
    }

    pub fn of(body: &str, is_accepted: bool) -> Self {
        let body: Value = serde_json::from_str(body).expect("JSON");
        let data = if body["data"].is_object() { &body["data"] } else { &body };
        let text = |names: &[&str]| names.iter().find_map(|name| data[*name].as_str()).map(str::to_owned);
        let status = [&body["event"], &body["status"]].into_iter().find_map(Value::as_str);
        let status = status.unwrap_or_default().to_lowercase();
        let status = status.trim_start_matches("payment.");
        let is_paid = ["completed", "success"].contains(&status);
        let is_contradicted = body["success"] == false || body["error"].is_object();
        let others = ["authorized", "pending", "failed", "cancelled"];
        let reversals = reversals_said(&body, status);
        let is_undone = !reversals.is_empty() && !reversals.iter().any(is_gone);
        Self {
            is_accepted,
            payment: text(&["id", "processId", "paymentId"]),
            transaction: text(&["txn_id", "transactionId"]),
            new_status: (!is_paid && !others.contains(&status)).then(|| status.to_owned()),
            is_completion: is_paid && !is_contradicted && reversals.is_empty(),
            is_contradictory: (is_paid || status == "authorized")
                && (is_undone || is_contradicted && reversals.is_empty()),
            reversals,
            names_ours: data["metadata"]["paymentFunctionsId"].is_string(),
            amount: data["amount"].clone(),
            unreadable: body["result"]["orderId"].as_str().map(str::to_owned),
        }
    }

    pub fn ids(&self) -> impl Iterator<Item = &String> {
        self.payment.iter().chain(&self.transaction)
    }

    /// Whether it is no proof: it names neither our payment nor the provider's.
    pub const fn names_only_order(&self) -> bool {
        self.payment.is_none() && !self.names_ours
    }

    /// Whether nobody can tell what it means. ApoloPay documents completions only, and cannot be asked.
    fn is_unclear(&self, provider: Provider) -> bool {
        let is_gone = self.reversals.iter().any(is_gone);
        match provider {
            Provider::Apolopay => !self.is_completion && !is_gone,
            Provider::Finvypay => self.new_status.is_some() && !is_gone,
        }
    }
}

/// The reversals of a fact in the table: kind, whether undone, the amount as a text, and the time in milliseconds
/// since 1970.
pub fn reversals_in(fact: &Value) -> Vec<Value> {
    let reversals = fact["reversals"].as_array().into_iter().flatten();
    let comparable = |it: &Value| json!([it["kind"], it["undone"] == true, it["amount"], number(&it["at"])]);
    reversals.map(comparable).collect()
}

/// A number of an item.
pub fn number(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}

/// The same of what a body says, by dates (`refundDate`, `refundRemoveDate`), an object or the status.
fn reversals_said(body: &Value, status: &str) -> Vec<Value> {
    let said = |kind: &str| {
        let date = |suffix: &str| january(&body[format!("{kind}{suffix}")]);
        let inner = &body[kind];
        let undone_at = date("RemoveDate");
        let gone_at = date("Date").or_else(|| january(&inner[format!("{kind}_date")]));
        let amount = inner["amount"].as_u64().map(|amount| amount.to_string());
        let at = undone_at.or(gone_at);
        (at.is_some() || status.starts_with(kind)).then(|| json!([kind, undone_at.is_some(), amount, at]))
    };
    ["refund", "chargeback"].into_iter().filter_map(said).collect()
}

/// The milliseconds since 1970 of a day in January 2026, such as `2026-01-02`.
fn january(date: &Value) -> Option<u64> {
    let day: u64 = date.as_str()?.strip_prefix("2026-01-")?.parse().expect("a day");
    Some((1_767_225_600 + (day - 1) * DAY) * 1000)
}

fn is_gone(reversal: &Value) -> bool {
    reversal[1] == false
}

/// The reasons for attention of a payment about which the provider said all this: without those about money received.
pub fn attention(provider: Provider, said: &[&WebhookContent]) -> BTreeSet<&'static str> {
    let went_back = |kind: &str| {
        let of_kind = || said.iter().flat_map(|said| &said.reversals).filter(|it| it[0] == kind);
        let last_undone = of_kind()
            .filter(|it| !is_gone(it))
            .filter_map(|it| it[3].as_u64())
            .max();
        // The later date wins. What has no date is the latest.
        let mut gone = of_kind().filter(|it| is_gone(it)).map(|it| it[3].as_u64());
        gone.any(|at| at.is_none_or(|at| last_undone.is_none_or(|undone_at| at >= undone_at)))
    };
    let reasons = [
        ("refunded", went_back("refund")),
        ("chargeback", went_back("chargeback")),
        ("unrecognised_status", said.iter().any(|said| said.is_unclear(provider))),
    ];
    reasons
        .into_iter()
        .filter_map(|(reason, holds)| holds.then_some(reason))
        .collect()
}
