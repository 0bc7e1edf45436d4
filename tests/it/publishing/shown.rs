//! The events as a consumer receives them, of payments that the real functions created: complete, and without personal
//! data of the buyer.

use super::*;
use crate::privacy::{PERSONAL, SECRETS};
use crate::reconcile::whole::Shop;
use crate::support::{Provider as Side, redact};

/// The events of a payment that was created through its function and then paid.
async fn events(provider: Side) -> (Feed, Vec<Value>) {
    let shop = Shop::open().await;
    let created = shop.create(provider, &unique("ORD")).await;
    let feed = Feed::of(shop.table.clone(), &[]).await;
    let id = PaymentId::parse(&created.str("id")).unwrap();
    let provider = match provider {
        Side::Apolopay => Provider::ApoloPay,
        Side::Finvypay => Provider::FinvyPay,
    };
    let payment = feed.store.payment(id).await.unwrap().unwrap();
    let paid = Fact {
        amount: payment_functions::domain::decimal::Decimal::parse(&payment.money.amount().to_string()),
        ..crate::facts::fact(provider, Outcome::Completed)
    };
    feed.record(id, paid).await;
    let records = feed.records().await;
    assert_eq!(feed.publish(&records).await, [""; 0]);
    let events = feed.events().await;
    assert_eq!(events.len(), 2, "{events:?}");
    (feed, events)
}

/// An event as a snapshot, with its ids and times replaced.
fn whole(event: &Value) -> String {
    let id = event["detail"]["id"].as_str().expect("an id");
    let text = format!("{event:#}").replace(id, "[id]");
    let time = event["time"].as_str().expect("a time");
    redact(&text.replace(&format!("\"{time}\""), "\"[second]\""))
}

#[tokio::test]
async fn whole_event_of_apolopay() {
    let (_, events) = events(Side::Apolopay).await;
    insta::assert_snapshot!(whole(&events[0]), @r#"
    {
      "account": "000000000000",
      "detail": {
        "amount": 25.5,
        "createdAt": "[time]",
        "currency": "USD",
        "environment": "production",
        "eventId": "[id]:pending",
        "id": "[id]",
        "orderId": "[unique]",
        "processId": "[uuid]",
        "provider": "apolopay",
        "status": "pending",
        "updatedAt": "[time]",
        "version": 2
      },
      "detail-type": "payment.pending",
      "id": "[uuid]",
      "region": "us-east-1",
      "resources": [],
      "source": "payment-functions",
      "time": "[second]",
      "version": "0"
    }
    "#);
    insta::assert_snapshot!(whole(&events[1]), @r#"
    {
      "account": "000000000000",
      "detail": {
        "amount": 25.5,
        "createdAt": "[time]",
        "currency": "USD",
        "environment": "production",
        "eventId": "[id]:completed",
        "id": "[id]",
        "orderId": "[unique]",
        "provider": "apolopay",
        "status": "completed",
        "updatedAt": "[time]",
        "version": 3
      },
      "detail-type": "payment.completed",
      "id": "[uuid]",
      "region": "us-east-1",
      "resources": [],
      "source": "payment-functions",
      "time": "[second]",
      "version": "0"
    }
    "#);
}

#[tokio::test]
async fn whole_event_of_finvypay() {
    let (_, events) = events(Side::Finvypay).await;
    insta::assert_snapshot!(whole(&events[0]), @r#"
    {
      "account": "000000000000",
      "detail": {
        "amount": 99.99,
        "createdAt": "[time]",
        "currency": "USD",
        "environment": "sandbox",
        "eventId": "[id]:pending",
        "expiresAt": "[time]",
        "id": "[id]",
        "metadata": {
          "internal_ref": "subscription_123"
        },
        "orderId": "[unique]",
        "provider": "finvypay",
        "redirectUrl": "http://127.0.0.1:[port]/finvypay/pay/[paymentId]",
        "status": "pending",
        "updatedAt": "[time]",
        "version": 2
      },
      "detail-type": "payment.pending",
      "id": "[uuid]",
      "region": "us-east-1",
      "resources": [],
      "source": "payment-functions",
      "time": "[second]",
      "version": "0"
    }
    "#);
    insta::assert_snapshot!(whole(&events[1]), @r#"
    {
      "account": "000000000000",
      "detail": {
        "amount": 99.99,
        "createdAt": "[time]",
        "currency": "USD",
        "environment": "sandbox",
        "eventId": "[id]:completed",
        "id": "[id]",
        "metadata": {
          "internal_ref": "subscription_123"
        },
        "orderId": "[unique]",
        "provider": "finvypay",
        "status": "completed",
        "updatedAt": "[time]",
        "version": 3
      },
      "detail-type": "payment.completed",
      "id": "[uuid]",
      "region": "us-east-1",
      "resources": [],
      "source": "payment-functions",
      "time": "[second]",
      "version": "0"
    }
    "#);
}

#[tokio::test]
async fn event_has_exact_amounts_the_time_of_its_change_and_no_personal_data() {
    for provider in [Side::Apolopay, Side::Finvypay] {
        let (feed, events) = events(provider).await;
        let mut calls = feed.proxy.calls();
        calls.retain(|call| call.action == "PutEvents");
        assert_eq!(calls.len(), 2);
        for call in &calls {
            let entry = &call.body["Entries"][0];
            assert_eq!(entry["Source"], "payment-functions");
            assert_eq!(entry["EventBusName"], feed.bus.as_str());
            let text = entry["Detail"].as_str().unwrap();
            let amount = if provider == Side::Apolopay { "25.50" } else { "99.99" };
            assert!(text.contains(&format!(r#""amount":{amount},"#)), "{text}");
            let updated_at = read(&entry["Detail"])["updatedAt"].clone();
            let updated_at = Timestamp::parse_rfc3339(updated_at.as_str().unwrap()).unwrap();
            assert_eq!(entry["Time"].to_string(), seconds(updated_at));
        }
        let shown = format!("{events:?}{:?}{}", calls, feed.function.log());
        for private in SECRETS.into_iter().chain(PERSONAL) {
            assert!(!shown.contains(private), "{provider:?}: {private} in {shown}");
        }
        assert!(!feed.function.log().contains("internal_ref"), "metadata is not logged");
    }
}
