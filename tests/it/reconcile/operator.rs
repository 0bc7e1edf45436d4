//! An operator's commands, through the real function.

use payment_functions_tests::world::Lambda;

use super::whole::{Shop, sweep};
use crate::aws;
use crate::support::*;

async fn send(reconciler: &Lambda, command: Value) -> Result<Value, String> {
    match reconciler.invoke(command.to_string()).await {
        Ok(response) => Ok(serde_json::from_slice(&response).expect("JSON")),
        Err(error) => Err(error.to_string()),
    }
}

async fn facts(table: &str) -> Vec<Value> {
    let items = aws::all_items(table).await;
    let is_fact = |item: &Value| item["sk"]["S"].as_str().is_some_and(|sk| sk.starts_with("FACT#"));
    items.into_iter().filter(is_fact).collect()
}

#[tokio::test]
async fn lost_apolopay_webhook_is_resolved_by_an_operator() {
    let shop = Shop::open().await;
    let created = shop.create(Provider::Apolopay, &unique("operator")).await;
    let id = created.str("id");
    let reconciler = shop.reconciler(24 * 60 * 60 + 1).await;
    sweep(&reconciler).await;
    assert_eq!(shop.status(&id).await, "expired");
    let command = json!({
        "action": "complete", "paymentId": id, "reference": created.str("processId"),
        "actor": "on call", "reason": "seen as paid in the dashboard",
    });
    let result = send(&reconciler, command.clone()).await.unwrap();
    assert_eq!(
        result,
        json!({ "paymentId": id, "status": "completed", "changed": true })
    );
    assert_eq!(shop.status(&id).await, "completed");
    let recorded = facts(&shop.table).await;
    assert_eq!(recorded.len(), 1);
    let operator = &recorded[0]["operator"]["M"];
    assert_eq!(
        (&operator["actor"]["S"], &operator["reason"]["S"]),
        (&json!("on call"), &json!("seen as paid in the dashboard"))
    );
    // A repetition changes nothing, whoever sends it.
    for actor in ["on call", "somebody else"] {
        let again = json!({ "action": "complete", "paymentId": id, "actor": actor, "reason": "again" });
        let result = send(&reconciler, again).await.unwrap();
        assert_eq!(
            result,
            json!({ "paymentId": id, "status": "completed", "changed": false })
        );
    }
    assert_eq!(facts(&shop.table).await.len(), 1);
}

#[tokio::test]
async fn payment_in_review_is_completed_or_closed_by_an_operator() {
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
        assert_eq!(shop.send_webhook(&wrong(9.99)).await.status, 200);
        assert_eq!(shop.status(&id).await, "review");
        assert_eq!(sweep(&reconciler).await["checked"], 1);
        let command = json!({ "action": action, "paymentId": id, "actor": "on call", "reason": "the rest came by bank transfer" });
        let status = if action == "complete" { "completed" } else { "review" };
        let result = send(&reconciler, command).await.unwrap();
        assert_eq!(result, json!({ "paymentId": id, "status": status, "changed": true }));
        assert_eq!(shop.status(&id).await, status);
        let tomorrow = sweep(&shop.reconciler(2 * 24 * 60 * 60).await).await;
        assert_eq!(tomorrow["checked"], 0, "{tomorrow}");

        assert_eq!(shop.send_webhook(&wrong(8.88)).await.status, 200);
        let again = sweep(&reconciler).await;
        assert_eq!(again["checked"], json!(usize::from(action == "close")), "{again}");
    }
}

/// An operator completes a payment by its transaction's id. Then both webhooks of the same money arrive.
#[tokio::test]
async fn money_named_differently_by_operator_and_provider_counts_once() {
    let shop = Shop::open().await;
    let created = shop.create(Provider::Finvypay, &unique("named")).await;
    let (id, transaction) = (created.str("id"), unique("FP"));
    let command = json!({
        "action": "complete", "paymentId": id, "reference": transaction, "actor": "on call", "reason": "seen in the dashboard",
    });
    assert_eq!(
        send(&shop.reconciler(0).await, command).await.unwrap()["status"],
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
        assert_eq!(shop.send_webhook(&webhook).await.status, 200);
    }
    let state = |items: Vec<Value>| items.into_iter().find(|item| item["sk"]["S"] == "STATE").unwrap();
    let after = state(aws::all_items(&shop.table).await);
    assert_eq!(after["attention"], Value::Null, "{after}");
    assert_eq!(facts(&shop.table).await.len(), 3);
}

#[tokio::test]
async fn invalid_or_refused_command_changes_nothing_and_returns_one_line() {
    let shop = Shop::open().await;
    let reconciler = shop.reconciler(0).await;
    let one = shop.create(Provider::Apolopay, &unique("one")).await;
    let other = shop.create(Provider::Apolopay, &unique("other")).await;
    let id = one.str("id");
    let unknown = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let complete = |changes: Value| {
        let mut command = json!({ "action": "complete", "paymentId": id, "actor": "w", "reason": "y" });
        let members = command.as_object_mut().unwrap();
        members.extend(changes.as_object().unwrap().clone());
        members.retain(|_, value| !value.is_null());
        command
    };
    let others_reference = other.str("processId");
    let others_id = other.str("id");
    for (command, error_type, part) in [
        (json!({}), "INVALID_EVENT", "action"),
        (json!([]), "INVALID_EVENT", "invalid event"),
        (json!({ "action": "sweeep" }), "INVALID_EVENT", "sweeep"),
        (json!({ "action": "complete" }), "INVALID_EVENT", "paymentId"),
        (complete(json!({ "paymentId": "x" })), "INVALID_EVENT", "UUID"),
        (complete(json!({ "reason": null })), "INVALID_EVENT", "reason"),
        (complete(json!({ "amount": 1 })), "INVALID_EVENT", "amount"),
        (complete(json!({ "actor": " " })), "REFUSED", "actor"),
        (complete(json!({ "reason": "" })), "REFUSED", "reason"),
        (complete(json!({ "actor": "w\n" })), "REFUSED", "actor"),
        (complete(json!({ "reason": "y".repeat(1001) })), "REFUSED", "reason"),
        (complete(json!({ "paymentId": unknown })), "REFUSED", unknown),
        (
            complete(json!({ "reference": others_reference })),
            "REFUSED",
            &others_id,
        ),
        (complete(json!({ "reference": "" })), "REFUSED", "reference"),
        (complete(json!({ "action": "close" })), "REFUSED", "pending"),
        (
            complete(json!({ "action": "close", "reference": others_reference })),
            "REFUSED",
            "takes no reference",
        ),
    ] {
        let error = send(&reconciler, command.clone())
            .await
            .expect_err(&command.to_string());
        assert!(error.contains(error_type) && error.contains(part), "{command}: {error}");
        assert!(!error.contains("::"), "it shows no Rust type: {error}");
    }
    assert_eq!(facts(&shop.table).await.len(), 0);
    assert_eq!(shop.status(&id).await, "pending");
}
