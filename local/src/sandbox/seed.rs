//! FinvyPay's payments in bulk, as after many create calls.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::clock;
use super::json::Object;
use super::payments::{Payment, Provider, StatusIds};

const MAX_COUNT: u32 = 1_000_000;
/// How long a buyer takes to pay.
const PAID_AFTER: Duration = Duration::seconds(30);

/// The body of `POST /_control/seed`: payments of 25.50 USD.
///
/// Payments are numbered from `first`. Their ids follow from the number: [`Seed::payment_id`],
/// [`Seed::transaction_id`], [`Seed::our_id`]. The order is `orderPrefix` and the number.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Seed {
    /// `sandbox` or `production`.
    pub environment: String,
    /// How many payments, at most a million.
    pub count: u32,
    /// The number of the first payment, which is the oldest.
    pub first: u32,
    /// What the order ids begin with.
    pub order_prefix: String,
    /// The age of the oldest payment. The ages of the others are spread evenly.
    pub max_age_seconds: u32,
    /// The age that no payment falls below.
    pub min_age_seconds: u32,
    /// How many of a hundred are paid, spread evenly. The others are pending.
    pub paid_percent: u8,
    /// Whether they have our metadata. If not they have none, like payments that another program made.
    pub our_metadata: bool,
}

impl Default for Seed {
    fn default() -> Self {
        Self {
            environment: "sandbox".to_owned(),
            count: 1,
            first: 0,
            order_prefix: "seed-".to_owned(),
            max_age_seconds: 3_600,
            min_age_seconds: 0,
            paid_percent: 0,
            our_metadata: true,
        }
    }
}

impl Seed {
    /// FinvyPay's payment id of the payment with this number: `pay_apm_` and 16 digits.
    #[must_use]
    pub fn payment_id(number: u32) -> String {
        format!("pay_apm_{number:016}")
    }

    /// FinvyPay's transaction id of the payment with this number: `FP` and 18 digits.
    #[must_use]
    pub fn transaction_id(number: u32) -> String {
        format!("FP{number:018}")
    }

    /// Our id of the payment with this number: a UUID that begins with the number in hexadecimal, last byte first.
    #[must_use]
    pub fn our_id(number: u32) -> String {
        format!("{:08x}-0000-4000-8000-000000000000", number.swap_bytes())
    }

    /// The problem of an invalid body, if there is one.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if !["sandbox", "production"].contains(&self.environment.as_str()) {
            return Some("environment must be sandbox or production");
        }
        if self.count > MAX_COUNT {
            return Some("count must be at most 1000000");
        }
        if self.first > u32::MAX - MAX_COUNT {
            return Some("first must not exceed 4293967295");
        }
        if self.paid_percent > 100 {
            return Some("paidPercent must be at most 100");
        }
        (self.min_age_seconds > self.max_age_seconds).then_some("minAgeSeconds must be at most maxAgeSeconds")
    }

    /// The payments, oldest first.
    pub(super) fn payments(&self, now: OffsetDateTime) -> Vec<Payment> {
        let oldest = i64::from(self.max_age_seconds) * 1000;
        let range = oldest - i64::from(self.min_age_seconds) * 1000;
        let percent = u32::from(self.paid_percent);
        (0..self.count)
            .map(|nth| {
                let age = oldest - range * i64::from(nth) / i64::from(self.count);
                let is_paid = nth * percent % 100 + percent >= 100;
                self.payment(self.first + nth, now - Duration::milliseconds(age), is_paid, now)
            })
            .collect()
    }

    fn payment(&self, number: u32, created_at: OffsetDateTime, is_paid: bool, now: OffsetDateTime) -> Payment {
        let order_id = format!("{}{number}", self.order_prefix);
        let metadata = Object::default().with("paymentFunctionsId", Self::our_id(number));
        let amount = serde_json::from_str("25.50").unwrap_or(serde_json::value::RawValue::NULL);
        let request = Object::default()
            .with("orderId", &order_id)
            .with("amount", amount)
            .with("currency", "USD")
            .with("paymentMethod", "apple_pay")
            .with_some("metadata", self.our_metadata.then_some(metadata));
        let mut payment = Payment {
            provider: Provider::Finvypay,
            id: Self::payment_id(number),
            transaction_id: Some(Self::transaction_id(number)),
            environment: Some(self.environment.clone()),
            order_id: Some(order_id),
            request,
            status: "PENDING".to_owned(),
            status_ids: StatusIds::default(),
            created_at: clock::to_milliseconds(created_at),
            expires_at: clock::to_milliseconds(created_at + Duration::minutes(30)),
            completed_at: None,
            extra: Object::default(),
        };
        if is_paid {
            payment.set_status("SUCCESS", clock::to_milliseconds(now.min(created_at + PAID_AFTER)));
        }
        payment
    }
}
