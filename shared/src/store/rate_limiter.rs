//! The rate limiter of calls to a provider, shared by all running reconcilers.
//!
//! Guarantee: by the reconcilers' own clocks, the calls of a lane keep its limit.

use super::error::StoreError;
use super::retry::{Retry, retry_on_conflict};
use super::schema::{self, number};
use super::table::Store;
use crate::domain::provider::Provider;
use crate::domain::request_rate::{Lane, LaneLimit};
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;

impl Store {
    /// Reserves `count` call slots of a lane: the time of the first, after which another comes each interval. `None` if
    /// there is none before `latest`.
    ///
    /// The stored time is the one when the slots would be used up in the long run. A slot comes before it by the burst
    /// (generic cell rate algorithm).
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn reserve_slots(
        &self,
        provider: Provider,
        lane: Lane,
        count: u32,
        limit: LaneLimit,
        now: Timestamp,
        latest: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let lead = limit.interval.saturating_mul(limit.burst);
        retry_on_conflict(None, |next: Option<Timestamp>| async move {
            let slot = next.map_or(now, |next| next.minus(lead).max(now));
            if slot > latest {
                return Ok(Retry::Done(None));
            }
            let used_until = next.unwrap_or(now).max(now).plus(limit.interval.saturating_mul(count));
            let update = self
                .update(schema::rate_key(provider, lane))
                .update_expression("SET nextAt = :next")
                .expression_attribute_values(":next", number(used_until.as_millis()));
            // The first write assumes that all slots are unused, which holds while only one reconciler runs.
            let update = match next {
                Some(seen) => update
                    .condition_expression("nextAt = :seen")
                    .expression_attribute_values(":seen", number(seen.as_millis())),
                None => update
                    .condition_expression("attribute_not_exists(nextAt) OR nextAt <= :now")
                    .expression_attribute_values(":now", number(now.as_millis())),
            };
            Ok(match self.update_alone(ExternalCall::ReserveSlot, update).await? {
                None => Retry::Done(Some(slot)),
                Some(item) => Retry::Again(Some(schema::time_of(&item, "nextAt")?)),
            })
        })
        .await
    }

    /// Gives out no slot of any lane before `until`.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn pause_calls(
        &self,
        provider: Provider,
        until: Timestamp,
        limit: impl Fn(Lane) -> LaneLimit,
    ) -> Result<(), StoreError> {
        for lane in Lane::ALL {
            let limit = limit(lane);
            let next = until.plus(limit.interval.saturating_mul(limit.burst));
            let update = self
                .update(schema::rate_key(provider, lane))
                .update_expression("SET nextAt = :next")
                .condition_expression("attribute_not_exists(nextAt) OR nextAt < :next")
                .expression_attribute_values(":next", number(next.as_millis()));
            self.update_alone(ExternalCall::ReserveSlot, update).await?;
        }
        Ok(())
    }
}
