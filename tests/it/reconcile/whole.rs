//! The real function with its clock moved on, against the providers' stand-in.

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use payment_functions::domain::id::{PaymentId, Reference};
use payment_functions::domain::idempotency::RequestNames;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::{CheckoutSession, Payment};
use payment_functions::domain::provider::{Environment, Provider as PaymentProvider};
use payment_functions::platform::clock;
use payment_functions::store::{CommitExtras, CommitResult, Store};
use payment_functions_local::sandbox::{Config, ListMode, RateLimit, Sandbox, Seed, sign};
use payment_functions_tests::world::Lambda;

use crate::aws;
use crate::support::*;
use crate::webhooks::SECRET;

/// The functions, with a table of their own.
pub struct Shop {
    pub table: String,
    create_preorder: Lambda,
    create_apm: Lambda,
    webhooks: Lambda,
    get: Lambda,
}

impl Shop {
    pub async fn open() -> Self {
        Self::open_with(&[]).await
    }

    /// The functions with changed variables.
    pub async fn open_with(changes: &[(&str, Option<&str>)]) -> Self {
        let table = unique("whole");
        aws::create_table(&table).await;
        Self::at(table, changes).await
    }

    /// The functions with changed variables at an existing table.
    pub async fn at(table: String, changes: &[(&str, Option<&str>)]) -> Self {
        let start = async |function| {
            let own = [("PAYMENTS_TABLE", Some(table.as_str()))];
            let changes = [&own, changes].concat();
            world().await.lambda(function, &changes).await.expect("a function")
        };
        Self {
            create_preorder: start("create-preorder").await,
            create_apm: start("create-apm").await,
            webhooks: start("webhook-handler").await,
            get: start("get-payment").await,
            table,
        }
    }

    pub async fn create(&self, provider: Provider, order_id: &str) -> Response {
        let (function, path, body) = match provider {
            Provider::Apolopay => (&self.create_preorder, "/preorders", preorder(order_id)),
            Provider::Finvypay => (&self.create_apm, "/apm-payments", apm(order_id)),
        };
        let headers = [("content-type", "application/json"), ("idempotency-key", order_id)];
        let response = function.http("POST", path, &headers, body.to_string().as_bytes()).await;
        response.expect("a response").into()
    }

    /// Creates a payment at FinvyPay without an idempotency key.
    pub async fn create_apm(&self, body: &Value) -> Response {
        let headers = [("content-type", "application/json")];
        let body = body.to_string();
        let response = self.create_apm.http("POST", "/apm-payments", &headers, body.as_bytes());
        response.await.expect("a response").into()
    }

    /// Sends a webhook of FinvyPay's.
    pub async fn send_webhook(&self, body: &Value) -> Response {
        let body = body.to_string();
        let signature = sign(SECRET, body.as_bytes());
        let headers = [
            ("content-type", "application/json"),
            ("fs-webhook-hash", signature.as_str()),
        ];
        let response = self
            .webhooks
            .http("POST", "/webhooks/finvypay", &headers, body.as_bytes())
            .await;
        response.expect("a response").into()
    }

    pub async fn get(&self, id: &str) -> Response {
        let response = self.get.http("GET", &format!("/payments/{id}"), &[], b"").await;
        response.expect("a response").into()
    }

    pub async fn status(&self, id: &str) -> String {
        self.get(id).await.str("status")
    }

    /// The reconciler, `later` seconds from now.
    pub async fn reconciler(&self, later: u32) -> Lambda {
        self.reconciler_with(later, &[]).await
    }

    pub async fn reconciler_with(&self, later: u32, changes: &[(&str, Option<&str>)]) -> Lambda {
        let later = later.to_string();
        let own = [
            ("PAYMENTS_TABLE", Some(self.table.as_str())),
            ("CLOCK_OFFSET_SECONDS", Some(later.as_str())),
        ];
        let lambda = world()
            .await
            .lambda("reconcile-payments", &[&own, changes].concat())
            .await;
        lambda.expect("a function").with_time_limit(Duration::from_secs(60))
    }
}

/// The report of a run.
pub async fn sweep(reconciler: &Lambda) -> Value {
    let report = reconciler
        .invoke(r#"{"action":"sweep"}"#)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_slice(&report).expect("JSON")
}

/// Each test table has an account of its own here, since the list shows all payments of the account.
#[tokio::test]
async fn lost_webhooks_are_replaced_by_reading_the_list() {
    for modes in [
        &[][..],
        &[ListMode::IgnoresStatus],
        &[ListMode::WithoutPagination],
        &[ListMode::Missing],
        &[ListMode::NonsenseHtml],
        &[ListMode::AsDashboard],
    ] {
        find_lost_payments(modes).await;
    }
}

async fn find_lost_payments(modes: &[ListMode]) {
    let sandbox = Sandbox::start(Config::default()).await.expect("stand-ins");
    let control = Control::new(&sandbox.url()).expect("a control client");
    control.list_modes(modes).await.unwrap();
    let base_url = format!("{}/finvypay", sandbox.url());
    let account = [("FINVYPAY_BASE_URL", Some(base_url.as_str()))];
    let shop = Shop::open_with(&account).await;
    let mut payments = Vec::new();
    for status in ["COMPLETED", "FAILED", "AUTHORIZED", "PENDING", "SETTLED", "ABANDONED"] {
        let order = unique("lost");
        let created = shop.create(Provider::Finvypay, &order).await;
        let (id, reference) = (created.str("id"), created.str("paymentId"));
        control
            .set_status(Provider::Finvypay, &reference, status)
            .await
            .unwrap();
        payments.push((order, id, status));
    }
    // Two concurrent runs, more than a minute later.
    let (one, other) = (
        shop.reconciler_with(75, &account).await,
        shop.reconciler_with(75, &account).await,
    );
    let reports = <[Value; 2]>::from(tokio::join!(sweep(&one), sweep(&other)));
    let sum = |name: &str| reports.iter().map(|report| report[name].as_u64().unwrap()).sum::<u64>();
    let logs = || format!("{modes:?} {reports:?}\n{}\n{}", one.log(), other.log());
    assert_eq!((sum("resolved"), sum("failed")), (4, 0), "{}", logs());
    let has_list = [&[][..], &[ListMode::IgnoresStatus], &[ListMode::WithoutPagination]].contains(&modes);
    for (order, id, status) in &payments {
        let expected = match *status {
            "COMPLETED" => "completed",
            "FAILED" => "failed",
            "AUTHORIZED" => "authorized",
            "ABANDONED" => "cancelled",
            _ => "pending",
        };
        assert_eq!(shop.status(id).await, expected, "{}", logs());
        for kind in ["status", "list"] {
            let made = control.calls_where(Provider::Finvypay, order, &[("kind", kind)]).await;
            let calls = made.unwrap().calls.len();
            assert!(!has_list || calls == 0, "{status} {kind} {}", logs());
        }
    }
    assert_eq!(one.log().contains("TransactionListUnusable"), !has_list, "{}", logs());
}

#[tokio::test]
async fn lost_create_call_in_an_order_of_several_payments_is_matched() {
    let shop = Shop::open().await;
    let order = unique("several");
    let replies = json!([{ "drop": "beforeReply" }]);
    control()
        .await
        .replies(Provider::Finvypay, &order, replies)
        .await
        .unwrap();
    let lost = shop.create(Provider::Finvypay, &order).await;
    assert_eq!(lost.problem(), (502, "PROVIDER_ERROR".to_owned()));
    let payments = control().await.payments(Provider::Finvypay, &order).await.unwrap();
    let transaction = payments[0].transaction_id.clone().expect("a transaction");
    control()
        .await
        .set_status(Provider::Finvypay, &payments[0].id, "COMPLETED")
        .await
        .unwrap();
    // Another payment of the order.
    let other = shop.create_apm(&apm(&order)).await;
    assert_eq!(other.status, 201);
    let general = json!({ "success": true, "status": "SUCCESS", "data": {
        "amount": 99.99, "currency": "USD", "order_id": order, "txn_id": transaction,
    } });
    assert_eq!(shop.send_webhook(&general).await.status, 200, "stored as unmatched");
    assert_eq!(shop.status(&lost.str("id")).await, "creating");
    let report = sweep(&shop.reconciler(61).await).await;
    assert_eq!(report["failed"], 0, "{report}");
    assert_eq!(shop.status(&lost.str("id")).await, "completed");
    assert_eq!(shop.status(&other.str("id")).await, "pending");
    let items = aws::all_items(&shop.table).await;
    assert!(items.iter().all(|item| item["sk"]["S"] != "UNMATCHED"), "{items:?}");
}

#[tokio::test]
async fn unpaid_payment_expires() {
    let shop = Shop::open().await;
    let order = unique("expires");
    let created = shop.create(Provider::Finvypay, &order).await;
    let crypto = shop.create(Provider::Apolopay, &order).await;
    // The stand-in's payments expire after half an hour.
    sweep(&shop.reconciler(44 * 60).await).await;
    assert_eq!(shop.status(&created.str("id")).await, "pending");
    sweep(&shop.reconciler(46 * 60).await).await;
    assert_eq!(shop.status(&created.str("id")).await, "expired");
    assert_eq!(shop.status(&crypto.str("id")).await, "pending");
    sweep(&shop.reconciler(24 * 60 * 60 + 1).await).await;
    assert_eq!(shop.status(&crypto.str("id")).await, "expired");
}

#[tokio::test]
async fn refused_key_is_refreshed_for_the_next_run() {
    let secret = aws::create_secret(&json!({ "apiKey": "fp_local_old", "webhookSecret": "whsec_test_secret" })).await;
    let shop = Shop::open().await;
    let created = shop.create(Provider::Finvypay, &unique("rotated")).await;
    let reference = created.str("paymentId");
    control()
        .await
        .set_status(Provider::Finvypay, &reference, "COMPLETED")
        .await
        .unwrap();
    let reconciler = shop.reconciler_with(61, &[("FINVYPAY_SECRET_ID", Some(&secret))]).await;
    let report = sweep(&reconciler).await;
    assert_eq!(report["resolved"], 0, "{report}");
    assert_eq!(shop.status(&created.str("id")).await, "pending");
    aws::put_secret(
        &secret,
        &json!({ "apiKey": "fp_local_finvypay", "webhookSecret": "whsec_test_secret" }),
    )
    .await;
    // The next run cannot refresh within the same minute. Another environment has the new key at once.
    let later = 61 + 5 * 60;
    let report = sweep(
        &shop
            .reconciler_with(later, &[("FINVYPAY_SECRET_ID", Some(&secret))])
            .await,
    )
    .await;
    assert_eq!(report["resolved"], 1, "{report}");
    assert_eq!(shop.status(&created.str("id")).await, "completed");
}

#[tokio::test]
async fn run_without_key_polls_nothing_and_payments_expire() {
    let shop = Shop::open().await;
    let created = shop.create(Provider::Finvypay, &unique("keyless")).await;
    let reconciler = shop
        .reconciler_with(46 * 60, &[("FINVYPAY_SECRET_ID", Some("no-such-secret"))])
        .await;
    let report = sweep(&reconciler).await;
    assert_eq!(
        (&report["expired"], &report["unfinished"]),
        (&json!(1), &json!(true)),
        "{report}"
    );
    assert_eq!(shop.status(&created.str("id")).await, "expired");
}

#[tokio::test]
async fn apolopay_only_shop_needs_no_finvypay_key() {
    let shop = Shop::open().await;
    let created = shop.create(Provider::Apolopay, &unique("crypto")).await;
    let keyless = [("FINVYPAY_SECRET_ID", Some("no-such-secret"))];
    let reconciler = shop.reconciler_with(24 * 60 * 60, &keyless).await;
    let report = sweep(&reconciler).await;
    assert_eq!(
        (&report["expired"], &report["unfinished"]),
        (&json!(1), &json!(false)),
        "{report}"
    );
    assert_eq!(shop.status(&created.str("id")).await, "expired");
    // No alarm goes off.
    let log = reconciler.log();
    assert!(
        log.contains("OldestUnmatchedSeconds") && !log.contains("SecretsUnreadable"),
        "{log}"
    );
}

#[tokio::test]
async fn run_without_table_fails_and_names_it() {
    let shop = Shop::open().await;
    let nowhere = shop
        .reconciler_with(0, &[("PAYMENTS_TABLE", Some("no-such-table"))])
        .await;
    let error = nowhere.invoke(r#"{"action":"sweep"}"#).await.unwrap_err().to_string();
    assert!(
        error.contains("UNAVAILABLE") && error.contains("there is no table no-such-table"),
        "{error}"
    );
}

/// A shop with a hundred thousand open payments of an hour, of which a thousand were paid without a webhook.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; docs/scale.md says what it shows"]
async fn hundred_thousand_open_payments_are_reconciled_within_the_limit() {
    const PAYMENTS: u32 = 100_000;
    const HOUR: u32 = 60 * 60;
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const REQUESTS_PER_MINUTE: u64 = 100;
    let sandbox = Sandbox::start(Config::default()).await.expect("stand-ins");
    let control = Control::new(&sandbox.url()).expect("a control client");
    let table = unique("many");
    aws::create_memory_table(&table).await;
    let proxy = aws::proxy().await;
    let store = Store::open(&aws::clients(proxy.url()), table.clone());
    let seeded_at = clock::now();
    let insert = |number: u32| {
        let store = &store;
        async move {
            let age = Duration::from_secs(u64::from(HOUR)) * (PAYMENTS - number) / PAYMENTS;
            let intent = Payment::new(
                PaymentId::parse(&Seed::our_id(number)).unwrap(),
                PaymentProvider::FinvyPay,
                Environment::Sandbox,
                Money::from_minor(2550, Currency::USD),
                seeded_at.minus(age),
            );
            let created_at = intent.created_at;
            let inserted = store.insert_payment(&intent, RequestNames::default(), created_at);
            inserted.await.unwrap();
            let checkout_session = CheckoutSession {
                reference: Reference::parse(&Seed::payment_id(number)).unwrap(),
                redirect_url: None,
                expires_at: Some(created_at.plus(DAY)),
            };
            let payment = intent.accept(checkout_session, [], created_at);
            let extras = CommitExtras::default();
            let accepted = store.commit(&intent, &payment, &extras, created_at).await.unwrap();
            assert!(matches!(accepted, CommitResult::Done));
        }
    };
    stream::iter((0..PAYMENTS).map(insert))
        .buffer_unordered(16)
        .collect::<()>()
        .await;
    let inserted_in = clock::now().since(seeded_at).as_secs();
    control
        .seed(&Seed {
            count: PAYMENTS,
            max_age_seconds: HOUR + u32::try_from(inserted_in).unwrap(),
            min_age_seconds: u32::try_from(inserted_in).unwrap(),
            paid_percent: 1,
            ..Seed::default()
        })
        .await
        .unwrap();
    let limit = RateLimit {
        requests_per_minute: Some(REQUESTS_PER_MINUTE),
        ..RateLimit::default()
    };
    control.rate_limit(&limit).await.unwrap();
    let base_url = format!("{}/finvypay", sandbox.url());
    let variables = [
        ("PAYMENTS_TABLE", table.as_str()),
        ("AWS_ENDPOINT_URL", proxy.url()),
        ("FINVYPAY_BASE_URL", base_url.as_str()),
    ];
    let variables = variables.map(|(name, value)| (name, Some(value)));
    let reconciler = world().await.lambda("reconcile-payments", &variables).await;
    let reconciler = reconciler
        .expect("a function")
        .with_time_limit(Duration::from_secs(120));
    let (began, mut runs, mut resolved) = (Instant::now(), 0, 0);
    while resolved < u64::from(PAYMENTS / 100) {
        let report = sweep(&reconciler).await;
        resolved += report["resolved"].as_u64().unwrap();
        runs += 1;
        println!("run {runs}, {} s: {report}", began.elapsed().as_secs());
        assert!(report["failed"] == 0 && runs < 20, "{report}\n{}", reconciler.log());
    }
    let counted = control.rate_limit_report().await.unwrap();
    println!(
        "{inserted_in} s to insert; {runs} runs, {} s, {counted:?}",
        began.elapsed().as_secs()
    );
    assert_eq!((resolved, counted.refused), (u64::from(PAYMENTS / 100), 0));
}
