//! A function that makes only the one write of a webhook, a transaction over a payment's fact and its state, with the
//! SDK only.

use std::env::var;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};
use aws_sdk_dynamodb::{Client, Config};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let credentials = Credentials::new(
        var("AWS_ACCESS_KEY_ID")?,
        var("AWS_SECRET_ACCESS_KEY")?,
        None,
        None,
        "bench",
    );
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(var("AWS_REGION")?))
        .credentials_provider(credentials)
        .endpoint_url(var("AWS_ENDPOINT_URL_DYNAMODB")?)
        .http_client(
            Builder::new()
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .build_https(),
        )
        .build();
    let (client, table) = (Client::from_conf(config), var("PAYMENTS_TABLE")?);
    let (client, table) = (&client, table.as_str());
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        write(client, table, &event.payload).await?;
        Ok::<_, Error>(json!({ "statusCode": 200, "headers": {}, "body": "" }))
    }))
    .await
}

/// Makes the same transaction as the webhook-handler for a FinvyPay webhook that completes a payment.
async fn write(client: &Client, table: &str, event: &Value) -> Result<(), Error> {
    let member = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let number = |number: u64| AttributeValue::N(number.to_string());
    let payment = text(&format!("PAYMENT#{}", member("id")));
    let fact = Put::builder()
        .table_name(table)
        .item("pk", payment.clone())
        .item(
            "sk",
            text("FACT#9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        )
        .item("provider", text("finvypay"))
        .item("payment", text(member("paymentId")))
        .item("orderId", text(member("orderId")))
        .item("outcome", text("completed"))
        .item("rawStatus", text("COMPLETED payment.completed"))
        .item("amount", text("99.99"))
        .item("currency", text("USD"))
        .item("receivedAt", number(1_790_000_000_000))
        .condition_expression("attribute_not_exists(pk)");
    let mut state = Update::builder()
        .table_name(table)
        .key("pk", payment)
        .key("sk", text("STATE"))
        .update_expression(
            "SET #status = :status, #rank = :rank, #updatedAt = :now, #version = #version + :one \
             REMOVE #dueQueue, #dueAt ADD #captureReferences :captureReferences",
        )
        .condition_expression(
            "#provider = :provider AND #rank < :rank AND contains(#references, :reference) \
             AND #amount = :amount AND #currency = :currency",
        )
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .expression_attribute_values(":status", text("completed"))
        .expression_attribute_values(":rank", number(7))
        .expression_attribute_values(":now", number(1_790_000_000_000))
        .expression_attribute_values(":one", number(1))
        .expression_attribute_values(":provider", text("finvypay"))
        .expression_attribute_values(":reference", text(member("paymentId")))
        .expression_attribute_values(":amount", number(9999))
        .expression_attribute_values(":currency", text("USD"))
        .expression_attribute_values(
            ":captureReferences",
            AttributeValue::Ss(vec![format!("payment:{}", member("paymentId"))]),
        );
    for name in [
        "status",
        "rank",
        "updatedAt",
        "version",
        "dueQueue",
        "dueAt",
        "captureReferences",
        "provider",
        "references",
        "amount",
        "currency",
    ] {
        state = state.expression_attribute_names(format!("#{name}"), name);
    }
    client
        .transact_write_items()
        .transact_items(TransactWriteItem::builder().put(fact.build()?).build())
        .transact_items(TransactWriteItem::builder().update(state.build()?).build())
        .send()
        .await?;
    Ok(())
}
