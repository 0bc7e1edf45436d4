//! The bus does not take an event, or the function dies over it.

use std::time::Duration;

use payment_functions_tests::world::{Fault, USUAL_LIMITS};
use publish_events::dead_letter::DeadLetters;
use publish_events::event_bus::Bus;
use publish_events::stream::{Place, publish};
use serde::Deserialize;

use super::*;

const HOURS: u64 = 60 * 60;

/// What is answered where the entries of a call have these error codes; an empty one is none.
fn codes(codes: &[&str]) -> Fault {
    let entry = |code: &&str| match *code {
        "" => json!({ "EventId": "11111111-1111-4111-8111-111111111111" }),
        code => json!({ "ErrorCode": code, "ErrorMessage": "injected" }),
    };
    let entries: Vec<_> = codes.iter().map(entry).collect();
    Fault::Answer(json!({ "FailedEntryCount": 1, "Entries": entries }))
}

#[tokio::test]
async fn what_the_bus_does_not_take_is_reported_and_put_in_order_by_the_retry() {
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
        // It says nothing of the entry.
        codes(&[]),
        Fault::Answer(json!("nothing")),
    ];
    let feed = Feed::with(&[USUAL_LIMITS]).await;
    let told = async || {
        let mut told = feed.told().await;
        // Where an answer comes later than the usual limit, the SDK tries once more, and the bus has the event twice.
        if feed.proxy.count("PutEvents") > feed.proxy.operations("PutEvents") {
            told.dedup();
        }
        told
    };
    for fault in faults {
        for nth in 1..=3 {
            feed.proxy.reset();
            let id = feed.paid().await;
            let other = feed.pending().await.id;
            let mut records = feed.records_of(id).await;
            records.extend(feed.records_of(other).await);
            feed.proxy.fail_operation("PutEvents", nth, fault.clone());
            let what = format!("{fault:?} at the {nth}th call");
            // The first record is the intent, which is nothing to publish.
            assert_eq!(feed.publish(&records).await, [sequence(&records[nth])], "{what}");
            assert_eq!(told().await, events_of(id, &PAID[..nth - 1]), "{what}");

            feed.proxy.reset();
            assert_eq!(feed.publish(&records[nth..]).await, [""; 0], "{what}");
            let expected = [events_of(id, &PAID[nth - 1..]), events_of(other, &[("pending", 2)])].concat();
            assert_eq!(told().await, expected, "{what}");
        }
    }
    assert_eq!(feed.letters().await, []);
}

#[tokio::test]
async fn an_answer_that_is_lost_costs_a_repetition_and_no_event() {
    let feed = Feed::with(&[USUAL_LIMITS]).await;
    let id = feed.paid().await;
    let records = feed.records_of(id).await;
    for fault in [
        Fault::LoseAnswer,
        Fault::HangAfter,
        Fault::ErrorAfter(500, "InternalException"),
    ] {
        feed.proxy.reset();
        feed.proxy.fail_operation("PutEvents", 2, fault.clone());
        assert_eq!(feed.publish(&records).await, [sequence(&records[2])], "{fault:?}");
        feed.proxy.reset();
        assert_eq!(feed.publish(&records[2..]).await, [""; 0]);
        let mut told = feed.told().await;
        told.dedup();
        let again = told.iter().filter(|told| told.0 == "payment.authorized").count();
        assert_eq!(again, 1, "the repetitions stand side by side: {told:?}");
        assert_eq!(told, events_of(id, &PAID), "{fault:?}");
    }
}

#[tokio::test]
async fn of_a_call_that_is_taken_in_part_the_first_failure_is_reported() {
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
    assert_eq!(feed.told().await.len(), 3);
}

/// Three payments that have become pending, and the stream's records of them.
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
async fn what_the_bus_refuses_goes_to_the_dead_letter_queue_and_from_there_to_the_bus() {
    let feed = Feed::open().await;
    let (ids, records) = three_pending(&feed).await;
    feed.proxy
        .fail_times("PutEvents", 1, codes(&["", "MalformedDetail", ""]));
    assert_eq!(feed.publish(&records).await, [""; 0], "it does not stop the others");
    let letters = feed.letters().await;
    let [(letter, message)] = letters.as_slice() else {
        panic!("not one letter: {letters:?}");
    };
    assert_eq!(
        (&letter["paymentId"], &letter["reason"]),
        (&json!(ids[1]), &json!("MalformedDetail"))
    );
    assert_eq!(letter["entry"]["detailType"], "payment.pending");
    assert_eq!(letter["entry"]["time"], feed.now.to_string());
    assert_eq!(letter["entry"]["detail"]["id"], json!(ids[1]));
    assert_eq!(feed.told().await, [], "the answer was made up");

    // Nobody has mended it, or the bus is out of reach: it stays.
    let id = [message["MessageId"].as_str().unwrap().to_owned()];
    for fault in [codes(&["MalformedDetail"]), Fault::Error(400, "AccessDeniedException")] {
        feed.proxy.reset();
        feed.proxy.fail("PutEvents", fault);
        assert_eq!(feed.drain(std::slice::from_ref(message)).await, id);
    }
    feed.proxy.reset();
    assert_eq!(feed.drain(std::slice::from_ref(message)).await, [""; 0]);
    assert_eq!(feed.told().await, events_of(ids[1], &[("pending", 2)]));
    let call = feed.proxy.calls().pop().expect("a call");
    let sent = &call.body["Entries"][0];
    assert_eq!(read(&sent["Detail"]), letter["entry"]["detail"]);
    assert_eq!(sent["Time"].to_string(), seconds(feed.now));
}

/// AWS says of a whole call that it is too large, or not valid, and not of which entry.
#[tokio::test]
async fn a_call_that_is_refused_is_made_again_with_each_event_alone() {
    let feed = Feed::open().await;
    let (ids, records) = three_pending(&feed).await;
    // The call with all three, and the second of those with one.
    for nth in [1, 3] {
        feed.proxy
            .fail_operation("PutEvents", nth, Fault::Error(400, "ValidationException"));
    }
    assert_eq!(feed.publish(&records).await, [""; 0]);
    let expected = [ids[0], ids[2]].map(|id| events_of(id, &[("pending", 2)])).concat();
    assert_eq!(feed.told().await, expected);
    let letters = feed.letters().await;
    let named: Vec<_> = letters
        .iter()
        .map(|(letter, _)| (&letter["paymentId"], &letter["reason"]))
        .collect();
    assert_eq!(named, [(&json!(ids[1]), &json!("ValidationException"))]);
}

#[tokio::test]
async fn what_fails_for_six_hours_makes_way_for_the_rest() {
    let (young, old) = ((6 * HOURS - 60).to_string(), (6 * HOURS + 60).to_string());
    for (age, is_old) in [(young, false), (old, true)] {
        let feed = Feed::with(&[("CLOCK_OFFSET_SECONDS", Some(&age))]).await;
        let id = feed.paid().await;
        let records = feed.records_of(id).await;
        feed.proxy.fail("PutEvents", Fault::Error(400, "AccessDeniedException"));
        if !is_old {
            assert_eq!(feed.publish(&records).await, [sequence(&records[1])]);
            assert_eq!(feed.letters().await, []);
            continue;
        }
        // Neither the bus nor the queue can be reached.
        feed.proxy.fail_operation("SendMessage", 2, Fault::UNAVAILABLE);
        assert_eq!(feed.publish(&records).await, [sequence(&records[2])]);
        feed.proxy.reset();
        feed.proxy.fail("PutEvents", Fault::Error(400, "AccessDeniedException"));
        assert_eq!(feed.publish(&records[2..]).await, [""; 0]);
        let letters = feed.letters().await;
        for (letter, _) in &letters {
            assert_eq!(
                (&letter["paymentId"], &letter["reason"]),
                (&json!(id), &json!("AccessDeniedException"))
            );
        }
        feed.proxy.reset();
        let messages: Vec<_> = letters.into_iter().map(|(_, message)| message).collect();
        assert_eq!(feed.drain(&messages).await, [""; 0]);
        assert_eq!(feed.told().await, events_of(id, &PAID));
    }
}

#[tokio::test]
async fn whoever_dies_before_or_after_a_call_leaves_everything_to_the_retry() {
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
        assert!(matches!(died, Err(NoAnswer::Died { .. })), "{point}: {died:?}");
        let before = feed.told().await;
        feed.function.restart(&[("FAILPOINTS", None)]).await.unwrap();
        assert_eq!(feed.publish(&records).await, [""; 0]);
        assert_eq!(feed.told().await, events_of(id, &PAID), "{point}");
        let expected: &[_] = match point {
            "before:publish-events" => &[],
            "after:publish-events" | "before:publish-events#2" => &PAID[..1],
            "after:publish-events#2" | "before:publish-events#3" => &PAID[..2],
            _ => &PAID,
        };
        assert_eq!(before, events_of(id, expected), "{point}");
    }
    for (point, letters) in [("before:send-dead-letter", 1), ("after:send-dead-letter", 2)] {
        let id = feed.pending().await.id;
        let records = feed.records_of(id).await;
        feed.proxy.fail("PutEvents", codes(&["MalformedDetail"]));
        feed.function
            .restart(&[("FAILPOINTS", Some(&format!("{point}=die")))])
            .await
            .unwrap();
        let died = feed.invoke(json!({ "Records": records })).await;
        assert!(matches!(died, Err(NoAnswer::Died { .. })), "{point}: {died:?}");
        feed.function.restart(&[("FAILPOINTS", None)]).await.unwrap();
        assert_eq!(feed.publish(&records).await, [""; 0]);
        let sent = feed.letters().await;
        assert_eq!(sent.len(), letters, "{point}: {sent:?}");
        assert!(sent.iter().all(|(letter, _)| letter["paymentId"] == json!(id)));
    }
}

/// In this process, since the function's own time is half a minute.
#[tokio::test]
async fn a_batch_that_takes_too_long_is_left_in_time_and_gone_on_with() {
    let feed = Feed::open().await;
    let id = feed.paid().await;
    let records = feed.records_of(id).await;
    let aws = aws::clients(feed.proxy.url());
    let bus = Bus::new(aws.eventbridge(), feed.bus.clone());
    let dead_letters = DeadLetters::new(aws.sqs(), feed.dead_letters.clone());
    let place = |record: &Value| (Place::deserialize(&record["dynamodb"]).unwrap(), record.clone());
    let batch: Vec<_> = records.iter().map(place).collect();
    let time = Duration::from_millis(300);
    feed.proxy.fail_times("PutEvents", 1, Fault::Late(time));
    let reported = publish(&bus, &dead_letters, &batch, feed.now, time).await;
    assert_eq!(reported, Some(sequence(&records[2]).as_str()));
    assert_eq!(feed.told().await, events_of(id, &PAID[..1]));
    assert_eq!(
        publish(&bus, &dead_letters, &batch[2..], feed.now, 100 * time).await,
        None
    );
    assert_eq!(feed.told().await, events_of(id, &PAID[1..]));
}
