//! Random faults, and concurrent create calls.

use std::time::{Duration, Instant};

use super::*;

fn only(fault: InjectedFault) -> Chaos {
    Chaos {
        percent: 100,
        faults: vec![fault],
        late_ms: 120,
        hang_ms: 240,
        ..Chaos::default()
    }
}

/// The response's status (0: none), whether the response is the documented one, and how long it took.
async fn outcome(request: RequestBuilder) -> (u16, bool, Duration) {
    let started = Instant::now();
    let Ok(response) = request.send().await else {
        return (0, false, started.elapsed());
    };
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap_or_default();
    let is_documented = body["processId"].is_string() || body["data"].is_object();
    (status, is_documented, started.elapsed())
}

#[tokio::test]
async fn each_fault_has_its_documented_effect() {
    let it = Fixture::new().await;
    let late = Duration::from_millis(120);
    for (fault, status, is_documented, at_least, has_effect) in [
        (InjectedFault::Error500, 500, false, Duration::ZERO, None),
        (InjectedFault::Error429, 429, false, Duration::ZERO, Some(false)),
        (InjectedFault::DropBefore, 0, false, Duration::ZERO, Some(false)),
        (InjectedFault::DropAfter, 0, false, Duration::ZERO, Some(true)),
        (InjectedFault::Late, 200, true, late, Some(true)),
        (InjectedFault::Hang, 0, false, 2 * late, None),
        (InjectedFault::Malformed, 200, false, Duration::ZERO, None),
    ] {
        it.control.chaos(&only(fault)).await.unwrap();
        let orders: Vec<String> = (0..12).map(|nth| format!("{fault:?}-{nth}")).collect();
        let outcomes = join_all(orders.iter().map(|order_id| outcome(it.apm(order_id)))).await;
        for (seen, documented, took) in outcomes {
            assert_eq!((seen, documented), (status, is_documented), "{fault:?}");
            assert!(took >= at_least, "{fault:?} {took:?}");
        }
        let mut payments = 0;
        for order_id in &orders {
            payments += it.control.payments(Provider::Finvypay, order_id).await.unwrap().len();
        }
        match has_effect {
            Some(true) => assert_eq!(payments, 12, "{fault:?}"),
            Some(false) => assert_eq!(payments, 0, "{fault:?}"),
            None => assert!((1..12).contains(&payments), "{fault:?} {payments}: at random"),
        }
        let report = it.control.chaos(&Chaos::default()).await.unwrap();
        assert_eq!((report.calls, report.faults[&fault], report.faults.len()), (12, 12, 1));
    }
    assert_eq!(outcome(it.apm("without-faults")).await.0, 200, "no more faults");
    assert_eq!(it.control.chaos_report().await.unwrap().calls, 0);
}

#[tokio::test]
async fn faults_are_determined_by_the_seed() {
    let it = Fixture::new().await;
    let run = async |seed, percent| {
        let chaos = Chaos {
            percent,
            seed,
            faults: vec![
                InjectedFault::Error500,
                InjectedFault::Error429,
                InjectedFault::DropBefore,
            ],
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
    for (fault, status) in [
        (InjectedFault::Error500, 500),
        (InjectedFault::Error429, 429),
        (InjectedFault::DropBefore, 0),
    ] {
        assert_eq!(report.faults[&fault], count(status), "{fault:?}");
        assert!(count(status) > 3);
    }
    assert!((20..70).contains(&count(201)), "{outcomes:?}");
    assert_eq!(run(7, 40).await, outcomes);
    assert_ne!(run(8, 40).await, outcomes);
    assert_eq!(run(7, 0).await, [201; 80]);
}

#[tokio::test]
async fn status_and_list_calls_get_faults_scripted_and_refused_calls_do_not() {
    let it = Fixture::new().await;
    send(it.apm("polled")).await;
    let id = it
        .control
        .payments(Provider::Finvypay, "polled")
        .await
        .unwrap()
        .remove(0)
        .id;
    let replies = json!({ "provider": "finvypay", "orderId": "polled", "call": "status", "replies": [{ "fields": { "status": "ODD" } }] });
    it.control.script(&replies).await.unwrap();
    it.control.chaos(&only(InjectedFault::Error429)).await.unwrap();
    let status = format!("/api/sandbox/status/{id}");
    assert_eq!(it.finvypay_get(&status).await.1["data"]["status"], "ODD");
    assert_eq!(it.finvypay_get(&status).await.0, 429);
    assert_eq!(
        it.finvypay_get("/api/v1/sandbox-transactions?orderId=polled").await.0,
        429
    );
    let refused = it.apm("refused").bearer_auth("wrong");
    assert_eq!(outcome(refused).await.0, 401);
    assert_eq!(it.control.chaos_report().await.unwrap().calls, 2);
    let listed = it
        .control
        .calls_where(Provider::Finvypay, "polled", &[("kind", "list")])
        .await
        .unwrap();
    assert_eq!(listed.calls[0].status, Some(429));
}

#[tokio::test]
async fn repeated_key_gets_its_first_reply_despite_faults() {
    let it = Fixture::new().await;
    let keyed = || it.apm("keyed").header("idempotency-key", "k1");
    it.control.chaos(&only(InjectedFault::DropAfter)).await.unwrap();
    assert_eq!(outcome(keyed()).await.0, 0);
    it.control.chaos(&only(InjectedFault::Late)).await.unwrap();
    let (_, first) = send(keyed()).await;
    it.control.chaos(&only(InjectedFault::Error500)).await.unwrap();
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
async fn orders_with_concurrent_create_calls_are_reported() {
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
