//! `make dev`: start, a payment through each provider, its events, a clean stop, and the errors of a failed start.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use payment_functions_local::{free_port, workspace};
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, Signal, System, UpdateKind};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::invoke;
use crate::support::*;

/// The request in FinvyPay's documentation, without `webhookUrl`.
const APM_EXAMPLE: &str = r#"{"orderId":"ORD-APM-78901","amount":99.99,"currency":"USD","paymentMethod":"apple_pay",
    "description":"Order #78901 - Premium Plan","email":"customer@example.com","firstName":"Jane","lastName":"Smith",
    "returnUrl":"https://your-domain.com/payment/success","cancelUrl":"https://your-domain.com/payment/cancel"}"#;

/// The folder of the log files.
fn logs(functions_port: &str) -> PathBuf {
    workspace().join("target/dev").join(functions_port)
}

/// The number of processes with this environment variable.
fn running(variable: &str) -> usize {
    let mut system = System::new().unwrap();
    let environment = ProcessRefreshKind::nothing().with_environ(UpdateKind::Always);
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, environment);
    let processes = system.processes().values();
    processes
        .filter(|process| process.thread_kind().is_none() && process.status() != ProcessStatus::Zombie)
        .filter(|process| process.environ().iter().any(|entry| entry == OsStr::new(variable)))
        .count()
}

/// Waits for a condition.
async fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The status of a webhook, resent after 503 as a provider does: on a busy machine the functions may run into AWS
/// timeouts.
async fn delivered(control: &Control, spec: Value) -> u16 {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let responses = control.webhooks(spec.clone()).await.unwrap();
        match responses[0].status {
            Some(503) if Instant::now() < deadline => tokio::time::sleep(Duration::from_secs(1)).await,
            Some(status) => return status,
            None => panic!("no response: {responses:?}"),
        }
    }
}

/// The error output of a failed `make dev`.
async fn refused(variables: &[(&str, &str)]) -> String {
    let mut dev = Command::new(world().await.binary("dev").unwrap());
    dev.envs(variables.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(120), dev.output()).await;
    let output = output.expect("it ends").unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn port_in_use_names_its_variable() {
    let variables = ["FUNCTIONS_PORT", "AWS_PORT", "SANDBOX_PORT"];
    let parts = ["the functions", "the local AWS", "the providers' stand-ins"];
    for (variable, part) in variables.into_iter().zip(parts) {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let free = variables.map(|variable| (variable, free_port().unwrap().to_string()));
        let mut given: Vec<_> = free.iter().map(|(variable, port)| (*variable, port.as_str())).collect();
        given.push((variable, &port));
        let line = format!(
            "make dev: port {port} ({part}) is in use, perhaps by another `make dev`: stop what listens there, or set \
             {variable} to another port\n"
        );
        assert_eq!(refused(&given).await, line);
        given.push((variable, "http"));
        assert_eq!(
            refused(&given).await,
            format!("make dev: {variable} is not a port number: http\n")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_variable_is_named() {
    let _quiet = MACHINE.write().await;
    let ports: [String; 3] = std::array::from_fn(|_| free_port().unwrap().to_string());
    let said = refused(&[
        ("FUNCTIONS_PORT", &ports[0]),
        ("AWS_PORT", &ports[1]),
        ("SANDBOX_PORT", &ports[2]),
        ("WEBHOOK_BASE_URL", "hooks.example"),
    ])
    .await;
    let _ = std::fs::remove_dir_all(logs(&ports[0]));
    let line = "create-apm: WEBHOOK_BASE_URL must be an https URL, or http on a loopback host\n";
    assert_eq!(said, format!("make dev: create-apm ended (exit status: 1)\n{line}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_runs_and_stops_cleanly() {
    let _quiet = MACHINE.write().await;
    let [functions, aws, sandbox] = std::array::from_fn(|_| free_port().unwrap().to_string());
    let mark = unique("dev");
    let mut dev = Command::new(world().await.binary("dev").unwrap())
        .envs([
            ("FUNCTIONS_PORT", &functions),
            ("AWS_PORT", &aws),
            ("SANDBOX_PORT", &sandbox),
            ("PF_TEST_MARK", &mark),
            // A developer's setting that must not matter: the table is in the default region.
            ("AWS_REGION", &"eu-central-1".to_owned()),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with("ready") {
                return;
            }
        }
        panic!("make dev ended before it was ready");
    };
    tokio::time::timeout(Duration::from_secs(180), ready)
        .await
        .expect("ready in time");
    let shown = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&shown);
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            all.lock().unwrap().push(line);
        }
    });
    let is_shown = |line: &str| shown.lock().unwrap().iter().any(|shown: &String| shown == line);
    let variable = format!("PF_TEST_MARK={mark}");
    assert!(running(&variable) > 3, "the mark is inherited");

    let base = format!("http://127.0.0.1:{functions}");
    let control = Control::new(&format!("http://127.0.0.1:{sandbox}")).unwrap();
    let status = async |id: &str| {
        send(request(reqwest::Method::GET, &format!("{base}/payments/{id}")))
            .await
            .str("status")
    };

    // The summary names the address; a second instance at the same port fails.
    let page = format!("  the checkout page  http://127.0.0.1:{sandbox}/");
    until("the summary", || is_shown(&page)).await;
    let files = format!("  logs and metrics   target/dev/{functions}/<function>.log");
    until("the log files", || is_shown(&files)).await;
    let same = [
        ("FUNCTIONS_PORT", functions.as_str()),
        ("AWS_PORT", &aws),
        ("SANDBOX_PORT", &sandbox),
    ];
    assert!(
        refused(&same)
            .await
            .starts_with(&format!("make dev: port {functions} (the functions) is in use"))
    );

    // Unknown routes get a response at once, and invocations reach their function.
    let unknown = send(request(reqwest::Method::GET, &format!("{base}/health"))).await;
    assert_eq!(
        (unknown.status, unknown.text.as_str()),
        (404, r#"{"message":"Not Found"}"#)
    );
    let event = invoke::event("get-payment-unknown.json");
    assert_eq!(invoke::invoke(&base, "get-payment", event).await.status, 404);

    // ApoloPay's documented example, once for each shape of its webhook.
    for shape in ["A", "B"] {
        let body = r#"{"amount":25.50,"metadata":{"orderId":"ORD-9821","customerEmail":"jane@example.com"}}"#;
        let response = post_to(&base, "/preorders", body, &[]).await;
        assert_eq!(response.status, 201, "{response:?}");
        let id = response.str("id");
        let by_id = |more: Value| {
            let mut spec = json!({ "provider": "apolopay", "payment": response.str("processId"), "shape": shape });
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            spec
        };
        let forged = delivered(&control, by_id(json!({ "signature": "wrong" }))).await;
        assert_eq!((forged, status(&id).await.as_str()), (401, "pending"));
        let genuine = delivered(&control, by_id(json!({}))).await;
        assert_eq!((genuine, status(&id).await.as_str()), (200, "completed"));
        // The table's stream feeds the bus, and log lines are short.
        for change in ["pending", "completed"] {
            let line = format!("publish-events     info  event published  detail_type=payment.{change}  payment={id}");
            until(&line, || is_shown(&line)).await;
        }
    }

    // FinvyPay's example, once for each shape. W1 names only the order: the reconciler asks FinvyPay about it.
    for shape in ["W2", "W1", "W1wrapped"] {
        let order = unique("ORD-APM");
        let body = if shape == "W2" {
            APM_EXAMPLE.to_owned()
        } else {
            APM_EXAMPLE.replace("ORD-APM-78901", &order)
        };
        let response = post_to(&base, "/apm-payments", body, &[]).await;
        assert_eq!(response.status, 201, "{response:?}");
        assert!(response.str("redirectUrl").starts_with("http"));
        let spec = json!({ "provider": "finvypay", "payment": response.str("paymentId"), "shape": shape });
        assert_eq!(delivered(&control, spec).await, 200, "{shape}");
        let deadline = Instant::now() + Duration::from_secs(30);
        while status(&response.str("id")).await != "completed" {
            assert!(Instant::now() < deadline, "{shape} is not confirmed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    // A wrong amount, and a repeated key.
    let key = unique("key");
    let body = r#"{"amount":25.50,"orderId":"ORD-9821"}"#;
    let first = post_to(&base, "/preorders", body, &[("idempotency-key", &key)]).await;
    let again = post_to(&base, "/preorders", body, &[("idempotency-key", &key)]).await;
    assert_eq!(
        (again.status, &again.text, again.header("idempotency-replayed")),
        (201, &first.text, Some("true"))
    );
    let spec = json!({ "provider": "apolopay", "payment": first.str("processId"), "amount": 25.49 });
    assert_eq!(delivered(&control, spec).await, 200);
    assert_eq!(status(&first.str("id")).await, "review");

    let pid = sysinfo::Pid::from_u32(dev.id().unwrap());
    let mut system = System::new().unwrap();
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), true);
    assert_eq!(system.process(pid).unwrap().kill_with(Signal::Interrupt), Some(true));
    let ended = tokio::time::timeout(Duration::from_secs(20), dev.wait())
        .await
        .expect("it ends")
        .unwrap();
    assert!(ended.success(), "{ended}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while running(&variable) > 0 {
        assert!(Instant::now() < deadline, "{} processes left", running(&variable));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // The log files have the lines as written, with the start and the metrics.
    let log = std::fs::read_to_string(logs(&functions).join("publish-events.log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let message = |line: &Value, text: &str| line["message"] == text;
    assert!(lines.iter().any(|line| message(line, "ready")), "{log}");
    let published = lines.iter().find(|line| message(line, "event published")).unwrap();
    assert!(published["span"]["requestId"].is_string(), "{published}");
    let counts = |line: &&Value| line["_aws"].is_object() && line["Status"] == "completed";
    assert!(lines.iter().any(|line| counts(&line)), "{log}");
    std::fs::remove_dir_all(logs(&functions)).unwrap();
}
