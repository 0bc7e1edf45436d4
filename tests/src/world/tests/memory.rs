//! The table in memory matches the template, and the real store works on it.

use futures_util::future::join;
use payment_functions::domain::id::{PaymentId, Reference};
use payment_functions::domain::idempotency::RequestNames;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::{CheckoutSession, Payment};
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::platform::aws::Aws;
use payment_functions::platform::clock;
use payment_functions::platform::config::Variables;
use payment_functions::platform::tls::Tls;
use payment_functions::store::{CommitExtras, CommitResult, InsertResult, Store};
use serde_json::{Value, json};

use crate::world::MemoryTable;
use payment_functions_local::{Error, template, workspace};

/// Stores a payment that its provider has accepted under `reference`.
async fn create(store: &Store, reference: &str) -> Payment {
    let now = clock::now();
    let money = Money::from_minor(2550, Currency::USD);
    let intent = Payment::new(
        PaymentId::random(),
        Provider::ApoloPay,
        Environment::Production,
        money,
        now,
    );
    assert_eq!(
        store
            .insert_payment(&intent, RequestNames::default(), now)
            .await
            .unwrap(),
        InsertResult::Inserted
    );
    let checkout_session = CheckoutSession {
        reference: Reference::parse(reference).unwrap(),
        redirect_url: None,
        expires_at: None,
    };
    let payment = intent.accept(checkout_session, [], now);
    let commit = store
        .commit(&intent, &payment, &CommitExtras::default(), now)
        .await
        .unwrap();
    assert!(matches!(commit, CommitResult::Done), "{commit:?}");
    payment
}

#[tokio::test]
async fn store_works_on_table_in_memory_and_over_http() {
    let (table, other) = (MemoryTable::new().unwrap(), MemoryTable::new().unwrap());
    let payment = create(&table.store(), "id-1").await;
    let served = table.serve().await.unwrap();
    let variables = |name: &str| match name {
        "AWS_ENDPOINT_URL_DYNAMODB" => Some(served.url().to_owned()),
        "AWS_REGION" => Some("us-east-1".to_owned()),
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("local".to_owned()),
        _ => None,
    };
    let variables = Variables::from(&variables);
    let aws = Aws::from_environment(&variables, &Tls::from_environment(&variables).unwrap()).unwrap();
    for store in [table.clone().store(), Store::open(&aws, "payments".to_owned())] {
        assert_eq!(store.payment(payment.id).await.unwrap(), Some(payment.clone()));
        let reference = Reference::parse("id-1").unwrap();
        assert_eq!(
            store.owner(Provider::ApoloPay, &reference).await.unwrap(),
            Some(payment.id)
        );
    }
    assert_eq!(
        other.store().payment(payment.id).await.unwrap(),
        None,
        "tables are separate"
    );
    let mut keys: Vec<Value> = table
        .items()
        .unwrap()
        .iter()
        .map(|item| item["pk"]["S"].clone())
        .collect();
    keys.sort_unstable_by_key(ToString::to_string);
    assert_eq!(
        keys,
        [json!(format!("PAYMENT#{}", payment.id)), json!("REF#apolopay#id-1")]
    );
    assert!(other.items().unwrap().is_empty());
}

#[tokio::test]
async fn items_lists_every_page() {
    let table = MemoryTable::new().unwrap();
    let client = table.client();
    for nth in 0..30 {
        let text = |text: String| aws_sdk_dynamodb::types::AttributeValue::S(text);
        let put = client
            .put_item()
            .table_name("payments")
            .item("pk", text(nth.to_string()));
        // Together more than a page, which is a megabyte.
        put.item("sk", text("x".to_owned()))
            .item("filler", text("y".repeat(100_000)))
            .send()
            .await
            .unwrap();
    }
    assert_eq!(table.items().unwrap().len(), 30);
    let refused = client.list_tables().send().await.unwrap_err();
    assert!(
        format!("{refused:?}").contains("ListTables is not supported by a table in memory"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn flows_on_one_thread_alternate_at_every_call() {
    let store = MemoryTable::new().unwrap().store();
    let order = std::sync::Mutex::new(Vec::new());
    let flow = async |name: char| {
        for _ in 0..5 {
            store.payment(PaymentId::random()).await.unwrap();
            order.lock().unwrap().push(name);
        }
    };
    join(flow('a'), flow('b')).await;
    assert_eq!(order.into_inner().unwrap().iter().collect::<String>(), "ababababab");
}

#[test]
fn table_in_memory_matches_the_template() {
    let keys = json!([{ "AttributeName": "pk", "KeyType": "HASH" }, { "AttributeName": "sk", "KeyType": "RANGE" }]);
    assert_eq!(template::create_table("x").unwrap()["KeySchema"], keys);

    let text = std::fs::read_to_string(workspace().join("template.yaml")).unwrap();
    let index = "      GlobalSecondaryIndexes:
        - IndexName: due
          KeySchema: [{ AttributeName: due, KeyType: HASH }]
          Projection: { ProjectionType: KEYS_ONLY }
";
    let with_index = text.replacen(
        "      TimeToLiveSpecification:",
        &format!("{index}      TimeToLiveSpecification:"),
        1,
    );
    let table = template::create_table_from("x", &with_index).unwrap();
    assert_eq!(
        table["GlobalSecondaryIndexes"],
        json!([{
            "IndexName": "due", "KeySchema": [{ "AttributeName": "due", "KeyType": "HASH" }],
            "Projection": { "ProjectionType": "KEYS_ONLY" },
        }])
    );
    assert_eq!(table["TableName"], "x");

    let none = text.replace("AWS::DynamoDB::Table", "AWS::SNS::Topic");
    for wrong in ["", "Resources: []", none.as_str()] {
        assert!(
            matches!(template::create_table_from("x", wrong), Err(Error::Table(_))),
            "{wrong:.20}"
        );
    }
}
