//! An event in, a report out.
//!
//! | event | |
//! |---|---|
//! | `{"action":"sweep"}` | the schedule's: a run over what is due |
//! | `{"action":"complete", "paymentId", "reference"?, "actor", "reason"}` | an operator's: the payment was paid |
//! | `{"action":"close", "paymentId", "actor", "reason"}` | an operator's: a payment in review was dealt with |

use std::process::ExitCode;
use std::time::Duration;

use lambda_runtime::Diagnostic;
use payment_functions::domain::provider::Environment;
use payment_functions::domain::time::Timestamp;
use payment_functions::lambda;
use payment_functions::platform::aws::Aws;
use payment_functions::platform::config::{ConfigError, Variables};
use payment_functions::platform::secrets::{ApiKey, SecretCache, SecretsManager};
use payment_functions::platform::tls::Tls;
use payment_functions::platform::{clock, metrics};
use payment_functions::providers::finvypay::client::BASE_URL;
use payment_functions::providers::http_client::HttpClient;
use payment_functions::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backlog_metrics;
use crate::operator::{self, Command, Done, Refused};
use crate::poller::{FinvyPay, RateLimitedPoller};
use crate::report::Report;
use crate::sweep::Sweep;

const NAME: &str = "reconcile-payments";

/// How long a run goes on; what it has begun then takes some seconds more.
pub const TIME: Duration = Duration::from_secs(40);

/// The function's clients and settings.
#[derive(Debug)]
pub struct ReconcilePayments {
    store: Store,
    keys: SecretCache<ApiKey>,
    client: HttpClient,
    base_url: String,
    environment: Environment,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
enum Request {
    Sweep,
    Complete(Command),
    Close(Command),
}

/// What the function answers, written as it is: amounts are exact.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Report(Report),
    Done(Done),
}

/// Why an event came to nothing.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("not an event of this function: {0}")]
    NotUnderstood(serde_json::Error),
    #[error("refused: {0}")]
    Refused(#[from] Refused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        tracing::error!(error = %error, "event failed");
        let error_type = match &error {
            Error::NotUnderstood(_) => "INVALID_EVENT",
            Error::Refused(Refused::Store(_)) | Error::Store(_) => "UNAVAILABLE",
            Error::Refused(_) => "REFUSED",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// Runs the function until Lambda ends it.
pub fn run() -> ExitCode {
    lambda::serve(
        NAME,
        ReconcilePayments::configure,
        // Nobody waits for it.
        async |_| {},
        ReconcilePayments::handle,
    )
}

impl ReconcilePayments {
    fn configure(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let tls = Tls::from_environment(variables)?;
        let aws = Aws::from_environment(variables, &tls)?;
        let secret = SecretsManager::new(aws.secrets_manager(), variables.required("FINVYPAY_SECRET_ID")?);
        Ok(Self {
            store: Store::open(&aws, variables.payments_table()?),
            keys: SecretCache::new(secret, "apiKey"),
            client: HttpClient::new(&tls)?,
            base_url: variables.base_url("FINVYPAY_BASE_URL", BASE_URL)?,
            environment: variables.finvypay_environment()?,
        })
    }

    async fn handle(&self, event: Value) -> Result<Answer, Error> {
        let answer = self.answer(event).await;
        if let Err(Error::Store(_) | Error::Refused(Refused::Store(_))) = &answer {
            metrics::store_failed();
        }
        answer
    }

    async fn answer(&self, event: Value) -> Result<Answer, Error> {
        let now = clock::now();
        Ok(match Request::deserialize(event).map_err(Error::NotUnderstood)? {
            Request::Sweep => Answer::Report(self.sweep(now).await?),
            Request::Complete(command) => Answer::Done(operator::complete(&self.store, &command, now).await?),
            Request::Close(command) => Answer::Done(operator::close(&self.store, &command, now).await?),
        })
    }

    async fn sweep(&self, now: Timestamp) -> Result<Report, StoreError> {
        // Without the key nobody can be asked, but our own clock runs on.
        let finvypay = FinvyPay {
            client: &self.client,
            base_url: &self.base_url,
            environment: self.environment,
            keys: &self.keys,
        };
        let asker = RateLimitedPoller::new(&self.store, finvypay);
        let swept = Sweep::new(&self.store, asker, now).run(TIME).await;
        // Afterwards, whatever became of it: what it settled waits for nobody.
        backlog_metrics::write(&self.store).await;
        let (report, asker) = swept?;
        metrics::reconciler_lag(Duration::from_secs(report.lag_seconds));
        if asker.is_key_refused() {
            // It may have been rotated: the next run gets the new one.
            let refreshed = self.keys.refresh(clock::now()).await;
            tracing::info!(
                refreshed = matches!(refreshed, Ok(Some(_))),
                "the provider refused our key"
            );
        }
        tracing::info!(
            checked = report.checked,
            resolved = report.resolved,
            expired = report.expired,
            collected = report.collected,
            failed = report.failed,
            unfinished = report.unfinished,
            for_a_person = report.for_a_person_count,
            "sweep done"
        );
        Ok(report)
    }
}
