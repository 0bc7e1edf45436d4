//! Requests for a payment one after the other, with every possible response of the provider.

use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::platform::clock;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use payment_functions::api::problem::Problem;
use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::OrderId;
use payment_functions::domain::idempotency::{Fingerprint, IdempotencyKey, RequestNames};
use payment_functions::domain::json::Json;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::status::Status;
use payment_functions::flows::create_payment::{self, Creation, IdempotentRequest};
use payment_functions::flows::record_notification::record_notification;
use payment_functions::providers::Notification;
use payment_functions::store::{InsertResult, MAX_MOVED};

use super::*;
use crate::facts;

type Reply = Result<Accepted, CallError>;

/// A table, and a provider that returns queued replies.
struct Setup {
    table: Table,
    keys: SecretCache<ApiKey, Keys>,
    fetched: Arc<AtomicUsize>,
    replies: Mutex<VecDeque<Reply>>,
    /// The provider's calls: the attempt and the API key of each.
    calls: Mutex<Vec<(u32, ApiKey)>>,
    /// A webhook that the provider sends before its reply.
    webhook: Mutex<Option<Notification>>,
}

/// A secret whose API key changes with each fetch; the last key repeats.
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

struct QueuedGateway<'a> {
    setup: &'a Setup,
    key: ApiKey,
}

impl Gateway for QueuedGateway<'_> {
    async fn create(&self, payment: &Payment, attempt: u32) -> Reply {
        self.setup.calls.lock().unwrap().push((attempt, self.key.clone()));
        // Other tasks run before the reply.
        tokio::task::yield_now().await;
        let webhook = self.setup.webhook.lock().unwrap().take();
        if let Some(webhook) = webhook {
            let webhook = Notification {
                payment_id: Some(payment.id),
                ..webhook
            };
            record_notification(
                &self.setup.table.store,
                &webhook,
                OrderMatching::default(),
                clock::now(),
            )
            .await
            .unwrap();
        }
        self.setup.replies.lock().unwrap().pop_front().unwrap()
    }
}

impl Setup {
    fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
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
            calls: Mutex::default(),
            webhook: Mutex::default(),
        }
    }

    /// Handles a request with the key `k`.
    async fn create(&self) -> Result<Creation, Problem> {
        self.create_with_key("k").await
    }

    async fn create_with_key(&self, key: &str) -> Result<Creation, Problem> {
        let request = keyed(key);
        let money = Money::from_minor(2550, Currency::USD);
        let intent = Payment {
            order_id: OrderId::parse(key),
            ..Payment::new(
                PaymentId::random(),
                Provider::FinvyPay,
                Environment::Sandbox,
                money,
                clock::now(),
            )
        };
        let gateway = |_: &Payment, key| QueuedGateway { setup: self, key };
        create_payment::create(&self.table.store, &self.keys, intent, Some(&request), None, gateway).await
    }

    async fn payment(&self, id: PaymentId) -> Payment {
        self.table.store.payment(id).await.unwrap().unwrap()
    }

    /// The attempts of the provider's calls.
    fn attempts(&self) -> Vec<u32> {
        self.calls.lock().unwrap().iter().map(|(attempt, _)| *attempt).collect()
    }
}

fn keyed(key: &str) -> IdempotentRequest {
    IdempotentRequest {
        key: IdempotencyKey::parse("create", key.as_bytes()).unwrap(),
        fingerprint: Fingerprint::of(&Json::Null),
    }
}

fn names(keyed: &IdempotentRequest) -> RequestNames<'_> {
    RequestNames {
        key: Some(keyed),
        quote: None,
    }
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// The provider accepts the payment with these references; the first one is handed out.
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

fn rejects(references: &[&str]) -> Reply {
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
            ..facts::fact(Provider::FinvyPay, Outcome::Completed)
        },
    }
}

fn references(payment: &Payment) -> BTreeSet<&str> {
    payment.references.iter().map(Reference::as_str).collect()
}

/// The HTTP status of a problem, and its payment id.
fn status_and_id(problem: &Problem) -> (u16, Option<PaymentId>) {
    let response = problem.to_stored_response();
    let body: serde_json::Value = serde_json::from_str(&response.body).unwrap();
    (response.status, body["id"].as_str().and_then(PaymentId::parse))
}

#[tokio::test]
async fn first_response_is_replayed() {
    for (reply, status, payment_status, ids) in [
        (accepts(&["p", "FP"]), 201, Status::Pending, &["FP", "p"][..]),
        (accepts(&["p"]), 201, Status::Pending, &["p"]),
        (rejects(&[]), 422, Status::Failed, &[]),
        (rejects(&["p"]), 422, Status::Failed, &["p"]),
    ] {
        let setup = Setup::new([reply.clone()]);
        let first = setup.create().await.unwrap();
        assert_eq!((first.response.status, first.replayed), (status, false), "{reply:?}");
        let payment = setup.payment(first.payment).await;
        assert_eq!(payment.status, payment_status, "{reply:?}");
        assert_eq!(references(&payment), ids.iter().copied().collect(), "{reply:?}");
        for id in &payment.references {
            let owner = setup.table.store.owner(Provider::FinvyPay, id).await.unwrap();
            assert_eq!(owner, Some(payment.id));
        }
        if status == 422 {
            assert!(first.response.body.contains("CARD_REFUSED"), "{}", first.response.body);
        }

        let again = setup.create().await.unwrap();
        assert_eq!((&again.response, again.replayed), (&first.response, true));
        assert_eq!(again.payment, first.payment);
        assert_eq!(setup.attempts(), [1], "the provider is not called again");
        for (creation, replayed) in [(&first, None), (&again, Some("true"))] {
            let response = creation.to_response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(**response.body(), *first.response.body.as_bytes());
            let header = response.headers().get("idempotency-replayed");
            assert_eq!(header.map(|value| value.to_str().unwrap()), replayed);
        }
    }
}

#[tokio::test]
async fn failed_call_is_resumed_with_the_same_payment() {
    let unusable = |ids: &[&str]| CallError::Unusable {
        reason: "nonsense",
        references: ids.iter().map(|id| reference(id)).collect(),
    };
    for (error, status, ids, next) in [
        (CallError::Throttled { retry_after: Some(7) }, 503, &[][..], 2),
        (CallError::KeyRefused, 502, &[], 2),
        (unusable(&[]), 502, &[], 2),
        (unusable(&["p0"]), 502, &["p0"], 2),
        // The provider may have processed the call: repeat the same attempt, so that it returns the same payment.
        (CallError::OutcomeUnknown { references: Vec::new() }, 502, &[], 1),
        (CallError::TimedOut, 504, &[], 1),
    ] {
        let setup = Setup::new([Err(error.clone()), accepts(&["p"])]);
        let problem = setup.create().await.unwrap_err();
        let (problem_status, id) = status_and_id(&problem);
        assert_eq!(problem_status, status, "{error}");
        let payment = setup.payment(id.unwrap()).await;
        assert_eq!(
            (payment.status, payment.checkout_session.is_none()),
            (Status::Creating, true),
            "{error}"
        );
        assert_eq!(references(&payment), ids.iter().copied().collect(), "{error}");

        let second = setup.create().await.unwrap();
        assert_eq!((second.response.status, second.replayed), (201, false), "{error}");
        assert_eq!(second.payment, payment.id, "{error}");
        assert_eq!(setup.attempts(), [1, next], "{error}");
        assert_eq!(setup.payment(payment.id).await.status, Status::Pending);
    }
}

#[tokio::test]
async fn rotated_api_key_is_fetched_again_within_the_attempt() {
    let setup = Setup::with_keys(&["old", "new"], [Err(CallError::KeyRefused), accepts(&["p"])]);
    assert_eq!(setup.create().await.unwrap().response.status, 201);
    let calls = setup.calls.lock().unwrap().clone();
    assert_eq!(calls, ["old", "new"].map(|key| (1, ApiKey(key.into()))));

    // A rejected key that was not rotated is not retried.
    let setup = Setup::with_keys(&["old"], [Err(CallError::KeyRefused)]);
    assert_eq!(status_and_id(&setup.create().await.unwrap_err()).0, 502);
    assert_eq!(setup.attempts(), [1]);
    assert_eq!(setup.fetched.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn warm_up_connects_and_fetches_the_secret() {
    let setup = Setup::new([accepts(&["p"])]);
    let is_connected = AtomicUsize::new(0);
    let connect = async {
        is_connected.fetch_add(1, Ordering::Relaxed);
    };
    create_payment::warm_up(&setup.table.store, &setup.keys, None, connect).await;
    assert_eq!(is_connected.load(Ordering::Relaxed), 1);
    assert_eq!(setup.fetched.load(Ordering::Relaxed), 1);
    assert_eq!(setup.create().await.unwrap().response.status, 201);
    assert_eq!(setup.fetched.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn payment_completed_meanwhile_stays_completed() {
    // Paid through an attempt whose response was lost: no further call is needed.
    let setup = Setup::new([Err(CallError::TimedOut)]);
    let (_, id) = status_and_id(&setup.create().await.unwrap_err());
    let webhook = Notification {
        payment_id: id,
        ..paid("p")
    };
    record_notification(&setup.table.store, &webhook, OrderMatching::default(), clock::now())
        .await
        .unwrap();
    let again = setup.create().await.unwrap();
    assert_eq!((again.response.status, Some(again.payment)), (201, id));
    assert!(again.response.body.contains("completed"), "{}", again.response.body);
    assert_eq!(setup.attempts(), [1]);

    // Paid while a later attempt is rejected.
    let setup = Setup::new([Err(CallError::TimedOut), rejects(&[])]);
    setup.create().await.unwrap_err();
    *setup.webhook.lock().unwrap() = Some(paid("p"));
    let again = setup.create().await.unwrap();
    assert_eq!(again.response.status, 201);
    assert!(again.response.body.contains("completed"), "{}", again.response.body);
    assert_eq!(setup.payment(again.payment).await.status, Status::Completed);
}

#[tokio::test]
async fn unmatched_notifications_are_collected_under_each_reference() {
    let setup = Setup::new([accepts(&["p", "FP"])]);
    let by_transaction = Notification {
        payment_id: None,
        fact: Fact {
            transaction: Some(reference("FP")),
            ..facts::fact(Provider::FinvyPay, Outcome::Authorized)
        },
    };
    for webhook in [&paid("p"), &by_transaction] {
        record_notification(&setup.table.store, webhook, OrderMatching::default(), clock::now())
            .await
            .unwrap();
    }
    let created = setup.create().await.unwrap();
    assert_eq!(created.response.status, 201);
    assert!(created.response.body.contains("completed"), "{}", created.response.body);
    assert_eq!(setup.table.facts(created.payment), 2);
    let items = setup.table.memory.items().unwrap();
    let mut raw_statuses: Vec<&str> = items
        .iter()
        .filter_map(|item| item["rawStatus"]["S"].as_str())
        .collect();
    raw_statuses.sort_unstable();
    assert_eq!(raw_statuses, ["authorized", "completed"]);
    for id in ["p", "FP"] {
        let unmatched = setup
            .table
            .store
            .unmatched(Provider::FinvyPay, id, MAX_MOVED)
            .await
            .unwrap();
        assert!(unmatched.is_none(), "{id}");
    }
    assert!(setup.payment(created.payment).await.attention.is_empty());
}

#[tokio::test]
async fn reference_of_another_payment_is_not_handed_out() {
    let setup = Setup::new([accepts(&["p"]), accepts(&["p"]), accepts(&["p2"])]);
    let one = setup.create().await.unwrap().payment;
    let (status, id) = status_and_id(&setup.create_with_key("other").await.unwrap_err());
    assert_eq!(status, 502);
    let other = setup.payment(id.unwrap()).await;
    assert_eq!((other.status, other.references.len()), (Status::Creating, 0));
    let owner = setup.table.store.owner(Provider::FinvyPay, &reference("p")).await;
    assert_eq!(owner.unwrap(), Some(one));
    // The reply was definite, so the retry is a new attempt.
    let again = setup.create_with_key("other").await.unwrap();
    assert_eq!((again.response.status, again.payment), (201, other.id));
    assert_eq!(setup.attempts(), [1, 1, 2]);
}

/// A holder whose key was taken over while it waited for the provider only adds its references to the payment.
#[tokio::test]
async fn late_lease_holder_returns_its_successors_response() {
    for (first, second, status, payment_status, ids) in [
        (
            accepts(&["late"]),
            accepts(&["p"]),
            201,
            Status::Pending,
            &["late", "p"][..],
        ),
        (
            rejects(&["late"]),
            accepts(&["p"]),
            201,
            Status::Pending,
            &["late", "p"],
        ),
        (accepts(&["late"]), rejects(&[]), 422, Status::Failed, &["late"]),
    ] {
        let setup = Setup::new([second.clone(), first.clone()]);
        let responses = Mutex::new(Vec::new());
        let request = async || {
            let creation = setup.create().await.unwrap();
            responses.lock().unwrap().push(creation.response);
        };
        // The first holder stops before its call until the other one, whose clock is ahead, has finished.
        let later = Duration::from_secs(31);
        let tasks = vec![task(request()), task_later(later, request())];
        let done = run_interleaved(tasks, &mut OtherFirst, 0).await;
        assert_eq!(done, Some(vec![true; 2]));
        let responses = responses.into_inner().unwrap();
        assert_eq!(responses.len(), 2);
        assert_eq!(
            (responses[0].status, &responses[0]),
            (status, &responses[1]),
            "{first:?} {second:?}"
        );

        let again = setup.create().await.unwrap();
        assert_eq!((&again.response, again.replayed), (&responses[0], true));
        let payment = setup.payment(again.payment).await;
        assert_eq!(payment.status, payment_status, "{first:?} {second:?}");
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

/// Runs the first flow up to its call to the provider, then the other one to its end, then the first.
struct OtherFirst;

impl Scheduler for OtherFirst {
    fn choose(&mut self, actions: &[Action]) -> Option<Action> {
        let is_provider_call = |action: &&Action| action.flow == 0 && action.call == ExternalCall::CreateAtProvider;
        let is_stopped = actions.iter().any(|action| is_provider_call(&action));
        let wanted = |action: &&Action| if is_stopped { action.flow == 1 } else { action.flow == 0 };
        actions.iter().find(wanted).or(actions.first()).copied()
    }
}

#[tokio::test]
async fn idempotency_key_is_kept_for_48_hours() {
    let setup = Setup::new([accepts(&["p"])]);
    let start = clock::now();
    let creation = setup.create().await.unwrap();
    let request = keyed("k");
    let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
    for (at, is_kept) in [
        (start, true),
        (start.plus(hours(48)), true),
        (start.plus(hours(49)), false),
    ] {
        let at = at.minus(Duration::from_secs(1));
        let known = setup.table.store.find_request(names(&request), at).await.unwrap();
        let payment = known.and_then(|known| known.payment_id());
        assert_eq!(payment, is_kept.then_some(creation.payment), "{at}");
    }
    let other = keyed("other");
    let known = setup.table.store.find_request(names(&other), start).await.unwrap();
    assert_eq!(known, None);
}

/// Its first holder crashed, and another one takes it over just before it expires.
#[tokio::test]
async fn idempotency_key_does_not_expire_during_a_lease() {
    let setup = Setup::new([]);
    let store = &setup.table.store;
    let (keyed, start) = (keyed("k"), clock::now());
    let money = Money::from_minor(2550, Currency::USD);
    let intent = Payment::new(
        PaymentId::random(),
        Provider::FinvyPay,
        Environment::Sandbox,
        money,
        start,
    );
    assert_eq!(
        store.insert_payment(&intent, names(&keyed), start).await.unwrap(),
        InsertResult::Inserted
    );
    let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
    let late = start.plus(days(2)).minus(Duration::from_secs(1));
    let name = names(&keyed).record_name().unwrap();
    let seen = store.request_record(&name).await.unwrap().unwrap();
    store
        .take_over(&name, &seen, Some(&keyed), late)
        .await
        .unwrap()
        .unwrap();

    let items = setup.table.memory.items().unwrap();
    let ttl = items
        .iter()
        .find_map(|item| item["leaseUntil"]["N"].as_str().and(item["ttl"]["N"].as_str()));
    assert_eq!(ttl, Some(late.plus(days(2)).as_seconds().to_string().as_str()));
    let second = Payment {
        id: PaymentId::random(),
        ..intent.clone()
    };
    let inserted = store
        .insert_payment(&second, names(&keyed), late.plus(days(1)))
        .await
        .unwrap();
    assert!(matches!(inserted, InsertResult::InUse(known) if known.payment_id() == Some(intent.id)));
}
