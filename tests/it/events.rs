//! Every file in `events/`, passed to its function by `cargo lambda invoke` as in CONTRIBUTING.md.

use std::collections::BTreeSet;
use std::process::{Output, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use payment_functions_local::{Sandbox, workspace};
use payment_functions_tests::world::Attached;
use tokio::process::Command;
use tokio::time::timeout;

use super::aws;
use super::invoke::{self, event, invoke};
use super::support::*;

/// The file, its function, the expected status, and a part of the response body.
const EVENTS: [(&str, &str, u16, &str); 13] = [
    ("create-preorder.json", "create-preorder", 201, r#""amount":25.50"#),
    (
        "create-preorder-invalid.json",
        "create-preorder",
        422,
        "VALIDATION_FAILED",
    ),
    ("create-apm.json", "create-apm", 201, r#""redirectUrl":"http"#),
    ("create-apm-invalid.json", "create-apm", 422, "VALIDATION_FAILED"),
    ("get-payment-unknown.json", "get-payment", 404, "NOT_FOUND"),
    ("webhook-handler-apolopay-a.json", "webhook-handler", 200, RECEIVED),
    ("webhook-handler-apolopay-b.json", "webhook-handler", 200, RECEIVED),
    ("webhook-handler-finvypay-w1.json", "webhook-handler", 200, RECEIVED),
    (
        "webhook-handler-finvypay-w1-wrapped.json",
        "webhook-handler",
        200,
        RECEIVED,
    ),
    ("webhook-handler-finvypay-w2.json", "webhook-handler", 200, RECEIVED),
    ("webhook-handler-base64.json", "webhook-handler", 200, RECEIVED),
    (
        "webhook-handler-wrong-signature.json",
        "webhook-handler",
        401,
        "SIGNATURE_INVALID",
    ),
    ("webhook-handler-wrong-path.json", "webhook-handler", 404, "NOT_FOUND"),
];

/// The files for functions without HTTP, and a part of the expected output.
const OTHER_EVENTS: [(&str, &str, &str); 4] = [
    ("reconcile-payments-sweep.json", "reconcile-payments", r#""checked":1"#),
    (
        "reconcile-payments-complete-unknown.json",
        "reconcile-payments",
        "payment 00000000-0000-4000-8000-000000000000 does not exist",
    ),
    (
        "publish-events-stream.json",
        "publish-events",
        r#"{"batchItemFailures":[]}"#,
    ),
    (
        "publish-events-republish-unknown.json",
        "publish-events",
        "there is no payment 00000000-0000-4000-8000-000000000000",
    ),
];

const RECEIVED: &str = r#"{"received":true}"#;

/// The functions with their own table and stand-ins, because the events have fixed orders and ids.
struct Isolated {
    functions: Vec<(&'static str, Attached)>,
    _sandbox: Sandbox,
    table: String,
}

impl Isolated {
    async fn start() -> Self {
        let world = world().await;
        let table = unique("events");
        aws::create_table(&table).await;
        let sandbox = Sandbox::start(0, world.functions_url()).await.expect("the stand-ins");
        let [apolopay, finvypay] = ["apolopay", "finvypay"].map(|provider| format!("{}/{provider}", sandbox.url()));
        let changes = [
            ("PAYMENTS_TABLE", Some(table.as_str())),
            ("APOLOPAY_BASE_URL", Some(apolopay.as_str())),
            ("FINVYPAY_BASE_URL", Some(finvypay.as_str())),
            // Otherwise FinvyPay's webhooks, which name only the order, would wait for a confirmation.
            ("ORDER_ONLY_WEBHOOKS", Some("trust")),
        ];
        let names: BTreeSet<_> = EVENTS
            .iter()
            .map(|(_, function, ..)| *function)
            .chain(OTHER_EVENTS.map(|(_, function, _)| function))
            .collect();
        let attach = |name| async move { (name, world.attach(name, 1, &changes).await.expect("a function")) };
        let functions = join_all(names.into_iter().map(attach)).await;
        Self {
            functions,
            _sandbox: sandbox,
            table,
        }
    }

    fn url(&self, function: &str) -> &str {
        let attached = self.functions.iter().find(|(name, _)| *name == function);
        attached.expect("a function of the table").1.url()
    }
}

#[tokio::test]
async fn every_event_gets_its_response() {
    let files: BTreeSet<_> = std::fs::read_dir(workspace().join("events"))
        .expect("events/")
        .map(|file| file.expect("a file").file_name().into_string().expect("a name"))
        .collect();
    let known: BTreeSet<_> = EVENTS
        .iter()
        .map(|(file, ..)| *file)
        .chain(OTHER_EVENTS.map(|(file, ..)| file))
        .map(str::to_owned)
        .collect();
    assert_eq!(files, known, "events/ and EVENTS differ");

    let isolated = Isolated::start().await;
    for (file, function, status, part) in EVENTS {
        let response = cargo_lambda_invoke(isolated.url(function), file, function).await;
        assert_eq!(response.status, status, "{file}: {response:?}");
        assert!(response.text.contains(part), "{file}: {response:?}");
        let media_type = if status < 300 {
            "application/json"
        } else {
            "application/problem+json"
        };
        assert_eq!(response.header("content-type"), Some(media_type), "{file}");
    }
    for (file, function, part) in OTHER_EVENTS {
        let output = run_cargo_lambda(isolated.url(function), file, function).await;
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8_lossy(&printed);
        assert!(printed.contains(part), "{file}: {printed}");
    }

    // ApoloPay's three forms are one unmatched fact; FinvyPay's webhooks matched by the order.
    let items = aws::all_items(&isolated.table).await;
    let unmatched: Vec<_> = items
        .iter()
        .filter(|item| item["sk"]["S"] == "GROUP")
        .map(|item| (&item["pk"]["S"], &item["count"]["N"]))
        .collect();
    let id = json!("UNMATCHED#apolopay#a1b2c3d4-e5f6-7890-abcd-ef1234567890");
    assert_eq!(
        unmatched,
        [(&id, &json!("1"))],
        "A and B have different times, but one meaning"
    );
    let mut states: Vec<_> = items
        .iter()
        .filter(|item| item["sk"]["S"] == "STATE")
        .map(|item| (item["provider"]["S"].as_str(), item["status"]["S"].as_str()))
        .collect();
    states.sort_unstable();
    assert_eq!(
        states,
        [
            (Some("apolopay"), Some("pending")),
            (Some("finvypay"), Some("completed"))
        ]
    );
}

/// The signed vectors are the published ones, byte for byte.
#[tokio::test]
async fn changed_byte_is_refused() {
    let isolated = Isolated::start().await;
    for (file, function, status, _) in EVENTS {
        if function != "webhook-handler" || status != 200 {
            continue;
        }
        let mut changed: Value = serde_json::from_str(&event(file)).expect("JSON");
        let body = changed["body"].as_str().expect("a body").replacen('c', "C", 1);
        changed["body"] = json!(body);
        let response = invoke(isolated.url(function), function, changed.to_string()).await;
        assert_eq!(response.status, 401, "{file}: {response:?}");
    }
}

async fn cargo_lambda_invoke(url: &str, file: &str, function: &str) -> Response {
    let output = run_cargo_lambda(url, file, function).await;
    let text = String::from_utf8_lossy(&output.stdout);
    let response = serde_json::from_str(&text);
    invoke::read(&response.unwrap_or_else(|_| panic!("{file}: {output:?}")))
}

async fn run_cargo_lambda(url: &str, file: &str, function: &str) -> Output {
    let (_, port) = url.rsplit_once(':').expect("a port");
    let mut command = Command::new(workspace().join(".venv/bin/cargo-lambda"));
    command
        .args([
            "lambda",
            "invoke",
            "--invoke-address",
            "127.0.0.1",
            "--invoke-port",
            port,
        ])
        .args(["--data-file", &format!("events/{file}"), function])
        .current_dir(workspace())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    timeout(Duration::from_secs(60), command.output())
        .await
        .expect("in time")
        .expect("cargo lambda invoke runs")
}
