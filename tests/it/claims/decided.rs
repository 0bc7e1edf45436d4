//! What FinvyPay says decides a claim.

use std::time::Duration;

use futures_util::future::join_all;
use payment_functions_local::{Log, Mapping, StreamFeed};

use super::*;

#[tokio::test]
async fn transaction_that_finvypay_confirms_completes_the_payment() {
    let by_status = json!({});
    let by_list_only = json!({ "statusIds": "paymentId" });
    let cases = [
        ("by status", &by_status, false),
        ("by status, with our id", &by_status, true),
        ("by the list", &by_list_only, false),
        ("by the list, with our id", &by_list_only, true),
    ];
    join_all(cases.map(async |(name, change, has_our_id)| {
        let sale = Sale::begin().await;
        sale.send("SUCCESS").await;
        let metadata = if has_our_id {
            json!({ "paymentFunctionsId": sale.id })
        } else {
            json!({})
        };
        sale.transaction_is_known("SUCCESS", json!({ "metadata": metadata }))
            .await;
        change_at_finvypay(&sale.transaction, change.clone()).await;
        assert_eq!(sale.status().await, "pending", "{name}");
        let report = sale.sweep(0).await;
        assert_eq!(report["unmatchedResolved"], 1, "{name}: {report}");
        sale.assert_completed().await;
        assert_eq!(
            published(&sale.shop).await,
            ["payment.pending", "payment.completed"],
            "{name}"
        );
    }))
    .await;
}

#[tokio::test]
async fn transaction_that_finvypay_denies_moves_nothing() {
    // What FinvyPay says of the transaction, and of the payment; when it is asked; the payment's status then.
    let foreign = json!({ "metadata": { "internal_ref": "another system" } });
    let of_another_order = json!({ "orderId": unique("another") });
    let cases = [
        (
            "metadata of another system",
            "SUCCESS",
            foreign,
            "PENDING",
            0,
            "pending",
        ),
        ("another order", "SUCCESS", of_another_order, "PENDING", 0, "pending"),
        (
            "other currency",
            "SUCCESS",
            json!({ "currency": "EUR" }),
            "PENDING",
            0,
            "review",
        ),
        (
            "other amount",
            "SUCCESS",
            json!({ "amount": 100 }),
            "PENDING",
            0,
            "review",
        ),
        ("failed", "FAILED", json!({}), "PENDING", 0, "failed"),
        ("the payment failed", "SUCCESS", json!({}), "FAILED", 0, "failed"),
        (
            "pending for too long",
            "SUCCESS",
            json!({}),
            "PENDING",
            16 * MINUTE,
            "pending",
        ),
    ];
    join_all(cases.map(async |(name, word, more, own_word, later, expected)| {
        let sale = Sale::begin().await;
        sale.send("SUCCESS").await;
        sale.transaction_is_known(word, more).await;
        control()
            .await
            .set_status(Provider::Finvypay, &sale.payment_id, own_word)
            .await
            .unwrap();
        for later in [later, later + MINUTE + 1, later + 4 * MINUTE] {
            sale.sweep(later).await;
        }
        assert_eq!(sale.status().await, expected, "{name}");
        sale.sweep(later + DAY).await;
        assert_ne!(sale.status().await, "completed", "{name}");
        assert_eq!(sale.attention().await, [""; 0], "{name}");
    }))
    .await;
}

#[tokio::test]
async fn transaction_of_another_payment_completes_that_one() {
    let sale = Sale::begin().await;
    let other = sale.shop.create_apm(&apm(&unique("other"))).await;
    sale.send("SUCCESS").await;
    let metadata = json!({ "paymentFunctionsId": other.str("id") });
    sale.transaction_is_known("SUCCESS", json!({ "metadata": metadata }))
        .await;
    sale.sweep(0).await;
    assert_eq!(sale.status().await, "pending");
    assert_eq!(sale.shop.status(&other.str("id")).await, "completed");
    assert_eq!(owner(&sale.shop, &sale.transaction).await, Some(other.str("id")));
}

#[tokio::test]
async fn transaction_that_is_not_found_is_asked_about_again() {
    let sale = Sale::begin().await;
    sale.send("SUCCESS").await;
    let report = sale.sweep(0).await;
    assert_eq!(
        (&report["checked"], &report["unmatchedResolved"]),
        (&json!(1), &json!(0))
    );
    // It is left alone for a minute.
    assert_eq!(sale.sweep(0).await["checked"], 0);
    sale.sweep(MINUTE + 1).await;
    sale.assert_is_claim().await;
    assert_eq!(sale.status().await, "pending");
    sale.transaction_is_known("SUCCESS", json!({})).await;
    sale.sweep(4 * MINUTE).await;
    sale.assert_completed().await;
}

/// Lambda gives the function the stream's records of the stored group, so that nobody waits for the schedule.
#[tokio::test]
async fn stream_record_of_a_claim_has_it_checked_at_once() {
    let sale = Sale::begin().await;
    sale.transaction_is_known("SUCCESS", json!({})).await;
    let before = aws::stream_records(&sale.shop.table).await;
    sale.send("SUCCESS").await;
    let records = aws::stream_records(&sale.shop.table).await;
    let reconciler = sale.shop.reconciler(0).await;
    let give = async |records: &[Value]| {
        let report = reconciler.invoke(json!({ "Records": records }).to_string()).await;
        serde_json::from_slice::<Value>(&report.expect("a report")).expect("JSON")
    };
    // The payment, its order and its reference.
    assert!(before.len() >= 3, "{before:?}");
    assert_eq!(give(&before).await["checked"], 0);
    assert_eq!(sale.status().await, "pending");

    let report = give(&records).await;
    assert_eq!(
        (&report["checked"], &report["unmatchedResolved"], &report["failed"]),
        (&json!(1), &json!(1), &json!(0)),
        "{report}"
    );
    sale.assert_completed().await;
    let facts = facts_of(&sale.shop, &sale.id).await;
    // Lambda may give a batch twice.
    let report = give(&records).await;
    assert_eq!(
        (&report["checked"], &report["failed"]),
        (&json!(0), &json!(0)),
        "{report}"
    );
    assert_eq!(facts_of(&sale.shop, &sale.id).await, facts);
    sale.assert_completed().await;
}

/// The template's filter takes the record of each claim, also in a group that is there already.
#[tokio::test]
async fn second_claim_of_a_transaction_is_checked_at_once_too() {
    let sale = Sale::begin().await;
    let table = sale.shop.table.as_str();
    let function = world()
        .await
        .attach("reconcile-payments", 1, &[("PAYMENTS_TABLE", Some(table))])
        .await
        .expect("a function");
    let (functions, dead_letters) = (function.invocations().expect("a client"), aws::create_queue().await);
    let mapping = Mapping::of_unmatched().expect("the template's mapping");
    let aws = world().await.aws();
    let _feed = StreamFeed::start(aws, table, functions, &dead_letters, mapping, Log::Silent).await;

    let due_at = async || {
        let items = items(&sale.shop, format!("UNMATCHED#finvypay#{}", sale.transaction)).await;
        let group = items.iter().find(|item| item["sk"] == "GROUP").expect("a group");
        group["dueAt"].clone()
    };
    // It is recorded with the payment, and nothing is to be checked.
    sale.send("PENDING").await;
    assert_eq!(due_at().await, Value::Null);
    let mut claim = w1(&sale.order, &sale.transaction, "SUCCESS");
    claim["data"]["amount"] = json!(98.99);
    assert_eq!(sale.shop.send_webhook(&claim).await.status, 200);
    let first_due_at = due_at().await;
    until("the check of the first claim", async || due_at().await != first_due_at).await;

    sale.transaction_is_known("SUCCESS", json!({})).await;
    sale.send("SUCCESS").await;
    until("the check of the second claim", async || {
        sale.status().await == "completed"
    })
    .await;
}

/// Waits for a condition, not as long as for the schedule.
async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    waited.unwrap_or_else(|_| panic!("timed out waiting for {what}"));
}

/// FinvyPay's report names our payment, but does not say that the transaction is paid: the webhook alone said so.
#[tokio::test]
async fn unpaid_transaction_with_our_id_confirms_nothing() {
    let words = [
        ("PENDING", "pending"),
        ("AUTHORIZED", "authorized"),
        ("FAILED", "failed"),
    ];
    join_all(words.map(async |(word, expected)| {
        let sale = Sale::begin().await;
        sale.send("SUCCESS").await;
        let metadata = json!({ "paymentFunctionsId": sale.id });
        sale.transaction_is_known(word, json!({ "metadata": metadata })).await;
        for later in [0, MINUTE + 1, 4 * MINUTE] {
            sale.sweep(later).await;
            assert_eq!(sale.status().await, expected, "{word}, after {later} s");
        }
        sale.assert_is_claim().await;
    }))
    .await;
}
