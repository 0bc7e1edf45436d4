//! The emitted metrics: the real binaries, in every situation that a metric covers.
//!
//! Each function runs in its own environment, and on its own table if it reads all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use payment_functions::platform::clock;
use payment_functions::platform::metrics::ALL;
use payment_functions_local::sandbox::sign;
use payment_functions_local::workspace;
use payment_functions_tests::world::{Fault, InvokeError, Lambda};

use super::aws;
use super::clock::Clock;
use super::routes::*;
use super::support::*;
use super::webhooks::{SECRET, completion, header};

const NAMESPACE: &str = "payment-functions";
/// The lag of a list that was never read, in seconds: eight days, but for the minute in which it is not read yet.
const NEVER_READ: f64 = 8.0 * 24.0 * 3600.0 - 60.0;

/// A function under observation.
struct Watched(Lambda);

impl Watched {
    async fn start(function: &str, changes: &[(&str, Option<&str>)]) -> Self {
        Self(world().await.lambda(function, changes).await.expect("a function"))
    }

    async fn create(&self, provider: Provider, order: &str, key: Option<&str>) -> Response {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        let body = body(provider, order).to_string();
        let response = self.0.http("POST", route(provider), &headers, body.as_bytes()).await;
        response.expect("a response").into()
    }

    /// Sends a webhook signed with this secret.
    async fn send(&self, provider: Provider, body: &Value, secret: &str) -> Response {
        let (path, header) = match provider {
            Provider::Apolopay => ("/webhooks/apolopay", "x-signature"),
            Provider::Finvypay => ("/webhooks/finvypay", "fs-webhook-hash"),
        };
        let body = body.to_string();
        let signature = sign(secret, body.as_bytes());
        let headers = [("content-type", "application/json"), (header, signature.as_str())];
        let response = self.0.http("POST", path, &headers, body.as_bytes()).await;
        response.expect("a response").into()
    }

    async fn get(&self, id: &str) -> Response {
        let response = self.0.http("GET", &format!("/payments/{id}"), &[], b"").await;
        response.expect("a response").into()
    }

    async fn invoke(&self, event: Value) -> Result<Value, InvokeError> {
        let response = self.0.invoke(event.to_string()).await?;
        Ok(serde_json::from_slice(&response).expect("JSON"))
    }

    async fn sweep(&self) -> Value {
        let report = self.invoke(json!({ "action": "sweep" })).await;
        report.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Ends the function; returns everything that it counted.
    async fn counted(self) -> Counted {
        self.counted_in(NAMESPACE).await
    }

    async fn counted_in(self, namespace: &str) -> Counted {
        self.0.kill().await;
        let log = self.0.log();
        let mut counted = Counted::default();
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
            assert!(line.is_object(), "{line}");
            if !line["_aws"].is_null() {
                counted.add(&line, namespace);
            }
        }
        counted
    }
}

/// The values by metric and dimensions, such as `Payments Provider=apolopay Status=pending`. Latencies are replaced by
/// zero.
#[derive(Debug, Default, PartialEq)]
struct Counted(BTreeMap<String, Vec<f64>>);

impl Counted {
    /// Adds a line, which must be an embedded-metric document with only our metrics.
    fn add(&mut self, line: &Value, namespace: &str) {
        let own = |value: &Value, names: &[&str]| {
            let members: BTreeSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(members, names.iter().copied().collect(), "{line}");
        };
        own(&line["_aws"], &["Timestamp", "CloudWatchMetrics"]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let age = now.as_millis() - u128::from(line["_aws"]["Timestamp"].as_u64().unwrap());
        assert!(age < 600_000, "no timestamp in ms: {line}");
        let [directive] = line["_aws"]["CloudWatchMetrics"].as_array().unwrap().as_slice() else {
            panic!("expected one directive: {line}");
        };
        own(directive, &["Namespace", "Dimensions", "Metrics"]);
        assert_eq!(directive["Namespace"], namespace, "{line}");
        let [set] = directive["Dimensions"].as_array().unwrap().as_slice() else {
            panic!("expected one set of dimensions: {line}");
        };
        let dimensions: Vec<&str> = set
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        let metrics = directive["Metrics"].as_array().unwrap();
        assert!((1..=100).contains(&metrics.len()), "{line}");
        let mut members = vec!["_aws", "requestId"];
        members.extend(&dimensions);
        assert!(line["requestId"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
        for metric in metrics {
            own(metric, &["Name", "Unit"]);
            let name = metric["Name"].as_str().unwrap();
            members.push(name);
            let known = ALL.iter().find(|known| known.name == name);
            let known = known.unwrap_or_else(|| panic!("{name} is not in metrics::ALL"));
            assert_eq!(metric["Unit"], format!("{:?}", known.unit), "{line}");
            assert_eq!(dimensions, known.dimensions, "{line}");
            let mut values = numbers(&line[name]);
            assert!((1..=100).contains(&values.len()), "{line}");
            assert!(values.iter().all(|value| *value >= 0.0), "{line}");
            if metric["Unit"] == "Milliseconds" {
                assert!(values.iter().all(|millis| (0.0..20_000.0).contains(millis)), "{line}");
                values.fill(0.0);
            }
            let mut full = name.to_owned();
            for dimension in &dimensions {
                let value = line[dimension].as_str().unwrap_or_else(|| panic!("{line}"));
                assert!((1..=30).contains(&value.len()), "{line}");
                full.push_str(&format!(" {dimension}={value}"));
            }
            self.0.entry(full).or_default().extend(values);
        }
        own(line, &members);
    }

    /// Asserts that these are all values; returns the metrics' names.
    fn assert_is(&self, expected: &[(&str, &[f64])]) -> Vec<String> {
        let expected = expected
            .iter()
            .map(|(name, values)| ((*name).to_owned(), values.to_vec()));
        assert_eq!(self, &Self(expected.collect()));
        let name = |full: &String| full.split(' ').next().unwrap().to_owned();
        self.0.keys().map(name).collect()
    }
}

/// A metric's value: one number or several.
fn numbers(value: &Value) -> Vec<f64> {
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("not a number: {value}"));
    value
        .as_array()
        .map_or_else(|| vec![number(value)], |values| values.iter().map(number).collect())
}

/// A completion with an unknown id.
fn unknown_completion(id: &str) -> Value {
    json!({ "id": id, "status": "completed", "amount": 25.5 })
}

#[tokio::test]
async fn every_metric_is_emitted_in_its_case_only() {
    let situations: Vec<BoxFuture<'static, Vec<String>>> = vec![
        creating(Provider::Apolopay).boxed(),
        creating(Provider::Finvypay).boxed(),
        create_timeout().boxed(),
        polling().boxed(),
        key_refused_in_a_run().boxed(),
        unreadable_secrets().boxed(),
        refused_and_unmatched_webhooks().boxed(),
        a_table_out_of_reach().boxed(),
        payments_in_review().boxed(),
        unmatched_and_due().boxed(),
    ];
    // A few at a time, so that a busy machine causes no AWS timeouts.
    let proofs: Vec<Vec<String>> = stream::iter(situations).buffer_unordered(3).collect().await;
    let mut proved: BTreeSet<String> = proofs.into_iter().flatten().collect();
    // Emitted and tested in publish-events.
    proved.extend(["Attention", "Payments", "TimeToCompletion"].map(str::to_owned));
    let all: BTreeSet<String> = ALL.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(proved, all);
}

/// Every kind of provider response, and a replay.
async fn creating(provider: Provider) -> Vec<String> {
    let watched = Watched::start(function(provider), &[]).await;
    let (order, key) = (unique("metrics"), unique("key"));
    assert_eq!(watched.create(provider, &order, Some(&key)).await.status, 201);
    for _ in 0..2 {
        let again = watched.create(provider, &order, Some(&key)).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
    }
    for (reply, status) in [
        (json!({ "error": "RATE_LIMITED" }), 503),
        (json!({ "error": "UNAUTHORIZED" }), 502),
        (json!({ "error": "INTERNAL_ERROR" }), 502),
        (json!({ "drop": "midReply" }), 502),
        // A refused payment, which is not an error.
        (json!({ "status": 400, "body": "no" }), 422),
    ] {
        let order = unique("metrics");
        let replies = json!([reply]);
        control().await.replies(provider, &order, replies).await.unwrap();
        let response = watched.create(provider, &order, None).await;
        assert_eq!(response.status, status, "{response:?}");
    }
    let name = aws::name(provider);
    let of = |error: &str| format!("ProviderErrors Provider={name} Error={error}");
    watched.counted().await.assert_is(&[
        (&format!("ProviderLatency Provider={name} Operation=create"), &[0.0; 6]),
        (&of("throttled"), &[1.0]),
        (&of("key_refused"), &[1.0]),
        (&of("unusable"), &[1.0]),
        (&of("no_response"), &[1.0]),
        ("ProviderKeyRefused", &[1.0]),
        ("Replays", &[1.0, 1.0]),
    ])
}

/// The full time limit of a create call.
async fn create_timeout() -> Vec<String> {
    let watched = Watched::start("create-preorder", &[]).await;
    let order = unique("metrics");
    let hang = json!([{ "hang": true }]);
    control().await.replies(Provider::Apolopay, &order, hang).await.unwrap();
    assert_eq!(watched.create(Provider::Apolopay, &order, None).await.status, 504);
    watched.counted().await.assert_is(&[
        ("ProviderLatency Provider=apolopay Operation=create", &[0.0]),
        ("ProviderErrors Provider=apolopay Error=timeout", &[1.0]),
    ])
}

/// Creates a table.
async fn table() -> String {
    let table = unique("metrics");
    aws::create_table(&table).await;
    table
}

/// A run that polls FinvyPay for a payment and its order, a minute after its creation.
async fn polling() -> Vec<String> {
    let table = table().await;
    let own = [("PAYMENTS_TABLE", Some(table.as_str()))];
    let apms = Watched::start("create-apm", &own).await;
    let order = unique("metrics");
    assert_eq!(apms.create(Provider::Finvypay, &order, None).await.status, 201);
    // The address is not FinvyPay's.
    let elsewhere = format!("{}/elsewhere", world().await.sandbox_url());
    let ahead = [
        own[0],
        ("CLOCK_OFFSET_SECONDS", Some("100")),
        ("FINVYPAY_BASE_URL", Some(elsewhere.as_str())),
    ];
    let watched = Watched::start("reconcile-payments", &ahead).await;
    let report = watched.sweep().await;
    assert_eq!((&report["checked"], &report["failed"]), (&json!(1), &json!(0)));
    watched.counted().await.assert_is(&[
        ("ProviderLatency Provider=finvypay Operation=status", &[0.0]),
        ("ProviderLatency Provider=finvypay Operation=list", &[0.0; 2]),
        ("ProviderErrors Provider=finvypay Error=unusable", &[3.0]),
        ("PaymentsInReview", &[0.0]),
        ("OldestUnmatchedSeconds", &[0.0]),
        ("ReconcilerLag", &[0.0]),
        ("TransactionListLag", &[NEVER_READ]),
        ("TransactionListUnusable", &[1.0]),
    ])
}

/// The provider refuses our key for a status query and for an order's list.
async fn key_refused_in_a_run() -> Vec<String> {
    let table = table().await;
    let own = [("PAYMENTS_TABLE", Some(table.as_str()))];
    let apms = Watched::start("create-apm", &own).await;
    assert_eq!(
        apms.create(Provider::Finvypay, &unique("metrics"), None).await.status,
        201
    );
    let secret = aws::create_secret(&json!({ "apiKey": "fp_local_old", "webhookSecret": SECRET })).await;
    let changes = [
        own[0],
        ("FINVYPAY_SECRET_ID", Some(secret.as_str())),
        ("CLOCK_OFFSET_SECONDS", Some("61")),
    ];
    let watched = Watched::start("reconcile-payments", &changes).await;
    assert_eq!(watched.sweep().await["checked"], 1);
    watched.counted().await.assert_is(&[
        ("ProviderLatency Provider=finvypay Operation=status", &[0.0]),
        ("ProviderLatency Provider=finvypay Operation=list", &[0.0; 2]),
        ("ProviderErrors Provider=finvypay Error=key_refused", &[3.0]),
        ("ProviderKeyRefused", &[3.0]),
        ("PaymentsInReview", &[0.0]),
        ("OldestUnmatchedSeconds", &[0.0]),
        ("ReconcilerLag", &[0.0]),
        ("TransactionListLag", &[NEVER_READ]),
    ])
}

/// A missing secret, a malformed one, and a failing invocation, which still emits its metrics.
async fn unreadable_secrets() -> Vec<String> {
    let absent = Some("no-such-secret");
    let preorders = Watched::start("create-preorder", &[("APOLOPAY_SECRET_ID", absent)]).await;
    let order = unique("metrics");
    assert_eq!(preorders.create(Provider::Apolopay, &order, None).await.status, 503);
    preorders.counted().await.assert_is(&[("SecretsUnreadable", &[1.0])]);

    let shapeless = aws::create_secret(&json!({ "apiKey": 1 })).await;
    let apms = Watched::start("create-apm", &[("FINVYPAY_SECRET_ID", Some(&shapeless))]).await;
    assert_eq!(apms.create(Provider::Finvypay, &order, None).await.status, 503);
    apms.counted().await.assert_is(&[("SecretsUnreadable", &[1.0])]);

    let webhooks = Watched::start("webhook-handler", &[("APOLOPAY_SECRET_ID", absent)]).await;
    let refused = webhooks
        .send(Provider::Apolopay, &unknown_completion(&order), SECRET)
        .await;
    assert_eq!(refused.status, 401);
    let mut proved = webhooks
        .counted()
        .await
        .assert_is(&[("SecretsUnreadable", &[1.0]), ("SignatureFailures", &[1.0])]);

    let nowhere = [("PAYMENTS_TABLE", Some("no-such-table"))];
    let reconciler = Watched::start("reconcile-payments", &nowhere).await;
    for _ in 0..2 {
        let failed = reconciler.invoke(json!({ "action": "sweep" })).await;
        assert!(matches!(failed, Err(InvokeError::Failed(_))), "{failed:?}");
    }
    proved.extend(reconciler.counted().await.assert_is(&[("StoreErrors", &[1.0, 1.0])]));
    proved
}

/// Forged and unmatched webhooks, and those without a metric.
async fn refused_and_unmatched_webhooks() -> Vec<String> {
    let watched = Watched::start("webhook-handler", &[]).await;
    for provider in BOTH {
        let forged = watched.send(provider, &unknown_completion("x"), "whsec_forged").await;
        assert_eq!(forged.status, 401);
        let unreadable = watched.send(provider, &json!({ "x": unique("metrics") }), SECRET).await;
        assert_eq!(unreadable.status, 200);
        let test = json!({ "event": "webhook.test", "timestamp": "2026-11-29T00:00:00Z" });
        assert_eq!(
            watched.send(provider, &test, SECRET).await.status,
            200,
            "it counts nowhere"
        );
        let signature = sign(SECRET, b"{}");
        let headers = [(header(provider), signature.as_str())];
        let misrouted = watched
            .0
            .http("POST", "/webhooks/ApoloPay", &headers, b"{}")
            .await
            .unwrap();
        assert_eq!(misrouted.status, 404);
    }
    let unsigned = watched.0.http("POST", "/webhooks/apolopay", &[], b"{}").await.unwrap();
    assert_eq!(unsigned.status, 401);
    let elsewhere = watched.0.http("POST", "/webhooks/x", &[], b"{}").await.unwrap();
    assert_eq!(elsewhere.status, 404);
    let huge = vec![b' '; 256 * 1024 + 1];
    let oversized = watched.0.http("POST", "/webhooks/apolopay", &[], &huge).await.unwrap();
    assert_eq!(oversized.status, 413);
    for _ in 0..2 {
        let response = watched
            .send(Provider::Apolopay, &unknown_completion(&unique("metrics")), SECRET)
            .await;
        assert_eq!(response.status, 200);
    }
    let created = create(Provider::Apolopay, &unique("metrics")).await;
    for metadata in [json!({ "paymentFunctionsId": created.str("id") }), json!({})] {
        let body = completion(&created, &metadata);
        assert_eq!(watched.send(Provider::Apolopay, &body, SECRET).await.status, 200);
    }
    watched.counted().await.assert_is(&[
        ("SignatureFailures", &[1.0, 1.0, 1.0]),
        ("QuarantinedWebhooks", &[1.0, 1.0]),
        ("MisroutedWebhooks", &[1.0, 1.0]),
        ("OversizedWebhooks", &[1.0]),
        ("UnmatchedWebhooks", &[1.0, 1.0]),
    ])
}

async fn a_table_out_of_reach() -> Vec<String> {
    let nowhere = [("PAYMENTS_TABLE", Some("no-such-table"))];
    let once: &[(&str, &[f64])] = &[("StoreErrors", &[1.0])];
    for provider in BOTH {
        let creating = Watched::start(function(provider), &nowhere).await;
        assert_eq!(creating.create(provider, &unique("metrics"), None).await.status, 503);
        creating.counted().await.assert_is(once);
    }
    let webhooks = Watched::start("webhook-handler", &nowhere).await;
    let refused = webhooks
        .send(Provider::Apolopay, &unknown_completion("x"), SECRET)
        .await;
    assert_eq!(refused.status, 503);
    webhooks.counted().await.assert_is(once);
    let payments = Watched::start("get-payment", &nowhere).await;
    assert_eq!(payments.get("67e55044-10b1-426f-9247-bb680e5fe0c8").await.status, 503);
    payments.counted().await.assert_is(once)
}

/// Two payments in review: one is closed, the other paid.
async fn payments_in_review() -> Vec<String> {
    let (table, clock) = (table().await, Clock::at(clock::now()));
    let own = [("PAYMENTS_TABLE", Some(table.as_str())), clock.variable()];
    let (creating, webhooks) = tokio::join!(
        Watched::start("create-preorder", &own),
        Watched::start("webhook-handler", &own),
    );
    let watched = Watched::start("reconcile-payments", &own).await;
    watched.sweep().await;
    let mut payments = Vec::new();
    for _ in 0..2 {
        let created = creating.create(Provider::Apolopay, &unique("metrics"), None).await;
        let good = completion(&created, &json!({ "paymentFunctionsId": created.str("id") }));
        let wrong = with(good.clone(), json!({ "amount": 1 }));
        assert_eq!(webhooks.send(Provider::Apolopay, &wrong, SECRET).await.status, 200);
        watched.sweep().await;
        payments.push((created.str("id"), good));
    }
    // Just checked, and not due for a day.
    watched.sweep().await;
    let close = json!({ "action": "close", "paymentId": payments[0].0, "actor": "on call", "reason": "refunded" });
    watched.invoke(close).await.unwrap();
    watched.sweep().await;
    let paid = webhooks.send(Provider::Apolopay, &payments[1].1, SECRET).await;
    assert_eq!(paid.status, 200);
    watched.sweep().await;
    watched.counted().await.assert_is(&[
        ("PaymentsInReview", &[0.0, 1.0, 2.0, 2.0, 1.0, 0.0]),
        ("OldestUnmatchedSeconds", &[0.0; 6]),
        ("ReconcilerLag", &[0.0; 6]),
    ])
}

/// Two unmatched webhooks, half a minute apart, and late runs.
async fn unmatched_and_due() -> Vec<String> {
    let (table, clock) = (table().await, Clock::at(clock::now()));
    let own = [("PAYMENTS_TABLE", Some(table.as_str())), clock.variable()];
    let (webhooks, watched) = tokio::join!(
        Watched::start("webhook-handler", &own),
        Watched::start("reconcile-payments", &own),
    );
    let pass = |seconds| clock.advance(Duration::from_secs(seconds));
    let store_unmatched = async || {
        let response = webhooks
            .send(Provider::Apolopay, &unknown_completion(&unique("metrics")), SECRET)
            .await;
        assert_eq!(response.status, 200);
    };
    watched.sweep().await;
    store_unmatched().await;
    pass(30);
    store_unmatched().await;
    pass(10);
    // The first has been due for forty seconds, the second for ten.
    assert_eq!(watched.sweep().await["checked"], 2);
    pass(59);
    // Both are checked a minute later, but they exist.
    assert_eq!(watched.sweep().await["checked"], 0);
    watched.counted().await.assert_is(&[
        ("PaymentsInReview", &[0.0; 3]),
        ("OldestUnmatchedSeconds", &[0.0, 40.0, 99.0]),
        ("ReconcilerLag", &[0.0, 40.0, 0.0]),
    ])
}

#[tokio::test]
async fn uneventful_invocation_emits_nothing() {
    let created = create(Provider::Apolopay, &unique("metrics")).await;
    let payments = Watched::start("get-payment", &[]).await;
    assert_eq!(payments.get(&created.str("id")).await.status, 200);
    assert_eq!(payments.get("67e55044-10b1-426f-9247-bb680e5fe0c8").await.status, 404);
    payments.counted().await.assert_is(&[]);
    let preorders = Watched::start("create-preorder", &[]).await;
    let headers = [("content-type", "application/json")];
    let refused = preorders.0.http("POST", "/preorders", &headers, b"{}").await.unwrap();
    assert_eq!(refused.status, 422);
    preorders.counted().await.assert_is(&[]);
}

/// An operator's command in the same process does not emit a run's metrics again.
#[tokio::test]
async fn backlog_metrics_come_from_runs_only() {
    let table = table().await;
    let watched = Watched::start("reconcile-payments", &[("PAYMENTS_TABLE", Some(&table))]).await;
    watched.sweep().await;
    let unknown = json!({
        "action": "close", "paymentId": "67e55044-10b1-426f-9247-bb680e5fe0c8", "actor": "on call", "reason": "a mistake",
    });
    watched.invoke(unknown).await.expect_err("no more values");
    watched.counted().await.assert_is(&[
        ("PaymentsInReview", &[0.0]),
        ("OldestUnmatchedSeconds", &[0.0]),
        ("ReconcilerLag", &[0.0]),
    ]);
}

#[tokio::test]
async fn unreadable_queue_does_not_stop_the_run() {
    /// The payments whose list would be read, the due ones, and the items of the three other queues.
    const DUE: usize = 4 + 4 + 3;
    let table = table().await;
    let proxy = aws::proxy().await;
    let own = [
        ("PAYMENTS_TABLE", Some(table.as_str())),
        ("AWS_ENDPOINT_URL", Some(proxy.url())),
    ];
    for (nth, known) in [(DUE + 1, false), (DUE + 2, true)] {
        let watched = Watched::start("reconcile-payments", &own).await;
        proxy.reset();
        proxy.fail_operation("Query", nth, Fault::Error(400, "AccessDeniedException"));
        assert_eq!(watched.sweep().await["failed"], 0);
        let mut expected: Vec<(&str, &[f64])> = vec![("ReconcilerLag", &[0.0])];
        if known {
            expected.push(("PaymentsInReview", &[0.0]));
        }
        watched.counted().await.assert_is(&expected);
    }
}

#[tokio::test]
async fn two_deployments_have_separate_metrics() {
    let changes = [
        ("METRICS_NAMESPACE", Some("shop-2/payments")),
        ("PAYMENTS_TABLE", Some("no-such-table")),
    ];
    let payments = Watched::start("get-payment", &changes).await;
    assert_eq!(payments.get("67e55044-10b1-426f-9247-bb680e5fe0c8").await.status, 503);
    payments
        .counted_in("shop-2/payments")
        .await
        .assert_is(&[("StoreErrors", &[1.0])]);
}

/// `docs/metrics.md` lists every metric with its unit and dimensions, in the module's order.
#[test]
fn documentation_lists_every_metric() {
    let page = std::fs::read_to_string(workspace().join("docs/metrics.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = |row: &str| -> Vec<String> {
        row.split('|')
            .skip(1)
            .take(3)
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let documented: Vec<Vec<String>> = rows.map(cells).collect();
    let quoted = |name: &&str| format!("`{name}`");
    let expected: Vec<Vec<String>> = ALL
        .iter()
        .map(|metric| {
            let dimensions: Vec<String> = metric.dimensions.iter().map(quoted).collect();
            vec![
                quoted(&metric.name),
                format!("{:?}", metric.unit),
                dimensions.join(", "),
            ]
        })
        .collect();
    assert_eq!(documented, expected);
}
