//! Rotating a provider's secret while requests run: no webhook and no payment is lost, whatever is forged meanwhile.
//!
//! What "lost" means for a create: every idempotency key leads to one payment that can be paid, and where the new key is
//! stored before the provider stops taking the old one, no caller even sees an error.

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
use crate::support::{Answer, Provider, Value, json, post_to, unique, world};
use crate::webhooks::{completion, reference, send_signed};

const OLD: &str = "local_old";
const NEW: &str = "local_new";
const NEWEST: &str = "local_newest";
const STRANGE: &str = "local_of_someone_else";

const MINUTE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(1);

/// A provider's secret, whose members are all alike: what it signs with is also the key that it takes.
fn value(text: &str) -> Value {
    json!({ "secretKey": text, "apiKey": text, "webhookSecret": text })
}

/// A provider with a secret of its own, and the functions that use it, each behind a proxy.
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

    /// From now on the provider takes this key and no other.
    async fn take_only(&self, key: &str) {
        self.control
            .good_keys(self.provider, &[key])
            .await
            .expect("the stand-ins");
    }

    /// Asks for a payment of an order, which is the request's idempotency key too.
    async fn create(&self, order_id: &str) -> Answer {
        let body = body(self.provider, order_id).to_string();
        let headers = [("idempotency-key", order_id)];
        post_to(self.create.url(), route(self.provider), body, &headers).await
    }

    /// The calls that the provider got for an order.
    async fn calls(&self, order_id: &str) -> Calls {
        self.control.calls(self.provider, order_id).await.expect("the calls")
    }

    /// A payment that waits for its webhook.
    async fn created(&self) -> Answer {
        let created = self.create(&unique("rotation")).await;
        assert_eq!(created.status, 201, "{created:?}");
        created
    }

    /// Several, made a few at a time.
    async fn several(&self, count: usize) -> Vec<Answer> {
        let payments = (0..count).map(|_| self.created());
        stream::iter(payments).buffer_unordered(3).collect().await
    }

    /// The status that the completion of a payment gets, signed with `secret`.
    async fn complete(&self, created: &Answer, secret: &str) -> u16 {
        let body = completion(created, &json!({ "paymentFunctionsId": created.str("id") })).to_string();
        send_signed(self.webhooks.url(), self.provider, &body, secret)
            .await
            .status
    }

    /// The status that a webhook gets which changes nothing of a payment.
    async fn signed_with(&self, created: &Answer, secret: &str) -> u16 {
        let mut body = completion(created, &json!({ "paymentFunctionsId": created.str("id") }));
        let word = match self.provider {
            Provider::Apolopay => "status",
            Provider::Finvypay => "event",
        };
        body[word] = json!("nothing known");
        send_signed(self.webhooks.url(), self.provider, &body.to_string(), secret)
            .await
            .status
    }

    /// Sends webhooks that nobody signed who could, a few at a time: the local gateway stalls with more than a hundred.
    async fn forge(&self, created: &Answer, count: usize) {
        let forgeries = (0..count).map(|_| self.signed_with(created, STRANGE));
        let statuses: Vec<u16> = stream::iter(forgeries).buffer_unordered(10).collect().await;
        assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");
    }

    /// Sends webhooks until all the instances together have fetched the secret so often.
    async fn until_fetched(&self, fetches: usize, webhooks: impl AsyncFn()) {
        let fetched = async {
            while self.webhook_proxy.count("GetSecretValue") < fetches {
                webhooks().await;
            }
        };
        timeout(MINUTE, fetched).await.expect("so many fetches");
    }

    /// Forges until every instance has fetched the secret as often as it may, `fetches` times in all.
    async fn forge_until(&self, created: &Answer, fetches: usize) {
        self.until_fetched(fetches, async || self.forge(created, INSTANCES).await)
            .await;
    }
}

/// How much goes on before a rotation takes its next step.
const STEP: usize = 40;
/// How many requests run at one time.
const WORKERS: usize = 4;
const INSTANCES: usize = 3;
#[tokio::test(flavor = "multi_thread")]
async fn rotating_a_secret_under_load_loses_nothing() {
    join_all(BOTH.map(rotate_under_load)).await;
}

/// Payments are created and paid all the time, while the secret is rotated twice as docs/rotation.md has it: once in a hurry,
/// and once with the time in which every function renews its secrets by itself.
async fn rotate_under_load(provider: Provider) {
    let side = Side::start(provider, INSTANCES).await;
    // What the provider signs with, in turns; nothing once it is over.
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
        side.control.good_keys(provider, &keys).await.expect("the stand-ins");
        a_step().await;
        side.store(new).await;
        side.clock.advance(wait);
        signers.send_replace(vec![old, new]);
        a_step().await;
        side.take_only(new).await;
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
        "an instance is refused once, in the rotation that does not wait: {refused}"
    );
}

/// One payment at the provider, which its key leads to, and one attempt at it. Gives how many calls were refused for their
/// key.
async fn assert_created_once(side: &Side, order_id: &str, created: &Answer) -> usize {
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
    assert_eq!(after.len(), calls.calls.len(), "a replay calls nobody");
    refused.len()
}

/// The provider has switched over before the new key is stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_stored_too_late_costs_errors_but_no_payment() {
    join_all(BOTH.map(async |provider| {
        let side = Side::start(provider, 1).await;
        side.created().await;
        side.take_only(NEW).await;
        side.create_proxy.reset();
        let order_id = unique("late");
        let first = side.create(&order_id).await;
        assert_eq!(first.problem(), (502, "PROVIDER_ERROR".to_owned()));
        assert_eq!(side.create_proxy.count("GetSecretValue"), 1, "there is nothing newer");

        side.store(NEW).await;
        side.clock.advance(MINUTE - MOMENT);
        let second = side.create(&order_id).await;
        assert_eq!(second.problem(), (502, "PROVIDER_ERROR".to_owned()));
        assert_eq!(
            side.create_proxy.count("GetSecretValue"),
            1,
            "it was asked within the last minute"
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

/// What is made of a refused key where there is a newer one, and the call with that fails too.
#[tokio::test(flavor = "multi_thread")]
async fn the_call_with_the_newer_key_is_the_last_and_has_what_is_left_of_the_time() {
    let refused = json!({ "error": "UNAUTHORIZED" });
    let cases = [
        // The two replies, what is answered, and which attempt the next call is.
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
    side.control.good_keys(provider, &keys).await.expect("the stand-ins");
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
        assert!(took < 10_000, "{what}: 15 s together, and {took} ms of them");
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

/// Nothing newer can be had, or there is nothing newer: one call, and its answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_without_a_newer_one_is_not_tried_again() {
    join_all(BOTH.map(async |provider| {
        let side = Side::start(provider, 1).await;
        side.created().await;
        side.take_only(NEW).await;
        for fault in [None, Some(Fault::UNAVAILABLE), Some(Fault::Hang)] {
            side.create_proxy.reset();
            if let Some(fault) = &fault {
                side.create_proxy.fail("GetSecretValue", fault.clone());
            }
            let order_id = unique("refused");
            let answer = side.create(&order_id).await;
            assert_eq!(answer.problem(), (502, "PROVIDER_ERROR".to_owned()), "{fault:?}");
            assert!(side.create_proxy.count("GetSecretValue") > 0, "{fault:?}");
            let calls = side.calls(&order_id).await.calls;
            assert_eq!(calls.len(), 1, "{fault:?}");
            side.clock.advance(MINUTE);
        }
    }))
    .await;
}

/// Forgeries come all the time, at every instance, while good webhooks do.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_forgeries_costs_a_refresh_a_minute_and_no_webhook() {
    const FLOOD: usize = 100;
    join_all(BOTH.map(async |provider| {
        let side = Side::start(provider, INSTANCES).await;
        let target = side.created().await;
        // Each instance is made to fetch the secret once more, with the version before.
        side.forge_until(&target, 2 * INSTANCES).await;
        for minute in 1..=3 {
            side.webhook_proxy.reset();
            let good = side.several(20).await;
            let taken = async || {
                let webhooks = good.iter().map(|created| side.complete(created, OLD));
                join(side.forge(&target, FLOOD), join_all(webhooks)).await.1
            };
            side.clock.advance(MINUTE - MOMENT);
            assert_eq!(taken().await, [200; 20]);
            assert_eq!(
                side.webhook_proxy.count("GetSecretValue"),
                0,
                "minute {minute} is not over"
            );
            side.clock.advance(MOMENT);
            side.forge_until(&target, 2 * INSTANCES).await;
            assert_eq!(taken().await, [200; 20], "once more");
            assert_eq!(
                side.webhook_proxy.count("GetSecretValue"),
                2 * INSTANCES,
                "minute {minute}"
            );
            for created in &good {
                assert_eq!(aws::facts(&created.str("id")).await.len(), 1);
            }
        }
        assert_eq!(
            aws::facts(&target.str("id")).await.len(),
            0,
            "a forgery is stored nowhere"
        );
    }))
    .await;
}

/// A rotation in a flood, as docs/rotation.md has it: stored a minute before the provider signs with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_stored_a_minute_before_it_is_used_loses_nothing_in_a_flood() {
    join_all(BOTH.map(async |provider| {
        let side = Side::start(provider, INSTANCES).await;
        let target = side.created().await;
        let good = side.several(10).await;
        // The flood has used the minute's refresh up everywhere when the secret is stored.
        side.forge_until(&target, 2 * INSTANCES).await;
        side.store(NEW).await;
        side.forge(&target, 50).await;
        assert_eq!(side.signed_with(&target, OLD).await, 200, "nothing noticed yet");
        assert_eq!(
            side.signed_with(&target, NEW).await,
            401,
            "it is for this that it must be stored before"
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

        // Once every cache has renewed by itself, not even Secrets Manager need answer.
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

/// CommitExtras in a cache that was filled before the day was over.
#[tokio::test(flavor = "multi_thread")]
async fn the_secret_before_is_good_for_a_day_and_no_longer() {
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
        assert_eq!(side.webhook_proxy.count("GetSecretValue"), 0, "and still is");
        assert_eq!(side.signed_with(&target, OLD).await, 401);
        assert_eq!(
            side.webhook_proxy.count("GetSecretValue"),
            1,
            "the one before is not asked for any more"
        );
        assert_eq!(side.signed_with(&target, NEW).await, 200);
    }))
    .await;
}
