//! DynamoDB under load, which no emulator imitates: cancelled transactions, throttling, lost responses.

use std::time::Duration;

use payment_functions::domain::idempotency::{KeyRecord, LEASE, Lease, RecordName};
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::status::Status;
use payment_functions::flows::record_notification::{RecordResult, record_notification};
use payment_functions::platform::clock;
use payment_functions::store::{CommitExtras, CommitResult, InsertResult, Store, StoreError, StoreUnmatchedResult};
use payment_functions_local::sandbox::Provider as Sandbox;
use payment_functions_tests::world::{AwsProxy, Fault};

use super::keys::{key, names};
use super::{accepted, completion, created, intent, notification, reference};
use crate::aws;
use crate::support::{Value, json};

const WRITE: &str = "TransactWriteItems";

fn cancelled(codes: &[&str]) -> Fault {
    Fault::Cancelled(
        codes
            .iter()
            .map(|code| json!({ "Code": code, "Message": "injected" }))
            .collect(),
    )
}

async fn proxied() -> (AwsProxy, Store) {
    let proxy = aws::proxy().await;
    let store = aws::store_at(proxy.url());
    (proxy, store)
}

/// Every kind of write, each on its own items: with `fault` injected this many times, it still succeeds.
async fn assert_every_write_succeeds(fault: &Fault, times: usize) {
    let (proxy, store) = proxied().await;
    let (id, now) = (reference("contended"), clock::now());
    let inject = || {
        proxy.reset();
        proxy.fail_times(WRITE, times, fault.clone());
    };
    let tried = || assert_eq!(proxy.count(WRITE), times + 1, "{fault:?}");

    let intent = intent(Provider::FinvyPay);
    let keyed = key();
    inject();
    let opened = store.insert_payment(&intent, names(&keyed), now).await.unwrap();
    assert_eq!(opened, InsertResult::Inserted, "{fault:?}");
    tried();

    let payment = intent.accept(accepted(&id), [], now);
    inject();
    let commit = store
        .commit(&intent, &payment, &CommitExtras::default(), now)
        .await
        .unwrap();
    assert!(matches!(commit, CommitResult::Done), "{fault:?} {commit:?}");
    tried();

    let fact = completion(Provider::FinvyPay, Some(&id));
    inject();
    let delivery = record_notification(
        &store,
        &notification(Some(payment.id), fact),
        OrderMatching::default(),
        now,
    )
    .await
    .unwrap();
    assert_eq!(
        delivery,
        RecordResult::Recorded {
            payment: payment.id,
            new_status: Some(Status::Completed)
        },
        "{fault:?}"
    );
    tried();
    assert_eq!(aws::facts(&payment.id.to_string()).await.len(), 1);

    let other_writer = reference("stranger");
    let nobodys = notification(None, completion(Provider::FinvyPay, Some(&other_writer)));
    inject();
    assert_eq!(
        store.store_unmatched(&nobodys, now).await.unwrap(),
        StoreUnmatchedResult::Stored,
        "{fault:?}"
    );
    tried();
    assert_eq!(aws::unmatched(Sandbox::Finvypay, other_writer.as_str()).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn contention_is_retried_and_is_no_failed_condition() {
    let conflict = "TransactionConflict";
    let throttled = "ProvisionedThroughputExceeded";
    let writes = [
        (cancelled(&[conflict, "None"]), 1),
        (cancelled(&["None", conflict, "None"]), 4),
        (cancelled(&["ThrottlingError", "None"]), 2),
        (cancelled(&[throttled, throttled, "None"]), 2),
        (cancelled(&["None", throttled, conflict]), 3),
        // The SDK retries these itself.
        (Fault::THROTTLED, 1),
        (Fault::Error(400, "ThrottlingException"), 1),
        (Fault::Error(400, "RequestLimitExceeded"), 1),
        (Fault::Error(400, "TransactionInProgressException"), 1),
        (Fault::Error(500, "InternalServerError"), 1),
        (Fault::UNAVAILABLE, 1),
        (Fault::Disconnect, 1),
        (Fault::LoseResponse, 1),
    ];
    futures_util::future::join_all(
        writes
            .iter()
            .map(|(fault, times)| assert_every_write_succeeds(fault, *times)),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_contention_is_an_error_and_stores_nothing() {
    let (proxy, store) = proxied().await;
    let (id, now) = (reference("contended"), clock::now());
    let payment = created(&store, Provider::FinvyPay, &id).await;
    let fact = notification(Some(payment.id), completion(Provider::FinvyPay, Some(&id)));
    proxy.reset();
    proxy.fail(WRITE, cancelled(&["None", "TransactionConflict"]));
    let failed = record_notification(&store, &fact, OrderMatching::default(), now).await;
    assert!(matches!(failed, Err(StoreError::Contended)), "{failed:?}");
    assert!((5..=20).contains(&proxy.count(WRITE)), "{}", proxy.count(WRITE));

    proxy.reset();
    proxy.fail(WRITE, cancelled(&["ValidationError", "None"]));
    let failed = record_notification(&store, &fact, OrderMatching::default(), now).await;
    assert!(matches!(failed, Err(StoreError::Failed { .. })), "{failed:?}");
    assert_eq!(proxy.count(WRITE), 1, "a validation error is not retried");

    proxy.reset();
    assert_eq!(store.payment(payment.id).await.unwrap(), Some(payment.clone()));
    assert_eq!(aws::facts(&payment.id.to_string()).await.len(), 0);
    let recorded = record_notification(&store, &fact, OrderMatching::default(), now)
        .await
        .unwrap();
    assert_eq!(
        recorded,
        RecordResult::Recorded {
            payment: payment.id,
            new_status: Some(Status::Completed)
        }
    );
}

/// A cancellation reason of DynamoDB, with the conflicting item.
async fn failed_condition(pk: &str) -> Value {
    let items = aws::raw_items(pk).await;
    let item = items.first().expect("the item");
    json!({ "Code": "ConditionalCheckFailed", "Message": "The conditional request failed", "Item": item })
}

#[tokio::test(flavor = "multi_thread")]
async fn contention_beside_a_failed_condition_is_a_failed_condition() {
    let (proxy, store) = proxied().await;
    let (id, now) = (reference("mixed"), clock::now());
    let intent = intent(Provider::ApoloPay);
    let keyed = key();
    let started = store.insert_payment(&intent, names(&keyed), now).await.unwrap();
    assert_eq!(started, InsertResult::Inserted);
    let conflict = json!({ "Code": "TransactionConflict", "Message": "injected" });

    // The key is in use; the conflict on the intent does not matter, nor does the order's item.
    let in_the_way = failed_condition(&format!("KEY#{}", keyed.key)).await;
    let order = json!({ "Code": "None" });
    proxy.reset();
    proxy.fail(WRITE, Fault::Cancelled(vec![conflict.clone(), order, in_the_way]));
    let other = super::intent(Provider::ApoloPay);
    let opened = store.insert_payment(&other, names(&keyed), now).await.unwrap();
    assert!(matches!(opened, InsertResult::InUse(known) if known.payment_id() == Some(intent.id)));
    assert_eq!(proxy.count(WRITE), 1);

    // The payment has changed; the conflict on the id does not matter.
    proxy.reset();
    let moved = failed_condition(&format!("PAYMENT#{}", intent.id)).await;
    proxy.fail(
        WRITE,
        Fault::Cancelled(vec![moved, conflict.clone(), json!({ "Code": "None" })]),
    );
    let after = intent.accept(accepted(&id), [], now);
    let CommitResult::Conflict(met) = store
        .commit(&intent, &after, &CommitExtras::default(), now)
        .await
        .unwrap()
    else {
        panic!("a condition failed");
    };
    assert_eq!(
        (met.current, met.references_of_others, proxy.count(WRITE)),
        (Some(intent.clone()), vec![], 1)
    );

    // A webhook that met both reads again, and is recorded once.
    proxy.reset();
    let payment: Payment = created(&store, Provider::ApoloPay, &id).await;
    let state = failed_condition(&format!("PAYMENT#{}", payment.id)).await;
    proxy.reset();
    proxy.fail_times(WRITE, 1, Fault::Cancelled(vec![conflict, state]));
    let fact = notification(Some(payment.id), completion(Provider::ApoloPay, Some(&id)));
    let delivery = record_notification(&store, &fact, OrderMatching::default(), now)
        .await
        .unwrap();
    assert_eq!(
        delivery,
        RecordResult::Recorded {
            payment: payment.id,
            new_status: Some(Status::Completed)
        }
    );
    assert_eq!(aws::facts(&payment.id.to_string()).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_in_another_transaction_is_still_taken_over_and_released() {
    let (proxy, store) = proxied().await;
    let start = clock::now();
    let intent = intent(Provider::ApoloPay);
    let keyed = key();
    store.insert_payment(&intent, names(&keyed), start).await.unwrap();
    let conflict = Fault::Cancelled(vec![json!({ "Code": "TransactionConflict" })]);

    proxy.fail_times(WRITE, 2, conflict.clone());
    let first = Lease {
        record: RecordName::Key(keyed.key.clone()),
        fence: 1,
        attempt: 1,
    };
    store.release(&first, 2, start).await.unwrap();
    let opened = store
        .insert_payment(&super::intent(Provider::ApoloPay), names(&keyed), start)
        .await
        .unwrap();
    let InsertResult::InUse(known) = opened else {
        panic!("the key is in use");
    };
    let Some(KeyRecord::Own(seen)) = known.key.map(|key| key.record) else {
        panic!("it has no quote");
    };
    proxy.fail_times(WRITE, 2, conflict);
    let lease = store
        .take_over(&first.record, &seen, None, start.plus(LEASE))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((lease.fence, lease.attempt), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn unresponsive_table_times_out() {
    let proxy = aws::proxy().await;
    let slow = aws::store_at(proxy.url());
    let (id, now) = (reference("hang"), clock::now());
    let payment = created(&slow, Provider::FinvyPay, &id).await;
    let store = Store::open(&aws::clients_with_usual_limits(proxy.url()), "payments".to_owned());
    let fact = notification(Some(payment.id), completion(Provider::FinvyPay, Some(&id)));
    for action in [WRITE, "GetItem"] {
        proxy.fail(action, Fault::Hang);
        let fact = if action == WRITE {
            fact.clone()
        } else {
            notification(None, fact.fact.clone())
        };
        let failed = tokio::time::timeout(
            Duration::from_secs(5),
            record_notification(&store, &fact, OrderMatching::default(), now),
        )
        .await;
        assert!(matches!(failed, Ok(Err(StoreError::Failed { .. }))), "{failed:?}");
        proxy.reset();
    }
    assert_eq!(slow.payment(payment.id).await.unwrap(), Some(payment));
}
