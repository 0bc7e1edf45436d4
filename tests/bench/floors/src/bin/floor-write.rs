//! A function that does nothing but the one write of a webhook: a transaction over a payment's fact and its state, by the
//! SDK alone.

use std::env::var;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
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

async fn write(client: &Client, table: &str, event: &Value) -> Result<(), Error> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let number = |number: u64| AttributeValue::N(number.to_string());
    let payment = text(&format!(
        "PAYMENT#{}",
        event.get("id").and_then(Value::as_str).unwrap_or_default()
    ));
    let fact = Put::builder()
        .table_name(table)
        .item("pk", payment.clone())
        .item(
            "sk",
            text("FACT#9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        )
        .item("provider", text("finvypay"))
        .item("payment", text("pay_apm_0123456789abcdef0123456789abcdef"))
        .item("orderId", text("ORD-0123456789abcdef0123456789abcdef"))
        .item("outcome", text("completed"))
        .item("words", text("COMPLETED payment.completed"))
        .item("amount", text("99.99"))
        .item("currency", text("USD"))
        .item("receivedAt", number(1_790_000_000_000))
        .condition_expression("attribute_not_exists(pk)");
    let state = Update::builder()
        .table_name(table)
        .key("pk", payment)
        .key("sk", text("STATE"))
        .update_expression("SET #status = :status, #rank = :rank, #updatedAt = :now, #version = :one")
        .condition_expression("attribute_not_exists(#rank) OR #rank < :rank")
        .expression_attribute_names("#status", "status")
        .expression_attribute_names("#rank", "rank")
        .expression_attribute_names("#updatedAt", "updatedAt")
        .expression_attribute_names("#version", "version")
        .expression_attribute_values(":status", text("completed"))
        .expression_attribute_values(":rank", number(7))
        .expression_attribute_values(":now", number(1_790_000_000_000))
        .expression_attribute_values(":one", number(1));
    client
        .transact_write_items()
        .transact_items(TransactWriteItem::builder().put(fact.build()?).build())
        .transact_items(TransactWriteItem::builder().update(state.build()?).build())
        .send()
        .await?;
    Ok(())
}
