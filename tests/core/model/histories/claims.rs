//! Notifications that name only an order, and what FinvyPay says about the transactions of nobody known.

use super::*;

/// What FinvyPay says of a claim's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Unknown,
    Pending,
    /// Paid, without metadata.
    Paid,
    /// Paid, with our id in its metadata.
    PaidByName,
    OtherMoney,
    OtherOrder,
    Failed,
}

impl Verdict {
    pub const ALL: [Self; 7] = [
        Self::Unknown,
        Self::Pending,
        Self::Paid,
        Self::PaidByName,
        Self::OtherMoney,
        Self::OtherOrder,
        Self::Failed,
    ];

    pub fn is_paid(self) -> bool {
        matches!(self, Self::Paid | Self::PaidByName)
    }
}

/// A transaction that a general webhook claims for the order of a payment.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The payment that is meant.
    pub payment: usize,
    pub transaction: String,
    pub amount: &'static str,
    /// In the order in which they are sent, all with the time of the first receipt.
    pub webhooks: Vec<Notification>,
    /// Whether they were acknowledged.
    pub is_delivered: bool,
    /// What FinvyPay says at first and in the end.
    pub verdicts: [Verdict; 2],
    /// Whether the order's list has the transaction once it is paid.
    pub is_listed: bool,
}

impl Claim {
    /// What FinvyPay says at first or in the end. It names no payment that does not exist.
    pub fn verdict(&self, in_the_end: bool, is_payment_there: bool) -> Verdict {
        let mut verdicts = self.verdicts[..=usize::from(in_the_end)].iter().rev();
        let is_possible = |verdict: &&Verdict| is_payment_there || **verdict != Verdict::PaidByName;
        *verdicts.find(is_possible).unwrap_or(&Verdict::Unknown)
    }

    /// FinvyPay's data about the transaction.
    fn data(&self, verdict: Verdict, order: &str, our_id: Option<PaymentId>) -> Option<Value> {
        let status = match verdict {
            Verdict::Unknown => return None,
            Verdict::Pending => "PENDING",
            Verdict::Failed => "FAILED",
            Verdict::Paid | Verdict::PaidByName | Verdict::OtherMoney | Verdict::OtherOrder => "COMPLETED",
        };
        let amount = if verdict == Verdict::OtherMoney {
            "1"
        } else {
            self.amount
        };
        let order = if verdict == Verdict::OtherOrder {
            "elsewhere"
        } else {
            order
        };
        let mut data = json!({
            "transactionId": self.transaction, "orderId": order, "status": status,
            "amount": amount.parse::<f64>().unwrap(), "currency": "USD",
        });
        if verdict == Verdict::PaidByName {
            data["metadata"] = json!({ "paymentFunctionsId": our_id });
        }
        Some(data)
    }
}

impl Simulation {
    /// Sends general webhooks about a transaction that no payment has.
    pub async fn claim(&self, mut claim: Claim, has_pending: bool) {
        let order = self.history(claim.payment).order.clone();
        claim.transaction = format!("C{}", self.id_count.fetch_add(1, Ordering::Relaxed));
        let outcomes = [Outcome::Pending, Outcome::Completed];
        let ids = ProviderIds {
            payment: String::new(),
            transaction: claim.transaction.clone(),
            created_at: clock::now(),
        };
        for outcome in &outcomes[usize::from(!has_pending)..] {
            let content = Content {
                outcome: *outcome,
                amount: Some(claim.amount),
                ..Content::completion(1)
            };
            let webhook = Webhook {
                provider: Provider::FinvyPay,
                ids: &ids,
                order: &order,
                our_id: None,
                content: &content,
            };
            claim.webhooks.push(webhook.read());
        }
        let nth = {
            let mut claims = self.claims.lock().unwrap();
            claims.push(claim);
            claims.len() - 1
        };
        self.deliver_claim(nth).await;
    }

    /// Sends a claim, or repeats it.
    pub async fn deliver_claim(&self, nth: usize) {
        let webhooks = self.claims.lock().unwrap()[nth].webhooks.clone();
        for webhook in &webhooks {
            record_notification(&self.store, webhook, self.matching, clock::now())
                .await
                .unwrap();
        }
        self.claims.lock().unwrap()[nth].is_delivered = true;
    }

    /// FinvyPay's answers about the transactions of claims. Returns the entries of lists, by order.
    pub fn answer_claims(&self) -> Vec<(String, (Timestamp, Notification))> {
        let mut listed = Vec::new();
        for claim in self.claims.lock().unwrap().iter().filter(|claim| claim.is_delivered) {
            let (order, our_id) = {
                let history = self.history(claim.payment);
                (history.order.clone(), history.id)
            };
            let verdict = claim.verdict(self.is_recovering, our_id.is_some());
            let Some(data) = claim.data(verdict, &order, our_id) else {
                continue;
            };
            let body = json!({ "success": true, "data": data });
            let id = Reference::parse(&claim.transaction).unwrap();
            let read = finvypay::status::read_status(&messages::reply(&body), &id, clock::now());
            self.status_api.set_status(&claim.transaction, read.unwrap().unwrap());
            if claim.is_listed && verdict.is_paid() {
                let body = json!({ "success": true, "data": { "transactions": [data] } });
                let order_id = OrderId::parse(&order).unwrap();
                let rows = finvypay::status::read_transactions(&messages::reply(&body), &order_id, clock::now());
                let created_at = claim.webhooks[0].fact.received_at;
                listed.extend(rows.unwrap().into_iter().map(|row| (order.clone(), (created_at, row))));
            }
        }
        listed
    }
}
