//! Payments and dead-letter messages that cannot be read.

use payment_functions_tests::world::Fault;

use super::*;

#[tokio::test]
async fn unreadable_record_is_dead_lettered_and_the_others_are_published() {
    let feed = Feed::open().await;
    let (first, broken) = (feed.pending().await.id, feed.pending().await.id);
    let state = aws::raw_items_of(&feed.table, &format!("PAYMENT#{broken}")).await;
    aws::break_payment(&feed.table, &broken.to_string()).await;
    feed.record(first, crate::facts::fact(Provider::FinvyPay, Outcome::Completed))
        .await;
    let records = feed.records().await;

    feed.proxy.fail("SendMessage", Fault::UNAVAILABLE);
    let is_broken = |record: &&Value| {
        let image = &record["dynamodb"]["NewImage"];
        image["sk"]["S"] == "STATE" && image["amount"].is_null()
    };
    let unreadable = sequence(records.iter().find(is_broken).expect("the broken record"));
    assert_eq!(
        feed.publish(&records).await,
        [unreadable],
        "neither published nor dead-lettered"
    );
    assert_eq!(feed.published().await.len(), 2);

    feed.proxy.reset();
    assert_eq!(feed.publish(&records).await, [""; 0]);
    let published = feed.published().await;
    let expected = [
        events_of(first, &[("pending", 2)]),
        events_of(broken, &[("pending", 2)]),
        events_of(first, &[("completed", 3)]),
    ];
    assert_eq!(published, expected.concat());
    let dead_letters = feed.dead_letters().await;
    let [(body, message)] = dead_letters.as_slice() else {
        panic!("not one dead-letter message: {dead_letters:?}");
    };
    let reason = "the stream's record cannot be read";
    assert_eq!(body, &json!({ "paymentId": broken, "reason": reason }));

    // It stays in the queue until the payment is repaired; then its current state is published.
    let id = message["MessageId"].as_str().unwrap().to_owned();
    assert_eq!(feed.redrive(std::slice::from_ref(message)).await, [id]);
    aws::put_items(&feed.table, &state).await;
    assert_eq!(feed.redrive(std::slice::from_ref(message)).await, [""; 0]);
    assert_eq!(feed.published().await, events_of(broken, &[("pending", 2)]));
}

#[tokio::test]
async fn unreadable_dead_letter_stays_in_the_queue_and_the_others_are_redriven() {
    let feed = Feed::open().await;
    let (creating, paid) = (feed.intent().await.id, feed.paid().await);
    let body = |id: &str| json!({ "paymentId": id, "reason": "r" }).to_string();
    let (unknown, good) = (PaymentId::random().to_string(), paid.to_string());
    let bodies = [
        "no JSON".to_owned(),
        json!({ "reason": "r" }).to_string(),
        body("x"),
        body(&unknown),
        body(&creating.to_string()),
        body(&good),
        json!({ "paymentId": paid, "reason": "r", "entry": { "detailType": "payment.completed", "time": "today", "detail": {} } })
            .to_string(),
        body(&good),
    ];
    let messages: Vec<_> = bodies
        .iter()
        .enumerate()
        .map(|(index, body)| json!({ "MessageId": index.to_string(), "ReceiptHandle": "h", "Body": body }))
        .collect();
    assert_eq!(feed.redrive(&messages).await, ["0", "1", "2", "3", "4", "6"]);
    assert_eq!(
        feed.published().await,
        events_of(paid, &[("completed", 4), ("completed", 4)])
    );

    feed.proxy.fail("GetItem", Fault::UNAVAILABLE);
    assert_eq!(feed.redrive(&messages[5..6]).await, ["5"]);
    let republish = json!({ "action": "republish", "paymentId": paid });
    match feed.invoke(republish).await {
        Err(InvokeError::Failed(error)) => assert_eq!(error["errorType"], "UNAVAILABLE", "{error}"),
        other => panic!("{other:?}"),
    }
}
