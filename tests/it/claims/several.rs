//! An order with several payments, or with none of the event's money; and events other than completions.

use futures_util::future::join_all;

use super::*;

fn apm_of(order: &str, amount: f64) -> Value {
    let mut body = apm(order);
    body["amount"] = json!(amount);
    body
}

/// Anybody can begin payments of any money under any order.
#[tokio::test]
async fn payments_of_other_money_do_not_delay_a_claim() {
    let sale = Sale::begin().await;
    let strangers = [
        sale.shop.create_apm(&apm_of(&sale.order, 1.0)).await,
        sale.shop.create_apm(&apm_of(&sale.order, 2.0)).await,
    ];
    sale.send("SUCCESS").await;
    sale.transaction_is_known("SUCCESS", json!({})).await;
    sale.sweep(0).await;
    sale.assert_completed().await;
    for stranger in strangers {
        assert_eq!(sale.shop.status(&stranger.str("id")).await, "pending");
    }
}

#[tokio::test]
async fn of_two_payments_with_the_same_money_only_metadata_decides() {
    let sale = Sale::begin().await;
    let other = sale.shop.create_apm(&apm(&sale.order)).await.str("id");
    let named = unique("FP");
    for transaction in [&sale.transaction, &named] {
        let event = w1(&sale.order, transaction, "SUCCESS");
        assert_eq!(sale.shop.send_webhook(&event).await.status, 200);
    }
    sale.transaction_is_known("SUCCESS", json!({})).await;
    sale.sweep(0).await;
    assert_eq!(
        (sale.status().await, sale.shop.status(&other).await),
        ("pending".to_owned(), "pending".to_owned())
    );
    know(
        &named,
        &sale.order,
        "SUCCESS",
        json!({ "metadata": { "paymentFunctionsId": other } }),
    )
    .await;
    sale.sweep(2 * MINUTE).await;
    assert_eq!(
        (sale.status().await, sale.shop.status(&other).await),
        ("pending".to_owned(), "completed".to_owned())
    );
    assert_eq!(owner(&sale.shop, &named).await, Some(other));
    assert_eq!(owner(&sale.shop, &sale.transaction).await, None);
}

/// The buyer paid something else for the order: a person must look, if it is clear which payment that is.
#[tokio::test]
async fn confirmed_money_that_no_payment_of_the_order_has_is_for_review() {
    join_all([false, true].map(async |has_two| {
        let shop = Shop::open().await;
        let (order, transaction) = (unique("money"), unique("FP"));
        let id = shop.create_apm(&apm_of(&order, 10.0)).await.str("id");
        if has_two {
            shop.create_apm(&apm_of(&order, 20.0)).await;
        }
        assert_eq!(
            shop.send_webhook(&w1(&order, &transaction, "SUCCESS")).await.status,
            200
        );
        assert_eq!(shop.status(&id).await, "pending");
        know(&transaction, &order, "SUCCESS", json!({})).await;
        sweep(&shop.reconciler(0).await).await;
        let expected = if has_two { "pending" } else { "review" };
        assert_eq!(shop.status(&id).await, expected);
    }))
    .await;
}

/// Money went back, told by the order alone: that is about the payment that was paid.
#[tokio::test]
async fn refund_by_order_alone_is_noted_with_the_only_completed_payment() {
    let sale = Sale::begin().await;
    let other = sale.shop.create_apm(&apm(&sale.order)).await.str("id");
    let refund = |transaction: &str| {
        json!({ "success": true, "status": "SUCCESS", "data": {
        "type": "REFUND", "amount": 5, "currency": "USD", "order_id": sale.order, "txn_id": transaction,
    } })
    };
    // Nobody has paid yet.
    assert_eq!(sale.shop.send_webhook(&refund(&unique("FP"))).await.status, 200);
    assert_eq!(
        (sale.attention().await, attention_of(&sale.shop, &other).await),
        (vec![], vec![])
    );

    let paid = json!({
        "event": "payment.completed", "status": "COMPLETED", "paymentId": sale.payment_id,
        "amount": 99.99, "currency": "USD",
    });
    assert_eq!(sale.shop.send_webhook(&paid).await.status, 200);
    assert_eq!(sale.shop.send_webhook(&refund(&sale.transaction)).await.status, 200);
    assert_eq!(
        (sale.status().await, sale.attention().await),
        ("completed".to_owned(), vec!["refunded".to_owned()])
    );
    assert_eq!(sale.shop.status(&other).await, "pending");
    assert_eq!(attention_of(&sale.shop, &other).await, [""; 0]);
    assert_eq!(
        owner(&sale.shop, &sale.transaction).await,
        None,
        "a refund's id is not attached"
    );
}

#[tokio::test]
async fn unrecognised_status_by_order_alone_raises_attention() {
    let sale = Sale::begin().await;
    sale.send("MATURED").await;
    assert_eq!(sale.status().await, "pending");
    assert_eq!(sale.attention().await, ["unrecognised_status"]);
    assert_eq!(owner(&sale.shop, &sale.transaction).await, None);
}
