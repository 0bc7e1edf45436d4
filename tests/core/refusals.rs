//! Errors of DynamoDB.

use std::collections::BTreeSet;

use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::idempotency::{IdempotencyKey, RecordName, RequestNames};
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::platform::clock;
use payment_functions::store::{InsertResult, MAX_MOVED, StoreError};
use serde_json::{Value, json};

use crate::recorded::{Override, Recorded};

fn intent() -> Payment {
    Payment::new(
        PaymentId::random(),
        Provider::FinvyPay,
        Environment::Sandbox,
        Money::from_minor(2550, Currency::USD),
        clock::now(),
    )
}

fn error(code: &str) -> Override {
    Override::Response(
        400,
        json!({ "__type": format!("com.amazonaws.dynamodb#{code}") }).to_string(),
    )
}

/// A cancelled transaction with a reason per step.
fn cancelled(reasons: &[&str]) -> Override {
    let reasons: Vec<Value> = reasons.iter().map(|code| json!({ "Code": code })).collect();
    let body = json!({ "__type": "TransactionCanceledException", "CancellationReasons": reasons });
    Override::Response(400, body.to_string())
}

async fn insert(recorded: &Recorded) -> Result<InsertResult, StoreError> {
    let intent = intent();
    recorded
        .store()
        .insert_payment(&intent, RequestNames::default(), intent.created_at)
        .await
}

#[tokio::test]
async fn contention_is_retried_as_a_new_transaction() {
    let recorded = Recorded::new();
    recorded.override_next([
        cancelled(&["TransactionConflict"]),
        cancelled(&["ThrottlingError"]),
        cancelled(&["ProvisionedThroughputExceeded"]),
        cancelled(&["None"]),
    ]);
    assert_eq!(insert(&recorded).await.unwrap(), InsertResult::Inserted);
    let requests = recorded.take();
    assert_eq!(requests.len(), 5);
    assert!(
        requests
            .iter()
            .all(|(_, body)| body["TransactItems"] == requests[0].1["TransactItems"])
    );
    // A cancelled transaction has written nothing, and a request with its token would get the same cancellation.
    let tokens: BTreeSet<_> = requests
        .iter()
        .map(|(_, body)| body["ClientRequestToken"].to_string())
        .collect();
    assert_eq!(tokens.len(), 5);
    assert_eq!(recorded.table.items().unwrap().len(), 1);
}

#[tokio::test]
async fn persistent_contention_fails_after_the_retry_limit() {
    let recorded = Recorded::new();
    recorded.override_next(vec![cancelled(&["TransactionConflict"]); 9]);
    let inserted = insert(&recorded).await;
    assert!(matches!(inserted, Err(StoreError::Contended)), "{inserted:?}");
    assert_eq!(recorded.take().len(), 9);
    assert_eq!(recorded.table.items().unwrap().len(), 0);
}

#[tokio::test]
async fn other_cancellation_is_not_retried() {
    for reasons in [
        &["ConditionalCheckFailed", "TransactionConflict"][..],
        &["TransactionConflict", "ConditionalCheckFailed"],
        &["ValidationError", "TransactionConflict"],
        &["ItemCollectionSizeLimitExceeded"],
        &[],
    ] {
        let recorded = Recorded::new();
        recorded.override_next([cancelled(reasons)]);
        let inserted = insert(&recorded).await;
        assert!(inserted.is_err(), "{reasons:?} {inserted:?}");
        assert_eq!(recorded.take().len(), 1, "{reasons:?}");
    }
}

#[tokio::test]
async fn error_names_the_remedy_and_no_item_data() {
    let rights = "grant the function's role the permissions listed in template.yaml";
    let missing = "create it, or set PAYMENTS_TABLE and AWS_REGION to where it is";
    let unknown = Override::Response(500, "{}".to_owned());
    let page = Override::Response(200, "<html>".to_owned());
    for (result, endpoint, expected) in [
        (error("InternalServerError"), None, "InternalServerError".to_owned()),
        (
            error("AccessDeniedException"),
            None,
            format!("AccessDeniedException for the table payments in us-east-1: {rights}"),
        ),
        (
            error("ResourceNotFoundException"),
            None,
            format!("there is no table payments in us-east-1: {missing}"),
        ),
        (
            error("ResourceNotFoundException"),
            Some("http://127.0.0.1:9"),
            format!("there is no table payments in us-east-1 at http://127.0.0.1:9: {missing}"),
        ),
        (unknown, None, "unknown".to_owned()),
        (page, None, "unknown".to_owned()),
        (Override::NoConnection, None, "no connection in us-east-1".to_owned()),
        (Override::NoResponse, None, "timed out in us-east-1".to_owned()),
    ] {
        let recorded = Recorded::new();
        recorded.override_next([result]);
        let store = recorded.store().with_endpoint(endpoint.map(str::to_owned));
        let read = store.payment(PaymentId::random()).await.unwrap_err();
        assert_eq!(read.to_string(), format!("DynamoDB GetItem failed: {expected}"));
    }
}

#[tokio::test]
async fn connect_makes_one_read_and_ignores_its_error() {
    let recorded = Recorded::new();
    let store = recorded.store();
    store.warm_up().await;
    recorded.override_next([Override::NoConnection]);
    store.warm_up().await;
    let actions: Vec<_> = recorded.take().into_iter().map(|(action, _)| action).collect();
    assert_eq!(actions, ["GetItem", "GetItem"]);
}

/// Both emulators always read consistently, but DynamoDB does not. A stale read that shows one of an order's two
/// payments would change the wrong payment.
#[tokio::test]
async fn deciding_reads_are_strongly_consistent() {
    let recorded = Recorded::new();
    let (store, order) = (recorded.store(), OrderId::parse("o").unwrap());
    let id = PaymentId::random();
    let key = RecordName::Key(IdempotencyKey::parse("create", b"k").unwrap());
    store.payment(id).await.unwrap();
    store.order_entries(Provider::FinvyPay, &order).await.unwrap();
    store
        .owner(Provider::FinvyPay, &Reference::parse("x").unwrap())
        .await
        .unwrap();
    store.unmatched(Provider::FinvyPay, "x", MAX_MOVED).await.unwrap();
    store.request_record(&key).await.unwrap();
    let reads = recorded.take();
    assert_eq!(reads.len(), 5);
    for (action, body) in reads {
        assert_eq!(body["ConsistentRead"], true, "{action} {body}");
    }
}
