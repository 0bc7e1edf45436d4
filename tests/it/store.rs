//! The store and the flows on top of it, directly against the real emulator.

mod contention;
mod emulators;
mod histories;
mod keys;
mod races;

use std::sync::Arc;

use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::idempotency::RequestNames;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::{CheckoutSession, Payment};
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::platform::clock;
use payment_functions::platform::secrets::{ApiKey, SecretCache, SecretsManager};
use payment_functions::providers::Notification;
use payment_functions::providers::gateway::{Accepted, CallError, Gateway};
use payment_functions::store::{CommitExtras, CommitResult, InsertResult, Store};
use tokio::sync::Notify;

use crate::aws;
use crate::facts;
use crate::support::{unique, world};

async fn store() -> Store {
    aws::store_at(world().await.aws_url())
}

fn reference(prefix: &str) -> Reference {
    Reference::parse(&unique(prefix)).unwrap()
}

/// An intent over 25.50 USD, for a new order.
fn intent(provider: Provider) -> Payment {
    Payment {
        order_id: OrderId::parse(&unique("store")),
        ..Payment::new(
            PaymentId::random(),
            provider,
            Environment::Sandbox,
            Money::from_minor(2550, Currency::USD),
            clock::now(),
        )
    }
}

fn accepted(reference: &Reference) -> CheckoutSession {
    CheckoutSession {
        reference: reference.clone(),
        redirect_url: None,
        expires_at: None,
    }
}

/// A stored payment with `reference`.
async fn created(store: &Store, provider: Provider, reference: &Reference) -> Payment {
    let intent = intent(provider);
    let now = clock::now();
    assert_eq!(
        store
            .insert_payment(&intent, RequestNames::default(), now)
            .await
            .unwrap(),
        InsertResult::Inserted
    );
    let payment = intent.accept(accepted(reference), [], now);
    let commit = store
        .commit(&intent, &payment, &CommitExtras::default(), now)
        .await
        .unwrap();
    assert!(matches!(commit, CommitResult::Done), "{commit:?}");
    payment
}

/// A completion over 25.50 USD with `reference`.
fn completion(provider: Provider, reference: Option<&Reference>) -> Fact {
    Fact {
        payment: reference.cloned(),
        ..facts::fact(provider, Outcome::Completed)
    }
}

fn notification(payment_id: Option<PaymentId>, fact: Fact) -> Notification {
    Notification { payment_id, fact }
}

/// A provider that responds on a signal.
#[derive(Clone)]
struct ControlledProvider {
    reference: Reference,
    called: Arc<Notify>,
    response: Arc<Notify>,
}

impl ControlledProvider {
    /// Also returns the signals: called, and respond.
    fn new(reference: &Reference) -> (Self, Arc<Notify>, Arc<Notify>) {
        let (called, response) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let patient = Self {
            reference: reference.clone(),
            called: Arc::clone(&called),
            response: Arc::clone(&response),
        };
        (patient, called, response)
    }
}

impl Gateway for ControlledProvider {
    async fn create(&self, _payment: &Payment, _attempt: u32) -> Result<Accepted, CallError> {
        self.called.notify_one();
        self.response.notified().await;
        Ok(Accepted {
            checkout_session: accepted(&self.reference),
            references: vec![],
        })
    }
}

/// A provider's API keys, which creating a payment needs first.
async fn api_keys() -> SecretCache<ApiKey> {
    let client = aws::clients(world().await.aws_url()).secrets_manager();
    SecretCache::new(
        SecretsManager::new(client, "payment-functions/apolopay".to_owned()),
        "secretKey",
    )
}
