//! The payment of a webhook: found by the provider's id, else by our id in the metadata, else by the order.

use uuid::Uuid;

use super::{PROVIDERS, deliver, reference};
use crate::aws;
use crate::support::{Provider, control, create, json, status_of, unique};

/// A valid id that no provider has assigned.
pub fn fresh(provider: Provider) -> String {
    match provider {
        Provider::Apolopay => Uuid::new_v4().to_string(),
        Provider::Finvypay => unique("pay_apm").replace('-', "_"),
    }
}

#[tokio::test]
async fn known_id_wins_over_metadata() {
    for provider in PROVIDERS {
        let (own, other) = (
            create(provider, &unique("own")).await,
            create(provider, &unique("other")).await,
        );
        let hook = json!({
            "provider": aws::name(provider), "id": reference(&own),
            "metadata": { "paymentFunctionsId": other.str("id"), "orderId": other.str("orderId") },
        });
        deliver(hook.clone()).await;
        assert_eq!(status_of(&own.str("id")).await, "completed");
        assert_eq!(status_of(&other.str("id")).await, "pending");
        assert_eq!(
            (
                aws::facts(&own.str("id")).await.len(),
                aws::facts(&other.str("id")).await.len()
            ),
            (1, 0)
        );
        // The other payment keeps its own id.
        deliver(hook).await;
        deliver(json!({ "provider": aws::name(provider), "id": reference(&other) })).await;
        assert_eq!(status_of(&other.str("id")).await, "completed");
        for created in [own, other] {
            let owner = aws::owner(provider, &reference(&created)).await;
            assert_eq!(owner, Some(created.str("id")));
            assert_eq!(aws::attention(&created.str("id")).await, [""; 0]);
        }
    }
}

#[tokio::test]
async fn finvypay_id_wins_over_the_order() {
    let (own, other) = (
        create(Provider::Finvypay, &unique("own")).await,
        create(Provider::Finvypay, &unique("other")).await,
    );
    let hook = json!({
        "provider": "finvypay", "payment": reference(&own), "orderId": other.str("orderId"), "omit": ["metadata"],
    });
    deliver(hook).await;
    assert_eq!(status_of(&own.str("id")).await, "completed");
    assert_eq!(status_of(&other.str("id")).await, "pending");
}

#[tokio::test]
async fn completion_with_ids_of_two_payments_goes_to_review() {
    for provider in PROVIDERS {
        let (one, two) = (
            create(provider, &unique("one")).await,
            create(provider, &unique("two")).await,
        );
        let (others, hook) = match provider {
            Provider::Apolopay => (
                reference(&two),
                json!({ "provider": "apolopay", "shape": "B", "id": reference(&one), "extra": { "id": reference(&two) } }),
            ),
            Provider::Finvypay => {
                let transaction = fresh(provider);
                let extra = json!({ "transactionId": transaction });
                let begun =
                    json!({ "provider": "finvypay", "payment": reference(&two), "outcome": "pending", "extra": extra });
                deliver(begun).await;
                let hook = json!({ "provider": "finvypay", "payment": reference(&one), "extra": extra });
                (transaction, hook)
            }
        };
        for _ in 0..2 {
            deliver(hook.clone()).await;
            assert_eq!(status_of(&one.str("id")).await, "review", "{provider:?}");
            assert_eq!(status_of(&two.str("id")).await, "pending", "{provider:?}");
        }
        assert_eq!(aws::owner(provider, &others).await, Some(two.str("id")));
        for created in [one, two] {
            deliver(json!({ "provider": aws::name(provider), "id": reference(&created) })).await;
            assert_eq!(status_of(&created.str("id")).await, "completed", "{provider:?}");
        }
    }
}

#[tokio::test]
async fn unknown_id_belongs_to_the_payment_in_the_metadata() {
    for provider in PROVIDERS {
        let order_id = unique("named");
        let created = create(provider, &order_id).await;
        let id = fresh(provider);
        // The order belongs to another payment; the id is ours.
        let hook = json!({ "provider": aws::name(provider), "payment": reference(&created), "id": id });
        deliver(hook).await;
        assert_eq!(status_of(&created.str("id")).await, "completed");
        assert_eq!(aws::owner(provider, &id).await, Some(created.str("id")));
        assert_eq!(aws::unmatched(provider, &id).await.len(), 0);
        // From now on the id alone suffices.
        let late = json!({ "provider": aws::name(provider), "payment": reference(&created), "id": id, "amount": 1, "omit": ["metadata"] });
        deliver(late).await;
        assert_eq!(aws::attention(&created.str("id")).await, ["amount_mismatch"]);
    }
}

#[tokio::test]
async fn w1_of_a_known_transaction_completes_its_payment() {
    for shape in ["W1", "W1wrapped"] {
        let order_id = unique("w1");
        let first = create(Provider::Finvypay, &order_id).await;
        let w1 = json!({ "provider": "finvypay", "payment": reference(&first), "shape": shape });
        let mut authorized = w1.clone();
        authorized["outcome"] = json!("authorized");
        authorized["extra"]["data"]["metadata"]["paymentFunctionsId"] = json!(first.str("id"));
        deliver(authorized).await;
        assert_eq!(status_of(&first.str("id")).await, "authorized");
        // Its transaction is known now, so a second payment of the order changes nothing.
        let second = create(Provider::Finvypay, &order_id).await;
        deliver(w1).await;
        assert_eq!(status_of(&first.str("id")).await, "completed");
        assert_eq!(status_of(&second.str("id")).await, "pending");
    }
}

#[tokio::test]
async fn w1_for_an_order_with_two_payments_is_unmatched() {
    let order_id = unique("two");
    let (first, second) = (
        create(Provider::Finvypay, &order_id).await,
        create(Provider::Finvypay, &order_id).await,
    );
    for created in [&first, &second] {
        let payments = control().await.payments(Provider::Finvypay, &order_id).await.unwrap();
        let payment = payments
            .into_iter()
            .find(|payment| payment.id == reference(created))
            .unwrap();
        let transaction = payment.transaction_id.unwrap();
        for shape in ["W1", "W1wrapped"] {
            deliver(json!({ "provider": "finvypay", "payment": payment.id, "shape": shape })).await;
        }
        assert_eq!(
            aws::unmatched(Provider::Finvypay, &transaction).await.len(),
            1,
            "kept, once"
        );
        assert_eq!(aws::owner(Provider::Finvypay, &transaction).await, None);
    }
    for created in [&first, &second] {
        assert_eq!(status_of(&created.str("id")).await, "pending");
        assert_eq!(aws::facts(&created.str("id")).await.len(), 0);
    }
    // A webhook that names the transaction's payment also applies the unmatched one.
    let payments = control().await.payments(Provider::Finvypay, &order_id).await.unwrap();
    let of_second = payments
        .iter()
        .find(|payment| payment.id == reference(&second))
        .unwrap();
    let transaction = of_second.transaction_id.clone().unwrap();
    let hook = json!({
        "provider": "finvypay", "payment": of_second.id, "outcome": "authorized", "extra": { "transactionId": transaction },
    });
    deliver(hook).await;
    assert_eq!(status_of(&second.str("id")).await, "completed");
    assert_eq!(status_of(&first.str("id")).await, "pending");
    assert_eq!(aws::unmatched(Provider::Finvypay, &transaction).await.len(), 0);
    assert_eq!(aws::facts(&second.str("id")).await.len(), 2);
}

#[tokio::test]
async fn w1_for_an_unknown_order_is_unmatched() {
    let transaction = unique("FP");
    let hook = json!({
        "provider": "finvypay", "shape": "W1", "transactionId": transaction, "orderId": unique("nobody"), "amount": 1, "currency": "USD",
        "url": format!("{}/webhooks/finvypay", crate::support::world().await.functions_url()),
    });
    deliver(hook).await;
    assert_eq!(aws::unmatched(Provider::Finvypay, &transaction).await.len(), 1);
}

#[tokio::test]
async fn apolopay_order_alone_never_matches() {
    let created = create(Provider::Apolopay, &unique("order")).await;
    let id = fresh(Provider::Apolopay);
    let hook = json!({
        "provider": "apolopay", "id": id, "amount": 25.5, "metadata": { "orderId": created.str("orderId") },
    });
    deliver(hook).await;
    assert_eq!(status_of(&created.str("id")).await, "pending");
    assert_eq!(aws::unmatched(Provider::Apolopay, &id).await.len(), 1);
}

#[tokio::test]
async fn provider_cannot_change_the_others_payments() {
    for (speaker, payer) in [
        (Provider::Finvypay, Provider::Apolopay),
        (Provider::Apolopay, Provider::Finvypay),
    ] {
        let order_id = unique("across");
        let (victim, own) = (create(payer, &order_id).await, create(speaker, &order_id).await);
        let amount = victim.json()["amount"].clone();
        for id in [fresh(speaker), reference(&victim)] {
            let hook = json!({
                "provider": aws::name(speaker), "payment": reference(&own), "id": id, "amount": amount, "currency": "USD",
                "metadata": { "paymentFunctionsId": victim.str("id"), "orderId": order_id },
            });
            deliver(hook).await;
            assert_eq!(aws::unmatched(speaker, &id).await.len(), 1);
        }
        assert_eq!(status_of(&victim.str("id")).await, "pending");
        assert_eq!(aws::facts(&victim.str("id")).await.len(), 0);
        assert_eq!(status_of(&own.str("id")).await, "pending");
    }
}

#[tokio::test]
async fn unmatched_webhook_is_applied_once_its_payment_is_known() {
    for (provider, field) in [(Provider::Apolopay, "processId"), (Provider::Finvypay, "paymentId")] {
        for (more, status) in [(json!({}), "completed"), (json!({ "amount": 1 }), "review")] {
            let (order_id, id) = (unique("kept"), fresh(provider));
            let mut hook = json!({
                "provider": aws::name(provider), "id": id, "orderId": order_id, "amount": 25.5, "currency": "USD", "metadata": {},
                "at": "2026-03-19T12:00:00Z",
                "url": format!("{}/webhooks/{}", crate::support::world().await.functions_url(), aws::name(provider)),
            });
            if provider == Provider::Finvypay {
                hook["amount"] = json!(99.99);
                // Otherwise the order would match.
                hook["omit"] = json!(["orderId"]);
            }
            for (name, value) in more.as_object().unwrap() {
                hook[name] = value.clone();
            }
            deliver(hook.clone()).await;
            deliver(hook).await;
            assert_eq!(aws::unmatched(provider, &id).await.len(), 1);
            control()
                .await
                .replies(provider, &order_id, json!([{ "fields": { field: id } }]))
                .await
                .unwrap();
            let created = create(provider, &order_id).await;
            assert_eq!(created.str("status"), status);
            assert_eq!(status_of(&created.str("id")).await, status);
            assert_eq!(aws::unmatched(provider, &id).await.len(), 0);
            assert_eq!(aws::facts(&created.str("id")).await.len(), 1);
            assert_eq!(aws::owner(provider, &id).await, Some(created.str("id")));
        }
    }
}
