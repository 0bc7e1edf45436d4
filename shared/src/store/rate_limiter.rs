//! The rate limiter of calls to a provider, shared by all running reconcilers.
//!
//! Guarantee: by the reconcilers' own clocks, two calls are at least the interval apart.

use std::time::Duration;

use super::error::StoreError;
use super::retry::{Retry, retry_on_conflict};
use super::schema::{self, number};
use super::table::Store;
use crate::domain::provider::Provider;
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;

impl Store {
    /// Reserves the next turn, which is a call slot at least `interval` after the last one. `None` if there is none
    /// before `latest`.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn next_turn(
        &self,
        provider: Provider,
        interval: Duration,
        now: Timestamp,
        latest: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        retry_on_conflict(None, |next: Option<Timestamp>| async move {
            let turn = next.map_or(now, |next| next.max(now));
            if turn > latest {
                return Ok(Retry::Done(None));
            }
            let update = self
                .update(schema::pace_key(provider))
                .update_expression("SET nextAt = :next")
                .expression_attribute_values(":next", number(turn.plus(interval).as_millis()));
            // The first write assumes that the last slot is over, which holds while only one reconciler runs.
            let update = match next {
                Some(seen) => update
                    .condition_expression("nextAt = :seen")
                    .expression_attribute_values(":seen", number(seen.as_millis())),
                None => update
                    .condition_expression("attribute_not_exists(nextAt) OR nextAt <= :now")
                    .expression_attribute_values(":now", number(now.as_millis())),
            };
            Ok(match self.update_alone(ExternalCall::Pace, update).await? {
                None => Retry::Done(Some(turn)),
                Some(item) => Retry::Again(Some(schema::time_of(&item, "nextAt")?)),
            })
        })
        .await
    }
}
