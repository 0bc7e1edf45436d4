//! The bus rejects events, or the function dies while it publishes them.

use std::time::Duration;

use payment_functions_tests::world::{Fault, PRODUCTION_TIMEOUTS};
use publish_events::dead_letter::DeadLetterQueue;
use publish_events::event_bus::EventBus;
use publish_events::stream::{Position, publish};
use serde::Deserialize;

use super::*;

const HOURS: u64 = 60 * 60;

/// The response to a call whose entries have these error codes; an empty code is a success.
fn codes(codes: &[&str]) -> Fault {
    let entry = |code: &&str| match *code {
        "" => json!({ "EventId": "11111111-1111-4111-8111-111111111111" }),
        code => json!({ "ErrorCode": code, "ErrorMessage": "injected" }),
    };
    let entries: Vec<_> = codes.iter().map(entry).collect();
    Fault::Response(json!({ "FailedEntryCount": 1, "Entries": entries }))
}

#[tokio::test]
async fn transient_bus_failure_is_reported_and_the_retry_publishes_in_order() {
    let faults = [
        Fault::Error(400, "ThrottlingException"),
        Fault::Error(400, "AccessDeniedException"),
        Fault::Error(400, "ResourceNotFoundException"),
        Fault::Error(500, "InternalException"),
        Fault::UNAVAILABLE,
        Fault::Disconnect,
        Fault::Hang,
        codes(&["InternalFailure"]),
        codes(&["NotAuthorizedForSourceException"]),
        // A response without a result for the entry.
        codes(&[]),
        Fault::Response(json!("nothing")),
    ];
    let feed = Feed::with(&[PRODUCTION_TIMEOUTS]).await;
    let published = async || {
        let mut published = feed.published().await;
        // If a response is later than the usual limit, the SDK retries, and the bus has the event twice.
        if feed.proxy.count("PutEvents") > feed.proxy.operations("PutEvents") {
            published.dedup();
        }
        published
    };
    for fault in faults {
        for nth in 1..=3 {
            feed.proxy.reset();
            let id = feed.paid().await;
            let other = feed.pending().await.id;
            let mut records = feed.records_of(id).await;
            records.extend(feed.records_of(other).await);
            feed.proxy.fail_operation("PutEvents", nth, fault.clone());
            let context = format!("{fault:?} at call {nth}");
            // The first record is the intent, which has no event.
            assert_eq!(feed.publish(&records).await, [sequence(&records[nth])], "{context}");
            assert_eq!(published().await, events_of(id, &PAID[..nth - 1]), "{context}");

            feed.proxy.reset();
            assert_eq!(feed.publish(&records[nth..]).await, [""; 0], "{context}");
            let expected = [events_of(id, &PAID[nth - 1..]), events_of(other, &[("pending", 2)])].concat();
            assert_eq!(published().await, expected, "{context}");
        }
    }
    assert_eq!(feed.dead_letters().await, []);
}

#[tokio::test]
async fn lost_bus_response_costs_a_duplicate_and_no_event() {
    let feed = Feed::with(&[PRODUCTION_TIMEOUTS]).await;
    let id = feed.paid().await;
    let records = feed.records_of(id).await;
    for fault in [
        Fault::LoseResponse,
        Fault::HangAfter,
        Fault::ErrorAfter(500, "InternalException"),
    ] {
        feed.proxy.reset();
        feed.proxy.fail_operation("PutEvents", 2, fault.clone());
        assert_eq!(feed.publish(&records).await, [sequence(&records[2])], "{fault:?}");
        feed.proxy.reset();
        assert_eq!(feed.publish(&records[2..]).await, [""; 0]);
        let mut published = feed.published().await;
        published.dedup();
        let authorized = published.iter().filter(|event| event.0 == "payment.authorized").count();
        assert_eq!(authorized, 1, "duplicates are adjacent: {published:?}");
        assert_eq!(published, events_of(id, &PAID), "{fault:?}");
    }
}

#[tokio::test]
async fn partly_accepted_call_reports_its_first_failure() {
    let feed = Feed::open().await;
    let mut records = Vec::new();
    for _ in 0..4 {
        let id = feed.pending().await.id;
        records.extend(feed.records_of(id).await.into_iter().skip(1));
    }
    feed.proxy.fail_times(
        "PutEvents",
        1,
        codes(&["", "ThrottlingException", "", "InternalFailure"]),
    );
    assert_eq!(feed.publish(&records).await, [sequence(&records[1])]);
    assert_eq!(feed.publish(&records[1..]).await, [""; 0]);
    assert_eq!(feed.published().await.len(), 3);
}

/// Three pending payments, and their stream records.
async fn three_pending(feed: &Feed) -> (Vec<PaymentId>, Vec<Value>) {
    let (mut ids, mut records) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let id = feed.pending().await.id;
        records.extend(feed.records_of(id).await);
        ids.push(id);
    }
    (ids, records)
}

#[tokio::test]
async fn rejected_event_is_dead_lettered_and_can_be_redriven() {
    let feed = Feed::open().await;
    let (ids, records) = three_pending(&feed).await;
    feed.proxy
        .fail_times("PutEvents", 1, codes(&["", "MalformedDetail", ""]));
    assert_eq!(feed.publish(&records).await, [""; 0], "the other events are published");
    let dead_letters = feed.dead_letters().await;
    let [(body, message)] = dead_letters.as_slice() else {
        panic!("not one dead-letter message: {dead_letters:?}");
    };
    assert_eq!(
        (&body["paymentId"], &body["reason"]),
        (&json!(ids[1]), &json!("MalformedDetail"))
    );
    assert_eq!(body["entry"]["detailType"], "payment.pending");
    assert_eq!(body["entry"]["time"], feed.now.to_string());
    assert_eq!(body["entry"]["detail"]["id"], json!(ids[1]));
    assert_eq!(feed.published().await, [], "the proxy faked the response");

    // While the bus rejects it or is unavailable, it stays in the queue.
    let id = [message["MessageId"].as_str().unwrap().to_owned()];
    for fault in [codes(&["MalformedDetail"]), Fault::Error(400, "AccessDeniedException")] {
        feed.proxy.reset();
        feed.proxy.fail("PutEvents", fault);
        assert_eq!(feed.redrive(std::slice::from_ref(message)).await, id);
    }
    feed.proxy.reset();
    assert_eq!(feed.redrive(std::slice::from_ref(message)).await, [""; 0]);
    assert_eq!(feed.published().await, events_of(ids[1], &[("pending", 2)]));
    let call = feed.proxy.calls().pop().expect("a call");
    let sent = &call.body["Entries"][0];
    assert_eq!(read(&sent["Detail"]), body["entry"]["detail"]);
    assert_eq!(sent["Time"].to_string(), seconds(feed.now));
}

/// AWS rejects a whole call as too large or invalid without naming the entry.
#[tokio::test]
async fn rejected_call_is_repeated_with_each_event_alone() {
    let feed = Feed::open().await;
    let (ids, records) = three_pending(&feed).await;
    // The call with all three events, and the second call with one.
    for nth in [1, 3] {
        feed.proxy
            .fail_operation("PutEvents", nth, Fault::Error(400, "ValidationException"));
    }
    assert_eq!(feed.publish(&records).await, [""; 0]);
    let expected = [ids[0], ids[2]].map(|id| events_of(id, &[("pending", 2)])).concat();
    assert_eq!(feed.published().await, expected);
    let dead_letters = feed.dead_letters().await;
    let named: Vec<_> = dead_letters
        .iter()
        .map(|(body, _)| (&body["paymentId"], &body["reason"]))
        .collect();
    assert_eq!(named, [(&json!(ids[1]), &json!("ValidationException"))]);
}

#[tokio::test]
async fn event_failing_for_six_hours_is_dead_lettered_and_the_rest_goes_on() {
    let (young, old) = ((6 * HOURS - 60).to_string(), (6 * HOURS + 60).to_string());
    for (age, is_old) in [(young, false), (old, true)] {
        let feed = Feed::with(&[("CLOCK_OFFSET_SECONDS", Some(&age))]).await;
        let id = feed.paid().await;
        let records = feed.records_of(id).await;
        feed.proxy.fail("PutEvents", Fault::Error(400, "AccessDeniedException"));
        if !is_old {
            assert_eq!(feed.publish(&records).await, [sequence(&records[1])]);
            assert_eq!(feed.dead_letters().await, []);
            continue;
        }
        // Both the bus and the queue are unavailable.
        feed.proxy.fail_operation("SendMessage", 2, Fault::UNAVAILABLE);
        assert_eq!(feed.publish(&records).await, [sequence(&records[2])]);
        feed.proxy.reset();
        feed.proxy.fail("PutEvents", Fault::Error(400, "AccessDeniedException"));
        assert_eq!(feed.publish(&records[2..]).await, [""; 0]);
        let dead_letters = feed.dead_letters().await;
        for (body, _) in &dead_letters {
            assert_eq!(
                (&body["paymentId"], &body["reason"]),
                (&json!(id), &json!("AccessDeniedException"))
            );
        }
        feed.proxy.reset();
        let messages: Vec<_> = dead_letters.into_iter().map(|(_, message)| message).collect();
        assert_eq!(feed.redrive(&messages).await, [""; 0]);
        assert_eq!(feed.published().await, events_of(id, &PAID));
    }
}

#[tokio::test]
async fn death_before_or_after_a_call_is_repaired_by_the_retry() {
    let mut feed = Feed::open().await;
    for point in [
        "before:publish-events",
        "after:publish-events",
        "before:publish-events#2",
        "after:publish-events#2",
        "before:publish-events#3",
        "after:publish-events#3",
    ] {
        let id = feed.paid().await;
        let records = feed.records_of(id).await;
        feed.function
            .restart(&[("FAILPOINTS", Some(&format!("{point}=die")))])
            .await
            .unwrap();
        let died = feed.invoke(json!({ "Records": records })).await;
        assert!(matches!(died, Err(InvokeError::Died { .. })), "{point}: {died:?}");
        let before = feed.published().await;
        feed.function.restart(&[("FAILPOINTS", None)]).await.unwrap();
        assert_eq!(feed.publish(&records).await, [""; 0]);
        assert_eq!(feed.published().await, events_of(id, &PAID), "{point}");
        let expected: &[_] = match point {
            "before:publish-events" => &[],
            "after:publish-events" | "before:publish-events#2" => &PAID[..1],
            "after:publish-events#2" | "before:publish-events#3" => &PAID[..2],
            _ => &PAID,
        };
        assert_eq!(before, events_of(id, expected), "{point}");
    }
    for (point, count) in [("before:send-dead-letter", 1), ("after:send-dead-letter", 2)] {
        let id = feed.pending().await.id;
        let records = feed.records_of(id).await;
        feed.proxy.fail("PutEvents", codes(&["MalformedDetail"]));
        feed.function
            .restart(&[("FAILPOINTS", Some(&format!("{point}=die")))])
            .await
            .unwrap();
        let died = feed.invoke(json!({ "Records": records })).await;
        assert!(matches!(died, Err(InvokeError::Died { .. })), "{point}: {died:?}");
        feed.function.restart(&[("FAILPOINTS", None)]).await.unwrap();
        assert_eq!(feed.publish(&records).await, [""; 0]);
        let sent = feed.dead_letters().await;
        assert_eq!(sent.len(), count, "{point}: {sent:?}");
        assert!(sent.iter().all(|(body, _)| body["paymentId"] == json!(id)));
    }
}

/// Runs in this process, since the function's own time limit is half a minute.
#[tokio::test]
async fn batch_out_of_time_is_left_and_continued_by_the_retry() {
    let feed = Feed::open().await;
    let id = feed.paid().await;
    let records = feed.records_of(id).await;
    let aws = aws::clients(feed.proxy.url());
    let bus = EventBus::new(aws.eventbridge(), feed.bus.clone());
    let dead_letters = DeadLetterQueue::new(aws.sqs(), feed.dead_letter_queue.clone());
    let with_position = |record: &Value| (Position::deserialize(&record["dynamodb"]).unwrap(), record.clone());
    let batch: Vec<_> = records.iter().map(with_position).collect();
    let time_limit = Duration::from_millis(300);
    feed.proxy.fail_times("PutEvents", 1, Fault::Late(time_limit));
    let reported = publish(&bus, &dead_letters, &batch, feed.now, time_limit).await;
    assert_eq!(reported, Some(sequence(&records[2]).as_str()));
    assert_eq!(feed.published().await, events_of(id, &PAID[..1]));
    assert_eq!(
        publish(&bus, &dead_letters, &batch[2..], feed.now, 100 * time_limit).await,
        None
    );
    assert_eq!(feed.published().await, events_of(id, &PAID[1..]));
}
