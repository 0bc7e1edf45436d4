//! One request after another for a payment, with everything that its provider may answer.

use payment_functions::platform::clock;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use payment_functions::api::problem::Problem;
use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::OrderId;
use payment_functions::domain::idempotency::{Fingerprint, IdempotencyKey};
use payment_functions::domain::json::Json;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::provider::Provider;
use payment_functions::domain::status::Status;
use payment_functions::flows::create_payment::{self, Creation, IdempotentRequest};
use payment_functions::flows::record_notification::record_notification;
use payment_functions::providers::Notification;
use payment_functions::store::InsertResult;

use super::*;
use crate::facts;

type Reply = Result<Accepted, CallError>;

/// A shop with one idempotency key, and a provider that answers its calls in turn.
struct Till {
    table: Table,
    keys: SecretCache<ApiKey, Keys>,
    fetched: Arc<AtomicUsize>,
    replies: Mutex<VecDeque<Reply>>,
    /// The attempts that the provider was asked for, each with the key to the provider that came with it.
    asked: Mutex<Vec<(u32, ApiKey)>>,
    /// What the provider tells before it answers.
    webhook: Mutex<Option<Notification>>,
}

/// The key to the provider: at each fetch the next, and at last the same ever after.
struct Keys {
    values: Mutex<VecDeque<&'static str>>,
    fetched: Arc<AtomicUsize>,
}

impl SecretSource for Keys {
    async fn fetch(&self, _previous_since: Option<Timestamp>) -> Result<Versions, SecretError> {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        let mut values = self.values.lock().unwrap();
        let key = if values.len() > 1 {
            values.pop_front().unwrap()
        } else {
            values[0]
        };
        Ok(Versions {
            current: format!(r#"{{"secretKey":"{key}"}}"#).into(),
            created_at: Timestamp::from_millis(0),
            previous: None,
        })
    }
}

struct Caller<'a> {
    till: &'a Till,
    key: ApiKey,
}

impl Gateway for Caller<'_> {
    async fn create(&self, payment: &Payment, attempt: u32) -> Reply {
        self.till.asked.lock().unwrap().push((attempt, self.key.clone()));
        // No answer comes at once.
        tokio::task::yield_now().await;
        let webhook = self.till.webhook.lock().unwrap().take();
        if let Some(event) = webhook {
            let event = Notification {
                payment_id: Some(payment.id),
                ..event
            };
            record_notification(&self.till.table.store, &event, clock::now())
                .await
                .unwrap();
        }
        self.till.replies.lock().unwrap().pop_front().unwrap()
    }
}

impl Till {
    fn open(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::with_keys(&["sk"], replies)
    }

    fn with_keys(keys: &[&'static str], replies: impl IntoIterator<Item = Reply>) -> Self {
        let fetched = Arc::default();
        let keys = Keys {
            values: Mutex::new(keys.iter().copied().collect()),
            fetched: Arc::clone(&fetched),
        };
        Self {
            table: Table::new(),
            keys: SecretCache::new(keys, "secretKey"),
            fetched,
            replies: Mutex::new(replies.into_iter().collect()),
            asked: Mutex::default(),
            webhook: Mutex::default(),
        }
    }

    /// A request for the payment, always under the same key.
    async fn create(&self) -> Result<Creation, Problem> {
        self.create_under("k").await
    }

    async fn create_under(&self, key: &str) -> Result<Creation, Problem> {
        let keyed = IdempotentRequest {
            key: IdempotencyKey::parse("create", key.as_bytes()).unwrap(),
            fingerprint: Fingerprint::of(&Json::Null),
        };
        let money = Money::from_minor(2550, Currency::USD);
        let intent = Payment {
            order_id: OrderId::parse(key),
            ..Payment::new(PaymentId::random(), Provider::FinvyPay, money, clock::now())
        };
        let gateway = |_, key| Caller { till: self, key };
        create_payment::create(&self.table.store, &self.keys, intent, Some(&keyed), None, gateway).await
    }

    async fn payment(&self, id: PaymentId) -> Payment {
        self.table.store.payment(id).await.unwrap().unwrap()
    }

    /// The attempts that the provider was asked for.
    fn attempts(&self) -> Vec<u32> {
        self.asked.lock().unwrap().iter().map(|(attempt, _)| *attempt).collect()
    }
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// The provider takes the payment, under these ids; the first of them is handed out.
fn accepts(ids: &[&str]) -> Reply {
    let references: Vec<Reference> = ids.iter().map(|id| reference(id)).collect();
    Ok(Accepted {
        checkout_session: CheckoutSession {
            reference: references[0].clone(),
            redirect_url: None,
            expires_at: None,
        },
        references,
    })
}

fn refuses(references: &[&str]) -> Reply {
    Err(CallError::Rejected {
        code: Some("CARD_REFUSED".to_owned()),
        references: references.iter().map(|id| reference(id)).collect(),
    })
}

fn paid(id: &str) -> Notification {
    Notification {
        payment_id: None,
        fact: Fact {
            payment: Some(reference(id)),
            ..facts::said(Provider::FinvyPay, Outcome::Completed)
        },
    }
}

fn references(payment: &Payment) -> BTreeSet<&str> {
    payment.references.iter().map(Reference::as_str).collect()
}

/// The HTTP status of a problem, and the payment that it names.
fn told(problem: &Problem) -> (u16, Option<PaymentId>) {
    let answer = problem.to_answer();
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    (answer.status, body["id"].as_str().and_then(PaymentId::parse))
}

#[tokio::test]
async fn the_first_answer_stands() {
    for (reply, status, becomes, ids) in [
        (accepts(&["p", "FP"]), 201, Status::Pending, &["FP", "p"][..]),
        (accepts(&["p"]), 201, Status::Pending, &["p"]),
        (refuses(&[]), 422, Status::Failed, &[]),
        (refuses(&["p"]), 422, Status::Failed, &["p"]),
    ] {
        let till = Till::open([reply.clone()]);
        let first = till.create().await.unwrap();
        assert_eq!((first.answer.status, first.replayed), (status, false), "{reply:?}");
        let payment = till.payment(first.payment).await;
        assert_eq!(payment.status, becomes, "{reply:?}");
        assert_eq!(references(&payment), ids.iter().copied().collect(), "{reply:?}");
        for id in &payment.references {
            let owner = till.table.store.owner(Provider::FinvyPay, id).await.unwrap();
            assert_eq!(owner, Some(payment.id));
        }
        if status == 422 {
            assert!(first.answer.body.contains("CARD_REFUSED"), "{}", first.answer.body);
        }

        let again = till.create().await.unwrap();
        assert_eq!((&again.answer, again.replayed), (&first.answer, true));
        assert_eq!(again.payment, first.payment);
        assert_eq!(till.attempts(), [1], "the provider is not asked for it");
        for (creation, replayed) in [(&first, None), (&again, Some("true"))] {
            let response = creation.to_response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(**response.body(), *first.answer.body.as_bytes());
            let header = response.headers().get("idempotency-replayed");
            assert_eq!(header.map(|value| value.to_str().unwrap()), replayed);
        }
    }
}

#[tokio::test]
async fn after_what_is_no_answer_the_same_payment_goes_on() {
    let useless = |ids: &[&str]| CallError::Unusable {
        reason: "nonsense",
        references: ids.iter().map(|id| reference(id)).collect(),
    };
    for (error, status, ids, next) in [
        (CallError::Throttled { retry_after: Some(7) }, 503, &[][..], 2),
        (CallError::KeyRefused, 502, &[], 2),
        (useless(&[]), 502, &[], 2),
        (useless(&["p0"]), 502, &["p0"], 2),
        // It may have been heard: the same attempt, so that the provider makes of it what it made before.
        (CallError::NoAnswer, 502, &[], 1),
        (CallError::TimedOut, 504, &[], 1),
    ] {
        let till = Till::open([Err(error.clone()), accepts(&["p"])]);
        let problem = till.create().await.unwrap_err();
        let (told_status, id) = told(&problem);
        assert_eq!(told_status, status, "{error}");
        let payment = till.payment(id.unwrap()).await;
        assert_eq!(
            (payment.status, payment.checkout_session.is_none()),
            (Status::Creating, true),
            "{error}"
        );
        assert_eq!(references(&payment), ids.iter().copied().collect(), "{error}");

        let second = till.create().await.unwrap();
        assert_eq!((second.answer.status, second.replayed), (201, false), "{error}");
        assert_eq!(second.payment, payment.id, "{error}");
        assert_eq!(till.attempts(), [1, next], "{error}");
        assert_eq!(till.payment(payment.id).await.status, Status::Pending);
    }
}

#[tokio::test]
async fn a_key_that_was_rotated_is_had_anew_within_the_attempt() {
    let till = Till::with_keys(&["old", "new"], [Err(CallError::KeyRefused), accepts(&["p"])]);
    assert_eq!(till.create().await.unwrap().answer.status, 201);
    let asked = till.asked.lock().unwrap().clone();
    assert_eq!(asked, ["old", "new"].map(|key| (1, ApiKey(key.into()))));

    // One that is refused and was not rotated is not tried again.
    let till = Till::with_keys(&["old"], [Err(CallError::KeyRefused)]);
    assert_eq!(told(&till.create().await.unwrap_err()).0, 502);
    assert_eq!(till.attempts(), [1]);
    assert_eq!(till.fetched.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_is_needed_is_had_before_the_first_request() {
    let till = Till::open([accepts(&["p"])]);
    let is_connected = AtomicUsize::new(0);
    let connect = async {
        is_connected.fetch_add(1, Ordering::Relaxed);
    };
    create_payment::warm_up(&till.table.store, &till.keys, None, connect).await;
    assert_eq!(is_connected.load(Ordering::Relaxed), 1);
    assert_eq!(till.fetched.load(Ordering::Relaxed), 1);
    assert_eq!(till.create().await.unwrap().answer.status, 201);
    assert_eq!(till.fetched.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_was_paid_meanwhile_is_not_talked_away() {
    // Through an attempt whose answer was lost: there is nothing to call for.
    let till = Till::open([Err(CallError::TimedOut)]);
    let (_, id) = told(&till.create().await.unwrap_err());
    let event = Notification {
        payment_id: id,
        ..paid("p")
    };
    record_notification(&till.table.store, &event, clock::now())
        .await
        .unwrap();
    let again = till.create().await.unwrap();
    assert_eq!((again.answer.status, Some(again.payment)), (201, id));
    assert!(again.answer.body.contains("completed"), "{}", again.answer.body);
    assert_eq!(till.attempts(), [1]);

    // While a later attempt is refused.
    let till = Till::open([Err(CallError::TimedOut), refuses(&[])]);
    till.create().await.unwrap_err();
    *till.webhook.lock().unwrap() = Some(paid("p"));
    let again = till.create().await.unwrap();
    assert_eq!(again.answer.status, 201);
    assert!(again.answer.body.contains("completed"), "{}", again.answer.body);
    assert_eq!(till.payment(again.payment).await.status, Status::Completed);
}

#[tokio::test]
async fn what_came_before_the_answer_is_collected_under_each_of_its_ids() {
    let till = Till::open([accepts(&["p", "FP"])]);
    let by_transaction = Notification {
        payment_id: None,
        fact: Fact {
            transaction: Some(reference("FP")),
            ..facts::said(Provider::FinvyPay, Outcome::Authorized)
        },
    };
    for event in [&paid("p"), &by_transaction] {
        record_notification(&till.table.store, event, clock::now())
            .await
            .unwrap();
    }
    let created = till.create().await.unwrap();
    assert_eq!(created.answer.status, 201);
    assert!(created.answer.body.contains("completed"), "{}", created.answer.body);
    assert_eq!(till.table.facts(created.payment), 2);
    let items = till.table.memory.items().unwrap();
    let mut words: Vec<&str> = items.iter().filter_map(|item| item["words"]["S"].as_str()).collect();
    words.sort_unstable();
    assert_eq!(words, ["authorized", "completed"], "with all that was said");
    for place in ["p", "FP"] {
        let parked = till.table.store.unmatched(Provider::FinvyPay, place).await.unwrap();
        assert!(parked.is_none(), "{place}");
    }
    assert!(till.payment(created.payment).await.attention.is_empty());
}

#[tokio::test]
async fn another_payments_id_is_not_handed_out() {
    let till = Till::open([accepts(&["p"]), accepts(&["p"]), accepts(&["p2"])]);
    let one = till.create().await.unwrap().payment;
    let (status, id) = told(&till.create_under("other").await.unwrap_err());
    assert_eq!(status, 502);
    let other = till.payment(id.unwrap()).await;
    assert_eq!((other.status, other.references.len()), (Status::Creating, 0));
    let owner = till.table.store.owner(Provider::FinvyPay, &reference("p")).await;
    assert_eq!(owner.unwrap(), Some(one));
    // It was a definite answer, so it is asked for anew.
    let again = till.create_under("other").await.unwrap();
    assert_eq!((again.answer.status, again.payment), (201, other.id));
    assert_eq!(till.attempts(), [1, 1, 2]);
}

/// A holder whose key was taken over while it waited for its own answer changes nothing but that its ids are known.
#[tokio::test]
async fn who_comes_too_late_gives_the_answer_of_the_one_that_took_over() {
    for (first, second, status, becomes, ids) in [
        (
            accepts(&["late"]),
            accepts(&["p"]),
            201,
            Status::Pending,
            &["late", "p"][..],
        ),
        (
            refuses(&["late"]),
            accepts(&["p"]),
            201,
            Status::Pending,
            &["late", "p"],
        ),
        (accepts(&["late"]), refuses(&[]), 422, Status::Failed, &["late"]),
    ] {
        let till = Till::open([second.clone(), first.clone()]);
        let answers = Mutex::new(Vec::new());
        let ask = async || {
            let creation = till.create().await.unwrap();
            answers.lock().unwrap().push(creation.answer);
        };
        // The first holder stops before its call until the other one, which lives later, has come to its end.
        let later = Duration::from_secs(31);
        let acts = vec![act(ask()), act_later(later, ask())];
        let done = play(acts, &mut OtherFirst, 0).await;
        assert_eq!(done, Some(vec![true; 2]));
        let answers = answers.into_inner().unwrap();
        assert_eq!(answers.len(), 2);
        assert_eq!(
            (answers[0].status, &answers[0]),
            (status, &answers[1]),
            "{first:?} {second:?}"
        );

        let again = till.create().await.unwrap();
        assert_eq!((&again.answer, again.replayed), (&answers[0], true));
        let payment = till.payment(again.payment).await;
        assert_eq!(payment.status, becomes, "{first:?} {second:?}");
        assert_eq!(references(&payment), ids.iter().copied().collect());
        let handed_out = payment
            .checkout_session
            .map(|checkout_session| checkout_session.reference);
        assert_eq!(
            handed_out,
            second.ok().map(|accepted| accepted.checkout_session.reference)
        );
    }
}

/// The first flow goes up to its call to the provider; then the other one goes on as long as it can.
struct OtherFirst;

impl Choose for OtherFirst {
    fn choose(&mut self, actions: &[Action]) -> Option<Action> {
        let is_at_its_call = |action: &&Action| action.flow == 0 && action.call == ExternalCall::CreateAtProvider;
        let stops = actions.iter().any(|action| is_at_its_call(&action));
        let wanted = |action: &&Action| if stops { action.flow == 1 } else { action.flow == 0 };
        actions.iter().find(wanted).or(actions.first()).copied()
    }
}

#[tokio::test]
async fn a_key_leads_to_its_payment_for_48_hours() {
    let till = Till::open([accepts(&["p"])]);
    let begun = clock::now();
    let creation = till.create().await.unwrap();
    let key = IdempotencyKey::parse("create", b"k").unwrap();
    let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
    for (at, is_known) in [
        (begun, true),
        (begun.plus(hours(48)), true),
        (begun.plus(hours(49)), false),
    ] {
        let record = till
            .table
            .store
            .key(&key, at.minus(Duration::from_secs(1)))
            .await
            .unwrap();
        let payment = record.map(|record| record.payment_id);
        assert_eq!(payment, is_known.then_some(creation.payment), "{at}");
    }
    let other = IdempotencyKey::parse("create", b"other").unwrap();
    assert!(till.table.store.key(&other, begun).await.unwrap().is_none());
}

/// Its first holder died, and another takes it over just before it would be free.
#[tokio::test]
async fn a_key_does_not_run_out_under_a_lease() {
    let till = Till::open([]);
    let store = &till.table.store;
    let (key, begun) = (IdempotencyKey::parse("create", b"k").unwrap(), clock::now());
    let money = Money::from_minor(2550, Currency::USD);
    let intent = Payment::new(PaymentId::random(), Provider::FinvyPay, money, begun);
    let keyed = Some((&key, &Fingerprint::of(&Json::Null)));
    assert_eq!(
        store.insert_payment(&intent, keyed, begun).await.unwrap(),
        InsertResult::Inserted
    );
    let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
    let late = begun.plus(days(2)).minus(Duration::from_secs(1));
    let seen = store.key(&key, late).await.unwrap().unwrap();
    store.take_over(&key, &seen, late).await.unwrap().unwrap();

    let items = till.table.memory.items().unwrap();
    let ttl = items
        .iter()
        .find_map(|item| item["leaseUntil"]["N"].as_str().and(item["ttl"]["N"].as_str()));
    assert_eq!(ttl, Some(late.plus(days(2)).as_seconds().to_string().as_str()));
    let second = Payment {
        id: PaymentId::random(),
        ..intent.clone()
    };
    let opened = store.insert_payment(&second, keyed, late.plus(days(1))).await.unwrap();
    assert!(matches!(opened, InsertResult::KeyInUse(record) if record.payment_id == intent.id));
}
