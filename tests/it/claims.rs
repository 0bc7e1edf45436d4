//! Claims: signed completions of FinvyPay that name only an order. They complete nothing until FinvyPay confirms them.
//!
//! The real functions run with a table of their own, and with their clock moved on.

mod attention;
mod believed;
mod decided;
mod several;
mod unconfirmed;

use crate::aws;
use crate::reconcile::whole::{Shop, sweep};
use crate::support::*;

const MINUTE: u32 = 60;
const DAY: u32 = 24 * 60 * 60;

/// A payment, and a transaction of FinvyPay's that names only its order.
struct Sale {
    shop: Shop,
    order: String,
    /// The payment's id.
    id: String,
    /// FinvyPay's id of the payment.
    payment_id: String,
    transaction: String,
}

impl Sale {
    async fn begin() -> Self {
        Self::begin_at(Shop::open().await).await
    }

    async fn begin_at(shop: Shop) -> Self {
        let order = unique("claim");
        let created = shop.create_apm(&apm(&order)).await;
        Self {
            shop,
            order,
            id: created.str("id"),
            payment_id: created.str("paymentId"),
            transaction: unique("FP"),
        }
    }

    /// Sends the webhook that names only the order and the transaction.
    async fn send(&self, status: &str) {
        let body = w1(&self.order, &self.transaction, status);
        assert_eq!(self.shop.send_webhook(&body).await.status, 200);
    }

    /// FinvyPay knows the transaction from now on. `more` changes it: its `orderId`, `amount` or `metadata`, of which
    /// it has none otherwise.
    async fn transaction_is_known(&self, status: &str, more: Value) {
        know(&self.transaction, &self.order, status, more).await;
    }

    async fn sweep(&self, later: u32) -> Value {
        self.sweep_with(later, &[]).await
    }

    async fn sweep_with(&self, later: u32, changes: &[(&str, Option<&str>)]) -> Value {
        let report = sweep(&self.shop.reconciler_with(later, changes).await).await;
        assert_eq!(report["failed"], 0, "{report}");
        report
    }

    async fn status(&self) -> String {
        self.shop.status(&self.id).await
    }

    async fn attention(&self) -> Vec<String> {
        attention_of(&self.shop, &self.id).await
    }

    async fn assert_is_claim(&self) {
        assert_eq!(kept(&self.shop, &self.transaction).await, 1, "the claim is kept, once");
        assert_eq!(owner(&self.shop, &self.transaction).await, None);
    }

    async fn assert_completed(&self) {
        assert_eq!(self.status().await, "completed");
        assert_eq!(kept(&self.shop, &self.transaction).await, 0);
        assert_eq!(owner(&self.shop, &self.transaction).await, Some(self.id.clone()));
        assert_eq!(self.attention().await, [""; 0]);
    }
}

/// FinvyPay's general webhook: it names an order and a transaction, and has no metadata.
fn w1(order: &str, transaction: &str, status: &str) -> Value {
    json!({ "success": true, "status": status, "data": {
        "amount": 99.99, "currency": "USD", "order_id": order, "txn_id": transaction,
    } })
}

/// Lets FinvyPay know a transaction that none of our functions began.
async fn know(transaction: &str, order: &str, status: &str, more: Value) {
    let mut body = apm(order);
    body["metadata"] = json!({});
    body["webhookUrl"] = json!("https://other.example/webhooks");
    for (name, value) in more.as_object().expect("members") {
        body[name] = value.clone();
    }
    let order = body["orderId"].as_str().expect("an order").to_owned();
    let replies = json!([{ "shape": "old", "fields": { "paymentId": transaction } }]);
    let control = control().await;
    control.replies(Provider::Finvypay, &order, replies).await.unwrap();
    let authorization = [("authorization", "Bearer fp_local_finvypay")];
    let route = "/finvypay/api/v1/sandbox/apm";
    let created = post_to(world().await.sandbox_url(), route, body.to_string(), &authorization).await;
    assert_eq!(created.status, 200, "{created:?}");
    control
        .set_status(Provider::Finvypay, transaction, status)
        .await
        .unwrap();
}

/// Changes a payment or transaction at FinvyPay.
async fn change_at_finvypay(id: &str, mut change: Value) {
    change["provider"] = json!("finvypay");
    change["id"] = json!(id);
    control().await.set_payment(&change).await.unwrap();
}

async fn items(shop: &Shop, pk: String) -> Vec<Value> {
    let items = aws::raw_items_of(&shop.table, &pk).await;
    items.iter().map(aws::item).collect()
}

/// The payment's reasons for attention.
async fn attention_of(shop: &Shop, id: &str) -> Vec<String> {
    let items = items(shop, format!("PAYMENT#{id}")).await;
    let state = items.iter().find(|item| item["sk"] == "STATE").expect("the payment");
    let entries = state["attention"].as_array().into_iter().flatten();
    let reason = |entry: &Value| entry["reason"].as_str().expect("a reason").to_owned();
    entries.map(reason).collect()
}

/// The payment's facts.
async fn facts_of(shop: &Shop, id: &str) -> usize {
    let items = items(shop, format!("PAYMENT#{id}")).await;
    let is_fact = |item: &&Value| item["sk"].as_str().is_some_and(|sk| sk.starts_with("FACT#"));
    items.iter().filter(is_fact).count()
}

/// The number of notifications that are unmatched under a transaction's id.
async fn kept(shop: &Shop, transaction: &str) -> usize {
    let items = items(shop, format!("UNMATCHED#finvypay#{transaction}")).await;
    items.iter().filter(|item| item["sk"] != "GROUP").count()
}

/// The payment that a transaction's id belongs to.
async fn owner(shop: &Shop, transaction: &str) -> Option<String> {
    let items = items(shop, format!("REF#finvypay#{transaction}")).await;
    let id = |item: &Value| item["paymentId"].as_str().expect("an id").to_owned();
    items.first().map(id)
}

/// The types of all events that publish-events makes of the table's stream.
async fn published(shop: &Shop) -> Vec<String> {
    let ((bus, arrivals), dead_letters) = (aws::create_bus().await, aws::create_queue().await);
    let changes = [
        ("PAYMENTS_TABLE", Some(shop.table.as_str())),
        ("EVENT_BUS", Some(bus.as_str())),
        ("DEAD_LETTER_QUEUE_URL", Some(dead_letters.as_str())),
    ];
    let publisher = world()
        .await
        .lambda("publish-events", &changes)
        .await
        .expect("a function");
    let batch = json!({ "Records": aws::stream_records(&shop.table).await });
    publisher.invoke(batch.to_string()).await.expect("a response");
    let kind = |message: Value| {
        let event: Value = serde_json::from_str(message["Body"].as_str().expect("a body")).expect("JSON");
        event["detail-type"].as_str().expect("a type").to_owned()
    };
    aws::receive_all(&arrivals).await.into_iter().map(kind).collect()
}
