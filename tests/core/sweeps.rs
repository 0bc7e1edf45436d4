//! The reconciler's runs and an operator's commands.
//!
//! A run takes place in this process, at the time that the test chooses, over a table in memory and with a
//! [`FakeProvider`]. `it/reconcile.rs` runs the real function.

mod attention;
mod claims;
mod due;
mod expiry;
mod list;
mod many_unmatched;
mod operator;
mod order_events;
mod polling;
mod unmatched;
mod unpaid;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use payment_functions::domain::attention::AttentionReason;
use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Fact, Outcome, Reversal, ReversalKind};
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::idempotency::RequestNames;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::payment::{CheckoutSession, Payment};
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::request_rate::Lane;
use payment_functions::domain::schedule::Queue;
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::record_notification::record_notification;
use payment_functions::platform::clock;
use payment_functions::providers::Notification;
use payment_functions::providers::finvypay::list::{ListPage, ListQuery, ListRow, PAGE_ROWS};
use payment_functions::providers::gateway::CallError;
use payment_functions::store::{CommitExtras, CommitResult, Due, InsertResult, MAX_MOVED, Shard, Store, Subject};
use payment_functions_tests::world::MemoryTable;
use reconcile_payments::poller::{CallSlots, PollError, StatusSource};
use reconcile_payments::report::Report;
use reconcile_payments::sweep::Sweep;
use tokio::time::Instant;

use crate::{facts, unique};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longer than any run in these tests takes.
const TIME: Duration = Duration::from_secs(30);

/// A table with payments.
pub struct Shop {
    pub table: MemoryTable,
    pub store: Store,
    /// The time when its payments are created.
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

    /// A payment of 25.50 USD that its provider has not responded to.
    async fn intent(&self, provider: Provider, order: &str) -> Payment {
        let payment = Payment {
            order_id: OrderId::parse(order),
            ..Payment::new(
                PaymentId::random(),
                provider,
                Environment::Sandbox,
                Money::from_minor(2550, Currency::USD),
                self.start,
            )
        };
        let opened = self
            .store
            .insert_payment(&payment, RequestNames::default(), self.start)
            .await
            .unwrap();
        assert_eq!(opened, InsertResult::Inserted);
        payment
    }

    /// A payment that FinvyPay rejected.
    async fn rejected(&self, order: &str) -> Payment {
        let intent = self.intent(Provider::FinvyPay, order).await;
        let rejected = intent.reject([], self.start);
        self.commit(&intent, &rejected).await;
        rejected
    }

    /// A payment that its provider accepted under `id`. At FinvyPay it can be paid for half an hour.
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
        let update = self.update_by_hand(id).update_expression("REMOVE amount");
        update.send().await.unwrap();
    }

    /// Makes a broken payment readable again.
    async fn mend_payment(&self, id: PaymentId) {
        let update = self.update_by_hand(id).update_expression("SET amount = :amount");
        let amount = AttributeValue::N("2550".to_owned());
        update
            .expression_attribute_values(":amount", amount)
            .send()
            .await
            .unwrap();
    }

    fn update_by_hand(&self, id: PaymentId) -> UpdateItemFluentBuilder {
        let key = |text: String| AttributeValue::S(text);
        let update = self.table.client().update_item().table_name(self.store.table());
        update
            .key("pk", key(format!("PAYMENT#{id}")))
            .key("sk", key("STATE".to_owned()))
    }

    /// The reasons for attention of a payment.
    async fn reasons(&self, id: PaymentId) -> Vec<AttentionReason> {
        self.payment(id).await.attention.reasons().collect()
    }

    async fn deliver(&self, notification: &Notification) {
        record_notification(&self.store, notification, OrderMatching::default(), self.start)
            .await
            .unwrap();
    }

    async fn payment(&self, id: PaymentId) -> Payment {
        self.store.payment(id).await.unwrap().unwrap()
    }

    pub async fn status(&self, id: PaymentId) -> Status {
        self.payment(id).await.status
    }

    /// A run at `time` after the start.
    async fn sweep(&self, time: Duration, provider: &FakeProvider) -> Report {
        self.sweep_for(time, provider, TIME).await
    }

    async fn sweep_for(&self, time: Duration, provider: &FakeProvider, limit: Duration) -> Report {
        let sweep = Sweep::new(&self.store, provider.clone(), self.after(time));
        sweep.run(limit).await.unwrap()
    }

    /// The items due at `time` after the start.
    async fn due(&self, queue: Queue, time: Duration) -> Vec<Subject> {
        let mut subjects = Vec::new();
        for due in due_in(&self.store, queue, self.after(time)).await {
            subjects.push(due.subject);
        }
        subjects
    }

    /// Whether a payment will never be checked again.
    async fn is_resolved(&self, id: PaymentId) -> bool {
        for queue in Queue::ALL {
            if self.due(queue, 1000 * DAY).await.contains(&Subject::Payment(id)) {
                return false;
            }
        }
        true
    }
}

/// The items of a queue that are due at `now`, at most a hundred of each shard.
pub async fn due_in(store: &Store, queue: Queue, now: Timestamp) -> Vec<Due> {
    let mut due = Vec::new();
    for shard in Shard::of(queue) {
        due.extend(store.due(shard, now, 100, None).await.unwrap());
    }
    due
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// FinvyPay's report of a payment of 25.50 USD.
fn reported(outcome: Outcome) -> Fact {
    facts::fact(Provider::FinvyPay, outcome)
}

/// FinvyPay's report that a payment was paid, by the payment's id and the transaction's.
fn paid(id: &str) -> Fact {
    Fact {
        payment: Some(reference(id)),
        transaction: Some(reference(&format!("FP-{id}"))),
        ..reported(Outcome::Completed)
    }
}

fn notification(payment_id: Option<PaymentId>, fact: Fact) -> Notification {
    Notification { payment_id, fact }
}

/// A provider that reports what the test has set. Its clones share their state.
#[derive(Clone, Default)]
pub struct FakeProvider(Arc<Mutex<ProviderState>>);

#[derive(Default)]
struct ProviderState {
    statuses: BTreeMap<String, Notification>,
    transactions: BTreeMap<String, Vec<Notification>>,
    failure: Option<fn() -> PollError>,
    /// Whether only the status query fails.
    status_queries_fail: bool,
    /// The ids whose status query fails.
    failing: BTreeSet<String>,
    /// The number of slots left for single calls, if it is limited.
    slots: Option<usize>,
    /// Its list of all transactions.
    list: FakeList,
    /// How long a status query takes, and a call to the list of all transactions.
    delay: Duration,
    calls: Vec<String>,
    environment: Environment,
}

impl FakeProvider {
    /// Sets the response to the status query for an id.
    pub fn set_status(&self, id: &str, notification: Notification) {
        self.state().statuses.insert(id.to_owned(), notification);
    }

    /// Sets the transactions listed for an order.
    pub fn set_transactions(&self, order: &str, notifications: Vec<Notification>) {
        self.state().transactions.insert(order.to_owned(), notifications);
    }

    /// Switches the deployment to another environment of the provider.
    fn switch_to(&self, environment: Environment) {
        self.state().environment = environment;
    }

    fn fail_with(&self, failure: Option<fn() -> PollError>) {
        self.state().failure = failure;
    }

    fn fail_status_queries(&self) {
        self.state().status_queries_fail = true;
    }

    fn fail_status_query(&self, id: &str, fails: bool) {
        let failing = &mut self.state().failing;
        if fails {
            failing.insert(id.to_owned());
        } else {
            failing.remove(id);
        }
    }

    fn limit_slots(&self, slots: usize) {
        self.state().slots = Some(slots);
    }

    /// Sets the list of all transactions. There are none at first.
    pub fn set_list(&self, list: FakeList) {
        self.state().list = list;
    }

    /// From now on the list of all transactions cannot be used.
    fn without_list(self) -> Self {
        self.state().list.is_missing = true;
        self
    }

    fn delay_by(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// The calls since the last time: the id, or `order` and the order's id.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state().calls)
    }

    fn state(&self) -> MutexGuard<'_, ProviderState> {
        self.0.lock().unwrap()
    }

    fn note_call(&self, call: String) -> Result<(), PollError> {
        let mut state = self.state();
        state.calls.push(call);
        state.failure.map_or(Ok(()), |failure| Err(failure()))
    }
}

impl StatusSource for FakeProvider {
    fn environment(&self) -> Environment {
        self.state().environment
    }

    async fn wait_for_slot(&self, lane: Lane, latest: Instant) -> Result<(), PollError> {
        let mut state = self.state();
        let is_limited = lane == Lane::Single;
        if (is_limited && state.slots == Some(0)) || Instant::now() > latest {
            return Err(PollError::NoSlot);
        }
        if is_limited {
            state.slots = state.slots.map(|slots| slots - 1);
        }
        Ok(())
    }

    fn slots_before(&self, _: Lane, _: Instant) -> u64 {
        u64::MAX
    }

    async fn status(&self, id: &Reference) -> Result<Option<Notification>, PollError> {
        self.note_call(id.to_string())?;
        let delay = self.state().delay;
        tokio::time::sleep(delay).await;
        let state = self.state();
        if state.status_queries_fail || state.failing.contains(id.as_str()) {
            return Err(unreachable());
        }
        Ok(state.statuses.get(id.as_str()).cloned())
    }

    async fn transactions(&self, order_id: &OrderId) -> Result<Vec<Notification>, PollError> {
        self.note_call(format!("order {}", order_id.as_str()))?;
        let state = self.state();
        Ok(state.transactions.get(order_id.as_str()).cloned().unwrap_or_default())
    }

    async fn list(&self, query: &ListQuery) -> Result<ListPage, PollError> {
        let delay = self.state().delay;
        tokio::time::sleep(delay).await;
        let state = self.state();
        if let Some(failure) = state.failure {
            return Err(failure());
        }
        state.list.page(query)
    }
}

/// The list of all transactions.
#[derive(Clone, Default)]
pub struct FakeList {
    /// The rows, each with the time of its creation.
    pub rows: Vec<(Timestamp, ListRow)>,
    /// Whether it ignores the filter by status.
    pub ignores_status: bool,
    /// Whether it does not say how many rows there are.
    pub is_uncounted: bool,
    /// Whether it cannot be used.
    pub is_missing: bool,
    /// The calls, in order.
    calls: Arc<Mutex<Vec<ListQuery>>>,
}

impl FakeList {
    fn page(&self, query: &ListQuery) -> Result<ListPage, PollError> {
        self.calls.lock().unwrap().push(query.clone());
        if self.is_missing {
            return Err(CallError::unusable("there is no list").into());
        }
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .filter(|(created_at, _)| query.window.from <= *created_at && *created_at < query.window.to)
            .filter(|(_, row)| self.ignores_status || query.status.is_none() || row.status == query.status)
            .collect();
        rows.sort_by_key(|(created_at, _)| std::cmp::Reverse(*created_at));
        let page_rows = usize::try_from(PAGE_ROWS).unwrap();
        let skipped = usize::try_from(query.page - 1).unwrap() * page_rows;
        let page: Vec<ListRow> = rows
            .iter()
            .skip(skipped)
            .take(page_rows)
            .map(|(_, row)| row.clone())
            .collect();
        Ok(ListPage {
            length: page.len().try_into().unwrap(),
            total: (!self.is_uncounted).then(|| rows.len().try_into().unwrap()),
            rows: page,
        })
    }
}

fn unreachable() -> PollError {
    CallError::OutcomeUnknown { references: Vec::new() }.into()
}

fn provider_refuses_all() -> PollError {
    PollError::ProviderRefusesAll
}
