//! What DynamoDB may answer other than what was asked for.

use std::collections::BTreeSet;

use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::idempotency::IdempotencyKey;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::platform::clock;
use payment_functions::store::{InsertResult, StoreError};
use serde_json::{Value, json};

use crate::recorded::{Instead, Recorded};

fn intent() -> Payment {
    Payment::new(
        PaymentId::random(),
        Provider::FinvyPay,
        Money::from_minor(2550, Currency::USD),
        clock::now(),
    )
}

fn error(code: &str) -> Instead {
    Instead::Answer(
        400,
        json!({ "__type": format!("com.amazonaws.dynamodb#{code}") }).to_string(),
    )
}

/// A transaction that is refused, each of its steps with a reason.
fn cancelled(reasons: &[&str]) -> Instead {
    let reasons: Vec<Value> = reasons.iter().map(|code| json!({ "Code": code })).collect();
    let body = json!({ "__type": "TransactionCanceledException", "CancellationReasons": reasons });
    Instead::Answer(400, body.to_string())
}

async fn open(recorded: &Recorded) -> Result<InsertResult, StoreError> {
    let intent = intent();
    recorded.store().insert_payment(&intent, None, intent.created_at).await
}

#[tokio::test]
async fn contention_is_tried_again_as_a_transaction_of_its_own() {
    let recorded = Recorded::new();
    recorded.next([
        cancelled(&["TransactionConflict"]),
        cancelled(&["ThrottlingError"]),
        cancelled(&["ProvisionedThroughputExceeded"]),
        cancelled(&["None"]),
    ]);
    assert_eq!(open(&recorded).await.unwrap(), InsertResult::Inserted);
    let requests = recorded.take();
    assert_eq!(requests.len(), 5);
    assert!(
        requests
            .iter()
            .all(|(_, body)| body["TransactItems"] == requests[0].1["TransactItems"])
    );
    // What was refused has written nothing, and whoever asks under its token would be told so again.
    let tokens: BTreeSet<_> = requests
        .iter()
        .map(|(_, body)| body["ClientRequestToken"].to_string())
        .collect();
    assert_eq!(tokens.len(), 5);
    assert_eq!(recorded.table.items().unwrap().len(), 1);
}

#[tokio::test]
async fn contention_without_end_is_given_up() {
    let recorded = Recorded::new();
    recorded.next(vec![cancelled(&["TransactionConflict"]); 9]);
    let opened = open(&recorded).await;
    assert!(matches!(opened, Err(StoreError::Contended)), "{opened:?}");
    assert_eq!(recorded.take().len(), 9);
    assert_eq!(recorded.table.items().unwrap().len(), 0);
}

#[tokio::test]
async fn what_is_no_contention_is_not_tried_again() {
    for reasons in [
        &["ConditionalCheckFailed", "TransactionConflict"][..],
        &["TransactionConflict", "ConditionalCheckFailed"],
        &["ValidationError", "TransactionConflict"],
        &["ItemCollectionSizeLimitExceeded"],
        &[],
    ] {
        let recorded = Recorded::new();
        recorded.next([cancelled(reasons)]);
        let opened = open(&recorded).await;
        assert!(opened.is_err(), "{reasons:?} {opened:?}");
        assert_eq!(recorded.take().len(), 1, "{reasons:?}");
    }
}

#[tokio::test]
async fn an_error_says_what_to_do_and_nothing_of_an_item() {
    let rights = "give the function's role the rights that it has in template.yaml";
    let missing = "create it, or set PAYMENTS_TABLE and AWS_REGION to where it is";
    let unknown = Instead::Answer(500, "{}".to_owned());
    let page = Instead::Answer(200, "<html>".to_owned());
    for (instead, here, words) in [
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
        (Instead::NoConnection, None, "no connection in us-east-1".to_owned()),
        (Instead::Silence, None, "no answer in time in us-east-1".to_owned()),
    ] {
        let recorded = Recorded::new();
        recorded.next([instead]);
        let store = recorded.store().at(here.map(str::to_owned));
        let read = store.payment(PaymentId::random()).await.unwrap_err();
        assert_eq!(read.to_string(), format!("DynamoDB GetItem failed: {words}"));
    }
}

#[tokio::test]
async fn a_connection_is_opened_by_one_read_whatever_it_meets() {
    let recorded = Recorded::new();
    let store = recorded.store();
    store.connect().await;
    recorded.next([Instead::NoConnection]);
    store.connect().await;
    let actions: Vec<_> = recorded.take().into_iter().map(|(action, _)| action).collect();
    assert_eq!(actions, ["GetItem", "GetItem"]);
}

/// Both emulators answer as if it were always so; DynamoDB does not, and who reads that an order has one payment while there
/// are two moves the wrong one.
#[tokio::test]
async fn what_decides_is_read_as_it_is_and_not_as_it_was() {
    let recorded = Recorded::new();
    let (store, order) = (recorded.store(), OrderId::parse("o").unwrap());
    let id = PaymentId::random();
    let key = IdempotencyKey::parse("create", b"k").unwrap();
    store.payment(id).await.unwrap();
    store.payments_of_order(Provider::FinvyPay, &order).await.unwrap();
    store
        .owner(Provider::FinvyPay, &Reference::parse("x").unwrap())
        .await
        .unwrap();
    store.unmatched(Provider::FinvyPay, "x").await.unwrap();
    store.key(&key, clock::now()).await.unwrap();
    let reads = recorded.take();
    assert_eq!(reads.len(), 5);
    for (action, body) in reads {
        assert_eq!(body["ConsistentRead"], true, "{action} {body}");
    }
}
