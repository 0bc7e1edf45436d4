//! The operator's `republish` command, and events that the function rejects.

use super::*;

#[tokio::test]
async fn operator_republishes_a_payment_under_its_event_ids() {
    let feed = Feed::open().await;
    let id = feed.paid().await;
    let records = feed.records().await;
    feed.publish(&records).await;
    assert_eq!(feed.published().await, events_of(id, &PAID));
    let republish = |id: &str| json!({ "action": "republish", "paymentId": id });
    // Another version with the same status.
    let paid = feed.store.payment(id).await.unwrap().unwrap();
    feed.commit(&paid, &paid.add_references([reference(&unique("late"))], feed.now))
        .await;
    let response = feed.invoke(republish(&id.to_string())).await.unwrap();
    assert_eq!(response, json!({ "paymentId": id, "published": ["payment.completed"] }));
    assert_eq!(
        feed.published().await,
        events_of(id, &[("completed", 5)]),
        "the same event id"
    );

    let wrong = Fact {
        currency: Some("EUR".to_owned()),
        ..crate::facts::fact(Provider::FinvyPay, Outcome::Completed)
    };
    feed.record(id, wrong).await;
    let response = feed.invoke(republish(&id.to_string())).await.unwrap();
    assert_eq!(
        response,
        json!({ "paymentId": id, "published": ["payment.completed", "payment.attention"] })
    );
    assert_eq!(
        feed.published().await,
        events_of(id, &[("completed", 6), ("attention:1", 6)])
    );
}

#[tokio::test]
async fn invalid_event_or_command_fails_with_its_reason() {
    let feed = Feed::open().await;
    let republish = |id: &str| json!({ "action": "republish", "paymentId": id });
    let creating = feed.intent().await.id.to_string();
    let unknown = PaymentId::random().to_string();
    for (event, kind, part) in [
        (republish(&unknown), "REFUSED", unknown.as_str()),
        (republish(&creating), "REFUSED", "still being created"),
        (republish("x"), "INVALID_EVENT", "UUID"),
        (json!({ "action": "publish" }), "INVALID_EVENT", "publish"),
        (json!({ "Records": [] }), "INVALID_EVENT", "source"),
        (
            json!({ "Records": [{ "eventSource": "aws:s3" }] }),
            "INVALID_EVENT",
            "source",
        ),
        (json!({}), "INVALID_EVENT", "action"),
    ] {
        match feed.invoke(event.clone()).await {
            Err(InvokeError::Failed(error)) => {
                assert_eq!(error["errorType"], kind, "{event}: {error}");
                assert!(
                    error["errorMessage"].as_str().unwrap().contains(part),
                    "{event}: {error}"
                );
            }
            other => panic!("{event}: {other:?}"),
        }
    }
    assert_eq!(feed.published().await, []);
}
