//! A claim alone moves nothing.

use futures_util::future::join_all;

use super::*;

/// Before the payment was created, somebody's event named its order. FinvyPay knows the transaction or not.
#[tokio::test]
async fn event_older_than_the_payment_never_completes_it() {
    join_all([false, true].map(async |is_known| {
        let shop = Shop::open().await;
        let (order, transaction) = (unique("older"), unique("FP"));
        let event = w1(&order, &transaction, "SUCCESS");
        assert_eq!(shop.send_webhook(&event).await.status, 200);
        let id = shop.create_apm(&apm(&order)).await.str("id");
        if is_known {
            know_old(&transaction, &order).await;
        }
        for later in [0, MINUTE + 1, 10 * MINUTE, 46 * MINUTE, DAY + 60, 4 * DAY] {
            assert_eq!(sweep(&shop.reconciler(later).await).await["failed"], 0);
            let expected = if later < 46 * MINUTE { "pending" } else { "expired" };
            assert_eq!(shop.status(&id).await, expected, "known: {is_known}, after {later} s");
        }
        assert_eq!(attention_of(&shop, &id).await, [""; 0]);
        assert_eq!(
            (kept(&shop, &transaction).await, owner(&shop, &transaction).await),
            (1, None)
        );
        assert_eq!(published(&shop).await, ["payment.pending", "payment.expired"]);
    }))
    .await;
}

/// FinvyPay lists a transaction under the order from long before the payment existed.
async fn know_old(transaction: &str, order: &str) {
    know(transaction, order, "SUCCESS", json!({})).await;
    let old = "2026-01-02T03:04:05.000Z";
    change_at_finvypay(
        transaction,
        json!({ "extra": { "createdAt": old, "completedAt": old } }),
    )
    .await;
}

#[tokio::test]
async fn listed_transaction_older_than_the_payment_is_not_its_money() {
    let sale = Sale::begin().await;
    know_old(&sale.transaction, &sale.order).await;
    let report = sale.sweep(MINUTE + 1).await;
    assert_eq!(report["checked"], 1, "the payment was polled: {report}");
    assert_eq!(sale.status().await, "pending");
    assert_eq!(kept(&sale.shop, &sale.transaction).await, 0);
    assert_eq!(owner(&sale.shop, &sale.transaction).await, None);
}

/// Neither its repetition nor an earlier event may make the transaction's id a known one.
#[tokio::test]
async fn second_event_of_a_transaction_is_a_claim_too() {
    join_all(["SUCCESS", "PENDING"].map(async |first| {
        let sale = Sale::begin().await;
        for word in [first, "SUCCESS"] {
            sale.send(word).await;
            assert_eq!(sale.status().await, "pending", "{first}");
        }
        // The earlier event waits beside the claim.
        let expected = if first == "PENDING" { 2 } else { 1 };
        assert_eq!(kept(&sale.shop, &sale.transaction).await, expected, "{first}");
        assert_eq!(owner(&sale.shop, &sale.transaction).await, None);
        assert_eq!(published(&sale.shop).await, ["payment.pending"], "{first}");
        sale.transaction_is_known("SUCCESS", json!({})).await;
        sale.sweep(0).await;
        sale.assert_completed().await;
        let events = published(&sale.shop).await;
        assert_eq!(events, ["payment.pending", "payment.completed"], "{first}");
    }))
    .await;
}
