//! An operator's word, through the real function.

use payment_functions_tests::world::Lambda;

use super::whole::{Shop, sweep};
use crate::aws;
use crate::support::*;

async fn say(reconciler: &Lambda, word: Value) -> Result<Value, String> {
    match reconciler.invoke(word.to_string()).await {
        Ok(answer) => Ok(serde_json::from_slice(&answer).expect("JSON")),
        Err(error) => Err(error.to_string()),
    }
}

async fn facts(table: &str) -> Vec<Value> {
    let items = aws::all_items(table).await;
    let is_fact = |item: &Value| item["sk"]["S"].as_str().is_some_and(|sk| sk.starts_with("FACT#"));
    items.into_iter().filter(is_fact).collect()
}

#[tokio::test]
async fn a_lost_webhook_of_apolopays_is_settled_by_a_person_with_who_and_why() {
    let shop = Shop::open().await;
    let created = shop.create(Provider::Apolopay, &unique("operator")).await;
    let id = created.str("id");
    let reconciler = shop.reconciler(24 * 60 * 60 + 1).await;
    sweep(&reconciler).await;
    assert_eq!(shop.status(&id).await, "expired");
    let word = json!({
        "action": "complete", "paymentId": id, "reference": created.str("processId"),
        "actor": "on call", "reason": "seen as paid in the dashboard",
    });
    let done = say(&reconciler, word.clone()).await.unwrap();
    assert_eq!(done, json!({ "paymentId": id, "status": "completed", "changed": true }));
    assert_eq!(shop.status(&id).await, "completed");
    let recorded = facts(&shop.table).await;
    assert_eq!(recorded.len(), 1);
    let operator = &recorded[0]["operator"]["M"];
    assert_eq!(
        (&operator["actor"]["S"], &operator["reason"]["S"]),
        (&json!("on call"), &json!("seen as paid in the dashboard"))
    );
    // Once more, and by another: nothing changes.
    for who in ["on call", "somebody else"] {
        let again = json!({ "action": "complete", "paymentId": id, "actor": who, "reason": "again" });
        let done = say(&reconciler, again).await.unwrap();
        assert_eq!(
            done,
            json!({ "paymentId": id, "status": "completed", "changed": false })
        );
    }
    assert_eq!(facts(&shop.table).await.len(), 1);
}

#[tokio::test]
async fn a_payment_in_review_is_completed_or_closed_by_a_person() {
    let shop = Shop::open().await;
    let reconciler = shop.reconciler(61).await;
    for action in ["complete", "close"] {
        let created = shop.create(Provider::Finvypay, &unique("review")).await;
        let id = created.str("id");
        let wrong = |amount: f64| {
            json!({
                "event": "payment.completed", "status": "COMPLETED", "paymentId": created.str("paymentId"),
                "amount": amount, "currency": "USD", "metadata": { "paymentFunctionsId": id },
            })
        };
        assert_eq!(shop.tell(&wrong(9.99)).await.status, 200);
        assert_eq!(shop.status(&id).await, "review");
        assert_eq!(sweep(&reconciler).await["forAPerson"][0]["paymentId"], json!(id));
        let word =
            json!({ "action": action, "paymentId": id, "actor": "on call", "reason": "the rest came by bank transfer" });
        let status = if action == "complete" { "completed" } else { "review" };
        let done = say(&reconciler, word).await.unwrap();
        assert_eq!(done, json!({ "paymentId": id, "status": status, "changed": true }));
        assert_eq!(shop.status(&id).await, status);
        let tomorrow = sweep(&shop.reconciler(2 * 24 * 60 * 60).await).await;
        assert_eq!(tomorrow["forAPersonCount"], 0, "{tomorrow}");

        assert_eq!(shop.tell(&wrong(8.88)).await.status, 200);
        let again = sweep(&reconciler).await;
        assert_eq!(
            again["forAPersonCount"],
            json!(usize::from(action == "close")),
            "{again}"
        );
    }
}

/// An operator names the id that a general webhook was kept under; then the provider's other word of the same money comes.
#[tokio::test]
async fn money_that_an_operator_and_the_provider_name_differently_came_once() {
    let shop = Shop::open().await;
    let created = shop.create(Provider::Finvypay, &unique("named")).await;
    let (id, transaction) = (created.str("id"), unique("FP"));
    let word = json!({
        "action": "complete", "paymentId": id, "reference": transaction, "actor": "on call", "reason": "seen in the dashboard",
    });
    assert_eq!(
        say(&shop.reconciler(0).await, word).await.unwrap()["status"],
        "completed"
    );
    let general = json!({ "success": true, "status": "SUCCESS", "data": {
        "amount": 99.99, "currency": "USD", "order_id": created.str("orderId"), "txn_id": transaction,
    } });
    let own = json!({
        "event": "payment.completed", "status": "COMPLETED", "paymentId": created.str("paymentId"),
        "amount": 99.99, "currency": "USD", "metadata": { "paymentFunctionsId": id },
    });
    for webhook in [general, own] {
        assert_eq!(shop.tell(&webhook).await.status, 200);
    }
    let state = |items: Vec<Value>| items.into_iter().find(|item| item["sk"]["S"] == "STATE").unwrap();
    let after = state(aws::all_items(&shop.table).await);
    assert_eq!(after["attention"], Value::Null, "{after}");
    assert_eq!(facts(&shop.table).await.len(), 3);
}

#[tokio::test]
async fn what_is_not_understood_or_not_so_changes_nothing_and_is_told_in_one_line() {
    let shop = Shop::open().await;
    let reconciler = shop.reconciler(0).await;
    let one = shop.create(Provider::Apolopay, &unique("one")).await;
    let other = shop.create(Provider::Apolopay, &unique("other")).await;
    let id = one.str("id");
    let unknown = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    for (word, kind, part) in [
        (json!({}), "INVALID_EVENT", "action"),
        (json!([]), "INVALID_EVENT", "not an event"),
        (json!({ "action": "sweeep" }), "INVALID_EVENT", "sweeep"),
        (json!({ "action": "complete" }), "INVALID_EVENT", "paymentId"),
        (
            json!({ "action": "complete", "paymentId": "x", "actor": "w", "reason": "y" }),
            "INVALID_EVENT",
            "UUID",
        ),
        (
            json!({ "action": "complete", "paymentId": id, "actor": "w" }),
            "INVALID_EVENT",
            "reason",
        ),
        (
            json!({ "action": "complete", "paymentId": id, "actor": "w", "reason": "y", "amount": 1 }),
            "INVALID_EVENT",
            "amount",
        ),
        (
            json!({ "action": "complete", "paymentId": id, "actor": " ", "reason": "y" }),
            "REFUSED",
            "actor",
        ),
        (
            json!({ "action": "complete", "paymentId": id, "actor": "w", "reason": "" }),
            "REFUSED",
            "reason",
        ),
        (
            json!({ "action": "complete", "paymentId": id, "actor": "w\n", "reason": "y" }),
            "REFUSED",
            "actor",
        ),
        (
            json!({ "action": "complete", "paymentId": id, "actor": "w", "reason": "y".repeat(1001) }),
            "REFUSED",
            "reason",
        ),
        (
            json!({ "action": "complete", "paymentId": unknown, "actor": "w", "reason": "y" }),
            "REFUSED",
            unknown,
        ),
        (
            json!({ "action": "complete", "paymentId": id, "reference": other.str("processId"), "actor": "w", "reason": "y" }),
            "REFUSED",
            &other.str("id"),
        ),
        (
            json!({ "action": "complete", "paymentId": id, "reference": "", "actor": "w", "reason": "y" }),
            "REFUSED",
            "reference",
        ),
        (
            json!({ "action": "close", "paymentId": id, "actor": "w", "reason": "y" }),
            "REFUSED",
            "pending",
        ),
        (
            json!({ "action": "close", "paymentId": id, "reference": other.str("processId"), "actor": "w", "reason": "y" }),
            "REFUSED",
            "without a reference",
        ),
    ] {
        let error = say(&reconciler, word.clone()).await.expect_err(&word.to_string());
        assert!(error.contains(kind) && error.contains(part), "{word}: {error}");
        assert!(!error.contains("::"), "no type of ours is shown: {error}");
    }
    assert_eq!(facts(&shop.table).await.len(), 0);
    assert_eq!(shop.status(&id).await, "pending");
}
