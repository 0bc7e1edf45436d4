//! Follows `docs/adding-a-provider.md`: adds a toy provider to a copy of the sources, builds them, and takes its
//! payments.
//!
//! The code for the toy provider is `adding_a_provider/toypay.patch`.

mod sources;
mod toypay;

use payment_functions_local::{FUNCTIONS, Function};
use payment_functions_tests::world::{Lambda, World};

use self::sources::Copy;
use self::toypay::StandIn;
use crate::aws;
use crate::support::*;

/// The functions that handle the toy's payments.
struct Functions {
    create: Lambda,
    webhooks: Lambda,
    get: Lambda,
    provider: StandIn,
}

impl Functions {
    async fn start(world: &World, copy: &Copy) -> Self {
        let provider = StandIn::start().await;
        let secret = json!({ "apiKey": toypay::API_KEY, "webhookSecret": toypay::WEBHOOK_SECRET });
        let secret = aws::create_secret(&secret).await;
        let known = |name| FUNCTIONS.iter().find(|function| function.name == name).unwrap();
        let start = async |function: &'static Function, like| {
            let mut variables = world.environment(like).unwrap();
            variables.insert("TOYPAY_SECRET_ID".to_owned(), secret.clone());
            variables.insert("TOYPAY_BASE_URL".to_owned(), provider.url.clone());
            let program = copy.binary(function.name);
            world.lambda_from_program(&program, function, variables).await.unwrap()
        };
        Self {
            create: start(&toypay::CREATE, "create-apm").await,
            webhooks: start(known("webhook-handler"), "webhook-handler").await,
            get: start(known("get-payment"), "get-payment").await,
            provider,
        }
    }

    async fn create(&self, order_id: &str) -> Response {
        let body = json!({ "orderId": order_id, "amount": 25.50, "currency": "EUR", "metadata": { "basket": 7 } });
        let body = body.to_string();
        let headers = [("content-type", "application/json"), ("idempotency-key", order_id)];
        let response = self.create.http("POST", "/toy-payments", &headers, body.as_bytes());
        response.await.unwrap().into()
    }

    /// Sends a signed webhook about a charge.
    async fn report(&self, charge: &str, state: &str, total: &str, signature: impl Fn(&str) -> String) -> Response {
        let body = self.provider.webhook(charge, state, total);
        let headers = [("toy-signature", &*signature(&body))];
        let response = self
            .webhooks
            .http("POST", "/webhooks/toypay", &headers, body.as_bytes());
        response.await.unwrap().into()
    }

    async fn status_of(&self, created: &Response) -> String {
        let path = format!("/payments/{}", created.str("id"));
        Response::from(self.get.http("GET", &path, &[], b"").await.unwrap()).str("status")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn provider_added_by_the_guide_takes_payments() {
    let copy = tokio::task::spawn_blocking(Copy::with_the_toy).await.unwrap();
    let functions = Functions::start(world().await, &copy).await;
    let order_id = unique("toy");

    let created = functions.create(&order_id).await;
    assert_eq!(created.status, 201, "{created:?}");
    let (charge, page) = (created.str("paymentId"), created.str("redirectUrl"));
    assert_eq!(
        (created.str("provider"), created.str("status")),
        ("toypay".into(), "pending".into())
    );
    assert_eq!(page, format!("https://toypay.example/{charge}"));
    let again = functions.create(&order_id).await;
    assert_eq!(
        (&again.text, again.header("idempotency-replayed")),
        (&created.text, Some("true"))
    );
    assert_eq!(functions.provider.charges(), [charge.as_str()]);

    let forged = functions
        .report(&charge, "paid", "25.50", |_| toypay::sign("wrong secret", ""))
        .await;
    assert_eq!(forged.problem(), (401, "SIGNATURE_INVALID".to_owned()));
    assert_eq!(functions.status_of(&created).await, "pending");

    let signed = |body: &str| toypay::sign(toypay::WEBHOOK_SECRET, body);
    assert_eq!(functions.report(&charge, "paid", "25.50", signed).await.status, 200);
    assert_eq!(functions.status_of(&created).await, "completed");

    let underpaid = functions.create(&unique("toy")).await;
    let paid = functions
        .report(&underpaid.str("paymentId"), "paid", "2.55", signed)
        .await;
    assert_eq!(
        (paid.status, functions.status_of(&underpaid).await.as_str()),
        (200, "review")
    );
}
