//! The webhook that races the answer to the create call, and everything else that can meet, in every order of their
//! transactions, and with one of them dying before any of its calls.

use payment_functions::platform::clock;
use std::sync::atomic::{AtomicUsize, Ordering};

use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{OrderId, PaymentId};
use payment_functions::domain::idempotency::{Fingerprint, IdempotencyKey, StoredResponse};
use payment_functions::domain::json::Json;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::provider::Provider;
use payment_functions::domain::schedule::Queue;
use payment_functions::domain::status::Status;
use payment_functions::flows::create_payment::{self, IdempotentRequest};
use payment_functions::flows::record_notification::record_notification;
use payment_functions::providers::Notification;
use payment_functions::store::{Store, Subject};
use payment_functions_tests::aloud;
use reconcile_payments::operator::{self, Command, Refused};
use reconcile_payments::sweep::Sweep;

use super::*;
use crate::sweeps::Book;
use crate::{facts, unique};

const LEASE_OVER: Duration = Duration::from_secs(31);

/// A scene: a payment's life up to now, on a table that all runs of a scenario share.
struct Scene<'a> {
    table: &'a Table,
    store: &'a Store,
    keys: SecretCache<ApiKey, KeyAtHand>,
    provider: Provider,
    payment: PaymentId,
    order: String,
    key: IdempotencyKey,
    stand_in: StandIn,
    /// The id that the stand-in gives.
    id: Reference,
}

impl<'a> Scene<'a> {
    fn new(table: &'a Table, provider: Provider) -> Self {
        let id = Reference::parse(&unique("p")).unwrap();
        Self {
            table,
            store: &table.store,
            keys: api_keys(),
            provider,
            payment: PaymentId::random(),
            order: unique("o"),
            key: IdempotencyKey::parse("create", unique("k").as_bytes()).unwrap(),
            stand_in: StandIn::accepting(&id),
            id,
        }
    }

    fn intent(&self) -> Payment {
        Payment {
            order_id: OrderId::parse(&self.order),
            ..Payment::new(
                self.payment,
                self.provider,
                Money::from_minor(2550, Currency::USD),
                clock::now(),
            )
        }
    }

    /// The whole request for the payment: the answer, or the status of the problem.
    async fn create(&self) -> Result<StoredResponse, u16> {
        let keyed = IdempotentRequest {
            key: self.key.clone(),
            fingerprint: Fingerprint::of(&Json::Null),
        };
        // Whoever comes second has an intent of its own, which must come to nothing.
        let is_first = self.store.payment(self.payment).await.unwrap().is_none();
        let intent = if is_first {
            self.intent()
        } else {
            Payment {
                id: PaymentId::random(),
                ..self.intent()
            }
        };
        let gateway = |_, _| self.stand_in.clone();
        match create_payment::create(self.store, &self.keys, intent, Some(&keyed), None, gateway).await {
            Ok(creation) => {
                assert_eq!(creation.payment, self.payment, "one key, one payment");
                Ok(creation.answer)
            }
            Err(problem) => Err(problem.to_answer().status),
        }
    }

    fn fact(&self, outcome: Outcome, id: Option<&Reference>) -> Fact {
        Fact {
            payment: id.cloned(),
            ..facts::said(self.provider, outcome)
        }
    }

    fn event(&self, outcome: Outcome, names_ours: bool) -> Notification {
        Notification {
            payment_id: names_ours.then_some(self.payment),
            fact: self.fact(outcome, Some(&self.id)),
        }
    }

    async fn created(&self) {
        assert_eq!(self.create().await.map(|answer| answer.status), Ok(201));
    }

    async fn delivered(&self, event: &Notification) {
        record_notification(self.store, event, clock::now()).await.unwrap();
    }

    /// What comes next in life: every webhook that was not acknowledged, and the key again once a lease is over.
    async fn carry_on(&self, unheard: &[Notification]) {
        for event in unheard {
            self.delivered(event).await;
        }
        let mut alone = Exhaustive::default();
        let again = play(vec![act_later(LEASE_OVER, self.created())], &mut alone, 0).await;
        assert_eq!(again, Some(vec![true]));
    }

    async fn status(&self) -> Status {
        self.store.payment(self.payment).await.unwrap().unwrap().status
    }

    async fn is_parked(&self, place: &str) -> bool {
        self.store.unmatched(self.provider, place).await.unwrap().is_some()
    }

    async fn assert_is(&self, status: Status, facts: usize) {
        let payment = self.store.payment(self.payment).await.unwrap().unwrap();
        assert_eq!(payment.status, status, "{payment:?}");
        assert_eq!(
            self.store.owner(self.provider, &self.id).await.unwrap(),
            Some(self.payment)
        );
        assert!(payment.references.contains(&self.id));
        assert_eq!(self.table.facts(self.payment), facts);
        assert!(!self.is_parked(self.id.as_str()).await, "nothing is left");
        assert!(payment.attention.is_empty(), "{payment:?}");
    }
}

/// The orders that were gone through, in all tests, and the tests that have come to their end.
static ORDERS: AtomicUsize = AtomicUsize::new(0);
static ENDED: AtomicUsize = AtomicUsize::new(0);

/// What a test says at its end. The last of them tells of all.
fn gone_through() {
    let tests = include_str!("interleavings.rs").matches("\n#[tokio::test").count();
    if ENDED.fetch_add(1, Ordering::Relaxed) + 1 == tests {
        let orders = ORDERS.load(Ordering::Relaxed);
        aloud(&format!("interleavings: {orders} orders of {tests} meetings"));
    }
}

/// How many orders are drawn where there are thousands.
const DRAWN: u64 = 100;

/// Plays a scenario that has thousands of orders in some of them, or with `ORDERS=all` in every one, which takes minutes.
async fn many_orders(name: &str, play_it: impl AsyncFn(&Table, &mut dyn Choose) -> Option<()>) {
    if is_thorough() {
        assert!(every_order(name, play_it).await > 1000);
        return;
    }
    for seed in 0..DRAWN {
        let done = play_it(&Table::new(), &mut Random(fastrand::Rng::with_seed(seed))).await;
        assert_eq!(done, Some(()), "seed {seed}");
    }
    println!("{name}: {DRAWN} orders drawn at random");
    let drawn = DRAWN.try_into().unwrap();
    ORDERS.fetch_add(drawn, Ordering::Relaxed);
}

/// Plays a scenario in every order of its calls, each time in a new scene, and tells how many orders there are.
async fn every_order(name: &str, play_it: impl AsyncFn(&Table, &mut dyn Choose) -> Option<()>) -> usize {
    let mut next = Some(Exhaustive::default());
    let mut orders = 0;
    let mut alike = 0;
    while let Some(mut choices) = next {
        match play_it(&Table::new(), &mut choices).await {
            Some(()) => orders += 1,
            None => alike += 1,
        }
        next = choices.next();
    }
    println!("{name}: {orders} orders, and {alike} that began like one of them");
    ORDERS.fetch_add(orders, Ordering::Relaxed);
    orders
}

/// Whether to go through everything: `ORDERS=all`.
fn is_thorough() -> bool {
    std::env::var("ORDERS").is_ok_and(|orders| orders == "all")
}

/// Both providers, and webhooks with and without our own id.
fn kinds() -> impl Iterator<Item = (Provider, bool)> {
    Provider::ALL
        .into_iter()
        .flat_map(|provider| [(provider, false), (provider, true)])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_webhooks_race_the_create_call() {
    for (provider, names_ours) in kinds() {
        let orders = many_orders("two webhooks race the create call", async |table, choices| {
            let scene = Scene::new(table, provider);
            let [paid, failed] = [Outcome::Completed, Outcome::Failed].map(|outcome| scene.event(outcome, names_ours));
            let acts = vec![
                act(scene.created()),
                act(scene.delivered(&paid)),
                act(scene.delivered(&failed)),
            ];
            let done = play(acts, choices, 0).await?;
            assert_eq!(done, [true; 3]);
            scene.assert_is(Status::Completed, 2).await;
            Some(())
        });
        orders.await;
    }
    gone_through();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_where_the_webhook_and_the_create_call_find_each_other() {
    for (provider, names_ours) in kinds() {
        let orders = every_order("one of webhook and create call dies", async |table, choices| {
            let scene = Scene::new(table, provider);
            let paid = scene.event(Outcome::Completed, names_ours);
            let acts = vec![act(scene.created()), act(scene.delivered(&paid))];
            let done = play(acts, choices, 1).await?;
            scene
                .carry_on(if done[1] { &[] } else { std::slice::from_ref(&paid) })
                .await;
            scene.assert_is(Status::Completed, 1).await;
            Some(())
        });
        assert!(orders.await > 20);
    }
    gone_through();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_thought_dead_and_the_one_that_took_over_give_one_answer() {
    // With a webhook besides there are thousands of orders.
    for (provider, has_webhook) in kinds().filter(|(_, has_webhook)| !has_webhook || is_thorough()) {
        let orders = every_order("two holders of a key", async |table, choices| {
            let scene = Scene::new(table, provider);
            let paid = scene.event(Outcome::Completed, false);
            let answers = Mutex::new(Vec::new());
            let ask = async || {
                let answer = scene.create().await;
                answers.lock().unwrap().push(answer);
            };
            let mut acts = vec![act(ask()), act_later(LEASE_OVER, ask())];
            if has_webhook {
                acts.push(act(scene.delivered(&paid)));
            }
            assert!(!play(acts, choices, 0).await?.contains(&false));
            let answers = answers.into_inner().unwrap();
            // The one that lost its lease is told to come again where the winner has no answer yet.
            let given: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
            assert!(
                !given.is_empty() && given.windows(2).all(|pair| pair[0] == pair[1]),
                "{answers:?}"
            );
            assert!(
                answers.iter().all(|answer| matches!(answer, Ok(_) | Err(409))),
                "{answers:?}"
            );
            scene.carry_on(&[]).await;
            if has_webhook {
                scene.assert_is(Status::Completed, 1).await;
            } else {
                scene.assert_is(Status::Pending, 0).await;
            }
            Some(())
        });
        assert!(orders.await > 20);
    }
    gone_through();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_under_two_ids_finds_what_is_parked_under_either() {
    let orders = every_order(
        "events under a payment's and a transaction's id race the create call",
        async |table, choices| {
            let scene = Scene::new(table, Provider::FinvyPay);
            let transaction = Reference::parse(&unique("FP"));
            let by_transaction = Notification {
                payment_id: None,
                fact: Fact {
                    transaction: transaction.clone(),
                    ..scene.fact(Outcome::Completed, None)
                },
            };
            let by_both = Notification {
                payment_id: None,
                fact: Fact {
                    transaction: transaction.clone(),
                    ..scene.fact(Outcome::Authorized, Some(&scene.id))
                },
            };
            let acts = vec![
                act(scene.created()),
                act(scene.delivered(&by_transaction)),
                act(scene.delivered(&by_both)),
            ];
            let done = play(acts, choices, 0).await?;
            assert_eq!(done, [true; 3]);
            scene.assert_is(Status::Completed, 2).await;
            let transaction = transaction.unwrap();
            let owner = scene.store.owner(Provider::FinvyPay, &transaction).await.unwrap();
            assert_eq!(owner, Some(scene.payment));
            assert!(!scene.is_parked(transaction.as_str()).await);
            Some(())
        },
    );
    assert!(orders.await > 100);
    gone_through();
}

/// FinvyPay's general webhook names an order. While that has one payment it is that one's; once it has two, nobody
/// knows.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_by_order_races_a_second_payment_of_the_order() {
    let orders = every_order("an event by order races a second payment", async |table, choices| {
        let one = Scene::new(table, Provider::FinvyPay);
        one.created().await;
        let other = Scene {
            order: one.order.clone(),
            ..Scene::new(table, Provider::FinvyPay)
        };
        let by_order = Notification {
            payment_id: None,
            fact: Fact {
                order_id: OrderId::parse(&one.order),
                ..one.fact(Outcome::Completed, None)
            },
        };
        let acts = vec![act(other.created()), act(one.delivered(&by_order))];
        let done = play(acts, choices, 0).await?;
        assert_eq!(done, [true; 2]);
        assert_eq!(other.status().await, Status::Pending, "it was never about this one");
        let is_kept = one.is_parked(&format!("order:{}", one.order)).await;
        let expected = if is_kept { Status::Pending } else { Status::Completed };
        assert_eq!(
            one.status().await,
            expected,
            "with its payment, or kept: never lost, never both"
        );
        Some(())
    });
    assert!(orders.await > 3);
    gone_through();
}

/// The reconciler's look at what of a queue is due so much later.
async fn look_later<'a>(scene: &'a Scene<'_>, queue: Queue, later: Duration, book: &'a Book) -> Act<'a> {
    let due = scene.store.due(queue, clock::now().plus(later), 10).await.unwrap();
    assert_eq!(due.len(), 1, "{due:?}");
    act_later(later, async move {
        let mut sweep = Sweep::new(scene.store, book.clone(), clock::now());
        sweep.look_at(&due[0]).await.unwrap();
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn our_clock_meets_the_webhook_and_the_key() {
    let later = Duration::from_secs(25 * 60 * 60);
    for (provider, is_paid) in kinds() {
        let orders = every_order("expiry meets the webhook or the key", async |table, choices| {
            let scene = Scene::new(table, provider);
            // The first request looks whether it is the first, stores its intent, and dies before the provider hears of it.
            let mut dies = Exhaustive::beginning_with(&[0, 0, 1]);
            let done = play(vec![act(scene.created())], &mut dies, 1).await;
            assert_eq!(done, Some(vec![false]));
            assert_eq!(scene.status().await, Status::Creating);
            let paid = scene.event(Outcome::Completed, true);
            let other = if is_paid {
                act(scene.delivered(&paid))
            } else {
                act_later(LEASE_OVER, scene.created())
            };
            let book = Book::default();
            let look = look_later(&scene, Queue::Of(provider), later, &book).await;
            assert_eq!(play(vec![look, other], choices, 0).await?, [true; 2]);
            // Money wins; and where the key came too late there is nothing to pay with.
            let expected = if is_paid { Status::Completed } else { Status::Expired };
            assert_eq!(scene.status().await, expected);
            Some(())
        });
        assert!(orders.await > 3);
    }
    gone_through();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reconciler_and_a_webhook_collect_the_same_parked_event() {
    let orders = many_orders("reconciler and webhook", async |table, choices| {
        let scene = Scene::new(table, Provider::FinvyPay);
        let transaction = Reference::parse(&unique("FP")).unwrap();
        scene.created().await;
        // Another payment of the order, so that the order alone says nothing.
        let other = Scene {
            order: scene.order.clone(),
            ..Scene::new(table, Provider::FinvyPay)
        };
        other.created().await;
        let general = Notification {
            payment_id: None,
            fact: Fact {
                transaction: Some(transaction.clone()),
                order_id: OrderId::parse(&scene.order),
                ..scene.fact(Outcome::Completed, None)
            },
        };
        scene.delivered(&general).await;
        assert!(scene.is_parked(transaction.as_str()).await);
        let told = Notification {
            payment_id: Some(scene.payment),
            fact: Fact {
                transaction: Some(transaction.clone()),
                ..scene.fact(Outcome::Authorized, Some(&scene.id))
            },
        };
        let book = Book::default();
        book.knows(transaction.as_str(), told.clone());
        let look = look_later(&scene, Queue::Unmatched, Duration::from_secs(61), &book).await;
        let acts = vec![look, act(scene.delivered(&told))];
        let done = play(acts, choices, 0).await?;
        assert_eq!(done, [true; 2]);
        scene.assert_is(Status::Completed, 2).await;
        assert!(!scene.is_parked(transaction.as_str()).await);
        assert_eq!(other.status().await, Status::Pending);
        Some(())
    });
    orders.await;
    gone_through();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_and_a_late_webhook_complete_a_payment_once() {
    let orders = every_order("operator and webhook", async |table, choices| {
        let scene = Scene::new(table, Provider::ApoloPay);
        scene.created().await;
        let paid = scene.event(Outcome::Completed, true);
        let word = Command {
            payment_id: scene.payment,
            reference: Some(scene.id.clone()),
            actor: "on call".to_owned(),
            reason: "seen as paid".to_owned(),
        };
        let say = async {
            let done = operator::complete(scene.store, &word, clock::now()).await.unwrap();
            assert_eq!(done.status, Status::Completed);
        };
        let done = play(vec![act(say), act(scene.delivered(&paid))], choices, 0).await?;
        assert_eq!(done, [true; 2]);
        assert_eq!(scene.status().await, Status::Completed);
        let payment = scene.store.payment(scene.payment).await.unwrap().unwrap();
        assert!(payment.attention.is_empty(), "one receipt: {payment:?}");
        Some(())
    });
    assert!(orders.await > 3);
    gone_through();
}

/// While an operator gives an id as one payment's, the provider gives it as another's. It becomes the one's or the
/// other's, and nothing is written into a ledger that it does not belong to.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_and_the_provider_give_one_id_to_two_payments() {
    let outcomes = Mutex::new([0, 0]);
    let orders = every_order("operator and another's webhook", async |table, choices| {
        let one = Scene::new(table, Provider::FinvyPay);
        let other = Scene::new(table, Provider::FinvyPay);
        one.created().await;
        other.created().await;
        let transaction = Reference::parse(&unique("FP")).unwrap();
        let word = Command {
            payment_id: one.payment,
            reference: Some(transaction.clone()),
            actor: "on call".to_owned(),
            reason: "seen as paid".to_owned(),
        };
        let told = Notification {
            payment_id: Some(other.payment),
            fact: Fact {
                transaction: Some(transaction.clone()),
                ..other.fact(Outcome::Authorized, Some(&other.id))
            },
        };
        let said = Mutex::new(None);
        let say = async {
            let done = operator::complete(one.store, &word, clock::now()).await;
            *said.lock().unwrap() = Some(done);
        };
        let done = play(vec![act(say), act(other.delivered(&told))], choices, 0).await?;
        assert_eq!(done, [true; 2]);
        let owner = one.store.owner(Provider::FinvyPay, &transaction).await.unwrap();
        match said.into_inner().unwrap().unwrap() {
            Ok(done) => {
                assert_eq!((done.status, done.changed), (Status::Completed, true));
                assert_eq!(owner, Some(one.payment));
                one.assert_is(Status::Completed, 1).await;
                outcomes.lock().unwrap()[0] += 1;
            }
            Err(Refused::AnothersReference(whose)) => {
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
    assert!(!outcomes.into_inner().unwrap().contains(&0), "it goes both ways");
    gone_through();
}

/// What comes while the word is written is not closed with what was there before.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_closes_a_review_while_more_money_comes() {
    let outcomes = Mutex::new([0, 0, 0]);
    let orders = every_order("operator and more money", async |table, choices| {
        let scene = Scene::new(table, Provider::ApoloPay);
        scene.created().await;
        let other_money = |amount| Notification {
            payment_id: Some(scene.payment),
            fact: Fact {
                amount: Decimal::parse(amount),
                ..scene.fact(Outcome::Completed, Some(&scene.id))
            },
        };
        scene.delivered(&other_money("1")).await;
        let word = Command {
            payment_id: scene.payment,
            reference: None,
            actor: "on call".to_owned(),
            reason: "refunded".to_owned(),
        };
        let said = Mutex::new(None);
        let say = async {
            let done = operator::close(scene.store, &word, clock::now()).await;
            *said.lock().unwrap() = Some(done);
        };
        let more = other_money("2");
        let done = play(vec![act(say), act(scene.delivered(&more))], choices, 0).await?;
        assert_eq!(done, [true; 2]);
        assert_eq!(scene.status().await, Status::Review);
        let ledger = ledger(&table.memory, scene.payment);
        let has_closed = |noted: usize| {
            let words = format!("closed by an operator; facts noted: {noted}");
            ledger.iter().any(|fact| fact["words"]["S"] == words.as_str())
        };
        let due = scene.store.due(Queue::Review, clock::now(), 100).await.unwrap();
        let is_due = due.iter().any(|due| due.subject == Subject::Payment(scene.payment));
        let outcome = match said.into_inner().unwrap().unwrap() {
            Ok(_) if has_closed(2) => 0,
            Ok(_) if has_closed(1) => 1,
            Err(Refused::MoreCame) => 2,
            other => panic!("{other:?}, {ledger:?}"),
        };
        assert_eq!(is_due, outcome > 0, "{outcome}");
        assert_eq!(ledger.len(), if outcome == 2 { 2 } else { 3 });
        outcomes.lock().unwrap()[outcome] += 1;
        // The next run would find more and more.
        operator::close(scene.store, &word, clock::now()).await.unwrap();
        Some(())
    });
    assert!(orders.await > 3);
    let outcomes = outcomes.into_inner().unwrap();
    assert!(!outcomes.contains(&0), "it goes every way: {outcomes:?}");
    gone_through();
}
