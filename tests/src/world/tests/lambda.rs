//! [`Lambda`] with a real function and with a misbehaving one.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use futures_util::future::join;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::world::{AwsProxy, InvokeError, Lambda};
use payment_functions_local::build::Binaries;
use payment_functions_local::settings::{self, Addresses, FUNCTIONS, Function, Variables};

const PAYMENT: &str = "/payments/00000000-0000-4000-8000-000000000000";

/// A proxy in front of an empty table.
async fn empty_table() -> AwsProxy {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(|| async { "{}" }))).await });
    AwsProxy::start(&url).await.unwrap()
}

/// How many times the function read [`PAYMENT`]. Its warm-up reads another one, which a busy machine may cut off.
fn reads(proxy: &AwsProxy) -> usize {
    let key = PAYMENT.replace("/payments/", "PAYMENT#");
    let calls = proxy.calls();
    let reads = calls.iter().filter(|call| call.body["Key"]["pk"]["S"] == key.as_str());
    reads.map(|call| &call.operation).collect::<BTreeSet<_>>().len()
}

fn get_payment() -> &'static Function {
    FUNCTIONS
        .iter()
        .find(|function| function.name == "get-payment")
        .unwrap()
}

/// Built once.
async fn binaries() -> &'static Binaries {
    static BINARIES: OnceCell<Binaries> = OnceCell::const_new();
    BINARIES.get_or_try_init(Binaries::build).await.unwrap()
}

async fn lambda(proxy: &AwsProxy, changes: &[settings::Change<'_>]) -> Lambda {
    let nowhere = "http://127.0.0.1:9".to_owned();
    let addresses = Addresses {
        functions: nowhere.clone(),
        aws: proxy.url().to_owned(),
        dead_letters: nowhere.clone(),
        sandbox: nowhere,
    };
    let mut variables = settings::of(get_payment(), &addresses);
    settings::change(&mut variables, changes);
    let program = binaries().await.path("get-payment").unwrap();
    Lambda::start(binaries().await, program, get_payment(), variables)
        .await
        .unwrap()
}

async fn misbehaving(behaviour: &str) -> Lambda {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/world/tests/function.py");
    let variables = Variables::from([("BEHAVIOUR".to_owned(), behaviour.to_owned())]);
    Lambda::start(binaries().await, &program, get_payment(), variables)
        .await
        .unwrap()
}

fn died(outcome: Result<impl std::fmt::Debug, InvokeError>) -> (Option<i32>, String) {
    match outcome {
        Err(InvokeError::Died { status, log }) => (status.code(), log),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn function_handles_several_invocations() {
    let proxy = empty_table().await;
    let lambda = lambda(&proxy, &[]).await;
    for count in 1..=3 {
        let response = lambda.http("GET", PAYMENT, &[], b"").await.unwrap();
        assert_eq!((response.status, &response.json()["code"]), (404, &"NOT_FOUND".into()));
        assert_eq!(response.headers["content-type"], "application/problem+json");
        assert_eq!(reads(&proxy), count, "it received the path parameter");
    }
    assert_eq!(lambda.ended(), None);
}

#[tokio::test]
async fn crash_ends_the_invocation_and_restart_recovers() {
    let proxy = empty_table().await;
    let mut lambda = lambda(&proxy, &[("FAILPOINTS", Some("after:read-payment=die"))]).await;
    let outcome = timeout(Duration::from_secs(10), lambda.http("GET", PAYMENT, &[], b"")).await;
    assert_eq!(died(outcome.unwrap()).0, Some(134), "aborted");
    assert_eq!(reads(&proxy), 1, "after the call");
    assert_eq!(
        died(lambda.http("GET", PAYMENT, &[], b"").await).0,
        Some(134),
        "it is still dead"
    );

    lambda.restart(&[("FAILPOINTS", Some("log"))]).await.unwrap();
    assert_eq!(lambda.http("GET", PAYMENT, &[], b"").await.unwrap().status, 404);
    assert!(lambda.log().contains("before:read-payment"), "{}", lambda.log());
}

#[tokio::test]
async fn failed_start_reports_its_reason() {
    let proxy = empty_table().await;
    let lambda = lambda(&proxy, &[("PAYMENTS_TABLE", None)]).await;
    let (code, log) = died(lambda.http("GET", PAYMENT, &[], b"").await);
    assert_eq!((code, log.contains("PAYMENTS_TABLE")), (Some(1), true), "{log}");
}

#[tokio::test]
async fn kill_ends_the_invocation_in_progress() {
    let proxy = empty_table().await;
    let mut held = proxy.hold("GetItem");
    let lambda = lambda(&proxy, &[]).await;
    let killed = join(lambda.http("GET", PAYMENT, &[], b""), async {
        held.arrived(1).await;
        lambda.kill().await
    });
    let (outcome, status) = timeout(Duration::from_secs(10), killed).await.unwrap();
    assert_eq!((died(outcome).0, status.code()), (Some(137), Some(137)));
}

#[tokio::test]
async fn second_invocation_waits_for_the_first() {
    let proxy = empty_table().await;
    let mut held = proxy.hold("GetItem");
    let lambda = lambda(&proxy, &[]).await;
    let get = || lambda.http("GET", PAYMENT, &[], b"");
    let both = join(get(), get());
    tokio::pin!(both);
    tokio::select! {
        _ = &mut both => panic!("the table has not responded"),
        () = held.arrived(1) => {}
    }
    let more = timeout(Duration::from_millis(200), join(&mut both, held.arrived(2)));
    assert!(more.await.is_err(), "the second invocation waits");
    held.release();
    let (first, second) = both.await;
    assert_eq!((first.unwrap().status, second.unwrap().status), (404, 404));
}

#[tokio::test]
async fn response_before_a_crash_is_returned() {
    let lambda = misbehaving("crashes after responding").await;
    assert_eq!(lambda.invoke("[1]").await.unwrap(), "[1]");
    assert_eq!(died(lambda.invoke("[2]").await).0, Some(134));
}

#[tokio::test]
async fn reported_error_is_returned() {
    let lambda = misbehaving("fails").await;
    for _ in 0..2 {
        let InvokeError::Failed(error) = lambda.invoke("{}").await.unwrap_err() else {
            panic!("expected an error");
        };
        assert_eq!(error["errorMessage"], "no response");
    }
    let InvokeError::Failed(error) = misbehaving("fails to start").await.invoke("{}").await.unwrap_err() else {
        panic!("expected an error");
    };
    assert_eq!(error["errorMessage"], "no start");
    let response = misbehaving("echoes").await.http("GET", "/", &[], b"").await;
    assert!(matches!(response, Err(InvokeError::Unreadable(_))), "{response:?}");
}

#[tokio::test]
async fn unresponsive_function_is_killed_at_its_time_limit() {
    let lambda = misbehaving("never responds")
        .await
        .with_time_limit(Duration::from_millis(300));
    let InvokeError::TimedOut { log } = lambda.invoke("{}").await.unwrap_err() else {
        panic!("expected a timeout");
    };
    assert!(log.contains("started"), "{log}");
    assert_eq!(lambda.ended().unwrap().code(), Some(137));
}
