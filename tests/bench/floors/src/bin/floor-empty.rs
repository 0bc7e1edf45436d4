//! A function that does nothing: the minimal cost of a function in Rust, for comparison in the bench.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let handler = async |_: LambdaEvent<Value>| Ok::<_, Error>(json!({ "statusCode": 200, "headers": {}, "body": "" }));
    lambda_runtime::run(service_fn(handler)).await
}
