//! The webhook and the create response in every possible interleaving, forced.

use std::sync::Arc;
use std::time::Duration;

use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{PaymentId, Reference};
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::status::Status;
use payment_functions::flows::create_payment::{self, Creation};
use payment_functions::flows::record_notification::{RecordResult, record_notification};
use payment_functions::platform::clock;
use payment_functions::providers::Notification;
use payment_functions::store::Store;
use payment_functions_local::sandbox::Provider as Sandbox;
use payment_functions_tests::world::{AwsProxy, HeldRequests};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{ControlledProvider, api_keys, completion, intent, notification, reference, store};
use crate::aws;
use crate::support::Value;

const WRITE: &str = "TransactWriteItems";

/// A create call waiting for the provider's response, and a webhook's store, each with its own proxy.
struct Crossing {
    id: PaymentId,
    reference: Reference,
    creating: JoinHandle<Value>,
    response: Arc<Notify>,
    create_proxy: AwsProxy,
    webhook_proxy: AwsProxy,
    webhook_store: Store,
}

impl Crossing {
    async fn start() -> Self {
        let (create_proxy, webhook_proxy) = (aws::proxy().await, aws::proxy().await);
        let reference = reference("cross");
        let (gateway, called, response) = ControlledProvider::new(&reference);
        let (keys, intent) = (api_keys().await, intent(Provider::ApoloPay));
        let (id, create_store) = (intent.id, aws::store_at(create_proxy.url()));
        let creating = tokio::spawn(async move {
            match create_payment::create(&create_store, &keys, intent, None, None, |_, _| gateway.clone()).await {
                Ok(Creation {
                    response,
                    replayed: false,
                    ..
                }) => serde_json::from_str(&response.body).unwrap(),
                other => panic!("{other:?}"),
            }
        });
        called.notified().await;
        Self {
            id,
            reference,
            creating,
            response,
            webhook_store: aws::store_at(webhook_proxy.url()),
            create_proxy,
            webhook_proxy,
        }
    }

    /// A webhook with the provider's id, and ours if `names_ours`.
    fn notification(&self, names_ours: bool) -> Notification {
        notification(
            names_ours.then_some(self.id),
            completion(Provider::ApoloPay, Some(&self.reference)),
        )
    }

    fn delivering(&self, notification: Notification) -> JoinHandle<RecordResult> {
        let store = self.webhook_store.clone();
        tokio::spawn(async move {
            record_notification(&store, &notification, OrderMatching::default(), clock::now())
                .await
                .unwrap()
        })
    }

    /// In every interleaving: the facts are the payment's, and nothing is left unmatched.
    async fn ends(id: PaymentId, reference: &Reference, facts: usize) {
        let payment = store().await.payment(id).await.unwrap().unwrap();
        assert_eq!(payment.status, Status::Completed);
        assert!(
            payment.references.contains(reference) && payment.attention.is_empty(),
            "{payment:?}"
        );
        assert!(
            payment
                .checkout_session
                .is_some_and(|checkout_session| checkout_session.reference == *reference)
        );
        assert_eq!(aws::facts(&id.to_string()).await.len(), facts);
        assert_eq!(aws::unmatched(Sandbox::Apolopay, reference.as_str()).await.len(), 0);
        assert_eq!(
            aws::owner(Sandbox::Apolopay, reference.as_str()).await,
            Some(id.to_string())
        );
    }
}

/// Waits until a write is held.
async fn arrived(held: &mut HeldRequests) {
    let waiting = tokio::time::timeout(Duration::from_secs(20), held.arrived(1));
    waiting.await.expect("a write to hold");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook_stored_unmatched_before_the_create_attaches() {
    let crossing = Crossing::start().await;
    let mut held = crossing.create_proxy.hold(WRITE);
    crossing.response.notify_one();
    arrived(&mut held).await;
    assert_eq!(
        crossing.delivering(crossing.notification(false)).await.unwrap(),
        RecordResult::Unmatched
    );
    assert_eq!(
        aws::unmatched(Sandbox::Apolopay, crossing.reference.as_str())
            .await
            .len(),
        1
    );
    held.release();
    let created = crossing.creating.await.unwrap();
    assert_eq!(
        (&created["status"], created.get("processId")),
        (&"completed".into(), None)
    );
    Crossing::ends(crossing.id, &crossing.reference, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_attaches_before_the_webhook_is_stored_unmatched() {
    let crossing = Crossing::start().await;
    let mut held = crossing.webhook_proxy.hold(WRITE);
    let delivering = crossing.delivering(crossing.notification(false));
    arrived(&mut held).await;
    crossing.response.notify_one();
    assert_eq!(crossing.creating.await.unwrap()["status"], "pending");
    held.release();
    assert_eq!(
        delivering.await.unwrap(),
        RecordResult::Recorded {
            payment: crossing.id,
            new_status: Some(Status::Completed)
        }
    );
    Crossing::ends(crossing.id, &crossing.reference, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_and_webhook_write_in_either_order() {
    for webhook_first in [true, false] {
        let crossing = Crossing::start().await;
        let (mut create_held, mut webhook_held) =
            (crossing.create_proxy.hold(WRITE), crossing.webhook_proxy.hold(WRITE));
        let delivering = crossing.delivering(crossing.notification(false));
        crossing.response.notify_one();
        arrived(&mut create_held).await;
        arrived(&mut webhook_held).await;
        if webhook_first {
            webhook_held.release();
            assert_eq!(delivering.await.unwrap(), RecordResult::Unmatched);
            create_held.release();
            assert_eq!(crossing.creating.await.unwrap()["status"], "completed");
        } else {
            create_held.release();
            assert_eq!(crossing.creating.await.unwrap()["status"], "pending");
            webhook_held.release();
            let recorded = RecordResult::Recorded {
                payment: crossing.id,
                new_status: Some(Status::Completed),
            };
            assert_eq!(delivering.await.unwrap(), recorded);
        }
        Crossing::ends(crossing.id, &crossing.reference, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook_stored_unmatched_during_collection() {
    let crossing = Crossing::start().await;
    let mut first = crossing.create_proxy.hold(WRITE);
    crossing.response.notify_one();
    arrived(&mut first).await;
    assert_eq!(
        crossing.delivering(crossing.notification(false)).await.unwrap(),
        RecordResult::Unmatched
    );
    // Releases the write and holds its retry.
    crossing.create_proxy.reset();
    let mut second = crossing.create_proxy.hold(WRITE);
    first.release();
    arrived(&mut second).await;
    let wrong = Fact {
        amount: Decimal::parse("1"),
        ..completion(Provider::ApoloPay, Some(&crossing.reference))
    };
    assert_eq!(
        crossing.delivering(notification(None, wrong)).await.unwrap(),
        RecordResult::Unmatched
    );
    second.release();
    assert_eq!(crossing.creating.await.unwrap()["status"], "completed");
    let payment = store().await.payment(crossing.id).await.unwrap().unwrap();
    assert_eq!(payment.status, Status::Completed);
    assert_eq!(aws::facts(&crossing.id.to_string()).await.len(), 2);
    assert_eq!(
        aws::unmatched(Sandbox::Apolopay, crossing.reference.as_str())
            .await
            .len(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook_with_our_id_completes_before_the_create_attaches() {
    let crossing = Crossing::start().await;
    let mut held = crossing.create_proxy.hold(WRITE);
    crossing.response.notify_one();
    arrived(&mut held).await;
    let recorded = RecordResult::Recorded {
        payment: crossing.id,
        new_status: Some(Status::Completed),
    };
    assert_eq!(
        crossing.delivering(crossing.notification(true)).await.unwrap(),
        recorded
    );
    held.release();
    assert_eq!(crossing.creating.await.unwrap()["status"], "completed");
    Crossing::ends(crossing.id, &crossing.reference, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_attaches_before_the_webhook_with_our_id_does() {
    let crossing = Crossing::start().await;
    // Lets the fast path's write pass, which is refused.
    let mut looking = crossing.webhook_proxy.hold("GetItem");
    let delivering = crossing.delivering(crossing.notification(true));
    arrived(&mut looking).await;
    let mut writing = crossing.webhook_proxy.hold(WRITE);
    looking.release();
    arrived(&mut writing).await;
    crossing.response.notify_one();
    assert_eq!(crossing.creating.await.unwrap()["status"], "pending");
    writing.release();
    let recorded = RecordResult::Recorded {
        payment: crossing.id,
        new_status: Some(Status::Completed),
    };
    assert_eq!(delivering.await.unwrap(), recorded);
    Crossing::ends(crossing.id, &crossing.reference, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_create_and_webhooks_lose_nothing() {
    for round in 0..12 {
        let crossing = Crossing::start().await;
        let other = Fact {
            outcome: Outcome::Pending,
            ..completion(Provider::ApoloPay, Some(&crossing.reference))
        };
        let mut deliveries: Vec<_> = (0..4)
            .map(|nth| crossing.delivering(crossing.notification(nth % 2 == 0 && round % 2 == 0)))
            .collect();
        deliveries.push(crossing.delivering(notification(None, other)));
        crossing.response.notify_one();
        crossing.creating.await.unwrap();
        for delivery in deliveries {
            delivery.await.unwrap();
        }
        Crossing::ends(crossing.id, &crossing.reference, 2).await;
    }
}

/// An id belongs to one payment, even if a provider assigns it twice.
#[tokio::test(flavor = "multi_thread")]
async fn id_of_another_payment_is_not_attached() {
    let store = store().await;
    let shared = reference("shared");
    let first = super::created(&store, Provider::ApoloPay, &shared).await;
    let second = intent(Provider::ApoloPay);
    let (gateway, _, response) = ControlledProvider::new(&shared);
    response.notify_one();
    let refused = create_payment::create(&store, &api_keys().await, second.clone(), None, None, |_, _| {
        gateway.clone()
    })
    .await;
    assert_eq!(refused.unwrap_err().to_stored_response().status, 502);
    let now = clock::now();
    let fact = completion(Provider::ApoloPay, Some(&shared));
    let delivery = record_notification(
        &store,
        &notification(Some(second.id), fact),
        OrderMatching::default(),
        now,
    )
    .await
    .unwrap();
    assert_eq!(
        delivery,
        RecordResult::Recorded {
            payment: first.id,
            new_status: Some(Status::Completed)
        }
    );
    assert_eq!(store.payment(second.id).await.unwrap(), Some(second));
}
