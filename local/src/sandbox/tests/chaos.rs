//! Mishaps by chance, and create calls that are in progress at one time.

use std::time::{Duration, Instant};

use super::*;

fn only(mishap: Mishap) -> Chaos {
    Chaos {
        percent: 100,
        mishaps: vec![mishap],
        late_ms: 120,
        hang_ms: 240,
        ..Chaos::default()
    }
}

/// The status of the answer (0: none), whether it is the documented one, and how long it took.
async fn outcome(request: RequestBuilder) -> (u16, bool, Duration) {
    let started = Instant::now();
    let Ok(answer) = request.send().await else {
        return (0, false, started.elapsed());
    };
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap_or_default();
    let is_documented = body["processId"].is_string() || body["data"].is_object();
    (status, is_documented, started.elapsed())
}

#[tokio::test]
async fn each_mishap_is_what_it_is_called() {
    let it = Fixture::new().await;
    let late = Duration::from_millis(120);
    for (mishap, status, is_documented, at_least, done) in [
        (Mishap::Error500, 500, false, Duration::ZERO, None),
        (Mishap::Error429, 429, false, Duration::ZERO, Some(false)),
        (Mishap::DropBefore, 0, false, Duration::ZERO, Some(false)),
        (Mishap::DropAfter, 0, false, Duration::ZERO, Some(true)),
        (Mishap::Late, 200, true, late, Some(true)),
        (Mishap::Hang, 0, false, 2 * late, None),
        (Mishap::Nonsense, 200, false, Duration::ZERO, None),
    ] {
        it.control.chaos(&only(mishap)).await.unwrap();
        let orders: Vec<String> = (0..12).map(|nth| format!("{mishap:?}-{nth}")).collect();
        let outcomes = join_all(orders.iter().map(|order_id| outcome(it.apm(order_id)))).await;
        for (seen, documented, took) in outcomes {
            assert_eq!((seen, documented), (status, is_documented), "{mishap:?}");
            assert!(took >= at_least, "{mishap:?} {took:?}");
        }
        let mut exist = 0;
        for order_id in &orders {
            exist += it.control.payments(Provider::Finvypay, order_id).await.unwrap().len();
        }
        match done {
            Some(true) => assert_eq!(exist, 12, "{mishap:?}"),
            Some(false) => assert_eq!(exist, 0, "{mishap:?}"),
            None => assert!((1..12).contains(&exist), "{mishap:?} {exist}: by chance"),
        }
        let report = it.control.chaos(&Chaos::default()).await.unwrap();
        assert_eq!(
            (report.calls, report.mishaps[&mishap], report.mishaps.len()),
            (12, 12, 1)
        );
    }
    assert_eq!(outcome(it.apm("calm")).await.0, 200, "no more of it");
    assert_eq!(it.control.chaos_report().await.unwrap().calls, 0);
}

#[tokio::test]
async fn chance_is_drawn_from_its_seed() {
    let it = Fixture::new().await;
    let run = async |seed, percent| {
        let chaos = Chaos {
            percent,
            seed,
            mishaps: vec![Mishap::Error500, Mishap::Error429, Mishap::DropBefore],
            ..Chaos::default()
        };
        it.control.chaos(&chaos).await.unwrap();
        let mut outcomes = Vec::new();
        for _ in 0..80 {
            outcomes.push(outcome(it.preorder(preorder_of("chance"))).await.0);
        }
        outcomes
    };
    let outcomes = run(7, 40).await;
    let report = it.control.chaos_report().await.unwrap();
    let count = |status| outcomes.iter().filter(|outcome| **outcome == status).count();
    assert_eq!(report.calls, 80);
    for (mishap, status) in [
        (Mishap::Error500, 500),
        (Mishap::Error429, 429),
        (Mishap::DropBefore, 0),
    ] {
        assert_eq!(report.mishaps[&mishap], count(status), "{mishap:?}");
        assert!(count(status) > 3);
    }
    assert!((20..70).contains(&count(201)), "{outcomes:?}");
    assert_eq!(run(7, 40).await, outcomes);
    assert_ne!(run(8, 40).await, outcomes);
    assert_eq!(run(7, 0).await, [201; 80]);
}

#[tokio::test]
async fn status_and_list_calls_meet_mishaps_and_scripted_or_refused_calls_do_not() {
    let it = Fixture::new().await;
    send(it.apm("looked-at")).await;
    let id = it
        .control
        .payments(Provider::Finvypay, "looked-at")
        .await
        .unwrap()
        .remove(0)
        .id;
    let replies = json!({ "provider": "finvypay", "orderId": "looked-at", "call": "status", "replies": [{ "fields": { "status": "ODD" } }] });
    it.control.script(&replies).await.unwrap();
    it.control.chaos(&only(Mishap::Error429)).await.unwrap();
    let status = format!("/api/sandbox/status/{id}");
    assert_eq!(it.finvypay_get(&status).await.1["data"]["status"], "ODD");
    assert_eq!(it.finvypay_get(&status).await.0, 429);
    assert_eq!(
        it.finvypay_get("/api/v1/sandbox-transactions?orderId=looked-at")
            .await
            .0,
        429
    );
    let refused = it.apm("refused").bearer_auth("wrong");
    assert_eq!(outcome(refused).await.0, 401);
    assert_eq!(it.control.chaos_report().await.unwrap().calls, 2);
    let listed = it
        .control
        .calls_where(Provider::Finvypay, "looked-at", &[("kind", "list")])
        .await
        .unwrap();
    assert_eq!(listed.calls[0].status, Some(429));
}

#[tokio::test]
async fn a_repeated_key_gets_its_first_reply_whatever_chance_does_to_it() {
    let it = Fixture::new().await;
    let keyed = || it.apm("keyed").header("idempotency-key", "k1");
    it.control.chaos(&only(Mishap::DropAfter)).await.unwrap();
    assert_eq!(outcome(keyed()).await.0, 0);
    it.control.chaos(&only(Mishap::Late)).await.unwrap();
    let (_, first) = send(keyed()).await;
    it.control.chaos(&only(Mishap::Error500)).await.unwrap();
    assert_eq!(outcome(keyed()).await.0, 500);
    it.control.chaos(&Chaos::default()).await.unwrap();
    assert_eq!(send(keyed()).await.1, first);
    let payments = it.control.payments(Provider::Finvypay, "keyed").await.unwrap();
    assert_eq!(
        (payments.len(), &first["data"]["paymentId"]),
        (1, &json!(payments[0].id))
    );
    let calls = it.control.calls(Provider::Finvypay, "keyed").await.unwrap().calls;
    assert_eq!(
        calls.iter().map(|call| call.replayed).collect::<Vec<_>>(),
        [false, true, false, true]
    );
}

#[tokio::test]
async fn orders_with_several_create_calls_at_a_time_are_told() {
    let it = Fixture::new().await;
    it.control
        .replies(Provider::Finvypay, "twice", json!([{ "hang": true }]))
        .await
        .unwrap();
    let hanging = tokio::spawn(it.apm("twice").send());
    let begun = it
        .control
        .calls_where(Provider::Finvypay, "twice", &[("atLeast", "1")])
        .await;
    begun.unwrap();
    for order_id in ["twice", "once", "once"] {
        assert_eq!(send(it.apm(order_id)).await.0, 200);
    }
    hanging.abort();
    let in_flight = it.control.in_flight(Provider::Finvypay).await.unwrap();
    assert_eq!((in_flight.max, in_flight.orders), (2, [("twice".to_owned(), 2)].into()));
    let none = it.control.in_flight(Provider::Apolopay).await.unwrap();
    assert_eq!((none.max, none.orders.len()), (0, 0));
}
