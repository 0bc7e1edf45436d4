//! What is never paid goes, as a buyer and a provider see it.

use super::whole::{Shop, sweep};
use crate::aws;
use crate::support::*;

/// The `ttl` of the payment's item, of its reference and of its order's item, in seconds.
async fn ttls(shop: &Shop, created: &Response) -> Vec<Option<u64>> {
    let items = aws::all_items(&shop.table).await;
    let id = created.str("id");
    let mut keys = [
        (format!("PAYMENT#{id}"), "STATE".to_owned()),
        (format!("REF#finvypay#{}", created.str("paymentId")), "REF".to_owned()),
        (
            format!("ORDER#finvypay#{}", created.str("orderId")),
            format!("PAYMENT#{id}"),
        ),
    ]
    .into_iter();
    let ttl = |(pk, sk): (String, String)| {
        let item = items.iter().find(|item| item["pk"]["S"] == pk && item["sk"]["S"] == sk);
        let item = item.unwrap_or_else(|| panic!("no {pk} {sk}"));
        item["ttl"]["N"].as_str().map(|ttl| ttl.parse().expect("seconds"))
    };
    keys.by_ref().map(ttl).collect()
}

fn webhook(created: &Response, member: &str, value: Value) -> Value {
    let payment = created.json();
    let mut body = json!({
        "event": "payment.completed", "status": "COMPLETED",
        "amount": payment["amount"], "currency": payment["currency"],
    });
    body[member] = value;
    body
}

#[tokio::test]
async fn unpaid_payment_goes_unless_a_late_webhook_keeps_it() {
    let shop = Shop::open().await;
    let kept = shop.create(Provider::Finvypay, &unique("kept")).await;
    let gone = shop.create(Provider::Finvypay, &unique("gone")).await;
    assert_eq!(ttls(&shop, &kept).await, [None; 3]);

    // The list cannot be read here, so the payments are polled for eight days.
    let polled = sweep(&shop.reconciler(2 * 60 * 60).await).await;
    assert_eq!(polled["expired"], 2);
    let later = 9 * 24 * 60 * 60;
    let reconciler = shop
        .reconciler_with(later, &[("DELETE_UNPAID_AFTER_DAYS", Some("30"))])
        .await;
    let before = now_in_seconds();
    sweep(&reconciler).await;
    for created in [&kept, &gone] {
        assert_eq!(shop.status(&created.str("id")).await, "expired");
        let set = ttls(&shop, created).await;
        let ttl = set[0].expect("a ttl");
        assert_eq!(set, [Some(ttl); 3]);
        let days = (ttl - before - u64::from(later)) / (24 * 60 * 60);
        assert_eq!(days, 30);
    }

    let late = webhook(&kept, "paymentId", json!(kept.str("paymentId")));
    assert_eq!(shop.send_webhook(&late).await.status, 200);
    assert_eq!(shop.status(&kept.str("id")).await, "completed");
    assert_eq!(ttls(&shop, &kept).await, [None; 3]);

    // DynamoDB deletes the payment first. What still points to it counts as absent.
    let id = gone.str("id");
    let key = json!({ "pk": { "S": format!("PAYMENT#{id}") }, "sk": { "S": "STATE" } });
    let delete = json!({ "TableName": shop.table, "Key": key });
    aws::call("dynamodb", "DeleteItem", &delete).await;
    assert_eq!(shop.get(&id).await.problem(), (404, "NOT_FOUND".to_owned()));
    for (member, value) in [
        ("metadata", json!({ "paymentFunctionsId": id })),
        ("paymentId", json!(gone.str("paymentId"))),
        ("orderId", json!(gone.str("orderId"))),
    ] {
        let late = webhook(&gone, member, value);
        for _ in 0..2 {
            let response = shop.send_webhook(&late).await;
            assert_eq!(response.status, 200, "{late} {response:?}");
        }
    }
    let items = aws::all_items(&shop.table).await;
    let is_unmatched = |item: &&Value| {
        item["sk"]["S"]
            .as_str()
            .is_some_and(|sk| sk.starts_with("NOTIFICATION#"))
    };
    assert_eq!(items.iter().filter(is_unmatched).count(), 3);
    assert_eq!(shop.get(&id).await.status, 404, "no webhook creates a payment");
}

fn now_in_seconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("a time after 1970").as_secs()
}
