//! The functions' back ends: a table, two secrets and the provider sandbox, all over TLS and in this process.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::idempotency::RequestNames;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::{CheckoutSession, Payment};
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::platform::clock;
use payment_functions::store::{CommitExtras, Store};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Failure;
use super::contestants::Job;
use crate::world::{MemoryTable, ServedTable, Tls};
use payment_functions_local::sandbox::{Config, sign};
use payment_functions_local::{Addresses, FUNCTIONS, Sandbox, Variables, background, payload, settings};

/// The back ends of one run.
pub struct Backends {
    tls: Tls,
    trusted: PathBuf,
    secrets: String,
    providers: String,
    _sandbox: Sandbox,
}

/// A table. The emulator becomes slower as a table grows, so contestants do not share one where that matters.
pub struct Table {
    memory: MemoryTable,
    _served: ServedTable,
    url: String,
}

impl Backends {
    /// Starts the back ends. Writes the certificates to trust to `folder`: the system's, as in Lambda, and the back
    /// ends'.
    pub async fn start(folder: &Path) -> Result<Self, Failure> {
        let tls = Tls::new()?;
        let sandbox = Sandbox::start(0, "http://127.0.0.1:9").await?;
        let trusted = folder.join("trusted.pem");
        let mut pem = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
        pem.push_str(tls.pem());
        std::fs::write(&trusted, pem).map_err(|error| Failure(format!("{}: {error}", trusted.display())))?;
        Ok(Self {
            secrets: tls.front(&serve_secrets().await?).await?,
            providers: tls.front(sandbox.url()).await?,
            _sandbox: sandbox,
            tls,
            trusted,
        })
    }

    /// Creates an empty table.
    pub async fn table(&self) -> Result<Table, Failure> {
        let memory = MemoryTable::new()?;
        let served = memory.serve().await?;
        Ok(Table {
            url: self.tls.front(served.url()).await?,
            _served: served,
            memory,
        })
    }

    /// The environment variables of a job's function.
    pub fn variables(&self, job: Job, table: &Table) -> Variables {
        let name = match job {
            Job::CreatePreorder | Job::CreateApm | Job::Webhook | Job::GetPayment | Job::Nothing => job.function(),
            Job::OneWrite => Job::GetPayment.function(),
        };
        self.variables_of(name, table)
    }

    /// The environment variables of a function.
    pub fn variables_of(&self, name: &str, table: &Table) -> Variables {
        let addresses = Addresses {
            functions: "https://functions.example".to_owned(),
            aws: self.secrets.clone(),
            dead_letters: String::new(),
            sandbox: self.providers.clone(),
        };
        let function = FUNCTIONS.iter().find(|function| function.name == name);
        let mut variables = function.map_or_else(Variables::new, |function| settings::of(function, &addresses));
        let trusted = self.trusted.display().to_string();
        for (name, value) in [
            ("AWS_ENDPOINT_URL_DYNAMODB", table.url.clone()),
            // For rustls and httpx, for Node, and for boto3.
            ("SSL_CERT_FILE", trusted.clone()),
            ("NODE_EXTRA_CA_CERTS", trusted.clone()),
            ("AWS_CA_BUNDLE", trusted),
        ] {
            variables.insert(name.to_owned(), value);
        }
        variables
    }
}

impl Table {
    /// The store on this table.
    pub fn store(&self) -> Store {
        self.memory.store()
    }

    /// Stores a payment that its provider has accepted.
    async fn pending(&self) -> Result<Payment, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure(format!("a payment for the bench: {error}"));
        let (store, now) = (self.memory.store(), clock::now());
        let money = Money::from_minor(9999, Currency::USD);
        let intent = Payment {
            order_id: OrderId::parse(&order()),
            ..Payment::new(
                PaymentId::random(),
                Provider::FinvyPay,
                Environment::Sandbox,
                money,
                now,
            )
        };
        let reference = Reference::parse(&format!("pay_apm_{}", Uuid::new_v4().simple()));
        let checkout_session = CheckoutSession {
            reference: reference.ok_or_else(|| failed(&"its id"))?,
            redirect_url: Some("https://pay.example/checkout".to_owned()),
            expires_at: None,
        };
        store
            .insert_payment(&intent, RequestNames::default(), now)
            .await
            .map_err(|error| failed(&error))?;
        let payment = intent.accept(checkout_session, [], now);
        let commit = store.commit(&intent, &payment, &CommitExtras::default(), now).await;
        commit.map_err(|error| failed(&error))?;
        Ok(payment)
    }

    /// Creates a new event for one invocation.
    pub async fn event(&self, job: Job) -> Result<Event, Failure> {
        let json = ("content-type", "application/json");
        let key = Uuid::new_v4().to_string();
        let (event, status) = match job {
            Job::Nothing => (json!({}), 200),
            Job::OneWrite => {
                let payment = self.pending().await?;
                let reference = payment
                    .checkout_session
                    .as_ref()
                    .map(|checkout_session| checkout_session.reference.to_string());
                let order_id = payment.order_id.as_ref().map(OrderId::as_str);
                let event = json!({ "id": payment.id.to_string(), "paymentId": reference, "orderId": order_id });
                (event, 200)
            }
            Job::CreatePreorder => {
                let body =
                    json!({ "amount": 25.50, "orderId": order(), "customerEmail": "jane@example.com" }).to_string();
                let headers = [json, ("idempotency-key", key.as_str())];
                (
                    payload::event(Some("POST /preorders"), "POST", "/preorders", &headers, body.as_bytes()),
                    201,
                )
            }
            Job::CreateApm => {
                let body = json!({
                    "orderId": order(), "amount": 99.99, "currency": "USD", "paymentMethod": "apple_pay",
                    "firstName": "Jane", "lastName": "Smith", "email": "jane@example.com",
                    "returnUrl": "https://your-domain.com/success", "metadata": { "internal_ref": "subscription_123" },
                })
                .to_string();
                let headers = [json, ("idempotency-key", key.as_str())];
                (
                    payload::event(
                        Some("POST /apm-payments"),
                        "POST",
                        "/apm-payments",
                        &headers,
                        body.as_bytes(),
                    ),
                    201,
                )
            }
            Job::Webhook => {
                let payment = self.pending().await?;
                let body = completion(&payment).to_string();
                let signature = sign(&Config::default().webhook_secret, body.as_bytes());
                let headers = [json, ("fs-webhook-hash", signature.as_str())];
                (
                    payload::event(None, "POST", "/webhooks/finvypay", &headers, body.as_bytes()),
                    200,
                )
            }
            Job::GetPayment => {
                let payment = self.pending().await?;
                let path = format!("/payments/{}", payment.id);
                (payload::event(Some("GET /payments/{id}"), "GET", &path, &[], b""), 200)
            }
        };
        Ok(Event {
            bytes: Bytes::from(event.to_string()),
            status,
        })
    }
}

/// An event for an invocation.
pub struct Event {
    /// The event as JSON.
    pub bytes: Bytes,
    /// The expected status of the response.
    pub status: u16,
}

fn order() -> String {
    format!("ORD-{}", Uuid::new_v4().simple())
}

fn completion(payment: &Payment) -> Value {
    json!({
        "event": "payment.completed", "status": "COMPLETED", "amount": 99.99, "currency": "USD",
        "paymentId": payment.checkout_session.as_ref().map(|checkout_session| checkout_session.reference.to_string()),
        "orderId": payment.order_id.as_ref().map(OrderId::as_str),
        "metadata": { "paymentFunctionsId": payment.id.to_string() },
    })
}

/// Serves the `GetSecretValue` call of Secrets Manager.
async fn serve_secrets() -> Result<String, Failure> {
    let (listener, address) = background::listen("serve secrets").await?;
    let known = Config::default();
    let secret = json!({
        "secretKey": known.apolopay_secret_key, "apiKey": known.finvypay_api_key, "webhookSecret": known.webhook_secret,
    });
    let get = async move |request: Bytes| {
        let request: Map<String, Value> = serde_json::from_slice(&request).unwrap_or_default();
        let id = request.get("SecretId");
        if request.get("VersionStage").is_some_and(|stage| stage == "AWSPREVIOUS") {
            let error = json!({ "__type": "ResourceNotFoundException", "message": "no such version" });
            return (StatusCode::BAD_REQUEST, error.to_string());
        }
        let response = json!({
            "ARN": id, "Name": id, "SecretString": secret.to_string(),
            "VersionId": Uuid::nil().to_string(), "VersionStages": ["AWSCURRENT"], "CreatedDate": 1_770_000_000,
        });
        (StatusCode::OK, response.to_string())
    };
    let routes = Router::new().route("/", post(get));
    background::handle()?.spawn(async move { axum::serve(listener, routes).await });
    Ok(format!("http://{address}"))
}
