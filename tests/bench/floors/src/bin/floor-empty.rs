//! A function that does nothing: what every function in Rust costs at least, for the bench to compare with.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let nothing = async |_: LambdaEvent<Value>| Ok::<_, Error>(json!({ "statusCode": 200, "headers": {}, "body": "" }));
    lambda_runtime::run(service_fn(nothing)).await
}
