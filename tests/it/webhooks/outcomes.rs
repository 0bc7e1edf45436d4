//! The effect of each webhook shape and status on a payment.

use futures_util::future::join_all;

use super::{PROVIDERS, deliver, send_webhook};
use crate::aws;
use crate::support::{Provider, Value, create, json, status_of, unique};

/// Merges the members of `more` into a webhook about an order.
pub fn spec(provider: Provider, order_id: &str, more: &Value) -> Value {
    let mut spec = json!({ "provider": aws::name(provider), "orderId": order_id });
    for (name, value) in more.as_object().expect("members") {
        spec[name] = value.clone();
    }
    spec
}

/// Creates a payment and sends webhooks about it in turn; returns the status after each. W1 names only an order, so it
/// gets our payment id too: it is no claim then.
pub async fn history(provider: Provider, hooks: &[Value]) -> (String, Vec<String>) {
    let order_id = unique("history");
    let id = create(provider, &order_id).await.str("id");
    let mut statuses = Vec::new();
    for more in hooks {
        let mut hook = spec(provider, &order_id, more);
        if hook["shape"].as_str().is_some_and(|shape| shape.starts_with("W1")) {
            hook["extra"]["data"]["metadata"]["paymentFunctionsId"] = json!(id);
        }
        deliver(hook).await;
        statuses.push(status_of(&id).await);
    }
    (id, statuses)
}

#[tokio::test]
async fn every_apolopay_shape_completes_a_payment() {
    let mut shapes = Vec::new();
    for shape in ["A", "B"] {
        for headers in ["A", "B", "both"] {
            for without_our_id in [false, true] {
                shapes.push((json!({ "shape": shape, "headers": headers }), without_our_id));
            }
        }
        for amount in [json!("25.50"), json!("25.5"), json!(25.5), json!("2.55e1")] {
            shapes.push((json!({ "shape": shape, "amount": amount }), false));
        }
    }
    // Bodies with members of both shapes.
    shapes.push((
        json!({ "shape": "A", "extra": { "event": "payment.completed" } }),
        false,
    ));
    shapes.push((json!({ "shape": "B", "extra": { "status": "completed" } }), true));
    shapes.push((json!({ "shape": "A", "omit": ["metadata"] }), false));
    shapes.push((json!({ "shape": "B", "omit": ["metadata"], "pretty": true }), false));
    shapes.push((json!({ "shape": "A", "outcome": "COMPLETED" }), false));
    join_all(shapes.into_iter().map(async |(mut more, without_our_id)| {
        let order_id = unique("shape");
        let id = create(Provider::Apolopay, &order_id).await.str("id");
        if without_our_id {
            more["metadata"] = json!({ "orderId": order_id });
        }
        deliver(spec(Provider::Apolopay, &order_id, &more)).await;
        assert_eq!(status_of(&id).await, "completed", "{more} {without_our_id}");
    }))
    .await;
}

#[tokio::test]
async fn apolopay_id_is_read_from_either_member_and_case() {
    for name in ["processId", "id"] {
        let order_id = unique("member");
        let created = create(Provider::Apolopay, &order_id).await;
        let process_id = created.str("processId").to_uppercase();

        let body = json!({ name: process_id, "status": "completed", "amount": 25.5 }).to_string();

        deliver(json!({ "provider": "apolopay", "body": body })).await;
        assert_eq!(status_of(&created.str("id")).await, "completed", "{name}");
    }
}

#[tokio::test]
async fn every_finvypay_shape_completes_a_payment() {
    let mut shapes = vec![
        json!({ "shape": "W2" }),
        json!({ "shape": "W2", "omit": ["metadata"] }),
        json!({ "shape": "W2", "metadata": { "internal_ref": "subscription_123" } }),
        json!({ "shape": "W2", "amount": "99.99" }),
        json!({ "shape": "W2", "currency": "usd" }),
        json!({ "shape": "W2", "omit": ["event"] }),
        json!({ "shape": "W2", "omit": ["status"] }),
        json!({ "shape": "W2", "omit": ["orderId"], "pretty": true }),
        json!({ "shape": "W2", "extra": { "transactionId": unique("FP") } }),
    ];
    for shape in ["W1", "W1wrapped"] {
        shapes.push(json!({ "shape": shape }));
        shapes.push(json!({ "shape": shape, "amount": "99.990" }));
        shapes.push(json!({ "shape": shape, "pretty": true }));
        for word in ["SUCCEEDED", "COMPLETED", "APPROVED", "success"] {
            shapes.push(json!({ "shape": shape, "outcome": word }));
        }
    }
    join_all(shapes.into_iter().map(async |more| {
        let (_, statuses) = history(Provider::Finvypay, std::slice::from_ref(&more)).await;
        assert_eq!(statuses, ["completed"], "{more}");
    }))
    .await;
}

#[tokio::test]
async fn every_finvypay_status_maps_to_its_rank() {
    let words = [
        ("authorized", "authorized"),
        ("AUTHORIZED", "authorized"),
        ("pending", "pending"),
        ("INIT", "pending"),
        ("REDIRECT", "pending"),
        ("REDIRECTED", "pending"),
        ("failed", "failed"),
        ("DECLINED", "failed"),
        ("ERROR", "failed"),
        ("BLOCKED", "failed"),
        ("cancelled", "cancelled"),
        ("ABANDONED", "cancelled"),
        // Undocumented: recorded, but they change nothing.
        ("CAPTURED", "pending"),
        ("SETTLED", "pending"),
        ("REFUNDED", "pending"),
        ("COMPLETE", "pending"),
        ("true", "pending"),
    ];
    // Every W1 has `success: true`, which only means that the call worked.
    let cases = words
        .into_iter()
        .flat_map(|(word, status)| [("W1", word, status), ("W1wrapped", word, status)]);
    let five = ["authorized", "pending", "failed", "cancelled"].map(|word| ("W2", word, word));
    join_all(cases.chain(five).map(async |(shape, word, status)| {
        let (id, statuses) = history(Provider::Finvypay, &[json!({ "shape": shape, "outcome": word })]).await;
        assert_eq!(statuses, [status], "{shape} {word}");
        assert_eq!(aws::facts(&id).await.len(), 1, "{shape} {word}: kept");
    }))
    .await;
}

#[tokio::test]
async fn apolopay_reports_only_completion() {
    for (more, body) in [
        (json!({ "outcome": "expired" }), "another status"),
        (json!({ "outcome": "failed" }), "another status"),
        (json!({ "outcome": "partially_paid" }), "another status"),
        (json!({ "shape": "B", "outcome": "payment.expired" }), "another event"),
        (
            json!({ "shape": "B", "outcome": "payment.completed.test" }),
            "a longer event",
        ),
        (
            json!({ "shape": "A", "extra": { "event": "payment.failed" } }),
            "a contradiction",
        ),
        (
            json!({ "shape": "B", "extra": { "status": "pending" } }),
            "a contradiction",
        ),
    ] {
        let (id, statuses) = history(Provider::Apolopay, &[more.clone(), json!({})]).await;
        assert_eq!(statuses, ["pending", "completed"], "{body}: {more}");
        assert_eq!(aws::facts(&id).await.len(), 2, "{body}: {more}");
    }
}

#[tokio::test]
async fn contradicting_statuses_change_nothing() {
    for more in [
        json!({ "extra": { "status": "FAILED" } }),
        json!({ "extra": { "status": "AUTHORIZED" } }),
        json!({ "extra": { "status": "SETTLED" } }),
        json!({ "outcome": "failed", "extra": { "status": "COMPLETED" } }),
        json!({ "outcome": "settled", "extra": { "status": "COMPLETED" } }),
        json!({ "outcome": "payment.refunded", "extra": { "status": "COMPLETED" } }),
    ] {
        let (id, statuses) = history(Provider::Finvypay, &[more.clone(), json!({})]).await;
        assert_eq!(statuses, ["pending", "completed"], "{more}");
        assert_eq!(aws::facts(&id).await.len(), 2, "{more}");
    }
}

#[tokio::test]
async fn authorized_payment_is_not_paid() {
    let hooks = ["authorized", "pending", "completed", "authorized"].map(|outcome| json!({ "outcome": outcome }));
    let (id, statuses) = history(Provider::Finvypay, &hooks).await;
    assert_eq!(statuses, ["authorized", "authorized", "completed", "completed"]);
    assert_eq!(aws::facts(&id).await.len(), 3, "authorized came twice");
}

#[tokio::test]
async fn completion_wins_after_any_other_status() {
    for hooks in [
        vec![json!({ "outcome": "failed" })],
        vec![json!({ "outcome": "cancelled" })],
        vec![
            json!({ "outcome": "authorized" }),
            json!({ "outcome": "cancelled" }),
            json!({ "outcome": "failed" }),
        ],
        vec![json!({ "amount": 1 })],
        vec![
            json!({ "amount": 1 }),
            json!({ "outcome": "failed" }),
            json!({ "currency": "EUR" }),
        ],
    ] {
        for shape in ["W1", "W2"] {
            let mut hooks = hooks.clone();
            let has_other_money = hooks.iter().any(|hook| hook["outcome"].is_null());
            hooks.push(json!({ "shape": shape }));
            let (id, statuses) = history(Provider::Finvypay, &hooks).await;
            assert!(
                !statuses[..statuses.len() - 1].contains(&"completed".to_owned()),
                "{statuses:?}"
            );
            assert_eq!(statuses.last().unwrap(), "completed", "{statuses:?}");
            let expected = if has_other_money {
                vec!["amount_mismatch"]
            } else {
                vec![]
            };
            assert_eq!(aws::attention(&id).await, expected);
        }
    }
    for provider in PROVIDERS {
        for (status, rank) in [("creating", 0), ("expired", 2), ("failed", 5), ("review", 6)] {
            let order_id = unique("expired");
            let id = create(provider, &order_id).await.str("id");
            aws::set_status(&id, status, rank).await;
            deliver(spec(provider, &order_id, &json!({}))).await;
            assert_eq!(status_of(&id).await, "completed", "{provider:?} {status}");
        }
    }
}

#[tokio::test]
async fn wrong_amount_after_completed_only_sets_attention() {
    for provider in PROVIDERS {
        let (id, statuses) = history(provider, &[json!({}), json!({ "amount": 1 })]).await;
        assert_eq!(statuses, ["completed", "completed"]);
        assert_eq!(aws::attention(&id).await, ["amount_mismatch"]);
        assert_eq!(aws::facts(&id).await.len(), 2);
    }
    // The amount matters only in completions.
    let (id, statuses) = history(
        Provider::Finvypay,
        &[json!({}), json!({ "outcome": "failed", "amount": 1 })],
    )
    .await;
    assert_eq!(
        (statuses.last().unwrap().as_str(), aws::attention(&id).await),
        ("completed", vec![])
    );
    let (_, statuses) = history(
        Provider::Finvypay,
        &[json!({ "outcome": "authorized", "amount": 1, "currency": "EUR" })],
    )
    .await;
    assert_eq!(statuses, ["authorized"]);
}

/// All permutations.
fn permutations<T: Clone>(things: &[T]) -> Vec<Vec<T>> {
    if things.is_empty() {
        return vec![vec![]];
    }
    (0..things.len())
        .flat_map(|first| {
            let mut rest = things.to_vec();
            let first = rest.remove(first);
            permutations(&rest).into_iter().map(move |mut tail| {
                tail.insert(0, first.clone());
                tail
            })
        })
        .collect()
}

#[tokio::test]
async fn every_order_of_webhooks_ends_in_the_same_status() {
    let sets = [
        (
            vec![
                json!({ "outcome": "authorized" }),
                json!({ "outcome": "failed" }),
                json!({}),
            ],
            "completed",
        ),
        (
            vec![
                json!({ "shape": "W1" }),
                json!({ "amount": 1 }),
                json!({ "outcome": "cancelled" }),
            ],
            "completed",
        ),
        (
            vec![
                json!({ "outcome": "pending" }),
                json!({ "outcome": "failed" }),
                json!({ "outcome": "cancelled" }),
            ],
            "failed",
        ),
        (
            vec![
                json!({ "currency": "EUR" }),
                json!({ "outcome": "failed" }),
                json!({ "outcome": "SETTLED" }),
            ],
            "review",
        ),
    ];
    for (events, expected) in sets {
        join_all(permutations(&events).into_iter().map(async |mut order| {
            // The first one again.
            order.push(order[0].clone());
            let (id, statuses) = history(Provider::Finvypay, &order).await;
            assert_eq!(statuses.last().unwrap(), expected, "{order:?}");
            assert_eq!(aws::facts(&id).await.len(), 3, "{order:?}");
        }))
        .await;
    }
}

#[tokio::test]
async fn one_fact_in_different_shapes_is_recorded_once() {
    let (id, statuses) = history(
        Provider::Apolopay,
        &[json!({ "shape": "A" }), json!({ "shape": "B", "amount": "25.5" })],
    )
    .await;
    assert_eq!(statuses, ["completed", "completed"]);
    assert_eq!(aws::facts(&id).await.len(), 1);
    assert_eq!(aws::attention(&id).await, [""; 0]);

    // W1 and W2 have ids of different kinds: two facts, but one capture.
    let (id, statuses) = history(
        Provider::Finvypay,
        &[
            json!({ "shape": "W2" }),
            json!({ "shape": "W1" }),
            json!({ "shape": "W1wrapped" }),
        ],
    )
    .await;
    assert_eq!(statuses, ["completed"; 3]);
    assert_eq!(aws::facts(&id).await.len(), 2);
    assert_eq!(aws::attention(&id).await, [""; 0]);
}

#[tokio::test]
async fn genuine_webhook_is_accepted_after_its_forgery() {
    let order_id = unique("genuine");
    let id = create(Provider::Finvypay, &order_id).await.str("id");
    assert_eq!(
        send_webhook(spec(Provider::Finvypay, &order_id, &json!({ "signature": "wrong" })))
            .await
            .status,
        Some(401)
    );
    assert_eq!(status_of(&id).await, "pending");
    deliver(spec(Provider::Finvypay, &order_id, &json!({}))).await;
    assert_eq!(status_of(&id).await, "completed");
}
