//! Idempotency keys whose holder is stopped or crashes: real processes that overlap.
//!
//! A holder stops at each point of its flow ([`payment_functions::platform::failpoint`]), like an environment that
//! Lambda freezes. Another takes the key over when the lease has expired, not a millisecond earlier, and responds. Then
//! the first wakes up: it returns the other's response and changes nothing that the other wrote.

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
use crate::support::{Provider, Response, Value, control, entries, json, post_to, status_of, unique, world};
use crate::webhooks::{SECRET, send_signed};

const MOMENT: Duration = Duration::from_millis(1);
/// Time limit for everything that tests wait for.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// A crashed holder's key is taken over within this.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

/// A create function with its own clock.
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

    /// A holder without a fault.
    async fn other(provider: Provider) -> Self {
        Self::start(provider, Clock::at(clock::now()), &[]).await
    }

    /// A holder with a fault at a point.
    async fn with_fault(provider: Provider, now: Timestamp, fault: &str) -> Self {
        Self::start(provider, Clock::at(now), &[("FAILPOINTS", Some(fault))]).await
    }

    /// Sends the create request.
    fn post(&self, key: &str) -> JoinHandle<Response> {
        let (url, provider, key) = (self.function.url().to_owned(), self.provider, key.to_owned());
        tokio::spawn(async move {
            let body = body(provider, &key).to_string();
            post_to(&url, route(provider), body, &[("idempotency-key", &key)]).await
        })
    }

    async fn response(&self, key: &str) -> Response {
        self.post(key).await.expect("a response")
    }

    /// Waits until the process has stopped itself; returns its id.
    async fn stopped(&self) -> Pid {
        let pid = until(|| {
            let lines = lines(&self.function, "stopped at failpoint");
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

/// Polls until `look` returns something.
async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            match look() {
                Some(found) => return found,
                None => sleep(Duration::from_millis(2)).await,
            }
        }
    };
    timeout(TIME_LIMIT, looking)
        .await
        .expect("the condition was not met in time")
}

/// Continues a stopped process.
fn wake(pid: Pid) {
    assert_eq!(process(pid, |process| process.kill_with(Signal::Continue)), Some(true));
}

fn process<T>(pid: Pid, look: impl Fn(&sysinfo::Process) -> T) -> T {
    let mut system = System::new().expect("processes");
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, ProcessRefreshKind::nothing());
    look(system.process(pid).expect("the process"))
}

/// A function's log lines with this message.
fn lines(function: &Attached, message: &str) -> Vec<Value> {
    entries(&function.log())
        .filter(|line| line["message"] == message)
        .collect()
}

/// A scenario of the first request, by the provider's replies.
#[derive(Clone, Debug)]
struct Case {
    provider: Provider,
    /// Whether FinvyPay forgets its idempotency keys, so that it creates a second payment.
    forgets: bool,
    /// Whether another holder released the key before, after a call with an unknown result.
    resumed: bool,
    /// The reply to the stopped holder's call.
    reply: Value,
    /// The reply to the other holder's call.
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

    /// Prepares a key for the first holder.
    async fn key(&self, other: &Holder, now: Timestamp) -> String {
        let key = unique("lease");
        if self.resumed {
            self.script(&key, &json!({ "drop": "beforeReply", "create": false }))
                .await;
            other.clock.set(now);
            let response = other.response(&key).await;
            assert_eq!(response.problem(), (502, "PROVIDER_ERROR".to_owned()));
        }
        key
    }

    /// The points of the flow without a fault.
    async fn points(&self, other: &Holder) -> Vec<String> {
        let now = clock::now();
        let key = self.key(other, now).await;
        self.script(&key, &self.reply).await;
        let holder = Holder::with_fault(self.provider, now, "log").await;
        holder.response(&key).await;
        // Log lines may come a little after the response. The last point follows the last write.
        until(|| {
            let lines = lines(&holder.function, "failpoint reached");
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

/// The stored item of a key.
async fn record(provider: Provider, key: &str) -> Option<Value> {
    aws::raw_key(function(provider), key).await
}

fn number(item: &Value, name: &str) -> u64 {
    item[name]["N"].as_str().expect(name).parse().expect("a number")
}

/// The other holder takes over an open key as soon as it may, and responds.
async fn take_over(other: &Holder, key: &str, now: Timestamp) -> Response {
    other.clock.set(now);
    let held = record(other.provider, key)
        .await
        .filter(|record| record.get("response").is_none());
    let until = held.map(|record| Timestamp::from_millis(number(&record, "leaseUntil")));
    if let Some(until) = until.filter(|until| *until > now) {
        assert!(until.since(now) < LONGEST_LEASE);
        let before = calls(other.provider, key).await.len();
        for (time, seconds) in [(now, "5"), (until.minus(MOMENT), "1")] {
            other.clock.set(time);
            let response = other.response(key).await;
            assert_eq!(response.problem(), (409, "IDEMPOTENCY_IN_PROGRESS".to_owned()));
            assert_eq!(response.header("retry-after"), Some(seconds));
        }
        assert_eq!(calls(other.provider, key).await.len(), before);
        other.clock.set(until);
    }
    other.response(key).await
}

/// A payment without its provider's ids and version, which a late holder may still add.
fn without_ids(state: &Value) -> Value {
    let mut state = state.clone();
    for name in ["references", "version"] {
        state.as_object_mut().expect("an item").remove(name);
    }
    state
}

/// The stored state after the first response; it must not change any more.
struct StoredState {
    id: String,
    state: Value,
    record: Value,
}

impl StoredState {
    async fn now(provider: Provider, key: &str) -> Self {
        let record = record(provider, key).await.expect("the key");
        let id = record["paymentId"]["S"].as_str().expect("an id").to_owned();
        let state = aws::raw_state(&id).await.expect("the payment");
        Self { id, state, record }
    }

    /// Late holders have added their provider ids and nothing else.
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

/// Buyers pay under every id that the provider gave, and the webhooks reach the payment without our id in the metadata.
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
        let response = send_signed(world().await.functions_url(), provider, &webhook.to_string(), SECRET).await;
        assert_eq!(response.status, 200, "{what}: {response:?}");
    }
    assert_eq!(status_of(id).await, "completed", "{what}");
    assert_eq!(aws::facts(id).await.len(), given.len(), "{what}");
}

/// The attempt number of each call, from FinvyPay's idempotency key.
fn attempts(calls: &[Call], id: &str) -> Vec<u64> {
    let attempt = |key: &str| key.strip_prefix(id)?.strip_prefix('-')?.parse().ok();
    let keys = calls.iter().filter_map(|call| call.headers.get("idempotency-key"));
    keys.map(|key| attempt(key).unwrap_or_else(|| panic!("{key} does not contain {id}")))
        .collect()
}

fn is_replay(response: &Response) -> bool {
    response.header("idempotency-replayed") == Some("true")
}

/// Stops a holder at a point, lets another respond, and wakes the first.
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
    let holder = Holder::with_fault(provider, now, &format!("{point}#{nth}=stop")).await;
    let request = holder.post(&key);
    let pid = holder.stopped().await;
    let stopped = Instant::now();
    let found = record(provider, &key).await;

    case.script(&key, &case.other_reply).await;
    let response = take_over(other, &key, now).await;
    let stored = StoredState::now(provider, &key).await;
    if !has_called {
        case.script(&key, &case.reply).await;
    }
    wake(pid);
    // The stopped holder's own timeouts keep running.
    let what = format!("{what}, for {:?}", stopped.elapsed());
    let woken = request.await.expect("a response");

    let has_answered = found.is_some_and(|record| record.get("response").is_some());
    let has_released = point == "after:release-lease";
    if has_released {
        // It was first and has no response to return.
        assert_eq!(woken.problem(), (502, "PROVIDER_ERROR".to_owned()), "{what}");
        assert_eq!(woken.str("id"), stored.id, "{what}");
    } else {
        assert_eq!((woken.status, &woken.text), (response.status, &response.text), "{what}");
        assert_eq!(
            (is_replay(&woken), is_replay(&response)),
            (!has_answered, has_answered),
            "{what}"
        );
    }
    let again = other.response(&key).await;
    assert_eq!((again.status, &again.text), (response.status, &response.text), "{what}");
    assert!(is_replay(&again), "{what}");
    if provider == Provider::Finvypay {
        let calls = calls(provider, &key).await;
        let mut expected = vec![1; calls.len()];
        if let Some(last) = expected.last_mut().filter(|_| has_released) {
            *last = 2;
        }
        assert_eq!(attempts(&calls, &stored.id), expected, "{what}");
    }
    stored.assert_unchanged(provider, &key, &what).await;
    if response.status == 201 {
        assert_payable(provider, &key, &stored.id, &what).await;
    }
}

/// Runs a case at every point from `first` on.
async fn stop_everywhere(case: Case, first: &str) {
    let other = Holder::other(case.provider).await;
    let points = case.points(&other).await;
    let first = points.iter().position(|point| point == first).expect("the point");
    for at in first..points.len() {
        stop_and_wake(&case, &other, &points, at).await;
    }
}

/// Everything before this point is independent of the provider's reply.
const CALL: &str = "before:create-at-provider";

fn failed() -> Value {
    json!({ "error": "INTERNAL_ERROR" })
}

fn refused() -> Value {
    json!({ "status": 400, "body": { "message": "no" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn woken_holder_returns_the_new_holders_response() {
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
async fn woken_holder_agrees_with_the_new_holder_for_every_reply() {
    let useless = json!({ "fields": { "amount": 9.99 } });
    let own = |provider| match provider {
        Provider::Apolopay => vec![],
        // The woken holder attaches its ids, even if the rest of the response is unusable.
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

/// The same, but the first holder's process crashes at the point.
async fn die(case: &Case, other: &Holder, point: &str) {
    let (provider, what) = (case.provider, format!("{case:?} crashes at {point}"));
    let now = clock::now();
    let key = case.key(other, now).await;
    case.script(&key, &case.reply).await;
    let holder = Holder::with_fault(provider, now, &format!("{point}=die")).await;
    let request = holder.post(&key);
    holder.dead().await;
    // It gets no response.
    request.abort();

    let mut response = take_over(other, &key, now).await;
    let is_told = response.status == 502;
    if is_told {
        // The reply meant for the first holder.
        response = other.response(&key).await;
    }
    assert_eq!(response.status, 201, "{what}: {response:?}");
    let again = other.response(&key).await;
    assert_eq!(
        (again.status, &again.text, is_replay(&again)),
        (201, &response.text, true),
        "{what}"
    );
    assert_eq!(status_of(&response.str("id")).await, "pending", "{what}");
    let handed_out = match provider {
        Provider::Apolopay => "processId",
        Provider::Finvypay => "paymentId",
    };
    let handed_out = response.str(handed_out);
    assert!(given(provider, &key).await.contains(&handed_out), "{what}");
    assert_eq!(
        aws::owner(provider, &handed_out).await,
        Some(response.str("id")),
        "{what}"
    );
    if provider == Provider::Finvypay {
        assert_eq!(given(provider, &key).await.len(), 1, "{what}: one payment at FinvyPay");
        let calls = calls(provider, &key).await;
        let mut expected = vec![1; calls.len()];
        if let Some(last) = expected
            .last_mut()
            .filter(|_| is_told || point == "after:release-lease")
        {
            *last = 2;
        }
        assert_eq!(attempts(&calls, &response.str("id")), expected, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crashed_holder_is_taken_over_only_after_its_lease() {
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

/// After the provider's response. A holder stopped here has its full time for DynamoDB left.
const STOP: &str = "after:create-at-provider=stop";

/// Two holders are stopped while a third responds; they wake up in either order.
#[tokio::test(flavor = "multi_thread")]
async fn three_successive_holders_create_one_payment() {
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
            let first = Holder::with_fault(provider, now, STOP).await;
            let first_request = first.post(&key);
            let first_pid = first.stopped().await;
            let second = Holder::with_fault(provider, until().await, STOP).await;
            let second_request = second.post(&key);
            let second_pid = second.stopped().await;

            let response = take_over(&third, &key, second.clock.time()).await;
            assert_eq!(response.status, 201, "{what}: {response:?}");
            let stored = StoredState::now(provider, &key).await;
            assert_eq!(number(&stored.record, "fence"), 3, "{what}");
            let mut sleepers = [(first_pid, first_request), (second_pid, second_request)];
            if !first_wakes_first {
                sleepers.reverse();
            }
            for (pid, request) in sleepers {
                wake(pid);
                let woken = request.await.expect("a response");
                assert_eq!((woken.status, &woken.text), (201, &response.text), "{what}");
                assert!(is_replay(&woken), "{what}");
            }
            stored.assert_unchanged(provider, &key, &what).await;
            let calls = calls(provider, &key).await;
            assert_eq!(calls.len(), 3, "{what}");
            if provider == Provider::Finvypay {
                assert_eq!(attempts(&calls, &stored.id), [1, 1, 1], "{what}");
            }
            let ids = if provider == Provider::Apolopay || forgets {
                3
            } else {
                1
            };
            assert_eq!(given(provider, &key).await.len(), ids, "{what}");
            assert_payable(provider, &key, &stored.id, &what).await;
        }
    }))
    .await;
}

/// The first wakes up before the second, which took over, has stored its response: the first returns an error and
/// stores nothing.
#[tokio::test(flavor = "multi_thread")]
async fn woken_holder_before_the_new_holders_response() {
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
            let first = Holder::with_fault(provider, now, STOP).await;
            let first_request = first.post(&key);
            let first_pid = first.stopped().await;
            let held = record(provider, &key).await.expect("the key");
            let until = Timestamp::from_millis(number(&held, "leaseUntil"));
            case.script(&key, &reply).await;
            let second = Holder::with_fault(provider, until, STOP).await;
            let second_request = second.post(&key);
            let second_pid = second.stopped().await;
            let taken = record(provider, &key).await;

            wake(first_pid);
            let woken = first_request.await.expect("a response");
            assert_eq!(woken.status, statuses.0, "{what}: {woken:?}");
            assert_eq!(
                record(provider, &key).await,
                taken,
                "{what}: the key belongs to the second holder"
            );
            third.clock.set(until);
            assert_eq!(third.response(&key).await.status, 409, "{what}");

            wake(second_pid);
            let response = second_request.await.expect("a response");
            assert_eq!(
                (response.status, is_replay(&response)),
                (statuses.1, false),
                "{what}: {response:?}"
            );
            let last = third.response(&key).await;
            assert_eq!(
                (last.status, is_replay(&last)),
                (201, response.status == 201),
                "{what}: {last:?}"
            );
            if response.status == 201 {
                assert_eq!(last.text, response.text, "{what}");
            }
            let calls = calls(provider, &key).await;
            if provider == Provider::Finvypay {
                let expected: &[u64] = if response.status == 201 { &[1, 1] } else { &[1, 1, 2] };
                assert_eq!(attempts(&calls, &last.str("id")), expected, "{what}");
            }
            assert_payable(provider, &key, &last.str("id"), &what).await;
        }
    }))
    .await;
}

/// The woken holder's view of the key is outdated, although the key is free again.
#[tokio::test(flavor = "multi_thread")]
async fn woken_holder_after_the_new_holder_gave_up() {
    join_all(BOTH.map(async |provider| {
        let other = Holder::other(provider).await;
        let case = Case {
            resumed: true,
            ..Case::new(provider)
        };
        let now = clock::now();
        let key = case.key(&other, now).await;
        let holder = Holder::with_fault(provider, now, "before:take-over=stop").await;
        let request = holder.post(&key);
        let pid = holder.stopped().await;
        let stopped = Instant::now();
        case.script(&key, &failed()).await;
        let response = take_over(&other, &key, now).await;
        assert_eq!(response.problem(), (502, "PROVIDER_ERROR".to_owned()));

        wake(pid);
        let nap = stopped.elapsed();
        let woken = request.await.expect("a response");
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

/// Nobody is stopped: the first holder's provider call is delayed beyond its lease.
#[tokio::test(flavor = "multi_thread")]
async fn create_call_arriving_after_the_new_holders_call() {
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
            // This holds every call back.
            let mut held = road.hold("*");
            let request = first.post(&key);
            held.arrived(1).await;
            let response = take_over(&other, &key, now).await;
            assert_eq!(response.status, 201, "{what}: {response:?}");
            let stored = StoredState::now(provider, &key).await;

            held.release();
            let late = request.await.expect("a response");
            assert_eq!(
                (late.status, &late.text, is_replay(&late)),
                (201, &response.text, true),
                "{what}"
            );
            stored.assert_unchanged(provider, &key, &what).await;
            let calls = calls(provider, &key).await;
            assert_eq!(calls.len(), 2, "{what}");
            if provider == Provider::Finvypay {
                assert_eq!(attempts(&calls, &stored.id), [1, 1], "{what}");
            }
            assert_payable(provider, &key, &stored.id, &what).await;
        }
    }))
    .await;
}

/// The buyer pays the stopped holder's payment before anyone else knows its id.
#[tokio::test(flavor = "multi_thread")]
async fn payment_paid_while_its_holder_is_stopped() {
    join_all(BOTH.map(async |provider| {
        let other = Holder::other(provider).await;
        let (key, now) = (unique("paid"), clock::now());
        let holder = Holder::with_fault(provider, now, STOP).await;
        let request = holder.post(&key);
        let pid = holder.stopped().await;
        webhooks(json!({ "provider": provider, "orderId": key })).await;
        let response = take_over(&other, &key, now).await;
        assert_eq!((response.status, response.str("status")), (201, "completed".to_owned()));
        assert_eq!(calls(provider, &key).await.len(), 1, "no further provider call");
        let stored = StoredState::now(provider, &key).await;
        wake(pid);
        let woken = request.await.expect("a response");
        assert_eq!((woken.status, &woken.text), (201, &response.text));
        stored.assert_unchanged(provider, &key, aws::name(provider)).await;
        assert_eq!(status_of(&stored.id).await, "completed");
    }))
    .await;
}
