//! Concurrent flows in every order of their external calls, also with one of them crashing before any of its calls. The
//! most important race is the webhook's with the create call's response.

mod claims;
mod deletion;
mod paid_twice;

use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::platform::clock;
use std::sync::atomic::{AtomicUsize, Ordering};

use payment_functions::domain::attention::AttentionReason;
use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Fact, Outcome, Reversal, ReversalKind};
use payment_functions::domain::id::{OrderId, PaymentId};
use payment_functions::domain::idempotency::{Fingerprint, IdempotencyKey, StoredResponse};
use payment_functions::domain::json::Json;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::schedule::Queue;
use payment_functions::domain::status::Status;
use payment_functions::flows::create_payment::{self, IdempotentRequest};
use payment_functions::flows::record_notification::record_notification;
use payment_functions::providers::Notification;
use payment_functions::store::{MAX_MOVED, Store, Subject};
use payment_functions_tests::print_uncaptured;
use reconcile_payments::acknowledge::{Acknowledgement, acknowledge};
use reconcile_payments::operator::{self, Command, CommandError};
use reconcile_payments::sweep::Sweep;

use super::*;
use crate::sweeps::{FakeProvider, due_in};
use crate::{facts, unique};
use tokio::time::Instant;

/// Longer than a run of the reconciler takes.
const RUN: Duration = Duration::from_secs(60);
/// Longer than a lease.
pub const LEASE_OVER: Duration = Duration::from_secs(31);

/// One run of a scenario: a payment with its order, key and provider.
struct Scenario<'a> {
    table: &'a Table,
    store: &'a Store,
    keys: SecretCache<ApiKey, StaticSecret>,
    provider: Provider,
    payment: PaymentId,
    order: String,
    key: IdempotencyKey,
    gateway: FakeGateway,
    /// The provider's id of the payment.
    reference: Reference,
}

impl<'a> Scenario<'a> {
    fn new(table: &'a Table, provider: Provider) -> Self {
        let reference = Reference::parse(&unique("p")).unwrap();
        Self {
            table,
            store: &table.store,
            keys: api_keys(),
            provider,
            payment: PaymentId::random(),
            order: unique("o"),
            key: IdempotencyKey::parse("create", unique("k").as_bytes()).unwrap(),
            gateway: FakeGateway::accepting(&reference),
            reference,
        }
    }

    fn intent(&self) -> Payment {
        Payment {
            order_id: OrderId::parse(&self.order),
            ..Payment::new(
                self.payment,
                self.provider,
                Environment::Sandbox,
                Money::from_minor(2550, Currency::USD),
                clock::now(),
            )
        }
    }

    /// Handles a request for the payment; returns the response, or the status of the problem.
    async fn create(&self) -> Result<StoredResponse, u16> {
        let keyed = IdempotentRequest {
            key: self.key.clone(),
            fingerprint: Fingerprint::of(&Json::Null),
        };
        // A concurrent second request has its own intent, which must not be stored.
        let is_first = self.store.payment(self.payment).await.unwrap().is_none();
        let intent = if is_first {
            self.intent()
        } else {
            Payment {
                id: PaymentId::random(),
                ..self.intent()
            }
        };
        let gateway = |_: &Payment, _| self.gateway.clone();
        match create_payment::create(self.store, &self.keys, intent, Some(&keyed), None, gateway).await {
            Ok(creation) => {
                assert_eq!(creation.payment, self.payment, "one payment per key");
                Ok(creation.response)
            }
            Err(problem) => Err(problem.to_stored_response().status),
        }
    }

    fn fact(&self, outcome: Outcome, id: Option<&Reference>) -> Fact {
        Fact {
            payment: id.cloned(),
            ..facts::fact(self.provider, outcome)
        }
    }

    fn notification(&self, outcome: Outcome, has_our_id: bool) -> Notification {
        Notification {
            payment_id: has_our_id.then_some(self.payment),
            fact: self.fact(outcome, Some(&self.reference)),
        }
    }

    async fn created(&self) {
        assert_eq!(self.create().await.map(|response| response.status), Ok(201));
    }

    async fn delivered(&self, webhook: &Notification) {
        record_notification(self.store, webhook, OrderMatching::default(), clock::now())
            .await
            .unwrap();
    }

    /// Recovers as in production: delivers every unacknowledged webhook again, and retries the key after the lease.
    async fn recover(&self, unacknowledged: &[Notification]) {
        for webhook in unacknowledged {
            self.delivered(webhook).await;
        }
        let mut scheduler = Exhaustive::default();
        let done = run_interleaved(vec![task_later(LEASE_OVER, self.created())], &mut scheduler, 0).await;
        assert_eq!(done, Some(vec![true]));
    }

    async fn status(&self) -> Status {
        self.store.payment(self.payment).await.unwrap().unwrap().status
    }

    async fn is_unmatched(&self, key: &str) -> bool {
        self.store
            .unmatched(self.provider, key, MAX_MOVED)
            .await
            .unwrap()
            .is_some()
    }

    /// Checks the payment's status, its number of facts, and that nothing is unmatched or needs attention.
    async fn assert_is(&self, status: Status, facts: usize) {
        let payment = self.store.payment(self.payment).await.unwrap().unwrap();
        assert_eq!(payment.status, status, "{payment:?}");
        assert_eq!(
            self.store.owner(self.provider, &self.reference).await.unwrap(),
            Some(self.payment)
        );
        assert!(payment.references.contains(&self.reference));
        assert_eq!(self.table.facts(self.payment), facts);
        assert!(
            !self.is_unmatched(self.reference.as_str()).await,
            "no notification stays unmatched"
        );
        assert!(payment.attention.is_empty(), "{payment:?}");
    }
}

/// The number of orders run by all tests, and of finished tests.
static ORDERS: AtomicUsize = AtomicUsize::new(0);
static FINISHED: AtomicUsize = AtomicUsize::new(0);

/// Called at the end of each test. The last one prints the total number of orders.
fn finish_test() {
    let tests = include_str!("interleavings.rs").matches("\n#[tokio::test").count();
    if FINISHED.fetch_add(1, Ordering::Relaxed) + 1 == tests {
        let orders = ORDERS.load(Ordering::Relaxed);
        print_uncaptured(&format!("interleavings: {orders} orders of {tests} scenarios"));
    }
}

/// The number of random orders for a scenario that has thousands.
const RANDOM_ORDERS: u64 = 100;

/// Runs a scenario that has thousands of orders: random ones, or with `ORDERS=all` every one, which takes minutes.
async fn many_orders(name: &str, run_once: impl AsyncFn(&Table, &mut dyn Scheduler) -> Option<()>) {
    if runs_every_order() {
        assert!(every_order(name, run_once).await > 1000);
    } else {
        random_orders(name, run_once).await;
    }
}

/// Runs a scenario that has too many orders in random ones.
async fn random_orders(name: &str, run_once: impl AsyncFn(&Table, &mut dyn Scheduler) -> Option<()>) {
    for seed in 0..RANDOM_ORDERS {
        let done = run_once(&Table::new(), &mut Random(fastrand::Rng::with_seed(seed))).await;
        assert_eq!(done, Some(()), "seed {seed}");
    }
    println!("{name}: {RANDOM_ORDERS} random orders");
    let orders = RANDOM_ORDERS.try_into().unwrap();
    ORDERS.fetch_add(orders, Ordering::Relaxed);
}

/// Runs a scenario in every order of its calls, each time with a new table, and returns the number of orders.
pub async fn every_order(name: &str, run_once: impl AsyncFn(&Table, &mut dyn Scheduler) -> Option<()>) -> usize {
    let mut next = Some(Exhaustive::default());
    let mut orders = 0;
    let mut equivalent = 0;
    while let Some(mut scheduler) = next {
        match run_once(&Table::new(), &mut scheduler).await {
            Some(()) => orders += 1,
            None => equivalent += 1,
        }
        next = scheduler.next();
    }
    println!("{name}: {orders} orders, and {equivalent} equivalent to one of them");
    ORDERS.fetch_add(orders, Ordering::Relaxed);
    orders
}

/// Whether to run every order: `ORDERS=all`.
fn runs_every_order() -> bool {
    std::env::var("ORDERS").is_ok_and(|orders| orders == "all")
}

/// Both providers, each with webhooks with and without our id.
fn variants() -> impl Iterator<Item = (Provider, bool)> {
    Provider::ALL
        .into_iter()
        .flat_map(|provider| [(provider, false), (provider, true)])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_webhooks_racing_the_create_call_complete_the_payment() {
    for (provider, has_our_id) in variants() {
        let orders = many_orders("two webhooks race the create call", async |table, scheduler| {
            let scenario = Scenario::new(table, provider);
            let [paid, failed] =
                [Outcome::Completed, Outcome::Failed].map(|outcome| scenario.notification(outcome, has_our_id));
            let tasks = vec![
                task(scenario.created()),
                task(scenario.delivered(&paid)),
                task(scenario.delivered(&failed)),
            ];
            let done = run_interleaved(tasks, scheduler, 0).await?;
            assert_eq!(done, [true; 3]);
            scenario.assert_is(Status::Completed, 2).await;
            Some(())
        });
        orders.await;
    }
    finish_test();
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_webhook_or_create_call_loses_nothing() {
    for (provider, has_our_id) in variants() {
        let orders = every_order("webhook or create call crashes", async |table, scheduler| {
            let scenario = Scenario::new(table, provider);
            let paid = scenario.notification(Outcome::Completed, has_our_id);
            let tasks = vec![task(scenario.created()), task(scenario.delivered(&paid))];
            let done = run_interleaved(tasks, scheduler, 1).await?;
            scenario
                .recover(if done[1] { &[] } else { std::slice::from_ref(&paid) })
                .await;
            scenario.assert_is(Status::Completed, 1).await;
            Some(())
        });
        assert!(orders.await > 20);
    }
    finish_test();
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_lease_holder_and_its_successor_give_one_response() {
    // With a webhook too, there are thousands of orders.
    for (provider, has_webhook) in variants().filter(|(_, has_webhook)| !has_webhook || runs_every_order()) {
        let orders = every_order("two holders of a key", async |table, scheduler| {
            let scenario = Scenario::new(table, provider);
            let paid = scenario.notification(Outcome::Completed, false);
            let responses = Mutex::new(Vec::new());
            let request = async || {
                let response = scenario.create().await;
                responses.lock().unwrap().push(response);
            };
            let mut tasks = vec![task(request()), task_later(LEASE_OVER, request())];
            if has_webhook {
                tasks.push(task(scenario.delivered(&paid)));
            }
            assert!(!run_interleaved(tasks, scheduler, 0).await?.contains(&false));
            let responses = responses.into_inner().unwrap();
            // A holder that lost its lease gets 409 if its successor has no response yet.
            let given: Vec<_> = responses.iter().filter_map(|response| response.as_ref().ok()).collect();
            assert!(
                !given.is_empty() && given.windows(2).all(|pair| pair[0] == pair[1]),
                "{responses:?}"
            );
            assert!(
                responses.iter().all(|response| matches!(response, Ok(_) | Err(409))),
                "{responses:?}"
            );
            scenario.recover(&[]).await;
            if has_webhook {
                scenario.assert_is(Status::Completed, 1).await;
            } else {
                scenario.assert_is(Status::Pending, 0).await;
            }
            Some(())
        });
        assert!(orders.await > 20);
    }
    finish_test();
}

#[tokio::test(flavor = "multi_thread")]
async fn notification_with_two_ids_collects_unmatched_ones_of_either() {
    let orders = every_order(
        "notifications by payment and transaction id race the create call",
        async |table, scheduler| {
            let scenario = Scenario::new(table, Provider::FinvyPay);
            let transaction = Reference::parse(&unique("FP"));
            let by_transaction = Notification {
                payment_id: None,
                fact: Fact {
                    transaction: transaction.clone(),
                    ..scenario.fact(Outcome::Completed, None)
                },
            };
            let by_both = Notification {
                payment_id: None,
                fact: Fact {
                    transaction: transaction.clone(),
                    ..scenario.fact(Outcome::Authorized, Some(&scenario.reference))
                },
            };
            let tasks = vec![
                task(scenario.created()),
                task(scenario.delivered(&by_transaction)),
                task(scenario.delivered(&by_both)),
            ];
            let done = run_interleaved(tasks, scheduler, 0).await?;
            assert_eq!(done, [true; 3]);
            scenario.assert_is(Status::Completed, 2).await;
            let transaction = transaction.unwrap();
            let owner = scenario.store.owner(Provider::FinvyPay, &transaction).await.unwrap();
            assert_eq!(owner, Some(scenario.payment));
            assert!(!scenario.is_unmatched(transaction.as_str()).await);
            Some(())
        },
    );
    assert!(orders.await > 100);
    finish_test();
}

/// FinvyPay's general webhook may have only an order. It matches the order's payment if there is only one.
#[tokio::test(flavor = "multi_thread")]
async fn notification_by_order_racing_a_second_payment_is_kept_or_matches_the_first() {
    let orders = every_order(
        "a notification by order races a second payment",
        async |table, scheduler| {
            let one = Scenario::new(table, Provider::FinvyPay);
            one.created().await;
            let other = Scenario {
                order: one.order.clone(),
                ..Scenario::new(table, Provider::FinvyPay)
            };
            let by_order = Notification {
                payment_id: None,
                fact: Fact {
                    order_id: OrderId::parse(&one.order),
                    ..one.fact(Outcome::Completed, None)
                },
            };
            let tasks = vec![task(other.created()), task(one.delivered(&by_order))];
            let done = run_interleaved(tasks, scheduler, 0).await?;
            assert_eq!(done, [true; 2]);
            assert_eq!(
                other.status().await,
                Status::Pending,
                "the notification is about the first payment"
            );
            let is_kept = one.is_unmatched(&format!("order:{}", one.order)).await;
            let expected = if is_kept { Status::Pending } else { Status::Completed };
            assert_eq!(
                one.status().await,
                expected,
                "recorded or kept as unmatched, never both"
            );
            Some(())
        },
    );
    assert!(orders.await > 3);
    finish_test();
}

/// The reconciler's check of the one unmatched notification that is due after `later`.
async fn check_later<'a>(scenario: &'a Scenario<'_>, later: Duration, status_api: &'a FakeProvider) -> Task<'a> {
    let due = due_in(scenario.store, Queue::Unmatched, clock::now().plus(later)).await;
    assert_eq!(due.len(), 1, "{due:?}");
    task_later(later, async move {
        let sweep = Sweep::new(scenario.store, status_api.clone(), clock::now());
        let report = sweep.check(&due, RUN).await.unwrap();
        assert_eq!(report.failed, 0, "{report:?}");
    })
}

/// The reconciler's expiry of payments after `later`.
fn expire_later<'a>(scenario: &'a Scenario<'_>, later: Duration) -> Task<'a> {
    task_later(later, async move {
        let sweep = Sweep::new(scenario.store, FakeProvider::default(), clock::now());
        let report = sweep.expire(true, Instant::now() + RUN).await.unwrap();
        assert_eq!(report.failed, 0, "{report:?}");
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn expiry_racing_a_webhook_or_the_key_never_undoes_a_completion() {
    let later = Duration::from_secs(25 * 60 * 60);
    for (provider, is_paid) in variants() {
        let orders = every_order("expiry races a webhook or the key", async |table, scheduler| {
            let scenario = Scenario::new(table, provider);
            // The first request checks for a payment, stores its intent, and crashes before it calls the provider.
            let mut crash = Exhaustive::starting_with(&[0, 0, 1]);
            let done = run_interleaved(vec![task(scenario.created())], &mut crash, 1).await;
            assert_eq!(done, Some(vec![false]));
            assert_eq!(scenario.status().await, Status::Creating);
            let paid = scenario.notification(Outcome::Completed, true);
            let other = if is_paid {
                task(scenario.delivered(&paid))
            } else {
                task_later(LEASE_OVER, scenario.created())
            };
            let check = expire_later(&scenario, later);
            assert_eq!(run_interleaved(vec![check, other], scheduler, 0).await?, [true; 2]);
            // A payment that was changed meanwhile is expired by the next run.
            let next_run = vec![expire_later(&scenario, later)];
            assert_eq!(
                run_interleaved(next_run, &mut Exhaustive::default(), 0).await,
                Some(vec![true])
            );
            // A completion wins. A retry of the key after the expiry changes nothing.
            let expected = if is_paid { Status::Completed } else { Status::Expired };
            assert_eq!(scenario.status().await, expected);
            Some(())
        });
        assert!(orders.await > 3);
    }
    finish_test();
}

#[tokio::test(flavor = "multi_thread")]
async fn reconciler_and_webhook_collect_an_unmatched_notification_once() {
    let orders = many_orders("reconciler and webhook", async |table, scheduler| {
        let scenario = Scenario::new(table, Provider::FinvyPay);
        let transaction = Reference::parse(&unique("FP")).unwrap();
        scenario.created().await;
        // Another payment of the order, so that the order alone is ambiguous.
        let other = Scenario {
            order: scenario.order.clone(),
            ..Scenario::new(table, Provider::FinvyPay)
        };
        other.created().await;
        let general = Notification {
            payment_id: None,
            fact: Fact {
                transaction: Some(transaction.clone()),
                order_id: OrderId::parse(&scenario.order),
                ..scenario.fact(Outcome::Completed, None)
            },
        };
        scenario.delivered(&general).await;
        assert!(scenario.is_unmatched(transaction.as_str()).await);
        let matching = Notification {
            payment_id: Some(scenario.payment),
            fact: Fact {
                transaction: Some(transaction.clone()),
                ..scenario.fact(Outcome::Authorized, Some(&scenario.reference))
            },
        };
        let status_api = FakeProvider::default();
        // Only a report that it is paid tells whose the transaction is.
        let reported = Notification {
            payment_id: Some(scenario.payment),
            ..general.clone()
        };
        status_api.set_status(transaction.as_str(), reported);
        let check = check_later(&scenario, Duration::from_secs(61), &status_api).await;
        let tasks = vec![check, task(scenario.delivered(&matching))];
        let done = run_interleaved(tasks, scheduler, 0).await?;
        assert_eq!(done, [true; 2]);
        // If the report came before the webhook, it was recorded without the claimed id, as a fact of its own.
        let facts = scenario.table.facts(scenario.payment);
        assert!((2..=3).contains(&facts), "{facts}");
        scenario.assert_is(Status::Completed, facts).await;
        assert!(!scenario.is_unmatched(transaction.as_str()).await);
        assert_eq!(other.status().await, Status::Pending);
        Some(())
    });
    orders.await;
    finish_test();
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_and_late_webhook_complete_a_payment_once() {
    let orders = every_order("operator and webhook", async |table, scheduler| {
        let scenario = Scenario::new(table, Provider::ApoloPay);
        scenario.created().await;
        let paid = scenario.notification(Outcome::Completed, true);
        let command = Command {
            payment_id: scenario.payment,
            reference: Some(scenario.reference.clone()),
            actor: "on call".to_owned(),
            reason: "seen as paid".to_owned(),
        };
        let run_command = async {
            let done = operator::complete(scenario.store, &command, clock::now())
                .await
                .unwrap();
            assert_eq!(done.status, Status::Completed);
        };
        let done = run_interleaved(vec![task(run_command), task(scenario.delivered(&paid))], scheduler, 0).await?;
        assert_eq!(done, [true; 2]);
        assert_eq!(scenario.status().await, Status::Completed);
        let payment = scenario.store.payment(scenario.payment).await.unwrap().unwrap();
        assert!(payment.attention.is_empty(), "one capture: {payment:?}");
        Some(())
    });
    assert!(orders.await > 3);
    finish_test();
}

/// An operator and the provider give the same reference to two payments. One of them gets it, and each ledger has only
/// its payment's facts.
#[tokio::test(flavor = "multi_thread")]
async fn reference_given_to_two_payments_belongs_to_one() {
    let outcomes = Mutex::new([0, 0]);
    let orders = every_order("operator and another payment's webhook", async |table, scheduler| {
        let one = Scenario::new(table, Provider::FinvyPay);
        let other = Scenario::new(table, Provider::FinvyPay);
        one.created().await;
        other.created().await;
        let transaction = Reference::parse(&unique("FP")).unwrap();
        let command = Command {
            payment_id: one.payment,
            reference: Some(transaction.clone()),
            actor: "on call".to_owned(),
            reason: "seen as paid".to_owned(),
        };
        let webhook = Notification {
            payment_id: Some(other.payment),
            fact: Fact {
                transaction: Some(transaction.clone()),
                ..other.fact(Outcome::Authorized, Some(&other.reference))
            },
        };
        let result = Mutex::new(None);
        let run_command = async {
            let done = operator::complete(one.store, &command, clock::now()).await;
            *result.lock().unwrap() = Some(done);
        };
        let done = run_interleaved(vec![task(run_command), task(other.delivered(&webhook))], scheduler, 0).await?;
        assert_eq!(done, [true; 2]);
        let owner = one.store.owner(Provider::FinvyPay, &transaction).await.unwrap();
        match result.into_inner().unwrap().unwrap() {
            Ok(done) => {
                assert_eq!((done.status, done.changed), (Status::Completed, true));
                assert_eq!(owner, Some(one.payment));
                one.assert_is(Status::Completed, 1).await;
                outcomes.lock().unwrap()[0] += 1;
            }
            Err(CommandError::ReferenceOwnedByOther(whose)) => {
                assert_eq!((whose, owner), (other.payment, Some(other.payment)));
                one.assert_is(Status::Pending, 0).await;
                outcomes.lock().unwrap()[1] += 1;
            }
            Err(refused) => panic!("{refused}"),
        }
        other.assert_is(Status::Authorized, 1).await;
        Some(())
    });
    assert!(orders.await > 3);
    assert!(!outcomes.into_inner().unwrap().contains(&0), "both outcomes occur");
    finish_test();
}

/// Closing a review covers only the facts that were there. Money that arrives meanwhile keeps the review open.
#[tokio::test(flavor = "multi_thread")]
async fn review_closed_while_more_money_arrives_stays_due_for_it() {
    let outcomes = Mutex::new([0, 0, 0]);
    let orders = every_order("operator closes while more money arrives", async |table, scheduler| {
        let scenario = Scenario::new(table, Provider::ApoloPay);
        scenario.created().await;
        let other_money = |amount| Notification {
            payment_id: Some(scenario.payment),
            fact: Fact {
                amount: Decimal::parse(amount),
                ..scenario.fact(Outcome::Completed, Some(&scenario.reference))
            },
        };
        scenario.delivered(&other_money("1")).await;
        let command = Command {
            payment_id: scenario.payment,
            reference: None,
            actor: "on call".to_owned(),
            reason: "refunded".to_owned(),
        };
        let result = Mutex::new(None);
        let run_command = async {
            let done = operator::close(scenario.store, &command, clock::now()).await;
            *result.lock().unwrap() = Some(done);
        };
        let more = other_money("2");
        let done = run_interleaved(vec![task(run_command), task(scenario.delivered(&more))], scheduler, 0).await?;
        assert_eq!(done, [true; 2]);
        assert_eq!(scenario.status().await, Status::Review);
        let ledger = ledger(&table.memory, scenario.payment);
        let has_closed = |mismatches: usize| {
            let raw_status = format!("closed by an operator; mismatching completions: {mismatches}");
            ledger.iter().any(|fact| fact["rawStatus"]["S"] == raw_status.as_str())
        };
        let due = due_in(scenario.store, Queue::Review, clock::now()).await;
        let is_due = due.iter().any(|due| due.subject == Subject::Payment(scenario.payment));
        let outcome = match result.into_inner().unwrap().unwrap() {
            Ok(_) if has_closed(2) => 0,
            Ok(_) if has_closed(1) => 1,
            Err(CommandError::MoreMoneyCame) => 2,
            other => panic!("{other:?}, {ledger:?}"),
        };
        assert_eq!(is_due, outcome > 0, "{outcome}");
        assert_eq!(ledger.len(), if outcome == 2 { 2 } else { 3 });
        outcomes.lock().unwrap()[outcome] += 1;
        // Otherwise the next run of the scenario would find this review too.
        operator::close(scenario.store, &command, clock::now()).await.unwrap();
        Some(())
    });
    assert!(orders.await > 3);
    let outcomes = outcomes.into_inner().unwrap();
    assert!(!outcomes.contains(&0), "every outcome occurs: {outcomes:?}");
    finish_test();
}

/// *Acknowledge* takes away only the refund that was there. One that arrives meanwhile keeps the reason.
#[tokio::test(flavor = "multi_thread")]
async fn reason_acknowledged_while_it_is_raised_again_is_not_taken_away() {
    let outcomes = Mutex::new([0, 0, 0]);
    let orders = every_order(
        "operator acknowledges while another refund arrives",
        async |table, scheduler| {
            let scenario = Scenario::new(table, Provider::FinvyPay);
            scenario.created().await;
            let refund = |amount| Notification {
                payment_id: Some(scenario.payment),
                fact: Fact {
                    reversals: vec![Reversal {
                        kind: ReversalKind::Refund,
                        undone: false,
                        id: None,
                        amount: Decimal::parse(amount),
                        currency: None,
                        at: None,
                        reported_at: None,
                    }],
                    ..scenario.fact(Outcome::Reversed, Some(&scenario.reference))
                },
            };
            scenario.delivered(&refund("1")).await;
            let acknowledgement = Acknowledgement {
                payment_id: scenario.payment,
                reason_code: AttentionReason::Refunded,
                actor: "on call".to_owned(),
                reason: "booked".to_owned(),
            };
            let result = Mutex::new(None);
            let run_command = async {
                let done = acknowledge(scenario.store, &acknowledgement, clock::now()).await;
                *result.lock().unwrap() = Some(done);
            };
            let more = refund("2");
            let done = run_interleaved(vec![task(run_command), task(scenario.delivered(&more))], scheduler, 0).await?;
            assert_eq!(done, [true; 2]);
            let payment = scenario.store.payment(scenario.payment).await.unwrap().unwrap();
            let entry = payment.attention.get(AttentionReason::Refunded);
            let facts = table.facts(scenario.payment);
            let outcome = match (result.into_inner().unwrap().unwrap(), entry) {
                // Both refunds were there when the command began.
                (Ok(done), None) if done.changed => 0,
                // The second came after the command.
                (Ok(done), Some(_)) if done.changed => 1,
                (Err(CommandError::RaisedAgain), Some(_)) => 2,
                other => panic!("{other:?}, {payment:?}"),
            };
            assert!(
                entry.is_none_or(|entry| entry.amount == Decimal::parse("2")),
                "{entry:?}"
            );
            assert_eq!(facts, if outcome == 2 { 2 } else { 3 }, "{outcome}");
            outcomes.lock().unwrap()[outcome] += 1;
            Some(())
        },
    );
    assert!(orders.await > 3);
    let outcomes = outcomes.into_inner().unwrap();
    assert!(!outcomes.contains(&0), "every outcome occurs: {outcomes:?}");
    finish_test();
}
