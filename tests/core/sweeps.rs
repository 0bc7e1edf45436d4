//! What becomes of payments whose webhook never came.
//!
//! The sweep runs in this process over a table of its own, at whatever time the test says, with a provider that the
//! test has answer; `it/reconcile.rs` runs the real function.

mod asking;
mod due;
mod operating;
mod parked;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::{CheckoutSession, Payment};
use payment_functions::domain::provider::Provider;
use payment_functions::domain::schedule::Queue;
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::record_notification::record_notification;
use payment_functions::platform::clock;
use payment_functions::providers::Notification;
use payment_functions::providers::gateway::CallError;
use payment_functions::store::{CommitExtras, CommitResult, InsertResult, Store, Subject};
use payment_functions_tests::world::MemoryTable;
use reconcile_payments::poller::{Ask, PollError};
use reconcile_payments::report::{Matter, Report};
use reconcile_payments::sweep::Sweep;
use tokio::time::Instant;

use crate::{facts, unique};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longer than any run in these tests takes.
const TIME: Duration = Duration::from_secs(30);

/// A table of one's own.
pub struct Shop {
    pub table: MemoryTable,
    pub store: Store,
    /// When its payments are created.
    pub start: Timestamp,
}

impl Shop {
    pub fn open() -> Self {
        let table = MemoryTable::new().unwrap();
        Self {
            store: table.store(),
            table,
            start: clock::now(),
        }
    }

    fn after(&self, time: Duration) -> Timestamp {
        self.start.plus(time)
    }

    /// A payment over 25.50 USD that its provider has not answered for.
    async fn intent(&self, provider: Provider, order: &str) -> Payment {
        let payment = Payment {
            order_id: OrderId::parse(order),
            ..Payment::new(
                PaymentId::random(),
                provider,
                Money::from_minor(2550, Currency::USD),
                self.start,
            )
        };
        let opened = self.store.insert_payment(&payment, None, self.start).await.unwrap();
        assert_eq!(opened, InsertResult::Inserted);
        payment
    }

    /// The same once FinvyPay has refused it.
    async fn refused(&self, order: &str) -> Payment {
        let intent = self.intent(Provider::FinvyPay, order).await;
        let refused = intent.refuse([], self.start);
        self.commit(&intent, &refused).await;
        refused
    }

    /// The same once its provider has taken it under `id`, to be paid within half an hour.
    pub async fn pending(&self, provider: Provider, order: &str, id: &str) -> Payment {
        let intent = self.intent(provider, order).await;
        let checkout_session = CheckoutSession {
            reference: reference(id),
            redirect_url: None,
            expires_at: (provider == Provider::FinvyPay).then(|| self.after(30 * MINUTE)),
        };
        let payment = intent.accept(checkout_session, [], self.start);
        self.commit(&intent, &payment).await;
        payment
    }

    async fn commit(&self, before: &Payment, after: &Payment) {
        let commit = self
            .store
            .commit(before, after, &CommitExtras::default(), self.start)
            .await;
        assert!(matches!(commit, Ok(CommitResult::Done)), "{commit:?}");
    }

    /// Makes a payment unreadable.
    async fn break_payment(&self, id: PaymentId) {
        let key = |text: String| AttributeValue::S(text);
        let update = self.table.client().update_item().table_name(self.store.table());
        let update = update
            .key("pk", key(format!("PAYMENT#{id}")))
            .key("sk", key("STATE".to_owned()));
        update.update_expression("REMOVE amount").send().await.unwrap();
    }

    async fn deliver(&self, event: &Notification) {
        record_notification(&self.store, event, self.start).await.unwrap();
    }

    async fn payment(&self, id: PaymentId) -> Payment {
        self.store.payment(id).await.unwrap().unwrap()
    }

    pub async fn status(&self, id: PaymentId) -> Status {
        self.payment(id).await.status
    }

    /// A run at `time` after the start.
    async fn sweep(&self, time: Duration, provider: &Book) -> Report {
        self.sweep_for(time, provider, TIME).await
    }

    async fn sweep_for(&self, time: Duration, provider: &Book, limit: Duration) -> Report {
        let sweep = Sweep::new(&self.store, provider.clone(), self.after(time));
        sweep.run(limit).await.unwrap().0
    }

    /// What is due at `time` after the start.
    async fn due(&self, queue: Queue, time: Duration) -> Vec<Subject> {
        let due = self.store.due(queue, self.after(time), 100).await.unwrap();
        due.into_iter().map(|due| due.subject).collect()
    }

    /// Whether a payment will ever be looked at again.
    async fn is_settled(&self, id: PaymentId) -> bool {
        for queue in Queue::all() {
            if self.due(queue, 1000 * DAY).await.contains(&Subject::Payment(id)) {
                return false;
            }
        }
        true
    }
}

/// What a run left to a person.
fn matters(report: &Report) -> Vec<(Matter, Option<PaymentId>)> {
    let matters = report.for_a_person.iter();
    matters.map(|matter| (matter.matter, matter.payment_id)).collect()
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// What the provider says of 25.50 USD.
fn said(outcome: Outcome) -> Fact {
    facts::said(Provider::FinvyPay, outcome)
}

fn event(payment_id: Option<PaymentId>, fact: Fact) -> Notification {
    Notification { payment_id, fact }
}

/// A provider that knows what it is told, and whom everybody asks.
#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    statuses: BTreeMap<String, Notification>,
    transactions: BTreeMap<String, Vec<Notification>>,
    failure: Option<fn() -> PollError>,
    /// Whether the status call alone fails.
    fails_about_ids: bool,
    /// After how many more answers there are none.
    turns: Option<usize>,
    /// After when there are none.
    latest: Option<Instant>,
    /// How long it takes to answer.
    delay: Duration,
    asked: Vec<String>,
}

impl Book {
    /// What it answers of an id.
    pub fn knows(&self, id: &str, event: Notification) {
        self.0.lock().unwrap().statuses.insert(id.to_owned(), event);
    }

    /// What it lists under an order.
    pub fn lists(&self, order: &str, events: Vec<Notification>) {
        self.0.lock().unwrap().transactions.insert(order.to_owned(), events);
    }

    fn fails(&self, failure: Option<fn() -> PollError>) {
        self.0.lock().unwrap().failure = failure;
    }

    fn fails_about_ids(&self) {
        self.0.lock().unwrap().fails_about_ids = true;
    }

    fn has_turns(&self, turns: usize) {
        self.0.lock().unwrap().turns = Some(turns);
    }

    fn takes(&self, delay: Duration) {
        self.0.lock().unwrap().delay = delay;
    }

    /// What it was asked since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    fn note(&self, asked: String) -> Result<(), PollError> {
        let mut pages = self.0.lock().unwrap();
        if pages.turns == Some(0) || pages.latest.is_some_and(|latest| Instant::now() > latest) {
            return Err(PollError::OutOfTurns);
        }
        pages.turns = pages.turns.map(|turns| turns - 1);
        pages.asked.push(asked);
        pages.failure.map_or(Ok(()), |failure| Err(failure()))
    }
}

impl Ask for Book {
    fn poll_until(&mut self, latest: Instant) {
        self.0.lock().unwrap().latest = Some(latest);
    }

    async fn status(&mut self, id: &Reference) -> Result<Option<Notification>, PollError> {
        self.note(id.to_string())?;
        let delay = self.0.lock().unwrap().delay;
        tokio::time::sleep(delay).await;
        if self.0.lock().unwrap().fails_about_ids {
            return Err(down());
        }
        Ok(self.0.lock().unwrap().statuses.get(id.as_str()).cloned())
    }

    async fn transactions(&mut self, order_id: &OrderId) -> Result<Vec<Notification>, PollError> {
        self.note(format!("order {}", order_id.as_str()))?;
        let pages = self.0.lock().unwrap();
        Ok(pages.transactions.get(order_id.as_str()).cloned().unwrap_or_default())
    }
}

fn down() -> PollError {
    CallError::NoAnswer.into()
}

fn out_of_turns() -> PollError {
    PollError::OutOfTurns
}

fn closed() -> PollError {
    PollError::Closed
}
