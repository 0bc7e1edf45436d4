//! Idempotency keys: one holder at a time, and no write of a former holder.

use std::time::Duration;

use futures_util::future::join_all;
use payment_functions::domain::idempotency::{
    Fingerprint, IdempotencyKey, KeyRecord, KnownNames, LEASE, Lease, NextAction, RETENTION, RecordName, RequestNames,
    RequestRecord, StoredResponse,
};
use payment_functions::domain::json::Json;
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::create_payment::{self, IdempotentRequest};
use payment_functions::flows::record_notification::record_notification;
use payment_functions::platform::clock;
use payment_functions::store::{CommitExtras, CommitResult, InsertResult, NotChanged, Store};

use super::{ControlledProvider, accepted, api_keys, completion, intent, notification, reference, store};
use crate::support::unique;

const MOMENT: Duration = Duration::from_millis(1);

pub fn key() -> IdempotentRequest {
    IdempotentRequest {
        key: IdempotencyKey::parse("it", unique("key").as_bytes()).unwrap(),
        fingerprint: Fingerprint::of(&Json::String("the request".to_owned())),
    }
}

fn name(keyed: &IdempotentRequest) -> RecordName {
    RecordName::Key(keyed.key.clone())
}

fn first_lease(keyed: &IdempotentRequest) -> Lease {
    Lease {
        record: name(keyed),
        fence: 1,
        attempt: 1,
    }
}

fn response(text: &str) -> StoredResponse {
    StoredResponse {
        status: 201,
        body: text.to_owned(),
    }
}

pub fn names(keyed: &IdempotentRequest) -> RequestNames<'_> {
    RequestNames {
        key: Some(keyed),
        quote: None,
    }
}

/// The record of a key.
fn record_in(known: KnownNames) -> RequestRecord {
    match known.key.expect("the key").record {
        KeyRecord::Own(record) => record,
        KeyRecord::UnderQuote(quote) => panic!("there is no quote {quote}"),
    }
}

async fn open(store: &Store, intent: &Payment, keyed: &IdempotentRequest, now: Timestamp) -> InsertResult {
    store.insert_payment(intent, names(keyed), now).await.unwrap()
}

/// Takes a key over, or returns its current record.
async fn take_over(
    store: &Store,
    keyed: &IdempotentRequest,
    seen: &RequestRecord,
    now: Timestamp,
) -> Result<Lease, RequestRecord> {
    let taken = store.take_over(&name(keyed), seen, Some(keyed), now).await.unwrap();
    taken.map_err(|not_changed| match not_changed {
        NotChanged::Record(current) => current,
        NotChanged::KeyInUse => panic!("a key of its own is not bound"),
    })
}

/// The stored item of a key in use.
async fn record(store: &Store, keyed: &IdempotentRequest, now: Timestamp) -> RequestRecord {
    match open(store, &intent(Provider::ApoloPay), keyed, now).await {
        InsertResult::InUse(known) => record_in(known),
        InsertResult::Inserted => panic!("the key is free"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_insert_a_key_once() {
    let (store, keyed, now) = (store().await, key(), clock::now());
    let intents: Vec<Payment> = (0..10).map(|_| intent(Provider::FinvyPay)).collect();
    let opened = join_all(intents.clone().into_iter().map(|intent| {
        let (store, keyed) = (store.clone(), keyed.clone());
        tokio::spawn(async move { open(&store, &intent, &keyed, now).await })
    }))
    .await;
    let mut winners = Vec::new();
    for (intent, opened) in intents.iter().zip(opened) {
        let stored = store.payment(intent.id).await.unwrap();
        match opened.unwrap() {
            InsertResult::Inserted => winners.push(stored.unwrap().id),
            InsertResult::InUse(known) => {
                assert_eq!(
                    (stored, record_in(known).response),
                    (None, None),
                    "losing requests store nothing"
                )
            }
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(record(&store, &keyed, now).await.payment_id, winners[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_lease_is_taken_over_once() {
    let (store, keyed, start) = (store().await, key(), clock::now());
    let intent = intent(Provider::ApoloPay);
    assert_eq!(open(&store, &intent, &keyed, start).await, InsertResult::Inserted);
    let seen = record(&store, &keyed, start).await;

    let just_before = start.plus(LEASE - MOMENT);
    assert_eq!(seen.next_action(just_before), NextAction::Wait(MOMENT));
    let early = take_over(&store, &keyed, &seen, just_before).await;
    assert_eq!(early, Err(seen.clone()), "the lease is active");

    let end = start.plus(LEASE);
    assert_eq!(seen.next_action(end), NextAction::TakeOver);
    let taken = join_all((0..10).map(|_| {
        let (store, keyed, seen) = (store.clone(), keyed.clone(), seen.clone());
        tokio::spawn(async move { take_over(&store, &keyed, &seen, end).await })
    }))
    .await;
    let taken: Vec<Result<Lease, RequestRecord>> = taken.into_iter().map(Result::unwrap).collect();
    let winners: Vec<&Lease> = taken.iter().filter_map(|taken| taken.as_ref().ok()).collect();
    assert_eq!(winners.len(), 1, "{taken:?}");
    assert_eq!((winners[0].fence, winners[0].attempt), (2, 1));
    for loser in taken.iter().filter_map(|taken| taken.as_ref().err()) {
        assert_eq!((loser.fence, loser.lease_until), (2, end.plus(LEASE)));
        assert_eq!(loser.next_action(end), NextAction::Wait(LEASE));
        assert_eq!(loser.payment_id, intent.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn former_holder_writes_no_response_and_releases_no_lease() {
    let (store, keyed, start) = (store().await, key(), clock::now());
    let intent = intent(Provider::ApoloPay);
    assert_eq!(open(&store, &intent, &keyed, start).await, InsertResult::Inserted);
    let seen = record(&store, &keyed, start).await;
    let later = start.plus(LEASE);
    let new = take_over(&store, &keyed, &seen, later).await.unwrap();

    let (old_id, new_id) = (reference("old"), reference("new"));
    let late = intent.accept(accepted(&old_id), [], later);
    let with_response = CommitExtras {
        response: Some((first_lease(&keyed), response("old"))),
        ..CommitExtras::default()
    };
    let CommitResult::Conflict(conflict) = store.commit(&intent, &late, &with_response, later).await.unwrap() else {
        panic!("the fence has increased");
    };
    assert_eq!(
        conflict.record.map(|record| (record.fence, record.response)),
        Some((2, None))
    );
    assert!(conflict.current.is_none() && conflict.references_of_others.is_empty() && conflict.unmatched.is_empty());
    assert_eq!(
        store.payment(intent.id).await.unwrap(),
        Some(intent.clone()),
        "nothing is stored"
    );
    let refused = store.release(&first_lease(&keyed), 9, later).await.unwrap();
    let seen = record(&store, &keyed, later).await;
    assert_eq!((seen.lease_until, seen.attempt), (later.plus(LEASE), 1));
    assert_eq!(refused, Some(seen), "and returns the new holder's record");

    // Its provider id is attached anyway.
    assert!(matches!(
        store
            .commit(&intent, &late, &CommitExtras::default(), later)
            .await
            .unwrap(),
        CommitResult::Done
    ));
    let payment = store.payment(intent.id).await.unwrap().unwrap();
    let both = payment.accept(accepted(&new_id), [], later);
    let with_response = CommitExtras {
        response: Some((new.clone(), response("new"))),
        ..CommitExtras::default()
    };
    assert!(matches!(
        store.commit(&payment, &both, &with_response, later).await.unwrap(),
        CommitResult::Done
    ));
    let replayed = record(&store, &keyed, later).await.next_action(later);
    assert_eq!(replayed, NextAction::Replay(response("new")));
    for id in [&old_id, &new_id] {
        assert_eq!(store.owner(Provider::ApoloPay, id).await.unwrap(), Some(intent.id));
    }

    // A stored response is final.
    let again = CommitExtras {
        response: Some((new, response("newer"))),
        ..CommitExtras::default()
    };
    let CommitResult::Conflict(conflict) = store.commit(&both, &both, &again, later).await.unwrap() else {
        panic!("the key has a response");
    };
    assert_eq!(conflict.record.unwrap().response, Some(response("new")));
    let seen = record(&store, &keyed, later).await;
    let taken = take_over(&store, &keyed, &seen, later.plus(LEASE)).await;
    assert_eq!(
        taken.unwrap_err().response,
        Some(response("new")),
        "it cannot be taken over either"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn former_holder_still_attaches_its_provider_id() {
    let (store, keyed, start) = (store().await, key(), clock::now());
    let intent = intent(Provider::ApoloPay);
    let (old_id, id) = (reference("old"), intent.id);
    let (gateway, called, go_on) = ControlledProvider::new(&old_id);
    let creating = {
        let (store, keyed, keys) = (store.clone(), keyed.clone(), api_keys().await);
        tokio::spawn(async move {
            create_payment::create(&store, &keys, intent, Some(&keyed), None, |_, _| gateway.clone()).await
        })
    };
    called.notified().await;
    let seen = record(&store, &keyed, start).await;
    let later = seen.lease_until;
    let new = take_over(&store, &keyed, &seen, later).await.unwrap();
    go_on.notify_one();
    let refused = creating.await.unwrap().unwrap_err().to_stored_response();
    assert_eq!(
        refused.status, 409,
        "only the new holder may store a response: {refused:?}"
    );
    let seen = record(&store, &keyed, later).await;
    assert_eq!((seen.fence, seen.response), (new.fence, None));

    let fact = completion(Provider::ApoloPay, Some(&old_id));
    record_notification(&store, &notification(None, fact), OrderMatching::default(), later)
        .await
        .unwrap();
    let payment = store.payment(id).await.unwrap().unwrap();
    assert_eq!(payment.status, Status::Completed, "paid under the late id");
}

#[tokio::test(flavor = "multi_thread")]
async fn released_lease_is_free_at_once_with_its_attempt() {
    let (store, keyed, start) = (store().await, key(), clock::now());
    assert_eq!(
        open(&store, &intent(Provider::ApoloPay), &keyed, start).await,
        InsertResult::Inserted
    );
    assert_eq!(store.release(&first_lease(&keyed), 2, start).await.unwrap(), None);
    let seen = record(&store, &keyed, start).await;
    assert_eq!(seen.next_action(start), NextAction::TakeOver);
    let lease = take_over(&store, &keyed, &seen, start).await.unwrap();
    assert_eq!((lease.fence, lease.attempt), (2, 2));

    // The former holder's lease is not released.
    assert_eq!(store.release(&lease, 3, start).await.unwrap(), None);
    let late = take_over(&store, &keyed, &seen, start).await.unwrap_err();
    assert_eq!((late.fence, late.attempt), (2, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_key_is_free_before_its_item_is_deleted() {
    assert!(RETENTION >= Duration::from_secs(24 * 60 * 60));
    let (store, keyed, start) = (store().await, key(), clock::now());
    let first = intent(Provider::ApoloPay);
    assert_eq!(open(&store, &first, &keyed, start).await, InsertResult::Inserted);
    let last = start.plus(RETENTION - MOMENT);
    assert_eq!(record(&store, &keyed, last).await.payment_id, first.id);

    let second = intent(Provider::ApoloPay);
    let end = start.plus(RETENTION);
    assert_eq!(open(&store, &second, &keyed, end).await, InsertResult::Inserted);
    let seen = record(&store, &keyed, end).await;
    assert_eq!((seen.payment_id, seen.fence, seen.response), (second.id, 1, None));
    assert!(
        store.payment(first.id).await.unwrap().is_some(),
        "the payment outlives its key"
    );
}
