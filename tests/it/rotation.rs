//! Rotates a provider's secret under load: no webhook and no payment is lost, even during forgeries.
//!
//! Every idempotency key ends in one payment that can be paid. If the new key is stored before the provider drops the
//! old one, no caller sees an error.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use futures_util::{StreamExt, stream};
use payment_functions::platform::clock;
use payment_functions::platform::secrets::{SecretSource, SecretsManager};
use payment_functions_local::sandbox::{Call, Calls, Config, Control, Sandbox};
use payment_functions_tests::world::{Attached, AwsProxy, Fault};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::aws;
use crate::clock::Clock;
use crate::routes::{BOTH, body, function, route};
use crate::support::{Provider, Response, Value, json, post_to, unique, world};
use crate::webhooks::{completion, reference, send_signed};

const OLD: &str = "local_old";
const NEW: &str = "local_new";
const NEWEST: &str = "local_newest";
const STRANGE: &str = "local_of_someone_else";

const MINUTE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(1);

/// A provider's secret with all members alike: API key and webhook secret.
fn value(text: &str) -> Value {
    json!({ "secretKey": text, "apiKey": text, "webhookSecret": text })
}

/// A provider with its own secret, and its functions, each with a proxy.
struct Side {
    provider: Provider,
    secret: String,
    _sandbox: Sandbox,
    control: Control,
    create: Attached,
    create_proxy: AwsProxy,
    webhooks: Attached,
    webhook_proxy: AwsProxy,
    clock: Clock,
}

impl Side {
    async fn start(provider: Provider, instances: usize) -> Self {
        let secret = aws::create_secret(&value(OLD)).await;
        let config = Config {
            apolopay_secret_key: OLD.to_owned(),
            finvypay_api_key: OLD.to_owned(),
            ..Config::default()
        };
        let sandbox = Sandbox::start(config).await.expect("stand-ins");
        let (create_proxy, webhook_proxy) = (aws::proxy().await, aws::proxy().await);
        let clock = Clock::at(clock::now());
        let name = aws::name(provider);
        let [secret_id, base_url] = ["SECRET_ID", "BASE_URL"].map(|end| format!("{}_{end}", name.to_uppercase()));
        let provider_url = format!("{}/{name}", sandbox.url());
        let attach = async |function, proxy: &AwsProxy| {
            let changes = [
                (secret_id.as_str(), Some(secret.as_str())),
                (base_url.as_str(), Some(provider_url.as_str())),
                ("AWS_ENDPOINT_URL", Some(proxy.url())),
                clock.variable(),
            ];
            let attached = world().await.attach(function, instances, &changes).await;
            let attached = attached.expect("a function");
            attached.ready().await.expect("a start");
            proxy.reset();
            attached
        };
        let (create, webhooks) = join(
            attach(function(provider), &create_proxy),
            attach("webhook-handler", &webhook_proxy),
        )
        .await;
        Self {
            provider,
            control: Control::new(&sandbox.url()).expect("a control client"),
            secret,
            _sandbox: sandbox,
            create,
            create_proxy,
            webhooks,
            webhook_proxy,
            clock,
        }
    }

    async fn store(&self, text: &str) {
        aws::put_secret(&self.secret, &value(text)).await;
    }

    /// From now on the provider accepts only this API key.
    async fn accept_only(&self, key: &str) {
        self.control
            .accept_keys(self.provider, &[key])
            .await
            .expect("the stand-ins");
    }

    /// Creates a payment; the order id is also the idempotency key.
    async fn create(&self, order_id: &str) -> Response {
        let body = body(self.provider, order_id).to_string();
        let headers = [("idempotency-key", order_id)];
        post_to(self.create.url(), route(self.provider), body, &headers).await
    }

    /// The provider's calls for an order.
    async fn calls(&self, order_id: &str) -> Calls {
        self.control.calls(self.provider, order_id).await.expect("the calls")
    }

    /// A payment that waits for its webhook.
    async fn created(&self) -> Response {
        let created = self.create(&unique("rotation")).await;
        assert_eq!(created.status, 201, "{created:?}");
        created
    }

    /// Several of them, created a few at a time.
    async fn several(&self, count: usize) -> Vec<Response> {
        let payments = (0..count).map(|_| self.created());
        stream::iter(payments).buffer_unordered(3).collect().await
    }

    /// The status of the response to a payment's completion, signed with `secret`.
    async fn complete(&self, created: &Response, secret: &str) -> u16 {
        let body = completion(created, &json!({ "paymentFunctionsId": created.str("id") })).to_string();
        send_signed(self.webhooks.url(), self.provider, &body, secret)
            .await
            .status
    }

    /// The status of the response to a webhook that changes nothing.
    async fn signed_with(&self, created: &Response, secret: &str) -> u16 {
        let mut body = completion(created, &json!({ "paymentFunctionsId": created.str("id") }));
        let word = match self.provider {
            Provider::Apolopay => "status",
            Provider::Finvypay => "event",
        };
        body[word] = json!("an unknown error");
        send_signed(self.webhooks.url(), self.provider, &body.to_string(), secret)
            .await
            .status
    }

    /// Sends forged webhooks, a few at a time: the local gateway stalls with more than a hundred.
    async fn forge(&self, created: &Response, count: usize) {
        let forgeries = (0..count).map(|_| self.signed_with(created, STRANGE));
        let statuses: Vec<u16> = stream::iter(forgeries).buffer_unordered(10).collect().await;
        assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");
    }

    /// Sends webhooks until all instances together have fetched the secret this often.
    async fn until_fetched(&self, fetches: usize, webhooks: impl AsyncFn()) {
        let fetched = async {
            while self.webhook_proxy.count("GetSecretValue") < fetches {
                webhooks().await;
            }
        };
        timeout(MINUTE, fetched).await.expect("the expected fetches");
    }

    /// Sends forgeries until every instance has used its refreshes, `fetches` in all.
    async fn forge_until(&self, created: &Response, fetches: usize) {
        self.until_fetched(fetches, async || self.forge(created, INSTANCES).await)
            .await;
    }
}

/// Requests per step of a rotation.
const STEP: usize = 40;
/// Concurrent requests.
const WORKERS: usize = 4;
const INSTANCES: usize = 3;
#[tokio::test(flavor = "multi_thread")]
async fn rotation_under_load_loses_nothing() {
    join_all(BOTH.map(rotate_under_load)).await;
}

/// Creates and completes payments continuously while the secret is rotated twice as in docs/rotation.md: once in a
/// hurry, and once waiting until every function has renewed its secrets.
async fn rotate_under_load(provider: Provider) {
    let side = Side::start(provider, INSTANCES).await;
    // The provider's signing secrets, used in turn; empty at the end.
    let (signers, done) = (watch::channel(vec![OLD]).0, watch::channel(0_usize).0);
    let payments = Mutex::new(BTreeMap::new());

    let work = async |worker: usize| {
        for round in worker.. {
            let signers = signers.borrow().clone();
            let Some(secret) = signers.get(round % signers.len().max(1)) else {
                return;
            };
            let order_id = unique("rotation");
            let created = side.create(&order_id).await;
            assert_eq!(created.status, 201, "{signers:?}: {created:?}");
            assert_eq!(side.complete(&created, secret).await, 200, "{secret} of {signers:?}");
            payments.lock().unwrap().insert(order_id, created);
            done.send_modify(|done| *done += 1);
        }
    };
    let a_step = async || {
        let enough = *done.borrow() + STEP;
        let mut done = done.subscribe();
        let progress = timeout(MINUTE, done.wait_for(|done| *done >= enough));
        progress.await.expect("progress").expect("the workers");
    };
    let rotate = async |old, new, wait: Duration| {
        let keys = [old, new];
        side.control.accept_keys(provider, &keys).await.expect("the stand-ins");
        a_step().await;
        side.store(new).await;
        side.clock.advance(wait);
        signers.send_replace(vec![old, new]);
        a_step().await;
        side.accept_only(new).await;
        a_step().await;
        signers.send_replace(vec![new]);
        a_step().await;
    };
    let drive = async {
        a_step().await;
        rotate(OLD, NEW, Duration::ZERO).await;
        rotate(NEW, NEWEST, 6 * MINUTE).await;
        signers.send_replace(vec![]);
    };
    join(join_all((0..WORKERS).map(work)), drive).await;

    let payments = payments.into_inner().unwrap();
    assert!(payments.len() >= 9 * STEP);
    let mut refused = 0;
    for (order_id, created) in &payments {
        refused += assert_created_once(&side, order_id, created).await;
        let id = created.str("id");
        let state = aws::state(&id).await.expect("the payment");
        assert_eq!(state["status"], "completed", "{state}");
        assert_eq!(aws::facts(&id).await.len(), 1, "{id}");
    }
    assert!(
        (1..=INSTANCES).contains(&refused),
        "more refused calls than one per instance in the hurried rotation: {refused}"
    );
}

/// Asserts one payment and one attempt at the provider. Returns the number of calls with a refused key.
async fn assert_created_once(side: &Side, order_id: &str, created: &Response) -> usize {
    let (provider, control) = (side.provider, &side.control);
    let calls = side.calls(order_id).await;
    assert_eq!(calls.max_in_flight, 1);
    let (last, refused) = calls.calls.split_last().expect("a call");
    assert_eq!(last.ids.first(), Some(&reference(created)));
    assert!(refused.len() <= 1, "{calls:?}");
    for call in refused {
        assert_eq!(call.status, Some(401));
        assert_eq!(call.body, last.body, "the same request again");
        let attempt = |call: &Call| call.headers.get("idempotency-key").cloned();
        assert_eq!(attempt(call), attempt(last));
    }
    let payments = control.payments(provider, order_id).await.expect("the payments");
    assert_eq!(payments.len(), 1, "{payments:?}");

    let again = side.create(order_id).await;
    assert_eq!((again.status, &again.text), (201, &created.text));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let after = side.calls(order_id).await.calls;
    assert_eq!(after.len(), calls.calls.len(), "a replay makes no call");
    refused.len()
}

/// The provider switches over before the new key is stored.
#[tokio::test(flavor = "multi_thread")]
async fn api_key_stored_late_loses_no_payment() {
    join_all(BOTH.map(async |provider| {
        let side = Side::start(provider, 1).await;
        side.created().await;
        side.accept_only(NEW).await;
        side.create_proxy.reset();
        let order_id = unique("late");
        let first = side.create(&order_id).await;
        assert_eq!(first.problem(), (502, "PROVIDER_ERROR".to_owned()));
        assert_eq!(side.create_proxy.count("GetSecretValue"), 1, "no newer key");

        side.store(NEW).await;
        side.clock.advance(MINUTE - MOMENT);
        let second = side.create(&order_id).await;
        assert_eq!(second.problem(), (502, "PROVIDER_ERROR".to_owned()));
        assert_eq!(
            side.create_proxy.count("GetSecretValue"),
            1,
            "refreshed within the last minute"
        );
        side.clock.advance(MOMENT);
        let third = side.create(&order_id).await;
        assert_eq!(third.status, 201, "{third:?}");
        assert_eq!([first.str("id"), second.str("id")], [third.str("id"), third.str("id")]);
        assert_eq!(side.complete(&third, OLD).await, 200);

        let calls = side.calls(&order_id).await.calls;
        let statuses: Vec<_> = calls.iter().map(|call| call.status.unwrap_or_default() / 100).collect();
        assert_eq!(statuses, [4, 4, 4, 2]);
        assert_attempts(provider, &calls, &third.str("id"), &[1, 2, 3, 3]);
    }))
    .await;
}

/// By FinvyPay's idempotency key.
fn assert_attempts(provider: Provider, calls: &[Call], id: &str, expected: &[u32]) {
    if provider == Provider::Finvypay {
        let keys: Vec<_> = calls
            .iter()
            .map(|call| call.headers["idempotency-key"].clone())
            .collect();
        let expected: Vec<_> = expected.iter().map(|attempt| format!("{id}-{attempt}")).collect();
        assert_eq!(keys, expected);
    }
}

/// A refused key, a newer one, and a failing call with it.
#[tokio::test(flavor = "multi_thread")]
async fn retry_with_the_new_key_is_the_last_call() {
    let refused = json!({ "error": "UNAUTHORIZED" });
    let cases = [
        // The two replies, the response's status, and the next call's attempt.
        (refused.clone(), refused.clone(), 502, 2),
        (refused.clone(), json!({ "error": "INTERNAL_ERROR" }), 502, 2),
        (refused, json!({ "drop": "beforeReply" }), 502, 1),
        (
            json!({ "error": "FORBIDDEN", "delayMs": 9000 }),
            json!({ "hang": true }),
            504,
            1,
        ),
    ];
    join_all(BOTH.map(async |provider| {
        for case in &cases {
            fail_twice(provider, case).await;
        }
    }))
    .await;
}

async fn fail_twice(provider: Provider, (first, second, status, attempt): &(Value, Value, u16, u32)) {
    let what = format!("{provider:?}: {first}, {second}");
    let side = Side::start(provider, 1).await;
    side.created().await;
    let keys = [OLD, NEW];
    side.control.accept_keys(provider, &keys).await.expect("the stand-ins");
    side.store(NEW).await;
    let order_id = unique("twice");
    let replies = json!([first, second]);
    side.control
        .replies(provider, &order_id, replies)
        .await
        .expect("a script");

    let begin = Instant::now();
    let failed = side.create(&order_id).await;
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{what}: {:?}",
        begin.elapsed()
    );
    assert_eq!(failed.problem().0, *status, "{what}");
    if *status == 504 {
        let ended = [("atLeast", "2"), ("ended", "true")];
        let calls = side.control.calls_where(provider, &order_id, &ended).await;
        let last = calls.expect("their ends").calls.remove(1);
        let took = last.ended_ms.expect("its end") - last.received_ms;
        assert!(took < 10_000, "{what}: 15 s in total, {took} ms used");
    }
    let then = side.create(&order_id).await;
    assert_eq!((then.status, then.str("id")), (201, failed.str("id")), "{what}");
    let calls = side.calls(&order_id).await;
    assert_eq!((calls.calls.len(), calls.max_in_flight), (3, 1), "{what}");
    let key = |call: &Call| match provider {
        Provider::Apolopay => call.headers["x-secret-key"].clone(),
        Provider::Finvypay => call.headers["authorization"].replace("Bearer ", ""),
    };
    assert_eq!(
        calls.calls.iter().map(key).collect::<Vec<_>>(),
        [OLD, NEW, NEW],
        "{what}"
    );
    assert_attempts(provider, &calls.calls, &then.str("id"), &[1, 1, *attempt]);
}

/// No newer key, or none available: one call and its response.
#[tokio::test(flavor = "multi_thread")]
async fn refused_key_without_a_newer_one_is_not_retried() {
    join_all(BOTH.map(async |provider| {
        let side = Side::start(provider, 1).await;
        side.created().await;
        side.accept_only(NEW).await;
        for fault in [None, Some(Fault::UNAVAILABLE), Some(Fault::Hang)] {
            side.create_proxy.reset();
            if let Some(fault) = &fault {
                side.create_proxy.fail("GetSecretValue", fault.clone());
            }
            let order_id = unique("refused");
            let response = side.create(&order_id).await;
            assert_eq!(response.problem(), (502, "PROVIDER_ERROR".to_owned()), "{fault:?}");
            assert!(side.create_proxy.count("GetSecretValue") > 0, "{fault:?}");
            let calls = side.calls(&order_id).await.calls;
            assert_eq!(calls.len(), 1, "{fault:?}");
            side.clock.advance(MINUTE);
        }
    }))
    .await;
}

/// Forgeries at every instance, together with genuine webhooks.
#[tokio::test(flavor = "multi_thread")]
async fn forgeries_cost_one_refresh_a_minute() {
    const FLOOD: usize = 100;
    join_all(BOTH.map(async |provider| {
        let side = Side::start(provider, INSTANCES).await;
        let target = side.created().await;
        // Makes each instance fetch the secret once more, with the previous version.
        side.forge_until(&target, 2 * INSTANCES).await;
        for minute in 1..=3 {
            side.webhook_proxy.reset();
            let good = side.several(20).await;
            let deliver = async || {
                let webhooks = good.iter().map(|created| side.complete(created, OLD));
                join(side.forge(&target, FLOOD), join_all(webhooks)).await.1
            };
            side.clock.advance(MINUTE - MOMENT);
            assert_eq!(deliver().await, [200; 20]);
            assert_eq!(
                side.webhook_proxy.count("GetSecretValue"),
                0,
                "minute {minute} is not over"
            );
            side.clock.advance(MOMENT);
            side.forge_until(&target, 2 * INSTANCES).await;
            assert_eq!(deliver().await, [200; 20], "once more");
            assert_eq!(
                side.webhook_proxy.count("GetSecretValue"),
                2 * INSTANCES,
                "minute {minute}"
            );
            for created in &good {
                assert_eq!(aws::facts(&created.str("id")).await.len(), 1);
            }
        }
        assert_eq!(aws::facts(&target.str("id")).await.len(), 0, "forgeries store nothing");
    }))
    .await;
}

/// A rotation during a flood of forgeries, as in docs/rotation.md: stored a minute before the provider signs with it.
#[tokio::test(flavor = "multi_thread")]
async fn secret_stored_a_minute_early_loses_nothing_in_a_flood() {
    join_all(BOTH.map(async |provider| {
        let side = Side::start(provider, INSTANCES).await;
        let target = side.created().await;
        let good = side.several(10).await;
        // All instances have used their refresh of this minute when the secret is stored.
        side.forge_until(&target, 2 * INSTANCES).await;
        side.store(NEW).await;
        side.forge(&target, 50).await;
        assert_eq!(side.signed_with(&target, OLD).await, 200, "the cached secret is used");
        assert_eq!(
            side.signed_with(&target, NEW).await,
            401,
            "which is why it must be stored early"
        );

        side.clock.advance(MINUTE);
        let flood = async || side.forge(&target, 50).await;
        let webhooks = good
            .iter()
            .enumerate()
            .map(|(index, created)| side.complete(created, [OLD, NEW][index % 2]));
        let (statuses, ()) = join(join_all(webhooks), flood()).await;
        assert_eq!(statuses, [200; 10]);
        for created in &good {
            assert_eq!(aws::facts(&created.str("id")).await.len(), 1);
        }

        // Once every cache has renewed itself, Secrets Manager may be unavailable.
        side.store(NEWEST).await;
        side.clock.advance(Duration::from_secs(330));
        side.webhook_proxy.reset();
        side.until_fetched(2 * INSTANCES, async || {
            assert_eq!(side.signed_with(&target, NEW).await, 200);
        })
        .await;
        side.webhook_proxy.fail("GetSecretValue", Fault::UNAVAILABLE);
        let (statuses, _) = join(
            join_all((0..10).map(|index| side.signed_with(&target, [NEW, NEWEST][index % 2]))),
            join_all((0..50).map(|_| side.signed_with(&target, STRANGE))),
        )
        .await;
        assert_eq!(statuses, [200; 10]);
    }))
    .await;
}

/// Even in a cache filled before the end of the day.
#[tokio::test(flavor = "multi_thread")]
async fn previous_secret_is_valid_for_a_day() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    join_all(BOTH.map(async |provider| {
        let side = Side::start(provider, 1).await;
        let target = side.created().await;
        side.store(NEW).await;
        let source = SecretsManager::new(
            aws::clients(world().await.aws_url()).secrets_manager(),
            side.secret.clone(),
        );
        let stored = source.fetch(None).await.expect("the secret").created_at;
        let end = stored.plus(DAY);

        side.clock.set(end.minus(Duration::from_secs(2)));
        assert_eq!(side.signed_with(&target, OLD).await, 200);
        side.webhook_proxy.reset();
        side.clock.set(end.minus(MOMENT));
        assert_eq!(side.signed_with(&target, OLD).await, 200);
        assert_eq!(side.webhook_proxy.count("GetSecretValue"), 0, "the cache is full");
        side.clock.set(end);
        assert_eq!(side.signed_with(&target, NEW).await, 200);
        assert_eq!(side.webhook_proxy.count("GetSecretValue"), 0, "and still valid");
        assert_eq!(side.signed_with(&target, OLD).await, 401);
        assert_eq!(
            side.webhook_proxy.count("GetSecretValue"),
            1,
            "the previous version is not fetched any more"
        );
        assert_eq!(side.signed_with(&target, NEW).await, 200);
    }))
    .await;
}
