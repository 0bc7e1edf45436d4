//! An event in, a report out.
//!
//! | event | from | effect |
//! |---|---|---|
//! | `{"action":"sweep"}` | the schedule | a run over everything that is due |
//! | `{"Records":[…]}` of the table's stream | a notification was stored as unmatched | a check of that notification, within seconds |
//! | `{"action":"complete", "paymentId", "reference"?, "actor", "reason"}` | an operator | completes a payment |
//! | `{"action":"close", "paymentId", "actor", "reason"}` | an operator | closes the review of a payment |
//! | `{"action":"acknowledge", "paymentId", "reasonCode", "actor", "reason"}` | an operator | takes a reason for attention away |
//! | `{"action":"replay", "provider", "digest"?, "after"?, "actor", "reason"}` | an operator | reads webhooks in quarantine again |

use std::process::ExitCode;
use std::time::Duration;

use lambda_runtime::Diagnostic;
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::request_rate::RequestRate;
use payment_functions::domain::time::Timestamp;
use payment_functions::lambda::{self, Function};
use payment_functions::platform::aws::Aws;
use payment_functions::platform::config::{ConfigError, Variables};
use payment_functions::platform::secrets::{ApiKey, SecretCache, SecretsManager};
use payment_functions::platform::tls::Tls;
use payment_functions::platform::{clock, metrics};
use payment_functions::providers::finvypay::client::BASE_URL;
use payment_functions::providers::http_client::HttpClient;
use payment_functions::store::stream::due_group_of;
use payment_functions::store::{Due, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::acknowledge::{Acknowledgement, acknowledge};
use crate::backlog_metrics;
use crate::operator::{self, Command, CommandError, CommandResult};
use crate::poller::{FinvyPay, RateLimitedPoller};
use crate::replay::{self, ReplayCommand, ReplayReport};
use crate::report::Report;
use crate::sweep::Sweep;

/// How long a run begins new checks. The last one may take some seconds more. A run begins each minute.
pub const RUN_TIME: Duration = Duration::from_secs(55);

/// The function's clients and settings.
#[derive(Debug)]
struct ReconcilePayments {
    store: Store,
    keys: SecretCache<ApiKey>,
    client: HttpClient,
    base_url: String,
    matching: OrderMatching,
    delete_unpaid_after: Option<Duration>,
    rate: RequestRate,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
enum Request {
    /// Groups of unmatched notifications from the table's stream.
    #[serde(skip)]
    Unmatched(Vec<Due>),
    Sweep,
    Complete(Command),
    Close(Command),
    Acknowledge(Acknowledgement),
    Replay(ReplayCommand),
}

/// The function's response. It is serialized directly, not as a [`Value`], so that amounts stay exact.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Response {
    Report(Report),
    CommandResult(CommandResult),
    ReplayReport(ReplayReport),
}

/// Why an event failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("invalid event: {0}")]
    InvalidEvent(serde_json::Error),
    #[error("refused: {0}")]
    Command(#[from] CommandError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        tracing::error!(error = %error, "invocation failed");
        let error_type = match &error {
            Error::InvalidEvent(_) => "INVALID_EVENT",
            Error::Command(CommandError::Store(_)) | Error::Store(_) => "UNAVAILABLE",
            Error::Command(_) => "REFUSED",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// Runs the function until Lambda stops it.
pub fn run() -> ExitCode {
    lambda::run::<ReconcilePayments>()
}

impl Function for ReconcilePayments {
    const NAME: &'static str = "reconcile-payments";
    type Event = Value;
    type Response = Response;
    type Error = Error;

    fn configure(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let tls = Tls::from_environment(variables)?;
        let aws = Aws::from_environment(variables, &tls)?;
        let secret = SecretsManager::new(aws.secrets_manager(), variables.required("FINVYPAY_SECRET_ID")?);
        Ok(Self {
            store: Store::open(&aws, variables.payments_table()?),
            keys: SecretCache::new(secret, "apiKey"),
            client: HttpClient::new(&tls)?,
            base_url: variables.base_url("FINVYPAY_BASE_URL", BASE_URL)?,
            matching: variables.order_matching()?,
            delete_unpaid_after: variables.delete_unpaid_after()?,
            rate: variables.finvypay_request_rate()?,
        })
    }

    async fn handle(&self, event: Value) -> Result<Response, Error> {
        let response = self.respond(event).await;
        if let Err(Error::Store(_) | Error::Command(CommandError::Store(_))) = &response {
            metrics::store_failed();
        }
        response
    }
}

impl ReconcilePayments {
    async fn respond(&self, event: Value) -> Result<Response, Error> {
        let now = clock::now();
        Ok(match Request::read(event).map_err(Error::InvalidEvent)? {
            Request::Unmatched(groups) => Response::Report(self.check(&groups, now).await?),
            Request::Sweep => Response::Report(self.sweep(now).await?),
            Request::Complete(command) => {
                Response::CommandResult(operator::complete(&self.store, &command, now).await?)
            }
            Request::Close(command) => Response::CommandResult(operator::close(&self.store, &command, now).await?),
            Request::Acknowledge(command) => Response::CommandResult(acknowledge(&self.store, &command, now).await?),
            Request::Replay(command) => {
                let end = Instant::now() + RUN_TIME;
                Response::ReplayReport(replay::replay(&self.store, &command, self.matching, now, end).await?)
            }
        })
    }

    /// Checks groups of unmatched notifications that were just stored.
    async fn check(&self, groups: &[Due], now: Timestamp) -> Result<Report, StoreError> {
        let sweep = self.new_sweep(now);
        let report = sweep.check(groups, RUN_TIME).await?;
        self.refresh_refused_key(sweep.source()).await;
        Ok(report)
    }

    async fn sweep(&self, now: Timestamp) -> Result<Report, StoreError> {
        let sweep = self.new_sweep(now);
        let result = sweep.run(RUN_TIME).await;
        // After the run, so that what it resolved no longer counts, and even if it failed.
        backlog_metrics::record(&self.store).await;
        let report = result?;
        metrics::reconciler_lag_measured(Duration::from_secs(report.lag_seconds));
        self.refresh_refused_key(sweep.source()).await;
        tracing::info!(
            checked = report.checked,
            resolved = report.resolved,
            expired = report.expired,
            unmatched_resolved = report.unmatched_resolved,
            failed = report.failed,
            unfinished = report.unfinished,
            "reconciliation run finished"
        );
        Ok(report)
    }

    fn new_sweep(&self, now: Timestamp) -> Sweep<'_, RateLimitedPoller<'_>> {
        let finvypay = FinvyPay {
            client: &self.client,
            base_url: &self.base_url,
            environment: self.matching.environment,
            keys: &self.keys,
            rate: self.rate,
        };
        Sweep::new(&self.store, RateLimitedPoller::new(&self.store, finvypay), now)
            .delete_unpaid_after(self.delete_unpaid_after)
            .matching_orders(self.matching)
    }

    async fn refresh_refused_key(&self, poller: &RateLimitedPoller<'_>) {
        if poller.is_key_refused() {
            // The key may have been rotated. The next run uses the new one.
            let refreshed = self.keys.force_refresh(clock::now()).await;
            let refreshed = matches!(refreshed, Ok(Some(_)));
            tracing::info!(refreshed, "provider refused our API key");
        }
    }
}

impl Request {
    /// Reads an event: a batch of the table's stream, or a command. Of the stream, only new unmatched notifications
    /// count.
    fn read(event: Value) -> Result<Self, serde_json::Error> {
        match event.get("Records").and_then(Value::as_array) {
            Some(records) => Ok(Self::Unmatched(records.iter().filter_map(due_group_of).collect())),
            None => Self::deserialize(event),
        }
    }
}
