//! The two create routes, where they are alike.

use payment_functions_local::sandbox::Call;

use super::support::*;

/// Both providers.
pub const BOTH: [Provider; 2] = [Provider::Apolopay, Provider::Finvypay];

/// A provider's create route.
pub fn route(provider: Provider) -> &'static str {
    match provider {
        Provider::Apolopay => "/preorders",
        Provider::Finvypay => "/apm-payments",
    }
}

/// The function behind it.
pub fn function(provider: Provider) -> &'static str {
    match provider {
        Provider::Apolopay => "create-preorder",
        Provider::Finvypay => "create-apm",
    }
}

/// A valid body for an order.
pub fn body(provider: Provider, order_id: &str) -> Value {
    match provider {
        Provider::Apolopay => preorder(order_id),
        Provider::Finvypay => apm(order_id),
    }
}

/// A body with further or other members.
pub fn with(mut body: Value, members: Value) -> Value {
    for (name, value) in members.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

/// Posts a text, valid or not, to a provider's route.
pub async fn post_text(provider: Provider, text: impl Into<String>, headers: &[(&str, &str)]) -> Response {
    post_to(world().await.functions_url(), route(provider), text, headers).await
}

/// Posts with an idempotency key.
pub async fn keyed(provider: Provider, body: &Value, key: &str) -> Response {
    post(route(provider), body, &[("idempotency-key", key)]).await
}

/// Scripts the provider's replies for an order, and posts a valid body for it.
pub async fn create_with(provider: Provider, order_id: &str, replies: Value) -> Response {
    control()
        .await
        .replies(provider, order_id, replies)
        .await
        .expect("a script");
    post(route(provider), &body(provider, order_id), &[]).await
}

/// The provider's calls for an order.
pub async fn calls(provider: Provider, order_id: &str) -> Vec<Call> {
    let calls = control().await.calls(provider, order_id).await.expect("the calls");
    calls.calls
}

/// Waits until the provider has got this many calls.
pub async fn until_called(provider: Provider, order_id: &str, count: usize) -> Vec<Call> {
    let count = count.to_string();
    let query = [("atLeast", count.as_str())];
    let calls = control().await.calls_where(provider, order_id, &query).await;
    calls.expect("that many calls").calls
}

/// Sends webhooks, which must be accepted.
pub async fn webhooks(specs: Value) {
    let deliveries = control().await.webhooks(&specs).await.expect("deliveries");
    for delivery in deliveries {
        assert_eq!(delivery.status, Some(200), "{delivery:?}");
    }
}
