//! Webhook secrets while they are rotated, attacked and out of reach.

use std::time::Duration;

use futures_util::future::join_all;
use payment_functions::domain::time::Timestamp;
use payment_functions::domain::webhook_signature::Signature;
use payment_functions::platform::clock;
use payment_functions::platform::secrets::{SecretCache, SecretsManager, WebhookSecrets};
use payment_functions_local::sandbox::sign;
use payment_functions_tests::world::{Attached, AwsProxy, Fault, USUAL_LIMITS};

use crate::aws;
use crate::support::{Answer, Provider, Value, create, json, unique, world};
use crate::webhooks::{completion, dynamodb_calls, send_signed};

const OLD: &str = "whsec_old";
const NEW: &str = "whsec_new";
const STRANGE: &str = "whsec_of_someone_else";

fn value(webhook_secret: &str) -> Value {
    json!({ "apiKey": "k", "webhookSecret": webhook_secret })
}

/// A webhook-handler whose secret for FinvyPay is the test's own.
struct Handler {
    secret: String,
    proxy: AwsProxy,
    function: Attached,
    created: Answer,
}

impl Handler {
    async fn start() -> Self {
        Self::after(&[OLD]).await
    }

    /// One that starts when the secret had these values, one after the other.
    async fn after(secrets: &[&str]) -> Self {
        let (first, later) = secrets.split_first().expect("a secret");
        let secret = aws::create_secret(&value(first)).await;
        for later in later {
            aws::put_secret(&secret, &value(later)).await;
        }
        let proxy = aws::proxy().await;
        let changes = [
            ("FINVYPAY_SECRET_ID", Some(secret.as_str())),
            ("AWS_ENDPOINT_URL", Some(proxy.url())),
            USUAL_LIMITS,
        ];
        let function = world()
            .await
            .attach("webhook-handler", 1, &changes)
            .await
            .expect("a handler");
        function.ready().await.expect("a start");
        let created = create(Provider::Finvypay, &unique("secret")).await;
        Self {
            secret,
            proxy,
            function,
            created,
        }
    }

    /// The status that a webhook gets which is signed with `secret`.
    async fn signed_with(&self, secret: &str) -> u16 {
        let body = completion(&self.created, &json!({ "paymentFunctionsId": self.created.str("id") })).to_string();
        send_signed(self.function.url(), Provider::Finvypay, &body, secret)
            .await
            .status
    }

    fn fetches(&self) -> usize {
        self.proxy.count("GetSecretValue")
    }
}

#[tokio::test]
async fn a_new_secret_is_good_at_once_and_the_one_before_still_is() {
    let handler = Handler::start().await;
    assert_eq!(handler.signed_with(OLD).await, 200);
    handler.proxy.reset();
    assert_eq!(handler.signed_with(OLD).await, 200);
    assert_eq!(handler.fetches(), 0, "it is cached");

    aws::put_secret(&handler.secret, &value(NEW)).await;
    assert_eq!(handler.signed_with(OLD).await, 200, "nothing noticed yet");
    assert_eq!(handler.fetches(), 0);
    assert_eq!(handler.signed_with(NEW).await, 200, "fetched because it did not verify");
    assert_eq!(handler.fetches(), 2, "the current version and the one before");
    for (secret, status) in [(OLD, 200), (NEW, 200), (STRANGE, 401), ("", 401)] {
        assert_eq!(handler.signed_with(secret).await, status, "{secret}");
    }
    assert_eq!(handler.fetches(), 2);
}

#[tokio::test]
async fn a_handler_that_starts_during_the_rotation_knows_both() {
    let handler = Handler::after(&[OLD, NEW]).await;
    for (secret, status) in [(OLD, 200), (NEW, 200), (STRANGE, 401)] {
        assert_eq!(handler.signed_with(secret).await, status, "{secret}");
    }
}

#[tokio::test]
async fn the_secret_before_the_one_before_is_not_good() {
    let handler = Handler::after(&[OLD, NEW, "whsec_newest"]).await;
    for (secret, status) in [(OLD, 401), (NEW, 200), ("whsec_newest", 200)] {
        assert_eq!(handler.signed_with(secret).await, status, "{secret}");
    }
}

/// As docs/rotation.md has it: stored over, it would have cost the one before.
#[tokio::test]
async fn a_version_that_was_a_mistake_is_taken_back() {
    for is_noticed in [false, true] {
        let handler = Handler::start().await;
        assert_eq!(handler.signed_with(OLD).await, 200);
        aws::put_secret(&handler.secret, &value("whsec_mistake")).await;
        if is_noticed {
            assert_eq!(handler.signed_with("whsec_mistake").await, 200);
        }
        aws::take_back_secret(&handler.secret).await;
        assert_eq!(handler.signed_with(OLD).await, 200);
        aws::put_secret(&handler.secret, &value(NEW)).await;
        assert_eq!(handler.signed_with(OLD).await, 200);
        // Where the mistake used the minute's refresh up, the new one is known a minute later.
        assert_eq!(handler.signed_with(NEW).await, if is_noticed { 401 } else { 200 });
        let fresh = aws::behind_proxy("webhook-handler", &[("FINVYPAY_SECRET_ID", Some(&handler.secret))]).await;
        let handler = Handler {
            function: fresh.1,
            ..handler
        };
        for (secret, status) in [(OLD, 200), (NEW, 200), ("whsec_mistake", 401)] {
            assert_eq!(handler.signed_with(secret).await, status, "{secret}");
        }
    }
}

#[tokio::test]
async fn a_rotation_away_from_no_secret_and_to_none() {
    let handler = Handler::after(&[OLD, ""]).await;
    assert_eq!(
        handler.signed_with(OLD).await,
        401,
        "an empty secret switches verification off for all"
    );
    assert_eq!(handler.signed_with("").await, 401);

    let handler = Handler::after(&[OLD, "", NEW]).await;
    assert_eq!(
        handler.signed_with("").await,
        401,
        "the empty one before verifies nothing"
    );
    assert_eq!(handler.signed_with(NEW).await, 200);
}

#[tokio::test]
async fn a_flood_of_wrong_signatures_fetches_the_secret_once_more_at_most() {
    let handler = Handler::start().await;
    assert_eq!(handler.signed_with(OLD).await, 200);
    handler.proxy.reset();
    let statuses = join_all((0..50).map(|_| handler.signed_with(STRANGE))).await;
    assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");
    // Each fetch asks for the version before, too.
    assert_eq!(handler.fetches(), 2);
    assert_eq!(dynamodb_calls(&handler.proxy), [""; 0]);
    assert_eq!(handler.signed_with(OLD).await, 200);
    assert_eq!(handler.fetches(), 2);
}

#[tokio::test]
async fn secrets_out_of_reach_after_the_first_fetch_do_no_harm() {
    let faults = [
        Fault::UNAVAILABLE,
        Fault::Disconnect,
        Fault::Hang,
        Fault::Error(400, "ResourceNotFoundException"),
    ];
    join_all(faults.into_iter().map(async |fault| {
        let handler = Handler::start().await;
        assert_eq!(handler.signed_with(OLD).await, 200);
        handler.proxy.fail("GetSecretValue", fault.clone());
        assert_eq!(handler.signed_with(OLD).await, 200);
        // This one asks for a fresh secret. Where none comes it may be signed with just that one, so it is to be sent
        // again; and the old one is not lost over it.
        let is_absent = matches!(fault, Fault::Error(400, _));
        let expected = if is_absent { 401 } else { 503 };
        for _ in 0..2 {
            assert_eq!(handler.signed_with(STRANGE).await, expected, "{fault:?}");
        }
        assert_eq!(handler.signed_with(OLD).await, 200, "{fault:?}");
    }))
    .await;
}

/// The function's own cache at times that nobody wants to wait for.
#[tokio::test]
async fn the_cache_grows_stale_on_errors_and_forgets_the_secret_before_after_a_day() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let id = aws::create_secret(&value(OLD)).await;
    aws::put_secret(&id, &value(NEW)).await;
    let proxy = aws::proxy().await;
    let source = SecretsManager::new(aws::clients(proxy.url()).secrets_manager(), id);
    let cache: SecretCache<WebhookSecrets> = SecretCache::new(source, "webhookSecret");
    let body = b"{}";
    let verifies = async |secret: &str, now: Timestamp| {
        let verifier = cache.get(now).await.unwrap().verifier(now).unwrap();
        verifier.verifies(body, &Signature::parse(&sign(secret, body)).unwrap())
    };
    let now = clock::now();
    assert!(verifies(OLD, now).await && verifies(NEW, now).await);
    assert_eq!(proxy.count("GetSecretValue"), 2, "one fetch for both");

    proxy.fail("GetSecretValue", Fault::UNAVAILABLE);
    let later = now.plus(Duration::from_secs(600));
    assert!(verifies(OLD, later).await && verifies(NEW, later).await);
    assert!(proxy.count("GetSecretValue") > 2, "it was tried");
    let tried = proxy.count("GetSecretValue");
    assert!(verifies(NEW, later.plus(Duration::from_secs(4))).await);
    assert_eq!(proxy.count("GetSecretValue"), tried, "and not again for a while");

    // Even a cache that nobody refreshes keeps to the day.
    let tomorrow = now.plus(DAY);
    assert!(!verifies(OLD, tomorrow).await && verifies(NEW, tomorrow).await);
    proxy.reset();
    assert!(!verifies(OLD, tomorrow.plus(DAY)).await);
    assert_eq!(
        proxy.count("GetSecretValue"),
        1,
        "the one before is not asked for any more"
    );
}
