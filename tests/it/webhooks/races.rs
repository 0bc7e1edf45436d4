//! Webhooks that come before the create response, or without one.

use super::{PROVIDERS, check_claim, deliver, reference};
use crate::aws;
use crate::support::{
    Provider, Response, Value, apm, control, create, get_payment, json, post, preorder, status_of, unique, world,
};

/// Creates a payment with an idempotency key.
async fn create_keyed(provider: Provider, order_id: &str) -> Response {
    let (route, body) = match provider {
        Provider::Apolopay => ("/preorders", preorder(order_id)),
        Provider::Finvypay => ("/apm-payments", apm(order_id)),
    };
    post(route, &body, &[("idempotency-key", order_id)]).await
}

/// Our id of the order's payment, as sent to the provider.
async fn our_id(provider: Provider, order_id: &str) -> String {
    let calls = control()
        .await
        .calls_where(provider, order_id, &[("atLeast", "1")])
        .await
        .unwrap();
    let request: Value = serde_json::from_str(&calls.calls[0].body).unwrap();
    request["metadata"]["paymentFunctionsId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn webhook_before_the_create_response_completes_the_payment() {
    let wrong = json!({ "amount": 1 });
    let shapes = [
        (Provider::Apolopay, json!({ "shape": "A" }), "completed"),
        (Provider::Apolopay, json!({ "shape": "B" }), "completed"),
        (
            Provider::Apolopay,
            json!({ "shape": "A", "omit": ["metadata"] }),
            "completed",
        ),
        (
            Provider::Apolopay,
            json!({ "shape": "B", "omit": ["metadata"], "times": 3, "concurrent": true }),
            "completed",
        ),
        (
            Provider::Apolopay,
            json!([{ "omit": ["metadata"], "amount": 1 }, { "omit": ["metadata"] }]),
            "completed",
        ),
        (Provider::Apolopay, wrong.clone(), "review"),
        (Provider::Finvypay, json!({ "shape": "W2" }), "completed"),
        (
            Provider::Finvypay,
            json!({ "shape": "W2", "omit": ["metadata", "orderId"] }),
            "completed",
        ),
        (
            Provider::Finvypay,
            json!({ "shape": "W2", "omit": ["metadata"] }),
            "completed",
        ),
        (Provider::Finvypay, json!({ "outcome": "authorized" }), "authorized"),
        (
            Provider::Finvypay,
            json!({ "outcome": "failed", "omit": ["metadata", "orderId"] }),
            "failed",
        ),
        (Provider::Finvypay, wrong, "review"),
    ];
    futures_util::future::join_all(shapes.into_iter().map(async |(provider, hook, status)| {
        let order_id = unique("early");
        let replies = json!([{ "webhookBeforeReply": hook }]);
        control().await.replies(provider, &order_id, replies).await.unwrap();
        let created = create(provider, &order_id).await;
        let call = control()
            .await
            .calls(provider, &order_id)
            .await
            .unwrap()
            .calls
            .remove(0);
        assert!(
            call.webhooks.iter().all(|webhook| webhook.status == Some(200)),
            "{call:?}"
        );
        assert_eq!(created.str("status"), status, "{hook}");
        for member in ["processId", "redirectUrl", "expiresAt"] {
            assert_eq!(created.json().get(member), None, "no checkout session is left: {hook}");
        }
        let id = created.str("id");
        let payment = get_payment(&id).await.json();
        assert_eq!(
            (&payment["status"], payment.get("processId")),
            (&json!(status), None),
            "{hook}"
        );
        for reference in &call.ids {
            assert_eq!(aws::unmatched(provider, reference).await.len(), 0, "{hook}");
        }
        assert_eq!(aws::owner(provider, &call.ids[0]).await, Some(id.clone()), "{hook}");
        let facts = aws::facts(&id).await;
        assert_eq!(facts.len(), hook.as_array().map_or(1, Vec::len), "{facts:?}");
    }))
    .await;
}

/// W1 names only the order: the create response brings no id of it.
#[tokio::test]
async fn w1_before_the_create_response_waits_for_its_confirmation() {
    for shape in ["W1", "W1wrapped"] {
        let order_id = unique("early");
        let replies = json!([{ "webhookBeforeReply": { "shape": shape } }]);
        let control = control().await;
        control.replies(Provider::Finvypay, &order_id, replies).await.unwrap();
        let created = create(Provider::Finvypay, &order_id).await;
        assert_eq!(created.str("status"), "pending", "{shape}");
        let payments = control.payments(Provider::Finvypay, &order_id).await.unwrap();
        check_claim(payments[0].transaction_id.as_ref().unwrap()).await;
        assert_eq!(status_of(&created.str("id")).await, "completed", "{shape}");
    }
}

#[tokio::test]
async fn replay_shows_the_status_of_an_early_webhook() {
    for provider in PROVIDERS {
        let order_id = unique("replayed");
        let replies = json!([{ "webhookBeforeReply": { "omit": ["metadata"] } }]);
        control().await.replies(provider, &order_id, replies).await.unwrap();
        let first = create_keyed(provider, &order_id).await;
        assert_eq!((first.status, first.str("status").as_str()), (201, "completed"));
        let again = create_keyed(provider, &order_id).await;
        assert_eq!((again.status, &again.text), (201, &first.text));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(control().await.calls(provider, &order_id).await.unwrap().calls.len(), 1);
    }
}

/// The provider created the payment, but its response is lost: an id that we never saw.
#[tokio::test]
async fn webhook_with_a_lost_id_completes_by_our_own_id() {
    for provider in PROVIDERS {
        let order_id = unique("lost");
        control()
            .await
            .replies(provider, &order_id, json!([{ "drop": "beforeReply" }]))
            .await
            .unwrap();
        let lost = create_keyed(provider, &order_id).await;
        assert_eq!(lost.problem(), (502, "PROVIDER_ERROR".to_owned()));
        let id = lost.str("id");
        assert_eq!(status_of(&id).await, "creating");
        deliver(json!({ "provider": aws::name(provider), "orderId": order_id })).await;
        assert_eq!(status_of(&id).await, "completed");
        // The same key returns the current status without a provider call.
        let again = create_keyed(provider, &order_id).await;
        assert_eq!(
            (again.status, again.str("id"), again.str("status")),
            (201, id, "completed".to_owned())
        );
        let calls = control().await.calls(provider, &order_id).await.unwrap().calls;
        assert_eq!(calls.len(), 1);
        assert_eq!(aws::owner(provider, &calls[0].ids[0]).await, Some(again.str("id")));
    }
}

/// Both providers concurrently, because each takes 15 seconds.
#[tokio::test]
async fn webhook_completes_a_timed_out_create() {
    let hang = async |provider: Provider, during: bool| {
        let order_id = unique("hang");
        control()
            .await
            .replies(provider, &order_id, json!([{ "hang": true, "create": true }]))
            .await
            .unwrap();
        let webhook = json!({ "provider": aws::name(provider), "orderId": order_id });
        let creating = create_keyed(provider, &order_id);
        let meanwhile = async {
            let id = our_id(provider, &order_id).await;
            assert_eq!(status_of(&id).await, "creating");
            if during {
                deliver(webhook.clone()).await;
                assert_eq!(status_of(&id).await, "completed");
            }
            id
        };
        let (timed_out, id) = tokio::join!(creating, meanwhile);
        assert_eq!(timed_out.problem(), (504, "PROVIDER_TIMEOUT".to_owned()));
        assert_eq!(timed_out.str("id"), id);
        if !during {
            assert_eq!(status_of(&id).await, "creating");
            deliver(webhook).await;
        }
        assert_eq!(status_of(&id).await, "completed");
        let again = create_keyed(provider, &order_id).await;
        assert_eq!((again.status, again.str("status")), (201, "completed".to_owned()));
        assert_eq!(control().await.calls(provider, &order_id).await.unwrap().calls.len(), 1);
        assert_eq!(aws::facts(&id).await.len(), 1);
    };
    tokio::join!(
        hang(Provider::Apolopay, true),
        hang(Provider::Apolopay, false),
        hang(Provider::Finvypay, true),
        hang(Provider::Finvypay, false),
    );
}

#[tokio::test]
async fn payment_under_two_ids_is_flagged_as_duplicate() {
    for provider in PROVIDERS {
        for first_is_lost in [true, false] {
            let order_id = unique("twice");
            let script = json!({
                "provider": aws::name(provider), "orderId": order_id, "replies": [{ "drop": "beforeReply" }],
            });
            control().await.script(&script).await.unwrap();
            if provider == Provider::Finvypay {
                let forgets =
                    json!({ "provider": "finvypay", "orderId": order_id, "idempotency": false, "replies": [] });
                control().await.script(&forgets).await.unwrap();
            }
            assert_eq!(create_keyed(provider, &order_id).await.status, 502);
            let created = create_keyed(provider, &order_id).await;
            assert_eq!(created.status, 201, "{created:?}");
            let id = created.str("id");
            let payments = control().await.payments(provider, &order_id).await.unwrap();
            let mut ids: Vec<String> = payments.into_iter().map(|payment| payment.id).collect();
            assert_eq!(
                (ids.len(), ids.contains(&reference(&created))),
                (2, true),
                "two payments at the provider"
            );
            if !first_is_lost {
                ids.reverse();
            }
            deliver(json!({ "provider": aws::name(provider), "id": ids[0] })).await;
            assert_eq!(status_of(&id).await, "completed");
            assert_eq!(aws::attention(&id).await, [""; 0]);
            for _ in 0..2 {
                deliver(json!({ "provider": aws::name(provider), "id": ids[1] })).await;
                assert_eq!(status_of(&id).await, "completed");
                assert_eq!(aws::attention(&id).await, ["duplicate_payment"]);
            }
            assert_eq!(aws::facts(&id).await.len(), 2);
        }
    }
}

/// Real concurrency: the webhook and the create response cross in any order.
#[tokio::test]
async fn webhooks_crossing_the_create_response_are_not_lost() {
    let url = |provider| async move { format!("{}/webhooks/{}", world().await.functions_url(), aws::name(provider)) };
    for provider in PROVIDERS {
        let apolopay = provider == Provider::Apolopay;
        let crossings = (0..10).map(async |_| {
            let (order_id, field) = (unique("cross"), if apolopay { "processId" } else { "paymentId" });
            let id = if apolopay {
                uuid::Uuid::new_v4().to_string()
            } else {
                unique("pay_apm")
            };
            let replies = json!([{ "fields": { field: id } }]);
            control().await.replies(provider, &order_id, replies).await.unwrap();
            let webhook = json!({
                "provider": aws::name(provider), "id": id, "orderId": order_id, "url": url(provider).await,
                "amount": if apolopay { 25.5 } else { 99.99 }, "currency": "USD", "metadata": {},
                "omit": if apolopay { json!([]) } else { json!(["orderId"]) },
                "moves": false,
            });
            let cross = async {
                control()
                    .await
                    .calls_where(provider, &order_id, &[("atLeast", "1")])
                    .await
                    .unwrap();
                deliver(webhook).await;
            };
            let (created, ()) = tokio::join!(create(provider, &order_id), cross);
            assert_eq!(status_of(&created.str("id")).await, "completed");
            assert_eq!(aws::unmatched(provider, &id).await.len(), 0);
            assert_eq!(aws::facts(&created.str("id")).await.len(), 1);
        });
        futures_util::future::join_all(crossings).await;
    }
}
