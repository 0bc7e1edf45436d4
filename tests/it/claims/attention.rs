//! A claim that FinvyPay neither confirms nor denies needs a person after a day.

use futures_util::future::join_all;

use super::*;

/// Nothing listens there.
const UNREACHABLE: [(&str, Option<&str>); 1] = [("FINVYPAY_BASE_URL", Some("http://127.0.0.1:9"))];

/// A claim that FinvyPay was not reachable about for a day.
async fn unconfirmed() -> Sale {
    let sale = Sale::begin().await;
    sale.send("SUCCESS").await;
    for later in [0, 60 * MINUTE, DAY - MINUTE] {
        sale.sweep_with(later, &UNREACHABLE).await;
        assert_eq!(sale.attention().await, [""; 0], "after {later} s");
    }
    sale.sweep_with(DAY + MINUTE, &UNREACHABLE).await;
    assert_eq!(sale.attention().await, ["unconfirmed_match"]);
    sale.assert_is_claim().await;
    assert_eq!(sale.status().await, "expired");
    sale
}

#[tokio::test]
async fn unconfirmed_match_goes_when_the_claim_is_decided() {
    join_all([true, false].map(async |is_confirmed| {
        let sale = unconfirmed().await;
        sale.transaction_is_known("SUCCESS", json!({})).await;
        if is_confirmed {
            // Otherwise FinvyPay says that the payment is still pending.
            change_at_finvypay(&sale.payment_id, json!({ "statusIds": "transactionId" })).await;
        }
        sale.sweep(2 * DAY + 5 * MINUTE).await;
        assert_eq!(sale.attention().await, [""; 0], "confirmed: {is_confirmed}");
        if is_confirmed {
            sale.assert_completed().await;
        } else {
            assert_eq!(sale.status().await, "expired");
        }
    }))
    .await;
}

#[tokio::test]
async fn acknowledged_unconfirmed_match_is_not_raised_again() {
    let sale = unconfirmed().await;
    let command = json!({
        "action": "acknowledge", "paymentId": sale.id, "reasonCode": "unconfirmed_match",
        "actor": "on call", "reason": "seen",
    });
    let reconciler = sale.shop.reconciler(DAY + 2 * MINUTE).await;
    reconciler.invoke(command.to_string()).await.expect("a response");
    assert_eq!(sale.attention().await, [""; 0]);
    let report = sale.sweep_with(3 * DAY, &UNREACHABLE).await;
    assert!(report["checked"].as_u64() >= Some(1), "{report}");
    assert_eq!(sale.attention().await, [""; 0]);
    sale.assert_is_claim().await;
}
