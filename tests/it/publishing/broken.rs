//! A payment that cannot be read.

use payment_functions_tests::world::Fault;

use super::*;

#[tokio::test]
async fn a_record_that_cannot_be_read_does_not_stop_the_others() {
    let feed = Feed::open().await;
    let (first, broken) = (feed.pending().await.id, feed.pending().await.id);
    let state = aws::raw_items_of(&feed.table, &format!("PAYMENT#{broken}")).await;
    aws::break_payment(&feed.table, &broken.to_string()).await;
    feed.hear(first, said(Provider::FinvyPay, Outcome::Completed)).await;
    let records = feed.records().await;

    feed.proxy.fail("SendMessage", Fault::UNAVAILABLE);
    let is_broken = |record: &&Value| {
        let image = &record["dynamodb"]["NewImage"];
        image["sk"]["S"] == "STATE" && image["amount"].is_null()
    };
    let unreadable = sequence(records.iter().find(is_broken).expect("the broken one"));
    assert_eq!(feed.publish(&records).await, [unreadable], "nobody was told");
    assert_eq!(feed.told().await.len(), 2);

    feed.proxy.reset();
    assert_eq!(feed.publish(&records).await, [""; 0]);
    let told = feed.told().await;
    let expected = [
        events_of(first, &[("pending", 2)]),
        events_of(broken, &[("pending", 2)]),
        events_of(first, &[("completed", 3)]),
    ];
    assert_eq!(told, expected.concat());
    let letters = feed.letters().await;
    let [(letter, message)] = letters.as_slice() else {
        panic!("not one letter: {letters:?}");
    };
    let reason = "the stream's record cannot be read";
    assert_eq!(letter, &json!({ "paymentId": broken, "reason": reason }));

    // Until somebody has mended it, it stays in the queue; then it is published as it stands.
    let id = message["MessageId"].as_str().unwrap().to_owned();
    assert_eq!(feed.drain(std::slice::from_ref(message)).await, [id]);
    aws::put_items(&feed.table, &state).await;
    assert_eq!(feed.drain(std::slice::from_ref(message)).await, [""; 0]);
    assert_eq!(feed.told().await, events_of(broken, &[("pending", 2)]));
}

#[tokio::test]
async fn a_letter_that_nobody_can_read_stays_and_stops_no_other() {
    let feed = Feed::open().await;
    let (creating, paid) = (feed.intent().await.id, feed.paid().await);
    let letter = |id: &str| json!({ "paymentId": id, "reason": "r" }).to_string();
    let (unknown, good) = (PaymentId::random().to_string(), paid.to_string());
    let bodies = [
        "no JSON".to_owned(),
        json!({ "reason": "r" }).to_string(),
        letter("x"),
        letter(&unknown),
        letter(&creating.to_string()),
        letter(&good),
        json!({ "paymentId": paid, "reason": "r", "entry": { "detailType": "payment.completed", "time": "today", "detail": {} } })
            .to_string(),
        letter(&good),
    ];
    let messages: Vec<_> = bodies
        .iter()
        .enumerate()
        .map(|(index, body)| json!({ "MessageId": index.to_string(), "ReceiptHandle": "h", "Body": body }))
        .collect();
    assert_eq!(feed.drain(&messages).await, ["0", "1", "2", "3", "4", "6"]);
    assert_eq!(
        feed.told().await,
        events_of(paid, &[("completed", 4), ("completed", 4)])
    );

    feed.proxy.fail("GetItem", Fault::UNAVAILABLE);
    assert_eq!(feed.drain(&messages[5..6]).await, ["5"]);
    let republish = json!({ "action": "republish", "paymentId": paid });
    match feed.invoke(republish).await {
        Err(NoAnswer::Failed(words)) => assert_eq!(words["errorType"], "UNAVAILABLE", "{words}"),
        other => panic!("{other:?}"),
    }
}
