//! Idempotency keys whose holder is stopped, for a while or for good: real processes that overlap.
//!
//! A holder is stopped at every point that its flow reaches ([`payment_functions::platform::failpoint`]), as an environment that Lambda
//! freezes is; another takes the key over once the lease has run out, and not a millisecond before, and answers. The
//! first then wakes up: it gives the other's answer, and nothing of what the other wrote is changed by it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use payment_functions::domain::time::Timestamp;
use payment_functions::platform::clock;
use payment_functions_local::sandbox::Call;
use payment_functions_tests::world::{Attached, AwsProxy};
use sysinfo::{Pid, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, Signal, System};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::aws;
use crate::clock::Clock;
use crate::routes::{BOTH, body, calls, function, route, webhooks};
use crate::support::{Answer, Provider, Value, control, entries, json, post_to, status_of, unique, world};
use crate::webhooks::{SECRET, send_signed};

const MOMENT: Duration = Duration::from_millis(1);
/// Whatever is waited for comes within this, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A key whose holder died is taken over within this.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

/// A create function with a clock of its own.
struct Holder {
    provider: Provider,
    clock: Clock,
    function: Attached,
}

impl Holder {
    async fn start(provider: Provider, clock: Clock, changes: &[(&str, Option<&str>)]) -> Self {
        let changes = [changes, &[clock.variable()]].concat();
        let function = world().await.attach(function(provider), 1, &changes).await;
        Self {
            provider,
            clock,
            function: function.expect("a function"),
        }
    }

    /// One that lives when its clock says, and meets no fault.
    async fn other(provider: Provider) -> Self {
        Self::start(provider, Clock::at(clock::now()), &[]).await
    }

    /// One that is struck at a point.
    async fn struck(provider: Provider, now: Timestamp, fault: &str) -> Self {
        Self::start(provider, Clock::at(now), &[("FAILPOINTS", Some(fault))]).await
    }

    /// Sends the request that everybody sends here.
    fn post(&self, key: &str) -> JoinHandle<Answer> {
        let (url, provider, key) = (self.function.url().to_owned(), self.provider, key.to_owned());
        tokio::spawn(async move {
            let body = body(provider, &key).to_string();
            post_to(&url, route(provider), body, &[("idempotency-key", &key)]).await
        })
    }

    async fn answer(&self, key: &str) -> Answer {
        self.post(key).await.expect("an answer")
    }

    /// Waits until it has stopped itself, and gives its process.
    async fn stopped(&self) -> Pid {
        let pid = until(|| {
            let lines = lines(&self.function, "stopped at a fault point");
            let pid = lines.first()?["pid"].as_u64().expect("a pid");
            Some(Pid::from_u32(u32::try_from(pid).expect("a pid")))
        })
        .await;
        until(|| (process(pid, |process| process.status()) == ProcessStatus::Stop).then_some(pid)).await
    }

    /// Waits until its process has ended.
    async fn dead(&self) {
        until(|| self.function.environments()[0].ended()).await;
    }
}

/// Waits for what will come; looking costs a little, so it is not looked for all the time.
async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            match look() {
                Some(found) => return found,
                None => sleep(Duration::from_millis(2)).await,
            }
        }
    };
    timeout(PATIENCE, looking).await.expect("what was waited for")
}

/// Lets a stopped process go on.
fn wake(pid: Pid) {
    assert_eq!(process(pid, |process| process.kill_with(Signal::Continue)), Some(true));
}

fn process<T>(pid: Pid, look: impl Fn(&sysinfo::Process) -> T) -> T {
    let mut system = System::new().expect("processes");
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, ProcessRefreshKind::nothing());
    look(system.process(pid).expect("the process"))
}

/// What a function logged with a message.
fn lines(function: &Attached, message: &str) -> Vec<Value> {
    entries(&function.log())
        .filter(|line| line["message"] == message)
        .collect()
}

/// What the first request with a key comes to, and what the provider's replies are.
#[derive(Clone, Debug)]
struct Case {
    provider: Provider,
    /// Whether FinvyPay forgets its idempotency keys, and so makes a second payment.
    forgets: bool,
    /// Whether the key was given up before by another holder, after a call of which nothing is known.
    resumed: bool,
    /// What the stopped holder's call gets.
    reply: Value,
    /// What the other's call gets.
    other_reply: Value,
}

impl Case {
    fn new(provider: Provider) -> Self {
        Self {
            provider,
            forgets: false,
            resumed: false,
            reply: json!({}),
            other_reply: json!({}),
        }
    }

    async fn script(&self, key: &str, reply: &Value) {
        let mut script = json!({ "provider": self.provider, "orderId": key, "replies": [reply] });
        if self.provider == Provider::Finvypay {
            script["idempotency"] = json!(!self.forgets);
        }
        control().await.script(&script).await.expect("a script");
    }

    /// A key as the first holder finds it.
    async fn key(&self, other: &Holder, now: Timestamp) -> String {
        let key = unique("lease");
        if self.resumed {
            self.script(&key, &json!({ "drop": "beforeReply", "create": false }))
                .await;
            other.clock.set(now);
            let answer = other.answer(&key).await;
            assert_eq!(answer.problem(), (502, "PROVIDER_ERROR".to_owned()));
        }
        key
    }

    /// The points that the flow reaches where nothing stops it.
    async fn points(&self, other: &Holder) -> Vec<String> {
        let now = clock::now();
        let key = self.key(other, now).await;
        self.script(&key, &self.reply).await;
        let holder = Holder::struck(self.provider, now, "log").await;
        holder.answer(&key).await;
        // What a function wrote arrives a little after its answer; the last point is the one after its last write.
        until(|| {
            let lines = lines(&holder.function, "fault point");
            let points: Vec<String> = lines
                .iter()
                .map(|line| line["point"].as_str().expect("a point").to_owned())
                .collect();
            let is_whole = points
                .last()
                .is_some_and(|point| ["after:commit", "after:release-lease"].contains(&point.as_str()));
            is_whole.then_some(points)
        })
        .await
    }
}

/// What is stored of a key.
async fn record(provider: Provider, key: &str) -> Option<Value> {
    aws::raw_key(function(provider), key).await
}

fn number(item: &Value, name: &str) -> u64 {
    item[name]["N"].as_str().expect(name).parse().expect("a number")
}

/// The other takes the key over, if anybody holds it as soon as it may, and answers.
async fn take_over(other: &Holder, key: &str, now: Timestamp) -> Answer {
    other.clock.set(now);
    let held = record(other.provider, key)
        .await
        .filter(|record| record.get("answer").is_none());
    let until = held.map(|record| Timestamp::from_millis(number(&record, "leaseUntil")));
    if let Some(until) = until.filter(|until| *until > now) {
        assert!(until.since(now) < LONGEST_LEASE);
        let before = calls(other.provider, key).await.len();
        for (time, seconds) in [(now, "5"), (until.minus(MOMENT), "1")] {
            other.clock.set(time);
            let answer = other.answer(key).await;
            assert_eq!(answer.problem(), (409, "IDEMPOTENCY_IN_PROGRESS".to_owned()));
            assert_eq!(answer.header("retry-after"), Some(seconds));
        }
        assert_eq!(calls(other.provider, key).await.len(), before);
        other.clock.set(until);
    }
    other.answer(key).await
}

/// A payment without what a holder that comes late may still add to it: its provider's ids, and so a version.
fn without_ids(state: &Value) -> Value {
    let mut state = state.clone();
    for name in ["references", "version"] {
        state.as_object_mut().expect("an item").remove(name);
    }
    state
}

/// What there is once somebody has answered, and what must not change any more.
struct Settled {
    id: String,
    state: Value,
    record: Value,
}

impl Settled {
    async fn now(provider: Provider, key: &str) -> Self {
        let record = record(provider, key).await.expect("the key");
        let id = record["paymentId"]["S"].as_str().expect("an id").to_owned();
        let state = aws::raw_state(&id).await.expect("the payment");
        Self { id, state, record }
    }

    /// Late holders have added the ids that the provider gave them, and nothing else.
    async fn assert_unchanged(&self, provider: Provider, key: &str, what: &str) {
        let now = Self::now(provider, key).await;
        assert_eq!(now.record, self.record, "{what}");
        assert_eq!(without_ids(&now.state), without_ids(&self.state), "{what}");
        let known = |state: &Value| serde_json::from_value::<BTreeSet<String>>(state["references"]["SS"].clone());
        let (before, after) = (
            known(&self.state).unwrap_or_default(),
            known(&now.state).unwrap_or_default(),
        );
        assert_eq!(after, given(provider, key).await, "{what}");
        if before == after {
            assert_eq!(now.state, self.state, "{what}");
        }
    }
}

/// The ids that the provider gave for an order.
async fn given(provider: Provider, key: &str) -> BTreeSet<String> {
    let payments = control().await.payments(provider, key).await.expect("the payments");
    payments.into_iter().map(|payment| payment.id).collect()
}

/// Buyers pay under every id that the provider gave, and all of it reaches the payment, though the metadata, which names
/// it, got lost.
async fn assert_payable(provider: Provider, key: &str, id: &str, what: &str) {
    let given = given(provider, key).await;
    assert!(!given.is_empty(), "{what}");
    for reference in &given {
        assert_eq!(aws::owner(provider, reference).await.as_deref(), Some(id), "{what}");
        let mut webhook = body(provider, key);
        webhook["metadata"] = json!({});
        match provider {
            Provider::Apolopay => {
                webhook["id"] = json!(reference);
                webhook["status"] = json!("completed");
            }
            Provider::Finvypay => {
                webhook["paymentId"] = json!(reference);
                webhook["status"] = json!("COMPLETED");
                webhook["event"] = json!("payment.completed");
            }
        }
        let answer = send_signed(world().await.functions_url(), provider, &webhook.to_string(), SECRET).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
    }
    assert_eq!(status_of(id).await, "completed", "{what}");
    assert_eq!(aws::facts(id).await.len(), given.len(), "{what}");
}

/// Which attempt each call was, by FinvyPay's idempotency key.
fn attempts(calls: &[Call], id: &str) -> Vec<u64> {
    let attempt = |key: &str| key.strip_prefix(id)?.strip_prefix('-')?.parse().ok();
    let keys = calls.iter().filter_map(|call| call.headers.get("idempotency-key"));
    keys.map(|key| attempt(key).unwrap_or_else(|| panic!("{key} is not made of {id}")))
        .collect()
}

fn is_replay(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

/// Stops a holder at a point, lets another answer, and wakes the first.
async fn stop_and_wake(case: &Case, other: &Holder, points: &[String], at: usize) {
    let (provider, point, until) = (case.provider, &points[at], &points[..=at]);
    let what = format!("{case:?} at {point}");
    let now = clock::now();
    let key = case.key(other, now).await;
    let has_called = until.iter().any(|point| point == "after:create-at-provider");
    if has_called {
        case.script(&key, &case.reply).await;
    }
    let nth = until.iter().filter(|earlier| *earlier == point).count();
    let holder = Holder::struck(provider, now, &format!("{point}#{nth}=stop")).await;
    let request = holder.post(&key);
    let pid = holder.stopped().await;
    let stopped = Instant::now();
    let found = record(provider, &key).await;

    case.script(&key, &case.other_reply).await;
    let answer = take_over(other, &key, now).await;
    let settled = Settled::now(provider, &key).await;
    if !has_called {
        case.script(&key, &case.reply).await;
    }
    wake(pid);
    // Its own time runs on while it is stopped.
    let what = format!("{what}, for {:?}", stopped.elapsed());
    let woken = request.await.expect("an answer");

    let has_answered = found.is_some_and(|record| record.get("answer").is_some());
    let has_released = point == "after:release-lease";
    if has_released {
        // It was the first, and had nothing to give.
        assert_eq!(woken.problem(), (502, "PROVIDER_ERROR".to_owned()), "{what}");
        assert_eq!(woken.str("id"), settled.id, "{what}");
    } else {
        assert_eq!((woken.status, &woken.text), (answer.status, &answer.text), "{what}");
        assert_eq!(
            (is_replay(&woken), is_replay(&answer)),
            (!has_answered, has_answered),
            "{what}"
        );
    }
    let again = other.answer(&key).await;
    assert_eq!((again.status, &again.text), (answer.status, &answer.text), "{what}");
    assert!(is_replay(&again), "{what}");
    if provider == Provider::Finvypay {
        let calls = calls(provider, &key).await;
        let mut expected = vec![1; calls.len()];
        if let Some(last) = expected.last_mut().filter(|_| has_released) {
            *last = 2;
        }
        assert_eq!(attempts(&calls, &settled.id), expected, "{what}");
    }
    settled.assert_unchanged(provider, &key, &what).await;
    if answer.status == 201 {
        assert_payable(provider, &key, &settled.id, &what).await;
    }
}

/// The same at every point from `first` on.
async fn stop_everywhere(case: Case, first: &str) {
    let other = Holder::other(case.provider).await;
    let points = case.points(&other).await;
    let first = points.iter().position(|point| point == first).expect("the point");
    for at in first..points.len() {
        stop_and_wake(&case, &other, &points, at).await;
    }
}

/// What comes before it is the same whatever the provider replies.
const CALL: &str = "before:create-at-provider";

fn failed() -> Value {
    json!({ "error": "INTERNAL_ERROR" })
}

fn refused() -> Value {
    json!({ "status": 400, "body": { "message": "no" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_wakes_up_gives_the_answer_of_the_one_that_took_over() {
    join_all(BOTH.map(async |provider| {
        stop_everywhere(Case::new(provider), "before:current-secret").await;
        let resumed = Case {
            resumed: true,
            ..Case::new(provider)
        };
        stop_everywhere(resumed, "before:insert-payment").await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_provider_told_it_and_whatever_it_told_the_other() {
    let useless = json!({ "fields": { "amount": 9.99 } });
    let own = |provider| match provider {
        Provider::Apolopay => vec![],
        // Its ids are attached by who wakes up, though the rest is of no use.
        Provider::Finvypay => vec![(true, useless.clone(), json!({})), (true, json!({}), json!({}))],
    };
    join_all(BOTH.map(async |provider| {
        let both = [
            (false, failed(), json!({})),
            (false, refused(), json!({})),
            (false, failed(), refused()),
            (false, json!({}), refused()),
        ];
        for (forgets, reply, other_reply) in both.into_iter().chain(own(provider)) {
            let case = Case {
                forgets,
                reply,
                other_reply,
                ..Case::new(provider)
            };
            stop_everywhere(case, CALL).await;
        }
    }))
    .await;
}

/// As above, but the first holder never wakes up: its process dies at the point.
async fn die(case: &Case, other: &Holder, point: &str) {
    let (provider, what) = (case.provider, format!("{case:?} dies at {point}"));
    let now = clock::now();
    let key = case.key(other, now).await;
    case.script(&key, &case.reply).await;
    let holder = Holder::struck(provider, now, &format!("{point}=die")).await;
    let request = holder.post(&key);
    holder.dead().await;
    // Nobody answers it any more.
    request.abort();

    let mut answer = take_over(other, &key, now).await;
    let is_told = answer.status == 502;
    if is_told {
        // The reply that was meant for the first.
        answer = other.answer(&key).await;
    }
    assert_eq!(answer.status, 201, "{what}: {answer:?}");
    let again = other.answer(&key).await;
    assert_eq!(
        (again.status, &again.text, is_replay(&again)),
        (201, &answer.text, true),
        "{what}"
    );
    assert_eq!(status_of(&answer.str("id")).await, "pending", "{what}");
    let handed_out = match provider {
        Provider::Apolopay => "processId",
        Provider::Finvypay => "paymentId",
    };
    let handed_out = answer.str(handed_out);
    assert!(given(provider, &key).await.contains(&handed_out), "{what}");
    assert_eq!(
        aws::owner(provider, &handed_out).await,
        Some(answer.str("id")),
        "{what}"
    );
    if provider == Provider::Finvypay {
        assert_eq!(
            given(provider, &key).await.len(),
            1,
            "{what}: FinvyPay makes one payment"
        );
        let calls = calls(provider, &key).await;
        let mut expected = vec![1; calls.len()];
        if let Some(last) = expected
            .last_mut()
            .filter(|_| is_told || point == "after:release-lease")
        {
            *last = 2;
        }
        assert_eq!(attempts(&calls, &answer.str("id")), expected, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_died_is_taken_over_after_its_lease_and_not_before() {
    join_all(BOTH.map(async |provider| {
        let other = Holder::other(provider).await;
        for (resumed, reply) in [(false, json!({})), (false, failed()), (true, json!({}))] {
            let case = Case {
                resumed,
                reply,
                ..Case::new(provider)
            };
            for point in case.points(&other).await {
                die(&case, &other, &point).await;
            }
        }
    }))
    .await;
}

/// With the provider's answer in hand. Here a holder can sleep for any time and still have its time for DynamoDB.
const STOP: &str = "after:create-at-provider=stop";

/// Two holders are stopped while a third answers; they wake up in either order.
#[tokio::test(flavor = "multi_thread")]
async fn three_holders_in_a_row() {
    join_all(BOTH.map(async |provider| {
        let third = Holder::other(provider).await;
        for (forgets, first_wakes_first) in [(false, true), (true, true), (true, false)] {
            let case = Case {
                forgets,
                ..Case::new(provider)
            };
            let what = format!("{case:?}, {first_wakes_first}");
            let (key, now) = (unique("three"), clock::now());
            case.script(&key, &json!({})).await;
            let until = async || {
                let record = record(provider, &key).await.expect("the key");
                Timestamp::from_millis(number(&record, "leaseUntil"))
            };
            let first = Holder::struck(provider, now, STOP).await;
            let first_request = first.post(&key);
            let first_pid = first.stopped().await;
            let second = Holder::struck(provider, until().await, STOP).await;
            let second_request = second.post(&key);
            let second_pid = second.stopped().await;

            let answer = take_over(&third, &key, second.clock.time()).await;
            assert_eq!(answer.status, 201, "{what}: {answer:?}");
            let settled = Settled::now(provider, &key).await;
            assert_eq!(number(&settled.record, "fence"), 3, "{what}");
            let mut sleepers = [(first_pid, first_request), (second_pid, second_request)];
            if !first_wakes_first {
                sleepers.reverse();
            }
            for (pid, request) in sleepers {
                wake(pid);
                let woken = request.await.expect("an answer");
                assert_eq!((woken.status, &woken.text), (201, &answer.text), "{what}");
                assert!(is_replay(&woken), "{what}");
            }
            settled.assert_unchanged(provider, &key, &what).await;
            let calls = calls(provider, &key).await;
            assert_eq!(calls.len(), 3, "{what}");
            if provider == Provider::Finvypay {
                assert_eq!(attempts(&calls, &settled.id), [1, 1, 1], "{what}");
            }
            let ids = if provider == Provider::Apolopay || forgets {
                3
            } else {
                1
            };
            assert_eq!(given(provider, &key).await.len(), ids, "{what}");
            assert_payable(provider, &key, &settled.id, &what).await;
        }
    }))
    .await;
}

/// The first wakes up while the second, which took over, has still to write: it has nothing to say, and nothing of its
/// answer is the second's.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_wakes_up_before_the_other_has_answered() {
    join_all(BOTH.map(async |provider| {
        let third = Holder::other(provider).await;
        for (reply, statuses) in [(json!({}), (409, 201)), (failed(), (502, 502))] {
            let case = Case {
                forgets: true,
                ..Case::new(provider)
            };
            let what = format!("{provider:?} {reply}");
            let (key, now) = (unique("early"), clock::now());
            case.script(&key, &reply).await;
            let first = Holder::struck(provider, now, STOP).await;
            let first_request = first.post(&key);
            let first_pid = first.stopped().await;
            let held = record(provider, &key).await.expect("the key");
            let until = Timestamp::from_millis(number(&held, "leaseUntil"));
            case.script(&key, &reply).await;
            let second = Holder::struck(provider, until, STOP).await;
            let second_request = second.post(&key);
            let second_pid = second.stopped().await;
            let taken = record(provider, &key).await;

            wake(first_pid);
            let woken = first_request.await.expect("an answer");
            assert_eq!(woken.status, statuses.0, "{what}: {woken:?}");
            assert_eq!(record(provider, &key).await, taken, "{what}: the key is the second's");
            third.clock.set(until);
            assert_eq!(third.answer(&key).await.status, 409, "{what}");

            wake(second_pid);
            let answer = second_request.await.expect("an answer");
            assert_eq!(
                (answer.status, is_replay(&answer)),
                (statuses.1, false),
                "{what}: {answer:?}"
            );
            let last = third.answer(&key).await;
            assert_eq!(
                (last.status, is_replay(&last)),
                (201, answer.status == 201),
                "{what}: {last:?}"
            );
            if answer.status == 201 {
                assert_eq!(last.text, answer.text, "{what}");
            }
            let calls = calls(provider, &key).await;
            if provider == Provider::Finvypay {
                let expected: &[u64] = if answer.status == 201 { &[1, 1] } else { &[1, 1, 2] };
                assert_eq!(attempts(&calls, &last.str("id")), expected, "{what}");
            }
            assert_payable(provider, &key, &last.str("id"), &what).await;
        }
    }))
    .await;
}

/// What it saw of the key before it was stopped is old when it wakes up, though the key is as free as it was then.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_wakes_up_after_another_has_given_up() {
    join_all(BOTH.map(async |provider| {
        let other = Holder::other(provider).await;
        let case = Case {
            resumed: true,
            ..Case::new(provider)
        };
        let now = clock::now();
        let key = case.key(&other, now).await;
        let holder = Holder::struck(provider, now, "before:take-over=stop").await;
        let request = holder.post(&key);
        let pid = holder.stopped().await;
        let stopped = Instant::now();
        case.script(&key, &failed()).await;
        let answer = take_over(&other, &key, now).await;
        assert_eq!(answer.problem(), (502, "PROVIDER_ERROR".to_owned()));

        wake(pid);
        let nap = stopped.elapsed();
        let woken = request.await.expect("an answer");
        assert_eq!((woken.status, is_replay(&woken)), (201, false), "{nap:?}: {woken:?}");
        let id = woken.str("id");
        let record = record(provider, &key).await.expect("the key");
        assert_eq!((number(&record, "fence"), number(&record, "attempt")), (3, 2));
        if provider == Provider::Finvypay {
            assert_eq!(attempts(&calls(provider, &key).await, &id), [1, 1, 2]);
        }
        assert_payable(provider, &key, &id, aws::name(provider)).await;
    }))
    .await;
}

/// Nobody is stopped: the first's call to the provider is held up on its way, for longer than its lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_reaches_the_provider_after_the_others() {
    join_all(BOTH.map(async |provider| {
        let other = Holder::other(provider).await;
        let sandbox = world().await.sandbox_url();
        for forgets in [false, true] {
            let case = Case {
                forgets,
                ..Case::new(provider)
            };
            let what = format!("{case:?}");
            let (key, now) = (unique("slow"), clock::now());
            case.script(&key, &json!({})).await;
            let road = AwsProxy::start(sandbox).await.expect("a proxy");
            let name = aws::name(provider);
            let (variable, url) = (
                format!("{}_BASE_URL", name.to_uppercase()),
                format!("{}/{name}", road.url()),
            );
            let first = Holder::start(provider, Clock::at(now), &[(&variable, Some(&url))]).await;
            first.function.ready().await.expect("a start");
            // It holds up whatever passes.
            let mut held = road.hold("*");
            let request = first.post(&key);
            held.arrived(1).await;
            let answer = take_over(&other, &key, now).await;
            assert_eq!(answer.status, 201, "{what}: {answer:?}");
            let settled = Settled::now(provider, &key).await;

            held.release();
            let late = request.await.expect("an answer");
            assert_eq!(
                (late.status, &late.text, is_replay(&late)),
                (201, &answer.text, true),
                "{what}"
            );
            settled.assert_unchanged(provider, &key, &what).await;
            let calls = calls(provider, &key).await;
            assert_eq!(calls.len(), 2, "{what}");
            if provider == Provider::Finvypay {
                assert_eq!(attempts(&calls, &settled.id), [1, 1], "{what}");
            }
            assert_payable(provider, &key, &settled.id, &what).await;
        }
    }))
    .await;
}

/// The buyer pays for what the stopped holder was given, before anybody else knows of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_paid_while_its_holder_is_stopped() {
    join_all(BOTH.map(async |provider| {
        let other = Holder::other(provider).await;
        let (key, now) = (unique("paid"), clock::now());
        let holder = Holder::struck(provider, now, STOP).await;
        let request = holder.post(&key);
        let pid = holder.stopped().await;
        webhooks(json!({ "provider": provider, "orderId": key })).await;
        let answer = take_over(&other, &key, now).await;
        assert_eq!((answer.status, answer.str("status")), (201, "completed".to_owned()));
        assert_eq!(
            calls(provider, &key).await.len(),
            1,
            "there is nothing to call for any more"
        );
        let settled = Settled::now(provider, &key).await;
        wake(pid);
        let woken = request.await.expect("an answer");
        assert_eq!((woken.status, &woken.text), (201, &answer.text));
        settled.assert_unchanged(provider, &key, aws::name(provider)).await;
        assert_eq!(status_of(&settled.id).await, "completed");
    }))
    .await;
}
