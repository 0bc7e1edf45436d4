//! Claims: general webhooks, which name only an order. One is about a payment that was paid at the stand-in, one about a
//! transaction that the stand-in does not know, and one comes before the payment of its order.

use super::*;

pub const CONFIRMED: &str = "claim of a paid transaction";
pub const UNKNOWN: &str = "claim of an unknown transaction";
pub const EARLY: &str = "claim before its payment";

/// The unmatched claims of a case: transactions that the stand-in does not know.
#[derive(Clone, Debug, Default)]
pub struct Unconfirmed {
    /// One that came before the payment.
    pub early: Option<String>,
    /// One that came after it.
    pub late: Option<String>,
}

impl Soak {
    /// Sends a claim on an order that has no payment yet.
    pub async fn claim_early(&self, case: &mut Case, buyer: usize) {
        if case.flow.provider == Provider::Finvypay {
            let transaction = unique("FPE");
            if self.send_unknown(case, &transaction, Value::Null, buyer).await {
                case.unconfirmed.early = Some(transaction);
                self.count(EARLY);
            }
        }
    }

    /// Sends a claim on the payment: paid at the stand-in, or unknown there. Nothing else says that it is paid.
    pub async fn claim(&self, case: &mut Case, buyer: usize, is_paid: bool) {
        let Some(there) = case.at_provider(&self.harness).await.pop() else {
            return;
        };
        if case.flow.provider != Provider::Finvypay {
            return;
        }
        if is_paid {
            let paid = json!({ "shape": "W1", "payment": there.id });
            if self.send_until_accepted(case, &paid, buyer).await.is_some() {
                case.is_paid = true;
                case.is_claimed = true;
                self.count(CONFIRMED);
            }
        } else {
            let transaction = unique("FPU");
            if self.send_unknown(case, &transaction, json!(there.id), buyer).await {
                case.unconfirmed.late = Some(transaction);
                case.provider_status = Some("expired");
                self.count(UNKNOWN);
            }
        }
    }

    async fn send_unknown(&self, case: &mut Case, transaction: &str, payment: Value, buyer: usize) -> bool {
        let claim = json!({
            "shape": "W1", "payment": payment, "transactionId": transaction, "orderId": case.order, "amount": 99.99,
            "currency": "USD", "moves": false,
        });
        self.send_until_accepted(case, &claim, buyer).await.is_some()
    }

    /// The numbers of claims that were confirmed, and that were not. Nothing was completed by its order alone.
    pub fn audit_claims(&self, cases: &[Case], table: &Table) -> (usize, usize) {
        let (mut confirmed, mut unconfirmed) = (0, 0);
        for case in cases {
            let payment = table.of_order(&case.order).first();
            if case.is_claimed && payment.is_some_and(|payment| payment["status"] == "completed") {
                confirmed += 1;
            }
            let kept = [&case.unconfirmed.early, &case.unconfirmed.late];
            for transaction in kept.into_iter().flatten() {
                if table.is_kept_as_claim(transaction) {
                    unconfirmed += 1;
                } else {
                    self.violation(format!("{}: the claim of {transaction} is not kept", case.order));
                }
            }
        }
        (confirmed, unconfirmed)
    }
}
