//! An hour of payments in a real table: how late the reconciler knows that a payment without a webhook is paid.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::idempotency::RequestNames;
use payment_functions::domain::list_reading::Window;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::payment::{CheckoutSession, Payment};
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::schedule::Queue;
use payment_functions::domain::status::Status;
use payment_functions::flows::record_notification::record_notification;
use payment_functions::store::{CommitExtras, Store};
use payment_functions_tests::world::MemoryTable;
use reconcile_payments::handler::RUN_TIME;
use reconcile_payments::sweep::Sweep;

use super::market::{Assumptions, Market, Sale, created_at, created_in, paid_after};
use super::{START, begin_of_run, set_marks};

/// How many minutes the list is read after the last payment is made. What is not known then counts as never known.
const AFTERWARDS: u32 = 20;
/// The items of a request that writes several.
const BATCH: usize = 25;

type Item = HashMap<String, AttributeValue>;

/// What is simulated.
pub struct Plan {
    pub assumptions: Assumptions,
    /// The minutes in which payments are made.
    pub minutes: u32,
    /// Of so many payments one is in the table. The others are only counted.
    pub one_of: u64,
    /// Whether webhooks name only the order, so that all are claims.
    pub webhooks_name_orders: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Hour {
    /// The payments in the table.
    pub payments: usize,
    /// The time from the payment at FinvyPay until it was known, at the 99th percentile, if no webhook had come.
    pub p99: Duration,
    /// The claims that are left in the end.
    pub claims: u32,
    pub list_calls: u64,
    pub single_calls: u64,
    pub refused_calls: u64,
}

/// The items of a payment, made by the real store, from which those of thousands more are copied.
struct Pattern {
    id: PaymentId,
    pending: Vec<Item>,
    completed: Vec<Item>,
}

const PATTERN: u64 = 77_777_777_777;

impl Pattern {
    async fn new() -> Self {
        let table = MemoryTable::new().unwrap();
        let store = table.store();
        let intent = Payment {
            order_id: OrderId::parse(&format!("order-{PATTERN}")),
            ..Payment::new(
                PaymentId::random(),
                Provider::FinvyPay,
                Environment::Sandbox,
                Money::from_minor(2550, Currency::USD),
                START,
            )
        };
        store
            .insert_payment(&intent, RequestNames::default(), START)
            .await
            .unwrap();
        let checkout_session = CheckoutSession {
            reference: Reference::parse(&format!("pay-{PATTERN}")).unwrap(),
            redirect_url: None,
            expires_at: None,
        };
        let payment = intent.accept(checkout_session, [], START);
        store
            .commit(&intent, &payment, &CommitExtras::default(), START)
            .await
            .unwrap();
        let pending = items(&table).await;
        let sale = Sale {
            id: intent.id,
            created_at: START,
            paid_at: Some(START),
            known_at: None,
        };
        let webhook = Market::report(PATTERN, &sale, true);
        record_notification(&store, &webhook, OrderMatching::default(), START)
            .await
            .unwrap();
        Self {
            id: intent.id,
            pending,
            completed: items(&table).await,
        }
    }

    /// The items of another payment.
    fn of(&self, items: &[Item], number: u64, sale: &Sale) -> Vec<WriteRequest> {
        let names = [
            (self.id.to_string(), sale.id.to_string()),
            (PATTERN.to_string(), number.to_string()),
        ];
        let later = sale.created_at.as_millis() - START.as_millis();
        let copied = items.iter().map(|item| {
            let copied = item
                .iter()
                .map(|(name, value)| (name.clone(), copied(value, &names, later)));
            let put = PutRequest::builder().set_item(Some(copied.collect())).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        });
        copied.collect()
    }
}

async fn items(table: &MemoryTable) -> Vec<Item> {
    let scan = table.client().scan().table_name("payments").send().await.unwrap();
    scan.items.unwrap()
}

/// A value of another payment: with its names, and times later.
fn copied(value: &AttributeValue, names: &[(String, String)], later: u64) -> AttributeValue {
    let text = |text: &String| {
        names
            .iter()
            .fold(text.clone(), |text, (from, to)| text.replace(from, to))
    };
    if let AttributeValue::S(own) = value {
        return AttributeValue::S(text(own));
    }
    if let AttributeValue::Ss(own) = value {
        return AttributeValue::Ss(own.iter().map(text).collect());
    }
    // Milliseconds since 1970.
    if let AttributeValue::N(own) = value
        && own.len() == 13
    {
        return AttributeValue::N((own.parse::<u64>().unwrap() + later).to_string());
    }
    if let AttributeValue::M(own) = value {
        let copied = own
            .iter()
            .map(|(name, value)| (name.clone(), copied(value, names, later)));
        return AttributeValue::M(copied.collect());
    }
    value.clone()
}

async fn put(table: &MemoryTable, requests: Vec<WriteRequest>) {
    let client = table.client();
    for batch in requests.chunks(BATCH) {
        let write = client.batch_write_item().request_items("payments", batch.to_vec());
        write.send().await.unwrap();
    }
}

/// Whether the webhook of a payment is lost: one of a hundred.
fn is_lost(number: u64, one_of: u64) -> bool {
    number / one_of % 100 == 7
}

pub async fn simulate(plan: &Plan) -> Hour {
    let table = MemoryTable::new().unwrap();
    let store = table.store();
    let slots = MemoryTable::new().unwrap();
    set_marks(&store, START, false).await;
    let market = Market::open(plan.assumptions.clone(), Some(slots.store()), START);
    let pattern = Pattern::new().await;
    let mut from = START;
    for minute in 0..plan.minutes + AFTERWARDS {
        let now = begin_of_run(minute);
        if minute < plan.minutes {
            let to = begin_of_run(minute + 1);
            sell(&market, &table, &pattern, plan, Window { from: now, to }).await;
        }
        send_webhooks(&market, &table, &store, &pattern, plan, Window { from, to: now }).await;
        from = now;
        market.begin_run(now);
        let report = Sweep::new(&store, market.clone(), now).run(RUN_TIME).await.unwrap();
        assert_eq!(report.failed, 0, "{report:?}");
        market.end_run();
    }
    let p99 = p99(&market, &store, plan).await;
    let claims = store.count(Queue::Unmatched).await.unwrap();
    let state = market.state();
    let calls = |lane: &str| state.calls.get(lane).copied().unwrap_or(0);
    Hour {
        payments: state.sales.len(),
        p99,
        claims,
        list_calls: calls("list"),
        single_calls: calls("single"),
        refused_calls: state.refused_calls,
    }
}

/// Stores the payments that are made in a window.
async fn sell(market: &Market, table: &MemoryTable, pattern: &Pattern, plan: &Plan, window: Window) {
    let a_minute = plan.assumptions.payments;
    let mut requests = Vec::new();
    for number in created_in(window, a_minute).filter(|number| number % plan.one_of == 0) {
        let created_at = created_at(number, a_minute);
        let sale = Sale {
            id: PaymentId::random(),
            created_at,
            paid_at: paid_after(number / plan.one_of).map(|after| created_at.plus(after)),
            known_at: None,
        };
        requests.extend(pattern.of(&pattern.pending, number, &sale));
        market.state().sales.insert(number, sale);
    }
    put(table, requests).await;
}

/// Delivers the webhooks of the payments that are paid in a window.
async fn send_webhooks(
    market: &Market,
    table: &MemoryTable,
    store: &Store,
    pattern: &Pattern,
    plan: &Plan,
    window: Window,
) {
    let paid: Vec<(u64, Sale)> = market
        .state()
        .sales
        .iter()
        .filter(|(_, sale)| sale.paid_at.is_some_and(|at| window.from <= at && at < window.to))
        .filter(|(number, _)| !is_lost(**number, plan.one_of))
        .map(|(number, sale)| (*number, sale.clone()))
        .collect();
    let mut requests = Vec::new();
    for (number, sale) in &paid {
        if plan.webhooks_name_orders {
            let webhook = Market::report(*number, sale, false);
            let at = sale.paid_at.unwrap();
            record_notification(store, &webhook, OrderMatching::default(), at)
                .await
                .unwrap();
        } else {
            requests.extend(pattern.of(&pattern.completed, *number, sale));
        }
    }
    put(table, requests).await;
}

/// The 99th percentile of all paid payments: the list shows a payment in the same way whether its webhook came or not.
/// Checks that those without a webhook were completed.
async fn p99(market: &Market, store: &Store, plan: &Plan) -> Duration {
    let paid: Vec<(u64, Sale)> = market
        .state()
        .sales
        .iter()
        .filter(|(_, sale)| sale.paid_at.is_some())
        .map(|(number, sale)| (*number, sale.clone()))
        .collect();
    let mut times = Vec::new();
    for (number, sale) in &paid {
        let late = sale
            .known_at
            .map_or(Duration::MAX, |known_at| known_at.since(sale.paid_at.unwrap()));
        times.push(late);
        if is_lost(*number, plan.one_of) || plan.webhooks_name_orders {
            let status = store.payment(sale.id).await.unwrap().unwrap().status;
            assert!(
                sale.known_at.is_none() || status == Status::Completed,
                "{number}: {sale:?}"
            );
        }
    }
    times.sort();
    times[times.len() * 99 / 100]
}
