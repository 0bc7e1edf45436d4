//! Whose order-only completions are believed at once: the shop vouched for the order, or trusts such webhooks.

use super::*;
use crate::quotes;

const TRUST: [(&str, Option<&str>); 1] = [("ORDER_ONLY_WEBHOOKS", Some("trust"))];

#[tokio::test]
async fn payment_with_a_quote_is_completed_at_once() {
    let secret = quotes::secret().await;
    let shop = Shop::open_with(&[("QUOTE_SECRET_ID", Some(&secret))]).await;
    let (order, transaction) = (unique("quoted"), unique("FP"));
    let mut body = apm(&order);
    body["quote"] = json!(quotes::token(&body, 300));
    let id = shop.create_apm(&body).await.str("id");
    assert_eq!(
        shop.send_webhook(&w1(&order, &transaction, "SUCCESS")).await.status,
        200
    );
    assert_eq!(shop.status(&id).await, "completed");
    assert_eq!(owner(&shop, &transaction).await, Some(id));
    assert_eq!(kept(&shop, &transaction).await, 0);
}

#[tokio::test]
async fn trusted_completion_completes_at_once() {
    let sale = Sale::begin_at(Shop::open_with(&TRUST).await).await;
    sale.send("SUCCESS").await;
    sale.assert_completed().await;
}

#[tokio::test]
async fn trusted_completion_never_means_a_later_payment() {
    let shop = Shop::open_with(&TRUST).await;
    let (order, transaction) = (unique("later"), unique("FP"));
    assert_eq!(
        shop.send_webhook(&w1(&order, &transaction, "SUCCESS")).await.status,
        200
    );
    let id = shop.create_apm(&apm(&order)).await.str("id");
    for later in [0, 2 * MINUTE, 10 * MINUTE] {
        let report = sweep(&shop.reconciler_with(later, &TRUST).await).await;
        assert_eq!(report["failed"], 0, "{report}");
        assert_eq!(shop.status(&id).await, "pending");
    }
    assert_eq!(
        (kept(&shop, &transaction).await, owner(&shop, &transaction).await),
        (1, None)
    );
}

#[tokio::test]
async fn trusted_completion_with_two_payments_of_that_money_is_a_claim() {
    let sale = Sale::begin_at(Shop::open_with(&TRUST).await).await;
    let other = sale.shop.create_apm(&apm(&sale.order)).await;
    sale.send("SUCCESS").await;
    sale.sweep_with(0, &TRUST).await;
    assert_eq!(sale.status().await, "pending");
    assert_eq!(sale.shop.status(&other.str("id")).await, "pending");
    sale.assert_is_claim().await;
}

/// Sandbox and production may share a signing secret, so an event of the one can be rightly signed in the other.
#[tokio::test]
async fn payment_of_another_environment_is_never_meant() {
    let production = [("FINVYPAY_ENVIRONMENT", Some("production"))];
    let sale = Sale::begin_at(Shop::open_with(&production).await).await;
    sale.transaction_is_known("SUCCESS", json!({})).await;
    for mode in ["confirm", "trust"] {
        let sandbox = [
            ("ORDER_ONLY_WEBHOOKS", Some(mode)),
            ("FINVYPAY_ENVIRONMENT", Some("sandbox")),
        ];
        let shop = Shop::at(sale.shop.table.clone(), &sandbox).await;
        let event = w1(&sale.order, &sale.transaction, "SUCCESS");
        assert_eq!(shop.send_webhook(&event).await.status, 200);
        for later in [0, 2 * MINUTE] {
            sale.sweep_with(later, &sandbox).await;
        }
        assert_eq!(sale.status().await, "pending", "{mode}");
        assert_eq!(owner(&sale.shop, &sale.transaction).await, None, "{mode}");
    }
    assert!(kept(&sale.shop, &sale.transaction).await >= 1);
}
