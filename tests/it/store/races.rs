//! The webhook and the answer to the create call, in every order in which they can cross: forced, not hoped for.

use std::sync::Arc;
use std::time::Duration;

use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{PaymentId, Reference};
use payment_functions::domain::provider::Provider;
use payment_functions::domain::status::Status;
use payment_functions::flows::create_payment::{self, Creation};
use payment_functions::flows::record_notification::{RecordResult, record_notification};
use payment_functions::platform::clock;
use payment_functions::providers::Notification;
use payment_functions::store::Store;
use payment_functions_local::sandbox::Provider as Sandbox;
use payment_functions_tests::world::{AwsProxy, Held};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Patient, api_keys, completion, event, intent, reference, store};
use crate::aws;
use crate::support::Value;

const WRITE: &str = "TransactWriteItems";

/// A create call whose provider was called and has not answered, and a webhook's store, each behind a proxy of its own.
struct Crossing {
    id: PaymentId,
    reference: Reference,
    creating: JoinHandle<Value>,
    answer: Arc<Notify>,
    create_proxy: AwsProxy,
    webhook_proxy: AwsProxy,
    webhook_store: Store,
}

impl Crossing {
    async fn start() -> Self {
        let (create_proxy, webhook_proxy) = (aws::proxy().await, aws::proxy().await);
        let reference = reference("cross");
        let (gateway, called, answer) = Patient::new(&reference);
        let (keys, intent) = (api_keys().await, intent(Provider::ApoloPay));
        let (id, create_store) = (intent.id, aws::store_at(create_proxy.url()));
        let creating = tokio::spawn(async move {
            match create_payment::create(&create_store, &keys, intent, None, None, |_, _| gateway.clone()).await {
                Ok(Creation {
                    answer,
                    replayed: false,
                    ..
                }) => serde_json::from_str(&answer.body).unwrap(),
                other => panic!("{other:?}"),
            }
        });
        called.notified().await;
        Self {
            id,
            reference,
            creating,
            answer,
            webhook_store: aws::store_at(webhook_proxy.url()),
            create_proxy,
            webhook_proxy,
        }
    }

    /// A webhook that names only the provider's id, or ours too.
    fn event(&self, names_ours: bool) -> Notification {
        event(
            names_ours.then_some(self.id),
            completion(Provider::ApoloPay, Some(&self.reference)),
        )
    }

    fn delivering(&self, event: Notification) -> JoinHandle<RecordResult> {
        let store = self.webhook_store.clone();
        tokio::spawn(async move { record_notification(&store, &event, clock::now()).await.unwrap() })
    }

    /// However they crossed: the facts are the payment's, and nothing is left behind.
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
        assert_eq!(aws::unmatched(Sandbox::Apolopay, reference.as_str()).await, [""; 0]);
        assert_eq!(
            aws::owner(Sandbox::Apolopay, reference.as_str()).await,
            Some(id.to_string())
        );
    }
}

/// Waits until a write is held: that it never comes fails the test.
async fn arrived(held: &mut Held) {
    let waiting = tokio::time::timeout(Duration::from_secs(20), held.arrived(1));
    waiting.await.expect("a write to hold");
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_while_the_create_call_was_about_to_attach() {
    let crossing = Crossing::start().await;
    let mut held = crossing.create_proxy.hold(WRITE);
    crossing.answer.notify_one();
    arrived(&mut held).await;
    assert_eq!(
        crossing.delivering(crossing.event(false)).await.unwrap(),
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
async fn attached_while_the_webhook_was_about_to_park() {
    let crossing = Crossing::start().await;
    let mut held = crossing.webhook_proxy.hold(WRITE);
    let delivering = crossing.delivering(crossing.event(false));
    arrived(&mut held).await;
    crossing.answer.notify_one();
    assert_eq!(crossing.creating.await.unwrap()["status"], "pending");
    held.release();
    assert_eq!(
        delivering.await.unwrap(),
        RecordResult::Recorded(crossing.id, Some(Status::Completed))
    );
    Crossing::ends(crossing.id, &crossing.reference, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_about_to_write_and_either_first() {
    for webhook_first in [true, false] {
        let crossing = Crossing::start().await;
        let (mut create_held, mut webhook_held) =
            (crossing.create_proxy.hold(WRITE), crossing.webhook_proxy.hold(WRITE));
        let delivering = crossing.delivering(crossing.event(false));
        crossing.answer.notify_one();
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
            let recorded = RecordResult::Recorded(crossing.id, Some(Status::Completed));
            assert_eq!(delivering.await.unwrap(), recorded);
        }
        Crossing::ends(crossing.id, &crossing.reference, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_again_while_what_was_parked_before_was_about_to_be_collected() {
    let crossing = Crossing::start().await;
    let mut first = crossing.create_proxy.hold(WRITE);
    crossing.answer.notify_one();
    arrived(&mut first).await;
    assert_eq!(
        crossing.delivering(crossing.event(false)).await.unwrap(),
        RecordResult::Unmatched
    );
    // What is held goes on; the next try is held anew.
    crossing.create_proxy.reset();
    let mut second = crossing.create_proxy.hold(WRITE);
    first.release();
    arrived(&mut second).await;
    let wrong = Fact {
        amount: Decimal::parse("1"),
        ..completion(Provider::ApoloPay, Some(&crossing.reference))
    };
    assert_eq!(
        crossing.delivering(event(None, wrong)).await.unwrap(),
        RecordResult::Unmatched
    );
    second.release();
    assert_eq!(crossing.creating.await.unwrap()["status"], "completed");
    let payment = store().await.payment(crossing.id).await.unwrap().unwrap();
    assert_eq!(payment.status, Status::Completed);
    assert_eq!(aws::facts(&crossing.id.to_string()).await.len(), 2);
    assert_eq!(
        aws::unmatched(Sandbox::Apolopay, crossing.reference.as_str()).await,
        [""; 0]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn completed_by_our_id_while_the_create_call_was_about_to_attach() {
    let crossing = Crossing::start().await;
    let mut held = crossing.create_proxy.hold(WRITE);
    crossing.answer.notify_one();
    arrived(&mut held).await;
    let recorded = RecordResult::Recorded(crossing.id, Some(Status::Completed));
    assert_eq!(crossing.delivering(crossing.event(true)).await.unwrap(), recorded);
    held.release();
    assert_eq!(crossing.creating.await.unwrap()["status"], "completed");
    Crossing::ends(crossing.id, &crossing.reference, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attached_while_the_webhook_with_our_id_was_about_to_attach_too() {
    let crossing = Crossing::start().await;
    // Past the first write, which is the usual webhook's and is refused.
    let mut looking = crossing.webhook_proxy.hold("GetItem");
    let delivering = crossing.delivering(crossing.event(true));
    arrived(&mut looking).await;
    let mut writing = crossing.webhook_proxy.hold(WRITE);
    looking.release();
    arrived(&mut writing).await;
    crossing.answer.notify_one();
    assert_eq!(crossing.creating.await.unwrap()["status"], "pending");
    writing.release();
    let recorded = RecordResult::Recorded(crossing.id, Some(Status::Completed));
    assert_eq!(delivering.await.unwrap(), recorded);
    Crossing::ends(crossing.id, &crossing.reference, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_at_once() {
    for round in 0..12 {
        let crossing = Crossing::start().await;
        let other = Fact {
            outcome: Outcome::Unrecognised,
            ..completion(Provider::ApoloPay, Some(&crossing.reference))
        };
        let mut deliveries: Vec<_> = (0..4)
            .map(|nth| crossing.delivering(crossing.event(nth % 2 == 0 && round % 2 == 0)))
            .collect();
        deliveries.push(crossing.delivering(event(None, other)));
        crossing.answer.notify_one();
        crossing.creating.await.unwrap();
        for delivery in deliveries {
            delivery.await.unwrap();
        }
        Crossing::ends(crossing.id, &crossing.reference, 2).await;
    }
}

/// One id belongs to one payment, even where a provider gives it twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_another_payments_is_not_attached() {
    let store = store().await;
    let shared = reference("shared");
    let first = super::created(&store, Provider::ApoloPay, &shared).await;
    let second = intent(Provider::ApoloPay);
    let (gateway, _, answer) = Patient::new(&shared);
    answer.notify_one();
    let refused = create_payment::create(&store, &api_keys().await, second.clone(), None, None, |_, _| {
        gateway.clone()
    })
    .await;
    assert_eq!(refused.unwrap_err().to_answer().status, 502);
    let now = clock::now();
    let fact = completion(Provider::ApoloPay, Some(&shared));
    let delivery = record_notification(&store, &event(Some(second.id), fact), now)
        .await
        .unwrap();
    assert_eq!(delivery, RecordResult::Recorded(first.id, Some(Status::Completed)));
    assert_eq!(store.payment(second.id).await.unwrap(), Some(second));
}
