//! Invokes reconcile-payments on the schedule of template.yaml.

use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::invocations::Invocations;
use super::log::{Level, Log};
use super::template::Rate;
use super::{Error, background};

const FUNCTION: &str = "reconcile-payments";
/// The function's time limit.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A running schedule. It ends when this is dropped.
#[derive(Debug)]
pub struct Schedule {
    running: JoinHandle<()>,
}

impl Schedule {
    /// Invokes the function once each period, first after one period. Logs failures; the function itself logs its
    /// report.
    ///
    /// # Errors
    /// If there is no async runtime.
    pub fn start(functions: Invocations, rate: Rate, log: Log) -> Result<Self, Error> {
        let run = async move {
            let mut ticks = interval_at(Instant::now() + rate.period, rate.period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                // No retry: the next run comes soon.
                if let Err(error) = sweep(&functions, &rate.input).await {
                    log.line(FUNCTION, Level::Error, &format!("run failed: {error}"));
                }
            }
        };
        Ok(Self {
            running: background::handle()?.spawn(run),
        })
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Runs the reconciler once and returns its report.
pub(super) async fn sweep(functions: &Invocations, input: &str) -> Result<Value, String> {
    let report = functions.invoke(FUNCTION, input.to_owned(), TIME_LIMIT).await?;
    if report.get("checked").is_some() {
        Ok(report)
    } else {
        Err(format!("unexpected response: {report}"))
    }
}
