//! Requests with quotes: one quote begins one payment, one request after the other, and in every order of two at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use payment_functions::api::problem::Code;
use payment_functions::domain::id::OrderId;
use payment_functions::domain::idempotency::{Fingerprint, IdempotencyKey, StoredResponse};
use payment_functions::domain::json::Json;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::redacted::Redacted;
use payment_functions::domain::status::Status;
use payment_functions::flows::create_payment::{self, IdempotentRequest, QuoteCheck};
use payment_functions::flows::quote::{QuoteToken, Quotes};
use payment_functions::platform::clock;
use payment_functions::platform::failpoint::wrap;
use payment_functions_local::sandbox::sign;
use serde_json::{Value, json};

use super::interleavings::{LEASE_OVER, every_order};
use super::*;

const HOUR: u64 = 60 * 60;

/// A quote of the shop for the order, by its `jti`.
pub fn token(jti: &str, order: &str, expires_at: Timestamp) -> QuoteToken {
    let encode = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let claims = json!({
        "orderId": order, "amount": "25.50", "currency": "USD", "exp": expires_at.as_seconds(), "jti": jti,
    });
    let message = format!("{}.{}", encode(json!({ "alg": "HS256" })), encode(claims));
    let signature = hex::decode(sign(QUOTE_KEY, message.as_bytes())).unwrap();
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    QuoteToken::read(&Json::String(token)).unwrap()
}

/// A request for the payment of an order.
#[derive(Clone, Copy, Debug)]
struct Asked {
    provider: Provider,
    key: Option<&'static str>,
    /// The `jti` of its quote, and for how long that is valid, in seconds.
    quote: (&'static str, u64),
    /// The parts of the body that no quote fixes.
    body: &'static str,
}

const BARE: Asked = Asked {
    provider: Provider::FinvyPay,
    key: None,
    quote: ("one", HOUR),
    body: "card",
};

fn asked(key: impl Into<Option<&'static str>>, quote: &'static str) -> Asked {
    Asked {
        key: key.into(),
        quote: (quote, HOUR),
        ..BARE
    }
}

/// The response to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    First(PaymentId, StoredResponse),
    Replayed(PaymentId, StoredResponse),
    Refused(Code),
}

impl Answer {
    fn final_response(&self) -> Option<(PaymentId, &StoredResponse)> {
        match self {
            Self::First(id, response) | Self::Replayed(id, response) => Some((*id, response)),
            Self::Refused(_) => None,
        }
    }

    fn payment(&self) -> PaymentId {
        self.final_response().unwrap_or_else(|| panic!("{self:?}")).0
    }

    fn replayed(&self) -> Self {
        let (id, response) = self.final_response().unwrap_or_else(|| panic!("{self:?}"));
        Self::Replayed(id, response.clone())
    }
}

/// A shop with quotes, and a provider that accepts every payment, unless it has other replies.
struct Shop<'a> {
    table: &'a Table,
    keys: SecretCache<ApiKey, StaticSecret>,
    quotes: Quotes<StaticSecret>,
    start: Timestamp,
    replies: Mutex<VecDeque<CallError>>,
    /// The payments that the provider was called for.
    calls: Mutex<Vec<Payment>>,
    in_flight: AtomicUsize,
}

impl<'a> Shop<'a> {
    async fn new(table: &'a Table) -> Self {
        let shop = Self {
            table,
            keys: api_keys(),
            quotes: Quotes::new(StaticSecret),
            start: clock::now(),
            replies: Mutex::default(),
            calls: Mutex::default(),
            in_flight: AtomicUsize::new(0),
        };
        create_payment::warm_up(&table.store, &shop.keys, Some(&shop.quotes), std::future::ready(())).await;
        shop
    }

    async fn create(&self, asked: Asked) -> Answer {
        let (jti, valid_for) = asked.quote;
        let token = token(jti, "ORD-1", self.start.plus(Duration::from_secs(valid_for)));
        let keyed = asked.key.map(|key| IdempotentRequest {
            key: IdempotencyKey::parse("create", key.as_bytes()).unwrap(),
            fingerprint: Fingerprint::of(&Json::String(asked.body.to_owned())),
        });
        let money = Money::from_minor(2550, Currency::USD);
        let intent = Payment {
            order_id: OrderId::parse("ORD-1"),
            payment_method: Some(asked.body.to_owned()),
            metadata: Some(Redacted::new(json!({ "body": asked.body }).to_string())),
            ..Payment::new(
                PaymentId::random(),
                asked.provider,
                Environment::Sandbox,
                money,
                clock::now(),
            )
        };
        let quote = QuoteCheck {
            quotes: &self.quotes,
            token: Some(&token),
        };
        let gateway = |_: &Payment, _| CountingGateway(self);
        let store = &self.table.store;
        match create_payment::create(store, &self.keys, intent, keyed.as_ref(), Some(quote), gateway).await {
            Ok(creation) if creation.replayed => Answer::Replayed(creation.payment, creation.response),
            Ok(creation) => Answer::First(creation.payment, creation.response),
            Err(problem) => Answer::Refused(problem.code()),
        }
    }

    /// Handles a request when this time has passed.
    async fn create_later(&self, asked: Asked, seconds: u64) -> Answer {
        let answer = Mutex::new(None);
        let request = async {
            *answer.lock().unwrap() = Some(self.create(asked).await);
        };
        let task = task_later(Duration::from_secs(seconds), request);
        run_interleaved(vec![task], &mut Exhaustive::default(), 0).await;
        answer.into_inner().unwrap().unwrap()
    }

    /// A request that dies before its call to the provider.
    async fn die_before_the_call(&self, asked: Asked) {
        let request = async {
            self.create(asked).await;
        };
        let done = run_interleaved(vec![task(request)], &mut CrashBeforeTheCall, 1).await;
        assert_eq!(done, Some(vec![false]));
    }

    fn payments(&self) -> usize {
        let items = self.table.memory.items().unwrap();
        items.iter().filter(|item| item["sk"]["S"] == "STATE").count()
    }

    /// Handles a request that must not change anything.
    async fn create_in_vain(&self, asked: Asked) -> Answer {
        let (items, calls) = (self.table.memory.items().unwrap(), self.calls());
        let answer = self.create(asked).await;
        assert_eq!(self.table.memory.items().unwrap(), items, "{asked:?}");
        assert_eq!(self.calls(), calls, "{asked:?}");
        answer
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    async fn status(&self, id: PaymentId) -> Status {
        self.table.store.payment(id).await.unwrap().unwrap().status
    }
}

struct CountingGateway<'a>(&'a Shop<'a>);

/// A call in flight.
struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gateway for CountingGateway<'_> {
    async fn create(&self, payment: &Payment, _attempt: u32) -> Result<Accepted, CallError> {
        let shop = self.0;
        let _call = InFlight(&shop.in_flight);
        assert_eq!(shop.in_flight.fetch_add(1, Ordering::Relaxed), 0, "one call at a time");
        // Other requests run meanwhile.
        wrap(ExternalCall::CreateAtProvider, std::future::ready(())).await;
        let number = {
            let mut calls = shop.calls.lock().unwrap();
            calls.push(payment.clone());
            calls.len()
        };
        if let Some(error) = shop.replies.lock().unwrap().pop_front() {
            return Err(error);
        }
        Ok(Accepted {
            checkout_session: CheckoutSession {
                reference: Reference::parse(&format!("p{number}")).unwrap(),
                redirect_url: None,
                expires_at: None,
            },
            references: Vec::new(),
        })
    }
}

struct CrashBeforeTheCall;

impl Scheduler for CrashBeforeTheCall {
    fn choose(&mut self, actions: &[Action]) -> Option<Action> {
        let crash = |action: &&Action| action.crashes && action.call == ExternalCall::CreateAtProvider;
        actions.iter().find(crash).or(actions.first()).copied()
    }
}

/// A quote that is valid for years leads to its payment for years.
#[tokio::test]
async fn unpaid_payment_is_kept_as_long_as_its_quote() {
    let days = |days: u64| Duration::from_secs(days * 24 * HOUR);
    for (valid_for, is_longer) in [(HOUR, false), (1000 * 24 * HOUR, true)] {
        let table = Table::new();
        let quote = ("one", valid_for);
        Shop::new(&table)
            .await
            .die_before_the_call(Asked { quote, ..BARE })
            .await;
        let items = table.memory.items().unwrap();
        let find = |prefix: &str| {
            items
                .iter()
                .find(|item| item["pk"]["S"].as_str().unwrap().starts_with(prefix))
        };
        let record = find("QUOTE#").unwrap();
        let id = PaymentId::parse(record["paymentId"]["S"].as_str().unwrap()).unwrap();
        let payment = table.store.payment(id).await.unwrap().unwrap();
        let due = payment.expires_at();
        let delete_at = payment.expire(due, Some(days(400))).delete_at.unwrap().as_seconds();
        let quote_goes: u64 = record["ttl"]["N"].as_str().unwrap().parse().unwrap();
        let expected = if is_longer {
            quote_goes
        } else {
            due.plus(days(400)).as_seconds()
        };
        assert_eq!(delete_at, expected, "{valid_for}");
    }
}

#[tokio::test]
async fn used_quote_gets_the_payments_answer_with_any_key() {
    for reply in [
        None,
        Some(CallError::Rejected {
            code: None,
            references: Vec::new(),
        }),
    ] {
        let table = Table::new();
        let shop = Shop::new(&table).await;
        shop.replies.lock().unwrap().extend(reply.clone());
        let first = shop.create(asked("a", "one")).await;
        assert!(matches!(first, Answer::First(..)), "{first:?}");
        let status = if reply.is_some() { 422 } else { 201 };
        assert_eq!(first.final_response().unwrap().1.status, status);
        for again in [asked("a", "one"), asked(None, "one"), asked("b", "one")] {
            assert_eq!(shop.create(again).await, first.replayed(), "{again:?}");
        }
        // Both keys are now the payment's, so a fresh quote beside one of them stays unused.
        for again in [asked("a", "two"), asked("b", "two")] {
            assert_eq!(shop.create_in_vain(again).await, first.replayed(), "{again:?}");
        }
        assert_eq!((shop.payments(), shop.calls()), (1, 1));
        let second = shop.create(asked("c", "two")).await;
        assert!(matches!(second, Answer::First(..)), "{second:?}");
        assert_ne!(second.payment(), first.payment());
    }
}

#[tokio::test]
async fn key_of_one_payment_with_the_quote_of_another_changes_nothing() {
    let table = Table::new();
    let shop = Shop::new(&table).await;
    let one = shop.create(asked("a", "one")).await;
    let two = shop.create(asked("b", "two")).await;
    assert_ne!(one.payment(), two.payment());
    for crossed in [asked("a", "two"), asked("b", "one")] {
        let answer = shop.create_in_vain(crossed).await;
        assert_eq!(answer, Answer::Refused(Code::IdempotencyKeyReused), "{crossed:?}");
    }
    // In flight, too.
    shop.die_before_the_call(asked(None, "three")).await;
    let answer = shop.create_in_vain(asked("a", "three")).await;
    assert_eq!(answer, Answer::Refused(Code::IdempotencyKeyReused));
}

#[tokio::test]
async fn other_body_under_a_used_quote_gets_the_payments_answer() {
    let table = Table::new();
    let shop = Shop::new(&table).await;
    let first = shop.create(asked("a", "one")).await;
    let other = |key| Asked {
        body: "bank",
        ..asked(key, "one")
    };
    assert_eq!(shop.create(other(None)).await, first.replayed());
    // The same key for another request is refused as without a quote.
    let reused = Answer::Refused(Code::IdempotencyKeyReused);
    assert_eq!(shop.create_in_vain(other(Some("a"))).await, reused);
    assert_eq!(shop.create(other(Some("b"))).await, first.replayed());
    assert_eq!(
        shop.create_in_vain(asked("b", "one")).await,
        reused,
        "bound with the other body"
    );
    assert_eq!((shop.payments(), shop.calls()), (1, 1));
}

#[tokio::test]
async fn quote_used_on_the_other_route_is_a_mismatch() {
    let table = Table::new();
    let shop = Shop::new(&table).await;
    let first = shop.create(asked("a", "one")).await;
    for key in [None, Some("a"), Some("b")] {
        let elsewhere = Asked {
            provider: Provider::ApoloPay,
            ..asked(key, "one")
        };
        let answer = shop.create_in_vain(elsewhere).await;
        assert_eq!(answer, Answer::Refused(Code::QuoteMismatch), "{key:?}");
    }
    assert_eq!(shop.create(asked("a", "one")).await, first.replayed());
}

#[tokio::test]
async fn dead_holder_is_taken_over_by_the_quote_even_after_exp() {
    // A quote that is valid for a minute, or for an hour.
    for (valid_for, key, body) in [
        (60, None, "bank"),
        (60, Some("a"), "card"),
        (60, Some("b"), "bank"),
        (HOUR, None, "bank"),
        (HOUR, Some("a"), "card"),
        (HOUR, Some("b"), "bank"),
    ] {
        let table = Table::new();
        let shop = Shop::new(&table).await;
        let of = |key, body| Asked {
            key,
            quote: ("one", valid_for),
            body,
            ..BARE
        };
        shop.die_before_the_call(of(Some("a"), "card")).await;
        for key in [None, Some("a"), Some("b")] {
            let answer = shop.create_in_vain(of(key, "card")).await;
            assert_eq!(answer, Answer::Refused(Code::IdempotencyInProgress), "{key:?}");
        }
        let taken_over = shop.create_later(of(key, body), 300).await;
        assert!(matches!(taken_over, Answer::First(..)), "{taken_over:?}");
        assert_eq!((shop.payments(), shop.calls()), (1, 1));
        let called = shop.calls.lock().unwrap()[0].clone();
        assert_eq!(called.id, taken_over.payment());
        assert_eq!(called.payment_method.as_deref(), Some("card"), "the stored payment");
        assert!(called.metadata.unwrap().expose().contains("card"));
        // The key that came with the take-over is the payment's.
        let by_key = Asked {
            quote: ("two", HOUR),
            ..of(key.or(Some("a")), if key.is_some() { body } else { "card" })
        };
        let answer = shop.create_in_vain(by_key).await;
        assert_eq!(answer, taken_over.replayed(), "{by_key:?}");
        for again in [of(None, "card"), of(Some("a"), "card"), of(key, body)] {
            let answer = shop.create_later(again, 301).await;
            assert_eq!(answer, taken_over.replayed(), "{again:?}");
        }
    }
}

#[tokio::test]
async fn take_over_with_another_payments_key_changes_nothing() {
    let table = Table::new();
    let shop = Shop::new(&table).await;
    shop.create(asked("b", "two")).await;
    shop.die_before_the_call(asked("a", "one")).await;
    let items = table.memory.items().unwrap();
    let answer = shop.create_later(asked("b", "one"), 31).await;
    assert_eq!(answer, Answer::Refused(Code::IdempotencyKeyReused));
    assert_eq!(table.memory.items().unwrap(), items);
    // The known key with a fresh quote takes over its own payment, and the quote stays unused.
    let taken = shop.create_later(asked("a", "three"), 31).await;
    assert!(matches!(taken, Answer::First(..)), "{taken:?}");
    assert_eq!((shop.payments(), shop.calls()), (2, 2));
    let third = shop.create(asked("c", "three")).await;
    assert!(matches!(third, Answer::First(..)), "{third:?}");
}

#[tokio::test]
async fn failed_call_is_repeated_for_the_quotes_payment() {
    let table = Table::new();
    let shop = Shop::new(&table).await;
    shop.replies
        .lock()
        .unwrap()
        .extend([CallError::TimedOut, CallError::unusable("nonsense")]);
    assert_eq!(shop.create(BARE).await, Answer::Refused(Code::ProviderTimeout));
    assert_eq!(
        shop.create(asked("a", "one")).await,
        Answer::Refused(Code::ProviderError)
    );
    let done = shop.create(asked("b", "one")).await;
    assert!(matches!(done, Answer::First(..)), "{done:?}");
    assert_eq!((shop.payments(), shop.calls()), (1, 3));
    assert_eq!(shop.status(done.payment()).await, Status::Pending);
    assert_eq!(shop.create(asked("a", "one")).await, done.replayed());
}

/// Kept until the later of 48 hours after the last use and a day after `exp`.
#[tokio::test]
async fn used_quote_is_kept_and_then_expired() {
    let hours = |hours: u64| hours * HOUR;
    for (valid_for, kept) in [(hours(1), 48), (hours(24), 48), (hours(30), 54), (hours(1000), 1024)] {
        let table = Table::new();
        let shop = Shop::new(&table).await;
        let quote = Asked {
            quote: ("one", valid_for),
            ..BARE
        };
        let first = shop.create(quote).await;
        // Binding a key early does not shorten it.
        let early = Asked {
            key: Some("early"),
            ..quote
        };
        assert_eq!(shop.create(early).await, first.replayed());
        let before = shop.create_later(quote, hours(kept) - 60).await;
        assert_eq!(before, first.replayed(), "{valid_for}");
        let after = shop.create_later(quote, hours(kept) + 60).await;
        assert_eq!(after, Answer::Refused(Code::QuoteInvalid), "{valid_for}");

        // A key that was bound meanwhile keeps the answer for two days.
        let keyed = Asked {
            key: Some("late"),
            ..quote
        };
        let bound = shop.create_later(keyed, hours(kept) - 60).await;
        assert_eq!(bound, first.replayed());
        for asked in [keyed, quote] {
            let later = shop.create_later(asked, hours(kept + 48) - 120).await;
            assert_eq!(later, first.replayed(), "{asked:?}");
        }
        assert_eq!((shop.payments(), shop.calls()), (1, 1));
    }
}

/// A key that was used before quotes were turned on keeps its own record.
#[tokio::test]
async fn key_from_before_quotes_keeps_its_answer() {
    let table = Table::new();
    let shop = Shop::new(&table).await;
    let keyed = IdempotentRequest {
        key: IdempotencyKey::parse("create", b"a").unwrap(),
        fingerprint: Fingerprint::of(&Json::String("card".to_owned())),
    };
    let money = Money::from_minor(2550, Currency::USD);
    let intent = Payment {
        order_id: OrderId::parse("ORD-1"),
        ..Payment::new(
            PaymentId::random(),
            Provider::FinvyPay,
            Environment::Sandbox,
            money,
            clock::now(),
        )
    };
    let gateway = |_: &Payment, _| CountingGateway(&shop);
    let created = create_payment::create(&table.store, &shop.keys, intent, Some(&keyed), None, gateway).await;
    let created = created.unwrap();
    let again = shop.create_in_vain(asked("a", "one")).await;
    assert_eq!(again, Answer::Replayed(created.payment, created.response));
    let other = shop.create(asked(None, "one")).await;
    assert!(matches!(other, Answer::First(..)), "{other:?}");
    let crossed = shop.create_in_vain(asked("a", "one")).await;
    assert_eq!(crossed, Answer::Refused(Code::IdempotencyKeyReused));
}

/// Runs two requests in every order, and with one of them crashing before any of its calls. Then the quote of the first
/// is sent again after the leases.
async fn in_every_order(name: &str, one: Asked, other: Asked, check: impl Fn(&Shop<'_>, &[Answer], &Answer)) {
    for max_crashes in [0, 1] {
        let orders = every_order(name, async |table, scheduler| {
            let shop = Shop::new(table).await;
            let answers = Mutex::new(Vec::new());
            let request = async |asked: Asked| {
                let answer = shop.create(asked).await;
                answers.lock().unwrap().push(answer);
            };
            let tasks = vec![task(request(one)), task(request(other))];
            let done = run_interleaved(tasks, scheduler, max_crashes).await?;
            let answers = answers.into_inner().unwrap();
            assert_eq!(answers.len(), done.iter().filter(|done| **done).count());
            let recovered = shop.create_later(one, LEASE_OVER.as_secs()).await;
            check(&shop, &answers, &recovered);
            Some(())
        });
        assert!(orders.await > 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_requests_with_one_quote_create_one_payment() {
    for (one, other) in [
        (asked(None, "one"), asked(None, "one")),
        (asked("a", "one"), asked(None, "one")),
        (asked("a", "one"), asked("b", "one")),
        (asked("a", "one"), asked("a", "one")),
    ] {
        in_every_order("two requests with one quote", one, other, |shop, answers, recovered| {
            let of_one = recovered.replayed();
            for answer in answers {
                let is_busy = *answer == Answer::Refused(Code::IdempotencyInProgress);
                assert!(is_busy || answer.replayed() == of_one, "{answers:?} {recovered:?}");
            }
            let firsts = answers.iter().chain([recovered]);
            let firsts = firsts.filter(|answer| matches!(answer, Answer::First(..))).count();
            assert!(firsts <= 1, "{answers:?} {recovered:?}");
            assert_eq!(shop.payments(), 1);
            // A crash after the call repeats it.
            assert!(shop.calls() <= 1 + usize::from(answers.len() < 2), "{}", shop.calls());
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_quotes_with_one_key_use_one_of_them() {
    let (one, other) = (asked("a", "one"), asked("a", "two"));
    in_every_order("two quotes with one key", one, other, |shop, answers, recovered| {
        for answer in answers {
            let is_busy = *answer == Answer::Refused(Code::IdempotencyInProgress);
            assert!(is_busy || answer.replayed() == recovered.replayed(), "{answers:?}");
        }
        assert_eq!(shop.payments(), 1);
        let items = shop.table.memory.items().unwrap();
        let quotes = items.iter().filter(|item| item["sk"]["S"] == "QUOTE");
        assert_eq!(quotes.count(), 1, "the other one is unused");
    })
    .await;
}

/// A new key comes with a used quote and, at the same time, with a fresh one.
#[tokio::test(flavor = "multi_thread")]
async fn new_key_with_two_quotes_belongs_to_one_payment() {
    let (bound, begun) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let orders = every_order("a new key with a used and a fresh quote", async |table, scheduler| {
        let shop = Shop::new(table).await;
        let first = shop.create(asked(None, "one")).await;
        let answers = Mutex::new([None, None]);
        let request = async |nth: usize, asked: Asked| {
            let answer = shop.create(asked).await;
            answers.lock().unwrap()[nth] = Some(answer);
        };
        let tasks = vec![
            task(request(0, asked("new", "one"))),
            task(request(1, asked("new", "two"))),
        ];
        run_interleaved(tasks, scheduler, 0).await?;
        let [used, fresh] = answers.into_inner().unwrap().map(Option::unwrap);
        let of_key = shop.create(asked("new", "three")).await;
        if of_key == first.replayed() {
            bound.fetch_add(1, Ordering::Relaxed);
            assert_eq!((&used, &fresh), (&of_key, &of_key), "the fresh quote stays unused");
            assert_eq!((shop.payments(), shop.calls()), (1, 1));
        } else {
            begun.fetch_add(1, Ordering::Relaxed);
            assert_eq!(used, Answer::Refused(Code::IdempotencyKeyReused));
            assert_eq!(fresh.replayed(), of_key);
            assert_eq!((shop.payments(), shop.calls()), (2, 2));
        }
        Some(())
    });
    assert!(orders.await > 3);
    assert!(bound.into_inner() > 0 && begun.into_inner() > 0, "both outcomes occur");
}

/// Its holder died, and two requests take over: one with a quote that has expired.
#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_take_overs_call_the_provider_one_after_the_other() {
    for keys in [[None, None], [Some("a"), Some("b")], [Some("b"), Some("b")]] {
        for max_crashes in [0, 1] {
            let orders = every_order("two take-overs by one quote", async |table, scheduler| {
                let shop = Shop::new(table).await;
                let quote = ("one", 60);
                let of = |key| Asked { key, quote, ..BARE };
                shop.die_before_the_call(of(Some("a"))).await;
                let answers = Mutex::new(Vec::new());
                let request = async |key| {
                    let answer = shop.create(of(key)).await;
                    answers.lock().unwrap().push(answer);
                };
                let late = Duration::from_secs(300);
                let tasks = vec![task(request(keys[0])), task_later(late, request(keys[1]))];
                // The first comes during the lease, if it is not late too.
                let tasks = tasks.into_iter().map(|task| Task {
                    clock_offset: late,
                    ..task
                });
                run_interleaved(tasks.collect(), scheduler, max_crashes).await?;
                let answers = answers.into_inner().unwrap();
                let recovered = shop.create_later(of(None), 400).await;
                for answer in &answers {
                    let is_busy = *answer == Answer::Refused(Code::IdempotencyInProgress);
                    assert!(is_busy || answer.replayed() == recovered.replayed(), "{answers:?}");
                }
                assert_eq!(shop.payments(), 1);
                assert!(shop.calls() <= 1 + usize::from(answers.len() < 2), "{}", shop.calls());
                Some(())
            });
            assert!(orders.await > 5);
        }
    }
}

/// An expired quote is only looked up, while the same payment's key begins it with a valid one.
#[tokio::test(flavor = "multi_thread")]
async fn expired_quote_begins_nothing_in_any_order() {
    let orders = every_order("an expired and a valid quote with one key", async |table, scheduler| {
        let shop = Shop::new(table).await;
        let late = Duration::from_secs(300);
        let valid = asked("a", "two");
        let expired = Asked {
            quote: ("one", 60),
            ..asked("a", "one")
        };
        let answers = Mutex::new([None, None]);
        let request = async |nth: usize, asked: Asked| {
            let answer = shop.create(asked).await;
            answers.lock().unwrap()[nth] = Some(answer);
        };
        let tasks = vec![
            task_later(late, request(0, valid)),
            task_later(late, request(1, expired)),
        ];
        run_interleaved(tasks, scheduler, 0).await?;
        let [first, late] = answers.into_inner().unwrap().map(Option::unwrap);
        assert!(matches!(first, Answer::First(..)), "{first:?}");
        let refused = [Code::QuoteInvalid, Code::IdempotencyInProgress].map(Answer::Refused);
        assert!(late == first.replayed() || refused.contains(&late), "{late:?}");
        assert_eq!((shop.payments(), shop.calls()), (1, 1));
        Some(())
    });
    assert!(orders.await > 3);
}
