//! Webhook secrets: rotation, forgeries and outages.

use std::time::Duration;

use futures_util::future::join_all;
use payment_functions::domain::time::Timestamp;
use payment_functions::domain::webhook_signature::Signature;
use payment_functions::platform::clock;
use payment_functions::platform::secrets::{SecretCache, SecretsManager, WebhookSecrets};
use payment_functions_local::sandbox::sign;
use payment_functions_tests::world::{Attached, AwsProxy, Fault};

use crate::aws;
use crate::support::{Provider, Response, Value, create, json, unique, world};
use crate::webhooks::{completion, dynamodb_calls, send_signed};

const OLD: &str = "whsec_old";
const NEW: &str = "whsec_new";
const STRANGE: &str = "whsec_of_someone_else";

fn value(webhook_secret: &str) -> Value {
    json!({ "apiKey": "k", "webhookSecret": webhook_secret })
}

/// A webhook-handler with its own FinvyPay secret. It keeps the long AWS timeouts of tests, so that a busy machine does
/// not fail a call without a fault.
struct Handler {
    secret: String,
    proxy: AwsProxy,
    function: Attached,
    created: Response,
}

impl Handler {
    async fn start() -> Self {
        Self::after(&[OLD]).await
    }

    /// Starts after the secret had these values in turn.
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

    /// The status of the response to a webhook signed with `secret`.
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
async fn new_and_previous_secret_verify_after_rotation() {
    let handler = Handler::start().await;
    assert_eq!(handler.signed_with(OLD).await, 200);
    handler.proxy.reset();
    assert_eq!(handler.signed_with(OLD).await, 200);
    assert_eq!(handler.fetches(), 0, "the secret is cached");

    aws::put_secret(&handler.secret, &value(NEW)).await;
    assert_eq!(handler.signed_with(OLD).await, 200, "the cached secret is used");
    assert_eq!(handler.fetches(), 0);
    assert_eq!(
        handler.signed_with(NEW).await,
        200,
        "refreshed after a failed verification"
    );
    assert_eq!(handler.fetches(), 2, "the current and the previous version");
    for (secret, status) in [(OLD, 200), (NEW, 200), (STRANGE, 401), ("", 401)] {
        assert_eq!(handler.signed_with(secret).await, status, "{secret}");
    }
    assert_eq!(handler.fetches(), 2);
}

#[tokio::test]
async fn handler_started_during_rotation_knows_both_secrets() {
    let handler = Handler::after(&[OLD, NEW]).await;
    for (secret, status) in [(OLD, 200), (NEW, 200), (STRANGE, 401)] {
        assert_eq!(handler.signed_with(secret).await, status, "{secret}");
    }
}

#[tokio::test]
async fn second_to_last_secret_does_not_verify() {
    let handler = Handler::after(&[OLD, NEW, "whsec_newest"]).await;
    for (secret, status) in [(OLD, 401), (NEW, 200), ("whsec_newest", 200)] {
        assert_eq!(handler.signed_with(secret).await, status, "{secret}");
    }
}

/// Follows docs/rotation.md: storing a new value over the mistake would lose the previous secret.
#[tokio::test]
async fn mistaken_version_can_be_taken_back() {
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
        // If the mistake used up the minute's refresh, the new secret is picked up a minute later.
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
async fn rotation_from_and_to_an_empty_secret() {
    let handler = Handler::after(&[OLD, ""]).await;
    assert_eq!(
        handler.signed_with(OLD).await,
        401,
        "with an empty secret nothing verifies"
    );
    assert_eq!(handler.signed_with("").await, 401);

    let handler = Handler::after(&[OLD, "", NEW]).await;
    assert_eq!(
        handler.signed_with("").await,
        401,
        "an empty previous secret verifies nothing"
    );
    assert_eq!(handler.signed_with(NEW).await, 200);
}

#[tokio::test]
async fn wrong_signatures_refresh_the_secret_at_most_once() {
    let handler = Handler::start().await;
    assert_eq!(handler.signed_with(OLD).await, 200);
    handler.proxy.reset();
    let statuses = join_all((0..50).map(|_| handler.signed_with(STRANGE))).await;
    assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");
    // Each fetch includes the previous version.
    assert_eq!(handler.fetches(), 2);
    assert_eq!(dynamodb_calls(&handler.proxy), [""; 0]);
    assert_eq!(handler.signed_with(OLD).await, 200);
    assert_eq!(handler.fetches(), 2);
}

#[tokio::test]
async fn unavailable_secrets_after_first_fetch_keep_verifying() {
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
        // An unknown signature refreshes the secret. If that fails, the webhook may be signed with a newer one, so the
        // provider must retry; the cached secret stays.
        let is_absent = matches!(fault, Fault::Error(400, _));
        let expected = if is_absent { 401 } else { 503 };
        for _ in 0..2 {
            assert_eq!(handler.signed_with(STRANGE).await, expected, "{fault:?}");
        }
        assert_eq!(handler.signed_with(OLD).await, 200, "{fault:?}");
    }))
    .await;
}

/// The function's own cache, with its time advanced.
#[tokio::test]
async fn cache_is_stale_on_error_and_drops_previous_after_a_day() {
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
    assert!(proxy.count("GetSecretValue") > 2, "a fetch was attempted");
    let tried = proxy.count("GetSecretValue");
    assert!(verifies(NEW, later.plus(Duration::from_secs(4))).await);
    assert_eq!(proxy.count("GetSecretValue"), tried, "no fetch right after a failure");

    // The limit of a day holds without a refresh.
    let tomorrow = now.plus(DAY);
    assert!(!verifies(OLD, tomorrow).await && verifies(NEW, tomorrow).await);
    proxy.reset();
    assert!(!verifies(OLD, tomorrow.plus(DAY)).await);
    assert_eq!(
        proxy.count("GetSecretValue"),
        1,
        "the previous version is not fetched any more"
    );
}
