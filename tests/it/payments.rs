//! `GET /payments/{id}`.

use payment_functions_tests::world::{Fault, PRODUCTION_TIMEOUTS};
use reqwest::Method;

use super::aws;
use super::routes::{BOTH, create_with, webhooks};
use super::support::*;

#[tokio::test]
async fn pending_payment_has_its_checkout_session() {
    let [preorder, apm] = BOTH;
    let (preorder, apm) = (
        create(preorder, &unique("ORD")).await,
        create(apm, &unique("ORD")).await,
    );
    insta::assert_snapshot!(get_payment(&preorder.str("id")).await.whole(), @r#"
    200
    cache-control: no-store
    content-type: application/json

    {
      "amount": 25.5,
      "createdAt": "[time]",
      "currency": "USD",
      "environment": "production",
      "id": "[uuid]",
      "orderId": "[unique]",
      "processId": "[uuid]",
      "provider": "apolopay",
      "status": "pending",
      "updatedAt": "[time]"
    }
    "#);
    insta::assert_snapshot!(get_payment(&apm.str("id")).await.whole(), @r#"
    200
    cache-control: no-store
    content-type: application/json

    {
      "amount": 99.99,
      "createdAt": "[time]",
      "currency": "USD",
      "environment": "sandbox",
      "expiresAt": "[time]",
      "id": "[uuid]",
      "orderId": "[unique]",
      "provider": "finvypay",
      "redirectUrl": "http://127.0.0.1:[port]/finvypay/pay/[paymentId]",
      "status": "pending",
      "updatedAt": "[time]"
    }
    "#);
    for created in [preorder, apm] {
        let shown = get_payment(&created.str("id")).await.json();
        for name in ["processId", "redirectUrl", "expiresAt", "createdAt"] {
            assert_eq!(shown.get(name), created.json().get(name), "{name}");
        }
        let upper = get_payment(&created.str("id").to_uppercase()).await;
        assert_eq!(upper.str("id"), created.str("id"), "UUIDs are case-insensitive");
    }
}

#[tokio::test]
async fn payment_beyond_pending_has_no_checkout_session() {
    for provider in BOTH {
        let order = unique("ORD");
        let created = create(provider, &order).await;
        webhooks(json!({ "provider": provider, "orderId": order })).await;
        let shown = get_payment(&created.str("id")).await;
        assert_eq!(shown.str("status"), "completed");
        assert!(shown.str("updatedAt") > shown.str("createdAt"));
        for name in [
            "processId",
            "paymentId",
            "redirectUrl",
            "expiresAt",
            "metadata",
            "email",
        ] {
            assert!(shown.json().get(name).is_none(), "{name}: {shown:?}");
        }
    }
    let order = unique("ORD");
    let id = create(Provider::Finvypay, &order).await.str("id");
    for outcome in ["authorized", "cancelled", "failed"] {
        let webhook = json!({ "provider": Provider::Finvypay, "orderId": order, "shape": "W2", "outcome": outcome });
        webhooks(webhook).await;
        let shown = get_payment(&id).await;
        assert_eq!(shown.str("status"), outcome);
        assert!(
            !shown.text.contains("redirectUrl") && !shown.text.contains("expiresAt"),
            "{shown:?}"
        );
    }
    webhooks(json!({ "provider": Provider::Finvypay, "orderId": order, "shape": "W2" })).await;
    insta::assert_snapshot!(get_payment(&id).await.whole(), @r#"
    200
    cache-control: no-store
    content-type: application/json

    {
      "amount": 99.99,
      "createdAt": "[time]",
      "currency": "USD",
      "environment": "sandbox",
      "id": "[uuid]",
      "orderId": "[unique]",
      "provider": "finvypay",
      "status": "completed",
      "updatedAt": "[time]"
    }
    "#);
}

#[tokio::test]
async fn payment_without_provider_response_is_creating() {
    for provider in BOTH {
        let failed = create_with(provider, &unique("ORD"), json!([{ "error": "INTERNAL_ERROR" }])).await;
        assert_eq!(failed.status, 502, "{failed:?}");
        let shown = get_payment(&failed.str("id")).await;
        assert_eq!(shown.str("status"), "creating");
        assert!(shown.json().get("processId").is_none() && shown.json().get("redirectUrl").is_none());
        if provider == Provider::Finvypay {
            insta::assert_snapshot!(shown.whole(), @r#"
            200
            cache-control: no-store
            content-type: application/json

            {
              "amount": 99.99,
              "createdAt": "[time]",
              "currency": "USD",
              "environment": "sandbox",
              "id": "[uuid]",
              "orderId": "[unique]",
              "provider": "finvypay",
              "status": "creating",
              "updatedAt": "[time]"
            }
            "#);
        }
    }
}

#[tokio::test]
async fn unknown_payment_is_not_found() {
    let unknown = get_payment("00000000-0000-4000-8000-000000000000").await;
    insta::assert_snapshot!(unknown.whole(), @r#"
    404
    cache-control: no-store
    content-type: application/problem+json

    {
      "code": "NOT_FOUND",
      "detail": "There is no payment with this id.",
      "status": 404,
      "title": "Not found",
      "type": "urn:payment-functions:problem:not-found"
    }
    "#);
    for id in [
        "x",
        "1",
        "%20",
        "%00",
        "00000000000040008000000000000000",
        "%7B00000000-0000-4000-8000-000000000000%7D",
        "urn:uuid:00000000-0000-4000-8000-000000000000",
        "00000000-0000-4000-8000-00000000000g",
        "00000000-0000-4000-8000-0000000000000",
    ] {
        assert_eq!(get_payment(id).await.problem(), (404, "NOT_FOUND".to_owned()), "{id}");
    }
}

#[tokio::test]
async fn unavailable_store_gets_503() {
    let id = create(Provider::Apolopay, &unique("ORD")).await.str("id");
    let (proxy, alone) = aws::behind_proxy("get-payment", &[PRODUCTION_TIMEOUTS]).await;
    let get = || send(request(Method::GET, &format!("{}/payments/{id}", alone.url())));
    for fault in [Fault::UNAVAILABLE, Fault::THROTTLED, Fault::Disconnect, Fault::Hang] {
        proxy.fail("GetItem", fault.clone());
        let response = get().await;
        assert_eq!(response.problem(), (503, "UNAVAILABLE".to_owned()), "{fault:?}");
        assert_eq!(response.header("retry-after"), Some("5"));
        proxy.reset();
    }
    proxy.fail_times("GetItem", 1, Fault::Disconnect);
    assert_eq!(get().await.status, 200, "a lost attempt is retried");
    let reads: Vec<_> = proxy
        .calls()
        .into_iter()
        .map(|call| call.body["ConsistentRead"].clone())
        .collect();
    assert_eq!(reads, [json!(true), json!(true)]);
}
